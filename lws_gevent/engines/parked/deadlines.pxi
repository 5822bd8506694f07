# Deadlines: in a wheel of ticks, looked at by one timer that runs only while there is one.

cdef int set_deadline(Reactor reactor, Socket socket) except -1:
    cdef ParkedEngine engine = socket.engine
    cdef uint32_t due = UINT32_MAX
    cdef uint32_t reference
    if socket.descriptor < 0:
        return 0
    if reactor.listed == 0:
        read_clock(reactor)  # no tick has kept it
    if socket.flags & REFUSED:
        due = reactor.now + min(engine.close_timeout, <uint32_t>(LINGER_SECONDS * TICKS))
    elif socket.flags & ANSWERING:
        if engine.idle_timeout > 0:  # for an application that forgets to answer
            due = reactor.now + engine.idle_timeout
    elif socket.state == CONNECTING:
        due = reactor.now + engine.handshake_timeout
    elif socket.state == CLOSING:
        due = reactor.now + engine.close_timeout
        if socket.rare is not None:
            socket.rare.stalled = socket.rare.progress
    else:
        if engine.lost_after > 0:
            due = socket.last_receive + engine.lost_after
        if engine.ping_after > 0:
            reference = socket.last_receive
            if socket.rare is not None and socket.rare.pinged > reference:
                reference = socket.rare.pinged
            if reference + engine.ping_after < due:
                due = reference + engine.ping_after
        if socket.rare is not None and socket.rare.opened > 0 and socket.rare.opened + engine.max_lifetime < due:
            due = socket.rare.opened + engine.max_lifetime
    unlist(reactor, socket)
    if due != UINT32_MAX:
        enlist(reactor, socket, due + 1)  # a tick that has begun is not yet over
    return 0


cdef int enlist(Reactor reactor, Socket socket, uint32_t due) except -1:
    cdef int32_t *head
    if due <= reactor.swept:
        due = reactor.swept + 1
    head = &reactor.wheel[due % WHEEL_SIZE]
    socket.due = due
    socket.timer_previous = -1
    socket.timer_next = head[0]
    if head[0] >= 0:
        (<Socket>reactor.slots[head[0]]).timer_previous = socket.descriptor
    head[0] = socket.descriptor
    socket.flags |= LISTED
    reactor.listed += 1
    if reactor.listed == 1:
        reactor.swept = reactor.now
        if not reactor.spares:
            reactor.timer.start(reactor._on_tick, update=True)
    return 0


cdef int unlist(Reactor reactor, Socket socket) except -1:
    if not socket.flags & LISTED:
        return 0
    if socket.timer_previous >= 0:
        (<Socket>reactor.slots[socket.timer_previous]).timer_next = socket.timer_next
    else:
        reactor.wheel[socket.due % WHEEL_SIZE] = socket.timer_next
    if socket.timer_next >= 0:
        (<Socket>reactor.slots[socket.timer_next]).timer_previous = socket.timer_previous
    socket.timer_next = -1
    socket.timer_previous = -1
    socket.flags &= ~<uint32_t>LISTED
    reactor.listed -= 1
    if reactor.listed == 0 and not reactor.spares:
        reactor.timer.stop()
    return 0


cdef int on_deadline(Reactor reactor, Socket socket) except -1:
    """In the hub: no user code runs here; what handlers have to hear of is queued for a turn."""
    cdef ParkedEngine engine = socket.engine
    cdef uint32_t silent
    if socket.flags & REFUSED:
        return disconnect(reactor, socket)
    if socket.state == CONNECTING:
        if not socket.flags & BUSY:
            return disconnect(reactor, socket)
    elif socket.state == CLOSING:
        if socket.rare is None or socket.rare.progress == socket.rare.stalled:
            return disconnect(reactor, socket)
    elif not socket.interest & INTEREST_READ:
        socket.last_receive = reactor.now  # we are the ones who do not read: the peer's silence proves nothing (rule 1)
    else:
        if socket.rare is not None and socket.rare.opened > 0 and reactor.now - socket.rare.opened >= engine.max_lifetime:
            close_socket(socket, 1001, "max_lifetime", False)
            return 0
        silent = reactor.now - socket.last_receive
        if engine.lost_after > 0 and silent >= engine.lost_after:
            return cut_connection(reactor, socket, "idle_timeout")
        if engine.ping_after > 0 and silent >= engine.ping_after and (
            socket.rare is None or reactor.now - socket.rare.pinged >= engine.ping_after
        ):
            queue_frame(socket, LWS_PING, True, NULL, 0, None)
            if socket.descriptor < 0:
                return 0
            rare_of(socket)
            socket.rare.pinged = reactor.now
    set_deadline(reactor, socket)
    return 0
