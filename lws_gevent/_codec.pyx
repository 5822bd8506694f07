"""The codec in C (layer 1): the sans-IO protocol object, the request parser and frame encoding over c_core/.

The twin in pure Python is _codec_py.py; _codec.pyi documents the interface that both have. Two rules keep this file
safe. An allocation of an object that the garbage collector tracks can run any Python code, so no pointer into a buffer
is used after one: payloads become bytes or str (which are not tracked) first, state is brought up to date next, and
tuples and exceptions are made last. A length that a peer has sent is 64 bits wide and is compared before it is narrowed.
"""
import os
from collections import deque

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport SIZE_MAX, UINT32_MAX, UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memmove

from lws_gevent._c_core cimport *

from lws_gevent.errors import PayloadTooBig, ProtocolError
from lws_gevent.frames import close_payload
from lws_gevent.handshake import Request, handshake_error

__all__ = ["Protocol", "apply_mask", "encode_frame", "parse_request"]


cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    char *memory_of "PyBytes_AS_STRING"(PyObject *bytes)


cdef enum:
    FIRST_RESERVE = 1024 * 1024   # what a message is given at first at most, however long it says it will be
    STAGE = 4096                  # octets copied at a time out of what was received, to be decoded there
    BY_REFERENCE = 16 * 1024      # from this size on an immutable payload is passed on instead of copied
    KEYS_AT_ONCE = 1024           # octets of masking keys that are asked of the operating system at a time
    INFLATED_AT_ONCE = 64 * 1024  # compressed octets of a long frame that are inflated at a time
    PONGS_KEPT = 128              # answers to pings that wait to be sent before only the latest ping gets another one


# --- Memory -----------------------------------------------------------------------------------------------------------

cdef inline size_t _doubled(size_t capacity) noexcept:
    return capacity * 2  # a capacity is at most PY_SSIZE_T_MAX


@cython.final
@cython.freelist(8)
cdef class MessageAssembly:
    """Octets that come in parts, in private memory that becomes the final bytes object without a copy.

    The memory is the size that is known to be needed, but at most 1 MiB before there is anything to put in it, and doubles
    from there: a peer that announces much and sends little costs little. It holds at most about twice what has arrived.
    Pointers that it gives are good until the next call of any method but room().
    """

    def __dealloc__(self):
        self.clear()

    cdef int _resize(self, size_t capacity) except -1:
        if capacity > <size_t>PY_SSIZE_T_MAX:
            raise MemoryError()
        if self._bytes == NULL:
            self._bytes = new_bytes(NULL, <Py_ssize_t>capacity)
        else:
            try:
                _PyBytes_Resize(&self._bytes, <Py_ssize_t>capacity)
            except:  # it has freed the object and set the pointer to NULL
                self.length = self._capacity = self._announced = 0
                raise
        self._capacity = capacity
        return 0

    cdef uint8_t *reserve(self, size_t upcoming) except NULL:
        """Where the next octets may be put: at least one, room() says how many. `upcoming`: how many are known to come."""
        cdef size_t wanted
        if upcoming > <size_t>PY_SSIZE_T_MAX - self.length:
            raise MemoryError()
        wanted = self.length + max(upcoming, <size_t>1)
        if self._capacity == self.length:
            if wanted > self._announced:  # the first part, or a further fragment
                self._announced = wanted
                self._resize(max(min(wanted, <size_t>FIRST_RESERVE), _doubled(self._capacity)))
            else:
                self._resize(min(wanted, _doubled(self._capacity)))
        return <uint8_t *>memory_of(self._bytes) + self.length

    cdef int adopt(self, bytes octets) except -1:
        """Uses the memory of `octets`, whose length is that of the message to come, and which nobody but the caller holds: the caller
        gives it up. For an empty assembly."""
        self.clear()
        Py_INCREF(octets)
        self._bytes = <PyObject *>octets
        self._capacity = self._announced = <size_t>PyBytes_GET_SIZE(octets)
        return 0

    cdef uint8_t *extend(self, size_t count) except NULL:
        """Where `count` octets can be put, all of them."""
        if count > <size_t>PY_SSIZE_T_MAX - self.length:
            raise MemoryError()
        if self._capacity - self.length < count or self._capacity == 0:
            self._resize(max(self.length + max(count, <size_t>1), _doubled(self._capacity)))
        return <uint8_t *>memory_of(self._bytes) + self.length

    cdef int commit(self, size_t count) except -1:
        """Counts `count` octets in that were put where reserve() or extend() had said."""
        if count > self._capacity - self.length:
            raise ValueError("more octets than there was room for")
        self.length += count
        return 0

    cdef int append(self, const uint8_t *data, size_t length) except -1:
        if length:
            memcpy(self.extend(length), data, length)
            self.length += length
        return 0

    cdef object finish(self, bint text):
        """The message as str or bytes; the assembly is empty afterwards. Text that is not UTF-8, which happens only where nobody
        has checked it, has U+FFFD in the place of what is wrong."""
        cdef object result
        if self.length == 0:
            self.clear()
            return "" if text else b""
        if text:
            try:
                return PyUnicode_DecodeUTF8(memory_of(self._bytes), <Py_ssize_t>self.length, "replace")
            finally:
                self.clear()
        if self._capacity != self.length:
            self._resize(self.length)
        result = <object>self._bytes  # a second reference; the first one is given up, and the name before it
        self._bytes = NULL
        self.length = self._capacity = self._announced = 0
        Py_DECREF(result)
        return result

    cdef object cut(self, bint text):
        """What is here as a piece of the message. Of text all whole characters; the octets of one that is not complete stay."""
        cdef uint8_t tail[3]
        cdef size_t keep = 0
        cdef const uint8_t *end
        cdef object piece
        if not text:
            return self.finish(False)
        if self.length == 0:
            return ""
        end = <const uint8_t *>memory_of(self._bytes) + self.length
        for back in range(1, 4 if self.length > 3 else <int>self.length + 1):
            if end[-back] >= 0xc0:  # the first octet of a character
                if back < (2 if end[-back] < 0xe0 else 3 if end[-back] < 0xf0 else 4):
                    keep = <size_t>back
                break
            if end[-back] < 0x80:
                break
        if keep:
            memcpy(tail, end - keep, keep)
        try:
            piece = PyUnicode_DecodeUTF8(memory_of(self._bytes), <Py_ssize_t>(self.length - keep), "replace")
        except:
            self.clear()
            raise
        self.length = 0
        self.append(tail, keep)
        return piece

    cdef void clear(self) noexcept:
        cdef PyObject *memory = self._bytes
        self._bytes = NULL
        self.length = self._capacity = self._announced = 0
        if memory != NULL:
            Py_DECREF(<object>memory)


