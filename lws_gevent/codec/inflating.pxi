# Compressed messages that arrive (RFC 7692).

cdef object inflate_part(Protocol protocol, bytes part, bint text, bint first, bint last):
    """The event for the next octets of a compressed message; None: it is not complete yet. Runs Python."""
    cdef bytes inflated
    cdef const uint8_t *octets
    cdef size_t length
    cdef object room = None
    if protocol._in_pieces:
        return begin_inflation(protocol, part, text, first, last)
    if protocol._limits.max_payload != UINT64_MAX:
        room = protocol._limits.max_payload - (0 if protocol._message is None else protocol._message.length)
    try:
        inflated = protocol._deflate.decompress(part, room, last)
        octets = <const uint8_t *>PyBytes_AS_STRING(inflated)
        length = <size_t>PyBytes_GET_SIZE(inflated)
        if text and protocol._limits.validate_utf8:
            protocol._inflated_utf8 = lws_utf8_check(
                LWS_UTF8_ACCEPT if first else protocol._inflated_utf8, octets, length
            )
            if protocol._inflated_utf8 == LWS_UTF8_REJECT or (last and protocol._inflated_utf8 != LWS_UTF8_ACCEPT):
                return fail_receiving(protocol, ProtocolError(1007, "a text message is not UTF-8"))
        if first and last:
            payload = PyUnicode_DecodeUTF8(<const char *>octets, <Py_ssize_t>length, "replace") if text else inflated
            return ("message", payload, not text)
        if protocol._message is None:
            protocol._message = MessageAssembly()
        protocol._message.append(octets, length)
    except ProtocolError as error:
        # Another one: the traceback of this one holds what was inflated, for as long as somebody keeps the error.
        return fail_receiving(protocol, type(error)(error.close_code, error.problem))
    except Exception:  # MemoryError
        return fail_receiving(protocol, ProtocolError(1011, "a compressed message could not be inflated"))
    except:
        protocol._receiver.flags |= LWS_RECEIVE_ENDED  # a message must not go on with a hole in it
        end_receiving(protocol)
        raise
    return finish_message(protocol, not text) if last else None


cdef object begin_inflation(Protocol protocol, bytes part, bint text, bint first, bint last):
    """As inflate_part(), where no more is inflated than a piece needs."""
    cdef object room = None
    cdef size_t size = protocol._buffer_size if protocol._buffer_size else INFLATED_AT_ONCE
    if first:
        protocol._inflated = 0
        protocol._inflated_utf8 = LWS_UTF8_ACCEPT
    if protocol._message is None:
        protocol._message = MessageAssembly()
    if protocol._limits.max_payload != UINT64_MAX:
        room = protocol._limits.max_payload - protocol._inflated
    protocol._inflation_text = text
    protocol._inflation_last = last
    # Behind a cut, as many octets of a text may stay as a character has at most, but one.
    protocol._inflation = protocol._deflate.inflate(part, room, last, size - 3 if text else size)
    return next_inflated(protocol)


cdef object next_inflated(Protocol protocol):
    """The event, if any, after some more of a compressed message was inflated. Runs Python."""
    cdef bytes inflated
    cdef const uint8_t *octets
    cdef size_t length, room
    cdef bint text = protocol._inflation_text
    cdef object piece
    try:
        inflated = next(protocol._inflation, None)
        if inflated is None:
            protocol._inflation = None
            if not protocol._inflation_last:
                return None
            if text and protocol._limits.validate_utf8 and protocol._inflated_utf8 != LWS_UTF8_ACCEPT:
                return fail_receiving(protocol, ProtocolError(1007, "a text message ends inside a character"))
            return finish_message(protocol, not text)
        octets = <const uint8_t *>PyBytes_AS_STRING(inflated)
        length = <size_t>PyBytes_GET_SIZE(inflated)
        protocol._inflated += length
        if text and protocol._limits.validate_utf8:
            protocol._inflated_utf8 = lws_utf8_check(protocol._inflated_utf8, octets, length)
            if protocol._inflated_utf8 == LWS_UTF8_REJECT:
                return fail_receiving(protocol, ProtocolError(1007, "a text message is not UTF-8"))
        if (
            not protocol._buffer_size
            or length <= protocol._buffer_size - min(protocol._message.length, protocol._buffer_size)
        ):
            protocol._message.append(octets, length)
            return None
        room = protocol._buffer_size - min(protocol._message.length, protocol._buffer_size)
        protocol._message.append(octets, room)
        piece = protocol._message.cut(text)
        protocol._message.append(octets + room, length - room)
        return ("piece", piece, not text, protocol._message.length)
    except ProtocolError as error:
        # Another one: the traceback of this one holds what was inflated, for as long as somebody keeps the error.
        return fail_receiving(protocol, type(error)(error.close_code, error.problem))
    except Exception:  # MemoryError
        return fail_receiving(protocol, ProtocolError(1011, "a compressed message could not be inflated"))
    except:
        protocol._receiver.flags |= LWS_RECEIVE_ENDED  # a message must not go on with a hole in it
        end_receiving(protocol)
        raise
