# Receiving: from the descriptor through the protocol to messages (rule 5).

cdef inline lws_limits *limits_of(Socket socket):
    return &socket.engine.client_limits if socket.flags & CLIENT else &socket.engine.limits


cdef bint is_inert(Socket socket):
    """Whether what it receives needs no handler of its own, so that it can be decoded while one is blocked."""
    return socket.flags & (CLAIMED | OWN_CLOSE | FAILED | REFUSED) != 0 and socket.state != CONNECTING or (
        socket.flags & REFUSED != 0
    )


cdef bint is_deliverable(Socket socket):
    """Whether messages may be delivered now."""
    if socket.flags & (CLAIMED | OWN_CLOSE | FAILED | REFUSED):
        return True
    if socket.state == CONNECTING or socket.descriptor < 0:
        return True
    return socket.engine.has_message and not socket.flags & PAUSED


cdef bint is_control(Socket socket, const uint8_t *data, size_t length):
    """Whether the next frame is a control frame, which need not wait until messages may be delivered."""
    cdef lws_frame frame
    return (
        socket.state == OPEN and socket.protocol.frame_remaining == 0
        and lws_frame_read_header(data, length, &frame) > 0 and frame.opcode >= LWS_CLOSE
    )


cdef bint wants_to_read(Socket socket, bint by_owner):
    """Whether reading makes sense: nobody else's turn, nothing ended, and room for what comes."""
    cdef uint32_t flags = socket.flags
    if flags & ENDED:
        return False
    if socket.rare is not None and socket.rare.tls is not None and socket.rare.tls.working:
        return False  # a callback of its TLS handshake is blocked
    if flags & (REFUSED | OWN_CLOSE | FAILED):
        return True
    if flags & CLAIMED:
        return socket.rare.inbox.size < INBOX_LIMIT
    if flags & (ANSWERING | PAUSED) or not by_owner and flags & BUSY or socket.state != CONNECTING and not socket.engine.has_message:
        return socket.rare is None or pending_length(socket.rare) < AHEAD_LIMIT
    return True


cdef inline bint comes_in_pieces(Socket socket):
    """Whether a long message is delivered in pieces: not to who reads in blocking style, nor while nobody listens."""
    return socket.engine.buffer_size > 0 and socket.engine.has_message and not socket.flags & CLAIMED


cdef inline size_t room_of_piece(Socket socket, Rare rare):
    """Octets that the piece which is being put together still takes."""
    cdef size_t size = socket.engine.buffer_size
    if rare is None or rare.assembly is None:
        return size
    return size - rare.assembly.length if rare.assembly.length < size else 0


cdef int deliver_piece(Reactor reactor, Turn turn, Socket socket, bint text, uint64_t upcoming) except -1:
    """A piece that is not the last one of its message."""
    cdef MessageAssembly assembly = socket.rare.assembly
    message = assembly.cut(text)
    return deliver_message(reactor, turn, socket, message, not text, upcoming + assembly.length)


cdef int claim_buffer(Reactor reactor, Socket socket) except -1:
    """Makes the shared buffer this connection's. What another, whose handler is blocked, has not consumed moves into memory of
    that connection's own (rule 5)."""
    cdef Socket owner = reactor.buffer_owner
    cdef size_t length
    if owner is not None and reactor.end > reactor.position:
        length = reactor.end - reactor.position
        pending_append(rare_of(owner), reactor.buffer + reactor.position, length)
    reactor.buffer_owner = None
    reactor.position = 0
    reactor.end = 0
    if socket is not None:
        reactor.buffer_owner = socket
        if socket.rare is not None and socket.rare.pending_end > 0:
            length = pending_length(socket.rare)
            memcpy(reactor.buffer, socket.rare.pending + socket.rare.pending_begin, length)
            reactor.end = length
            pending_free(socket.rare)
    return 0


