# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The parked engine (layer 2, Linux): an idle connection is one small object and a descriptor in an epoll set.

docs/design.md tells how a connection lives here; the rules that the comments cite are numbered there. The pieces:

- `Socket`: one connection; `Rare`: what only few of them need at a time.
- `Turn`: one pooled greenlet, and the connection whose handlers it runs.
- `Reactor`: one epoll set per process and hub. It reads, decodes, has handlers called by its turns, and writes.
- `ParkedEngine`: one server's settings and operations on a reactor.

Everything belongs to the thread of its hub. Only handlers, and what a handler of another connection may do, can switch greenlets;
after each call that may have run one, state is read again from the objects (rule 5).
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.stdint cimport UINT32_MAX, UINT64_MAX, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from lws_gevent._c_core cimport (
    LWS_BINARY, LWS_CLOSE, LWS_CONTINUATION, LWS_EVENT_CLOSE, LWS_EVENT_DATA, LWS_EVENT_ERROR, LWS_EVENT_NONE,
    LWS_EVENT_PING, LWS_EVENT_PONG, LWS_MAX_CONTROL_PAYLOAD, LWS_MAX_HEADER, LWS_MAX_LEFTOVER, LWS_PING, LWS_PONG,
    LWS_RECEIVE_ENDED, LWS_SERVER, LWS_TEXT, LWS_UTF8_ACCEPT, lws_event, lws_frame, lws_frame_read_header,
    lws_frame_write_header, lws_limits, lws_mask, lws_protocol, lws_protocol_init, lws_protocol_receive, lws_request, lws_request_check_upgrade,
    lws_request_find_end, lws_request_parse, lws_utf8_check,
)
from lws_gevent._codec cimport MessageAssembly
from lws_gevent.engines._linux cimport *
from lws_gevent.engines._output cimport (
    CHUNK_MINIMUM, Output, message_init, output_clear, output_copy, output_init, output_reference, output_write,
)

import os
import weakref

from gevent import Greenlet, get_hub, getcurrent, joinall, killall
from gevent.event import Event

from lws_gevent.engines.interface import Socket as InterfaceSocket
from lws_gevent.errors import (
    BackpressureExceeded, ConnectionClosed, HandshakeError, LwsError, PayloadTooBig, ProtocolError,
)
from lws_gevent.frames import ReadyState, close_payload
from lws_gevent.handshake import accept_key, handshake_error, response
from lws_gevent.inbox import Inbox
from lws_gevent.listening import tune
from lws_gevent.prepared import Prepared, message_payload
from lws_gevent.waiting_senders import WaitingSenders

cdef extern from *:
    """
    /* Whether anybody holds a weak reference to a greenlet: a gevent.local does, for one. */
    static int lws_has_weak_references(PyObject *object) {
        Py_ssize_t offset = Py_TYPE(object)->tp_weaklistoffset;
        return offset > 0 && *(PyObject **)((char *)object + offset) != NULL;
    }
    /* Whether the running greenlet has a context (PEP 567): it was given one, or has set a context variable. */
    static int lws_has_context(void) {
        return PyThreadState_Get()->context != NULL;
    }
    static Py_ssize_t lws_references(PyObject *object) {
        return Py_REFCNT(object);
    }
    #if defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    #endif
    /* A bytes object that only we hold is about to get other contents: so it has no hash yet. */
    static void lws_forget_hash(PyObject *octets) {
        ((PyBytesObject *)octets)->ob_shash = -1;
    }
    #if defined(__GNUC__)
    #pragma GCC diagnostic pop
    #endif
    """
    void lws_forget_hash(object octets)
    bint lws_has_weak_references(object thing)
    bint lws_has_context()
    Py_ssize_t lws_references(object thing)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PyObject_Vectorcall(object function, PyObject *const *arguments, size_t count, PyObject *names)

# Bounds. Each is octets unless it says otherwise.
cdef enum:
    BUFFER_SIZE = 262144     # the shared receive buffer
    CORK_SIZE = 65536        # what the handlers of one connection send goes out together up to this
    COPY_LIMIT = 16384       # a larger payload is not copied into the cork
    AHEAD_LIMIT = 65536      # received and kept for a connection whose handler is blocked (rule 1)
    INBOX_LIMIT = 65536      # received and kept for a connection in blocking style
    PONG_LIMIT = 16384       # with more than this unsent only the latest ping is answered (RFC 6455 section 5.5.3)
    SPARE_MINIMUM = 131072   # messages from this size on are received into the memory of earlier ones where possible
    SPARE_COUNT = 8          # of those that are kept for that, for a second or two
    SPARE_MAXIMUM = 4194304  # the largest that is kept
    BULKY_READ = 4096        # see Flag.BULKY
    DIRECT_MINIMUM = 16384   # with at least this to come a frame is received into its message's own memory
    TURN_OCTETS = 1048576    # read for one connection before another has its turn (rule 8)
    TURN_CALLS = 256         # handler calls, likewise
    BATCH_SIZE = 512         # events taken from the set at once
    ACCEPT_BATCH = 128       # connections accepted from one listener before others have their turn
    POOL_SIZE = 64           # idle greenlets that are kept
    TICKS = 4                # of the wheel of deadlines, a second
    WHEEL_SIZE = 1024        # ticks; later deadlines go round more than once
    LINGER_SECONDS = 2       # that a refused peer has to end its side
    LINGER_OCTETS = 4194304  # thrown away while waiting for that

cdef enum:
    INTEREST_READ = 1
    INTEREST_WRITE = 2

cdef enum:
    POLICY_BLOCK = 0
    POLICY_DROP = 1
    POLICY_CLOSE = 2

#: How long `shutdown` waits for handlers that it has killed: one may be blocked by something that no kill can end.
KILL_SECONDS = 1.0

cdef uint64_t LISTENING_BIT = <uint64_t>1 << 63
cdef uint32_t GENERATION_MASK = 0x7fffffff

cdef bytes UPGRADE_BEGIN = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
cdef bytes UPGRADE_END = b"\r\n\r\n"


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
    PINGED = 1 << 12         # nothing was received since our last ping
    LOST = 1 << 13           # nothing can be sent any more; what was received is still delivered
    ENDED = 1 << 14          # nothing more can be received
    REFUSED = 1 << 15        # what remains is to end the TCP connection so that the peer reads our last octets
    FRAGMENTING = 1 << 16    # the application has sent some but not all fragments of a message
    ANSWERING = 1 << 17      # a plain request waits for `respond`
    IPV6 = 1 << 18           # the address is a pointer to a sockaddr_in6
    FAILED = 1 << 19         # a handler failed: messages are no longer delivered
    LISTED = 1 << 20         # in the wheel of deadlines
    COUNTED = 1 << 21        # no longer counted as open
    BULKY = 1 << 22          # its last message was large: a small read brings the next one's header, the rest is not copied


cdef union Address:
    uint8_t ipv4[6]          # address and port, both in network order; port 0: none
    void *ipv6


cdef class LowWater
cdef class ParkedEngine
cdef class Reactor
cdef class Socket


# ---------------------------------------------------------------------------------------------------------------------
# One connection


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
    cdef bytes late_pong     # the latest ping's payload, to be answered when there is room
    cdef MessageAssembly assembly
    cdef object inbox
    cdef LowWater low_water  # of the inbox
    cdef object waiting      # greenlets blocked in send
    cdef list events         # (name, arguments) to be delivered behind the running handler
    cdef object reason       # of the close, when there was one
    cdef object subprotocol
    cdef object extensions
    cdef object request      # a plain request whose body is being read
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
    rare.pending_begin += count
    if rare.pending_begin == rare.pending_end:
        pending_free(rare)
    elif rare.skimmed > count:
        rare.skimmed -= count
    else:
        rare.skimmed = 0


cdef inline bint rare_is_empty(Rare rare):
    return (
        rare.output.size == 0 and rare.pending_end == 0 and rare.assembly is None and rare.inbox is None
        and rare.waiting is None and rare.events is None and rare.reason is None and rare.subprotocol is None
        and rare.extensions is None and rare.late_pong is None and rare.request is None and rare.opened == 0
        and rare.pinged == 0 and rare.fragment_opcode == 0 and rare.pongs == 0
    )


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
        return LwsError("the connection is not open yet: its handshake has not been answered")
    reason = "" if socket.rare is None or socket.rare.reason is None else socket.rare.reason
    return ConnectionClosed(socket.code or 1006, reason)


cdef int check_thread(Reactor reactor) except -1:
    if PyThread_get_thread_ident() != reactor.thread:
        raise RuntimeError(
            "this connection belongs to another thread's hub: call it there with server.run_threadsafe(function, ...)"
        )
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
        return send_message(self, message, binary)

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

    def pause(self):
        """No message events until `resume`: what the peer sends waits, within bounds, then in its own buffers. Pings are answered
        meanwhile; the end of the connection ends the pause too."""
        if self.engine is not None:
            check_thread(self.engine.reactor)
            self.flags |= PAUSED
            self.engine.reactor.update_interest(self)

    def resume(self):
        """Ends a `pause`."""
        if self.engine is not None:
            check_thread(self.engine.reactor)
            self.flags &= ~<uint32_t>PAUSED
            self.engine.reactor.update_interest(self)
            self.engine.reactor.push_ready(self)

    def respond(self, status, headers=(), body=b""):
        """`Server.respond` to this plain HTTP request."""
        respond(self, status, headers, body)

    def recv(self, timeout=None):
        """The next message, waiting for it at most `timeout` seconds (blocking style).

        The first call claims the connection: its messages come here instead of to `message` listeners. TimeoutError (nothing is
        lost), ConnectionClosed once the peer has closed and everything was read, RuntimeError for a second reader.
        """
        return claim(self).get(timeout)

    def __iter__(self):
        """The messages until the close; ConnectionClosed for any other close than 1000 and 1001."""
        claim(self)
        return Messages(self)

    def _fail_handler(self):
        """For the handler boundary: a handler of this connection failed."""
        self.flags |= FAILED
        if self.engine is not None and self.descriptor >= 0 and self.state != CONNECTING:
            close_socket(self, 1011, "", False)


def live_sockets():
    """How many connection objects exist: the garbage collector does not know them (rule 12), so leak tests ask here."""
    return live_socket_count


class Messages:
    """Iterates over the messages of a connection in blocking style."""

    __slots__ = ("_socket",)

    def __init__(self, socket):
        self._socket = socket

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._socket.recv()
        except ConnectionClosed as error:
            if error.code in (1000, 1001):
                raise StopIteration from None
            raise


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
    if port == 0:
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


# ---------------------------------------------------------------------------------------------------------------------
# Sending: from any greenlet of the thread


cdef int queue_frame(
    Socket socket, uint8_t opcode, bint fin, const uint8_t *payload, size_t length, object owner
) except -1:
    """Queues or writes one frame. `owner`: the bytes object that `payload` lies in, or None when it has to be copied."""
    cdef uint8_t header[LWS_MAX_HEADER]
    cdef size_t header_length = lws_frame_write_header(header, opcode, fin, 0, length, NULL)
    return queue_octets(socket, header, header_length, payload, length, owner)


