"""A WebSocket on a connection of lws_gevent's own engine: idle, it has no greenlet and no buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gevent

import lws_gevent
from lws_gevent.compat.ws.buffer_util import textOctets, toBuffer, toText
from lws_gevent.compat.ws.constants import CLOSED, CLOSING
from lws_gevent.compat.ws.emitter import trimmed
from lws_gevent.compat.ws.errors import WSError, WSRangeError, WSTypeError
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.sender import closePayload
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["Core", "CoreLink"]

#: What the codec says of a breach -> the code and the message of ws; {} is the number that was wrong.
_BREACHES = {
    "unknown opcode": ("WS_ERR_INVALID_OPCODE", "invalid opcode {}"),
    "reserved bits must be 0": ("WS_ERR_UNEXPECTED_RSV_2_3", "RSV2 and RSV3 must be clear"),
    "RSV1 is allowed on the first frame of a message only": ("WS_ERR_UNEXPECTED_RSV_1", "RSV1 must be clear"),
    "frames of a client must be masked": ("WS_ERR_EXPECTED_MASK", "MASK must be set"),
    "frames of a server must not be masked": ("WS_ERR_UNEXPECTED_MASK", "MASK must be clear"),
    "control frames must not be fragmented": ("WS_ERR_EXPECTED_FIN", "FIN must be set"),
    "control frames must not exceed 125 octets": (
        "WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH",
        "invalid payload length {}",
    ),
    "a close payload of one octet": ("WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH", "invalid payload length 1"),
    "continuation frame without a message to continue": ("WS_ERR_INVALID_OPCODE", "invalid opcode {}"),
    "new message inside a fragmented message": ("WS_ERR_INVALID_OPCODE", "invalid opcode {}"),
    "invalid close code": ("WS_ERR_INVALID_CLOSE_CODE", "invalid status code {}"),
}

#: What it says does not matter for these close codes.
_BY_CLOSE_CODE = {
    1007: (WSError, "WS_ERR_INVALID_UTF8", "Invalid WebSocket frame: invalid UTF-8 sequence"),
    1008: (WSRangeError, "WS_ERR_TOO_MANY_BUFFERED_PARTS", "Too many message fragments"),
    1009: (WSRangeError, "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH", "Max payload size exceeded"),
}


def translated(error: lws_gevent.ProtocolError) -> WSError:
    """The error of ws for a breach of the protocol."""
    if error.close_code == 1007 and "DEFLATE" in error.problem or "compressed message" in error.problem:
        failure = WSError(error.problem, "Z_DATA_ERROR", error.close_code)
        failure.errno = -3
        return failure
    known = _BY_CLOSE_CODE.get(error.close_code)
    if known is not None:
        kind, code, message = known
        return kind(message, code, error.close_code)
    code, message = _BREACHES.get(error.problem, ("WS_ERR_INVALID_OPCODE", error.problem))
    if code == "WS_ERR_UNEXPECTED_RSV_2_3" and error.detail == 4:
        code, message = "WS_ERR_UNEXPECTED_RSV_1", "RSV1 must be clear"
    return WSRangeError(f"Invalid WebSocket frame: {message.format(error.detail)}", code, error.close_code)


def _deflate_settings(options: Any) -> lws_gevent.PerMessageDeflate | bool:
    """How the core compresses; what is agreed on with each connection is told apart."""
    if options is False:
        return False
    zlib = options.get("zlibDeflateOptions") or {}
    return lws_gevent.PerMessageDeflate(level=max(0, zlib.get("level", 6)), mem_level=zlib.get("memLevel", 8))


class Core:
    """The server of lws_gevent, without a listener, that has the connections of one WebSocketServer."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.server = lws_gevent.Server(
            max_payload=options["maxPayload"] or None,
            max_fragments=options["maxFragments"] or None,
            max_backpressure=None,
            send_timeout=None,
            idle_timeout=None,
            close_timeout=max(0.001, options["closeTimeout"] / 1000),
            auto_pong=bool(options["autoPong"]),
            own_close_event=True,
            per_message_deflate=_deflate_settings(options["perMessageDeflate"]),
        )
        self._unwritten: dict[CoreLink, None] = {}
        self._watching = False
        self.server.on("message", _on_message)
        self.server.on("ping", _on_ping)
        self.server.on("pong", _on_pong)
        self.server.on("close", _on_close)
        self.server.on("error", _on_error)

    def watch(self, link: CoreLink) -> None:
        """Calls the callbacks of `link` when the system has taken all that was sent."""
        self._unwritten[link] = None
        if not self._watching:
            self._watching = True
            nextTick(self._watch)

    def _watch(self) -> None:
        """The one greenlet that looks; it ends when nobody waits."""
        pause = 0.0
        while self._unwritten:
            waiting = list(self._unwritten)
            for link in waiting:
                if link.socket_ended or not link.handle.buffered_amount:
                    self._unwritten.pop(link, None)
                    link.call_callbacks()
                    pause = 0.0
            if self._unwritten:
                gevent.sleep(pause)
                pause = min(0.02, pause + 0.001)
        self._watching = False


