# Listening sockets: in the same set.

@cython.final
cdef class Listening:
    """A listening socket in the set."""
    cdef ParkedEngine engine
    cdef int descriptor
    cdef int index
    cdef bint inet
    cdef bint paused
    cdef object timer
    cdef double delay

    def _on_timer(self):
        self.timer.close()
        self.timer = None
        if self.engine is not None and self.engine.reactor is not None:
            self.paused = False
            watch_listening(self.engine.reactor, self)
            call_round(self.engine.reactor)


cdef int accept_connections(Reactor reactor, Turn turn, Py_ssize_t index) except -1:
    """Accepts what waits, up to a bound, and serves each at once: its request is usually there already."""
    cdef Listening listening
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int descriptor
    cdef int count
    cdef Socket socket
    for count in range(ACCEPT_BATCH):
        listening = reactor.listenings[index] if index < len(reactor.listenings) else None
        if listening is None or listening.paused or reactor.current is not turn:
            return 0
        length = sizeof(address)
        address.ss_family = 0
        descriptor = accept4(
            listening.descriptor, <sockaddr *>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC
        )
        if descriptor < 0:
            if errno == EINTR or errno == ECONNABORTED:
                continue
            if errno != EAGAIN:
                pause_listening(reactor, listening, errno)
            return 0
        listening.delay = 0
        socket = register_connection(reactor, listening.engine, descriptor, &address)
        if listening.engine.has_access_log:
            begin_visit(socket)
        if listening.engine.tls_context is not None:
            begin_tls(reactor, socket)
        if listening.engine.proxy_protocol:
            socket.flags |= PROXY_DUE
        serve_guarded(reactor, turn, socket, EPOLLIN)
    return 0


cdef int pause_listening(Reactor reactor, Listening listening, int problem) except -1:
    """No descriptor is to be had: accepting rests until one is closed or some time has passed, and never spins."""
    cdef epoll_event event
    epoll_ctl(reactor.epoll, EPOLL_CTL_DEL, listening.descriptor, &event)
    listening.paused = True
    first = listening.delay == 0
    listening.delay = 0.05 if first else min(1.0, listening.delay * 2)
    listening.timer = reactor.loop.timer(listening.delay)
    listening.timer.start(listening._on_timer)
    if first:
        listening.engine.context.report_error(OSError(problem, os.strerror(problem)), None, True)
    return 0


cdef int resume_listening(Reactor reactor, Listening listening) except -1:
    if listening.timer is not None:
        listening.timer.stop()
        listening.timer.close()
        listening.timer = None
    listening.paused = False
    watch_listening(reactor, listening)
    return 0


cdef int watch_listening(Reactor reactor, Listening listening) except -1:
    cdef epoll_event event
    event.events = EPOLLIN
    event.data.u64 = LISTENING_BIT | <uint64_t>listening.index
    if epoll_ctl(reactor.epoll, EPOLL_CTL_ADD, listening.descriptor, &event) != 0:
        raise OSError(errno, os.strerror(errno))
    return 0