cdef int queue_octets(
    Socket socket, const uint8_t *header, size_t header_length, const uint8_t *payload, size_t length, object owner
) except -1:
    cdef Reactor reactor = socket.engine.reactor
    cdef bint deferring = reactor.in_round or reactor.is_handling(socket)
    cdef size_t total = header_length + length
    cdef Rare rare
    socket.engine.octets_sent += total
    if deferring and length <= COPY_LIMIT:
        if reactor.cork_owner is socket:
            if total > CORK_SIZE - reactor.cork_length:
                reactor.uncork(socket)
        elif reactor.cork_owner is None and (socket.rare is None or socket.rare.output.first == NULL):
            reactor.cork_owner = socket
            reactor.cork_length = 0
        if reactor.cork_owner is socket:
            memcpy(reactor.cork + reactor.cork_length, header, header_length)
            memcpy(reactor.cork + reactor.cork_length + header_length, payload, length)
            reactor.cork_length += total
            return 0
        rare = rare_of(socket)
        if owner is None or header_length > 0 or length < 512:
            output_copy(&rare.output, header, header_length)
            output_copy(&rare.output, payload, length)
        else:
            output_reference(&rare.output, owner, payload, length)
        reactor.mark_dirty(socket)
        return 0
    reactor.write_through(socket, header, header_length, payload, length, owner)
    return 0


cdef int make_room(Socket socket, bint may_block) except -1:
    """Applies the back-pressure policy to a connection that is over its limit: 1 when the message may be queued now, 0 when it is
    to be dropped; raises when the connection has ended or the caller may not wait."""
    cdef ParkedEngine engine = socket.engine
    cdef Reactor reactor = engine.reactor
    cdef Rare rare
    reactor.write(socket)  # the kernel may have room by now
    if socket.state != OPEN or socket.flags & LOST:
        raise closed_error(socket)
    if buffered(socket) <= engine.max_backpressure and (socket.rare is None or not socket.rare.waiting):
        return 1
    socket.flags |= OVER
    if engine.policy == POLICY_DROP:
        return 0
    if engine.policy == POLICY_CLOSE:
        reactor.fail(socket, 1008, "the connection is over its back-pressure limit", True)
        raise closed_error(socket)
    if not may_block or getcurrent() is reactor.hub:
        raise BackpressureExceeded(
            "the connection is over max_backpressure, and the hub, which this callback runs in, must not wait"
        )
    rare = rare_of(socket)
    if rare.waiting is None:
        rare.waiting = WaitingSenders()
    waiting = rare.waiting
    while True:
        progress = rare.progress
        try:
            waiting.wait(engine.send_timeout if engine.send_timeout > 0 else None)
        except TimeoutError:
            if socket.state != OPEN or socket.flags & LOST:
                raise closed_error(socket) from None
            if rare.progress == progress:
                reactor.lose(socket)
                reactor.disconnect(socket)
                raise closed_error(socket) from None
            continue
        if socket.state != OPEN or socket.flags & LOST:
            raise closed_error(socket)
        if buffered(socket) <= engine.max_backpressure:
            return 1


cdef int pass_on(Socket socket) except -1:
    """After a sender that had waited has queued its message: the next one may go if there is still room."""
    if socket.rare is not None and socket.rare.waiting and socket.engine is not None:
        if buffered(socket) <= socket.engine.max_backpressure:
            socket.rare.waiting.wake()
    return 0


cdef inline bint is_over(Socket socket):
    """Whether a message has to wait: over the limit, or others wait already."""
    cdef Rare rare = socket.rare
    cdef Reactor reactor = socket.engine.reactor
    cdef size_t size = 0
    if rare is not None:
        if rare.waiting is not None and rare.waiting:
            return True
        size = rare.output.size
    if reactor.cork_owner is socket:
        size += reactor.cork_length
    return size > socket.engine.max_backpressure


cdef inline void note_over(Socket socket):
    """After something was left unwritten."""
    if socket.rare is not None and socket.rare.output.size > socket.engine.max_backpressure:
        socket.flags |= OVER


cdef object dropped(Socket socket, message, binary):
    socket.engine.dropped += 1
    socket.engine.reactor.deliver_later(socket, "dropped", (message, binary))
    return False


cdef object send_message(Socket socket, message, binary):
    cdef const char *text
    cdef Py_ssize_t size
    cdef uint8_t opcode
    cdef bint waited = False
    check_open(socket)
    if socket.flags & FRAGMENTING:
        raise ValueError("a fragmented message is being sent: end it with send_fragment(..., fin=True) first")
    if PyBytes_CheckExact(message):
        opcode = LWS_TEXT if binary is not None and not binary else LWS_BINARY
        if opcode == LWS_TEXT and lws_utf8_check(
            LWS_UTF8_ACCEPT, <const uint8_t *>PyBytes_AS_STRING(message), <size_t>PyBytes_GET_SIZE(message)
        ) != LWS_UTF8_ACCEPT:
            raise ValueError("a text message must be UTF-8")
        if is_over(socket):
            if not make_room(socket, True):
                return dropped(socket, message, opcode == LWS_BINARY)
            waited = True
        queue_frame(
            socket, opcode, True, <const uint8_t *>PyBytes_AS_STRING(message), <size_t>PyBytes_GET_SIZE(message), message
        )
    elif PyUnicode_Check(message):
        opcode = LWS_BINARY if binary is not None and binary else LWS_TEXT
        text = PyUnicode_AsUTF8AndSize(message, &size)
        if is_over(socket):
            if not make_room(socket, True):
                return dropped(socket, message, opcode == LWS_BINARY)
            waited = True
        if <size_t>size > COPY_LIMIT:
            encoded = PyBytes_FromStringAndSize(text, size)
            queue_frame(socket, opcode, True, <const uint8_t *>PyBytes_AS_STRING(encoded), <size_t>size, encoded)
        else:
            queue_frame(socket, opcode, True, <const uint8_t *>text, <size_t>size, None)
    else:
        return send_message(socket, message_payload(message), False if binary is not None and not binary else True)
    if waited:
        pass_on(socket)
    if socket.engine is not None:
        socket.engine.messages_sent += 1
    return True


cdef object send_prepared(Socket socket, prepared, binary):
    cdef bytes frame
    cdef bint waited = False
    check_open(socket)
    if not isinstance(prepared, Prepared):
        raise TypeError(f"send_prepared takes what prepare_buffer returned, not {type(prepared).__name__}")
    if socket.flags & FRAGMENTING:
        raise ValueError("a fragmented message is being sent: end it with send_fragment(..., fin=True) first")
    frames = prepared._frames
    frame = frames[1 if (prepared.binary if binary is None else binary) else 0]
    if frame is None:
        frame = prepared.frame(binary)
    if is_over(socket):
        if not make_room(socket, True):
            return dropped(socket, prepared.payload, prepared.binary if binary is None else bool(binary))
        waited = True
    if not check_open(socket):
        queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(frame), <size_t>PyBytes_GET_SIZE(frame), frame)
    if waited:
        pass_on(socket)
    if socket.engine is not None:
        socket.engine.messages_sent += 1
    return True


cdef object send_fragment(Socket socket, piece, fin, binary):
    cdef bytes octets
    cdef bint first
    cdef uint8_t opcode
    cdef Rare rare
    cdef bint waited = False
    check_open(socket)
    first = not socket.flags & FRAGMENTING
    if isinstance(piece, str):
        octets = piece.encode("utf-8")
    else:
        octets = message_payload(piece)
    rare = rare_of(socket)
    if first:
        opcode = LWS_TEXT if (isinstance(piece, str) if binary is None else not binary) else LWS_BINARY
    else:
        opcode = rare.fragment_opcode
        if binary is not None and bool(binary) != (opcode == LWS_BINARY):
            raise ValueError("every fragment of a message is of the kind of its first one")
    utf8_state = rare.fragment_utf8
    if opcode == LWS_TEXT:
        utf8_state = lws_utf8_check(
            rare.fragment_utf8, <const uint8_t *>PyBytes_AS_STRING(octets), <size_t>PyBytes_GET_SIZE(octets)
        )
        if utf8_state == 255 or (fin and utf8_state != LWS_UTF8_ACCEPT):
            raise ValueError("a text message must be UTF-8")
    if first and is_over(socket):
        if not make_room(socket, True):
            raise BackpressureExceeded("the connection is over max_backpressure: no fragmented message can begin")
        waited = True
        if socket.flags & FRAGMENTING:
            raise ValueError("a fragmented message is being sent: end it with send_fragment(..., fin=True) first")
    if fin:
        socket.flags &= ~<uint32_t>FRAGMENTING
        rare.fragment_opcode = 0
        rare.fragment_utf8 = LWS_UTF8_ACCEPT
    else:
        socket.flags |= FRAGMENTING
        rare.fragment_opcode = opcode
        rare.fragment_utf8 = utf8_state
    queue_frame(
        socket, opcode if first else LWS_CONTINUATION, bool(fin), <const uint8_t *>PyBytes_AS_STRING(octets),
        <size_t>PyBytes_GET_SIZE(octets), octets,
    )
    if waited:
        pass_on(socket)
    if socket.engine is not None:
        socket.engine.messages_sent += 1
    return True


cdef object send_control(Socket socket, uint8_t opcode, data):
    cdef bytes payload
    check_open(socket)
    payload = data.encode("utf-8") if isinstance(data, str) else message_payload(data)
    if PyBytes_GET_SIZE(payload) > LWS_MAX_CONTROL_PAYLOAD:
        raise ValueError(f"the payload of a control frame is at most {LWS_MAX_CONTROL_PAYLOAD} bytes (RFC 6455 section 5.5)")
    queue_frame(
        socket, opcode, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>PyBytes_GET_SIZE(payload), None
    )


cdef object close_socket(Socket socket, code, reason, bint own):
    """Begins our close: pending messages first, then the close frame; the peer's answer is awaited for close_timeout."""
    cdef bytes payload = close_payload(code, reason)
    cdef Reactor reactor
    if socket.state == CONNECTING:
        raise closed_error(socket)
    if socket.state != OPEN:
        if own:
            socket.flags |= FAILED  # who closes wants to hear no more of it
        return
    reactor = socket.engine.reactor
    check_thread(reactor)
    if own:
        socket.flags |= OWN_CLOSE
    if socket.flags & CLOSE_SENT:  # the peer's close is already answered
        return
    if socket.code == 0:
        socket.code = code
        if reason:
            rare_of(socket).reason = reason
    if socket.flags & LOST:
        reactor.disconnect(socket)
        return
    if socket.flags & FRAGMENTING:  # a close frame may stand between fragments (RFC 6455 section 5.4)
        socket.flags &= ~<uint32_t>FRAGMENTING
    socket.flags |= CLOSE_SENT
    queue_frame(
        socket, LWS_CLOSE, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>PyBytes_GET_SIZE(payload), None
    )
    if socket.state == OPEN:
        socket.state = CLOSING
        reactor.set_deadline(socket)
        reactor.end_waiting(socket)
        reactor.update_interest(socket)
        if socket.flags & BUSY == 0:
            reactor.push_ready(socket)  # what is kept undelivered may hold the peer's close already


