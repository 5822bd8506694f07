# From the octets that were received to events.

cdef void free_buffer(Protocol protocol) noexcept:
    cdef uint8_t *memory = protocol._buffer
    protocol._buffer = NULL
    protocol._begin = protocol._end = protocol._capacity = 0
    PyMem_Free(memory)


cdef void drop_input(Protocol protocol) noexcept:
    """Once receiving has ended nothing of what is here will be looked at."""
    free_buffer(protocol)
    protocol._queued = 0
    protocol._queue = None
    protocol._chunk = None
    protocol._message = None
    protocol._inflation = None


cdef int end_receiving(Protocol protocol) except -1:
    """After a close frame or an error: nothing more is received, and nothing more will be sent."""
    drop_input(protocol)
    if protocol._deflate is not None:
        protocol._deflate.close()
    return 0


cdef int advance_chunk(Protocol protocol, size_t count) except -1:
    """`count` octets of _chunk have been copied out of it."""
    protocol._offset += count
    protocol._queued -= count
    if protocol._offset == <size_t>PyBytes_GET_SIZE(protocol._chunk):
        protocol._offset = 0
        protocol._chunk = protocol._queue.popleft() if protocol._queue else None
    return 0


cdef int stage_octets(Protocol protocol) except -1:
    """Copies a piece of _chunk behind what is left over in _buffer."""
    cdef size_t left_over = protocol._end - protocol._begin
    cdef size_t count = min(<size_t>PyBytes_GET_SIZE(protocol._chunk) - protocol._offset, <size_t>STAGE)
    cdef uint8_t *memory
    if protocol._capacity < left_over + count:
        memory = <uint8_t *>PyMem_Malloc(left_over + count)
        if memory == NULL:
            raise MemoryError()
        if left_over:
            memcpy(memory, protocol._buffer + protocol._begin, left_over)
        free_buffer(protocol)
        protocol._buffer = memory
        protocol._capacity = left_over + count
    elif protocol._begin and left_over:
        memmove(protocol._buffer, protocol._buffer + protocol._begin, left_over)
    memcpy(protocol._buffer + left_over, <const uint8_t *>PyBytes_AS_STRING(protocol._chunk) + protocol._offset, count)
    protocol._begin = 0
    protocol._end = left_over + count
    advance_chunk(protocol, count)
    return 0


cdef object receive_long_payload(Protocol protocol):
    """Copies payload out of _chunk to its place in the message and unmasks it there."""
    cdef lws_event event
    cdef size_t count, upcoming
    cdef uint8_t *place
    cdef bytes part
    if protocol._receiver.flags & LWS_MESSAGE_COMPRESSED:
        count = min(<size_t>PyBytes_GET_SIZE(protocol._chunk) - protocol._offset, <size_t>INFLATED_AT_ONCE)
        if count > protocol._receiver.frame_remaining:
            count = <size_t>protocol._receiver.frame_remaining
        # Without octets to begin with: bytes of a single one would be an object that everybody has.
        part = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>count)
        memcpy(PyBytes_AS_STRING(part), PyBytes_AS_STRING(protocol._chunk) + protocol._offset, count)
        lws_protocol_receive(&protocol._receiver, &protocol._limits, <uint8_t *>PyBytes_AS_STRING(part), count, &event)
        advance_chunk(protocol, count)
        return inflate_part(protocol, part, event.opcode == LWS_TEXT, event.first, event.last)
    if protocol._message is None:
        protocol._message = MessageAssembly()
    if protocol._buffer_size and protocol._message.length >= protocol._buffer_size:
        return cut_piece(protocol, protocol._receiver.opcode == LWS_TEXT, protocol._receiver.frame_remaining)
    upcoming = upcoming_octets(protocol, protocol._receiver.frame_remaining)
    place = protocol._message.reserve(upcoming)
    count = min(protocol._message.room(), <size_t>PyBytes_GET_SIZE(protocol._chunk) - protocol._offset)
    if count > upcoming:
        count = upcoming
    memcpy(place, <const uint8_t *>PyBytes_AS_STRING(protocol._chunk) + protocol._offset, count)
    lws_protocol_receive(&protocol._receiver, &protocol._limits, place, count, &event)
    if event.kind == LWS_EVENT_DATA:
        protocol._message.commit(count)
    advance_chunk(protocol, count)  # may free a chunk, never runs Python
    if event.kind == LWS_EVENT_DATA:
        return octets_added(protocol, &event)
    return report_event(protocol, &event)