# --- Pieces -----------------------------------------------------------------------------------------------------------

cdef size_t piece_window(
    const lws_protocol *protocol, const uint8_t *data, size_t length, size_t held, size_t size, uint64_t *due
) noexcept:
    """How many of these octets the protocol may be given, so that what one event adds to the `held` octets of a message is no more
    than a piece of `size`. 0, and in `due` how many octets are to come: the piece is full and goes first."""
    cdef lws_frame frame
    cdef size_t room = size - held if held < size else 0
    cdef uint64_t payload = protocol.frame_remaining
    cdef size_t header = 0
    due[0] = 0
    if payload == 0:
        if length == 0 or lws_frame_read_header(data, length, &frame) == 0 or frame.opcode >= LWS_CLOSE:
            return length
        header = frame.header_length
        payload = frame.payload_length
    if room == 0 and header == 0:
        due[0] = payload
        return 0
    if payload > room:  # of a header by itself, what is wrong with it comes before the piece
        payload = room
    return header + <size_t>payload if payload < length - header else length


# --- Masking keys -----------------------------------------------------------------------------------------------------

# RFC 6455 section 5.3: a fresh, unpredictable key for every frame. They are read from the operating system in batches.
cdef bytes _keys = b""
cdef Py_ssize_t _keys_used = 0


cdef uint32_t new_masking_key() except? 0:
    global _keys, _keys_used
    cdef uint32_t key
    cdef bytes fresh
    if _keys_used + 4 > PyBytes_GET_SIZE(_keys):
        fresh = os.urandom(KEYS_AT_ONCE)  # another thread may come in between; from here on none can
        _keys = fresh
        _keys_used = 0
    memcpy(&key, PyBytes_AS_STRING(_keys) + _keys_used, 4)
    _keys_used += 4
    return key


def _forget_masking_keys():
    """In a forked child: parent and child must not use the same keys."""
    global _keys
    _keys = b""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_masking_keys)


# --- Frames and masks -------------------------------------------------------------------------------------------------

cdef int _get_octets(object payload, Py_buffer *view) except -1:
    """Opens a buffer of single contiguous octets; anything else would count its length in another unit."""
    try:
        PyObject_GetBuffer(payload, view, PyBUF_SIMPLE)
    except BufferError as error:
        raise ValueError("a payload must be contiguous octets") from error
    if view.itemsize != 1:
        PyBuffer_Release(view)
        raise ValueError("a payload must be octets (itemsize 1)")
    return 0


cdef uint32_t _key_of(object key) except? 0:
    """A masking key in memory order, see mask.h."""
    cdef uint32_t masking_key
    cdef bytes octets = <bytes>key if type(key) is bytes else bytes(memoryview(key))
    if PyBytes_GET_SIZE(octets) != 4:
        raise ValueError("a masking key has four octets")
    memcpy(&masking_key, PyBytes_AS_STRING(octets), 4)
    return masking_key


