# The protocol object: its state, and what Python may ask of it. How it receives and sends stands in the files after this one.

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
                result = next_inflated(self)
                if result is not None:
                    return result
                continue
            if self._begin < self._end:
                available = window = self._end - self._begin
                if self._buffer_size:
                    window = piece_window(&self._receiver, self._buffer + self._begin, available, held_octets(self),
                                          self._buffer_size, &due)
                    if window == 0:
                        return cut_piece(self, self._receiver.opcode == LWS_TEXT, due)
                self._begin += lws_protocol_receive(&self._receiver, &self._limits, self._buffer + self._begin, window, &event)
                if event.kind != LWS_EVENT_NONE:
                    result = report_event(self, &event)
                    if result is not None:
                        return result
                    continue
                if window < available:
                    continue  # past the header of an empty fragment
            if self._begin == self._end:
                free_buffer(self)
            if self._chunk is None:
                break
            if self._receiver.frame_remaining and self._begin == self._end:
                result = receive_long_payload(self)
                if result is not None:
                    return result
            else:
                stage_octets(self)
        if self._eof and not self._eof_reported:
            self._eof_reported = True
            return ("eof",)
        return None

    # sending

    def send_message(self, payload, bint binary, bint compress=False):
        """Appends a whole message. ValueError: inside a fragmented message, after the close frame, text that is not UTF-8."""
        cdef uint8_t opcode = LWS_BINARY if binary else LWS_TEXT
        if self._fragment_opcode:
            raise ValueError(FRAGMENTS_OPEN)
        send_data(self, payload, opcode, opcode, True, LWS_UTF8_ACCEPT, compress and self._deflate is not None)

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
        next_state = send_data(self, payload, LWS_CONTINUATION if opcode else kind, kind, fin, state, compressed)
        self._fragment_opcode = 0 if fin else kind
        self._fragment_utf8 = <uint8_t>next_state
        self._fragment_compressed = compressed

    def send_ping(self, payload=b""):
        """Appends a ping of at most 125 octets."""
        send_control(self, payload, LWS_PING)

    def send_pong(self, payload=b""):
        """Appends a pong of at most 125 octets (RFC 6455 section 5.5.3: one that answers no ping is allowed)."""
        send_control(self, payload, LWS_PONG)

    def send_close(self, code=1000, reason=""):
        """Appends the close frame, once; None: one without a code. ValueError: a code or reason that may not be sent."""
        cdef bytes payload = close_payload(code, reason)
        append_close(self, payload)

    def data_to_send(self):
        """What is to be sent to the peer, in order, and forgets it."""
        cdef list outgoing
        end_output(self)
        outgoing = self._outgoing
        self._outgoing = None
        self._pongs = 0
        self._pong_index = -1
        return outgoing