cdef object terminate(Socket socket):
    cdef Reactor reactor
    if socket.engine is None:
        return
    reactor = socket.engine.reactor
    check_thread(reactor)
    if socket.state == CLOSED:
        socket.flags |= FAILED  # who closes wants to hear no more of it
    else:
        socket.flags |= OWN_CLOSE
    reactor.disconnect(socket)


cdef object claim(Socket socket):
    """The inbox of a connection in blocking style; the first call makes it."""
    cdef Rare rare = socket.rare
    if rare is not None and rare.inbox is not None:
        return rare.inbox
    check_open(socket)
    make_inbox(socket)
    socket.flags |= CLAIMED
    socket.engine.reactor.update_interest(socket)
    socket.engine.reactor.push_ready(socket)
    return socket.rare.inbox


cdef int make_inbox(Socket socket) except -1:
    cdef Rare rare = rare_of(socket)
    rare.low_water = LowWater.__new__(LowWater, socket)
    rare.inbox = Inbox(rare.low_water)
    return 0


cdef class LowWater:
    """Called by an inbox when there is room again: its connection is read from again."""

    cdef Socket socket

    def __cinit__(self, Socket socket):
        self.socket = socket

    def __call__(self):
        cdef Socket socket = self.socket
        if socket is None:
            return  # it has ended: what waits in the inbox is all there is
        if socket.descriptor >= 0 and socket.engine is not None and not socket.interest & INTEREST_READ:
            socket.engine.reactor.update_interest(socket)
            socket.engine.reactor.push_ready(socket)


cdef object respond(Socket socket, status, headers, body):
    cdef Reactor reactor
    if not socket.flags & ANSWERING or socket.state != CONNECTING:
        raise LwsError("respond answers a plain HTTP request, and at most once")
    octets = response(status, headers, body)
    check_thread(socket.engine.reactor)
    socket.engine.reactor.refuse(socket, octets)


# ---------------------------------------------------------------------------------------------------------------------
# Handlers: pooled greenlets


class HandlerGreenlet(Greenlet):
    """A pooled greenlet in which handlers run. `repr` and `gevent.util.print_run_info` show the handler and the connection."""

    __slots__ = ("turn",)

    def __init__(self, turn):
        Greenlet.__init__(self)
        self.turn = turn

    def _run(self):
        (<Turn>self.turn).run()

    def throw(self, *args):
        """As that of any greenlet; whoever kills a greenlet waits for its end, so it is not pooled again."""
        (<Turn>self.turn).retired = True
        return Greenlet.throw(self, *args)

    def _formatinfo(self):
        return (<Turn>self.turn).describe()


@cython.final
cdef class Turn:
    """One pooled greenlet and what it is doing."""
    cdef Reactor reactor
    cdef object greenlet
    cdef object switch
    cdef Socket socket
    cdef object event            # name of the event whose handler runs
    cdef bint assigned
    cdef bint retired
    cdef Py_ssize_t idle_references
    cdef size_t calls            # handler calls left for this connection in this turn
    cdef size_t octets           # octets to read left for this connection in this turn

    def __cinit__(self, Reactor reactor):
        self.reactor = reactor

    cdef str describe(self):
        if self.socket is None:
            return "idle handler greenlet"
        return f"{self.event or 'no'} handler of {self.socket!r}"

    cdef int run(self) except -1:
        """Parks until the reactor assigns a round to it, works, parks again. Whatever arrives while it is parked only retires it."""
        cdef Reactor reactor = self.reactor
        while not self.retired:
            try:
                reactor.hub_switch()
            except BaseException:
                break
            if self.assigned:  # and not a stray switch by something that a handler has left behind
                self.assigned = False
                reactor.work(self)
                if reactor.registered == 0 or len(reactor.pool) >= POOL_SIZE:
                    self.retired = True  # nothing is left that it could be kept for
                elif lws_has_context() or self.greenlet.has_links():
                    self.retired = True  # marked; what else marks it shows when nobody runs it, in take_turn
                if not self.retired:
                    reactor.pool.append(self)
        self.retired = True
        reactor.turns.discard(self)
        if self in reactor.pool:
            reactor.pool.remove(self)
        self.switch = None
        self.greenlet = None
        return 0

    cdef bint is_marked(self, Py_ssize_t references):
        """Whether a handler has left something on this greenlet that the next connection must not see (rule 3)."""
        return (
            lws_references(self.greenlet) != references
            or lws_has_weak_references(self.greenlet)
            or self.greenlet.has_links()
        )


