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
from libc.stdint cimport SIZE_MAX, UINT32_MAX, UINT64_MAX, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from lws_gevent._c_core cimport (
    LWS_BINARY, LWS_CLOSE, LWS_CONTINUATION, LWS_EVENT_CLOSE, LWS_EVENT_DATA, LWS_EVENT_ERROR, LWS_EVENT_NONE,
    LWS_COMPRESSION_NEGOTIATED, LWS_EVENT_PING, LWS_EVENT_PONG, LWS_MESSAGE_COMPRESSED, LWS_MAX_CONTROL_PAYLOAD, LWS_MAX_HEADER, LWS_MAX_LEFTOVER, LWS_PING, LWS_PONG,
    LWS_RECEIVE_ENDED, LWS_CLIENT, LWS_SERVER, LWS_TEXT, LWS_UTF8_ACCEPT, LWS_UTF8_REJECT, lws_event, lws_frame, lws_frame_read_header,
    lws_frame_write_header, lws_limits, lws_mask, lws_protocol, lws_protocol_init, lws_protocol_receive, lws_request, lws_request_check_upgrade,
    lws_request_find_end, lws_request_parse, lws_utf8_check,
)
from lws_gevent._codec cimport MessageAssembly, piece_window, new_masking_key
from lws_gevent.engines._linux cimport *
from lws_gevent.engines._output cimport (
    CHUNK_MINIMUM, Chunk, Output, message_init, output_clear, output_copy, output_discard, output_init, output_reference,
    output_write,
)

import os
import weakref
from _socket import socket as new_socket
from time import monotonic

from gevent import Greenlet, get_hub, getcurrent, joinall, killall
from gevent.event import Event

from lws_gevent.adopting import take_socket
from lws_gevent.context import ANSWERED, http_response
from lws_gevent.engines.interface import Socket as InterfaceSocket
from lws_gevent.errors import (
    BackpressureExceeded, ConnectionClosed, HandshakeError, LwsError, PayloadTooBig, ProtocolError,
)
from lws_gevent.frames import ReadyState, Role, close_payload
from lws_gevent.handshake import accept_key, body_length, response
from lws_gevent.listening import tune
from lws_gevent.prepared import Prepared, message_payload
from lws_gevent.waiting_senders import WaitingSenders
from lws_gevent.wording import (
    FRAGMENTS_ENDED, FRAGMENTS_OPEN, NOT_OPEN_YET, NOT_UTF8, ONLY_PLAIN_REQUESTS, OTHER_KIND, WRONG_THREAD, not_prepared,
    too_long_for_control,
)
from lws_gevent.wsgi_service import Handed

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
    Py_ssize_t PY_SSIZE_T_MAX
    unsigned long PyThread_get_thread_ident()
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)
    void *PyUnicode_1BYTE_DATA(object text)
    object PyObject_Vectorcall(object function, PyObject *const *arguments, size_t count, PyObject *names)
    PyObject *PyObject_CallMethodNoArgs(object owner, object name)

# Bounds. Each is octets unless it says otherwise.
cdef enum:
    BUFFER_SIZE = 262144     # the shared receive buffer
    CORK_SIZE = 65536        # what the handlers of one connection send goes out together up to this
    COPY_LIMIT = 16384       # a larger payload is not copied into the cork
    MASKED_LIMIT = 2048      # a payload up to this is masked on the stack
    AHEAD_LIMIT = 65536      # received and kept for a connection whose handler is blocked (rule 1)
    INBOX_LIMIT = 65536      # received and kept for a connection in blocking style
    MESSAGE_OVERHEAD = 64    # what a message in it counts beside its length, so that empty ones are bounded too
    PONG_LIMIT = 16384       # with more than this unsent only the latest ping is answered (RFC 6455 section 5.5.3)
    SPARE_MINIMUM = 131072   # messages from this size on are received into the memory of earlier ones where possible
    SPARE_COUNT = 8          # of those that are kept for that, for a second or two
    SPARE_MAXIMUM = 4194304  # the largest that is kept
    BULKY_READ = 4096        # see Flag.BULKY
    DIRECT_MINIMUM = 16384   # with at least this to come a frame is received into its message's own memory
    TURN_OCTETS = 1048576    # read for one connection before another has its turn (rule 8)
    ROUND_OCTETS = 4194304   # after so many in one round the rest of it have small turns
    LATE_TURN_OCTETS = 65536
    TURN_CALLS = 256         # handler calls, likewise
    BATCH_SIZE = 512         # events taken from the set at once
    ACCEPT_BATCH = 128       # connections accepted from one listener before others have their turn
    POOL_SIZE = 64           # idle greenlets that are kept
    TICKS = 4                # of the wheel of deadlines, a second
    WHEEL_SIZE = 1024        # ticks; later deadlines go round more than once
    PROXY_HEADER_SIZE = 4096  # of the PROXY protocol; a longer one is refused
    RECORD_SIZE = 16384      # in one record of TLS, and below: its header, and the most that it may be behind that when sealed
    RECORD_HEADER = 5
    TLS_HANDSHAKE = 22  # the type of the record with which TLS begins; see handshake.check_no_tls
    RECORD_MAXIMUM = 18432
    SEALED_SIZE = 147456     # read at once when it is TLS
    SEALED_LIMIT = 262144    # answers of TLS itself that wait for the peer to read them
    SEAL_SIZE = 131072       # sealed before the kernel has taken what was sealed before
    TLS_VECTOR = 32
    VIEW_MINIMUM = 1024      # octets from which on OpenSSL is given a view of them instead of a copy
    HANDSHAKES = 4           # steps of TLS handshakes in a round
    LINGER_SECONDS = 2       # that a refused peer has to end its side
    LINGER_OCTETS = 4194304  # thrown away while waiting for that

cdef enum:
    INTEREST_READ = 1
    INTEREST_WRITE = 2

cdef enum:
    RSV1 = 64                # of a frame's first octet: the message is compressed (RFC 7692 section 6)

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
cdef bytes CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

include "parked/inbox.pxi"
include "parked/state.pxi"
include "parked/socket.pxi"
include "parked/turns.pxi"
include "parked/reactor.pxi"
include "parked/transport.pxi"
include "parked/tls.pxi"
include "parked/serving.pxi"
include "parked/receiving.pxi"
include "parked/control.pxi"
include "parked/compression.pxi"
include "parked/ahead.pxi"
include "parked/proxies.pxi"
include "parked/handshake.pxi"
include "parked/sending.pxi"
include "parked/writing.pxi"
include "parked/closing.pxi"
include "parked/blocking.pxi"
include "parked/lifetime.pxi"
include "parked/adopting.pxi"
include "parked/handing.pxi"
include "parked/listening.pxi"
include "parked/deadlines.pxi"
include "parked/fork.pxi"
include "parked/engine.pxi"
