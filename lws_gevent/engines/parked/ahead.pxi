# Receiving for a connection whose handler is blocked (rule 1).

cdef int receive_ahead(Reactor reactor, Socket socket, uint32_t events) except -1:
    """For a connection whose handler is blocked, or that nobody listens to: reads into bounded memory of its own and looks at
    control frames only (rule 1)."""
    cdef Rare rare
    cdef size_t room
    cdef ssize_t got = -1
    cdef bint over = False
    if reactor.buffer_owner is socket:
        keep_rest(reactor, socket)
    room = 0 if socket.rare is None else pending_length(socket.rare)
    if room < AHEAD_LIMIT and wants_to_read(socket, False):
        room = AHEAD_LIMIT - room
        claim_buffer(reactor, None)
        got = read_octets(reactor, socket, reactor.buffer, room)
        if socket.descriptor < 0:
            return 0  # what runs in the midst of TLS has ended it
        if got > 0:
            socket.last_receive = reactor.now
            reactor.round_octets += <size_t>got
            count_received(socket, <size_t>got)
            rare = rare_of(socket)
            pending_append(rare, reactor.buffer, <size_t>got)
        elif got != WOULD_BLOCK:
            over = True
    if (
        (socket.state == OPEN or socket.state == CLOSING) and socket.rare is not None
        and socket.rare.skimmed < pending_length(socket.rare)
    ):
        skim(reactor, socket)
    if over or (got <= 0 and events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)):
        lose_connection(reactor, socket)
        if over:
            socket.flags |= ENDED
            disconnect(reactor, socket)
    return 0


cdef int skim(Reactor reactor, Socket socket) except -1:
    """Looks through what was received ahead, with a copy of the protocol's state and of the octets: answers pings, and lets the
    application learn of a close or of an error at once. The frames stay where they are and are decoded in their order later."""
    cdef Rare rare = socket.rare
    cdef uint8_t copy[1024]
    cdef size_t available
    cdef size_t consumed
    cdef lws_event event
    if rare.skimmed == 0:
        rare.ahead = socket.protocol
        rare.known_pongs = rare.pongs
    while not rare.ahead.flags & LWS_RECEIVE_ENDED:
        available = rare.pending_end - rare.pending_begin - rare.skimmed
        if available > sizeof(copy):
            available = sizeof(copy)
        memcpy(copy, rare.pending + rare.pending_begin + rare.skimmed, available)
        consumed = lws_protocol_receive(&rare.ahead, limits_of(socket), copy, available, &event)
        rare.skimmed += consumed
        if event.kind == LWS_EVENT_NONE:
            return 0
        if event.kind == LWS_EVENT_PING and socket.engine.auto_pong:
            if rare.known_pongs > 0:
                rare.known_pongs -= 1
            else:
                rare.pongs += 1
                answer_ping(reactor, socket, PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length))
        elif event.kind == LWS_EVENT_CLOSE:
            take_close(reactor, socket, &event)
        elif event.kind == LWS_EVENT_ERROR:
            close_for_error(reactor, socket, &event)
    return 0


cdef int close_for_error(Reactor reactor, Socket socket, lws_event *event) except -1:
    """An error behind messages that are still to be delivered: the peer and the application learn of it at once."""
    cdef uint8_t payload[2]
    if socket.flags & (CLOSE_SENT | LOST):
        return 0
    payload[0] = <uint8_t>(event.code >> 8)
    payload[1] = <uint8_t>(event.code & 0xff)
    socket.code = event.code
    socket.flags |= CLOSE_SENT | CLOSE_RECEIVED
    queue_frame(socket, LWS_CLOSE, True, payload, 2, None)
    end_waiting(reactor, socket)
    return 0