# ---------------------------------------------------------------------------------------------------------------------
# The reactor


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
        self.read_clock()

    def __dealloc__(self):
        if self.epoll >= 0:
            close(self.epoll)
        PyMem_Free(self.buffer)
        PyMem_Free(self.cork)
        PyMem_Free(self.events)
        PyMem_Free(self.request)
        PyMem_Free(self.wheel)
        PyMem_Free(self.slots)

    # Rounds (in the hub) and turns (in their greenlets)

    def _on_event(self):
        self.run_round(True)

    def _on_round(self):
        self.round_pending = False
        self.run_round(False)

    cdef int run_round(self, bint poll) except -1:
        """One round, in the hub: a batch of events and the ready list, worked off by turns. A turn that comes back before they are
        worked off has a blocked handler; another one goes on (rule 1)."""
        cdef Turn turn
        cdef int count = 0
        if self.in_round or self.epoll < 0:
            return 0
        self.read_clock()
        if poll or self.registered > 0:
            count = epoll_wait(self.epoll, self.events, BATCH_SIZE, 0)
        self.batch_position = 0
        self.batch_length = count if count > 0 else 0
        self.serving = self.ready
        self.serving_position = 0
        self.ready = []
        self.in_round = True
        try:
            while self.batch_position < self.batch_length or self.serving_position < len(self.serving):
                turn = self.take_turn()
                self.current = turn
                turn.assigned = True
                turn.switch()
                self.current = None
                self.on_hub()
        finally:
            self.current = None
            self.in_round = False
            self.serving = []
            self.batch_length = 0
        if self.dirty:
            self.flush()
        if self.ready:
            self.call_round()
        return 0

    cdef int call_round(self) except -1:
        """Has the ready list served in the hub's next iteration, so that others have their turn first (rule 8)."""
        if not self.round_pending and not self.in_round:
            # A timer and not run_callback: callbacks that schedule callbacks keep the loop from polling.
            self.round_pending = True
            self.round_timer.start(self._on_round)
        return 0

    cdef Turn take_turn(self):
        """A greenlet that no handler has marked: a pooled one or a fresh one (rule 3)."""
        cdef Turn turn
        while self.pool:
            turn = self.pool.pop()
            if not turn.is_marked(turn.idle_references):
                return turn
            turn.retired = True
            turn.switch()
        turn = Turn.__new__(Turn, self)
        turn.greenlet = HandlerGreenlet(turn)
        turn.switch = turn.greenlet.switch
        self.turns.add(turn)
        turn.switch()
        turn.idle_references = lws_references(turn.greenlet)
        return turn

    cdef int work(self, Turn turn) except -1:
        """Serves connections until the round is worked off or a handler has blocked: then another turn has taken over."""
        cdef uint64_t data
        cdef uint32_t events
        cdef PyObject *entry
        cdef Socket socket
        cdef Py_ssize_t references = lws_references(turn.greenlet)
        while True:
            if self.batch_position < self.batch_length:
                data = self.events[self.batch_position].data.u64
                events = self.events[self.batch_position].events
                self.batch_position += 1
                if data & LISTENING_BIT:
                    self.accept(turn, <Py_ssize_t>(data & UINT32_MAX))
                    socket = None
                else:
                    entry = self.slots[data & UINT32_MAX]
                    if entry == NULL or (<Socket>entry).generation != <uint32_t>(data >> 32):
                        continue  # of a connection that an earlier event of this batch has ended (rule 6)
                    socket = <Socket>entry
            elif self.serving_position < len(self.serving):
                socket = self.serving[self.serving_position]
                self.serving_position += 1
                events = 0
                if not socket.flags & READY:
                    continue
            else:
                return 0
            if socket is not None:
                self.serve_guarded(turn, socket, events)
                socket = None
            if self.current is not turn:
                return 0
            if turn.retired or turn.is_marked(references) or lws_has_context():
                turn.retired = True
                return 0

    cdef int serve_guarded(self, Turn turn, Socket socket, uint32_t events) except -1:
        try:
            self.serve(turn, socket, events)
        except BaseException as error:
            # Memory ran out, or a bug: this connection ends, the others go on.
            self.hub.handle_error(self, type(error), error, error.__traceback__)
            turn.socket = None
            socket.flags &= ~<uint32_t>BUSY
            self.disconnect(socket)
        return 0

    cdef int read_clock(self) except -1:
        cdef timespec now
        clock_gettime(CLOCK_MONOTONIC, &now)
        self.now = <uint32_t>(<uint64_t>now.tv_sec * TICKS + <uint64_t>now.tv_nsec * TICKS / 1000000000)
        return 0

    cdef bint is_handling(self, Socket socket):
        """Whether the running greenlet is a turn whose handler has blocked before: what it sends goes out when it blocks again."""
        current = getcurrent()
        if type(current) is not HandlerGreenlet or (<Turn>current.turn).socket is None:
            return socket.flags & CORKED != 0
        self.expect_blocking()
        return True

    cdef int expect_blocking(self) except -1:
        """For a handler outside a round: when it lets the hub run, the hub looks after its connection."""
        if self.flush_callback is None:
            self.flush_callback = self.loop.run_callback(self._on_flush)
        return 0

    def _on_flush(self):
        self.flush_callback = None
        self.on_hub()

    cdef int on_hub(self) except -1:
        """The hub has control: what handlers have sent goes out (rule 2), and what a blocked handler's connection has received
        behind the message that is being handled is looked through (rule 1)."""
        cdef Socket owner = self.buffer_owner
        if owner is not None:
            self.keep_rest(owner)
            if owner.state == OPEN and owner.rare is not None and owner.rare.pending_end > 0 and not is_inert(owner):
                self.skim(owner)
            self.update_interest(owner)
        self.flush()
        return 0

    # Serving one connection

    cdef int serve(self, Turn turn, Socket socket, uint32_t events) except -1:
        socket.flags &= ~<uint32_t>READY
        if socket.descriptor >= 0 and events & EPOLLOUT:
            self.write(socket)
        if socket.flags & BUSY:
            if socket.descriptor >= 0:
                if is_inert(socket):
                    turn.octets = TURN_OCTETS
                    turn.calls = TURN_CALLS
                    self.receive(turn, socket)
                else:
                    self.receive_ahead(socket, events)
                self.update_interest(socket)
            return 0
        turn.socket = socket
        socket.flags |= BUSY
        if socket.descriptor >= 0:
            turn.octets = TURN_OCTETS
            turn.calls = TURN_CALLS
            if is_deliverable(socket):
                self.receive(turn, socket)
            else:
                self.receive_ahead(socket, events)
                self.decode(turn, socket)  # control frames: messages wait
        self.settle(turn, socket)
        return 0

    cdef int settle(self, Turn turn, Socket socket) except -1:
        """The end of a connection's turn: what queued behind its handlers is delivered, what it sent goes out, and it parks."""
        cdef ParkedEngine engine
        cdef Rare rare
        while True:
            rare = socket.rare
            engine = socket.engine
            if engine is None:
                break
            if rare is not None and rare.events is not None:
                name, arguments = rare.events.pop(0)
                if not rare.events:
                    rare.events = None
                self.deliver(turn, socket, name, arguments)
                continue
            if rare is not None and socket.state == CLOSED and (rare.pending_end > 0 or rare.assembly is not None):
                if self.decode(turn, socket) and socket.rare is not None:
                    pending_free(socket.rare)  # part of a frame whose rest will never come
                    socket.rare.assembly = None
                if socket.flags & READY:
                    break
                continue
            if socket.state == CLOSED and not socket.flags & CLOSE_REPORTED:
                socket.flags |= CLOSE_REPORTED
                if engine.has_close:
                    reason = "" if rare is None or rare.reason is None else rare.reason
                    self.deliver(turn, socket, "close", (socket.code or 1006, reason))
                continue
            break
        turn.socket = None
        turn.event = None
        socket.flags &= ~<uint32_t>BUSY
        if self.cork_owner is socket:
            self.uncork(socket)
        if socket.descriptor < 0:
            if not socket.flags & READY:
                socket.user_data = None
                socket.engine = None
        else:
            if socket.rare is not None and socket.rare.output.size > 0 and not socket.interest & INTEREST_WRITE:
                self.write(socket)
            if socket.descriptor >= 0:
                if (
                    socket.rare is not None and socket.rare.pending_end > LWS_MAX_LEFTOVER and not socket.flags & READY
                    and is_deliverable(socket) and socket.state != CONNECTING
                ):
                    self.push_ready(socket)  # received while an event other than a message was handled
                if socket.state == CLOSED and not socket.flags & BUSY:
                    socket.user_data = None
                self.update_interest(socket)
            elif not socket.flags & READY:
                self.push_ready(socket)  # it has ended just now
        if socket.rare is not None and rare_is_empty(socket.rare):
            socket.rare = None
        return 0

    cdef int deliver(self, Turn turn, Socket socket, str name, tuple arguments) except -1:
        """Has the listeners of an event called, by the boundary that catches everything (rule 4)."""
        turn.event = name
        if self.current is not turn:
            self.expect_blocking()
        if name == "error":
            socket.engine.context.report_error(arguments[0], socket)
        else:
            socket.engine.context.deliver(name, socket, socket, *arguments)
        return 0

    cdef int deliver_later(self, Socket socket, str name, tuple arguments) except -1:
        """Queues an event behind the connection's running handler, or has a turn deliver it (rules 9 and 10)."""
        cdef Rare rare
        if not socket.engine.context.has_listeners(name):
            return 0
        rare = rare_of(socket)
        if rare.events is None:
            rare.events = []
        rare.events.append((name, arguments))
        if not socket.flags & BUSY:
            self.push_ready(socket)
        return 0

    cdef int deliver_message(self, Turn turn, Socket socket, object message, bint binary) except -1:
        cdef ParkedEngine engine = socket.engine
        cdef PyObject *arguments[4]
        cdef object kind
        engine.messages_received += 1
        if socket.flags & (CLAIMED | OWN_CLOSE | FAILED):
            if socket.flags & CLAIMED and not socket.flags & FAILED:
                socket.rare.inbox.put(message)
            return 0
        turn.calls -= 1
        if engine.message_function is None:
            if not engine.has_message:  # nobody listens and the connection has ended: recv() can still fetch it
                if rare_of(socket).inbox is None:
                    make_inbox(socket)
                    socket.rare.low_water.socket = None
                socket.rare.inbox.put(message)
                return 0
            self.deliver(turn, socket, "message", (message, binary, 0))
            return 0
        turn.event = "message"
        if self.current is not turn:
            self.expect_blocking()
        kind = True if binary else False
        zero = 0
        arguments[0] = <PyObject *>socket
        arguments[1] = <PyObject *>message
        arguments[2] = <PyObject *>kind
        arguments[3] = <PyObject *>zero
        try:
            PyObject_Vectorcall(engine.message_function, arguments, engine.message_arity, NULL)
        except BaseException as error:
            engine.context.handler_failed(error, "message", socket)
        return 0

    # Receiving

    cdef int claim_buffer(self, Socket socket) except -1:
        """Makes the shared buffer this connection's. What another, whose handler is blocked, has not consumed moves into memory of
        that connection's own (rule 5)."""
        cdef Socket owner = self.buffer_owner
        cdef size_t length
        if owner is not None and self.end > self.position:
            length = self.end - self.position
            pending_append(rare_of(owner), self.buffer + self.position, length)
        self.buffer_owner = None
        self.position = 0
        self.end = 0
        if socket is not None:
            self.buffer_owner = socket
            if socket.rare is not None and socket.rare.pending_end > 0:
                length = pending_length(socket.rare)
                memcpy(self.buffer, socket.rare.pending + socket.rare.pending_begin, length)
                self.end = length
                pending_free(socket.rare)
        return 0

    cdef int keep_rest(self, Socket socket) except -1:
        """Ends the connection's use of the shared buffer; what is not decoded stays with the connection."""
        if self.buffer_owner is socket:
            self.claim_buffer(None)
        return 0

    cdef int receive(self, Turn turn, Socket socket) except -1:
        """Reads, decodes and delivers until nothing is left, the bounds of a turn are met, or reading has to rest."""
        cdef Rare rare
        cdef MessageAssembly assembly
        cdef uint8_t *target
        cdef size_t space
        cdef ssize_t got
        while True:
            if not self.decode(turn, socket):
                break
            if socket.descriptor < 0:
                break
            if socket.flags & ENDED:
                self.disconnect(socket)
                break
            if turn.octets == 0 or turn.calls == 0:
                self.keep_rest(socket)
                self.push_ready(socket)
                break
            if not wants_to_read(socket, True):
                self.keep_rest(socket)
                break
            rare = socket.rare
            if (
                rare is not None and rare.assembly is not None and socket.protocol.frame_remaining >= DIRECT_MINIMUM
                and rare.pending_end == 0 and self.buffer_owner is not socket
            ):
                assembly = rare.assembly
                target = assembly.reserve(socket.protocol.frame_remaining)
                space = assembly.room()
                if space > socket.protocol.frame_remaining:
                    space = socket.protocol.frame_remaining
                got = recv(socket.descriptor, target, space, MSG_DONTWAIT)
                if got > 0:
                    socket.last_receive = self.now
                    socket.flags &= ~<uint32_t>PINGED
                    socket.engine.octets_received += <uint64_t>got
                    turn.octets -= <size_t>got if <size_t>got < turn.octets else turn.octets
                    self.take_direct(turn, socket, assembly, target, <size_t>got)
                    if <size_t>got < space:
                        break
                    continue
            else:
                if self.buffer_owner is not socket or self.position == self.end:
                    self.claim_buffer(socket)
                elif self.position > 0:
                    memmove(self.buffer, self.buffer + self.position, self.end - self.position)
                    self.end -= self.position
                    self.position = 0
                space = BUFFER_SIZE - self.end
                if socket.flags & BULKY and space > BULKY_READ:
                    space = BULKY_READ
                if space == 0:
                    raise RuntimeError("the receive buffer is full of octets that were not decoded")
                got = recv(socket.descriptor, self.buffer + self.end, space, MSG_DONTWAIT)
                if got > 0:
                    self.end += <size_t>got
                    socket.last_receive = self.now
                    socket.flags &= ~<uint32_t>PINGED
                    socket.engine.octets_received += <uint64_t>got
                    turn.octets -= <size_t>got if <size_t>got < turn.octets else turn.octets
                    if <size_t>got < space:
                        if self.decode(turn, socket):
                            if socket.descriptor >= 0:
                                if turn.octets == 0 or turn.calls == 0:
                                    self.keep_rest(socket)
                                    self.push_ready(socket)
                                elif socket.flags & ENDED:
                                    continue
                        break
                    continue
            if got == 0:
                socket.flags |= ENDED | LOST
            elif errno == EINTR:
                continue
            elif errno == EAGAIN:
                break
            else:
                socket.flags |= ENDED | LOST
        self.keep_rest(socket)
        return 0

    cdef int take_direct(
        self, Turn turn, Socket socket, MessageAssembly assembly, uint8_t *data, size_t length
    ) except -1:
        """Decodes octets that were received into their message's own memory."""
        cdef lws_event event
        lws_protocol_receive(&socket.protocol, &socket.engine.limits, data, length, &event)
        if event.kind == LWS_EVENT_ERROR:
            self.fail_protocol(socket, &event)
            return 0
        assembly.commit(length)
        if event.kind == LWS_EVENT_DATA and event.last:
            self.deliver_message(turn, socket, self.finish_message(socket, &event), event.opcode == LWS_BINARY)
        return 0

    cdef object finish_message(self, Socket socket, lws_event *event):
        """The message that has come in parts."""
        message = socket.rare.assembly.finish(event.opcode == LWS_TEXT)
        socket.rare.assembly = None
        if event.opcode == LWS_BINARY and SPARE_MINIMUM <= len(message) <= SPARE_MAXIMUM:
            self.keep_spare(message)
            socket.flags |= BULKY
        else:
            socket.flags &= ~<uint32_t>BULKY
        return message

    cdef int decode(self, Turn turn, Socket socket) except -1:
        """Decodes and delivers what was received. 1: it is all consumed but for part of a frame; 0: delivering has to stop."""
        cdef lws_event event
        cdef uint8_t *data
        cdef size_t length
        cdef size_t consumed
        cdef bint shared
        cdef Rare rare
        while True:
            rare = socket.rare
            shared = self.buffer_owner is socket and self.position < self.end
            if shared:
                data = self.buffer + self.position
                length = self.end - self.position
            elif rare is not None and rare.pending_end > 0:
                data = rare.pending + rare.pending_begin
                length = rare.pending_end - rare.pending_begin
            else:
                return 1
            if socket.flags & REFUSED:
                self.consume(socket, shared, length)
                rare = rare_of(socket)
                rare.lingered += length
                if rare.lingered > LINGER_OCTETS:
                    self.disconnect(socket)
                return 1
            if not is_deliverable(socket) and not is_inert(socket) and not is_control(socket, data, length):
                self.keep_rest(socket)
                return 0
            if turn.calls == 0:
                self.keep_rest(socket)
                self.push_ready(socket)
                return 0
            if socket.state == CONNECTING:
                consumed = self.handshake(turn, socket, data, length)
                if consumed == 0:
                    return 1 if socket.state == CONNECTING and not socket.flags & ANSWERING else 0
                continue
            if socket.flags & CLAIMED and socket.rare.inbox.size >= INBOX_LIMIT:
                self.keep_rest(socket)
                return 0
            consumed = lws_protocol_receive(&socket.protocol, &socket.engine.limits, data, length, &event)
            if event.kind == LWS_EVENT_DATA:
                if event.first and event.last:
                    if event.opcode == LWS_TEXT:
                        # Its UTF-8 is checked, unless the server was asked not to.
                        message = PyUnicode_DecodeUTF8(<const char *>event.data, <Py_ssize_t>event.length, b"replace")
                    else:
                        message = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
                    self.consume(socket, shared, consumed)
                    self.deliver_message(turn, socket, message, event.opcode == LWS_BINARY)
                    message = None
                else:
                    self.take_part(socket, &event)
                    self.consume(socket, shared, consumed)
                    if event.last:
                        self.deliver_message(
                            turn, socket, self.finish_message(socket, &event), event.opcode == LWS_BINARY
                        )
            elif event.kind == LWS_EVENT_NONE:
                self.consume(socket, shared, consumed)
                return 1
            elif event.kind == LWS_EVENT_CLOSE:
                self.take_close(socket, &event)
                self.consume(socket, shared, consumed)
            elif event.kind == LWS_EVENT_ERROR:
                self.fail_protocol(socket, &event)
                self.consume(socket, shared, consumed)
            else:
                payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
                self.consume(socket, shared, consumed)
                self.take_control(turn, socket, event.kind == LWS_EVENT_PING, payload)
                payload = None

    cdef int consume(self, Socket socket, bint shared, size_t count) except -1:
        if shared:
            self.position += count
        elif socket.rare is not None:
            pending_consume(socket.rare, count)
        return 0

    cdef int take_part(self, Socket socket, lws_event *event) except -1:
        """Keeps a part of a message in memory of the right size."""
        cdef Rare rare = rare_of(socket)
        if rare.assembly is None:
            rare.assembly = MessageAssembly.__new__(MessageAssembly)
            if event.fin and event.length + event.frame_remaining >= SPARE_MINIMUM and event.opcode == LWS_BINARY:
                self.use_spare(rare.assembly, event.length + event.frame_remaining)
        if event.length > 0:
            rare.assembly.reserve(event.length + event.frame_remaining)
            rare.assembly.append(event.data, event.length)
        return 0

    cdef int use_spare(self, MessageAssembly assembly, uint64_t length) except -1:
        """Has a large message received into the memory of an earlier one of the same length that nobody holds any more. Memory that
        comes fresh from the system costs more than what is received into it."""
        cdef Py_ssize_t index
        for index in range(len(self.spares)):
            spare = self.spares[index]
            if <uint64_t>PyBytes_GET_SIZE(spare) == length and lws_references(spare) == 2:
                del self.spares[index]
                lws_forget_hash(spare)
                assembly.adopt(spare)
                self.spares_used = True
                break
        return 0

    cdef int keep_spare(self, object message) except -1:
        """Keeps a large message's memory for the next one."""
        if len(self.spares) >= SPARE_COUNT:
            self.spares.pop(0)
        self.spares.append(message)
        if self.listed == 0:
            self.timer.start(self._on_tick, update=True)
        return 0

    cdef int take_control(self, Turn turn, Socket socket, bint is_ping, bytes payload) except -1:
        cdef ParkedEngine engine = socket.engine
        if is_ping:
            if engine.auto_pong:
                if socket.rare is not None and socket.rare.pongs > 0:
                    socket.rare.pongs -= 1  # answered ahead
                else:
                    self.answer_ping(socket, payload)
            if engine.has_ping:
                self.deliver_control(turn, socket, "ping", payload)
        elif engine.has_pong:
            self.deliver_control(turn, socket, "pong", payload)
        return 0

    cdef int deliver_control(self, Turn turn, Socket socket, str name, bytes payload) except -1:
        if turn.socket is socket:
            turn.calls -= 1
            self.deliver(turn, socket, name, (payload,))
        elif len(rare_of(socket).events or ()) < 256:  # bounded: a flood of pings meets a blocked handler
            self.deliver_later(socket, name, (payload,))
        return 0

    cdef int answer_ping(self, Socket socket, bytes payload) except -1:
        if socket.flags & (CLOSE_SENT | LOST) or socket.state != OPEN:
            return 0
        if socket.rare is not None and socket.rare.output.size > PONG_LIMIT:
            socket.rare.late_pong = payload
            return 0
        queue_frame(
            socket, LWS_PONG, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>PyBytes_GET_SIZE(payload), None
        )
        return 0

    cdef int take_close(self, Socket socket, lws_event *event) except -1:
        """The peer's close frame: answered with its own code (RFC 6455 section 5.5.1), after what is pending."""
        cdef uint8_t payload[2]
        cdef size_t length = 0
        if not socket.flags & OWN_CLOSE or socket.engine.own_close_event:
            if socket.code == 0 or socket.flags & OWN_CLOSE:
                socket.code = event.code
                if event.length > 0:
                    rare_of(socket).reason = PyUnicode_DecodeUTF8(
                        <const char *>event.data, <Py_ssize_t>event.length, b"replace"
                    )
        socket.flags |= CLOSE_RECEIVED
        if not socket.flags & CLOSE_SENT:
            socket.flags |= CLOSE_SENT
            if event.code != 1005:
                payload[0] = <uint8_t>(event.code >> 8)
                payload[1] = <uint8_t>(event.code & 0xff)
                length = 2
            if not socket.flags & LOST:
                queue_frame(socket, LWS_CLOSE, True, payload, length, None)
        self.end_waiting(socket)
        if socket.state == OPEN:
            socket.state = CLOSING
            self.set_deadline(socket)
        self.end_when_written(socket)
        return 0

    cdef int end_when_written(self, Socket socket) except -1:
        """Both close frames are exchanged: the TCP connection ends once ours is written (RFC 6455 section 7.1.1)."""
        if socket.descriptor >= 0 and socket.flags & CLOSE_RECEIVED and socket.flags & CLOSE_SENT:
            if not socket.flags & LOST:
                self.write(socket)
            if socket.descriptor >= 0 and (socket.flags & LOST or buffered(socket) == 0):
                self.disconnect(socket)
        return 0

    cdef int fail_protocol(self, Socket socket, lws_event *event) except -1:
        """The peer broke the protocol (RFC 6455 section 7.1.7)."""
        cdef str problem = "the peer broke the protocol"
        if event.problem != NULL:
            problem = event.problem.decode("ascii")
        error = PayloadTooBig(event.code, problem) if event.code == 1009 else ProtocolError(event.code, problem)
        rare_of(socket).assembly = None
        if not socket.flags & OWN_CLOSE:
            if socket.rare.events is None:
                socket.rare.events = []
            socket.rare.events.append(("error", (error,)))
        self.fail(socket, event.code, problem, False)
        return 0

    cdef int fail(self, Socket socket, uint16_t code, str reason, bint at_once) except -1:
        """Ends a connection that cannot go on: a close frame with `code`, and nothing that comes in any more is looked at. The TCP
        connection lingers until the peer has read it. `at_once`: without waiting for what is pending, which the peer does not read."""
        cdef bytes payload
        if socket.descriptor < 0 or socket.state == CLOSED:
            return 0
        if socket.code == 0 or not socket.flags & CLOSE_RECEIVED:
            socket.code = code
            rare_of(socket).reason = reason or None
        if at_once:
            self.disconnect(socket)
            return 0
        if not socket.flags & (CLOSE_SENT | LOST):
            payload = close_payload(code)  # the reason is for our side: it would tell the peer nothing that it can use
            socket.flags |= CLOSE_SENT
            queue_frame(socket, LWS_CLOSE, True, <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>len(payload), None)
        self.end_waiting(socket)
        self.end_inbox(socket)
        self.linger(socket)
        if not socket.flags & BUSY:
            self.push_ready(socket)
        return 0

    cdef int linger(self, Socket socket) except -1:
        """For the application the connection is over; its descriptor stays until the peer had a chance to read our last octets: closing
        with unread input would reset the connection and could destroy them."""
        socket.state = CLOSED
        socket.flags |= REFUSED
        self.count_closed(socket)
        self.write(socket)
        if socket.descriptor >= 0:
            self.set_deadline(socket)
            self.update_interest(socket)
        return 0

    cdef int receive_ahead(self, Socket socket, uint32_t events) except -1:
        """For a connection whose handler is blocked, or that nobody listens to: reads into bounded memory of its own and looks at
        control frames only (rule 1)."""
        cdef Rare rare
        cdef size_t room
        cdef ssize_t got = -1
        cdef bint over = False
        if self.buffer_owner is socket:
            self.keep_rest(socket)
        if wants_to_read(socket, False):
            room = AHEAD_LIMIT - (0 if socket.rare is None else pending_length(socket.rare))
            self.claim_buffer(None)
            while True:
                got = recv(socket.descriptor, self.buffer, room, MSG_DONTWAIT)
                if got >= 0 or errno != EINTR:
                    break
            if got > 0:
                socket.last_receive = self.now
                socket.flags &= ~<uint32_t>PINGED
                socket.engine.octets_received += <uint64_t>got
                rare = rare_of(socket)
                pending_append(rare, self.buffer, <size_t>got)
                if socket.state == OPEN:
                    self.skim(socket)
            elif got == 0 or errno != EAGAIN:
                over = True
        if over or (got <= 0 and events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)):
            self.lose(socket)
            if over:
                socket.flags |= ENDED
                self.disconnect(socket)
        return 0

    cdef int skim(self, Socket socket) except -1:
        """Looks through what was received ahead, with a copy of the protocol's state and of the octets: answers pings, and lets the
        application learn of a close or of an error at once. The frames stay where they are and are decoded in their order later."""
        cdef Rare rare = socket.rare
        cdef uint8_t copy[1024]
        cdef size_t available
        cdef size_t consumed
        cdef lws_event event
        if rare.skimmed == 0:
            rare.ahead = socket.protocol
            rare.known_pongs = rare.pongs
        while not rare.ahead.flags & LWS_RECEIVE_ENDED:
            available = rare.pending_end - rare.pending_begin - rare.skimmed
            if available > sizeof(copy):
                available = sizeof(copy)
            memcpy(copy, rare.pending + rare.pending_begin + rare.skimmed, available)
            consumed = lws_protocol_receive(&rare.ahead, &socket.engine.limits, copy, available, &event)
            rare.skimmed += consumed
            if event.kind == LWS_EVENT_NONE:
                return 0
            if event.kind == LWS_EVENT_PING and socket.engine.auto_pong:
                if rare.known_pongs > 0:
                    rare.known_pongs -= 1
                else:
                    rare.pongs += 1
                    self.answer_ping(socket, PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length))
            elif event.kind == LWS_EVENT_CLOSE:
                self.take_close(socket, &event)
            elif event.kind == LWS_EVENT_ERROR:
                self.close_for_error(socket, &event)
        return 0

    cdef int close_for_error(self, Socket socket, lws_event *event) except -1:
        """An error behind messages that are still to be delivered: the peer and the application learn of it at once."""
        cdef uint8_t payload[2]
        if socket.flags & (CLOSE_SENT | LOST):
            return 0
        payload[0] = <uint8_t>(event.code >> 8)
        payload[1] = <uint8_t>(event.code & 0xff)
        socket.code = event.code
        socket.flags |= CLOSE_SENT | CLOSE_RECEIVED
        queue_frame(socket, LWS_CLOSE, True, payload, 2, None)
        self.end_waiting(socket)
        return 0

    # The opening handshake and plain HTTP

    cdef Py_ssize_t handshake(self, Turn turn, Socket socket, uint8_t *data, size_t length) except -1:
        """Answers a request head when it is all there: how many octets it took, 0 when it waits for more."""
        cdef ParkedEngine engine = socket.engine
        cdef Rare rare = socket.rare
        cdef bint shared = self.buffer_owner is socket and self.position < self.end
        cdef size_t head
        cdef lws_request *request = self.request
        if rare is not None and rare.request is not None:
            return self.take_body(turn, socket, data, length, shared)
        if socket.flags & ANSWERING:
            return 0
        head = lws_request_find_end(data, length, 0 if rare is None else rare.scanned)
        if head == 0 and length <= engine.max_header_size:
            rare_of(socket).scanned = length
            return 0
        if rare is not None:
            rare.scanned = 0
        if (
            head > 0 and head <= engine.max_header_size and engine.plain_upgrade
            and (engine.max_connections < 0 or engine.open_count < engine.max_connections)
            and lws_request_parse(data, head, request) == 0 and lws_request_check_upgrade(request) == 101
        ):
            accept = accept_key(
                PyBytes_FromStringAndSize(<const char *>data + request.key.offset, <Py_ssize_t>request.key.length)
            ).encode("ascii")
            socket.target = engine.target(data + request.target.offset, request.target.length)
            self.consume(socket, shared, head)
            answer = UPGRADE_BEGIN + accept + UPGRADE_END
            queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(answer), <size_t>len(answer), answer)
            self.open(turn, socket)
            return <Py_ssize_t>head
        self.handshake_by_context(turn, socket, PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>length), shared)
        return 0 if socket.flags & (REFUSED | ANSWERING) or socket.descriptor < 0 else 1

    cdef int handshake_by_context(self, Turn turn, Socket socket, bytes octets, bint shared) except -1:
        """The way of a request about which more than the strict checks decides: as the other engines do it."""
        cdef ParkedEngine engine = socket.engine
        try:
            parsed = engine.context.codec.parse_request(octets, engine.max_header_size, 0)
            if isinstance(parsed, int):
                raise handshake_error(431, "the request head is longer than max_header_size")
        except HandshakeError as error:
            self.refuse(socket, response(error.status, error.headers, error.body))
            return 0
        request, head = parsed
        self.consume(socket, shared, <size_t>head)
        socket.target = request.target
        if request.upgrade_status == 0 and engine.context.has_listeners("http"):
            if request.chunked:
                return self.refuse_with(socket, 411, "the body must come with a Content-Length")
            if request.content_length:
                if request.content_length > <Py_ssize_t>engine.max_body_size:
                    return self.refuse_with(socket, 413, "the body is longer than max_body_size")
                rare_of(socket).request = request
                self.set_deadline(socket)
                return 0
        self.decide(turn, socket, request)
        return 0

    cdef int refuse_with(self, Socket socket, int status, str problem) except -1:
        error = handshake_error(status, problem)
        return self.refuse(socket, response(error.status, error.headers, error.body))

    cdef Py_ssize_t take_body(self, Turn turn, Socket socket, uint8_t *data, size_t length, bint shared) except -1:
        """The body of a plain request: taken when it is all there."""
        cdef Rare rare = socket.rare
        cdef size_t wanted = <size_t>rare.request.content_length
        if length < wanted:
            return 0
        request = rare.request
        rare.request = None
        request.body = PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>wanted)
        self.consume(socket, shared, wanted)
        self.decide(turn, socket, request)
        return 0 if socket.flags & (REFUSED | ANSWERING) or socket.descriptor < 0 else 1

    cdef int decide(self, Turn turn, Socket socket, request) except -1:
        turn.event = "http" if request.upgrade_status == 0 else "upgrade"
        if request.upgrade_status == 0:
            socket.flags |= ANSWERING
        decision = socket.engine.context.decide(socket, request)
        if socket.descriptor < 0 or socket.state != CONNECTING:
            return 0  # it has ended, or was answered by `respond`, while the listeners ran
        if decision is None:
            self.update_interest(socket)
            return 0
        if not decision.accept:
            self.refuse(socket, decision.response)
            return 0
        answer = decision.response
        if decision.subprotocol is not None:
            rare_of(socket).subprotocol = decision.subprotocol
        if decision.extensions:
            rare_of(socket).extensions = decision.extensions
        queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(answer), <size_t>len(answer), answer)
        self.open(turn, socket)
        return 0

    cdef int open(self, Turn turn, Socket socket) except -1:
        """The 101 is on its way: from here on it is a WebSocket connection."""
        cdef ParkedEngine engine = socket.engine
        lws_protocol_init(&socket.protocol)
        socket.state = OPEN
        socket.flags |= OPENED
        socket.last_receive = self.now
        engine.open_count += 1
        engine.opened += 1
        if engine.max_lifetime > 0:
            rare_of(socket).opened = self.now
        self.set_deadline(socket)
        if engine.has_connection:
            self.deliver(turn, socket, "connection", ())
            if socket.flags & CLAIMED and socket.state == OPEN:
                close_socket(socket, 1000, "", True)
        return 0

    cdef int refuse(self, Socket socket, bytes octets) except -1:
        """Writes a complete HTTP response and ends the TCP connection; whatever else the peer sends is thrown away."""
        if socket.descriptor < 0:
            return 0
        socket.engine.refused += 1
        socket.flags |= REFUSED | CLOSE_REPORTED
        queue_octets(socket, NULL, 0, <const uint8_t *>PyBytes_AS_STRING(octets), <size_t>len(octets), octets)
        self.linger(socket)
        return 0

    # Writing

    cdef int mark_dirty(self, Socket socket) except -1:
        if not socket.flags & DIRTY:
            socket.flags |= DIRTY
            self.dirty.append(socket)
        return 0

    cdef int flush(self) except -1:
        """Writes what handlers have sent (rule 2)."""
        cdef Socket socket
        if self.cork_owner is not None:
            self.uncork(self.cork_owner)
        while self.dirty:
            dirty = self.dirty
            self.dirty = []
            for socket in dirty:
                socket.flags &= ~<uint32_t>DIRTY
                if socket.descriptor >= 0:
                    self.write(socket)
        return 0

    cdef int uncork(self, Socket socket) except -1:
        """Writes what is in the cork; it is free for the next connection afterwards."""
        cdef size_t length = self.cork_length
        cdef ssize_t written
        self.cork_owner = None
        self.cork_length = 0
        if socket.descriptor < 0 or length == 0:
            return 0
        while True:
            written = send(socket.descriptor, self.cork, length, MSG_NOSIGNAL | MSG_DONTWAIT)
            if written >= 0 or errno != EINTR:
                break
        if written < 0:
            if errno != EAGAIN:
                return self.lose(socket)
            written = 0
        if <size_t>written < length:
            output_copy(&rare_of(socket).output, self.cork + written, length - <size_t>written)
            note_over(socket)
            self.update_interest(socket)
        elif socket.flags & (OVER | CLOSE_RECEIVED | REFUSED):
            self.after_write(socket)
        return 0

    cdef int write_through(
        self, Socket socket, const uint8_t *header, size_t header_length, const uint8_t *payload, size_t length, object owner
    ) except -1:
        """Writes at once what the kernel takes and queues the rest; a large payload is never copied when it can be referred to."""
        cdef iovec vector[3]
        cdef msghdr message
        cdef ssize_t written = 0
        cdef size_t corked = 0
        cdef Rare rare
        if socket.flags & LOST:
            return 0
        if socket.rare is None or socket.rare.output.first == NULL:
            if self.cork_owner is socket:
                corked = self.cork_length
                self.cork_owner = None
                self.cork_length = 0
            vector[0].iov_base = self.cork
            vector[0].iov_len = corked
            vector[1].iov_base = <void *>header
            vector[1].iov_len = header_length
            vector[2].iov_base = <void *>payload
            vector[2].iov_len = length
            message_init(&message, vector, 3)
            while True:
                written = sendmsg(socket.descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
                if written >= 0 or errno != EINTR:
                    break
            if written < 0:
                if errno != EAGAIN:
                    return self.lose(socket)
                written = 0
            if <size_t>written == corked + header_length + length:
                return 0
        rare = rare_of(socket)
        if <size_t>written < corked:
            output_copy(&rare.output, self.cork + written, corked - <size_t>written)
            written = 0
        else:
            written -= <ssize_t>corked
        if <size_t>written < header_length:
            output_copy(&rare.output, header + written, header_length - <size_t>written)
            written = 0
        else:
            written -= <ssize_t>header_length
        if owner is not None and length - <size_t>written >= CHUNK_MINIMUM:
            output_reference(&rare.output, owner, payload + written, length - <size_t>written)
        else:
            output_copy(&rare.output, payload + written, length - <size_t>written)
        note_over(socket)
        self.update_interest(socket)
        return 0

    cdef int write(self, Socket socket) except -1:
        """Writes what is queued, as far as the kernel takes it."""
        cdef size_t before
        cdef int problem
        if self.cork_owner is socket:
            self.uncork(socket)
        if socket.descriptor < 0:
            return 0
        if socket.rare is not None and socket.rare.output.first != NULL:
            before = socket.rare.output.size
            problem = output_write(&socket.rare.output, socket.descriptor)
            if problem != 0:
                return self.lose(socket)
            socket.rare.progress += before - socket.rare.output.size
        self.after_write(socket)
        return 0

    cdef int after_write(self, Socket socket) except -1:
        """What becomes possible when the kernel has taken something."""
        cdef size_t left = buffered(socket)
        cdef Rare rare = socket.rare
        if left == 0:
            if rare is not None and rare.late_pong is not None:
                payload = rare.late_pong
                rare.late_pong = None
                self.answer_ping(socket, payload)
            if socket.flags & CLOSE_RECEIVED and socket.flags & CLOSE_SENT:
                return self.disconnect(socket)
            elif socket.flags & REFUSED:
                shutdown(socket.descriptor, SHUT_WR)
        if socket.flags & OVER and left <= socket.engine.max_backpressure // 2:
            socket.flags &= ~<uint32_t>OVER
            if socket.state == OPEN:
                self.deliver_later(socket, "drain", ())
        if rare is not None and rare.waiting is not None and left <= socket.engine.max_backpressure:
            rare.waiting.wake()
        self.update_interest(socket)
        return 0

    cdef int lose(self, Socket socket) except -1:
        """Nothing can be sent any more. What was received, the peer's close frame perhaps, is still delivered."""
        if socket.flags & LOST:
            return 0
        socket.flags |= LOST
        if socket.code == 0:
            socket.code = 1006
        if self.cork_owner is socket:
            self.cork_owner = None
            self.cork_length = 0
        if socket.rare is not None:
            output_clear(&socket.rare.output)
            socket.rare.late_pong = None
        self.end_waiting(socket)
        if socket.descriptor >= 0:
            self.update_interest(socket)
            self.push_ready(socket)
        return 0

    cdef int end_waiting(self, Socket socket) except -1:
        if socket.rare is not None and socket.rare.waiting is not None:
            socket.rare.waiting.end(ConnectionClosed(socket.code or 1006, socket.rare.reason or ""))
        return 0

    cdef int end_inbox(self, Socket socket) except -1:
        if socket.rare is not None and socket.rare.inbox is not None:
            socket.rare.inbox.end(socket.code or 1006, socket.rare.reason or "")
        return 0

    # Registering, interest, the end

    cdef int push_ready(self, Socket socket) except -1:
        if not socket.flags & READY:
            socket.flags |= READY
            self.ready.append(socket)
            self.call_round()
        return 0

    cdef int update_interest(self, Socket socket) except -1:
        """Tells epoll what this connection waits for, when that has changed."""
        cdef epoll_event event
        cdef uint8_t interest = 0
        if socket.descriptor < 0:
            return 0
        if wants_to_read(socket, False):
            interest |= INTEREST_READ
        if socket.rare is not None and socket.rare.output.first != NULL:
            interest |= INTEREST_WRITE
        if interest == socket.interest:
            return 0
        event.events = <uint32_t>EPOLLIN if interest & INTEREST_READ else EPOLLET | <uint32_t>EPOLLRDHUP
        if interest & INTEREST_WRITE:
            event.events |= <uint32_t>EPOLLOUT
        event.data.u64 = <uint64_t>socket.generation << 32 | <uint32_t>socket.descriptor
        if epoll_ctl(self.epoll, EPOLL_CTL_MOD, socket.descriptor, &event) == 0:
            socket.interest = interest
        return 0

    cdef int count_registered(self, int change) except -1:
        """The watcher runs only while something is registered, so that `gevent.wait()` can end (rule 11)."""
        self.registered += change
        if change > 0 and self.registered == 1:
            self.watcher.start(self._on_event)
        elif self.registered == 0:
            self.watcher.stop()
            self.loop.run_callback(self._on_empty)
        return 0

    def _on_empty(self):
        """In the hub: nothing is registered any more, so no greenlet is kept for it."""
        cdef Turn turn
        while self.pool and self.registered == 0 and not self.in_round:
            turn = self.pool.pop()
            turn.retired = True
            turn.switch()

    cdef Socket register(self, ParkedEngine engine, int descriptor, sockaddr_storage *address):
        """The object of a connection that was accepted. The descriptor belongs to it from here on, whatever happens."""
        cdef Socket socket = Socket.__new__(Socket)
        cdef epoll_event event
        cdef Py_ssize_t count
        cdef PyObject **slots
        socket.descriptor = -1
        socket.engine = engine
        socket.timer_next = -1
        socket.timer_previous = -1
        socket.last_receive = self.now
        try:
            set_address(socket, address)
            if descriptor >= self.slot_count:
                count = max(self.slot_count * 2, descriptor + 64)
                slots = <PyObject **>PyMem_Realloc(self.slots, count * sizeof(PyObject *))
                if slots == NULL:
                    raise MemoryError()
                memset(slots + self.slot_count, 0, (count - self.slot_count) * sizeof(PyObject *))
                self.slots = slots
                self.slot_count = count
            self.generation = (self.generation + 1) & GENERATION_MASK
            socket.generation = self.generation
            event.events = EPOLLIN
            event.data.u64 = <uint64_t>socket.generation << 32 | <uint32_t>descriptor
            if epoll_ctl(self.epoll, EPOLL_CTL_ADD, descriptor, &event) != 0:
                raise OSError(errno, os.strerror(errno))
        except BaseException:
            close(descriptor)
            raise
        socket.descriptor = descriptor
        socket.interest = INTEREST_READ
        Py_INCREF(socket)
        self.slots[descriptor] = <PyObject *>socket
        engine.connection_count += 1
        engine.accepted += 1
        self.count_registered(1)
        self.set_deadline(socket)
        return socket

    cdef int count_closed(self, Socket socket) except -1:
        if socket.flags & OPENED and not socket.flags & COUNTED:
            socket.flags |= COUNTED
            socket.engine.open_count -= 1
            socket.engine.ended_count += 1
        return 0

    cdef int disconnect(self, Socket socket) except -1:
        """Ends the TCP connection: out of the set, shut down, closed, in this order (rule 6). The close event comes behind the
        handler that may be running."""
        cdef int descriptor = socket.descriptor
        cdef ParkedEngine engine = socket.engine
        cdef Rare rare = socket.rare
        cdef epoll_event event
        if descriptor < 0:
            return 0
        self.unlist(socket)
        if self.cork_owner is socket:
            self.cork_owner = None
            self.cork_length = 0
        keep = socket.flags & (CLOSE_RECEIVED | ENDED) and socket.flags & OPENED and (
            not socket.flags & (OWN_CLOSE | FAILED | REFUSED)
        )
        if self.buffer_owner is socket:
            if not keep:
                self.position = self.end
            self.keep_rest(socket)
            rare = socket.rare
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, descriptor, &event)
        shutdown(descriptor, SHUT_RDWR)
        close(descriptor)
        socket.descriptor = -1
        socket.interest = 0
        socket.state = CLOSED
        self.count_closed(socket)
        engine.connection_count -= 1
        if rare is not None:
            output_clear(&rare.output)
            if not keep:  # else it is delivered yet, before the close event
                pending_free(rare)
                rare.assembly = None
            rare.late_pong = None
            rare.request = None
            rare.opened = 0
            rare.pinged = 0
            rare.fragment_opcode = 0
        self.end_waiting(socket)
        self.end_inbox(socket)
        if rare is not None and rare.low_water is not None:
            rare.low_water.socket = None
        if not socket.flags & OPENED or socket.flags & OWN_CLOSE and not engine.own_close_event:
            socket.flags |= CLOSE_REPORTED
        self.slots[descriptor] = NULL
        if not socket.flags & BUSY:
            if socket.flags & CLOSE_REPORTED and (rare is None or rare.events is None):
                socket.user_data = None
                socket.engine = None
            else:
                self.push_ready(socket)
        Py_DECREF(socket)
        self.count_registered(-1)
        if engine.connection_count == 0 and engine.ended is not None:
            engine.ended.set()
        if engine.listening is not None and engine.listening.paused:
            self.resume_listening(engine.listening)
        return 0

    # Listening sockets

    cdef int accept(self, Turn turn, Py_ssize_t index) except -1:
        """Accepts what waits, up to a bound, and serves each at once: its request is usually there already."""
        cdef Listening listening
        cdef sockaddr_storage address
        cdef socklen_t length
        cdef int descriptor
        cdef int count
        cdef Socket socket
        for count in range(ACCEPT_BATCH):
            listening = self.listenings[index] if index < len(self.listenings) else None
            if listening is None or listening.paused or self.current is not turn:
                return 0
            length = sizeof(address)
            address.ss_family = 0
            descriptor = accept4(
                listening.descriptor, <sockaddr *>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC
            )
            if descriptor < 0:
                if errno == EINTR or errno == ECONNABORTED:
                    continue
                if errno != EAGAIN:
                    self.pause_listening(listening, errno)
                return 0
            listening.delay = 0
            socket = self.register(listening.engine, descriptor, &address)
            self.serve_guarded(turn, socket, EPOLLIN)
        return 0

    cdef int pause_listening(self, Listening listening, int problem) except -1:
        """No descriptor is to be had: accepting rests until one is closed or some time has passed, and never spins."""
        cdef epoll_event event
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, listening.descriptor, &event)
        listening.paused = True
        first = listening.delay == 0
        listening.delay = 0.05 if first else min(1.0, listening.delay * 2)
        listening.timer = self.loop.timer(listening.delay)
        listening.timer.start(listening._on_timer)
        if first:
            listening.engine.context.report_error(OSError(problem, os.strerror(problem)), None)
        return 0

    cdef int resume_listening(self, Listening listening) except -1:
        if listening.timer is not None:
            listening.timer.stop()
            listening.timer.close()
            listening.timer = None
        listening.paused = False
        self.watch_listening(listening)
        return 0

    cdef int watch_listening(self, Listening listening) except -1:
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.u64 = LISTENING_BIT | <uint64_t>listening.index
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, listening.descriptor, &event) != 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    # Deadlines: in a wheel of ticks, looked at by one timer that runs only while there is one

    cdef int set_deadline(self, Socket socket) except -1:
        cdef ParkedEngine engine = socket.engine
        cdef uint32_t due = UINT32_MAX
        cdef uint32_t reference
        if socket.descriptor < 0:
            return 0
        if socket.flags & REFUSED:
            due = self.now + min(engine.close_timeout, <uint32_t>(LINGER_SECONDS * TICKS))
        elif socket.state == CONNECTING:
            due = self.now + engine.handshake_timeout
        elif socket.state == CLOSING:
            due = self.now + engine.close_timeout
            if socket.rare is not None:
                socket.rare.stalled = socket.rare.progress
        else:
            if engine.lost_after > 0:
                due = socket.last_receive + engine.lost_after
            if engine.ping_after > 0 and not socket.flags & PINGED:
                reference = socket.last_receive
                if socket.rare is not None and socket.rare.pinged > reference:
                    reference = socket.rare.pinged
                if reference + engine.ping_after < due:
                    due = reference + engine.ping_after
            if socket.rare is not None and socket.rare.opened > 0 and socket.rare.opened + engine.max_lifetime < due:
                due = socket.rare.opened + engine.max_lifetime
        self.unlist(socket)
        if due != UINT32_MAX:
            self.enlist(socket, due + 1)  # a tick that has begun is not yet over
        return 0

    cdef int enlist(self, Socket socket, uint32_t due) except -1:
        cdef int32_t *head
        if due <= self.swept:
            due = self.swept + 1
        head = &self.wheel[due % WHEEL_SIZE]
        socket.due = due
        socket.timer_previous = -1
        socket.timer_next = head[0]
        if head[0] >= 0:
            (<Socket>self.slots[head[0]]).timer_previous = socket.descriptor
        head[0] = socket.descriptor
        socket.flags |= LISTED
        self.listed += 1
        if self.listed == 1:
            self.swept = self.now
            if not self.spares:
                self.timer.start(self._on_tick, update=True)
        return 0

    cdef int unlist(self, Socket socket) except -1:
        if not socket.flags & LISTED:
            return 0
        if socket.timer_previous >= 0:
            (<Socket>self.slots[socket.timer_previous]).timer_next = socket.timer_next
        else:
            self.wheel[socket.due % WHEEL_SIZE] = socket.timer_next
        if socket.timer_next >= 0:
            (<Socket>self.slots[socket.timer_next]).timer_previous = socket.timer_previous
        socket.timer_next = -1
        socket.timer_previous = -1
        socket.flags &= ~<uint32_t>LISTED
        self.listed -= 1
        if self.listed == 0 and not self.spares:
            self.timer.stop()
        return 0

    def _on_tick(self):
        cdef list due
        cdef Socket socket
        cdef int32_t descriptor
        self.read_clock()
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
                self.on_deadline(socket)

    cdef int on_deadline(self, Socket socket) except -1:
        """In the hub: no user code runs here; what handlers have to hear of is queued for a turn."""
        cdef ParkedEngine engine = socket.engine
        cdef uint32_t silent
        if socket.flags & REFUSED:
            return self.disconnect(socket)
        if socket.state == CONNECTING:
            if not socket.flags & (BUSY | ANSWERING):
                return self.disconnect(socket)
        elif socket.state == CLOSING:
            if socket.rare is None or socket.rare.progress == socket.rare.stalled:
                if not socket.flags & CLOSE_RECEIVED and not socket.flags & OWN_CLOSE:
                    pass
                return self.disconnect(socket)
        elif not socket.interest & INTEREST_READ:
            socket.last_receive = self.now  # we are the ones who do not read: the peer's silence proves nothing (rule 1)
        else:
            if socket.rare is not None and socket.rare.opened > 0 and self.now - socket.rare.opened >= engine.max_lifetime:
                close_socket(socket, 1001, "", False)
                return 0
            silent = self.now - socket.last_receive
            if engine.lost_after > 0 and silent >= engine.lost_after:
                self.lose(socket)
                socket.code = 1006
                return self.disconnect(socket)
            if engine.ping_after > 0 and silent >= engine.ping_after:
                queue_frame(socket, LWS_PING, True, NULL, 0, None)
                if socket.descriptor < 0:
                    return 0
                if engine.lost_after > 0:
                    socket.flags |= PINGED
                else:
                    rare_of(socket).pinged = self.now
        self.set_deadline(socket)
        return 0

    # Fork (rule 7)

    cdef int abandon(self) except -1:
        """In a forked child: its copies of the descriptors are closed without a shutdown, and the inherited set is never touched."""
        cdef Py_ssize_t index
        cdef Socket socket
        cdef Listening listening
        self.watcher.stop()
        self.timer.stop()
        self.round_timer.stop()
        for index in range(self.slot_count):
            if self.slots[index] != NULL:
                socket = <Socket>self.slots[index]
                self.slots[index] = NULL
                close(socket.descriptor)
                socket.descriptor = -1
                socket.state = CLOSED
                socket.code = 1006
                socket.flags |= CLOSE_REPORTED
                socket.flags &= ~<uint32_t>LISTED
                if socket.engine is not None:
                    socket.engine.connection_count = 0
                    socket.engine.open_count = 0
                    socket.engine.reactor = None
                socket.engine = None
                Py_DECREF(socket)
        for listening in self.listenings:
            if listening is not None:
                if listening.timer is not None:
                    listening.timer.stop()
                listening.engine.listening = None
                listening.engine.reactor = None
        self.listenings = []
        close(self.epoll)
        self.epoll = -1
        self.registered = 0
        self.listed = 0
        self.ready = []
        self.dirty = []
        self.cork_owner = None
        self.buffer_owner = None
        return 0


