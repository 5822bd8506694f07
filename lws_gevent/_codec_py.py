"""The codec in pure Python, on wsproto (layer 1): the twin of _codec.pyx, with the same interface.

It runs where nothing can be compiled, and it is the oracle of the differential tests. wsproto takes frames apart;
what it does not do is done in front of it: it shows no header before its payload, has no limits, and is lenient where
this library is not. Request heads are in _request_head_py.py.
"""

from __future__ import annotations

import codecs
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, ParseFailed, XorMaskerSimple

from lws_gevent._request_head_py import parse_request
from lws_gevent.errors import PayloadTooBig, ProtocolError
from lws_gevent.frames import MAX_CONTROL_PAYLOAD, CloseCode, Opcode, Role, close_code_is_valid, close_payload
from lws_gevent.wording import FRAGMENTS_OPEN, NOT_UTF8, too_long_for_control

if TYPE_CHECKING:
    from lws_gevent.deflate import Deflate

__all__ = ["Protocol", "apply_mask", "encode_frame", "parse_request"]

#: From this size on a server's payload is handed on by reference instead of being copied behind its header.
_BY_REFERENCE = 16 * 1024

#: Answers to pings that wait to be sent before only the latest ping gets another one.
_PONGS_KEPT = 128

#: Below this size, two integers are XORed faster than wsproto's masker translates octets; measured.
_XOR_AS_INTEGER = 900

#: Octets that are inflated at a time where nothing is cut into pieces.
_INFLATED_AT_ONCE = 64 * 1024

_UTF8_DECODER = codecs.getincrementaldecoder("utf-8")