def encode_frame(payload, int opcode, bint fin=True, bint rsv1=False, masking_key=None):
    """One complete frame (RFC 6455 section 5.2) as bytes; see _codec.pyi."""
    cdef Py_buffer view
    cdef uint8_t header[LWS_MAX_HEADER]
    cdef uint32_t key = 0
    cdef size_t header_length
    cdef bytes frame
    cdef uint8_t *out
    if not 0 <= opcode <= 15:
        raise ValueError("an opcode has four bits")
    if masking_key is not None:
        key = _key_of(masking_key)
    _get_octets(payload, &view)
    try:
        if view.len > PY_SSIZE_T_MAX - <Py_ssize_t>LWS_MAX_HEADER:
            raise MemoryError()
        header_length = lws_frame_write_header(header, <uint8_t>opcode, fin, rsv1, <uint64_t>view.len,
                                               &key if masking_key is not None else NULL)
        frame = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>header_length + view.len)
        out = <uint8_t *>PyBytes_AS_STRING(frame)
        memcpy(out, header, header_length)
        _copy_payload(out + header_length, <const uint8_t *>view.buf, <size_t>view.len, key)
        return frame
    finally:
        PyBuffer_Release(&view)


cdef inline void _copy_payload(uint8_t *out, const uint8_t *payload, size_t length, uint32_t key) noexcept:
    if length == 0:
        return  # an empty buffer may have no address
    if key:
        lws_mask(out, payload, length, key)
    else:
        memcpy(out, payload, length)


def apply_mask(data, key):
    """`data` masked or unmasked with the four octets `key` (RFC 6455 section 5.3), as bytes; see _codec.pyi."""
    cdef Py_buffer view
    cdef uint32_t masking_key = _key_of(key)
    cdef bytes result
    _get_octets(data, &view)
    try:
        result = PyBytes_FromStringAndSize(NULL, view.len)
        _copy_payload(<uint8_t *>PyBytes_AS_STRING(result), <const uint8_t *>view.buf, <size_t>view.len, masking_key)
        return result
    finally:
        PyBuffer_Release(&view)


# --- The protocol -----------------------------------------------------------------------------------------------------