class CoreLink:
    """Carries one WebSocket of a server."""

    __slots__ = (
        "_callbacks",
        "_ended",
        "_fragment",
        "_threshold",
        "_unsent",
        "core",
        "failed",
        "handle",
        "socket_ended",
        "websocket",
    )

    #: The core has a deadline for the close, and answers pings.
    needs_close_timer = False
    answers_pings = True

    def __init__(
        self,
        core: Core,
        websocket: Any,
        handle: lws_gevent.Socket,
        ended: Callable[[], object] | None,
        deflate: PerMessageDeflate | None = None,
    ) -> None:
        self.core = core
        self.websocket = websocket
        self.handle = handle
        self.failed = False
        self.socket_ended = False
        self._ended = ended
        self._fragment = False
        self._unsent = 0
        #: Shorter messages are not compressed; that counts only where every message is compressed by itself.
        self._threshold = 0
        if deflate is not None and deflate.params.get("server_no_context_takeover"):
            self._threshold = deflate._threshold
        self._callbacks: deque[Callable[..., Any]] | None = None
        handle.data = self

    def start(self) -> None:
        """The engine reads in its next turn."""

    @property
    def socket(self) -> CoreSocket:
        """What stands for the stream below."""
        return CoreSocket(self)

    @property
    def bufferedAmount(self) -> int:
        """Octets that the system has not taken."""
        return self.handle.buffered_amount + self._unsent

    def add_unsent(self, size: int) -> None:
        """Counts what was sent after the close."""
        self._unsent += size

    def send(self, data: Any, options: Mapping[str, Any], callback: Callable[..., Any] | None) -> None:
        payload: Any = data if isinstance(data, (str, bytes)) else toBuffer(data)
        if isinstance(payload, str) and not payload.isascii():
            payload = toText(textOctets(payload))  # without halves of surrogate pairs
        binary = bool(options["binary"])
        if binary and isinstance(payload, str):
            payload = textOctets(payload)
        try:
            if self._fragment or not options["fin"]:
                first = not self._fragment
                self._fragment = not options["fin"]
                self.handle.send_fragment(payload, bool(options["fin"]), binary if first else None)
            else:
                compress = bool(options["compress"])
                if compress and self._threshold:
                    compress = len(toBuffer(payload)) >= self._threshold
                self.handle.send(payload, binary, compress)
        except lws_gevent.ConnectionClosed as error:
            self._tell(callback, WSError(str(error)))
            return
        except ValueError as error:
            raise WSTypeError(str(error)) from None
        self._tell(callback)

    def ping(self, data: bytes, _mask: bool, callback: Callable[..., Any] | None) -> None:
        self._control(self.handle.ping, data, callback)

    def pong(self, data: bytes, _mask: bool, callback: Callable[..., Any] | None) -> None:
        self._control(self.handle.pong, data, callback)

    def _control(self, verb: Callable[[bytes], None], data: bytes, callback: Callable[..., Any] | None) -> None:
        try:
            verb(data)
        except lws_gevent.ConnectionClosed as error:
            self._tell(callback, WSError(str(error)))
        else:
            self._tell(callback)

    def _tell(self, callback: Callable[..., Any] | None, error: WSError | None = None) -> None:
        if callback is None:
            return
        if error is not None:
            nextTick(trimmed, callback, error)
            return
        if self._callbacks is None:
            self._callbacks = deque()
        self._callbacks.append(callback)
        self.core.watch(self)

    def call_callbacks(self) -> None:
        """Tells those who wait that all is written, or that it never will be."""
        callbacks, self._callbacks = self._callbacks, None
        error = WSError("The socket was closed", "ERR_STREAM_DESTROYED") if self.socket_ended else None
        for callback in callbacks or ():
            nextTick(trimmed, callback, error)

    def close(self, code: Any, reason: Any, _mask: bool, sent: Callable[[], None]) -> None:
        payload = closePayload(code, reason)
        self.handle.close(code, toText(payload[2:]))
        nextTick(sent)

    def end(self) -> None:
        """The core ends the connection when both close frames are there."""

    @property
    def finished(self) -> bool:
        """Whether everything was written."""
        return self.socket_ended

    def on_finish(self, callback: Callable[[], None]) -> None:
        """Calls `callback` when everything was written: before the connection's end is told."""
        self.websocket.prependListener("close", callback)

    def destroy(self) -> None:
        """Ends the connection at once."""
        self.handle.terminate()

    def pause(self) -> None:
        try:
            self.handle.pause()
        except lws_gevent.ConnectionClosed:
            pass  # it ends

    def resume(self) -> None:
        self.handle.resume()

    def set_binary_type(self, _kind: str) -> None:
        """It is asked for with every message."""

    # --- what the core tells ----------------------------------------------------------------------------------------

    def closed(self, code: int, reason: str) -> None:
        websocket = self.websocket
        self.socket_ended = True
        if self._callbacks is not None:
            self.core._unwritten.pop(self, None)
            websocket._readyState = CLOSING
            self.call_callbacks()
        if self.failed or code == 1006:
            code, reason = 1006, ""
        else:
            websocket._closeFrameReceived = websocket._closeFrameSent = True
        websocket._closeCode, websocket._closeMessage = code, textOctets(reason)
        if self._ended is not None:
            self._ended()
        websocket._emit_close()


