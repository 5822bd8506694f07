# What a connection of the parked engine is, in as few octets as possible (rule 12): its states and flags, and what only few need.

cdef enum State:
    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


cdef enum Flag:
    BUSY = 1 << 0            # a handler of this connection runs, or is blocked: its turn owns the connection
    CLAIMED = 1 << 1         # in blocking style: messages go to the inbox
    PAUSED = 1 << 2          # the application asked not to read
    DIRTY = 1 << 3           # on the reactor's list of connections to flush
    READY = 1 << 4           # on the reactor's list of connections to serve without a new event
    CLOSE_SENT = 1 << 5
    CLOSE_RECEIVED = 1 << 6
    OWN_CLOSE = 1 << 7       # the application closed it: no close event unless asked for
    OPENED = 1 << 8          # the handshake is done: a close event is due at the end
    CLOSE_REPORTED = 1 << 9  # the close event was emitted, or is not due
    OVER = 1 << 10           # over max_backpressure: a drain event is due
    CORKED = 1 << 11         # inside `with cork`
    LOST = 1 << 13           # nothing can be sent any more; what was received is still delivered
    ENDED = 1 << 14          # nothing more can be received
    REFUSED = 1 << 15        # what remains is to end the TCP connection so that the peer reads our last octets
    FRAGMENTING = 1 << 16    # the application has sent some but not all fragments of a message
    ANSWERING = 1 << 17      # a plain request waits for `respond`
    IPV6 = 1 << 18           # the address is a pointer to a sockaddr_in6
    FAILED = 1 << 19         # a handler failed: messages are no longer delivered
    LISTED = 1 << 20         # in the wheel of deadlines
    COUNTED = 1 << 21        # no longer counted as open
    CLIENT = 1 << 12         # we are its client: what it sends is masked, what it receives is not
    SUBSCRIBED = 1 << 27     # its end is to be told to the topics
    BULKY = 1 << 22          # its last message was large: a small read brings the next one's header, the rest is not copied
    PROXY_DUE = 1 << 23      # its PROXY protocol header is to come first


cdef union Address:
    uint8_t ipv4[6]          # address and port, both in network order; all zeros: none
    void *ipv6


cdef Address NO_ADDRESS
memset(&NO_ADDRESS, 0, sizeof(Address))


cdef class Agreed
cdef class LowWater
cdef class ParkedEngine
cdef class Reactor
cdef class Socket


@cython.final
@cython.no_gc
cdef class Visit:
    """What the access log will tell of a connection."""
    cdef double started
    cdef uint64_t received
    cdef uint64_t sent
    cdef object method       # None: no request that could be understood
    cdef int version_minor
    cdef int status


@cython.final
@cython.no_gc
cdef class Tls:
    """What a connection needs for TLS."""
    cdef object ssl_object   # None before the first record
    cdef object inner        # its part in C
    cdef object incoming     # the memory BIOs: the reactor's, or its own
    cdef object outgoing
    cdef object error        # of the handshake, to be reported
    cdef bytes sealed        # what the kernel has not taken
    cdef size_t sealed_position
    cdef size_t sealed_from  # octets at the beginning of the output that `sealed` was made of
    cdef uint8_t *received   # what OpenSSL has not got yet: part of a record, mostly
    cdef size_t received_length
    cdef bint established
    cdef bint holding        # there is more to be read without an event
    cdef bint reading_first  # nothing can be sealed before something was read
    cdef bint ended
    cdef bint failed
    cdef bint working        # OpenSSL is at work on it
    cdef bint said_goodbye

    def __dealloc__(self):
        PyMem_Free(self.received)


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Rare:
    """What only few connections need at a time. A connection gets one when it needs it and drops it when it is empty."""
    cdef Output output
    cdef uint8_t *pending    # octets received and not yet decoded
    cdef size_t pending_begin
    cdef size_t pending_end
    cdef size_t pending_capacity
    cdef size_t skimmed      # octets behind pending_begin that were looked through for control frames
    cdef size_t lingered     # octets thrown away since the connection was refused
    cdef size_t scanned      # octets of a request head that were searched for its end
    cdef uint64_t progress   # octets that the kernel took from `output`, ever
    cdef uint64_t stalled    # `progress` when the current deadline was set
    cdef lws_protocol ahead  # the protocol's state behind the skimmed octets
    cdef uint32_t known_pongs  # answered pings that looking on from the start meets again
    cdef uint32_t pongs      # pings in `pending` that were already answered
    cdef uint8_t fragment_opcode
    cdef uint8_t fragment_utf8
    cdef bint fragment_compressed
    cdef bint fragment_dropped  # the message was, with all its fragments
    cdef uint8_t inflated_utf8  # of the compressed message that is being received
    cdef bint claimed_by_handler
    cdef object method       # of a plain request that is to be answered
    cdef bytes late_pong     # the latest ping's payload, to be answered when there is room
    cdef MessageAssembly assembly
    cdef Agreed agreed       # on compression; None: nothing, or the connection has ended
    cdef object deflate      # for whole messages; None: not needed yet
    cdef object inflating    # for the compressed message that has come in part
    cdef object inflation    # with buffer_size: gives what a part of it inflates to, piece by piece; None: it is all taken
    cdef uint64_t inflated   # octets of this message so far, with buffer_size
    cdef uint8_t inflation_opcode
    cdef bint inflation_last
    cdef Inbox inbox
    cdef LowWater low_water  # of the inbox
    cdef object waiting      # greenlets blocked in send
    cdef list events         # (name, arguments) to be delivered behind the running handler
    cdef object reason       # of the close, when there was one
    cdef object subprotocol
    cdef object extensions
    cdef object request      # a plain request whose body is being read
    cdef Tls tls
    cdef Visit visit         # when there is an access log
    cdef uint32_t opened     # tick of the handshake's end, when max_lifetime is set
    cdef uint32_t pinged     # tick of the last ping

    def __cinit__(self):
        output_init(&self.output)

    def __dealloc__(self):
        output_clear(&self.output)
        PyMem_Free(self.pending)


