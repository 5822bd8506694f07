# Whom a connection comes from when proxies have handed it on.

cdef bint take_proxy_header(Reactor reactor, Socket socket) except -1:
    """Reads the PROXY protocol header and not one octet behind it, which may be TLS. Whether the connection can go on; else the
    header is not all there, or the connection has ended."""
    cdef ParkedEngine engine = socket.engine
    cdef size_t kept
    cdef size_t wanted
    cdef ssize_t got
    cdef bytes data
    while True:
        kept = 0 if socket.rare is None else pending_length(socket.rare)
        claim_buffer(reactor, None)
        got = recv(socket.descriptor, reactor.buffer, PROXY_HEADER_SIZE - kept, MSG_PEEK | MSG_DONTWAIT)
        if got < 0 and errno == EINTR:
            continue
        if got < 0 and errno == EAGAIN:
            return False
        if got <= 0:
            disconnect(reactor, socket)
            return False
        data = PyBytes_FromStringAndSize(<const char *>reactor.buffer, got)
        if kept > 0:
            data = PyBytes_FromStringAndSize(
                <const char *>socket.rare.pending + socket.rare.pending_begin, <Py_ssize_t>kept
            ) + data
        try:
            header = engine.context.proxy_header(data, address_of(socket))
        except ProtocolError as error:
            engine.refused += 1
            deliver_error(socket, error)
            disconnect(reactor, socket)
            return False
        if socket.descriptor < 0:
            return False
        claim_buffer(reactor, None)  # once more: that was Python
        # While it is not all there, all that has come belongs to it.
        wanted = <size_t>got if header is None else <size_t>header.length - kept
        got = recv(socket.descriptor, reactor.buffer, wanted, MSG_DONTWAIT)
        if got != <ssize_t>wanted:
            disconnect(reactor, socket)
            return False
        count_received(socket, wanted)
        if header is None:
            pending_append(rare_of(socket), reactor.buffer, wanted)
            continue
        if socket.rare is not None:
            pending_free(socket.rare)
        if header.address is not None:
            set_remote_address(socket, header.address)
        socket.flags &= ~<uint32_t>PROXY_DUE
        return True


cdef int deliver_error(Socket socket, error) except -1:
    """What is reported at the end of the connection's turn, whether anybody listens or not."""
    cdef Rare rare = rare_of(socket)
    if rare.events is None:
        rare.events = []
    rare.events.append(("error", (error,)))
    return 0


cdef int set_remote_address(Socket socket, address) except -1:
    """Another address than that of the TCP peer; a str, which names no IP address, changes nothing."""
    cdef sockaddr_storage storage
    if not isinstance(address, tuple):
        return 0
    peer_address(&storage, -1, address)
    if socket.flags & IPV6:
        socket.flags &= ~<uint32_t>IPV6
        PyMem_Free(socket.address.ipv6)
    return set_address(socket, &storage)
