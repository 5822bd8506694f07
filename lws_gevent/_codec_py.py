"""The codec in pure Python, on wsproto and h11 (layer 1): the twin of _codec.pyx, with the same interface.

It runs where nothing can be compiled, and it is the oracle of the differential tests. wsproto takes frames apart;
what it does not do is done in front of it: it shows no header before its payload, has no limits, and is lenient where
this library is not. The same holds for h11 and request heads. """

from __future__ import annotations

import codecs
import os
import re
import struct
from collections.abc import Iterator
from typing import Any

import h11
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, ParseFailed, XorMaskerSimple

from lws_gevent.errors import PayloadTooBig, ProtocolError
from lws_gevent.frames import MAX_CONTROL_PAYLOAD, CloseCode, Opcode, Role, close_code_is_valid, close_payload
from lws_gevent.handshake import Request, handshake_error, parse_token_list

__all__ = ["Protocol", "apply_mask", "encode_frame", "parse_request"]

#: From this size on a server's payload is handed on by reference instead of being copied behind its header.
_BY_REFERENCE = 16 * 1024

#: Below this size, two integers are XORed faster than wsproto's masker translates octets; measured.
_XOR_AS_INTEGER = 900

_MAX_REQUEST_LINE = 8192
_MAX_HEADER_LINE = 8192
_MAX_HEADERS = 100

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

    def __init__(self, role: Role, max_payload: int | None, max_fragments: int | None) -> None:
        super().__init__(client=role is Role.CLIENT)
        self.max_payload = max_payload
        self.max_fragments = max_fragments
        self.message_opcode = 0  # TEXT or BINARY while a message is being received, else 0
        self.message_length = 0  # payload octets that its frames' headers have announced so far
        self.fragments = 0

    def end_message(self) -> None:
        self.message_opcode = self.message_length = self.fragments = 0

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
        self._judge_frame(octets[0], masked, length, extended)
        if octets[0] & 0x0F < 8:
            self._judge_message(octets[0], length)
        if not super().parse_header():  # pragma: no cover - it has all it needs
            return False
        if masked and self.masker is not None:
            self.masker = _Masker(self.masker._masking_key)  # type: ignore[union-attr]
        return True

    def _judge_frame(self, first: int, masked: bool, length: int, extended: int) -> None:
        """RFC 6455 sections 5.1, 5.2 and 5.5: what a frame must be by itself."""
        opcode = first & 0x0F
        if first & 0x70:
            raise ParseFailed("a reserved bit is set and no extension was negotiated")
        if opcode not in (0, 1, 2, 8, 9, 10):
            raise ParseFailed("unknown opcode")
        if opcode >= 8 and not first & 0x80:
            raise ParseFailed("a control frame is fragmented")
        if opcode >= 8 and (length > MAX_CONTROL_PAYLOAD or extended):
            raise ParseFailed("a control frame is longer than 125 octets")
        if masked is self.client:
            raise ParseFailed("a server's frame is masked" if masked else "a client's frame is not masked")
        if length >= 1 << 63:
            raise ParseFailed("the most significant bit of a 64-bit length is set")
        if extended and length <= (125 if extended == 2 else 0xFFFF):
            raise ParseFailed("a length is not encoded in its shortest form")

    def _judge_message(self, first: int, length: int) -> None:
        """RFC 6455 section 5.4, and our limits: what a data frame must be as a part of its message."""
        opcode = first & 0x0F
        if opcode == 0 and not self.message_opcode:
            raise ParseFailed("a continuation frame continues nothing")
        if opcode and self.message_opcode:
            raise ParseFailed("a new message begins inside another")
        self.message_opcode = opcode or self.message_opcode
        self.fragments += 1
        if self.max_fragments is not None and self.fragments > self.max_fragments:
            raise ParseFailed("a message has more than max_fragments frames", CloseReason.POLICY_VIOLATION)
        self.message_length += length
        if self.max_payload is not None and self.message_length > self.max_payload:
            raise ParseFailed("a message is longer than max_payload", CloseReason.MESSAGE_TOO_BIG)