cdef list reactors = []  # weak references, for forked children
cdef bint fork_is_watched = False


def _abandon_reactors():
    global reactors
    cdef Reactor reactor
    for reference in reactors:
        reactor = reference()
        if reactor is not None:
            if getattr(reactor.hub, "_lws_gevent_reactor", None) is reactor:
                del reactor.hub._lws_gevent_reactor
            reactor.abandon()
    reactors = []


cdef Reactor reactor_of_hub():
    """The reactor of this thread's hub; made when it is first needed."""
    global fork_is_watched
    cdef Reactor reactor
    hub = get_hub()
    reactor = getattr(hub, "_lws_gevent_reactor", None)
    if reactor is None:
        reactor = Reactor()
        hub._lws_gevent_reactor = reactor
        reactors[:] = [reference for reference in reactors if reference() is not None]
        reactors.append(weakref.ref(reactor))
        if not fork_is_watched:
            fork_is_watched = True
            os.register_at_fork(after_in_child=_abandon_reactors)
    return reactor


cdef bint is_inert(Socket socket):
    """Whether what it receives needs no handler of its own, so that it can be decoded while one is blocked."""
    return socket.flags & (CLAIMED | OWN_CLOSE | FAILED | REFUSED) != 0 and socket.state != CONNECTING or (
        socket.flags & REFUSED != 0
    )