cdef int keep_rest(Reactor reactor, Socket socket) except -1:
    """Ends the connection's use of the shared buffer; what is not decoded stays with the connection."""
    if reactor.buffer_owner is socket:
        claim_buffer(reactor, None)
    return 0


cdef int receive(Reactor reactor, Turn turn, Socket socket) except -1:
    """Reads, decodes and delivers until nothing is left, the bounds of a turn are met, or reading has to rest."""
    cdef Rare rare
    cdef MessageAssembly assembly
    cdef uint8_t *target
    cdef size_t space
    cdef ssize_t got
    while True:
        if not decode(reactor, turn, socket):
            break
        if socket.descriptor < 0:
            break
        if socket.flags & ENDED:
            disconnect(reactor, socket)
            break
        if turn.octets == 0 or turn.calls == 0:
            keep_rest(reactor, socket)
            push_ready(reactor, socket)
            break
        if not wants_to_read(socket, True):
            keep_rest(reactor, socket)
            break
        rare = socket.rare
        if (
            rare is not None and rare.assembly is not None and socket.protocol.frame_remaining >= DIRECT_MINIMUM
            and not socket.protocol.flags & LWS_MESSAGE_COMPRESSED and not comes_in_pieces(socket)
            and rare.pending_end == 0 and (reactor.buffer_owner is not socket or reactor.position == reactor.end)
        ):
            keep_rest(reactor, socket)
            assembly = rare.assembly
            target = assembly.reserve(socket.protocol.frame_remaining)
            space = assembly.room()
            if space > socket.protocol.frame_remaining:
                space = socket.protocol.frame_remaining
            got = read_octets(reactor, socket, target, space)
            if socket.descriptor < 0:
                break  # what runs in the midst of TLS has ended it
            if got > 0:
                socket.last_receive = reactor.now
                if socket.rare is not None:
                    socket.rare.pinged = 0
                count_received(socket, <size_t>got)
                reactor.round_octets += <size_t>got
                turn.octets -= <size_t>got if <size_t>got < turn.octets else turn.octets
                take_direct(reactor, turn, socket, assembly, target, <size_t>got)
                if <size_t>got < space:
                    break
                continue
        else:
            if reactor.buffer_owner is not socket or reactor.position == reactor.end:
                claim_buffer(reactor, socket)
            elif reactor.position > 0:
                memmove(reactor.buffer, reactor.buffer + reactor.position, reactor.end - reactor.position)
                reactor.end -= reactor.position
                reactor.position = 0
            space = BUFFER_SIZE - reactor.end
            if socket.flags & BULKY and space > BULKY_READ:
                space = BULKY_READ
            if space == 0:
                raise RuntimeError("the receive buffer is full of octets that were not decoded")
            got = read_octets(reactor, socket, reactor.buffer + reactor.end, space)
            if socket.descriptor < 0:
                break
            if got > 0:
                reactor.end += <size_t>got
                socket.last_receive = reactor.now
                if socket.rare is not None:
                    socket.rare.pinged = 0
                count_received(socket, <size_t>got)
                reactor.round_octets += <size_t>got
                turn.octets -= <size_t>got if <size_t>got < turn.octets else turn.octets
                if <size_t>got < space:
                    if decode(reactor, turn, socket):
                        if socket.descriptor >= 0:
                            if turn.octets == 0 or turn.calls == 0:
                                keep_rest(reactor, socket)
                                push_ready(reactor, socket)
                            elif socket.flags & ENDED:
                                continue
                    break
                continue
        if got == WOULD_BLOCK:
            break
        socket.flags |= ENDED | LOST
    keep_rest(reactor, socket)
    return 0


