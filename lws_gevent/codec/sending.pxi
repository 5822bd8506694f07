# From messages to the octets that are to be sent.

cdef int send_data(Protocol protocol, object payload, uint8_t opcode, uint8_t kind, bint fin, uint8_t utf8_state,
                   bint compress) except -1:
    """Appends a data frame of a message of `kind`; the UTF-8 state after it."""
    cdef Py_buffer view
    cdef bytes octets, compressed
    refuse_after_close(protocol)
    _get_octets(payload, &view)
    try:
        if kind == LWS_TEXT:
            utf8_state = lws_utf8_check(utf8_state, <const uint8_t *>view.buf, <size_t>view.len)
            if utf8_state == LWS_UTF8_REJECT or (fin and utf8_state != LWS_UTF8_ACCEPT):
                raise ValueError(NOT_UTF8)
        if compress:
            octets = <bytes>payload if type(payload) is bytes else PyBytes_FromStringAndSize(<char *>view.buf, view.len)
            compressed = protocol._deflate.compress(octets, fin)
            refuse_after_close(protocol)  # what is Python may have run any Python
            append_frame(protocol, opcode, fin, opcode != LWS_CONTINUATION,
                         <const uint8_t *>PyBytes_AS_STRING(compressed), <size_t>PyBytes_GET_SIZE(compressed), compressed)
        else:
            append_frame(protocol, opcode, fin, False, <const uint8_t *>view.buf, <size_t>view.len,
                         <bytes>payload if type(payload) is bytes else None)
    finally:
        PyBuffer_Release(&view)
    return utf8_state


cdef int send_control(Protocol protocol, object payload, uint8_t opcode) except -1:
    cdef Py_buffer view
    refuse_after_close(protocol)
    _get_octets(payload, &view)
    try:
        if view.len > <Py_ssize_t>LWS_MAX_CONTROL_PAYLOAD:
            raise ValueError(too_long_for_control(view.len))
        append_frame(protocol, opcode, True, False, <const uint8_t *>view.buf, <size_t>view.len, None)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef int append_frame(Protocol protocol, uint8_t opcode, bint fin, bint rsv1, const uint8_t *payload, size_t length,
                      bytes immutable) except -1:
    """Appends a frame whole or, when memory runs out, not at all. `immutable`: the object whose octets `payload` is."""
    cdef uint32_t key = 0
    cdef uint8_t header[LWS_MAX_HEADER]
    cdef size_t header_length
    cdef uint8_t *out
    cdef bint client = protocol._limits.role == LWS_CLIENT
    cdef bint by_reference = immutable is not None and length >= BY_REFERENCE and not client
    if client:
        key = new_masking_key()
    header_length = lws_frame_write_header(header, opcode, fin, rsv1, length, &key if client else NULL)
    if protocol._output is None:
        protocol._output = MessageAssembly()
    if length > SIZE_MAX - LWS_MAX_HEADER:
        raise MemoryError()
    out = protocol._output.extend(header_length if by_reference else header_length + length)
    memcpy(out, header, header_length)
    if by_reference:
        if protocol._outgoing is None:
            protocol._outgoing = []
        protocol._output.commit(header_length)
        protocol._outgoing.extend((protocol._output.finish(False), immutable))
    else:
        _copy_payload(out + header_length, payload, length, key)
        protocol._output.commit(header_length + length)
    return 0


cdef int end_output(Protocol protocol) except -1:
    """Moves the small frames to _outgoing, so that an object can follow them there."""
    if protocol._outgoing is None:
        protocol._outgoing = []
    if protocol._output is not None and protocol._output.length:
        protocol._outgoing.append(protocol._output.finish(False))
    return 0


cdef int answer_ping(Protocol protocol, bytes payload) except -1:
    """Answers in order, but a peer that sends pings and reads nothing costs little memory: of those beyond PONGS_KEPT only
    the latest is answered (RFC 6455 section 5.5.3)."""
    cdef bytes pong
    if protocol._pongs < PONGS_KEPT:
        append_frame(protocol, LWS_PONG, True, False, <const uint8_t *>PyBytes_AS_STRING(payload),
                     <size_t>PyBytes_GET_SIZE(payload), None)
        protocol._pongs += 1
        return 0
    pong = encode_frame(payload, LWS_PONG, True, False,
                        os.urandom(4) if protocol._limits.role == LWS_CLIENT else None)
    if protocol._pong_index < 0:
        end_output(protocol)
        protocol._pong_index = len(protocol._outgoing)
        protocol._outgoing.append(pong)
    else:
        protocol._outgoing[protocol._pong_index] = pong
    return 0


cdef int append_close(Protocol protocol, bytes payload) except -1:
    if not protocol.close_sent:
        append_frame(protocol, LWS_CLOSE, True, False, <const uint8_t *>PyBytes_AS_STRING(payload),
                     <size_t>PyBytes_GET_SIZE(payload), None)
        protocol.close_sent = True
    return 0


cdef int refuse_after_close(Protocol protocol) except -1:
    if protocol.close_sent:
        raise ValueError("nothing may be sent after the close frame")
    return 0