cdef bint is_deliverable(Socket socket):
    """Whether messages may be delivered now."""
    if socket.flags & (CLAIMED | OWN_CLOSE | FAILED | REFUSED):
        return True
    if socket.state == CONNECTING or socket.descriptor < 0:
        return True
    return socket.engine.has_message and not socket.flags & PAUSED


cdef bint is_control(Socket socket, const uint8_t *data, size_t length):
    """Whether the next frame is a control frame, which need not wait until messages may be delivered."""
    cdef lws_frame frame
    return (
        socket.state == OPEN and socket.protocol.frame_remaining == 0
        and lws_frame_read_header(data, length, &frame) > 0 and frame.opcode >= LWS_CLOSE
    )


cdef bint wants_to_read(Socket socket, bint by_owner):
    """Whether reading makes sense: nobody else's turn, nothing ended, and room for what comes."""
    cdef uint32_t flags = socket.flags
    if flags & ENDED:
        return False
    if flags & (REFUSED | OWN_CLOSE | FAILED):
        return True
    if flags & CLAIMED:
        return socket.rare.inbox.size < INBOX_LIMIT
    if flags & (ANSWERING | PAUSED) or not by_owner and flags & BUSY or socket.state != CONNECTING and not socket.engine.has_message:
        return socket.rare is None or pending_length(socket.rare) < AHEAD_LIMIT
    return True