@cython.final
cdef class Protocol:
    """One connection's protocol state, without any input or output; see _codec.pyi.

    What was received waits in _chunk and _queue as it came. It is decoded a piece at a time in _buffer, except for the payload
    of a frame that is known to be longer than its piece: that is copied once, to where it stays.
    """
    cdef lws_protocol _receiver
    cdef lws_limits _limits
    # receiving
    cdef uint8_t *_buffer            # octets to decode: [_begin, _end) of _capacity
    cdef size_t _begin, _end, _capacity
    cdef bytes _chunk                # the first of the octets that are not in _buffer yet, from _offset on
    cdef size_t _offset
    cdef object _queue               # deque of the chunks after that one; None: there has never been one
    cdef size_t _queued              # octets in _chunk and _queue
    cdef MessageAssembly _message    # the message that arrives in parts
    cdef uint8_t _inflated_utf8      # of the compressed message that is being received
    cdef size_t _buffer_size         # octets of a piece; 0: messages come whole
    cdef object _inflation           # gives what the last part of a compressed message inflates to, piece by piece, or None
    cdef bint _inflation_text, _inflation_last
    cdef bint _in_pieces             # it had a piece's size from the beginning: inflating is bounded by the piece
    cdef uint64_t _inflated          # octets of this message so far
    cdef bint _eof, _eof_reported
    # sending
    cdef list _outgoing              # what goes out before _output, or None
    cdef MessageAssembly _output     # small frames, put together
    cdef int _pongs                  # answers to pings since data_to_send()
    cdef Py_ssize_t _pong_index      # where the pong that a later one replaces stands in _outgoing; -1: there is none
    cdef bint _auto_pong
    cdef uint8_t _fragment_opcode    # of the fragmented message being sent; 0: none
    cdef uint8_t _fragment_utf8
    cdef bint _fragment_compressed
    cdef object _deflate             # permessage-deflate, when it was negotiated, or None
    cdef readonly bint close_sent, close_received
    cdef readonly int close_code
    cdef readonly str close_reason

    def __init__(self, role, *, max_payload, max_fragments=None, auto_pong=True, skip_utf8_validation=False,
                 deflate=None, buffer_size=None):
        if role != LWS_SERVER and role != LWS_CLIENT:
            raise ValueError("role must be Role.SERVER or Role.CLIENT")
        if max_payload is not None and max_payload < 0:
            raise ValueError("max_payload must not be negative")
        if max_fragments is not None and max_fragments < 0:
            raise ValueError("max_fragments must not be negative")
        lws_protocol_init(&self._receiver)
        if deflate is not None:
            self._receiver.flags |= LWS_COMPRESSION_NEGOTIATED
        self._deflate = deflate
        self._limits.role = <uint8_t>(<int>role)
        self._limits.max_payload = UINT64_MAX if max_payload is None else <uint64_t>min(max_payload, UINT64_MAX)
        self._limits.max_fragments = 0 if max_fragments is None else <uint32_t>min(max_fragments, UINT32_MAX)
        self._limits.validate_utf8 = not skip_utf8_validation
        self._auto_pong = auto_pong
        self.buffer_size = buffer_size
        self._in_pieces = buffer_size is not None
        self._pong_index = -1
        self.close_code = 1006
        self.close_reason = ""

    def __dealloc__(self):
        PyMem_Free(self._buffer)
        self._buffer = NULL

    # receiving

    @property
    def buffered(self):
        """Octets received and not given yet: not decoded, or part of a message that is not complete."""
        cdef size_t parts = 0 if self._message is None else self._message.length
        return self._queued + (self._end - self._begin) + parts

    @property
    def buffer_size(self):
        """How many octets a piece of a message has at most; None: messages come whole. From now on, when it is set."""
        return self._buffer_size or None

    @buffer_size.setter
    def buffer_size(self, size):
        if size is not None and not 4 <= size <= PY_SSIZE_T_MAX:
            raise ValueError("buffer_size must be at least 4")  # octets that the longest character has
        self._buffer_size = 0 if size is None else <size_t>size

    def receive_data(self, data):
        """Queues octets from the peer; never raises for what they are."""
        cdef bytes octets
        if type(data) is bytes:
            octets = <bytes>data
        else:
            octets = bytes(memoryview(data))
        if PyBytes_GET_SIZE(octets) == 0 or self._eof or self._receiver.flags & LWS_RECEIVE_ENDED:
            return
        if self._chunk is None:
            self._offset = 0
            self._chunk = octets
        else:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(octets)
        self._queued += <size_t>PyBytes_GET_SIZE(octets)

    def receive_eof(self):
        """The peer will send nothing more."""
        self._eof = True

    def next_event(self):
        """Decodes one event and returns it as a tuple; None when more octets are needed. See _codec.pyi for the events."""
        cdef lws_event event
        cdef object result
        cdef size_t available, window
        cdef uint64_t due
        while not self._receiver.flags & LWS_RECEIVE_ENDED:
            if self._inflation is not None:
                result = self._next_inflated()
                if result is not None:
                    return result
                continue
            if self._begin < self._end:
                available = window = self._end - self._begin
                if self._buffer_size:
                    window = piece_window(&self._receiver, self._buffer + self._begin, available, self._held(),
                                          self._buffer_size, &due)
                    if window == 0:
                        return self._cut(self._receiver.opcode == LWS_TEXT, due)
                self._begin += lws_protocol_receive(&self._receiver, &self._limits, self._buffer + self._begin, window, &event)
                if event.kind != LWS_EVENT_NONE:
                    result = self._report(&event)
                    if result is not None:
                        return result
                    continue
                if window < available:
                    continue  # past the header of an empty fragment
            if self._begin == self._end:
                self._free_buffer()
            if self._chunk is None:
                break
            if self._receiver.frame_remaining and self._begin == self._end:
                result = self._receive_long_payload()
                if result is not None:
                    return result
            else:
                self._stage()
        if self._eof and not self._eof_reported:
            self._eof_reported = True
            return ("eof",)
        return None

    cdef void _free_buffer(self) noexcept:
        cdef uint8_t *memory = self._buffer
        self._buffer = NULL
        self._begin = self._end = self._capacity = 0
        PyMem_Free(memory)

    cdef void _drop_input(self) noexcept:
        """Once receiving has ended nothing of what is here will be looked at."""
        self._free_buffer()
        self._queued = 0
        self._queue = None
        self._chunk = None
        self._message = None
        self._inflation = None

    cdef size_t _held(self) noexcept:
        """Octets of a message that are not a full piece yet. What is inflated is cut where that is done."""
        if self._message is None or self._receiver.flags & LWS_MESSAGE_COMPRESSED:
            return 0
        return self._message.length

    cdef object _cut(self, bint text, uint64_t upcoming):
        """The event for a piece that is not the last one."""
        cdef object piece = self._message.cut(text)
        return ("piece", piece, not text, upcoming + self._message.length)

    cdef int _end_receiving(self) except -1:
        """After a close frame or an error: nothing more is received, and nothing more will be sent."""
        self._drop_input()
        if self._deflate is not None:
            self._deflate.close()
        return 0

    cdef int _advance(self, size_t count) except -1:
        """`count` octets of _chunk have been copied out of it."""
        self._offset += count
        self._queued -= count
        if self._offset == <size_t>PyBytes_GET_SIZE(self._chunk):
            self._offset = 0
            self._chunk = self._queue.popleft() if self._queue else None
        return 0

    cdef int _stage(self) except -1:
        """Copies a piece of _chunk behind what is left over in _buffer."""
        cdef size_t left_over = self._end - self._begin
        cdef size_t count = min(<size_t>PyBytes_GET_SIZE(self._chunk) - self._offset, <size_t>STAGE)
        cdef uint8_t *memory
        if self._capacity < left_over + count:
            memory = <uint8_t *>PyMem_Malloc(left_over + count)
            if memory == NULL:
                raise MemoryError()
            if left_over:
                memcpy(memory, self._buffer + self._begin, left_over)
            self._free_buffer()
            self._buffer = memory
            self._capacity = left_over + count
        elif self._begin and left_over:
            memmove(self._buffer, self._buffer + self._begin, left_over)
        memcpy(self._buffer + left_over, <const uint8_t *>PyBytes_AS_STRING(self._chunk) + self._offset, count)
        self._begin = 0
        self._end = left_over + count
        self._advance(count)
        return 0

    cdef object _receive_long_payload(self):
        """Copies payload out of _chunk to its place in the message and unmasks it there."""
        cdef lws_event event
        cdef size_t count, upcoming
        cdef uint8_t *place
        cdef bytes part
        if self._receiver.flags & LWS_MESSAGE_COMPRESSED:
            count = min(<size_t>PyBytes_GET_SIZE(self._chunk) - self._offset, <size_t>INFLATED_AT_ONCE)
            if count > self._receiver.frame_remaining:
                count = <size_t>self._receiver.frame_remaining
            # Without octets to begin with: bytes of a single one would be an object that everybody has.
            part = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>count)
            memcpy(PyBytes_AS_STRING(part), PyBytes_AS_STRING(self._chunk) + self._offset, count)
            lws_protocol_receive(&self._receiver, &self._limits, <uint8_t *>PyBytes_AS_STRING(part), count, &event)
            self._advance(count)
            return self._inflate(part, event.opcode == LWS_TEXT, event.first, event.last)
        if self._message is None:
            self._message = MessageAssembly()
        if self._buffer_size and self._message.length >= self._buffer_size:
            return self._cut(self._receiver.opcode == LWS_TEXT, self._receiver.frame_remaining)
        upcoming = self._upcoming(self._receiver.frame_remaining)
        place = self._message.reserve(upcoming)
        count = min(self._message.room(), <size_t>PyBytes_GET_SIZE(self._chunk) - self._offset)
        if count > upcoming:
            count = upcoming
        memcpy(place, <const uint8_t *>PyBytes_AS_STRING(self._chunk) + self._offset, count)
        lws_protocol_receive(&self._receiver, &self._limits, place, count, &event)
        if event.kind == LWS_EVENT_DATA:
            self._message.commit(count)
        self._advance(count)  # may free a chunk, never runs Python
        if event.kind == LWS_EVENT_DATA:
            return self._added(&event)
        return self._report(&event)

    cdef object _report(self, lws_event *event):
        """The Python event for one of the core's; None when it is only a part of a message."""
        cdef object payload
        if event.kind == LWS_EVENT_DATA:
            if event.compressed:
                payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
                return self._inflate(payload, event.opcode == LWS_TEXT, event.first, event.last)
            if not (event.first and event.last):
                return self._assemble(event)
            if event.opcode == LWS_TEXT:
                payload = PyUnicode_DecodeUTF8(<const char *>event.data, <Py_ssize_t>event.length, "replace")
            else:
                payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
            return ("message", payload, event.opcode == LWS_BINARY)
        if event.kind == LWS_EVENT_PING:
            payload = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length)
            if self._auto_pong and not self.close_sent:
                self._answer_ping(payload)
            return ("ping", payload)
        if event.kind == LWS_EVENT_PONG:
            return ("pong", PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.length))
        if event.kind == LWS_EVENT_CLOSE:
            return self._report_close(event)
        return self._report_error(event)

    cdef object _assemble(self, lws_event *event):
        try:
            if self._message is None:
                self._message = MessageAssembly()
            self._message.reserve(self._upcoming(event.length + event.frame_remaining))
            self._message.append(event.data, event.length)
        except:
            self._receiver.flags |= LWS_RECEIVE_ENDED  # a message must not go on with a hole in it
            self._drop_input()
            raise
        return self._added(event)

    cdef size_t _upcoming(self, uint64_t length) noexcept:
        """How many of `length` octets to come the message that is being received can take before it is cut."""
        cdef size_t room
        if self._buffer_size and self._message.length < self._buffer_size:
            room = self._buffer_size - self._message.length
            return room if length > room else <size_t>length
        return _narrowed(length)

    cdef object _added(self, lws_event *event):
        """The event, if any, after octets were added to the message that is being received."""
        if event.last:
            return self._finish_message(event.opcode == LWS_BINARY)
        if self._buffer_size and event.frame_remaining and self._message.length >= self._buffer_size:
            return self._cut(event.opcode == LWS_TEXT, event.frame_remaining)
        return None

    cdef object _inflate(self, bytes part, bint text, bint first, bint last):
        """The event for the next octets of a compressed message; None: it is not complete yet. Runs Python."""
        cdef bytes inflated
        cdef const uint8_t *octets
        cdef size_t length
        cdef object room = None
        if self._in_pieces:
            return self._begin_inflation(part, text, first, last)
        if self._limits.max_payload != UINT64_MAX:
            room = self._limits.max_payload - (0 if self._message is None else self._message.length)
        try:
            inflated = self._deflate.decompress(part, room, last)
            octets = <const uint8_t *>PyBytes_AS_STRING(inflated)
            length = <size_t>PyBytes_GET_SIZE(inflated)
            if text and self._limits.validate_utf8:
                self._inflated_utf8 = lws_utf8_check(LWS_UTF8_ACCEPT if first else self._inflated_utf8, octets, length)
                if self._inflated_utf8 == LWS_UTF8_REJECT or (last and self._inflated_utf8 != LWS_UTF8_ACCEPT):
                    return self._fail(ProtocolError(1007, "a text message is not UTF-8"))
            if first and last:
                payload = PyUnicode_DecodeUTF8(<const char *>octets, <Py_ssize_t>length, "replace") if text else inflated
                return ("message", payload, not text)
            if self._message is None:
                self._message = MessageAssembly()
            self._message.append(octets, length)
        except ProtocolError as error:
            # Another one: the traceback of this one holds what was inflated, for as long as somebody keeps the error.
            return self._fail(type(error)(error.close_code, error.problem))
        except Exception:  # MemoryError
            return self._fail(ProtocolError(1011, "a compressed message could not be inflated"))
        except:
            self._receiver.flags |= LWS_RECEIVE_ENDED  # a message must not go on with a hole in it
            self._end_receiving()
            raise
        return self._finish_message(not text) if last else None

    cdef object _begin_inflation(self, bytes part, bint text, bint first, bint last):
        """As _inflate(), where no more is inflated than a piece needs."""
        cdef object room = None
        cdef size_t size = self._buffer_size if self._buffer_size else INFLATED_AT_ONCE
        if first:
            self._inflated = 0
            self._inflated_utf8 = LWS_UTF8_ACCEPT
        if self._message is None:
            self._message = MessageAssembly()
        if self._limits.max_payload != UINT64_MAX:
            room = self._limits.max_payload - self._inflated
        self._inflation_text = text
        self._inflation_last = last
        # Behind a cut, as many octets of a text may stay as a character has at most, but one.
        self._inflation = self._deflate.inflate(part, room, last, size - 3 if text else size)
        return self._next_inflated()

    cdef object _next_inflated(self):
        """The event, if any, after some more of a compressed message was inflated. Runs Python."""
        cdef bytes inflated
        cdef const uint8_t *octets
        cdef size_t length, room
        cdef bint text = self._inflation_text
        cdef object piece
        try:
            inflated = next(self._inflation, None)
            if inflated is None:
                self._inflation = None
                if not self._inflation_last:
                    return None
                if text and self._limits.validate_utf8 and self._inflated_utf8 != LWS_UTF8_ACCEPT:
                    return self._fail(ProtocolError(1007, "a text message ends inside a character"))
                return self._finish_message(not text)
            octets = <const uint8_t *>PyBytes_AS_STRING(inflated)
            length = <size_t>PyBytes_GET_SIZE(inflated)
            self._inflated += length
            if text and self._limits.validate_utf8:
                self._inflated_utf8 = lws_utf8_check(self._inflated_utf8, octets, length)
                if self._inflated_utf8 == LWS_UTF8_REJECT:
                    return self._fail(ProtocolError(1007, "a text message is not UTF-8"))
            if not self._buffer_size or length <= self._buffer_size - min(self._message.length, self._buffer_size):
                self._message.append(octets, length)
                return None
            room = self._buffer_size - min(self._message.length, self._buffer_size)
            self._message.append(octets, room)
            piece = self._message.cut(text)
            self._message.append(octets + room, length - room)
            return ("piece", piece, not text, self._message.length)
        except ProtocolError as error:
            # Another one: the traceback of this one holds what was inflated, for as long as somebody keeps the error.
            return self._fail(type(error)(error.close_code, error.problem))
        except Exception:  # MemoryError
            return self._fail(ProtocolError(1011, "a compressed message could not be inflated"))
        except:
            self._receiver.flags |= LWS_RECEIVE_ENDED  # a message must not go on with a hole in it
            self._end_receiving()
            raise

    cdef object _fail(self, object error):
        """Fails the connection for what the C core cannot see."""
        self._receiver.flags |= LWS_RECEIVE_ENDED
        self._end_receiving()
        self.close_code = error.close_code
        self._eof_reported = True  # nothing follows an error
        self._close(close_payload(self.close_code))
        return ("error", error)

    cdef object _finish_message(self, bint binary):
        cdef MessageAssembly message = self._message
        self._message = None
        return ("message", message.finish(not binary), binary)

    cdef object _report_close(self, lws_event *event):
        cdef str reason = PyUnicode_DecodeUTF8(<const char *>event.data, <Py_ssize_t>event.length, NULL)
        self._end_receiving()
        self.close_received = True
        self.close_code = event.code
        self.close_reason = reason
        # RFC 6455 section 5.5.1: echo the code; and the reason, as most do
        self._close(b"" if event.code == 1005 else close_payload(event.code, reason))
        return ("close", event.code, reason)

    cdef object _report_error(self, lws_event *event):
        cdef str problem = (<bytes>event.problem).decode("ascii")
        error = (PayloadTooBig if event.code == 1009 else ProtocolError)(event.code, problem)
        error.detail = event.detail
        return self._fail(error)

    # sending

    def send_message(self, payload, bint binary, bint compress=False):
        """Appends a whole message. ValueError: inside a fragmented message, after the close frame, text that is not UTF-8."""
        cdef uint8_t opcode = LWS_BINARY if binary else LWS_TEXT
        if self._fragment_opcode:
            raise ValueError("a fragmented message is not finished")
        self._send_data(payload, opcode, opcode, True, LWS_UTF8_ACCEPT, compress and self._deflate is not None)

    def send_fragment(self, payload, bint fin, bint binary, bint compress=False):
        """Appends a piece of a message; the first one decides whether it is binary and compressed. ValueError as for
        send_message."""
        cdef uint8_t opcode = self._fragment_opcode
        cdef uint8_t kind = opcode if opcode else (LWS_BINARY if binary else LWS_TEXT)
        cdef uint8_t state = self._fragment_utf8 if opcode else LWS_UTF8_ACCEPT
        cdef int next_state
        cdef bint compressed = self._fragment_compressed if opcode else compress and self._deflate is not None
        if opcode == 0 and fin:
            self.send_message(payload, binary, compress)
            return
        next_state = self._send_data(payload, LWS_CONTINUATION if opcode else kind, kind, fin, state, compressed)
        self._fragment_opcode = 0 if fin else kind
        self._fragment_utf8 = <uint8_t>next_state
        self._fragment_compressed = compressed

    cdef int _send_data(self, object payload, uint8_t opcode, uint8_t kind, bint fin, uint8_t utf8_state,
                        bint compress) except -1:
        """Appends a data frame of a message of `kind`; the UTF-8 state after it."""
        cdef Py_buffer view
        cdef bytes octets, compressed
        self._refuse_after_close()
        _get_octets(payload, &view)
        try:
            if kind == LWS_TEXT:
                utf8_state = lws_utf8_check(utf8_state, <const uint8_t *>view.buf, <size_t>view.len)
                if utf8_state == LWS_UTF8_REJECT or (fin and utf8_state != LWS_UTF8_ACCEPT):
                    raise ValueError("the payload of a text message must be UTF-8")
            if compress:
                octets = <bytes>payload if type(payload) is bytes else PyBytes_FromStringAndSize(<char *>view.buf, view.len)
                compressed = self._deflate.compress(octets, fin)
                self._refuse_after_close()  # what is Python may have run any Python
                self._append_frame(opcode, fin, opcode != LWS_CONTINUATION, <const uint8_t *>PyBytes_AS_STRING(compressed),
                                   <size_t>PyBytes_GET_SIZE(compressed), compressed)
            else:
                self._append_frame(opcode, fin, False, <const uint8_t *>view.buf, <size_t>view.len,
                                   <bytes>payload if type(payload) is bytes else None)
        finally:
            PyBuffer_Release(&view)
        return utf8_state

    def send_ping(self, payload=b""):
        """Appends a ping of at most 125 octets."""
        self._send_control(payload, LWS_PING)

    def send_pong(self, payload=b""):
        """Appends a pong of at most 125 octets (RFC 6455 section 5.5.3: one that answers no ping is allowed)."""
        self._send_control(payload, LWS_PONG)

    cdef int _send_control(self, object payload, uint8_t opcode) except -1:
        cdef Py_buffer view
        self._refuse_after_close()
        _get_octets(payload, &view)
        try:
            if view.len > <Py_ssize_t>LWS_MAX_CONTROL_PAYLOAD:
                raise ValueError("the payload of a control frame has at most 125 octets")
            self._append_frame(opcode, True, False, <const uint8_t *>view.buf, <size_t>view.len, None)
        finally:
            PyBuffer_Release(&view)
        return 0

    def send_close(self, code=1000, reason=""):
        """Appends the close frame, once; None: one without a code. ValueError: a code or reason that may not be sent."""
        cdef bytes payload = close_payload(code, reason)
        self._close(payload)

    cdef int _close(self, bytes payload) except -1:
        if not self.close_sent:
            self._append_frame(LWS_CLOSE, True, False, <const uint8_t *>PyBytes_AS_STRING(payload),
                               <size_t>PyBytes_GET_SIZE(payload), None)
            self.close_sent = True
        return 0

    cdef int _refuse_after_close(self) except -1:
        if self.close_sent:
            raise ValueError("nothing may be sent after the close frame")
        return 0

    cdef int _append_frame(self, uint8_t opcode, bint fin, bint rsv1, const uint8_t *payload, size_t length,
                           bytes immutable) except -1:
        """Appends a frame whole or, when memory runs out, not at all. `immutable`: the object whose octets `payload` is."""
        cdef uint32_t key = 0
        cdef uint8_t header[LWS_MAX_HEADER]
        cdef size_t header_length
        cdef uint8_t *out
        cdef bint client = self._limits.role == LWS_CLIENT
        cdef bint by_reference = immutable is not None and length >= BY_REFERENCE and not client
        if client:
            key = new_masking_key()
        header_length = lws_frame_write_header(header, opcode, fin, rsv1, length, &key if client else NULL)
        if self._output is None:
            self._output = MessageAssembly()
        if length > SIZE_MAX - LWS_MAX_HEADER:
            raise MemoryError()
        out = self._output.extend(header_length if by_reference else header_length + length)
        memcpy(out, header, header_length)
        if by_reference:
            if self._outgoing is None:
                self._outgoing = []
            self._output.commit(header_length)
            self._outgoing.extend((self._output.finish(False), immutable))
        else:
            _copy_payload(out + header_length, payload, length, key)
            self._output.commit(header_length + length)
        return 0

    cdef int _end_output(self) except -1:
        """Moves the small frames to _outgoing, so that an object can follow them there."""
        if self._outgoing is None:
            self._outgoing = []
        if self._output is not None and self._output.length:
            self._outgoing.append(self._output.finish(False))
        return 0

    cdef int _answer_ping(self, bytes payload) except -1:
        """Answers in order, but a peer that sends pings and reads nothing costs little memory: of those beyond PONGS_KEPT only
        the latest is answered (RFC 6455 section 5.5.3)."""
        cdef bytes pong
        if self._pongs < PONGS_KEPT:
            self._append_frame(LWS_PONG, True, False, <const uint8_t *>PyBytes_AS_STRING(payload),
                               <size_t>PyBytes_GET_SIZE(payload), None)
            self._pongs += 1
            return 0
        pong = encode_frame(payload, LWS_PONG, True, False,
                            os.urandom(4) if self._limits.role == LWS_CLIENT else None)
        if self._pong_index < 0:
            self._end_output()
            self._pong_index = len(self._outgoing)
            self._outgoing.append(pong)
        else:
            self._outgoing[self._pong_index] = pong
        return 0

    def data_to_send(self):
        """What is to be sent to the peer, in order, and forgets it."""
        cdef list outgoing
        self._end_output()
        outgoing = self._outgoing
        self._outgoing = None
        self._pongs = 0
        self._pong_index = -1
        return outgoing