def _on_message(handle: Any, message: str | bytes, binary: bool) -> None:
    websocket = handle.data.websocket
    data: Any = message if binary else message.encode("utf-8")  # type: ignore[union-attr]
    if binary and websocket._binaryType != "nodebuffer":
        data = bytearray(data) if websocket._binaryType == "arraybuffer" else [data] if data else []
    websocket._on_message(data, binary)


def _on_ping(handle: Any, data: bytes) -> None:
    handle.data.websocket._on_ping(data)


def _on_pong(handle: Any, data: bytes) -> None:
    handle.data.websocket._on_pong(data)


def _on_close(handle: Any, code: int, reason: str) -> None:
    handle.data.closed(code, reason)


def _on_error(error: BaseException, handle: Any) -> None:
    link = None if handle is None else handle.data
    if not isinstance(link, CoreLink) or not isinstance(error, lws_gevent.ProtocolError):
        # A listener has raised it: Node would end the process, gevent tells of it.
        gevent.get_hub().handle_error(handle, type(error), error, error.__traceback__)
        return
    link.failed = True
    if link.websocket._readyState != CLOSED:
        link.websocket._readyState = CLOSING
    link.websocket._emit_error(translated(error))


class CoreSocket:
    """What programs look for in ``websocket._socket``."""

    __slots__ = ("_link",)

    def __init__(self, link: CoreLink) -> None:
        self._link = link

    @property
    def remoteAddress(self) -> str | None:
        """The peer's address."""
        name = self._link.handle.remote_address
        return name[0] if isinstance(name, tuple) else None

    @property
    def remotePort(self) -> int | None:
        """The peer's port."""
        name = self._link.handle.remote_address
        return name[1] if isinstance(name, tuple) else None

    @property
    def writableLength(self) -> int:
        """Octets that were sent and that the system has not taken."""
        return self._link.handle.buffered_amount

    @property
    def destroyed(self) -> bool:
        """Whether the connection has ended."""
        return self._link.socket_ended

    def destroy(self) -> None:
        """Ends the connection at once."""
        self._link.destroy()