cdef int take_direct(
    Reactor reactor, Turn turn, Socket socket, MessageAssembly assembly, uint8_t *data, size_t length
) except -1:
    """Decodes octets that were received into their message's own memory."""
    cdef lws_event event
    lws_protocol_receive(&socket.protocol, limits_of(socket), data, length, &event)
    if event.kind == LWS_EVENT_ERROR:
        fail_protocol(reactor, socket, &event)
        return 0
    assembly.commit(length)
    if event.kind == LWS_EVENT_DATA and event.last:
        deliver_message(reactor, turn, socket, finish_message(reactor, socket, &event), event.opcode == LWS_BINARY)
    return 0


cdef object finish_message(Reactor reactor, Socket socket, lws_event *event):
    """The message that has come in parts."""
    message = socket.rare.assembly.finish(event.opcode == LWS_TEXT)
    socket.rare.assembly = None
    if event.opcode == LWS_BINARY and SPARE_MINIMUM <= len(message) <= SPARE_MAXIMUM:
        keep_spare(reactor, message)
        socket.flags |= BULKY
    else:
        socket.flags &= ~<uint32_t>BULKY
    return message


cdef int decode(Reactor reactor, Turn turn, Socket socket) except -1:
    """Decodes and delivers what was received. 1: it is all consumed but for part of a frame; 0: delivering has to stop."""
    cdef lws_event event
    cdef uint8_t *data
    cdef size_t length
    cdef size_t consumed
    cdef size_t window
    cdef uint64_t due
    cdef bint shared
    cdef bint in_pieces
    cdef Rare rare
    while True:
        rare = socket.rare
        if rare is not None and rare.inflation is not None:
            if not is_deliverable(socket) and not is_inert(socket):
                keep_rest(reactor, socket)
                return 0
            if turn.calls == 0:
                keep_rest(reactor, socket)
                push_ready(reactor, socket)
                return 0
            if not take_inflated(reactor, turn, socket):
                return 0
            continue
        shared = reactor.buffer_owner is socket and reactor.position < reactor.end
        if shared:
            data = reactor.buffer + reactor.position
            length = reactor.end - reactor.position
        elif rare is not None and rare.pending_end > 0:
            data = rare.pending + rare.pending_begin
            length = rare.pending_end - rare.pending_begin
        else:
            return 1
        if socket.flags & REFUSED:
            consume_octets(reactor, socket, length)
            rare = rare_of(socket)
            rare.lingered += length
            if rare.lingered > LINGER_OCTETS:
                disconnect(reactor, socket)
            return 1
        if not is_deliverable(socket) and not is_inert(socket) and not is_control(socket, data, length):
            keep_rest(reactor, socket)
            if socket.state == OPEN and socket.rare is not None and socket.rare.skimmed < pending_length(socket.rare):
                skim(reactor, socket)  # a ping behind a message that waits is answered, a close is noticed
            return 0
        if turn.calls == 0:
            keep_rest(reactor, socket)
            push_ready(reactor, socket)
            return 0
        if socket.state == CONNECTING:
            consumed = handshake(reactor, turn, socket, data, length)
            if consumed == 0:
                return 1 if socket.state == CONNECTING and not socket.flags & ANSWERING else 0
            continue
        if socket.flags & CLAIMED and socket.rare.inbox.size >= INBOX_LIMIT:
            keep_rest(reactor, socket)
            return 0
        window = length
        in_pieces = comes_in_pieces(socket)
        if in_pieces:
            window = piece_window(
                &socket.protocol, data, length,
                0 if rare is None or rare.assembly is None or socket.protocol.flags & LWS_MESSAGE_COMPRESSED else rare.assembly.length,
                socket.engine.buffer_size, &due,
            )
            if window == 0:
                deliver_piece(reactor, turn, socket, socket.protocol.opcode == LWS_TEXT, due)
                continue
        consumed = lws_protocol_receive(&socket.protocol, limits_of(socket), data, window, &event)
        if event.kind == LWS_EVENT_DATA:
            if event.compressed:
                part = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
                consume_octets(reactor, socket, consumed)
                if not take_compressed(reactor, turn, socket, part, event.opcode, event.first, event.last):
                    return 0
                part = None
            elif event.first and event.last:
                if event.ascii:
                    message = PyUnicode_New(<Py_ssize_t>event.length, 127)
                    memcpy(PyUnicode_1BYTE_DATA(message), event.data, event.length)
                elif event.opcode == LWS_TEXT:
                    # Its UTF-8 is checked, unless the server was asked not to.
                    message = PyUnicode_DecodeUTF8(<const char *>event.data, <Py_ssize_t>event.length, b"replace")
                else:
                    message = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
                consume_octets(reactor, socket, consumed)
                deliver_message(reactor, turn, socket, message, event.opcode == LWS_BINARY)
                message = None
            else:
                take_part(reactor, socket, &event)
                consume_octets(reactor, socket, consumed)
                if event.last:
                    deliver_message(reactor, 
                        turn, socket, finish_message(reactor, socket, &event), event.opcode == LWS_BINARY
                    )
                elif in_pieces and event.frame_remaining > 0 and room_of_piece(socket, socket.rare) == 0:
                    deliver_piece(reactor, turn, socket, event.opcode == LWS_TEXT, event.frame_remaining)
        elif event.kind == LWS_EVENT_NONE:
            consume_octets(reactor, socket, consumed)
            if window < length:
                continue  # past the header of a fragment
            return 1
        elif event.kind == LWS_EVENT_CLOSE:
            take_close(reactor, socket, &event)
            consume_octets(reactor, socket, consumed)
        elif event.kind == LWS_EVENT_ERROR:
            fail_protocol(reactor, socket, &event)
            consume_octets(reactor, socket, consumed)
        else:
            payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
            consume_octets(reactor, socket, consumed)
            take_control(reactor, turn, socket, event.kind == LWS_EVENT_PING, payload)
            payload = None


