# The verbs that end a connection.

cdef object close_socket(Socket socket, code, reason, bint own):
    """Begins our close: pending messages first, then the close frame; the peer's answer is awaited for close_timeout."""
    cdef bytes payload = close_payload(code, reason)
    cdef Reactor reactor
    if socket.state == CONNECTING:
        raise closed_error(socket)
    if socket.state != OPEN:
        if own and not (socket.engine is not None and socket.engine.own_close_event):
            socket.flags |= FAILED  # who closes wants to hear no more of it
        return
    reactor = socket.engine.reactor
    check_thread(reactor)
    if own and not socket.engine.own_close_event:
        socket.flags |= OWN_CLOSE
    if socket.flags & CLOSE_SENT:  # the peer's close is already answered
        return
    # Who hears of his own close hears how it ended: the code comes with the peer's answer, 1006 without one.
    if socket.code == 0 and not (own and socket.engine.own_close_event):
        socket.code = 1005 if code is None else code
        if reason:
            rare_of(socket).reason = reason
    if socket.flags & LOST:
        disconnect(reactor, socket)
        return
    if socket.flags & FRAGMENTING:  # a close frame may stand between fragments (RFC 6455 section 5.4)
        socket.flags &= ~<uint32_t>FRAGMENTING
    socket.flags |= CLOSE_SENT
    queue_frame(
        socket, LWS_CLOSE, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>PyBytes_GET_SIZE(payload), None
    )
    if socket.state == OPEN:
        socket.state = CLOSING
        set_deadline(reactor, socket)
        end_waiting(reactor, socket)
        update_interest(reactor, socket)
        if socket.flags & BUSY == 0:
            push_ready(reactor, socket)  # what is kept undelivered may hold the peer's close already


cdef object terminate(Socket socket):
    cdef Reactor reactor
    if socket.engine is None:
        return
    reactor = socket.engine.reactor
    check_thread(reactor)
    if socket.state == CLOSED:
        socket.flags |= FAILED  # who closes wants to hear no more of it
    else:
        socket.flags |= OWN_CLOSE
    disconnect(reactor, socket)
