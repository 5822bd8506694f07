# Sending: from any greenlet of the thread. Back-pressure is applied here, before anything is queued.

cdef int queue_frame(
    Socket socket, uint8_t opcode, bint fin, const uint8_t *payload, size_t length, object owner
) except -1:
    """Queues or writes one frame. `opcode` may have the bit RSV1; `owner`: the bytes object that `payload` lies in, or None when
    it has to be copied."""
    cdef uint8_t header[LWS_MAX_HEADER]
    cdef size_t header_length
    if socket.flags & CLIENT:
        return queue_masked(socket, opcode, fin, payload, length)
    header_length = lws_frame_write_header(header, opcode & 15, fin, opcode & RSV1, length, NULL)
    return queue_octets(socket, header, header_length, payload, length, owner)


cdef int queue_masked(Socket socket, uint8_t opcode, bint fin, const uint8_t *payload, size_t length) except -1:
    """The same for a client: every frame with a key of its own (RFC 6455 section 5.3), so that its payload is always copied. Its
    owner is somebody who holds it, or the stack: making the key and the memory may run other code (rule 5)."""
    cdef uint8_t small[LWS_MAX_HEADER + MASKED_LIMIT]
    cdef uint8_t *frame = small
    cdef size_t header_length
    cdef bytes memory = None
    cdef uint32_t key = new_masking_key()
    if length > MASKED_LIMIT:
        if length > <size_t>PY_SSIZE_T_MAX - LWS_MAX_HEADER:
            raise MemoryError()
        # A few octets more than are used: its header may be shorter than the longest one.
        memory = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(LWS_MAX_HEADER + length))
        frame = <uint8_t *>PyBytes_AS_STRING(memory)
    header_length = lws_frame_write_header(frame, opcode & 15, fin, opcode & RSV1, length, &key)
    if length > 0:
        lws_mask(frame + header_length, payload, length, key)
    if socket.engine is None:
        return 0
    return queue_octets(socket, NULL, 0, frame, header_length + length, memory)


cdef int queue_octets(
    Socket socket, const uint8_t *header, size_t header_length, const uint8_t *payload, size_t length, object owner
) except -1:
    cdef Reactor reactor
    cdef bint deferring
    cdef size_t total = header_length + length
    cdef Rare rare
    if socket.engine is None:
        raise closed_error(socket)  # it has ended while the payload was made
    reactor = socket.engine.reactor
    deferring = reactor.in_round or is_handling(reactor, socket)
    if socket.engine is None:
        return 0
    count_sent(socket, total)
    if deferring and length <= COPY_LIMIT:
        if reactor.cork_owner is socket:
            if total > CORK_SIZE - reactor.cork_length:
                uncork(reactor, socket)
        elif reactor.cork_owner is None and not reactor.pinned and (socket.rare is None or socket.rare.output.first == NULL):
            reactor.cork_owner = socket
            reactor.cork_length = 0
        if reactor.cork_owner is socket:
            if header_length > 0:
                memcpy(reactor.cork + reactor.cork_length, header, header_length)
            if length > 0:
                memcpy(reactor.cork + reactor.cork_length + header_length, payload, length)
            reactor.cork_length += total
            return 0
        rare = rare_of(socket)
        if owner is None or header_length > 0 or length < 512:
            output_copy(&rare.output, header, header_length)
            output_copy(&rare.output, payload, length)
        else:
            output_reference(&rare.output, owner, payload, length)
        mark_dirty(reactor, socket)
        return 0
    write_through(reactor, socket, header, header_length, payload, length, owner)
    return 0


cdef int make_room(Socket socket, bint may_block, bint in_message=False) except -1:
    """Applies the back-pressure policy to a connection that is over its limit: 1 when the message may be queued now, 0 when it is
    to be dropped; raises when the connection has ended or the caller may not wait. `in_message`: for a fragment of the message that
    is being sent."""
    cdef ParkedEngine engine = socket.engine
    cdef Reactor reactor = engine.reactor
    cdef Rare rare
    write_output(reactor, socket)  # the kernel may have room by now
    if socket.state != OPEN or socket.flags & LOST:
        raise closed_error(socket)
    if buffered(socket) <= engine.max_backpressure and (socket.rare is None or not socket.rare.waiting):
        return 1
    socket.flags |= OVER
    if engine.policy == POLICY_DROP:
        return 0
    if engine.policy == POLICY_CLOSE:
        cut_connection(reactor, socket, "back-pressure")
        raise closed_error(socket)
    if not may_block or getcurrent() is reactor.hub:
        raise BackpressureExceeded(
            "the connection is over max_backpressure, and the hub, which this callback runs in, must not wait"
        )
    rare = rare_of(socket)
    if rare.waiting is None:
        rare.waiting = WaitingSenders()
    waiting = rare.waiting
    while True:
        progress = rare.progress
        try:
            waiting.wait(engine.send_timeout if engine.send_timeout > 0 else None)
        except TimeoutError:
            if socket.state != OPEN or socket.flags & LOST:
                raise closed_error(socket) from None
            if rare.progress == progress:
                cut_connection(reactor, socket, "send_timeout")
                raise closed_error(socket) from None
            continue
        if socket.state != OPEN or socket.flags & LOST:
            raise closed_error(socket)
        if buffered(socket) <= engine.max_backpressure:
            try:
                if not in_message:
                    check_no_fragments(socket)
            except ValueError:
                pass_on(socket)
                raise
            return 1