cdef inline size_t _narrowed(uint64_t length) noexcept:
    return <size_t>length if length <= <uint64_t>PY_SSIZE_T_MAX else <size_t>PY_SSIZE_T_MAX


# --- Request heads ----------------------------------------------------------------------------------------------------

def parse_request(data, size_t max_header_size, size_t scanned=0):
    """A request and the length of its head, or how much was looked at when it is not all there; see _codec.pyi."""
    cdef Py_buffer view
    cdef lws_request request
    cdef const uint8_t *octets
    cdef size_t length, end
    cdef int status, upgrade_status
    _get_octets(data, &view)
    try:
        octets = <const uint8_t *>view.buf
        length = <size_t>view.len
        end = lws_request_find_end(octets, min(length, max_header_size), scanned)
        if end == 0:
            if length > LWS_MAX_REQUEST_LINE + 1 and memchr(octets, c"\n", LWS_MAX_REQUEST_LINE + 2) == NULL:
                raise handshake_error(414, "the request line is too long")
            if length > max_header_size:
                raise handshake_error(431, "the head of the request is too long")
            return <object>length
        status = lws_request_parse(octets, end, &request)
        upgrade_status = 0 if status else lws_request_check_upgrade(&request)
        problem = "" if request.problem == NULL else (<bytes>request.problem).decode("ascii")
        if status:
            raise handshake_error(status, problem)
        result = Request(
            _text(octets, request.method),
            _text(octets, request.target),
            PyBytes_FromStringAndSize(<const char *>octets, <Py_ssize_t>end),
            request.minor_version,
            None if request.content_length < 0 else request.content_length,
            request.chunked != 0,
            not request.connection_close and (request.minor_version > 0 or request.connection_keep_alive),
            upgrade_status,
            problem,
            PyBytes_FromStringAndSize(<const char *>octets + request.key.offset, request.key.length)
            if request.key_count == 1 else b"",
        )
        return result, <object>end
    finally:
        PyBuffer_Release(&view)


cdef str _text(const uint8_t *data, lws_span span):
    return PyUnicode_DecodeUTF8(<const char *>data + span.offset, span.length, NULL)