cdef int consume_octets(Reactor reactor, Socket socket, size_t count) except -1:
    """Forgets the first octets that are to be decoded, wherever they are by now."""
    if reactor.buffer_owner is socket and reactor.position < reactor.end:
        reactor.position += count
    elif socket.rare is not None:
        pending_consume(socket.rare, count)
    return 0


cdef int take_part(Reactor reactor, Socket socket, lws_event *event) except -1:
    """Keeps a part of a message in memory of the right size."""
    cdef Rare rare = rare_of(socket)
    cdef uint64_t upcoming = event.length + event.frame_remaining
    cdef size_t room
    if rare.assembly is None:
        rare.assembly = MessageAssembly.__new__(MessageAssembly)
        if not comes_in_pieces(socket) and event.fin and event.length + event.frame_remaining >= SPARE_MINIMUM and event.opcode == LWS_BINARY:
            use_spare(reactor, rare.assembly, event.length + event.frame_remaining)
    if event.length > 0:
        if comes_in_pieces(socket):
            room = room_of_piece(socket, rare)
            upcoming = min(upcoming, room)
        rare.assembly.reserve(upcoming)
        rare.assembly.append(event.data, event.length)
    return 0


cdef int use_spare(Reactor reactor, MessageAssembly assembly, uint64_t length) except -1:
    """Has a large message received into the memory of an earlier one of the same length that nobody holds any more. Memory that
    comes fresh from the system costs more than what is received into it."""
    cdef Py_ssize_t index
    for index in range(len(reactor.spares)):
        spare = reactor.spares[index]
        if <uint64_t>PyBytes_GET_SIZE(spare) == length and lws_references(spare) == 2:
            del reactor.spares[index]
            lws_forget_hash(spare)
            assembly.adopt(spare)
            reactor.spares_used = True
            break
    return 0


cdef int keep_spare(Reactor reactor, object message) except -1:
    """Keeps a large message's memory for the next one."""
    if len(reactor.spares) >= SPARE_COUNT:
        reactor.spares.pop(0)
    reactor.spares.append(message)
    if reactor.listed == 0:
        reactor.timer.start(reactor._on_tick, update=True)
    return 0
