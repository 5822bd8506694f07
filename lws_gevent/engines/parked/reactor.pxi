# One epoll set per process and hub, and the rounds in which what is ready there is worked off (rules 1, 8).

@cython.final
cdef class Reactor:
    """One epoll set: of one process and one hub."""
    cdef object __weakref__
    cdef object hub
    cdef object loop
    cdef object hub_switch
    cdef object watcher
    cdef object timer
    cdef object round_timer
    cdef bint round_pending
    cdef object flush_callback
    cdef unsigned long thread
    cdef int process
    cdef int epoll
    cdef epoll_event *events
    cdef int batch_position
    cdef int batch_length
    cdef PyObject **slots
    cdef Py_ssize_t slot_count
    cdef uint32_t generation
    cdef Py_ssize_t registered
    cdef uint8_t *buffer         # shared by all connections: see `claim_buffer`
    cdef Socket buffer_owner
    cdef size_t position
    cdef size_t end
    cdef object buffer_view      # the buffer as a memoryview, for TLS; None: not needed yet
    cdef uint8_t *sealed         # what is read of TLS connections; None of them keeps anything here
    cdef object incoming         # memory BIOs that they share, see tls.pxi
    cdef object outgoing
    cdef Tls tls_user            # whose octets are in them
    cdef bint minds_bios         # somebody may leave something in them
    cdef int pinned              # pointers into the buffers above and the cork are in use: nobody else may touch them
    cdef size_t round_handshakes # steps in this round
    cdef uint8_t *cork
    cdef Socket cork_owner
    cdef size_t cork_length
    cdef lws_request *request
    cdef list spares             # large messages that were delivered: their memory serves again when nobody else holds them
    cdef bint spares_used
    cdef list dirty
    cdef list ready
    cdef list serving            # the ready list of the current round
    cdef Py_ssize_t serving_position
    cdef list pool
    cdef set turns
    cdef list listenings
    cdef bint in_round
    cdef bint has_broadcast      # in this round
    cdef size_t round_octets     # read in this round
    cdef Turn current
    cdef uint32_t now            # ticks of the monotonic clock, read once per round
    cdef int32_t *wheel
    cdef Py_ssize_t listed
    cdef uint32_t swept          # the tick up to which the wheel was looked at
    def __cinit__(self):
        self.epoll = -1
        self.buffer = <uint8_t *>PyMem_Malloc(BUFFER_SIZE)
        self.cork = <uint8_t *>PyMem_Malloc(CORK_SIZE)
        self.events = <epoll_event *>PyMem_Malloc(BATCH_SIZE * sizeof(epoll_event))
        self.request = <lws_request *>PyMem_Malloc(sizeof(lws_request))
        self.wheel = <int32_t *>PyMem_Malloc(WHEEL_SIZE * sizeof(int32_t))
        if (
            self.buffer == NULL or self.cork == NULL or self.events == NULL or self.request == NULL or self.wheel == NULL
        ):
            raise MemoryError()
        self.events[0].data.u64 = LISTENING_BIT  # no connection yet
        memset(self.wheel, 0xff, WHEEL_SIZE * sizeof(int32_t))

    def __init__(self):
        self.hub = get_hub()
        self.loop = self.hub.loop
        self.hub_switch = self.hub.switch
        self.thread = PyThread_get_thread_ident()
        self.process = os.getpid()
        self.spares = []
        self.dirty = []
        self.ready = []
        self.serving = []
        self.pool = []
        self.turns = set()
        self.listenings = []
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        self.watcher = self.loop.io(self.epoll, 1)
        self.timer = self.loop.timer(1.0 / TICKS, 1.0 / TICKS)
        self.round_timer = self.loop.timer(0.0)
        read_clock(self)

    def __dealloc__(self):
        if self.epoll >= 0:
            close(self.epoll)
        PyMem_Free(self.buffer)
        PyMem_Free(self.sealed)
        PyMem_Free(self.cork)
        PyMem_Free(self.events)
        PyMem_Free(self.request)
        PyMem_Free(self.wheel)
        PyMem_Free(self.slots)

    def _on_event(self):
        run_round(self, True)

    def _on_round(self):
        self.round_pending = False
        run_round(self, False)

    def _on_flush(self):
        self.flush_callback = None
        on_hub(self)

    def _on_empty(self):
        """In the hub: nothing is registered any more, so no greenlet is kept for it."""
        cdef Turn turn
        while self.pool and self.registered == 0 and not self.in_round:
            turn = self.pool.pop()
            turn.retired = True
            turn.switch()

    def _on_tick(self):
        cdef list due
        cdef Socket socket
        cdef int32_t descriptor
        read_clock(self)
        if self.now % TICKS == 0:
            if not self.spares_used:
                self.spares = []
            self.spares_used = False
        if self.listed == 0:
            if not self.spares:
                self.timer.stop()
            return
        due = []
        if self.now - self.swept > WHEEL_SIZE:
            self.swept = self.now - WHEEL_SIZE
        while self.swept < self.now:
            self.swept += 1
            descriptor = self.wheel[self.swept % WHEEL_SIZE]
            while descriptor >= 0:
                socket = <Socket>self.slots[descriptor]
                if socket.due <= self.now:
                    due.append(socket)
                descriptor = socket.timer_next
        for socket in due:
            if socket.descriptor >= 0 and socket.flags & LISTED:
                on_deadline(self, socket)


