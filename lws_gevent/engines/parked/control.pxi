# What the control frames and the errors of a peer lead to.

cdef int take_control(Reactor reactor, Turn turn, Socket socket, bint is_ping, bytes payload) except -1:
    cdef ParkedEngine engine = socket.engine
    if is_ping:
        if engine.auto_pong:
            if socket.rare is not None and socket.rare.pongs > 0:
                socket.rare.pongs -= 1  # answered ahead
            else:
                answer_ping(reactor, socket, payload)
        if engine.has_ping:
            deliver_control(reactor, turn, socket, "ping", payload)
    elif engine.has_pong:
        deliver_control(reactor, turn, socket, "pong", payload)
    return 0


cdef int deliver_control(Reactor reactor, Turn turn, Socket socket, str name, bytes payload) except -1:
    if turn.socket is socket:
        turn.calls -= 1
        deliver(reactor, turn, socket, name, (payload,))
    elif len(rare_of(socket).events or ()) < 256:  # bounded: a flood of pings meets a blocked handler
        deliver_later(reactor, socket, name, (payload,))
    return 0


cdef int answer_ping(Reactor reactor, Socket socket, bytes payload) except -1:
    if socket.flags & (CLOSE_SENT | LOST) or socket.state != OPEN:
        return 0
    if socket.rare is not None and socket.rare.output.size > PONG_LIMIT:
        socket.rare.late_pong = payload
        return 0
    queue_frame(
        socket, LWS_PONG, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>PyBytes_GET_SIZE(payload), None
    )
    return 0


cdef int take_close(Reactor reactor, Socket socket, lws_event *event) except -1:
    """The peer's close frame: answered with its own code and reason (RFC 6455 section 5.5.1), after what is pending."""
    cdef uint8_t payload[125]
    cdef size_t length = 0
    if not socket.flags & OWN_CLOSE or socket.engine.own_close_event:
        if socket.code == 0 or socket.flags & OWN_CLOSE:
            socket.code = event.code
            if socket.rare is not None:
                socket.rare.reason = None  # that of our own close
            if event.length > 0:
                rare_of(socket).reason = PyUnicode_DecodeUTF8(
                    <const char *>event.data, <Py_ssize_t>event.length, b"replace"
                )
    socket.flags |= CLOSE_RECEIVED
    if not socket.flags & CLOSE_SENT:
        socket.flags |= CLOSE_SENT
        if event.code != 1005:
            payload[0] = <uint8_t>(event.code >> 8)
            payload[1] = <uint8_t>(event.code & 0xff)
            if event.length <= 123:
                memcpy(payload + 2, event.data, event.length)
                length = 2 + event.length
            else:
                length = 2
        if not socket.flags & LOST:
            queue_frame(socket, LWS_CLOSE, True, payload, length, None)
    end_waiting(reactor, socket)
    if socket.state == OPEN:
        socket.state = CLOSING
        set_deadline(reactor, socket)
    end_when_written(reactor, socket)
    return 0


cdef int end_when_written(Reactor reactor, Socket socket) except -1:
    """Both close frames are exchanged: the TCP connection ends once ours is written (RFC 6455 section 7.1.1)."""
    if socket.descriptor >= 0 and socket.flags & CLOSE_RECEIVED and socket.flags & CLOSE_SENT:
        if not socket.flags & LOST:
            write_output(reactor, socket)
        if socket.descriptor >= 0 and (socket.flags & LOST or buffered(socket) == 0):
            end_transport(reactor, socket)
    return 0


cdef int end_transport(Reactor reactor, Socket socket) except -1:
    """The closing handshake is complete. It is the server that ends the TCP connection; a client waits for that, at most
    close_timeout (RFC 6455 section 7.1.1), and has nothing more to receive meanwhile."""
    if socket.flags & CLIENT and not socket.flags & (ENDED | LOST):
        end_inbox(reactor, socket)
        return update_interest(reactor, socket)
    return disconnect(reactor, socket)


cdef int fail_protocol(Reactor reactor, Socket socket, lws_event *event) except -1:
    """The peer broke the protocol (RFC 6455 section 7.1.7)."""
    cdef str problem = "the peer broke the protocol"
    if event.problem != NULL:
        problem = event.problem.decode("ascii")
    error = PayloadTooBig(event.code, problem) if event.code == 1009 else ProtocolError(event.code, problem)
    error.detail = event.detail
    return fail_with(reactor, socket, error)


cdef int fail_with(Reactor reactor, Socket socket, error) except -1:
    """Fails the connection with the close code of a ProtocolError, which the application hears of."""
    rare_of(socket).assembly = None
    if not socket.flags & OWN_CLOSE:
        if socket.rare.events is None:
            socket.rare.events = []
        socket.rare.events.append(("error", (error,)))
    fail_connection(reactor, socket, error.close_code, error.problem)
    return 0


cdef int fail_connection(Reactor reactor, Socket socket, uint16_t code, str reason) except -1:
    """Ends a connection that cannot go on: a close frame with `code`, and nothing that comes in any more is looked at. The TCP
    connection lingers until the peer has read it."""
    cdef bytes payload
    if socket.descriptor < 0 or socket.state == CLOSED:
        return 0
    if socket.code == 0 or not socket.flags & CLOSE_RECEIVED:
        socket.code = code
        rare_of(socket).reason = reason or None
    if not socket.flags & (CLOSE_SENT | LOST):
        payload = close_payload(code)  # the reason is for our side: it would tell the peer nothing that it can use
        socket.flags |= CLOSE_SENT
        queue_frame(socket, LWS_CLOSE, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>len(payload), None)
    end_waiting(reactor, socket)
    end_inbox(reactor, socket)
    linger(reactor, socket)
    if not socket.flags & BUSY:
        push_ready(reactor, socket)
    return 0


cdef int cut_connection(Reactor reactor, Socket socket, str reason) except -1:
    """Ends the TCP connection at once, and with it everything unsent: close code 1006. `reason` is for our side."""
    lose_connection(reactor, socket)
    if not socket.flags & CLOSE_RECEIVED:
        socket.code = 1006
        rare_of(socket)
        socket.rare.reason = reason
    return disconnect(reactor, socket)


cdef int linger(Reactor reactor, Socket socket) except -1:
    """For the application the connection is over; its descriptor stays until the peer had a chance to read our last octets: closing
    with unread input would reset the connection and could destroy them."""
    socket.state = CLOSED
    socket.flags |= REFUSED
    forget_deflate(socket)
    count_closed(reactor, socket)
    write_output(reactor, socket)
    if socket.descriptor >= 0:
        set_deadline(reactor, socket)
        update_interest(reactor, socket)
    return 0