cdef inline int check_no_fragments(Socket socket) except -1:
    if socket.flags & FRAGMENTING:
        raise ValueError(FRAGMENTS_OPEN)
    return 0


cdef int pass_on(Socket socket) except -1:
    """After a sender that had waited has queued its message: the next one may go if there is still room."""
    if socket.rare is not None and socket.rare.waiting and socket.engine is not None:
        if buffered(socket) <= socket.engine.max_backpressure:
            socket.rare.waiting.wake()
    return 0


cdef inline bint is_over(Socket socket):
    """Whether a message has to wait: over the limit, or others wait already."""
    cdef Rare rare = socket.rare
    cdef Reactor reactor
    cdef size_t size = 0
    if socket.engine is None:
        return False  # it has ended: queueing tells
    reactor = socket.engine.reactor
    if rare is not None:
        if rare.waiting is not None and rare.waiting:
            return True
        size = rare.output.size
    if reactor.cork_owner is socket:
        size += reactor.cork_length
    return size > socket.engine.max_backpressure


cdef inline void note_over(Socket socket):
    """After something was left unwritten."""
    if socket.rare is not None and socket.rare.output.size > socket.engine.max_backpressure:
        socket.flags |= OVER


cdef object dropped(Socket socket, message, binary):
    socket.engine.dropped += 1
    deliver_later(socket.engine.reactor, socket, "dropped", (message, binary))
    return False


cdef object send_message(Socket socket, message, binary, compress):
    cdef const char *text
    cdef Py_ssize_t size
    cdef uint8_t opcode
    cdef bint waited = False
    check_open(socket)
    check_no_fragments(socket)
    if PyBytes_CheckExact(message):
        opcode = LWS_TEXT if binary is not None and not binary else LWS_BINARY
        if opcode == LWS_TEXT and lws_utf8_check(
            LWS_UTF8_ACCEPT, <const uint8_t *>PyBytes_AS_STRING(message), <size_t>PyBytes_GET_SIZE(message)
        ) != LWS_UTF8_ACCEPT:
            raise ValueError(NOT_UTF8)
        if is_over(socket):
            if not make_room(socket, True):
                return dropped(socket, message, opcode == LWS_BINARY)
            waited = True
        if is_compressed(socket, <size_t>PyBytes_GET_SIZE(message), compress):
            send_compressed(socket, message, opcode, True)
        else:
            queue_frame(
                socket, opcode, True, <const uint8_t *>PyBytes_AS_STRING(message), <size_t>PyBytes_GET_SIZE(message), message
            )
    elif PyUnicode_Check(message):
        opcode = LWS_BINARY if binary is not None and binary else LWS_TEXT
        text = PyUnicode_AsUTF8AndSize(message, &size)
        if is_over(socket):
            if not make_room(socket, True):
                return dropped(socket, message, opcode == LWS_BINARY)
            waited = True
        if is_compressed(socket, <size_t>size, compress):
            send_compressed(socket, PyBytes_FromStringAndSize(text, size), opcode, True)
        elif <size_t>size > COPY_LIMIT:
            encoded = PyBytes_FromStringAndSize(text, size)
            queue_frame(socket, opcode, True, <const uint8_t *>PyBytes_AS_STRING(encoded), <size_t>size, encoded)
        else:
            queue_frame(socket, opcode, True, <const uint8_t *>text, <size_t>size, None)
    else:
        payload = message_payload(message)
        # A subclass of bytes becomes bytes: it could change what its buffer is while we refer to it.
        return send_message(
            socket, PyBytes_FromStringAndSize(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)),
            False if binary is not None and not binary else True, compress,
        )
    if waited:
        pass_on(socket)
    if socket.engine is not None:
        socket.engine.messages_sent += 1
    return True


cdef int queue_prepared(Socket socket, prepared, bytes frame, bint binary) except -1:
    """The frame as it is; for a client, which may not use a masking key twice, its payload."""
    cdef bytes payload
    if socket.flags & CLIENT:
        payload = prepared.payload
        return queue_masked(
            socket, LWS_BINARY if binary else LWS_TEXT, True, <const uint8_t *>PyBytes_AS_STRING(payload),
            <size_t>PyBytes_GET_SIZE(payload),
        )
    return queue_octets(
        socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(frame), <size_t>PyBytes_GET_SIZE(frame), frame
    )


