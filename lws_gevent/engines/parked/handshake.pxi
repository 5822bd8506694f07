# The opening handshake, and plain HTTP requests.

cdef Py_ssize_t handshake(Reactor reactor, Turn turn, Socket socket, uint8_t *data, size_t length) except -1:
    """Answers a request head when it is all there: how many octets it took, 0 when it waits for more."""
    cdef ParkedEngine engine = socket.engine
    cdef Rare rare = socket.rare
    cdef size_t head
    cdef lws_request *request = reactor.request
    if rare is not None and rare.request is not None:
        return take_body(reactor, turn, socket, data, length)
    if socket.flags & ANSWERING:
        return 0
    head = lws_request_find_end(data, length, 0 if rare is None else rare.scanned)
    if head == 0 and length <= engine.max_header_size and data[0] != TLS_HANDSHAKE:
        rare_of(socket).scanned = length
        return 0
    if rare is not None:
        rare.scanned = 0
    if (
        head > 0 and head <= engine.max_header_size and engine.plain_upgrade
        and (engine.max_connections < 0 or engine.open_count < engine.max_connections)
        and lws_request_parse(data, head, request) == 0 and lws_request_check_upgrade(request) == 101
        and (not engine.has_deflate or request.extensions.length == 0)
    ):
        key = PyBytes_FromStringAndSize(<const char *>data + request.key.offset, <Py_ssize_t>request.key.length)
        socket.target = engine.target(data + request.target.offset, request.target.length)
        note_request(socket, "GET", 1)
        consume_octets(reactor, socket, head)
        # What follows may run other code: the head is not looked at any more (rule 5).
        answer = UPGRADE_BEGIN + accept_key(key).encode("ascii") + UPGRADE_END
        if socket.descriptor < 0:
            return 0
        queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(answer), <size_t>len(answer), answer)
        open_connection(reactor, turn, socket, None)
        return <Py_ssize_t>head
    handshake_by_context(reactor, turn, socket, PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>length))
    return 0 if socket.flags & (REFUSED | ANSWERING) or socket.descriptor < 0 else 1


cdef int handshake_by_context(Reactor reactor, Turn turn, Socket socket, bytes octets) except -1:
    """The way of a request about which more than the strict checks decides: as the other engines do it."""
    cdef ParkedEngine engine = socket.engine
    cdef Rare rare
    try:
        request, head = engine.context.codec.parse_request(octets, engine.max_header_size, 0)
    except HandshakeError as error:
        return refuse_with(reactor, socket, error)
    if engine.context.wsgi is not None and engine.context.wsgi.takes(request):
        return hand_over(reactor, socket, request, octets)
    consume_octets(reactor, socket, <size_t>head)
    socket.target = request.target
    note_request(socket, request.method, request.version_minor)
    if engine.trusts_proxies:
        set_remote_address(socket, engine.context.client_address(address_of(socket), request.headers))
    if request.upgrade_status == 0 and engine.context.has_listeners("http"):
        try:
            wanted = body_length(request, engine.context.settings.max_body_size)
        except HandshakeError as error:
            return refuse_with(reactor, socket, error)
        if wanted:
            rare = rare_of(socket)
            rare.request = request
            rare.assembly = MessageAssembly.__new__(MessageAssembly)
            if len(octets) == head and request.version_minor and request.headers.get("Expect", "").lower() == "100-continue":
                queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(CONTINUE), <size_t>len(CONTINUE), CONTINUE)
            set_deadline(reactor, socket)
            return 0
    decide_request(reactor, turn, socket, request)
    return 0


cdef int note_request(Socket socket, str method, int version_minor) except -1:
    """For the access log."""
    cdef Visit visit = visit_of(socket)
    if visit is not None:
        visit.method = method
        visit.version_minor = version_minor
    return 0


cdef int refuse_with(Reactor reactor, Socket socket, error) except -1:
    """What the peer has sent is no good request."""
    socket.engine.context.report_refusal(error, socket)
    if socket.descriptor < 0:  # a handler of the log's has let others run
        return 0
    return refuse_request(reactor, socket, response(error.status, error.headers, error.body))


cdef Py_ssize_t take_body(Reactor reactor, Turn turn, Socket socket, uint8_t *data, size_t length) except -1:
    """The body of a plain request: kept until it is all there."""
    cdef Rare rare = socket.rare
    cdef size_t wanted = <size_t>rare.request.content_length - rare.assembly.length
    if wanted > length:
        rare.assembly.reserve(wanted)
        rare.assembly.append(data, length)
        consume_octets(reactor, socket, length)
        return <Py_ssize_t>length
    rare.assembly.append(data, wanted)
    consume_octets(reactor, socket, wanted)
    request = rare.request
    rare.request = None
    request.body = rare.assembly.finish(False)
    rare.assembly = None
    decide_request(reactor, turn, socket, request)
    return 0 if socket.flags & (REFUSED | ANSWERING) or socket.descriptor < 0 else 1


cdef int decide_request(Reactor reactor, Turn turn, Socket socket, request) except -1:
    turn.event = "http" if request.upgrade_status == 0 else "upgrade"
    if request.upgrade_status == 0:
        socket.flags |= ANSWERING
        rare_of(socket)
        socket.rare.method = request.method
    decision = socket.engine.context.decide(socket, request)
    if socket.descriptor < 0 or socket.state != CONNECTING:
        return 0  # it has ended, or was answered by `respond`, while the listeners ran
    if decision is None:
        set_deadline(reactor, socket)
        update_interest(reactor, socket)
        return 0
    if not decision.accept:
        refuse_request(reactor, socket, decision.response)
        return 0
    answer = decision.response
    if decision.subprotocol is not None:
        rare_of(socket).subprotocol = decision.subprotocol
    queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(answer), <size_t>len(answer), answer)
    open_connection(reactor, turn, socket, decision.deflate)
    return 0


cdef int open_connection(Reactor reactor, Turn turn, Socket socket, deflate) except -1:
    """The 101 is on its way: the connection is open, and its handlers hear of it."""
    make_open(reactor, socket)
    set_deflate(socket, deflate)
    if socket.engine.has_connection:
        deliver_connection(reactor, turn, socket)
    return 0


cdef int make_open(Reactor reactor, Socket socket) except -1:
    """From here on it is a WebSocket connection."""
    cdef ParkedEngine engine = socket.engine
    lws_protocol_init(&socket.protocol)
    if visit_of(socket) is not None:
        socket.rare.visit.status = 101
    socket.state = OPEN
    socket.flags |= OPENED
    socket.last_receive = reactor.now
    engine.open_count += 1
    engine.opened += 1
    if engine.max_lifetime > 0:
        rare_of(socket).opened = reactor.now
    set_deadline(reactor, socket)
    return 0


cdef int refuse_request(Reactor reactor, Socket socket, bytes octets) except -1:
    """Writes a complete HTTP response and ends the TCP connection; whatever else the peer sends is thrown away."""
    if socket.descriptor < 0:
        return 0
    socket.engine.refused += 1
    if visit_of(socket) is not None:
        socket.rare.visit.status = int(octets[9:12])
    socket.flags |= REFUSED | CLOSE_REPORTED
    queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(octets), <size_t>len(octets), octets)
    linger(reactor, socket)
    return 0


cdef object respond(Socket socket, status, headers, body):
    if not socket.flags & ANSWERING:
        raise LwsError(ONLY_PLAIN_REQUESTS)
    if socket.state != CONNECTING:
        raise closed_error(socket)
    check_thread(socket.engine.reactor)
    refuse_request(socket.engine.reactor, socket, http_response(socket.rare.method, status, headers, body))
