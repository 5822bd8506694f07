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
    raw = sock = new_socket(fileno=descriptor)
    try:
        if rare is not None and rare.tls is not None:
            sock, octets = hand_over_tls(rare.tls, sock, octets)
            reactor.minds_bios = True  # they are used where `lock_tls` does not know of it
    except BaseException:
        raw.detach()  # it is still ours
        raise
    engine.refused += 1
    unlist(reactor, socket)
    if reactor.buffer_owner is socket:
        reactor.position = reactor.end
        keep_rest(reactor, socket)
    epoll_ctl(reactor.epoll, EPOLL_CTL_DEL, descriptor, &event)
    if rare is not None:
        pending_free(rare)
        rare.visit = None
        rare.tls = None
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


cdef tuple hand_over_tls(Tls tls, sock, bytes octets):
    """The transport that goes on with TLS over `sock`, and `octets` with what OpenSSL has of those that follow."""
    cdef bytes received = PyBytes_FromStringAndSize(<const char *>tls.received, <Py_ssize_t>tls.received_length)
    cdef bytes sealed = b"" if tls.sealed is None else tls.sealed[tls.sealed_position:]
    try:
        while tls.holding:
            more = tls.ssl_object.read(RECORD_SIZE)
            tls.holding = len(more) > 0
            octets += more
    except OSError:
        pass  # it has no more, or whoever reads next meets it again
    from lws_gevent.tls_transport import TlsState, TlsTransport
    state = TlsState(tls.ssl_object, tls.incoming, tls.outgoing, received, tls.ended, sealed)
    return TlsTransport.resume(sock, state), octets


cdef int take_back(ParkedEngine engine, sock, address, bytes octets) except -1:
    """A connection whose request is answered: `octets` are the beginning of the next one; None: it has to end, when its peer has
    read the answer."""
    cdef Reactor reactor = engine.reactor
    cdef sockaddr_storage storage
    cdef Socket socket
    tls_state = None
    peer_address(&storage, -1, address)
    read_clock(reactor)
    if hasattr(sock, "release"):
        if octets is None:
            sock.shutdown(SHUT_WR)
        sock, tls_state = sock.release()
    socket = register_connection(reactor, engine, <int>sock.detach(), &storage)
    engine.accepted -= 1  # it was counted before
    if octets is None:
        socket.flags |= REFUSED | CLOSE_REPORTED
        linger(reactor, socket)
        return 0
    if engine.has_access_log:
        begin_visit(socket)
    if tls_state is not None:
        adopt_tls(socket, tls_state)
    if PyBytes_GET_SIZE(octets) > 0:
        pending_append(rare_of(socket), <const uint8_t *>PyBytes_AS_STRING(octets), <size_t>PyBytes_GET_SIZE(octets))
    if socket.rare is not None:
        push_ready(reactor, socket)
    return 0