cdef int run_round(Reactor reactor, bint poll) except -1:
    """One round, in the hub: a batch of events and the ready list, worked off by turns. A turn that comes back before they are
    worked off has a blocked handler; another one goes on (rule 1)."""
    cdef Turn turn
    cdef int count = 0
    if reactor.in_round or reactor.epoll < 0:
        return 0
    read_clock(reactor)
    if poll and is_about_last(reactor):
        reactor.events[0].events = <uint32_t>EPOLLIN
        count = 1
    elif poll or reactor.registered > 0:
        count = epoll_wait(reactor.epoll, reactor.events, BATCH_SIZE, 0)
    reactor.batch_position = 0
    reactor.batch_length = count if count > 0 else 0
    reactor.serving = reactor.ready
    reactor.serving_position = 0
    reactor.ready = []
    reactor.in_round = True
    reactor.has_broadcast = False
    reactor.round_octets = 0
    reactor.round_handshakes = 0
    try:
        while reactor.batch_position < reactor.batch_length or reactor.serving_position < len(reactor.serving):
            turn = take_turn(reactor)
            reactor.current = turn
            turn.assigned = True
            turn.switch()
            reactor.current = None
            on_hub(reactor)
    finally:
        reactor.current = None
        reactor.in_round = False
        reactor.serving = []
        reactor.batch_length = 0
    if reactor.dirty:
        flush_output(reactor)
    if reactor.ready:
        call_round(reactor)
    return 0


cdef bint is_about_last(Reactor reactor):
    """Whether the event that the loop has seen can only be that the last batch's first connection is readable: a client's, mostly,
    that is alone in the set, which need not be asked then."""
    cdef uint64_t data = reactor.events[0].data.u64
    cdef PyObject *entry
    if reactor.registered != 1 or data & LISTENING_BIT or <Py_ssize_t>(data & UINT32_MAX) >= reactor.slot_count:
        return False
    entry = reactor.slots[data & UINT32_MAX]
    if entry == NULL or (<Socket>entry).generation != <uint32_t>(data >> 32):
        return False
    return (<Socket>entry).interest == INTEREST_READ and not (<Socket>entry).flags & BUSY and is_deliverable(<Socket>entry)


cdef int call_round(Reactor reactor) except -1:
    """Has the ready list served in the hub's next iteration, so that others have their turn first (rule 8)."""
    if not reactor.round_pending and not reactor.in_round:
        # A timer and not run_callback: callbacks that schedule callbacks keep the loop from polling.
        reactor.round_pending = True
        reactor.round_timer.start(reactor._on_round)
    return 0


