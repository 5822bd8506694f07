# The handle that applications hold.

cdef inline size_t buffered(Socket socket):
    """Octets that were sent and that the kernel has not taken."""
    cdef size_t size = 0
    if socket.rare is not None:
        size = socket.rare.output.size
    if socket.engine is not None and socket.engine.reactor is not None and socket.engine.reactor.cork_owner is socket:
        size += socket.engine.reactor.cork_length
    return size


cdef object closed_error(Socket socket):
    """What an operation on a connection that is closed, closing or not yet open raises."""
    if socket.state == CONNECTING:
        return LwsError(NOT_OPEN_YET)
    reason = "" if socket.rare is None or socket.rare.reason is None else socket.rare.reason
    return ConnectionClosed(socket.code or 1006, reason)


cdef int check_thread(Reactor reactor) except -1:
    if PyThread_get_thread_ident() != reactor.thread:
        raise RuntimeError(WRONG_THREAD)
    return 0


cdef inline int check_open(Socket socket) except -1:
    if socket.state != OPEN or socket.flags & (LOST | CLOSE_RECEIVED):
        raise closed_error(socket)
    return check_thread(socket.engine.reactor)


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Socket:
    """One connection: a light handle that is hashable, comparable and safe to keep.

    The verbs are those of `Server` with the socket left out; they may be called from any greenlet of the server's thread. After the
    close each operation that needs the connection raises `ConnectionClosed`; attributes can still be read.
    """

    cdef object __weakref__
    cdef ParkedEngine engine
    cdef object user_data
    cdef object target
    cdef Rare rare
    cdef lws_protocol protocol
    cdef Address address
    cdef int descriptor
    cdef uint32_t generation
    cdef uint32_t flags
    cdef uint32_t due            # tick at which the deadline is looked at
    cdef uint32_t last_receive   # tick
    cdef int32_t timer_next      # descriptors of the neighbours in the wheel, -1: none
    cdef int32_t timer_previous
    cdef uint16_t code           # of the close, 0 before
    cdef uint8_t state
    cdef uint8_t interest        # what epoll was asked for


    def __cinit__(self):
        global live_socket_count
        live_socket_count += 1

    def __init__(self):
        raise TypeError("sockets are made by a server")

    def __dealloc__(self):
        global live_socket_count
        live_socket_count -= 1
        if self.flags & IPV6:
            PyMem_Free(self.address.ipv6)

    def __repr__(self):
        return f"<Socket fd={self.fd} {ReadyState(self.ready_state).name} {self.remote_address}>"

    # Attributes

    @property
    def fd(self):
        """The descriptor; -1 after the close."""
        return -1 if self.state == CLOSED else self.descriptor

    @property
    def data(self):
        """The user data; None before it is set, and after the close handlers have returned."""
        return self.user_data

    @data.setter
    def data(self, value):
        if self.state == CLOSED and self.flags & CLOSE_REPORTED and not self.flags & BUSY:
            raise closed_error(self)
        self.user_data = value

    @property
    def ready_state(self):
        """A `ReadyState`."""
        if self.state == OPEN and self.flags & LOST:
            return ReadyState.CLOSED
        if self.state == OPEN and self.flags & CLOSE_RECEIVED:
            return ReadyState.CLOSING
        return ReadyState(self.state)

    @property
    def closed(self):
        """Whether the connection has ended, or its peer has closed it."""
        return self.state == CLOSED or (self.flags & (LOST | CLOSE_RECEIVED)) != 0

    @property
    def path(self):
        """The path of the request, as it was sent, without the query."""
        return None if self.target is None else self.target.partition("?")[0]

    @property
    def query(self):
        """The part of the request's target after the question mark, or an empty string."""
        return None if self.target is None else self.target.partition("?")[2]

    @property
    def subprotocol(self):
        """The subprotocol that was agreed on, or None."""
        return None if self.rare is None else self.rare.subprotocol

    @property
    def extensions(self):
        """The extensions that were agreed on, as the handshake names them."""
        return "" if self.rare is None or self.rare.extensions is None else self.rare.extensions

    @property
    def ssl_object(self):
        """The `ssl.SSLObject`, to be asked for certificate, version and cipher; None without TLS, and after the end."""
        return None if self.rare is None or self.rare.tls is None else self.rare.tls.ssl_object

    @property
    def buffered_amount(self):
        """Octets that were sent and that the operating system has not taken yet."""
        return buffered(self)

    @property
    def remote_address(self):
        """(host, port) of the peer; an empty string for a Unix socket."""
        return address_of(self)

    # Verbs

    def send(self, message, binary=None, compress=None):
        """`Server.send` to this connection."""
        return send_message(self, message, binary, compress)

    def send_prepared(self, prepared, binary=None):
        """`Server.send_prepared` to this connection."""
        return send_prepared(self, prepared, binary)

    def send_fragment(self, piece, fin, binary=None):
        """`Server.send_fragment` to this connection."""
        return send_fragment(self, piece, fin, binary)

    def close(self, code=1000, reason=""):
        """`Server.close` of this connection."""
        close_socket(self, code, reason, True)

    def terminate(self):
        """`Server.terminate` of this connection."""
        terminate(self)

    def ping(self, data=b""):
        """`Server.ping` to this connection."""
        send_control(self, LWS_PING, data)

    def pong(self, data=b""):
        """`Server.pong` to this connection."""
        send_control(self, LWS_PONG, data)

    def subscribe(self, topic):
        """`Server.subscribe` of this connection."""
        check_open(self)
        subscriptions = self.engine.context.subscriptions()
        self.flags |= SUBSCRIBED
        return subscriptions.add(self, topic)

    def unsubscribe(self, topic):
        """`Server.unsubscribe` of this connection."""
        if self.engine is None:
            return False
        if self.engine.reactor is not None:
            check_thread(self.engine.reactor)
        return self.engine.context.subscriptions().discard(self, topic)

    def publish(self, topic, message, binary=None, exclude=(), slow="close"):
        """`Server.publish` to the others: this connection does not get what it publishes itself."""
        if self.engine is None:
            raise closed_error(self)
        return self.engine.context.subscriptions().publish(topic, message, binary, (*exclude, self), slow)

    def pause(self):
        """No message events until `resume`: what the peer sends waits, within bounds, then in its own buffers. Pings are answered
        meanwhile; the end of the connection ends the pause too."""
        if self.engine is not None:
            check_thread(self.engine.reactor)
            self.flags |= PAUSED
            update_interest(self.engine.reactor, self)

    def resume(self):
        """Ends a `pause`."""
        if self.engine is not None:
            check_thread(self.engine.reactor)
            self.flags &= ~<uint32_t>PAUSED
            update_interest(self.engine.reactor, self)
            push_ready(self.engine.reactor, self)

    def respond(self, status, headers=(), body=b""):
        """`Server.respond` to this plain HTTP request."""
        respond(self, status, headers, body)

    def recv(self, timeout=None):
        """The next message, waiting for it at most `timeout` seconds (blocking style).

        The first call claims the connection: its messages come here instead of to `message` listeners. TimeoutError (nothing is
        lost), ConnectionClosed once the peer has closed and everything was read, RuntimeError for a second reader.
        """
        return claim(self).get(timeout)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        cdef ParkedEngine engine = self.engine
        if engine is not None:
            close_socket(self, 1000 if kind is None else 1011, "", True)
            engine.wait_until_ended(self, engine.settings.close_timeout)

    def __iter__(self):
        """The messages until the close; ConnectionClosed for any other close than 1000 and 1001."""
        return claim(self)

    def _claim(self):
        """For the blocking style of WSGI applications."""
        claim(self)

    def _fail_handler(self):
        """For the handler boundary: a handler of this connection failed."""
        self.flags |= FAILED
        if self.engine is not None and self.descriptor >= 0 and self.state != CONNECTING:
            close_socket(self, 1011, "", False)


