# What becomes of it in a forked child (rule 7).

cdef list reactors = []  # weak references, for forked children
cdef bint fork_is_watched = False


def _abandon_reactors():
    global reactors
    cdef Reactor reactor
    for reference in reactors:
        reactor = reference()
        if reactor is not None:
            if getattr(reactor.hub, "_lws_gevent_reactor", None) is reactor:
                del reactor.hub._lws_gevent_reactor
            abandon_reactor(reactor)
    reactors = []


cdef Reactor reactor_of_hub():
    """The reactor of this thread's hub; made when it is first needed."""
    global fork_is_watched
    cdef Reactor reactor
    hub = get_hub()
    reactor = getattr(hub, "_lws_gevent_reactor", None)
    if reactor is None:
        reactor = Reactor()
        hub._lws_gevent_reactor = reactor
        reactors[:] = [reference for reference in reactors if reference() is not None]
        reactors.append(weakref.ref(reactor))
        if not fork_is_watched:
            fork_is_watched = True
            os.register_at_fork(after_in_child=_abandon_reactors)
    return reactor


cdef int abandon_reactor(Reactor reactor) except -1:
    """In a forked child: its copies of the descriptors are closed without a shutdown, and the inherited set is never touched."""
    cdef Py_ssize_t index
    cdef Socket socket
    cdef Listening listening
    reactor.watcher.stop()
    reactor.timer.stop()
    reactor.round_timer.stop()
    # First none of them is a connection any more, then they go: what goes with them may run any code.
    for index in range(reactor.slot_count):
        if reactor.slots[index] != NULL:
            socket = <Socket>reactor.slots[index]
            close(socket.descriptor)
            socket.descriptor = -1
            socket.state = CLOSED
            socket.code = 1006
            socket.flags |= CLOSE_REPORTED
            socket.flags &= ~<uint32_t>LISTED
            if socket.rare is not None:
                pending_free(socket.rare)
                output_clear(&socket.rare.output)
            if socket.engine is not None:
                socket.engine.connection_count = 0
                socket.engine.open_count = 0
                socket.engine.attached = 0
                socket.engine.reactor = None
            socket.engine = None
    for listening in reactor.listenings:
        if listening is not None:
            if listening.timer is not None:
                listening.timer.stop()
            listening.engine.listening = None
            listening.engine.attached = 0
            listening.engine.reactor = None
    reactor.listenings = []
    close(reactor.epoll)
    reactor.epoll = -1
    reactor.registered = 0
    reactor.listed = 0
    reactor.batch_length = 0  # a handler may have forked, in the midst of a round
    reactor.serving = []
    reactor.ready = []
    reactor.dirty = []
    reactor.cork_owner = None
    reactor.buffer_owner = None
    for index in range(reactor.slot_count):
        if reactor.slots[index] != NULL:
            socket = <Socket>reactor.slots[index]
            reactor.slots[index] = NULL
            forget_deflate(socket)
            if socket.rare is not None:
                socket.rare.assembly = None
                socket.rare.events = None
                socket.rare.tls = None
            Py_DECREF(socket)
    return 0
