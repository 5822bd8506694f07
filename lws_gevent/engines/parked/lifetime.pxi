# A connection from its registration to its end (rules 6, 11).

cdef int push_ready(Reactor reactor, Socket socket) except -1:
    if not socket.flags & READY:
        socket.flags |= READY
        reactor.ready.append(socket)
        call_round(reactor)
    return 0


cdef int update_interest(Reactor reactor, Socket socket) except -1:
    """Tells epoll what this connection waits for, when that has changed."""
    cdef epoll_event event
    cdef uint8_t interest = 0
    if socket.descriptor < 0:
        return 0
    if wants_to_read(socket, False):
        interest |= INTEREST_READ
    if socket.rare is not None and wants_to_write(socket.rare):
        interest |= INTEREST_WRITE
    if interest == socket.interest:
        return 0
    event.events = <uint32_t>EPOLLIN if interest & INTEREST_READ else EPOLLET | <uint32_t>EPOLLRDHUP
    if interest & INTEREST_WRITE:
        event.events |= <uint32_t>EPOLLOUT
    event.data.u64 = <uint64_t>socket.generation << 32 | <uint32_t>socket.descriptor
    if epoll_ctl(reactor.epoll, EPOLL_CTL_MOD, socket.descriptor, &event) == 0:
        socket.interest = interest
    return 0


cdef int count_registered(Reactor reactor, int change) except -1:
    """The watcher runs only while something is registered, so that `gevent.wait()` can end (rule 11)."""
    reactor.registered += change
    if change > 0 and reactor.registered == 1:
        reactor.watcher.start(reactor._on_event)
    elif reactor.registered == 0:
        reactor.watcher.stop()
        reactor.loop.run_callback(reactor._on_empty)
    return 0


cdef Socket register_connection(Reactor reactor, ParkedEngine engine, int descriptor, sockaddr_storage *address):
    """The object of a connection that was accepted. The descriptor belongs to it from here on, whatever happens."""
    cdef Socket socket = Socket.__new__(Socket)
    cdef epoll_event event
    cdef Py_ssize_t count
    cdef PyObject **slots
    socket.descriptor = -1
    socket.engine = engine
    socket.timer_next = -1
    socket.timer_previous = -1
    socket.last_receive = reactor.now
    try:
        set_address(socket, address)
        if descriptor >= reactor.slot_count:
            count = max(reactor.slot_count * 2, descriptor + 64)
            slots = <PyObject **>PyMem_Realloc(reactor.slots, count * sizeof(PyObject *))
            if slots == NULL:
                raise MemoryError()
            memset(slots + reactor.slot_count, 0, (count - reactor.slot_count) * sizeof(PyObject *))
            reactor.slots = slots
            reactor.slot_count = count
        reactor.generation = (reactor.generation + 1) & GENERATION_MASK
        socket.generation = reactor.generation
        event.events = EPOLLIN
        event.data.u64 = <uint64_t>socket.generation << 32 | <uint32_t>descriptor
        if epoll_ctl(reactor.epoll, EPOLL_CTL_ADD, descriptor, &event) != 0:
            raise OSError(errno, os.strerror(errno))
    except BaseException:
        close(descriptor)
        raise
    socket.descriptor = descriptor
    socket.interest = INTEREST_READ
    Py_INCREF(socket)
    reactor.slots[descriptor] = <PyObject *>socket
    engine.connection_count += 1
    engine.attached += 1
    engine.accepted += 1
    count_registered(reactor, 1)
    set_deadline(reactor, socket)
    return socket


cdef int count_closed(Reactor reactor, Socket socket) except -1:
    if socket.flags & OPENED and not socket.flags & COUNTED:
        socket.flags |= COUNTED
        socket.engine.open_count -= 1
        socket.engine.ended_count += 1
    return 0


cdef int forget_data(Socket socket) except -1:
    """What the application has kept with the connection goes once the close handlers have returned."""
    socket.user_data = None
    if socket.flags & SUBSCRIBED and socket.engine is not None:
        socket.flags &= ~<uint32_t>SUBSCRIBED
        socket.engine.context.topics.forget(socket)
    return 0


cdef int release(Socket socket) except -1:
    """The end of all: its close is reported, and nothing that it refers to is kept, for it may be part of a cycle (rule 12)."""
    cdef ParkedEngine engine = socket.engine
    if engine is not None:
        end_inbox(engine.reactor, socket)  # it may have been made when the connection had ended already
    forget_data(socket)
    forget_deflate(socket)
    if socket.engine is not None:  # else somebody else has come here while the application's objects went
        socket.engine = None
        engine.attached -= 1
        if engine.ended is not None:
            engine.ended.set()
            engine.ended = None
    return 0


cdef int disconnect(Reactor reactor, Socket socket) except -1:
    """Ends the TCP connection: out of the set, shut down, closed, in this order (rule 6). The close event comes behind the
    handler that may be running."""
    cdef int descriptor = socket.descriptor
    cdef ParkedEngine engine = socket.engine
    cdef Rare rare = socket.rare
    cdef epoll_event event
    if descriptor < 0:
        return 0
    if rare is not None and rare.tls is not None:
        say_goodbye(reactor, socket, rare.tls)
        if socket.descriptor < 0:
            return 0  # that may run any code
    unlist(reactor, socket)
    if reactor.cork_owner is socket:
        reactor.cork_owner = None
        reactor.cork_length = 0
    keep = socket.flags & (CLOSE_RECEIVED | ENDED) and socket.flags & OPENED and (
        not socket.flags & (OWN_CLOSE | FAILED | REFUSED)
    )
    if reactor.buffer_owner is socket:
        if not keep:
            reactor.position = reactor.end
        keep_rest(reactor, socket)
        rare = socket.rare
    epoll_ctl(reactor.epoll, EPOLL_CTL_DEL, descriptor, &event)
    shutdown(descriptor, SHUT_RDWR)
    close(descriptor)
    reactor.slots[descriptor] = NULL  # from here on the number may be another connection's
    socket.descriptor = -1
    socket.interest = 0
    socket.state = CLOSED
    count_closed(reactor, socket)
    engine.connection_count -= 1
    if engine.ended is not None:
        engine.ended.set()
        engine.ended = None  # one that is set would be waited for without the hub's turning
    if rare is not None:
        drop_output(rare)
        if not keep:  # else it is delivered yet, before the close event
            pending_free(rare)
            rare.assembly = None
            forget_deflate(socket)
        rare.tls = None
        rare.late_pong = None
        rare.request = None
        rare.opened = 0
        rare.pinged = 0
        rare.fragment_opcode = 0
    end_waiting(reactor, socket)
    end_inbox(reactor, socket)
    if rare is not None and rare.low_water is not None:
        rare.low_water.socket = None
    if not socket.flags & OPENED or socket.flags & OWN_CLOSE and not engine.own_close_event:
        socket.flags |= CLOSE_REPORTED
    if not socket.flags & BUSY:
        if socket.flags & CLOSE_REPORTED and (rare is None or rare.events is None and rare.visit is None):
            release(socket)
        else:
            push_ready(reactor, socket)
    Py_DECREF(socket)
    count_registered(reactor, -1)
    if engine.listening is not None and engine.listening.paused:
        resume_listening(reactor, engine.listening)
    return 0
