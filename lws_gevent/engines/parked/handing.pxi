# Connections that leave the set for the WSGI application's answer to one request, and come back.

cdef int hand_over(Reactor reactor, Socket socket, request, bytes octets) except -1:
    """Gives the descriptor away, with `octets`, all that was received from the beginning of `request`. For this object it is the
    end, of which nobody hears."""
    cdef ParkedEngine engine = socket.engine
    cdef Rare rare = socket.rare
    cdef epoll_event event
    cdef int descriptor = socket.descriptor
    peer = address_of(socket)
    client = engine.context.client_address(peer, request.headers)
    sock = new_socket(fileno=descriptor)
    engine.refused += 1
    unlist(reactor, socket)
    if reactor.buffer_owner is socket:
        reactor.position = reactor.end
        keep_rest(reactor, socket)
    epoll_ctl(reactor.epoll, EPOLL_CTL_DEL, descriptor, &event)
    if rare is not None:
        pending_free(rare)
        rare.visit = None
    socket.descriptor = -1
    socket.interest = 0
    socket.state = CLOSED
    socket.flags |= CLOSE_REPORTED
    engine.connection_count -= 1
    reactor.slots[descriptor] = NULL
    Py_DECREF(socket)
    count_registered(reactor, -1)
    engine.context.wsgi.begin(engine, Handed(sock, request, octets, peer, client))
    return 0


cdef int take_back(ParkedEngine engine, sock, address, bytes octets) except -1:
    """A connection whose request is answered: `octets` are the beginning of the next one; None: it has to end, when its peer has
    read the answer."""
    cdef Reactor reactor = engine.reactor
    cdef sockaddr_storage storage
    cdef Socket socket
    peer_address(&storage, -1, address)
    read_clock(reactor)
    socket = register_connection(reactor, engine, <int>sock.detach(), &storage)
    engine.accepted -= 1  # it was counted before
    if octets is None:
        socket.flags |= REFUSED | CLOSE_REPORTED
        linger(reactor, socket)
        return 0
    if engine.has_access_log:
        begin_visit(socket)
    if PyBytes_GET_SIZE(octets) > 0:
        pending_append(rare_of(socket), <const uint8_t *>PyBytes_AS_STRING(octets), <size_t>PyBytes_GET_SIZE(octets))
        push_ready(reactor, socket)
    return 0