@cython.final
cdef class Listening:
    """A listening socket in the set."""
    cdef ParkedEngine engine
    cdef int descriptor
    cdef int index
    cdef bint inet
    cdef bint paused
    cdef object timer
    cdef double delay

    def _on_timer(self):
        self.timer.close()
        self.timer = None
        if self.engine is not None and self.engine.reactor is not None:
            self.paused = False
            self.engine.reactor.watch_listening(self)
            self.engine.reactor.call_round()


# ---------------------------------------------------------------------------------------------------------------------
# One server


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
            socket.engine.reactor.write(socket)


cdef class ParkedEngine:
    """The engine of one server. See `lws_gevent.engines.interface.Engine` for what the methods do."""

    cdef object __weakref__
    cdef readonly object context
    cdef object settings
    cdef Reactor reactor
    cdef Listening listening
    cdef lws_limits limits
    cdef object message_function
    cdef int message_arity
    cdef bint has_message
    cdef bint has_ping
    cdef bint has_pong
    cdef bint has_drain
    cdef bint has_connection
    cdef bint has_close
    cdef bint plain_upgrade      # nothing but the strict checks decides about a handshake
    cdef bint auto_pong
    cdef bint own_close_event
    cdef int policy
    cdef size_t max_backpressure
    cdef size_t max_header_size
    cdef size_t max_body_size
    cdef double send_timeout
    cdef uint32_t handshake_timeout
    cdef uint32_t close_timeout
    cdef uint32_t ping_after     # ticks of silence; 0: never
    cdef uint32_t lost_after
    cdef uint32_t max_lifetime
    cdef Py_ssize_t max_connections
    cdef readonly Py_ssize_t connection_count
    cdef readonly Py_ssize_t open_count
    cdef uint64_t accepted
    cdef uint64_t refused
    cdef uint64_t opened
    cdef uint64_t ended_count
    cdef uint64_t messages_received
    cdef uint64_t messages_sent
    cdef uint64_t octets_received
    cdef uint64_t octets_sent
    cdef uint64_t dropped
    cdef object ended            # set while a shutdown waits for the count to reach zero
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
        self.auto_pong = settings.auto_pong
        self.own_close_event = settings.own_close_event
        self.policy = {"block": POLICY_BLOCK, "drop": POLICY_DROP, "close": POLICY_CLOSE}[settings.backpressure]
        self.max_backpressure = settings.max_backpressure
        self.max_header_size = settings.max_header_size
        self.max_body_size = settings.max_body_size
        self.send_timeout = settings.send_timeout or 0
        self.handshake_timeout = ticks(settings.handshake_timeout)
        self.close_timeout = ticks(settings.close_timeout)
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
            and not context.has_listeners("upgrade")
        )
        if self.has_message and not had_message and self.reactor is not None:
            for socket in self.sockets():
                self.reactor.push_ready(socket)

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

    def start_accepting(self, server):
        cdef Listening listening
        if self.reactor is None or self.reactor.epoll < 0 or self.connection_count == 0:
            self.reactor = reactor_of_hub()
        check_thread(self.reactor)
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
        self.reactor.watch_listening(listening)
        self.listening = listening
        self.reactor.count_registered(1)
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
        self.reactor.count_registered(-1)

    def handle(self, sock, address):
        raise NotImplementedError("the parked engine accepts by itself")

    def connections(self):
        cdef Socket socket
        return [socket for socket in self.sockets() if socket.flags & OPENED and socket.state < CLOSED]

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

    def shutdown(self, code, timeout):
        cdef Socket socket
        cdef Turn turn
        cdef Reactor reactor = self.reactor
        if reactor is None or self.connection_count == 0:
            return
        check_thread(reactor)
        for socket in self.sockets():
            if socket.state == CONNECTING:
                reactor.disconnect(socket)
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
            reactor.disconnect(socket)

    cdef int wait_for_end(self, timeout) except -1:
        if self.connection_count > 0:
            self.ended = Event()
            try:
                self.ended.wait(timeout)
            finally:
                self.ended = None
        return 0

    # Operations: bound on the server, so that a call costs no Python function around it (rule 13)

    def send(self, Socket socket not None, message, binary=None, compress=None):
        return send_message(socket, message, binary)

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

    def broadcast(self, prepared, exclude, slow):
        """Queues one encoded frame to each open connection, by reference. Never blocks: an over-limit receiver is dropped or closed."""
        cdef Socket socket
        cdef bytes frame = prepared.frame(None)
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(frame)
        cdef size_t length = <size_t>PyBytes_GET_SIZE(frame)
        cdef Py_ssize_t count = 0
        cdef bint drop = slow == "drop" or self.policy == POLICY_DROP
        if self.reactor is None:
            return 0
        check_thread(self.reactor)
        for socket in self.sockets():
            if socket.state != OPEN or socket.flags & (LOST | CLOSE_RECEIVED | FRAGMENTING):
                continue
            if exclude and socket in exclude:
                continue
            if is_over(socket):
                self.reactor.write(socket)
                if socket.state != OPEN or socket.flags & LOST:
                    continue
                if is_over(socket):
                    socket.flags |= OVER
                    if drop:
                        dropped(socket, prepared.payload, prepared.binary)
                    else:
                        self.reactor.fail(socket, 1008, "the connection is over its back-pressure limit", True)
                    continue
            queue_octets(socket, NULL, 0, data, length, frame)
            count += 1
        return count


cdef uint32_t ticks(seconds) except? 0:
    """As ticks of the wheel, rounded up; 0 for None."""
    if seconds is None:
        return 0
    return <uint32_t>max(1, min(-(-seconds * TICKS // 1), 0x7fffffff))


InterfaceSocket.register(Socket)