class Protocol:
    """One WebSocket connection without its socket: octets in, events out, and frames to send (RFC 6455 sections 5 to
    8).

    It knows nothing of time, sockets or greenlets; whoever owns it calls it from one greenlet at a time. It never
    raises for what a peer sends: a violation is the event ``("error", ProtocolError)``. `max_payload` (octets of one
    message, None: any) and `max_fragments` (frames of one message, None or 0: any) bound what is kept.
    """

    __slots__ = (
        "_auto_pong",
        "_decoder",
        "_eof",
        "_fragmenting",
        "_message",
        "_out",
        "_pong_index",
        "_receive_ended",
        "_role",
        "_utf8",
        "_validate_utf8",
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
    ) -> None:
        self._role = Role(role)
        self._decoder = _Decoder(self._role, max_payload, max_fragments or None)
        self._auto_pong = auto_pong
        self._validate_utf8 = not skip_utf8_validation
        self._message: bytearray | None = None  # the message that is not complete yet
        self._utf8: codecs.IncrementalDecoder | None = None  # checks it, when it is text
        self._receive_ended = False  # a close frame or an error was reported
        self._eof: bool | None = False  # None: reported, or not to be reported
        self._fragmenting = False  # send_fragment has begun a message
        self._out: list[bytes] = []
        self._pong_index: int | None = None  # where the automatic pong stands in _out
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
        """Queues octets from the peer; after a close frame or an error they are forgotten instead."""
        if not self._receive_ended:
            self._decoder.receive_bytes(data)  # type: ignore[arg-type]

    def receive_eof(self) -> None:
        """The peer will send nothing more."""
        if self._eof is False:
            self._eof = True

    def next_event(self) -> tuple[Any, ...] | None:
        """Decodes the next event; None when there is none before more octets come. See _codec.pyi for the events."""
        while not self._receive_ended:
            try:
                frame = self._decoder.process_buffer()
                if frame is None:
                    break
                event = self._handle_frame(frame)
            except ParseFailed as failure:
                return self._fail(int(failure.code), str(failure))
            if event is not None:
                return event
        if self._eof:
            self._eof = None
            return ("eof",)
        return None

    def _handle_frame(self, frame: Frame) -> tuple[Any, ...] | None:
        payload = frame.payload
        assert isinstance(payload, bytes)
        if frame.opcode == Opcode.PING:
            if self._auto_pong and not self.close_sent:
                self._answer_ping(payload)
            return ("ping", payload)
        if frame.opcode == Opcode.PONG:
            return ("pong", payload)
        if frame.opcode == Opcode.CLOSE:
            return self._handle_close(payload)
        return self._handle_data(payload, frame.frame_finished and frame.message_finished)

    def _handle_data(self, payload: bytes, last: bool) -> tuple[Any, ...] | None:
        text = self._decoder.message_opcode == Opcode.TEXT
        if self._message is None:
            if last:  # the whole message in one part: the common case
                self._decoder.end_message()
                return ("message", self._text(payload) if text else payload, not text)
            self._message = bytearray()
            self._utf8 = _UTF8_DECODER() if text and self._validate_utf8 else None
        if self._utf8 is not None:
            try:
                # Fails at the first octet that nothing can repair (RFC 6455 section 8.1). The text itself is decoded
                # when it is complete: many small strings would take several times the memory of their octets.
                self._utf8.decode(payload, last)
            except UnicodeDecodeError:
                raise _invalid_text() from None
        self._message += payload
        if not last:
            return None
        message = bytes(self._message)
        self._message = self._utf8 = None
        self._decoder.end_message()
        return ("message", self._text(message) if text else message, not text)

    def _text(self, payload: bytes) -> str:
        try:
            return payload.decode("utf-8", "strict" if self._validate_utf8 else "replace")
        except UnicodeDecodeError:
            raise _invalid_text() from None

    def _handle_close(self, payload: bytes) -> tuple[Any, ...]:
        code: int | None = None
        reason = ""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not close_code_is_valid(code):
                raise ParseFailed("a close frame has an invalid close code")
            try:
                reason = payload[2:].decode("utf-8")
            except UnicodeDecodeError:
                message = "the reason of a close frame is not UTF-8"
                raise ParseFailed(message, CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
        self._end_receiving()
        self.close_received = True
        self.close_code = CloseCode.NO_STATUS_RECEIVED.value if code is None else code
        self.close_reason = reason
        self._send_close_frame(code)  # RFC 6455 section 5.5.1: echo the code
        return ("close", self.close_code, reason)

    def _fail(self, code: int, problem: str) -> tuple[Any, ...]:
        self._end_receiving()
        self._eof = None
        self.close_code = code
        self._send_close_frame(code)
        error = PayloadTooBig if code == CloseCode.MESSAGE_TOO_BIG else ProtocolError
        return ("error", error(code, problem))

    def _end_receiving(self) -> None:
        self._receive_ended = True
        self._decoder.buffer.buffer.clear()
        self._message = self._utf8 = None

    # Sending

    def send_message(self, payload: bytes | bytearray | memoryview, binary: bool) -> None:
        """Queues a whole message. ValueError: after a close, inside a fragmented message, or no contiguous octets.

        `payload` of a text message must be UTF-8; that is the caller's to know, it is not checked here.
        """
        if self._fragmenting:
            raise ValueError("a fragmented message is open: its last fragment comes first")
        self._send_data(payload, Opcode.BINARY if binary else Opcode.TEXT, True)

    def send_fragment(self, payload: bytes | bytearray | memoryview, fin: bool, binary: bool) -> None:
        """Queues one fragment of a message (RFC 6455 section 5.4); the first one decides between text and binary."""
        kind = Opcode.BINARY if binary else Opcode.TEXT
        self._send_data(payload, Opcode.CONTINUATION if self._fragmenting else kind, fin)
        self._fragmenting = not fin

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
        self._pong_index = None
        return out

    def _frame(self, payload: bytes, opcode: Opcode, fin: bool = True) -> bytes:
        # A fresh key for every frame, from the system's random source (RFC 6455 section 5.3).
        return encode_frame(payload, opcode, fin, False, os.urandom(4) if self._role else None)

    def _send_data(self, payload: bytes | bytearray | memoryview, opcode: Opcode, fin: bool) -> None:
        octets = _octets(payload)
        self._check_open()
        if self._role is Role.SERVER and len(octets) >= _BY_REFERENCE:
            self._out += (_frame_header(len(octets), opcode, fin, False, False), octets)
        else:
            self._out.append(self._frame(octets, opcode, fin))

    def _send_control(self, payload: bytes | bytearray | memoryview, opcode: Opcode) -> None:
        octets = _octets(payload)
        if len(octets) > MAX_CONTROL_PAYLOAD:
            raise ValueError(f"a ping or pong has at most 125 octets, not {len(octets)}")
        self._check_open()
        self._out.append(self._frame(octets, opcode))

    def _answer_ping(self, payload: bytes) -> None:
        """Only the latest ping needs an answer (RFC 6455 section 5.5.3), so that a flood of them costs no memory."""
        frame = self._frame(payload, Opcode.PONG)
        if self._pong_index is None:
            self._pong_index = len(self._out)
            self._out.append(frame)
        else:
            self._out[self._pong_index] = frame

    def _send_close_frame(self, code: int | None) -> None:
        if not self.close_sent:
            self.send_close(code)

    def _check_open(self) -> None:
        if self.close_sent:
            raise ValueError("nothing may be sent after a close frame")


def _invalid_text() -> ParseFailed:
    return ParseFailed("a text message is not UTF-8", CloseReason.INVALID_FRAME_PAYLOAD_DATA)


# Request heads

_REQUEST_LINE = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_HEADER_LINE = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)")
_HOST = re.compile(rb"[-!$%&'()*+,.:;=_~\[\]0-9A-Za-z]*")  # RFC 3986 sections 3.2.2 and 3.2.3
_LENGTH = re.compile(rb"[0-9]{1,18}")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # base64 of 16 octets
_SINGLE = frozenset({b"host", b"origin", b"content-length", b"transfer-encoding"})


