# Messages that are given in pieces (`buffer_size`).

cdef size_t piece_window(
    const lws_protocol *protocol, const uint8_t *data, size_t length, size_t held, size_t size, uint64_t *due
) noexcept:
    """How many of these octets the protocol may be given, so that what one event adds to the `held` octets of a message is no more
    than a piece of `size`. 0, and in `due` how many octets are to come: the piece is full and goes first."""
    cdef lws_frame frame
    cdef size_t room = size - held if held < size else 0
    cdef uint64_t payload = protocol.frame_remaining
    cdef size_t header = 0
    due[0] = 0
    if payload == 0:
        if length == 0 or lws_frame_read_header(data, length, &frame) == 0 or frame.opcode >= LWS_CLOSE:
            return length
        header = frame.header_length
        payload = frame.payload_length
    if room == 0 and header == 0:
        due[0] = payload
        return 0
    if payload > room:  # of a header by itself, what is wrong with it comes before the piece
        payload = room
    return header + <size_t>payload if payload < length - header else length


cdef size_t held_octets(Protocol protocol) noexcept:
    """Octets of a message that are not a full piece yet. What is inflated is cut where that is done."""
    if protocol._message is None or protocol._receiver.flags & LWS_MESSAGE_COMPRESSED:
        return 0
    return protocol._message.length


cdef object cut_piece(Protocol protocol, bint text, uint64_t upcoming):
    """The event for a piece that is not the last one."""
    cdef object piece = protocol._message.cut(text)
    return ("piece", piece, not text, upcoming + protocol._message.length)


cdef size_t upcoming_octets(Protocol protocol, uint64_t length) noexcept:
    """How many of `length` octets to come the message that is being received can take before it is cut."""
    cdef size_t room
    if protocol._buffer_size and protocol._message.length < protocol._buffer_size:
        room = protocol._buffer_size - protocol._message.length
        return room if length > room else <size_t>length
    return _narrowed(length)


cdef inline size_t _narrowed(uint64_t length) noexcept:
    return <size_t>length if length <= <uint64_t>PY_SSIZE_T_MAX else <size_t>PY_SSIZE_T_MAX
