# One server: its settings, its operations.

cdef class Cork:
    """Holds back what is sent to one connection until the block ends."""

    cdef Socket socket


    def __cinit__(self, Socket socket):
        self.socket = socket

    def __enter__(self):
        self.socket.flags |= CORKED

    def __exit__(self, *exc_info):
        cdef Socket socket = self.socket
        socket.flags &= ~<uint32_t>CORKED
        if socket.descriptor >= 0 and not socket.engine.reactor.in_round:
            write_output(socket.engine.reactor, socket)


cdef class ParkedEngine:
    """The engine of one server. See `lws_gevent.engines.interface.Engine` for what the methods do."""

    cdef object __weakref__
    cdef readonly object context
    cdef object settings
    cdef Reactor reactor
    cdef Listening listening
    cdef lws_limits limits
    cdef lws_limits client_limits  # of connections whose client we are
    cdef object message_function
    cdef int message_arity
    cdef bint has_message
    cdef bint has_ping
    cdef bint has_pong
    cdef bint has_drain
    cdef bint has_connection
    cdef bint has_close
    cdef bint plain_upgrade      # nothing but the strict checks decides about a handshake
    cdef object tls_context
    cdef bint proxy_protocol     # connections begin with its header
    cdef bint trusts_proxies     # a header of the request may name another address
    cdef bint has_access_log
    cdef bint has_deflate        # compression may be agreed on
    cdef dict agreed             # Agreed by role and parameters
    cdef size_t threshold        # octets from which on messages are compressed
    cdef bint auto_pong
    cdef bint own_close_event
    cdef int policy
    cdef size_t max_backpressure
    cdef size_t buffer_size      # octets of a piece; 0: messages come whole
    cdef size_t max_header_size
    cdef double send_timeout
    cdef uint32_t handshake_timeout
    cdef uint32_t close_timeout
    cdef uint32_t idle_timeout
    cdef uint32_t ping_after     # ticks of silence; 0: never
    cdef uint32_t lost_after
    cdef uint32_t max_lifetime
    cdef Py_ssize_t max_connections
    cdef readonly Py_ssize_t connection_count
    cdef readonly Py_ssize_t open_count
    cdef Py_ssize_t attached     # connections whose close is not reported yet
    cdef uint64_t accepted
    cdef uint64_t refused
    cdef uint64_t opened
    cdef uint64_t ended_count
    cdef uint64_t messages_received
    cdef uint64_t messages_sent
    cdef uint64_t octets_received
    cdef uint64_t octets_sent
    cdef uint64_t dropped
    cdef object ended            # an Event while a shutdown waits for connections to end
    cdef bytes target_octets     # the last request target, and its str: most connections share one
    cdef object target_text


    name = "parked"

    def __init__(self, context):
        settings = context.settings
        self.context = context
        self.settings = settings
        self.limits.max_payload = UINT64_MAX if settings.max_payload is None else settings.max_payload
        self.limits.max_fragments = settings.max_fragments or 0
        self.limits.role = LWS_SERVER
        self.limits.validate_utf8 = not settings.skip_utf8_validation
        self.client_limits = self.limits
        self.client_limits.role = LWS_CLIENT
        self.tls_context = settings.ssl
        self.proxy_protocol = bool(settings.proxy_protocol)
        self.trusts_proxies = settings.trusted_proxies is not None
        self.has_access_log = context.access_log is not None
        self.has_deflate = context.deflaters is not None
        self.agreed = {}
        if self.has_deflate:
            self.threshold = settings.per_message_deflate.threshold
        self.auto_pong = settings.auto_pong
        self.own_close_event = settings.own_close_event
        self.policy = {"block": POLICY_BLOCK, "drop": POLICY_DROP, "close": POLICY_CLOSE}[settings.backpressure]
        self.max_backpressure = SIZE_MAX if settings.max_backpressure is None else settings.max_backpressure
        self.buffer_size = settings.buffer_size or 0
        self.max_header_size = min(settings.max_header_size, BUFFER_SIZE - 1)
        self.send_timeout = settings.send_timeout or 0
        self.handshake_timeout = ticks(settings.handshake_timeout)
        self.close_timeout = ticks(settings.close_timeout)
        self.idle_timeout = ticks(settings.idle_timeout)
        self.ping_after = ticks(settings.ping_after)
        self.lost_after = ticks(settings.lost_after)
        self.max_lifetime = ticks(settings.max_lifetime)
        self.max_connections = -1 if settings.max_connections is None else settings.max_connections
        context.on_change.append(self._on_change)
        self._on_change(None)

    def _on_change(self, event):
        """The listeners have changed: what the hot path looks at is worked out again."""
        cdef Socket socket
        context = self.context
        settings = self.settings
        listeners = context.emitter._listeners.get("message", ())
        had_message = self.has_message
        self.has_message = len(listeners) > 0
        self.message_function = None
        if len(listeners) == 1 and not listeners[0].once:
            self.message_function = listeners[0].function
            self.message_arity = min(listeners[0].arity, 4)
        self.has_ping = context.has_listeners("ping")
        self.has_pong = context.has_listeners("pong")
        self.has_connection = context.has_listeners("connection")
        self.has_close = context.has_listeners("close")
        self.plain_upgrade = (
            settings.path is None and settings.origins is None and settings.subprotocols is None
            and not context.has_listeners("upgrade") and not self.trusts_proxies
            and not (context.wsgi is not None and context.wsgi.takes_upgrades)
        )
        if self.has_message and not had_message and self.reactor is not None:
            for socket in self.sockets():
                push_ready(self.reactor, socket)

    cdef list sockets(self):
        cdef list found = []
        cdef Py_ssize_t index
        cdef Reactor reactor = self.reactor
        if reactor is not None:
            for index in range(reactor.slot_count):
                if reactor.slots[index] != NULL and (<Socket>reactor.slots[index]).engine is self:
                    found.append(<Socket>reactor.slots[index])
        return found

    cdef object target(self, const uint8_t *data, size_t length):
        """The request's target as str; connections that ask for the same one after the other share it."""
        if (
            self.target_octets is None or <size_t>PyBytes_GET_SIZE(self.target_octets) != length
            or memcmp(PyBytes_AS_STRING(self.target_octets), data, length) != 0
        ):
            self.target_octets = PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>length)
            self.target_text = PyUnicode_DecodeLatin1(<const char *>data, <Py_ssize_t>length, NULL)
        return self.target_text

    cdef int find_reactor(self) except -1:
        """The hub of this thread is the engine's, unless it has connections in another."""
        if self.reactor is None or self.reactor.epoll < 0 or self.connection_count == 0 and self.listening is None:
            self.reactor = reactor_of_hub()
        return check_thread(self.reactor)

    def start_accepting(self, server):
        cdef Listening listening
        self.find_reactor()
        listener = getattr(server, "socket", None)
        if listener is None or self.listening is not None:
            return True
        listener.setblocking(False)
        listening = Listening.__new__(Listening)
        listening.engine = self
        listening.descriptor = listener.fileno()
        # Accepted sockets inherit its options: one system call for all of them.
        settings = self.settings
        tune(listener, (settings.keep_alive_time, settings.keep_alive_interval, settings.keep_alive_retry))
        listening.index = len(self.reactor.listenings)
        if None in self.reactor.listenings:
            listening.index = self.reactor.listenings.index(None)
            self.reactor.listenings[listening.index] = listening
        else:
            self.reactor.listenings.append(listening)
        watch_listening(self.reactor, listening)
        self.listening = listening
        count_registered(self.reactor, 1)
        return True

    def stop_accepting(self, server):
        cdef epoll_event event
        cdef Listening listening = self.listening
        if listening is None:
            return
        self.listening = None
        if self.reactor is None:
            return
        if listening.timer is not None:
            listening.timer.stop()
            listening.timer.close()
            listening.timer = None
        if not listening.paused:
            epoll_ctl(self.reactor.epoll, EPOLL_CTL_DEL, listening.descriptor, &event)
        self.reactor.listenings[listening.index] = None
        listening.engine = None
        count_registered(self.reactor, -1)

    def handle(self, sock, address):
        raise NotImplementedError("the parked engine accepts by itself")

    def adopt(
        self, sock, request, bytes head=b"", decision=ANSWERED, *, role=Role.SERVER, address=None, transport=None
    ):
        self.find_reactor()
        if transport is not None and not hasattr(transport, "release"):
            from lws_gevent.tls_relay import TlsRelay  # what it needs is for those alone who use it
            if address is None:
                address = transport.getpeername()
            sock, transport = TlsRelay(transport).sock, None
        return adopt_connection(self, sock, request, head, decision, role == Role.CLIENT, address, transport)

    def take_back(self, sock, address, octets):
        self.find_reactor()
        take_back(self, sock, address, octets)

    def connections(self):
        cdef Socket socket
        return [socket for socket in self.sockets() if socket.flags & OPENED and socket.state < CLOSED and not socket.flags & LOST]

    def stats(self):
        return {
            "accepted": self.accepted,
            "refused": self.refused,
            "opened": self.opened,
            "closed": self.ended_count,
            "messages_received": self.messages_received,
            "messages_sent": self.messages_sent,
            "octets_received": self.octets_received,
            "octets_sent": self.octets_sent,
            "dropped": self.dropped,
        }

    def go_away(self, Socket socket not None, code):
        if socket.state == OPEN:
            close_socket(socket, code, "", False)

    def shutdown(self, code, timeout):
        cdef Socket socket
        cdef Turn turn
        cdef Reactor reactor = self.reactor
        if reactor is None or self.attached == 0:
            return
        check_thread(reactor)
        for socket in self.sockets():
            if socket.state == CONNECTING:
                disconnect(reactor, socket)
            elif socket.state == OPEN:
                close_socket(socket, code, "", False)
        self.wait_for_end(timeout)
        blocked = [
            turn.greenlet for turn in reactor.turns
            if turn.socket is not None and turn.socket.engine is self and turn.greenlet is not getcurrent()
        ]
        killall(blocked, block=False)
        joinall(blocked, KILL_SECONDS)
        for socket in self.sockets():
            disconnect(reactor, socket)
        self.wait_for_end(KILL_SECONDS)

    cdef int wait_for_end(self, timeout) except -1:
        """Until every connection has ended and its close handlers have returned. Of the one whose handler waits here, the TCP
        connection at least."""
        cdef Turn turn
        cdef Socket mine = None
        current = getcurrent()
        if type(current) is HandlerGreenlet:
            turn = current.turn
            if turn.socket is not None and turn.socket.engine is self:
                mine = turn.socket
        due = monotonic() + timeout
        while self.attached > (0 if mine is None else 1) or mine is not None and mine.descriptor >= 0:
            left = due - monotonic()
            if left <= 0:
                break
            self.wait_for_release(left)
        return 0

    cdef int wait_for_release(self, timeout) except -1:
        """Until any connection has ended and its close handlers have returned, or for `timeout` seconds."""
        if self.ended is None:
            self.ended = Event()
        self.ended.wait(timeout)
        return 0

    def wait_until_ended(self, Socket socket not None, timeout):
        current = getcurrent()
        if socket.engine is None or (type(current) is HandlerGreenlet and (<Turn>current.turn).socket is socket):
            return True
        check_thread(self.reactor)
        due = monotonic() + timeout
        while socket.engine is not None and socket.state != CONNECTING:
            left = due - monotonic()
            if left <= 0:
                return False
            self.wait_for_release(left)
        return True

    def deliver_later(self, Socket socket not None, str event, *arguments):
        if socket.engine is not None:
            deliver_later(self.reactor, socket, event, arguments)

    # Operations: bound on the server, so that a call costs no Python function around it (rule 13)

    def send(self, Socket socket not None, message, binary=None, compress=None):
        return send_message(socket, message, binary, compress)

    def send_prepared(self, Socket socket not None, prepared, binary=None):
        return send_prepared(socket, prepared, binary)

    def send_fragment(self, Socket socket not None, piece, fin, binary=None):
        return send_fragment(socket, piece, fin, binary)

    def close_socket(self, Socket socket not None, code=1000, reason=""):
        close_socket(socket, code, reason, True)

    def terminate(self, Socket socket not None):
        terminate(socket)

    def ping(self, Socket socket not None, data=b""):
        send_control(socket, LWS_PING, data)

    def pong(self, Socket socket not None, data=b""):
        send_control(socket, LWS_PONG, data)

    def set_user_data(self, Socket socket not None, data):
        socket.data = data

    def get_user_data(self, Socket socket not None):
        return socket.user_data

    def get_fd(self, Socket socket not None):
        return socket.fd

    def respond(self, Socket socket not None, status, headers=None, body=b""):
        respond(socket, status, headers, body)

    def cork(self, Socket socket not None):
        check_open(socket)
        return Cork.__new__(Cork, socket)

    def broadcast(self, prepared, exclude, slow, list sockets=None):
        """Queues one encoded frame to each open connection, or to each of `sockets`, by reference. Never blocks: an over-limit
        receiver is dropped or closed."""
        cdef Socket socket
        cdef bytes payload = prepared.payload
        cdef uint8_t opcode = LWS_BINARY if prepared.binary else LWS_TEXT
        cdef bytes plain = None
        cdef bytes compressed = None
        cdef bytes frame
        cdef object compresses = None  # what `compressed` was made by
        cdef object deflate
        cdef Py_ssize_t count = 0
        cdef bint at_once
        cdef bint drop = slow == "drop" or self.policy == POLICY_DROP
        if self.reactor is None:
            return 0
        check_thread(self.reactor)
        # The first broadcast of a round is written at once: nothing has to be kept for each receiver. Further ones are gathered.
        at_once = not self.reactor.in_round or not self.reactor.has_broadcast
        self.reactor.has_broadcast = True
        if exclude:
            exclude = set(exclude)
        for socket in self.sockets() if sockets is None else sockets:
            if socket.state != OPEN or socket.flags & (LOST | CLOSE_RECEIVED | FRAGMENTING):
                continue
            if exclude and socket in exclude:
                continue
            if is_over(socket):
                write_output(self.reactor, socket)
                if socket.state != OPEN or socket.flags & LOST:
                    continue
                if is_over(socket):
                    socket.flags |= OVER
                    if drop:
                        dropped(socket, prepared.payload, prepared.binary)
                    else:
                        cut_connection(self.reactor, socket, "back-pressure")
                    continue
            if is_compressed(socket, <size_t>PyBytes_GET_SIZE(payload), None):
                deflate = deflate_of(socket)
                if deflate.keeps_context or socket.flags & CLIENT:
                    try:
                        send_compressed(socket, payload, opcode, True)
                        count += 1
                    except ConnectionClosed:
                        pass
                    continue
                if deflate is not compresses:
                    compressed = prepared.compressed_frame(deflate)
                    compresses = deflate
                    if socket.state != OPEN or socket.flags & LOST:
                        continue
                frame = compressed
            else:
                if plain is None:
                    plain = prepared.frame(None)
                    if socket.state != OPEN or socket.flags & LOST:
                        continue
                frame = plain
            queue_broadcast(socket, prepared, frame, at_once)
            count += 1
        self.messages_sent += count
        return count


cdef int queue_broadcast(Socket socket, prepared, bytes frame, bint at_once) except -1:
    """As queue_prepared; `at_once`: nothing is held back."""
    cdef size_t length = <size_t>PyBytes_GET_SIZE(frame)
    if at_once and socket.engine.reactor.cork_owner is not socket and not socket.flags & CLIENT:
        count_sent(socket, length)
        return write_through(
            socket.engine.reactor, socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(frame), length, frame
        )
    return queue_prepared(socket, prepared, frame, prepared.binary)


cdef uint32_t ticks(seconds) except? 0:
    """As ticks of the wheel, rounded up; 0 for None."""
    if seconds is None:
        return 0
    return <uint32_t>max(1, min(-(-seconds * TICKS // 1), 0x7fffffff))


InterfaceSocket.register(Socket)