cdef Py_ssize_t live_socket_count = 0


cdef inline Rare rare_of(Socket socket):
    if socket.rare is None:
        socket.rare = Rare.__new__(Rare)
    return socket.rare


cdef inline Visit visit_of(Socket socket):
    return None if socket.rare is None else socket.rare.visit


cdef int begin_visit(Socket socket) except -1:
    cdef Visit visit = Visit.__new__(Visit)
    visit.started = monotonic()
    visit.version_minor = 1
    rare_of(socket).visit = visit
    return 0


cdef inline int count_received(Socket socket, size_t octets) except -1:
    cdef Visit visit
    socket.engine.octets_received += octets
    if socket.rare is not None and socket.rare.visit is not None:
        visit = socket.rare.visit
        visit.received += octets
    return 0


cdef inline int count_sent(Socket socket, size_t octets) except -1:
    cdef Visit visit
    socket.engine.octets_sent += octets
    if socket.rare is not None and socket.rare.visit is not None:
        visit = socket.rare.visit
        visit.sent += octets
    return 0


cdef int log_visit(Socket socket) except -1:
    """The line of a connection that has ended, in a turn: the log may be anything."""
    cdef Visit visit = socket.rare.visit
    socket.rare.visit = None
    if visit.received > 0:
        socket.engine.context.log_access(
            socket, visit.method, socket.target or "", visit.version_minor, visit.status,
            (socket.code or 1006) if socket.flags & OPENED else 0, visit.received, visit.sent, visit.started,
        )
    return 0


cdef inline size_t pending_length(Rare rare) noexcept:
    return rare.pending_end - rare.pending_begin


cdef int pending_append(Rare rare, const uint8_t *data, size_t length) except -1:
    """Keeps a copy of received octets behind those that are kept already."""
    cdef size_t kept = rare.pending_end - rare.pending_begin
    cdef uint8_t *memory
    if length == 0:
        return 0
    if rare.pending_begin > 0 and rare.pending_capacity - rare.pending_end < length:
        memmove(rare.pending, rare.pending + rare.pending_begin, kept)
        rare.pending_begin = 0
        rare.pending_end = kept
    if rare.pending_capacity - rare.pending_end < length:
        memory = <uint8_t *>PyMem_Realloc(rare.pending, kept + length)
        if memory == NULL:
            raise MemoryError()
        rare.pending = memory
        rare.pending_capacity = kept + length
    memcpy(rare.pending + rare.pending_end, data, length)
    rare.pending_end += length
    return 0


cdef inline void pending_free(Rare rare) noexcept:
    PyMem_Free(rare.pending)
    rare.pending = NULL
    rare.pending_begin = 0
    rare.pending_end = 0
    rare.pending_capacity = 0
    rare.skimmed = 0


cdef inline void pending_consume(Rare rare, size_t count) noexcept:
    """Forgets the first `count` octets: they are decoded."""
    if count >= pending_length(rare):
        pending_free(rare)
        return
    rare.pending_begin += count
    if rare.skimmed > count:
        rare.skimmed -= count
    else:
        rare.skimmed = 0


cdef inline bint rare_is_empty(Rare rare):
    return (
        rare.output.size == 0 and rare.pending_end == 0 and rare.assembly is None and rare.agreed is None and rare.inbox is None
        and rare.waiting is None and rare.events is None and rare.reason is None and rare.subprotocol is None
        and rare.extensions is None and rare.method is None and rare.late_pong is None and rare.request is None and rare.opened == 0
        and rare.visit is None and rare.tls is None and rare.pinged == 0 and rare.fragment_opcode == 0 and rare.lingered == 0 and rare.pongs == 0
    )
