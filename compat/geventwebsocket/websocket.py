"""The WebSocket of a request."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import lws_gevent
from lws_gevent.compat.geventwebsocket.exceptions import FrameTooLargeException, ProtocolError, WebSocketError
from lws_gevent.compat.geventwebsocket.utf8validator import Utf8Validator

__all__ = [
    "MSG_ALREADY_CLOSED",
    "MSG_CLOSED",
    "MSG_SOCKET_DEAD",
    "FrameTooLargeException",
    "ProtocolError",
    "Stream",
    "Utf8Validator",
    "WebSocket",
    "WebSocketError",
]

MSG_SOCKET_DEAD = "Socket is dead"
MSG_ALREADY_CLOSED = "Connection is already closed"
MSG_CLOSED = "Connection closed"


class Stream:
    """Leads to the handler. Octets are read and written by the connection's engine alone."""

    __slots__ = ("handler",)

    def __init__(self, handler: Any) -> None:
        self.handler = handler


class _NoApp:
    def on_close(self, *args: Any) -> None:
        pass


class WebSocket:
    """A WebSocket in blocking style, in the greenlet of its request; any greenlet of the same hub may send."""

    __slots__ = (
        "__weakref__",
        "_client",
        "_ended",
        "_environ",
        "_pending",
        "_reading",
        "_socket",
        "_stream",
        "_timeout",
        "connection",
        "handler",
    )

    OPCODE_CONTINUATION = 0x00
    OPCODE_TEXT = 0x01
    OPCODE_BINARY = 0x02
    OPCODE_CLOSE = 0x08
    OPCODE_PING = 0x09
    OPCODE_PONG = 0x0A

    def __init__(self, environ: dict[str, Any], stream: Any, handler: Any, do_compress: bool = False) -> None:
        """For the handler: `environ` has the accepted connection in ``wsgi.websocket``. `stream` may be None: it is
        made when it is touched; `do_compress` is what the options of the server say, whatever is given."""
        #: The connection as `lws_gevent` has it.
        self.connection: lws_gevent.Socket = environ["wsgi.websocket"]
        self.handler = handler
        self._environ: dict[str, Any] | None = environ
        self._stream: Stream | None = stream
        self._client: Any = None
        self._socket: Any = None
        self._pending: Any = None  # a message that `closed` has found
        self._reading = False
        self._ended = False
        self._timeout: float | None = None

    # What the request was

    @property
    def environ(self) -> dict[str, Any] | None:
        """The environ of the request; None after the close."""
        return self._environ

    @property
    def stream(self) -> Stream | None:
        """Leads to the handler, and its socket; None after the close."""
        if self._stream is None and not self._ended:
            self._stream = Stream(self.handler)
        return self._stream

    @property
    def origin(self) -> str | None:
        """The header Origin; None after the close."""
        return self._environ.get("HTTP_ORIGIN") if self._environ else None

    @property
    def protocol(self) -> str | None:
        """The subprotocols that the client has asked for, as it wrote them; None after the close. What was agreed is
        ``connection.subprotocol``."""
        return self._environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL") if self._environ else None

    @property
    def version(self) -> str | None:
        """The header Sec-WebSocket-Version; None after the close."""
        return self._environ.get("HTTP_SEC_WEBSOCKET_VERSION") if self._environ else None

    @property
    def path(self) -> str | None:
        """The path; None after the close."""
        return self._environ.get("PATH_INFO") if self._environ else None

    @property
    def logger(self) -> logging.Logger:
        """That of the handler."""
        return self.handler.logger  # type: ignore[no-any-return]

    @property
    def current_app(self) -> Any:
        """``current_app`` of the application, whose ``on_close`` is told of the end."""
        return getattr(getattr(self.handler.server, "application", None), "current_app", None) or _NoApp()

    # Messages

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, and nothing is left to receive."""
        if self._ended:
            return True
        if not self.connection.closed or self._pending is not None:
            return False
        if self._reading:
            return True
        try:
            self._pending = self.connection.recv(0)
        except (lws_gevent.ConnectionClosed, TimeoutError):
            return True
        return False

    def receive(self) -> str | bytearray | None:
        """The next message, str or bytearray. None, once, when the connection has ended, or the time of `settimeout` is
        over, which ends it; WebSocketError from then on."""
        if self._ended:
            self.current_app.on_close(MSG_ALREADY_CLOSED)
            raise WebSocketError(MSG_ALREADY_CLOSED)
        message = self.read_message()
        if message is None:
            self.current_app.on_close(MSG_CLOSED)
        return message

    def read_message(self) -> str | bytearray | None:
        """As `receive`, for subclasses."""
        message, self._pending = self._pending, None
        if message is None:
            self._reading = True
            try:
                message = self.connection.recv(self._timeout)
            except lws_gevent.ConnectionClosed:
                self._end()
                return None
            except TimeoutError:
                self.close()
                return None
            finally:
                self._reading = False
        return message if isinstance(message, str) else bytearray(message)

    def send(self, message: Any, binary: bool | None = None, do_compress: bool | None = None) -> None:
        """Sends a message: text if it is a str, or `binary` says so; blocks while the peer is slow. WebSocketError: the
        connection has ended."""
        if binary is None:
            binary = not isinstance(message, str)
        try:
            self.send_frame(message, self.OPCODE_BINARY if binary else self.OPCODE_TEXT, do_compress)
        except WebSocketError:
            self.current_app.on_close(MSG_SOCKET_DEAD)
            raise WebSocketError(MSG_SOCKET_DEAD) from None

    def send_frame(self, message: Any, opcode: int, do_compress: bool | None = None) -> None:
        """Sends a message, a ping, a pong or a close frame whose payload is `message`."""
        if self._ended:
            self.current_app.on_close(MSG_ALREADY_CLOSED)
            raise WebSocketError(MSG_ALREADY_CLOSED)
        octets = _octets(message, opcode)
        try:
            if opcode in (self.OPCODE_TEXT, self.OPCODE_BINARY):
                self.connection.send(octets, opcode == self.OPCODE_BINARY, do_compress)
            elif opcode == self.OPCODE_PING:
                self.connection.ping(octets)
            elif opcode == self.OPCODE_PONG:
                self.connection.pong(octets)
            elif opcode == self.OPCODE_CLOSE:
                self.close(int.from_bytes(octets[:2], "big") if octets else 1000, octets[2:])
            else:
                raise ProtocolError("a message is sent as a whole")
        except (lws_gevent.ConnectionClosed, lws_gevent.BackpressureExceeded):
            raise WebSocketError(MSG_SOCKET_DEAD) from None

    def close(self, code: int | None = 1000, message: bytes | bytearray | str = b"") -> None:
        """Sends a close frame with that code and reason (ValueError: it must not be sent); the connection ends when the
        peer has answered. Nothing can be received any more."""
        if self._ended:
            self.current_app.on_close(MSG_ALREADY_CLOSED)
            return
        reason = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
        with contextlib.suppress(lws_gevent.ConnectionClosed):
            self.connection.close(code, reason)
        self._end()

    def settimeout(self, timeout: float | None) -> None:
        """How many seconds `receive` waits at most before it closes the connection; None: for ever."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """What `settimeout` has set."""
        return self._timeout

    def _end(self) -> None:
        self._ended = True
        self._environ = self._stream = self._pending = None


def _octets(message: Any, opcode: int) -> bytes:
    if isinstance(message, bytes):
        return message
    if isinstance(message, str):
        return message.encode("utf-8")
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    if opcode in (WebSocket.OPCODE_TEXT, WebSocket.OPCODE_PING):
        return str(message or "").encode("utf-8")
    if message is None or isinstance(message, int):
        raise TypeError(f"a binary message is bytes, not {type(message).__name__}")
    return bytes(message)