def parse_request(
    data: bytes | bytearray | memoryview, max_header_size: int, scanned: int
) -> tuple[Request, int] | int:
    """Reads one request head strictly (RFC 9112 sections 2 to 6) and judges its handshake (RFC 6455 section 4.2.1).

    `data`: what was received so far, from the first octet of the request; `max_header_size`: octets the head may have;
    `scanned`: 0, or what the previous call for the same request returned. Returns the request and the length of its
    head, or an int when the head is not all there. HandshakeError when it is malformed or too big: the connection is
    lost then.
    """
    if isinstance(data, memoryview):
        data = data.tobytes()
    end = _find_end(data, scanned)
    if end == 0 or end > max_header_size:
        _check_size(data, max_header_size)
        return len(data)
    head = bytes(data[:end])
    lines = _lines(head)
    method, target, minor = _parse_request_line(next(lines))
    fields = _parse_fields(lines, minor)
    if not target.startswith(b"/"):
        raise handshake_error(400, "the request target must be a path")
    _consult_h11(head)
    length = fields.get(b"content-length")
    options = _tokens(fields, b"connection")
    keys = fields.get(b"sec-websocket-key", ())
    request = Request(
        method.decode("ascii"),
        target.decode("ascii"),
        head,
        minor,
        None if length is None else int(length[0]),
        b"transfer-encoding" in fields,
        "close" not in options and (minor == 1 or "keep-alive" in options),
        key=keys[0] if len(keys) == 1 else b"",
    )
    request.upgrade_status, request.problem = _judge_upgrade(request, fields, options)
    return request, end


