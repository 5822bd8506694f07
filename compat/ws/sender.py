"""The framer of ws: messages in, octets out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from lws_gevent.compat.ws.buffer_util import mask as masked
from lws_gevent.compat.ws.buffer_util import textOctets, toBuffer
from lws_gevent.compat.ws.constants import EMPTY_BUFFER
from lws_gevent.compat.ws.errors import WSError, WSRangeError, WSTypeError
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.validation import isValidStatusCode

__all__ = ["Sender", "closePayload", "controlPayload"]

_DEFAULT = 0
_DEFLATING = 1

_CLOSE = 8
_PING = 9
_PONG = 10

Callback = Callable[..., Any]


def closePayload(code: Any = None, data: Any = None) -> bytes:
    """The payload of a close frame (RFC 6455 section 5.5.1). WSTypeError for a code that may not be sent or a reason
    that is neither text nor octets, WSRangeError for a reason that is too long."""
    if code is None:
        return EMPTY_BUFFER
    if not isinstance(code, int) or isinstance(code, bool) or not isValidStatusCode(code):
        raise WSTypeError("First argument must be a valid error code number")
    if data is None or (isinstance(data, (str, bytes, bytearray)) and not data):
        return code.to_bytes(2, "big")
    is_octets = isinstance(data, (bytes, bytearray)) or (isinstance(data, memoryview) and data.format in "Bbc")
    if not isinstance(data, str) and not is_octets:
        raise WSTypeError("Second argument must be a string or a Uint8Array")
    reason = toBuffer(data)
    if len(reason) > 123:
        raise WSRangeError("The message must not be greater than 123 bytes")
    return code.to_bytes(2, "big") + reason


def controlPayload(data: Any) -> bytes:
    """The payload of a ping or a pong (RFC 6455 section 5.5.2). WSRangeError for more than 125 octets."""
    octets = toBuffer(EMPTY_BUFFER if data is None else data)
    if len(octets) > 125:
        raise WSRangeError("The data size must not be greater than 125 bytes")
    return octets


class Sender:
    """Frames messages and writes them to `socket`, which has ``write(octets, callback)`` and may have ``cork()`` and
    ``uncork()``.

    `extensions`: a dict with a `PerMessageDeflate`; `generateMask`: fills a bytearray of four octets. For connections
    over a stream (all clients' among them) and programs that bring their own transport; the core frames the others.
    """

    def __init__(
        self,
        socket: Any,
        extensions: Mapping[str, PerMessageDeflate] | None = None,
        generateMask: Callable[[bytearray], Any] | None = None,
    ) -> None:
        self._socket = socket
        self._extensions = extensions or {}
        self._generateMask = generateMask
        self._firstFragment = True
        self._compress = False
        self._bufferedBytes = 0
        self._queue: deque[tuple[bytes, bool, dict[str, Any], Callback | None]] = deque()
        self._state = _DEFAULT
        self.onerror: Callback = lambda _error: None

    @staticmethod
    def frame(data: bytes | bytearray | memoryview | str, options: Mapping[str, Any]) -> list[bytes]:
        """The octets of a frame: its header, and its payload if it has one; in one piece when `data` is masked and
        ``readOnly``. What was passed in is never changed.

        `options`: ``opcode``, ``fin``, ``rsv1``, ``mask``, ``readOnly``, ``generateMask``, ``maskBuffer``.
        """
        payload = textOctets(data) if isinstance(data, str) else data
        size = len(payload)
        header = bytearray(2)
        header[0] = options["opcode"] | (0x80 if options.get("fin") else 0) | (0x40 if options.get("rsv1") else 0)
        if size >= 65536:
            header[1] = 127
            header += size.to_bytes(8, "big")
        elif size > 125:
            header[1] = 126
            header += size.to_bytes(2, "big")
        else:
            header[1] = size
        if not options.get("mask"):
            return [bytes(header), bytes(payload)] if size else [bytes(header)]
        key = options.get("maskBuffer")
        key = bytearray(4) if key is None else key
        if options.get("generateMask"):
            options["generateMask"](key)
        else:
            key[:] = os.urandom(4)
        header[1] |= 0x80
        header += key
        if not size:
            return [bytes(header)]
        if not any(key):
            return [bytes(header), bytes(payload)]
        if options.get("readOnly"):
            return [bytes(header) + masked(payload, key)]
        return [bytes(header), masked(payload, key)]

    def close(self, code: Any = None, data: Any = None, mask: bool = False, callback: Callback | None = None) -> None:
        """Sends a close frame; the errors are those of `closePayload`."""
        self._control(_CLOSE, closePayload(code, data), mask, callback)

    def ping(self, data: Any = None, mask: bool = False, callback: Callback | None = None) -> None:
        """Sends a ping; WSRangeError for more than 125 octets."""
        self._control(_PING, controlPayload(data), mask, callback)

    def pong(self, data: Any = None, mask: bool = False, callback: Callback | None = None) -> None:
        """Sends a pong; WSRangeError for more than 125 octets."""
        self._control(_PONG, controlPayload(data), mask, callback)

    def _control(self, opcode: int, payload: bytes, mask: bool, callback: Callback | None) -> None:
        self._enqueue(payload, False, self._frame_options(opcode, True, mask, False), callback)

    def _frame_options(self, opcode: int, fin: bool, mask: bool, rsv1: bool) -> dict[str, Any]:
        generate = self._generateMask
        return {"opcode": opcode, "fin": fin, "mask": mask, "rsv1": rsv1, "readOnly": False, "generateMask": generate}

    def send(self, data: Any, options: Mapping[str, Any], callback: Callback | None = None) -> None:
        """Sends a message, or a fragment of one. `options`: ``binary``, ``compress``, ``fin``, ``mask``."""
        deflate = self._extensions.get(PerMessageDeflate.extensionName)
        opcode = 2 if options.get("binary") else 1
        rsv1 = bool(options.get("compress"))
        payload = toBuffer(data)
        if self._firstFragment:
            self._firstFragment = False
            if rsv1 and deflate is not None:
                ours = "server" if deflate._isServer else "client"
                if deflate.params.get(f"{ours}_no_context_takeover"):
                    rsv1 = len(payload) >= deflate._threshold
            self._compress = rsv1
        else:
            rsv1 = False
            opcode = 0
        fin = bool(options.get("fin"))
        if fin:
            self._firstFragment = True
        frame_options = self._frame_options(opcode, fin, bool(options.get("mask")), rsv1)
        self._enqueue(payload, self._compress, frame_options, callback)

    def _enqueue(self, payload: bytes, compress: bool, options: dict[str, Any], callback: Callback | None) -> None:
        """Dispatches, or waits for those who came before: frames go out in the order in which they were sent."""
        if self._state == _DEFAULT:
            self._dispatch(payload, compress, options, callback)
        else:
            self._bufferedBytes += len(payload)
            self._queue.append((payload, compress, options, callback))

    def _dispatch(
        self, payload: bytes, compress: bool, options: MutableMapping[str, Any], callback: Callback | None
    ) -> None:
        if not compress:
            self._send_frame(Sender.frame(payload, options), callback)
            return
        self._bufferedBytes += len(payload)
        self._state = _DEFLATING

        def compressed(_error: Exception | None, octets: bytes = b"") -> None:
            if getattr(self._socket, "destroyed", False):
                self._call_callbacks(WSError("The socket was closed while data was being compressed"), callback)
                return
            self._bufferedBytes -= len(payload)
            self._state = _DEFAULT
            self._send_frame(Sender.frame(octets, options), callback)
            self._dequeue()

        self._extensions[PerMessageDeflate.extensionName].compress(payload, options["fin"], compressed)

    def _call_callbacks(self, error: WSError, first: Callback | None) -> None:
        for callback in (first, *(waiting[-1] for waiting in self._queue)):
            if callback is not None:
                callback(error)

    def _dequeue(self) -> None:
        while self._state == _DEFAULT and self._queue:
            payload, compress, options, callback = self._queue.popleft()
            self._bufferedBytes -= len(payload)
            self._dispatch(payload, compress, options, callback)

    def _send_frame(self, frame: list[bytes], callback: Callback | None) -> None:
        if len(frame) == 1:
            self._socket.write(frame[0], callback)
            return
        if hasattr(self._socket, "cork"):
            self._socket.cork()
        self._socket.write(frame[0])
        self._socket.write(frame[1], callback)
        if hasattr(self._socket, "uncork"):
            self._socket.uncork()