cdef object report_event(Protocol protocol, lws_event *event):
    """The Python event for one of the core's; None when it is only a part of a message."""
    cdef object payload
    if event.kind == LWS_EVENT_DATA:
        if event.compressed:
            payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
            return inflate_part(protocol, payload, event.opcode == LWS_TEXT, event.first, event.last)
        if not (event.first and event.last):
            return assemble_message(protocol, event)
        if event.opcode == LWS_TEXT:
            payload = PyUnicode_DecodeUTF8(<const char *>event.data, <Py_ssize_t>event.length, "replace")
        else:
            payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
        return ("message", payload, event.opcode == LWS_BINARY)
    if event.kind == LWS_EVENT_PING:
        payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
        if protocol._auto_pong and not protocol.close_sent:
            answer_ping(protocol, payload)
        return ("ping", payload)
    if event.kind == LWS_EVENT_PONG:
        return ("pong", PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length))
    if event.kind == LWS_EVENT_CLOSE:
        return report_close(protocol, event)
    return report_error(protocol, event)


cdef object assemble_message(Protocol protocol, lws_event *event):
    try:
        if protocol._message is None:
            protocol._message = MessageAssembly()
        protocol._message.reserve(upcoming_octets(protocol, event.length + event.frame_remaining))
        protocol._message.append(event.data, event.length)
    except:
        protocol._receiver.flags |= LWS_RECEIVE_ENDED  # a message must not go on with a hole in it
        drop_input(protocol)
        raise
    return octets_added(protocol, event)


cdef object octets_added(Protocol protocol, lws_event *event):
    """The event, if any, after octets were added to the message that is being received."""
    if event.last:
        return finish_message(protocol, event.opcode == LWS_BINARY)
    if protocol._buffer_size and event.frame_remaining and protocol._message.length >= protocol._buffer_size:
        return cut_piece(protocol, event.opcode == LWS_TEXT, event.frame_remaining)
    return None


cdef object fail_receiving(Protocol protocol, object error):
    """Fails the connection for what the C core cannot see."""
    protocol._receiver.flags |= LWS_RECEIVE_ENDED
    end_receiving(protocol)
    protocol.close_code = error.close_code
    protocol._eof_reported = True  # nothing follows an error
    append_close(protocol, close_payload(protocol.close_code))
    return ("error", error)


cdef object finish_message(Protocol protocol, bint binary):
    cdef MessageAssembly message = protocol._message
    protocol._message = None
    return ("message", message.finish(not binary), binary)


cdef object report_close(Protocol protocol, lws_event *event):
    cdef str reason = PyUnicode_DecodeUTF8(<const char *>event.data, <Py_ssize_t>event.length, NULL)
    end_receiving(protocol)
    protocol.close_received = True
    protocol.close_code = event.code
    protocol.close_reason = reason
    # RFC 6455 section 5.5.1: echo the code; and the reason, as most do
    append_close(protocol, b"" if event.code == 1005 else close_payload(event.code, reason))
    return ("close", event.code, reason)


cdef object report_error(Protocol protocol, lws_event *event):
    cdef str problem = (<bytes>event.problem).decode("ascii")
    error = (PayloadTooBig if event.code == 1009 else ProtocolError)(event.code, problem)
    error.detail = event.detail
    return fail_receiving(protocol, error)
