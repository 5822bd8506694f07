"""The parser of ws: octets in, events out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from lws_gevent.compat.ws.buffer_util import concat, mask
from lws_gevent.compat.ws.constants import EMPTY_BUFFER
from lws_gevent.compat.ws.errors import WSError, WSRangeError
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.ticks import setImmediate
from lws_gevent.compat.ws.validation import isValidStatusCode, isValidUTF8
from lws_gevent.compat.ws.writable import Writable

__all__ = ["Receiver"]

# The state: what is read next, or what is waited for.
_GET_INFO = 0
_GET_PAYLOAD_LENGTH_16 = 1
_GET_PAYLOAD_LENGTH_64 = 2
_GET_MASK = 3
_GET_DATA = 4
_INFLATING = 5
_DEFER_EVENT = 6

_CONTINUATION = 0
_TEXT = 1
_BINARY = 2
_CLOSE = 8
_PING = 9
_PONG = 10

WriteCallback = Callable[..., Any]


class Receiver(Writable):
    """Parses what a peer sends (RFC 6455 section 5): write octets, listen to ``message`` (data, isBinary), ``ping``
    (data), ``pong`` (data), ``conclude`` (code, reason), ``error`` (error), ``finish``.

    `options`, as keywords or in a dict: ``allowSynchronousEvents`` (True), ``binaryType`` (``'nodebuffer'``: bytes,
    ``'arraybuffer'``: bytearray, ``'fragments'``: list of bytes), ``extensions`` (a dict with a `PerMessageDeflate`),
    ``isServer`` (False), ``maxBufferedChunks``, ``maxFragments``, ``maxPayload`` (0: no limit), ``skipUTF8Validation``
    (False). For connections over a stream, all clients' among them, and programs that bring their own transport.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, **keywords: Any) -> None:
        super().__init__()
        given = {**(options or {}), **keywords}
        self._allowSynchronousEvents: bool = given.get("allowSynchronousEvents", True)
        self._binaryType: str = given.get("binaryType") or "nodebuffer"
        self._extensions: Mapping[str, PerMessageDeflate] = given.get("extensions") or {}
        self._isServer = bool(given.get("isServer"))
        self._maxBufferedChunks: int = given.get("maxBufferedChunks") or 0
        self._maxFragments: int = given.get("maxFragments") or 0
        self._maxPayload: int = given.get("maxPayload") or 0
        self._skipUTF8Validation = bool(given.get("skipUTF8Validation"))

        self._bufferedBytes = 0
        self._buffers: deque[bytes] = deque()
        self._offset = 0  # of what is not consumed in the first of them

        self._compressed = False
        self._payloadLength = 0
        self._mask = EMPTY_BUFFER
        self._fragmented = 0
        self._masked = False
        self._fin = False
        self._opcode = 0

        self._totalPayloadLength = 0
        self._messageLength = 0
        self._numFragments = 0
        self._fragments: list[bytes] = []

        self._errored = False
        self._loop = False
        self._state = _GET_INFO
        self._steps = {
            _GET_INFO: self._get_info,
            _GET_PAYLOAD_LENGTH_16: self._get_payload_length_16,
            _GET_PAYLOAD_LENGTH_64: self._get_payload_length_64,
            _GET_MASK: self._get_mask,
            _GET_DATA: self._get_data,
        }

    @property
    def _deflate(self) -> PerMessageDeflate | None:
        return self._extensions.get(PerMessageDeflate.extensionName)

    def _write(self, chunk: bytes, callback: WriteCallback) -> None:
        if self._opcode == _CLOSE and self._state == _GET_INFO:
            callback()
            return
        if 0 < self._maxBufferedChunks <= len(self._buffers):
            callback(
                self._error(WSRangeError, "Too many buffered chunks", False, 1008, "WS_ERR_TOO_MANY_BUFFERED_PARTS")
            )
            return
        self._bufferedBytes += len(chunk)
        self._buffers.append(chunk)
        self._start_loop(callback)

    def _consume(self, size: int) -> bytes:
        """The next `size` octets, which must be there."""
        self._bufferedBytes -= size
        parts = []
        while True:
            first, start = self._buffers[0], self._offset
            end = start + size
            if end < len(first):
                # The octets before `end` stay until the chunk is used up: cutting it would copy the rest every time.
                self._offset = end
                parts.append(first[start:end])
                break
            self._buffers.popleft()
            self._offset = 0
            parts.append(first[start:] if start else first)
            size = end - len(first)
            if not size:
                break
        return concat(parts)

    def _start_loop(self, callback: WriteCallback) -> None:
        self._loop = True
        while self._loop:
            step = self._steps.get(self._state)
            if step is None:  # inflating, or the event waits for its turn: both come back here
                self._loop = False
                return
            step(callback)
        if not self._errored:
            callback()

    def _error(self, kind: type[WSError], message: str, prefix: bool, status: int, code: str) -> WSError:
        self._loop = False
        self._errored = True
        return kind(f"Invalid WebSocket frame: {message}" if prefix else message, code, status)

    def _fail(self, callback: WriteCallback, message: str, code: str) -> None:
        """Ends with a breach of the protocol (close code 1002)."""
        callback(self._error(WSRangeError, message, True, 1002, code))

    def _get_info(self, callback: WriteCallback) -> None:
        """The first two octets of a frame."""
        if self._bufferedBytes < 2:
            self._loop = False
            return
        first, second = self._consume(2)
        if first & 0x30:
            self._fail(callback, "RSV2 and RSV3 must be clear", "WS_ERR_UNEXPECTED_RSV_2_3")
            return
        compressed = bool(first & 0x40)
        if compressed and self._deflate is None:
            self._fail(callback, "RSV1 must be clear", "WS_ERR_UNEXPECTED_RSV_1")
            return
        self._fin = bool(first & 0x80)
        self._opcode = first & 0x0F
        self._payloadLength = second & 0x7F
        problem = self._opcode_problem(compressed)
        if problem is not None:
            self._fail(callback, *problem)
            return
        if not self._fin and not self._fragmented:
            self._fragmented = self._opcode
        self._masked = bool(second & 0x80)
        if self._isServer and not self._masked:
            self._fail(callback, "MASK must be set", "WS_ERR_EXPECTED_MASK")
        elif not self._isServer and self._masked:
            self._fail(callback, "MASK must be clear", "WS_ERR_UNEXPECTED_MASK")
        elif self._payloadLength == 126:
            self._state = _GET_PAYLOAD_LENGTH_16
        elif self._payloadLength == 127:
            self._state = _GET_PAYLOAD_LENGTH_64
        else:
            self._have_length(callback)

    def _opcode_problem(self, compressed: bool) -> tuple[str, str] | None:
        """What is wrong with the opcode in the present state: message and code."""
        opcode = self._opcode
        if opcode == _CONTINUATION:
            if compressed:
                return "RSV1 must be clear", "WS_ERR_UNEXPECTED_RSV_1"
            if not self._fragmented:
                return "invalid opcode 0", "WS_ERR_INVALID_OPCODE"
            self._opcode = self._fragmented
        elif opcode in (_TEXT, _BINARY):
            if self._fragmented:
                return f"invalid opcode {opcode}", "WS_ERR_INVALID_OPCODE"
            self._compressed = compressed
        elif opcode in (_CLOSE, _PING, _PONG):
            if not self._fin:
                return "FIN must be set", "WS_ERR_EXPECTED_FIN"
            if compressed:
                return "RSV1 must be clear", "WS_ERR_UNEXPECTED_RSV_1"
            if self._payloadLength > 125 or (opcode == _CLOSE and self._payloadLength == 1):
                return f"invalid payload length {self._payloadLength}", "WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH"
        else:
            return f"invalid opcode {opcode}", "WS_ERR_INVALID_OPCODE"
        return None

    def _get_payload_length_16(self, callback: WriteCallback) -> None:
        if self._bufferedBytes < 2:
            self._loop = False
            return
        self._payloadLength = int.from_bytes(self._consume(2), "big")
        self._have_length(callback)

    def _get_payload_length_64(self, callback: WriteCallback) -> None:
        if self._bufferedBytes < 8:
            self._loop = False
            return
        length = int.from_bytes(self._consume(8), "big")
        if length > 2**53 - 1:
            message = "Unsupported WebSocket frame: payload length > 2^53 - 1"
            callback(self._error(WSRangeError, message, False, 1009, "WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH"))
            return
        self._payloadLength = length
        self._have_length(callback)

    def _have_length(self, callback: WriteCallback) -> None:
        if self._payloadLength and self._opcode < _CLOSE:
            self._totalPayloadLength += self._payloadLength
            if 0 < self._maxPayload < self._totalPayloadLength:
                callback(self._too_big())
                return
        self._state = _GET_MASK if self._masked else _GET_DATA

    def _too_big(self) -> WSError:
        return self._error(WSRangeError, "Max payload size exceeded", False, 1009, "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH")

    def _get_mask(self, _callback: WriteCallback) -> None:
        if self._bufferedBytes < 4:
            self._loop = False
            return
        self._mask = self._consume(4)
        self._state = _GET_DATA

    def _get_data(self, callback: WriteCallback) -> None:
        data = EMPTY_BUFFER
        if self._payloadLength:
            if self._bufferedBytes < self._payloadLength:
                self._loop = False
                return
            data = self._consume(self._payloadLength)
            if self._masked and any(self._mask):
                data = mask(data, self._mask)
        self._mask = EMPTY_BUFFER
        if self._opcode >= _CLOSE:
            self._control_message(data, callback)
            return
        self._numFragments += 1
        if 0 < self._maxFragments < self._numFragments:
            callback(
                self._error(WSRangeError, "Too many message fragments", False, 1008, "WS_ERR_TOO_MANY_BUFFERED_PARTS")
            )
            return
        if self._compressed:
            self._state = _INFLATING
            self._decompress(data, callback)
            return
        if data:
            # Not compressed, so the message is as long as its fragments.
            self._messageLength = self._totalPayloadLength
            self._fragments.append(data)
        self._data_message(callback)

    def _decompress(self, data: bytes, callback: WriteCallback) -> None:
        def inflated(error: Exception | None, octets: bytes = b"") -> None:
            if error is not None:
                self._errored = True
                callback(error)
                return
            if octets:
                self._messageLength += len(octets)
                if 0 < self._maxPayload < self._messageLength:
                    callback(self._too_big())
                    return
                self._fragments.append(octets)
            self._data_message(callback)
            if self._state == _GET_INFO:
                self._start_loop(callback)

        assert self._deflate is not None
        self._deflate.decompress(data, self._fin, inflated)

    def _data_message(self, callback: WriteCallback) -> None:
        if not self._fin:
            self._state = _GET_INFO
            return
        fragments, self._fragments = self._fragments, []
        length, self._messageLength = self._messageLength, 0
        self._totalPayloadLength = 0
        self._fragmented = 0
        self._numFragments = 0
        if self._opcode == _BINARY:
            data: Any = fragments
            if self._binaryType != "fragments":
                data = concat(fragments, length)
                if self._binaryType == "arraybuffer":
                    data = bytearray(data)
            self._dispatch(callback, self._allowSynchronousEvents, "message", data, True)
            return
        text = concat(fragments, length)
        if not self._skipUTF8Validation and not isValidUTF8(text):
            callback(self._error(WSError, "invalid UTF-8 sequence", True, 1007, "WS_ERR_INVALID_UTF8"))
            return
        self._dispatch(callback, self._state == _INFLATING or self._allowSynchronousEvents, "message", text, False)

    def _dispatch(self, callback: WriteCallback, now: bool, event: str, *args: Any) -> None:
        """Emits an event at once, or in a turn of its own."""
        if now:
            self.emit(event, *args)
            self._state = _GET_INFO
            return
        self._state = _DEFER_EVENT

        def later() -> None:
            self.emit(event, *args)
            self._state = _GET_INFO
            self._start_loop(callback)

        setImmediate(later)

    def _control_message(self, data: bytes, callback: WriteCallback) -> None:
        if self._opcode != _CLOSE:
            event = "ping" if self._opcode == _PING else "pong"
            self._dispatch(callback, self._allowSynchronousEvents, event, data)
            return
        code, reason = 1005, EMPTY_BUFFER
        if data:
            code, reason = int.from_bytes(data[:2], "big"), data[2:]
            if not isValidStatusCode(code):
                self._fail(callback, f"invalid status code {code}", "WS_ERR_INVALID_CLOSE_CODE")
                return
            if not self._skipUTF8Validation and not isValidUTF8(reason):
                callback(self._error(WSError, "invalid UTF-8 sequence", True, 1007, "WS_ERR_INVALID_UTF8"))
                return
        self._loop = False
        self.emit("conclude", code, reason)
        self._state = _GET_INFO
        self.end()