cdef Turn take_turn(Reactor reactor):
    """A greenlet that no handler has marked: a pooled one or a fresh one (rule 3)."""
    cdef Turn turn
    while reactor.pool:
        turn = reactor.pool.pop()
        if not turn.is_marked(turn.idle_references):
            return turn
        turn.retired = True
        turn.switch()
    turn = Turn.__new__(Turn, reactor)
    turn.greenlet = HandlerGreenlet(turn)
    turn.switch = turn.greenlet.switch
    reactor.turns.add(turn)
    turn.switch()
    turn.idle_references = lws_references(turn.greenlet)
    return turn


cdef int work_off(Reactor reactor, Turn turn) except -1:
    """Serves connections until the round is worked off or a handler has blocked: then another turn has taken over."""
    cdef uint64_t data
    cdef uint32_t events
    cdef PyObject *entry
    cdef Socket socket
    cdef Py_ssize_t references = lws_references(turn.greenlet)
    while True:
        if reactor.batch_position < reactor.batch_length:
            data = reactor.events[reactor.batch_position].data.u64
            events = reactor.events[reactor.batch_position].events
            reactor.batch_position += 1
            if data & LISTENING_BIT:
                accept_guarded(reactor, turn, <Py_ssize_t>(data & UINT32_MAX))
                socket = None
            else:
                entry = reactor.slots[data & UINT32_MAX]
                if entry == NULL or (<Socket>entry).generation != <uint32_t>(data >> 32):
                    continue  # of a connection that an earlier event of this batch has ended (rule 6)
                socket = <Socket>entry
        elif reactor.serving_position < len(reactor.serving):
            socket = reactor.serving[reactor.serving_position]
            reactor.serving_position += 1
            events = 0
            if not socket.flags & READY:
                continue
        else:
            return 0
        if socket is not None:
            serve_guarded(reactor, turn, socket, events)
            socket = None
        if reactor.current is not turn:
            return 0
        if turn.retired or turn.is_marked(references) or lws_has_context():
            turn.retired = True
            return 0


cdef int accept_guarded(Reactor reactor, Turn turn, Py_ssize_t number) except -1:
    # Not in work_off(): what a `try` keeps on the stack there would be kept for each handler that blocks.
    try:
        accept_connections(reactor, turn, number)
    except BaseException as error:  # memory ran out; that connection is closed
        reactor.hub.handle_error(reactor, type(error), error, error.__traceback__)
    return 0


cdef int serve_guarded(Reactor reactor, Turn turn, Socket socket, uint32_t events) except -1:
    if reactor.pinned:
        return push_ready(reactor, socket)
    try:
        serve(reactor, turn, socket, events)
    except BaseException as error:
        # Memory ran out, or a bug: this connection ends, the others go on.
        reactor.hub.handle_error(reactor, type(error), error, error.__traceback__)
        turn.socket = None
        socket.flags &= ~<uint32_t>BUSY
        disconnect(reactor, socket)
    return 0


cdef int read_clock(Reactor reactor) except -1:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    reactor.now = <uint32_t>(<uint64_t>now.tv_sec * TICKS + <uint64_t>now.tv_nsec * TICKS / 1000000000)
    return 0


cdef bint is_handling(Reactor reactor, Socket socket):
    """Whether the running greenlet is a turn whose handler has blocked before: what it sends goes out when it blocks again."""
    current = getcurrent()
    if type(current) is not HandlerGreenlet or (<Turn>current.turn).socket is None:
        return socket.flags & CORKED != 0
    expect_blocking(reactor)
    return True


cdef int expect_blocking(Reactor reactor) except -1:
    """For a handler outside a round: when it lets the hub run, the hub looks after its connection."""
    if reactor.flush_callback is None:
        reactor.flush_callback = reactor.loop.run_callback(reactor._on_flush)
    return 0


cdef int on_hub(Reactor reactor) except -1:
    """The hub has control: what handlers have sent goes out (rule 2), and what a blocked handler's connection has received
    behind the message that is being handled is looked through (rule 1)."""
    cdef Socket owner = reactor.buffer_owner
    if reactor.pinned:
        return 0
    if owner is not None:
        keep_rest(reactor, owner)
        if (owner.state == OPEN or owner.state == CLOSING) and owner.rare is not None and owner.rare.pending_end > 0 and not is_inert(owner):
            skim(reactor, owner)
        update_interest(reactor, owner)
    flush_output(reactor)
    return 0