def _find_end(data: bytes | bytearray, scanned: int) -> int:
    """The length of the head with its empty line, 0 when that is not there.

    Lines that end with a bare LF end a head too, so that they are refused instead of waited for.
    """
    start = max(0, scanned - 2)
    found = [(data.find(ending, start), len(ending)) for ending in (b"\n\r\n", b"\n\n")]
    return min((position + length for position, length in found if position >= 0), default=0)


def _check_size(data: bytes | bytearray, max_header_size: int) -> None:
    if len(data) > _MAX_REQUEST_LINE + 1 and data.find(b"\n", 0, _MAX_REQUEST_LINE + 2) < 0:
        raise handshake_error(414, "the request line is too long")
    if len(data) > max_header_size:
        raise handshake_error(431, "the request head is too big")


def _lines(head: bytes) -> Iterator[bytes]:
    """The lines of a head without their CR LF, up to the empty one that ends it; each is judged when it is its turn."""
    for line in head.split(b"\n")[:-1]:
        if not line.endswith(b"\r"):
            raise handshake_error(400, "a line does not end with CR LF")
        yield line[:-1]


def _parse_request_line(line: bytes) -> tuple[bytes, bytes, int]:
    if len(line) > _MAX_REQUEST_LINE:
        raise handshake_error(414, "the request line is too long")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise handshake_error(400, "the request line is malformed")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise handshake_error(505, "only HTTP/1.1 is spoken here")
    # A higher minor version is read as the highest that is known (RFC 9110 section 2.5).
    return method, target, int(minor > b"0")


def _parse_fields(lines: Iterator[bytes], minor: int) -> dict[bytes, list[bytes]]:
    """The values of each header by its name in lower case; the headers that frame the request are judged here."""
    fields: dict[bytes, list[bytes]] = {}
    for count, line in enumerate(lines):
        if not line:
            break
        if count == _MAX_HEADERS:
            raise handshake_error(431, "there are too many headers")
        if len(line) > _MAX_HEADER_LINE:
            raise handshake_error(431, "a header is too long")
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise handshake_error(400, "a header is malformed")
        name, value = match[1].lower(), match[2].strip(b" \t")
        _judge_field(name, value, name in fields)
        fields.setdefault(name, []).append(value)
    if b"host" not in fields and minor > 0:
        raise handshake_error(400, "there is no Host header")
    if b"transfer-encoding" in fields and (minor == 0 or b"content-length" in fields):
        raise handshake_error(400, "the length of the body is not clear")
    return fields


def _judge_field(name: bytes, value: bytes, repeated: bool) -> None:
    if repeated and name in _SINGLE:
        raise handshake_error(400, "a header that must come once came twice")
    if name == b"host" and _HOST.fullmatch(value) is None:
        raise handshake_error(400, "the Host has a character that it must not have")
    if name == b"content-length" and _LENGTH.fullmatch(value) is None:
        raise handshake_error(400, "the Content-Length is no length")
    if name == b"transfer-encoding" and value.lower() != b"chunked":
        raise handshake_error(501, "no transfer encoding but chunked is understood")
    if name == b"expect" and value.lower() != b"100-continue":
        raise handshake_error(417, "no expectation but 100-continue is understood")


def _consult_h11(head: bytes) -> None:
    """A second opinion: whatever h11 refuses is refused here as well."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(head)
    try:
        parser.next_event()
    except h11.RemoteProtocolError:
        raise handshake_error(400, "the request is malformed") from None


def _tokens(fields: dict[bytes, list[bytes]], name: bytes) -> set[str]:
    return {token.lower() for token in parse_token_list(value.decode("latin-1") for value in fields.get(name, ()))}


def _judge_upgrade(request: Request, fields: dict[bytes, list[bytes]], options: set[str]) -> tuple[int, str]:
    """101, 0 for plain HTTP, or the status to refuse with and the reason."""
    if "websocket" not in _tokens(fields, b"upgrade"):
        return 0, ""
    if request.method != "GET":
        return 405, "an opening handshake is a GET request"
    if request.version_minor != 1:
        return 400, "an opening handshake needs HTTP/1.1"
    if "upgrade" not in options:
        return 400, "the Connection header does not list upgrade"
    if request.content_length or request.chunked:
        return 400, "an opening handshake has no body"
    if b"expect" in fields:
        return 417, "an opening handshake has nothing to be continued"
    versions = fields.get(b"sec-websocket-version", [])
    if len(versions) != 1:
        return 400, "there must be exactly one Sec-WebSocket-Version"
    if versions[0] != b"13":
        return 426, "only version 13 of the protocol is spoken here"
    if _KEY.fullmatch(request.key) is None:
        return 400, "there must be exactly one Sec-WebSocket-Key, the base64 of 16 octets"
    return 101, ""
