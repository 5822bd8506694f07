# Where descriptors are read and written: plain ones, and those with TLS over them (tls.pxi).

cdef enum:
    WOULD_BLOCK = -1
    BROKEN = -3              # -2 is Cython's word for an exception


cdef inline bint is_holding(Socket socket):
    """Whether there is more to be read that epoll does not know of (rule 8)."""
    return socket.rare is not None and socket.rare.tls is not None and socket.rare.tls.holding


cdef inline bint wants_to_write(Rare rare):
    """Whether something waits until the kernel has room."""
    if rare.tls is None:
        return rare.output.first != NULL
    return rare.tls.sealed is not None or rare.output.first != NULL and not rare.tls.reading_first


cdef inline ssize_t read_octets(Reactor reactor, Socket socket, uint8_t *target, size_t space) except -2:
    """As recv: 0 at the end of the connection, WOULD_BLOCK, or BROKEN. With less than `space` the kernel has no more."""
    cdef ssize_t got
    if socket.rare is not None and socket.rare.tls is not None:
        return tls_read(reactor, socket, socket.rare.tls, target, space)
    while True:
        got = recv(socket.descriptor, target, space, MSG_DONTWAIT)
        if got >= 0:
            return got
        if errno == EAGAIN:
            return WOULD_BLOCK
        if errno != EINTR:
            return BROKEN


cdef inline ssize_t write_octets(Reactor reactor, Socket socket, const uint8_t *data, size_t length) except -2:
    """As send: how many octets the kernel has taken, WOULD_BLOCK, or BROKEN."""
    cdef iovec vector
    cdef ssize_t written
    if socket.rare is not None and socket.rare.tls is not None:
        vector.iov_base = <void *>data
        vector.iov_len = length
        return tls_write(reactor, socket, socket.rare.tls, &vector, 1)
    while True:
        written = send(socket.descriptor, data, length, MSG_NOSIGNAL | MSG_DONTWAIT)
        if written >= 0:
            return written
        if errno == EAGAIN:
            return WOULD_BLOCK
        if errno != EINTR:
            return BROKEN


cdef inline ssize_t write_vector(Reactor reactor, Socket socket, iovec *vector, size_t count) except -2:
    """As sendmsg, likewise."""
    cdef msghdr message
    cdef ssize_t written
    if socket.rare is not None and socket.rare.tls is not None:
        return tls_write(reactor, socket, socket.rare.tls, vector, count)
    message_init(&message, vector, count)
    while True:
        written = sendmsg(socket.descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if written >= 0:
            return written
        if errno == EAGAIN:
            return WOULD_BLOCK
        if errno != EINTR:
            return BROKEN