def live_sockets():
    """How many connection objects exist: the garbage collector does not know them (rule 12), so leak tests ask here."""
    return live_socket_count


cdef object address_of(Socket socket):
    cdef char text[INET6_ADDRSTRLEN]
    cdef sockaddr_in6 *ipv6
    cdef uint16_t port
    if socket.flags & IPV6:
        ipv6 = <sockaddr_in6 *>socket.address.ipv6
        if inet_ntop(AF_INET6, &ipv6.sin6_addr, text, INET6_ADDRSTRLEN) == NULL:
            return ""
        return (<bytes>text).decode("ascii"), ntohs(ipv6.sin6_port)
    memcpy(&port, &socket.address.ipv4[4], 2)
    if memcmp(&socket.address, &NO_ADDRESS, sizeof(Address)) == 0:
        return ""
    if inet_ntop(AF_INET, &socket.address.ipv4[0], text, INET6_ADDRSTRLEN) == NULL:
        return ""
    return (<bytes>text).decode("ascii"), ntohs(port)


cdef int set_address(Socket socket, sockaddr_storage *storage) except -1:
    """Keeps a peer's address in eight octets; an IPv4 address that came through an IPv6 listener is kept as IPv4."""
    cdef sockaddr_in *ipv4
    cdef sockaddr_in6 *ipv6
    cdef void *copy
    memset(&socket.address, 0, sizeof(socket.address))
    if storage.ss_family == AF_INET:
        ipv4 = <sockaddr_in *>storage
        memcpy(&socket.address.ipv4[0], &ipv4.sin_addr, 4)
        memcpy(&socket.address.ipv4[4], &ipv4.sin_port, 2)
    elif storage.ss_family == AF_INET6:
        ipv6 = <sockaddr_in6 *>storage
        if is_mapped(ipv6):
            memcpy(&socket.address.ipv4[0], &ipv6.sin6_addr.s6_addr[12], 4)
            memcpy(&socket.address.ipv4[4], &ipv6.sin6_port, 2)
        else:
            copy = PyMem_Malloc(sizeof(sockaddr_in6))
            if copy == NULL:
                raise MemoryError()
            memcpy(copy, ipv6, sizeof(sockaddr_in6))
            socket.address.ipv6 = copy
            socket.flags |= IPV6
    return 0


cdef bint is_mapped(sockaddr_in6 *address) noexcept:
    cdef int index
    for index in range(10):
        if address.sin6_addr.s6_addr[index] != 0:
            return False
    return address.sin6_addr.s6_addr[10] == 0xff and address.sin6_addr.s6_addr[11] == 0xff
