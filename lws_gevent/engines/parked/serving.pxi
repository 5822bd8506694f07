# Serving one connection in its turn, and the calls of its handlers (rules 4, 9).

cdef int serve(Reactor reactor, Turn turn, Socket socket, uint32_t events) except -1:
    socket.flags &= ~<uint32_t>READY
    if socket.descriptor >= 0 and events & EPOLLOUT:
        write_output(reactor, socket)
    if socket.flags & BUSY:
        if socket.descriptor >= 0:
            if is_inert(socket):
                begin_turn(reactor, turn)
                receive(reactor, turn, socket)
            else:
                receive_ahead(reactor, socket, events)
            update_interest(reactor, socket)
        return 0
    turn.socket = socket
    socket.flags |= BUSY
    if socket.descriptor >= 0:
        if socket.rare is not None and socket.rare.events is not None:
            deliver_events(reactor, turn, socket)  # they happened before what is read now
    if socket.descriptor >= 0:
        begin_turn(reactor, turn)
        if socket.flags & PROXY_DUE and not take_proxy_header(reactor, socket):
            pass  # it is not all there, or was none
        elif is_deliverable(socket):
            receive(reactor, turn, socket)
        else:
            receive_ahead(reactor, socket, events)
            decode(reactor, turn, socket)  # control frames: messages wait
    settle(reactor, turn, socket)
    return 0


cdef inline void begin_turn(Reactor reactor, Turn turn):
    """What this connection may use up before another has its turn; less when this round has read much already (rule 8)."""
    turn.calls = TURN_CALLS
    turn.octets = TURN_OCTETS if reactor.round_octets < ROUND_OCTETS else LATE_TURN_OCTETS


cdef int settle(Reactor reactor, Turn turn, Socket socket) except -1:
    """The end of a connection's turn: what queued behind its handlers is delivered, what it sent goes out, and it parks."""
    cdef ParkedEngine engine
    cdef Rare rare
    while True:
        rare = socket.rare
        engine = socket.engine
        if engine is None:
            break
        if rare is not None and rare.events is not None:
            deliver_events(reactor, turn, socket)
            continue
        if rare is not None and socket.state == CLOSED and (
            rare.pending_end > 0 or rare.assembly is not None or rare.inflation is not None
        ):
            if decode(reactor, turn, socket) and socket.rare is not None:
                pending_free(socket.rare)  # part of a frame whose rest will never come
                socket.rare.assembly = None
            if socket.flags & READY:
                break
            continue
        if socket.state == CLOSED and not socket.flags & CLOSE_REPORTED:
            socket.flags |= CLOSE_REPORTED
            if engine.has_close:
                reason = "" if rare is None or rare.reason is None else rare.reason
                deliver(reactor, turn, socket, "close", (socket.code or 1006, reason))
            continue
        if rare is not None and rare.visit is not None and socket.state == CLOSED:
            expect_blocking(reactor)
            log_visit(socket)
            continue
        break
    turn.socket = None
    turn.event = None
    socket.flags &= ~<uint32_t>BUSY
    if reactor.cork_owner is socket:
        uncork(reactor, socket)
    if socket.descriptor < 0:
        if not socket.flags & READY:
            release(socket)
    else:
        if socket.rare is not None and socket.rare.output.size > 0 and not socket.interest & INTEREST_WRITE:
            write_output(reactor, socket)
        if socket.descriptor >= 0:
            if (
                socket.rare is not None and socket.rare.pending_end > LWS_MAX_LEFTOVER and not socket.flags & READY
                and is_deliverable(socket) and socket.state != CONNECTING
            ):
                push_ready(reactor, socket)  # received while an event other than a message was handled
            if socket.state == CLOSED and not socket.flags & BUSY:
                forget_data(socket)
            update_interest(reactor, socket)
            if is_holding(socket) and wants_to_read(socket, True):
                push_ready(reactor, socket)
        elif not socket.flags & READY:
            push_ready(reactor, socket)  # it has ended just now
    if socket.rare is not None and rare_is_empty(socket.rare):
        socket.rare = None
    return 0


cdef int deliver_events(Reactor reactor, Turn turn, Socket socket) except -1:
    """Delivers what has queued, and what queues meanwhile."""
    cdef Rare rare = socket.rare
    while rare is not None and rare.events is not None:
        name, arguments = rare.events.pop(0)
        if not rare.events:
            rare.events = None
        if name == "connection":
            deliver_connection(reactor, turn, socket)
        else:
            deliver(reactor, turn, socket, name, arguments)
        rare = socket.rare
    return 0


cdef int deliver_connection(Reactor reactor, Turn turn, Socket socket) except -1:
    """A handler that has claimed its connection and returns is done with it."""
    deliver(reactor, turn, socket, "connection", ())
    if socket.flags & CLAIMED and socket.rare.claimed_by_handler and socket.state == OPEN:
        close_socket(socket, 1000, "", True)
    return 0


cdef int deliver(Reactor reactor, Turn turn, Socket socket, str name, tuple arguments) except -1:
    """Has the listeners of an event called, by the boundary that catches everything (rule 4)."""
    turn.event = name
    if reactor.current is not turn:
        expect_blocking(reactor)
    if name == "error":
        socket.engine.context.report_error(arguments[0], socket)
    else:
        socket.engine.context.deliver(name, socket, socket, *arguments)
    return 0


cdef int deliver_later(Reactor reactor, Socket socket, str name, tuple arguments) except -1:
    """Queues an event behind the connection's running handler, or has a turn deliver it (rules 9 and 10)."""
    cdef Rare rare
    if not socket.engine.context.has_listeners(name):
        return 0
    rare = rare_of(socket)
    if rare.events is None:
        rare.events = []
    rare.events.append((name, arguments))
    if not socket.flags & BUSY:
        push_ready(reactor, socket)
    return 0


#: The last argument of `message`: whole messages have nothing to follow.
cdef object NOTHING_REMAINS = 0


cdef int deliver_message(
    Reactor reactor, Turn turn, Socket socket, object message, bint binary, object remaining=NOTHING_REMAINS
) except -1:
    """A whole message, or a piece of one behind which `remaining` octets are known to come."""
    cdef ParkedEngine engine = socket.engine
    cdef PyObject *arguments[4]
    cdef object kind
    if remaining is NOTHING_REMAINS:
        engine.messages_received += 1
    if socket.flags & (CLAIMED | OWN_CLOSE | FAILED):
        if socket.flags & CLAIMED and not socket.flags & FAILED:
            socket.rare.inbox.put(message)
        return 0
    turn.calls -= 1
    if engine.message_function is None:
        if not engine.has_message:  # nobody listens and the connection has ended: recv() can still fetch it
            if rare_of(socket).inbox is None:
                make_inbox(socket)
                socket.rare.low_water.socket = None
            socket.rare.inbox.put(message)
            return 0
        deliver(reactor, turn, socket, "message", (message, binary, remaining))
        return 0
    turn.event = "message"
    if reactor.current is not turn:
        expect_blocking(reactor)
    kind = True if binary else False
    arguments[0] = <PyObject *>socket
    arguments[1] = <PyObject *>message
    arguments[2] = <PyObject *>kind
    arguments[3] = <PyObject *>remaining
    try:
        PyObject_Vectorcall(engine.message_function, arguments, engine.message_arity, NULL)
    except BaseException as error:
        engine.context.handler_failed(error, "message", socket)
    return 0