def apply_mask(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """`data` XOR the 4 octets of `key`, repeated (RFC 6455 section 5.3): masks and unmasks. ValueError: another key."""
    length = len(data)
    if len(key) != 4:
        raise ValueError(f"a masking key has 4 octets, not {len(key)}")
    if not length:
        return b""
    if length >= _XOR_AS_INTEGER:
        return bytes(XorMaskerSimple(bytes(key)).process(data))  # type: ignore[arg-type]
    repeated = int.from_bytes((bytes(key) * (length // 4 + 1))[:length], "little")
    return (int.from_bytes(data, "little") ^ repeated).to_bytes(length, "little")


def encode_frame(
    payload: bytes | bytearray | memoryview,
    opcode: int,
    fin: bool = True,
    rsv1: bool = False,
    masking_key: bytes | None = None,
) -> bytes:
    """One complete frame (RFC 6455 section 5.2), masked when a key is given. It judges nothing but the types: whether
    such a frame may be sent is the caller's to know."""
    payload = _octets(payload)
    header = _frame_header(len(payload), opcode, fin, rsv1, masking_key is not None)
    if masking_key is None:
        return header + payload
    return header + bytes(masking_key) + apply_mask(payload, masking_key)


def _frame_header(length: int, opcode: int, fin: bool, rsv1: bool, masked: bool) -> bytes:
    if not 0 <= opcode <= 15:
        raise ValueError(f"an opcode has four bits, not {opcode}")
    first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
    mask_bit = 0x80 if masked else 0
    if length <= 125:
        return bytes((first, mask_bit | length))
    if length <= 0xFFFF:
        return struct.pack("!BBH", first, mask_bit | 126, length)
    return struct.pack("!BBQ", first, mask_bit | 127, length)


def _octets(payload: bytes | bytearray | memoryview) -> bytes:
    """`payload` as immutable bytes; ValueError for a view whose length is not its number of contiguous octets."""
    if isinstance(payload, bytes):
        return payload
    try:
        view = memoryview(payload)
    except TypeError:
        raise TypeError(f"a payload must be bytes-like, not {type(payload).__name__}") from None
    if view.itemsize != 1 or not view.c_contiguous:
        raise ValueError("a payload must be contiguous octets (itemsize 1)")
    return view.tobytes()


class _Masker(XorMaskerSimple):
    """wsproto's masker, twice as fast for small payloads; it goes on where it stopped in the last part of the frame."""

    def process(self, data: bytearray) -> bytearray:
        if len(data) >= _XOR_AS_INTEGER:
            return super().process(data)
        key = bytes(self._masking_key)
        rotation = len(data) % 4
        self._masking_key = key[rotation:] + key[:rotation]
        return bytearray(apply_mask(data, key))


class _Decoder(FrameDecoder):
    """wsproto's frame decoder behind our own judgement of each header, which is made once the header is complete and
    before any of the payload is looked at. Knows the message that the frames belong to."""

    def __init__(self, role: Role, max_payload: int | None, max_fragments: int | None, compression: bool) -> None:
        super().__init__(client=role is Role.CLIENT)
        self.max_payload = max_payload
        self.compression = compression  # permessage-deflate was negotiated
        self.max_fragments = max_fragments
        self.message_opcode = 0  # TEXT or BINARY while a message is being received, else 0
        self.message_compressed = False
        self.message_length = 0  # payload octets that its frames' headers have announced so far
        self.fragments = 0

    def end_message(self) -> None:
        self.message_opcode = self.message_length = self.fragments = 0
        self.message_compressed = False

    def parse_header(self) -> bool:
        octets = self.buffer.buffer
        if len(octets) < 2:
            return False
        length = octets[1] & 0x7F
        masked = octets[1] >= 0x80
        extended = {126: 2, 127: 8}.get(length, 0)
        if len(octets) < 2 + extended + (4 if masked else 0):
            return False
        if extended:
            length = int.from_bytes(octets[2 : 2 + extended], "big")
        try:
            self._judge_frame(octets[0], masked, length, extended)
            if octets[0] & 0x0F < 8:
                self._judge_message(octets[0], length)
        except ParseFailed as failure:
            opcode, reserved = octets[0] & 0x0F, octets[0] >> 4 & 7
            too_long = 8 <= opcode <= 10 and (length > MAX_CONTROL_PAYLOAD or extended)
            detail = octets[1] & 0x7F if too_long else reserved if reserved and opcode <= 10 else opcode
            failure.detail = detail  # type: ignore[attr-defined]
            raise
        octets[0] &= 0xBF  # RSV1 is not for wsproto
        if not super().parse_header():  # pragma: no cover - it has all it needs
            return False
        if masked and self.masker is not None:
            self.masker = _Masker(self.masker._masking_key)  # type: ignore[union-attr]
        return True

    def _judge_frame(self, first: int, masked: bool, length: int, extended: int) -> None:
        """RFC 6455 sections 5.1, 5.2 and 5.5: what a frame must be by itself."""
        opcode = first & 0x0F
        if opcode not in (0, 1, 2, 8, 9, 10):
            raise ParseFailed("unknown opcode")
        if first & 0x30 or (first & 0x40 and not self.compression):
            raise ParseFailed("reserved bits must be 0")
        if first & 0x40 and opcode not in (1, 2):
            raise ParseFailed("RSV1 is allowed on the first frame of a message only")  # RFC 7692 section 6
        if masked is self.client:
            raise ParseFailed(f"frames of a {'server must not' if masked else 'client must'} be masked")
        if opcode >= 8 and not first & 0x80:
            raise ParseFailed("control frames must not be fragmented")
        if opcode >= 8 and length > MAX_CONTROL_PAYLOAD:
            raise ParseFailed("control frames must not exceed 125 octets")
        if extended and length <= (125 if extended == 2 else 0xFFFF):
            raise ParseFailed("the payload length is not in its shortest form")
        if length >= 1 << 63:
            raise ParseFailed("the payload length has its most significant bit set")

    def _judge_message(self, first: int, length: int) -> None:
        """RFC 6455 section 5.4, and our limits: what a data frame must be as a part of its message."""
        opcode = first & 0x0F
        if opcode == 0 and not self.message_opcode:
            raise ParseFailed("continuation frame without a message to continue")
        if opcode and self.message_opcode:
            raise ParseFailed("new message inside a fragmented message")
        if opcode:
            self.message_opcode = opcode
            self.message_compressed = first & 0x40 != 0
        self.fragments += 1
        if self.max_fragments is not None and self.fragments > self.max_fragments:
            raise ParseFailed("too many fragments in a message", CloseReason.POLICY_VIOLATION)
        self.message_length += length
        if self.max_payload is None:
            return
        # What a compressed message inflates to is judged later; no compressor makes it that much longer.
        limit = self.max_payload * 2 + 1024 if self.message_compressed else self.max_payload
        if self.message_length > limit:
            raise ParseFailed(PayloadTooBig().problem, CloseReason.MESSAGE_TOO_BIG)


class Protocol:
    """One WebSocket connection without its socket: octets in, events out, and frames to send (RFC 6455 sections 5 to
    8).

    It knows nothing of time, sockets or greenlets; whoever owns it calls it from one greenlet at a time. It never
    raises for what a peer sends: a violation is the event ``("error", ProtocolError)``. `max_payload` (octets of one
    message, None: any) and `max_fragments` (frames of one message, None or 0: any) bound what is kept.
    """

    __slots__ = (
        "_auto_pong",
        "_cutting",
        "_decoder",
        "_deflate",
        "_eof",
        "_fragment_compressed",
        "_fragment_opcode",
        "_fragment_utf8",
        "_message",
        "_out",
        "_pong_index",
        "_pongs",
        "_receive_ended",
        "_role",
        "_in_pieces",
        "_inflated",
        "_utf8",
        "_validate_utf8",
        "buffer_size",
        "close_code",
        "close_reason",
        "close_received",
        "close_sent",
    )

    def __init__(
        self,
        role: Role,
        *,
        max_payload: int | None,
        max_fragments: int | None = None,
        auto_pong: bool = True,
        skip_utf8_validation: bool = False,
        deflate: Deflate | None = None,
        buffer_size: int | None = None,
    ) -> None:
        if buffer_size is not None and buffer_size < 4:
            raise ValueError("buffer_size must be at least 4")  # octets that the longest character has
        if (max_payload is not None and max_payload < 0) or (max_fragments is not None and max_fragments < 0):
            raise ValueError("max_payload and max_fragments must not be negative")
        self._role = Role(role)
        self._decoder = _Decoder(self._role, max_payload, max_fragments or None, deflate is not None)
        self._deflate = deflate
        self._auto_pong = auto_pong
        self.buffer_size = buffer_size
        self._in_pieces = buffer_size is not None
        self._cutting: Iterator[tuple[Any, ...]] | None = None  # gives the events of a frame's payload
        self._inflated = 0  # octets of the compressed message that comes in pieces
        self._validate_utf8 = not skip_utf8_validation
        self._message: bytearray | None = None  # the message that is not complete yet
        self._utf8: codecs.IncrementalDecoder | None = None  # checks it, when it is text
        self._receive_ended = False  # a close frame or an error was reported
        self._eof: bool | None = False  # None: reported, or not to be reported
        self._fragment_opcode = 0  # of the message that send_fragment has begun; 0: none
        self._fragment_compressed = False
        self._fragment_utf8 = _UTF8_DECODER()
        self._out: list[bytes] = []
        self._pongs = 0  # answers to pings in _out
        self._pong_index: int | None = None  # where the one that a later one replaces stands there
        self.close_sent = False
        self.close_received = False
        self.close_code: int = CloseCode.ABNORMAL_CLOSURE.value
        self.close_reason = ""

    # Receiving

    @property
    def buffered(self) -> int:
        """Octets received and not yet decoded, plus those of the message that is not complete yet."""
        return len(self._decoder.buffer) + len(self._message or b"")

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Queues octets from the peer; after a close frame, an error or the end they are dropped."""
        if not self._receive_ended and self._eof is False:
            self._decoder.receive_bytes(data)  # type: ignore[arg-type]

    def receive_eof(self) -> None:
        """The peer will send nothing more."""
        if self._eof is False:
            self._eof = True

    def next_event(self) -> tuple[Any, ...] | None:
        """Decodes the next event; None when there is none before more octets come. See _codec.pyi for the events."""
        while not self._receive_ended:
            try:
                if self._cutting is not None:
                    event = next(self._cutting, None)
                    if event is not None:
                        return event
                    self._cutting = None
                frame = self._decoder.process_buffer()
                if frame is None:
                    break
                event = self._handle_frame(frame)
            except ParseFailed as failure:
                error = PayloadTooBig if int(failure.code) == CloseCode.MESSAGE_TOO_BIG else ProtocolError
                made = error(int(failure.code), str(failure))
                made.detail = getattr(failure, "detail", 0)
                return self._fail(made)
            except ProtocolError as failure:
                # Another one: the traceback of this one holds what was inflated, for as long as somebody keeps it.
                return self._fail(type(failure)(failure.close_code, failure.problem))
            if event is not None:
                return event
        if self._eof:
            self._eof = None
            return ("eof",)
        return None

    def _handle_frame(self, frame: Frame) -> tuple[Any, ...] | None:
        payload = frame.payload
        assert isinstance(payload, bytes)
        opcode = int(frame.opcode)
        if opcode == Opcode.PING:
            if self._auto_pong and not self.close_sent:
                self._answer_ping(payload)
            return ("ping", payload)
        if opcode == Opcode.PONG:
            return ("pong", payload)
        if opcode == Opcode.CLOSE:
            return self._handle_close(payload)
        last = frame.frame_finished and frame.message_finished
        if self._in_pieces:
            self._cutting = self._handle_pieces(payload, self._upcoming(), last)
            return None
        return self._handle_data(payload, last)

    def _upcoming(self) -> int:
        """Octets of the frame that is being received that are not here yet."""
        header = self._decoder.header
        return 0 if header is None else header.payload_len - self._decoder.payload_consumed

    def _handle_pieces(self, payload: bytes, upcoming: int, last: bool) -> Iterator[tuple[Any, ...]]:
        """The events of the next octets of a message, of which no more is kept, or inflated, than a piece."""
        text = self._decoder.message_opcode == Opcode.TEXT
        compressed = self._decoder.message_compressed
        if self._message is None:
            self._message = bytearray()
            self._utf8 = _UTF8_DECODER() if text and self._validate_utf8 else None
            self._inflated = 0
        parts = self._inflate_by_and_by(payload, last) if compressed else iter((payload,))
        if compressed:
            upcoming = 0  # nobody knows what it inflates to
        for part in parts:
            start = 0
            while start < len(part):
                room = len(part) if self.buffer_size is None else self.buffer_size - len(self._message)
                if room <= 0:
                    yield self._cut(text, len(part) - start + upcoming)
                    continue
                octets = part[start : start + room]
                start += len(octets)
                if self._utf8 is not None:
                    _check_utf8(self._utf8, octets, False)
                self._message += octets
        if upcoming and self.buffer_size is not None and len(self._message) >= self.buffer_size:
            yield self._cut(text, upcoming)
        if last:
            if self._utf8 is not None:
                _check_utf8(self._utf8, b"", True)
            message = bytes(self._message)
            self._message = self._utf8 = None
            self._decoder.end_message()
            yield ("message", self._text(message) if text else message, not text)

    def _cut(self, text: bool, upcoming: int) -> tuple[Any, ...]:
        """The event for a piece that is not the last one; of text all whole characters, the octets of one that is not
        complete stay."""
        assert self._message is not None
        octets = bytes(self._message)
        keep = _incomplete(octets) if text else 0
        self._message[:] = octets[len(octets) - keep :]
        octets = octets[: len(octets) - keep]
        return ("piece", self._text(octets) if text else octets, not text, keep + upcoming)

    def _inflate_by_and_by(self, payload: bytes, last: bool) -> Iterator[bytes]:
        assert self._deflate is not None
        limit = self._decoder.max_payload
        room = None if limit is None else limit - self._inflated
        pieces = self._deflate.inflate(payload, room, last, self.buffer_size or _INFLATED_AT_ONCE)
        try:
            for piece in pieces:
                self._inflated += len(piece)
                yield piece
        except ProtocolError:
            raise
        except Exception:  # MemoryError
            raise ProtocolError(CloseCode.INTERNAL_ERROR, "a compressed message could not be inflated") from None

    def _handle_data(self, payload: bytes, last: bool) -> tuple[Any, ...] | None:
        if self._decoder.message_compressed:
            payload = self._inflate(payload, last)
        text = self._decoder.message_opcode == Opcode.TEXT
        if self._message is None:
            if last:  # the whole message in one part: the common case
                self._decoder.end_message()
                return ("message", self._text(payload) if text else payload, not text)
            self._message = bytearray()
            self._utf8 = _UTF8_DECODER() if text and self._validate_utf8 else None
        if self._utf8 is not None:
            # Fails at the first octet that nothing can repair (RFC 6455 section 8.1). The text itself is decoded when
            # it is complete: many small strings would take several times the memory of their octets.
            _check_utf8(self._utf8, payload, last)
        self._message += payload
        if not last:
            return None
        message = bytes(self._message)
        self._message = self._utf8 = None
        self._decoder.end_message()
        return ("message", self._text(message) if text else message, not text)

    def _inflate(self, payload: bytes, last: bool) -> bytes:
        assert self._deflate is not None
        limit = self._decoder.max_payload
        try:
            return self._deflate.decompress(payload, None if limit is None else limit - len(self._message or b""), last)
        except ProtocolError:
            raise
        except Exception:  # MemoryError
            raise ProtocolError(CloseCode.INTERNAL_ERROR, "a compressed message could not be inflated") from None

    def _text(self, payload: bytes) -> str:
        try:
            return payload.decode("utf-8", "strict" if self._validate_utf8 else "replace")
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from None

    def _handle_close(self, payload: bytes) -> tuple[Any, ...]:
        code: int | None = None
        reason = ""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1:
                raise ParseFailed("a close payload of one octet")
            if not close_code_is_valid(code):
                problem = ParseFailed("invalid close code")
                problem.detail = code  # type: ignore[attr-defined]
                raise problem
            try:
                reason = payload[2:].decode("utf-8")
            except UnicodeDecodeError:
                message = "the close reason is not UTF-8"
                raise ParseFailed(message, CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
        self._end_receiving()
        self.close_received = True
        self.close_code = CloseCode.NO_STATUS_RECEIVED.value if code is None else code
        self.close_reason = reason
        self._send_close_frame(code, reason)  # RFC 6455 section 5.5.1: echo the code; and the reason, as most do
        return ("close", self.close_code, reason)

    def _fail(self, error: ProtocolError) -> tuple[Any, ...]:
        self._end_receiving()
        self._eof = None
        self.close_code = error.close_code
        self._send_close_frame(error.close_code)
        return ("error", error)

    def _end_receiving(self) -> None:
        self._receive_ended = True
        self._decoder.buffer.buffer.clear()
        self._message = self._utf8 = self._cutting = None
        if self._deflate is not None:
            self._deflate.close()  # a close frame was sent, or will be at once: nothing more is compressed either

    # Sending

    def send_message(self, payload: bytes | bytearray | memoryview, binary: bool, compress: bool = False) -> None:
        """Queues a whole message, compressed when asked for and negotiated. ValueError: after a close, inside a
        fragmented message, text that is not UTF-8."""
        if self._fragment_opcode:
            raise ValueError(FRAGMENTS_OPEN)
        octets = self._payload_to_send(payload)
        if not binary:
            octets.decode("utf-8")  # UnicodeDecodeError is a ValueError
        self._append_data(octets, Opcode.BINARY if binary else Opcode.TEXT, True, compress)

    def send_fragment(
        self, payload: bytes | bytearray | memoryview, fin: bool, binary: bool, compress: bool = False
    ) -> None:
        """Queues one fragment of a message (RFC 6455 section 5.4); the first one decides between text and binary, and
        whether the message is compressed.

        Text is checked to be UTF-8 over all its fragments; ValueError as for `send_message`.
        """
        octets = self._payload_to_send(payload)
        kind = self._fragment_opcode or (Opcode.BINARY if binary else Opcode.TEXT)
        if kind == Opcode.TEXT:
            before = self._fragment_utf8.getstate()
            try:
                _check_utf8(self._fragment_utf8, octets, fin)
            except ParseFailed:
                self._fragment_utf8.setstate(before)
                raise ValueError(NOT_UTF8) from None
        if not self._fragment_opcode:
            self._fragment_compressed = compress
        opcode = Opcode.CONTINUATION if self._fragment_opcode else Opcode(kind)
        self._append_data(octets, opcode, fin, self._fragment_compressed)
        self._fragment_opcode = 0 if fin else kind

    def send_ping(self, payload: bytes | bytearray | memoryview = b"") -> None:
        """Queues a ping of at most 125 octets."""
        self._send_control(payload, Opcode.PING)

    def send_pong(self, payload: bytes | bytearray | memoryview = b"") -> None:
        """Queues a pong of at most 125 octets."""
        self._send_control(payload, Opcode.PONG)

    def send_close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Queues the close frame, once: nothing after it is sent. None: a close frame without a code.

        ValueError: see `frames.close_payload`.
        """
        payload = close_payload(code, reason)
        if not self.close_sent:
            self.close_sent = True
            self._out.append(self._frame(payload, Opcode.CLOSE))

    def data_to_send(self) -> list[bytes]:
        """What was queued since the last call, in order, to be written as it is."""
        out, self._out = self._out, []
        self._pongs = 0
        self._pong_index = None
        return out

    def _frame(self, payload: bytes, opcode: Opcode, fin: bool = True, rsv1: bool = False) -> bytes:
        # A fresh key for every frame, from the system's random source (RFC 6455 section 5.3).
        return encode_frame(payload, opcode, fin, rsv1, os.urandom(4) if self._role else None)

    def _append_data(self, octets: bytes, opcode: Opcode, fin: bool, compress: bool) -> None:
        rsv1 = False
        if compress and self._deflate is not None:
            octets = self._deflate.compress(octets, fin)
            rsv1 = opcode != Opcode.CONTINUATION  # RFC 7692 section 6.1
        if self._role is Role.SERVER and len(octets) >= _BY_REFERENCE:
            self._out += (_frame_header(len(octets), opcode, fin, rsv1, False), octets)
        else:
            self._out.append(self._frame(octets, opcode, fin, rsv1))

    def _send_control(self, payload: bytes | bytearray | memoryview, opcode: Opcode) -> None:
        octets = self._payload_to_send(payload)
        if len(octets) > MAX_CONTROL_PAYLOAD:
            raise ValueError(too_long_for_control(len(octets)))
        self._out.append(self._frame(octets, opcode))

    def _answer_ping(self, payload: bytes) -> None:
        """Answers in order, but a peer that sends pings and reads nothing costs little memory: of those beyond
        `_PONGS_KEPT` only the latest is answered (RFC 6455 section 5.5.3)."""
        frame = self._frame(payload, Opcode.PONG)
        if self._pongs < _PONGS_KEPT:
            self._pongs += 1
            self._out.append(frame)
        elif self._pong_index is None:
            self._pong_index = len(self._out)
            self._out.append(frame)
        else:
            self._out[self._pong_index] = frame

    def _send_close_frame(self, code: int | None, reason: str = "") -> None:
        if not self.close_sent:
            self.send_close(code, reason)

    def _payload_to_send(self, payload: bytes | bytearray | memoryview) -> bytes:
        if self.close_sent:
            raise ValueError("nothing may be sent after a close frame")
        return _octets(payload)


def _incomplete(octets: bytes) -> int:
    """How many octets at the end begin a character of UTF-8 and do not end it."""
    for back in range(1, min(3, len(octets)) + 1):
        octet = octets[-back]
        if octet >= 0xC0:
            return back if back < (2 if octet < 0xE0 else 3 if octet < 0xF0 else 4) else 0
        if octet < 0x80:
            return 0
    return 0


def _not_utf8(error: UnicodeDecodeError | None = None) -> ParseFailed:
    ends = error is not None and error.reason == "unexpected end of data"
    problem = "a text message ends inside a character" if ends else "a text message is not UTF-8"
    return ParseFailed(problem, CloseReason.INVALID_FRAME_PAYLOAD_DATA)


def _check_utf8(decoder: codecs.IncrementalDecoder, octets: bytes, last: bool) -> None:
    """Takes `octets` of a text into the check; ParseFailed as soon as nothing that follows could make them UTF-8."""
    try:
        decoder.decode(octets, last)
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
    pending = decoder.getstate()[0]
    if len(pending) == 2 and pending[0] == 0xED and pending[1] >= 0xA0:
        # A surrogate: Python waits for its last octet before it refuses it.
        raise _not_utf8()
