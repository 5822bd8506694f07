# Connections whose handshake somebody else has made.

cdef Socket adopt_connection(
    ParkedEngine engine, sock, request, bytes head, decision, bint client, address, transport
):
    """The open connection of the connected socket `sock`. Its first turn, in the hub, decodes `head` and reads on."""
    cdef Reactor reactor = engine.reactor
    cdef sockaddr_storage storage
    cdef Socket socket
    cdef bytes answer = decision.response
    target = request.target.encode("latin-1")
    if transport is None:
        taken = take_socket(sock, engine.settings)
    else:
        taken, tls_state = transport.release()
    try:
        peer_address(&storage, <int>taken.fileno(), address)
    except BaseException:
        taken.close()
        raise
    read_clock(reactor)
    socket = register_connection(reactor, engine, <int>taken.detach(), &storage)
    socket.target = engine.target(<const uint8_t *>PyBytes_AS_STRING(target), <size_t>PyBytes_GET_SIZE(target))
    if engine.has_access_log:
        begin_visit(socket)
        note_request(socket, request.method, request.version_minor)
    if client:
        socket.flags |= CLIENT
    elif engine.trusts_proxies:
        set_remote_address(socket, engine.context.client_address(address_of(socket), request.headers))
    make_open(reactor, socket)
    if transport is not None:
        adopt_tls(socket, tls_state)
    set_deflate(socket, decision.deflate)
    if decision.subprotocol is not None:
        rare_of(socket).subprotocol = decision.subprotocol
    if PyBytes_GET_SIZE(head) > 0:
        pending_append(rare_of(socket), <const uint8_t *>PyBytes_AS_STRING(head), <size_t>PyBytes_GET_SIZE(head))
    if PyBytes_GET_SIZE(answer) > 0:
        queue_octets(
            socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(answer), <size_t>PyBytes_GET_SIZE(answer), answer
        )
    if socket.descriptor >= 0:
        update_interest(reactor, socket)
        push_ready(reactor, socket)
    return socket


cdef int peer_address(sockaddr_storage *storage, int descriptor, address) except -1:
    """The peer's address: `address` when it is (host, port) with a numeric host; asked of the system when it is None."""
    cdef socklen_t length = sizeof(sockaddr_storage)
    cdef bytes host
    cdef unsigned short port
    memset(storage, 0, sizeof(sockaddr_storage))
    if address is None:
        if getpeername(descriptor, <sockaddr *>storage, &length) != 0:
            storage.ss_family = 0  # it has gone already: reading will tell
    elif isinstance(address, tuple):
        host = address[0].encode("ascii", "replace")
        port = htons(<unsigned short>(address[1] & 0xffff))
        if inet_pton(AF_INET, PyBytes_AS_STRING(host), &(<sockaddr_in *>storage).sin_addr) == 1:
            storage.ss_family = AF_INET
            (<sockaddr_in *>storage).sin_port = port
        elif inet_pton(AF_INET6, PyBytes_AS_STRING(host), &(<sockaddr_in6 *>storage).sin6_addr) == 1:
            storage.ss_family = AF_INET6
            (<sockaddr_in6 *>storage).sin6_port = port
    return 0