cdef object send_prepared(Socket socket, prepared, binary):
    cdef bytes frame
    cdef bint waited = False
    check_open(socket)
    if not isinstance(prepared, Prepared):
        raise TypeError(not_prepared(prepared))
    check_no_fragments(socket)
    as_binary = prepared.binary if binary is None else bool(binary)
    if is_compressed(socket, <size_t>PyBytes_GET_SIZE(<bytes>prepared.payload), None):
        if deflate_of(socket).keeps_context or socket.flags & CLIENT:
            return send_message(socket, prepared.payload, as_binary, True)
        frame = prepared.compressed_frame(deflate_of(socket), as_binary)
        check_open(socket)
    else:
        frame = prepared._frames[1 if as_binary else 0]
        if frame is None:
            frame = prepared.frame(as_binary)
    if is_over(socket):
        if not make_room(socket, True):
            return dropped(socket, prepared.payload, as_binary)
        waited = True
    if not check_open(socket):
        queue_prepared(socket, prepared, frame, as_binary)
    if waited:
        pass_on(socket)
    if socket.engine is not None:
        socket.engine.messages_sent += 1
    return True


cdef int keep_fragment(Socket socket, Rare rare, bint fin, uint8_t opcode, uint8_t utf8_state) except -1:
    """Notes what was sent of a message; `fin`: all of it."""
    if fin:
        socket.flags &= ~<uint32_t>FRAGMENTING
        rare.fragment_opcode = 0
        rare.fragment_utf8 = LWS_UTF8_ACCEPT
    else:
        socket.flags |= FRAGMENTING
        rare.fragment_opcode = opcode
        rare.fragment_utf8 = utf8_state
    return 0


cdef object send_fragment(Socket socket, piece, fin, binary):
    cdef bytes octets
    cdef bint first
    cdef uint8_t opcode
    cdef uint8_t opcode_sent
    cdef uint8_t utf8_state
    cdef bint compressed
    cdef Rare rare
    cdef bint waited = False
    check_open(socket)
    first = not socket.flags & FRAGMENTING
    if not first and is_over(socket) and not socket.rare.fragment_dropped:
        # A message is dropped whole or not at all.
        waited = make_room(socket, True, True) == 1
        if not socket.flags & FRAGMENTING:
            pass_on(socket)
            raise ValueError(FRAGMENTS_ENDED)
    if isinstance(piece, str):
        octets = piece.encode("utf-8")
    else:
        octets = message_payload(piece)
    rare = rare_of(socket)
    if first:
        opcode = LWS_TEXT if (isinstance(piece, str) if binary is None else not binary) else LWS_BINARY
    else:
        opcode = rare.fragment_opcode
        if binary is not None and bool(binary) != (opcode == LWS_BINARY):
            raise ValueError(OTHER_KIND)
    opcode_sent = opcode if first else LWS_CONTINUATION
    utf8_state = rare.fragment_utf8
    if opcode == LWS_TEXT:
        utf8_state = lws_utf8_check(
            rare.fragment_utf8, <const uint8_t *>PyBytes_AS_STRING(octets), <size_t>PyBytes_GET_SIZE(octets)
        )
        if utf8_state == 255 or (fin and utf8_state != LWS_UTF8_ACCEPT):
            raise ValueError(NOT_UTF8)
    if first:
        rare.fragment_dropped = False
        if is_over(socket):
            if not make_room(socket, True):
                rare = rare_of(socket)
                rare.fragment_dropped = True
                dropped(socket, piece, opcode == LWS_BINARY)
            waited = True
    if rare.fragment_dropped:
        keep_fragment(socket, rare, fin, opcode, utf8_state)
        return False
    compressed = is_compressed(socket, <size_t>PyBytes_GET_SIZE(octets), None) if first else rare.fragment_compressed
    if compressed:
        # First, because it may fail.
        octets = deflate_of(socket).compress(octets, bool(fin))
        check_open(socket)
        if first:
            opcode_sent = opcode | RSV1
    keep_fragment(socket, rare, fin, opcode, utf8_state)
    rare.fragment_compressed = compressed
    queue_frame(
        socket, opcode_sent, bool(fin), <const uint8_t *>PyBytes_AS_STRING(octets),
        <size_t>PyBytes_GET_SIZE(octets), octets,
    )
    if waited:
        pass_on(socket)
    if fin and socket.engine is not None:
        socket.engine.messages_sent += 1
    return True


cdef object send_control(Socket socket, uint8_t opcode, data):
    cdef bytes payload
    check_open(socket)
    payload = data.encode("utf-8") if isinstance(data, str) else message_payload(data)
    if PyBytes_GET_SIZE(payload) > LWS_MAX_CONTROL_PAYLOAD:
        raise ValueError(too_long_for_control(PyBytes_GET_SIZE(payload)))
    queue_frame(
        socket, opcode, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>PyBytes_GET_SIZE(payload), None
    )
