"""`WebSocket` and `create_connection` of websocket-client, in blocking style."""

from __future__ import annotations

import contextlib
import os
import socket as stdlib_socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gevent.event import Event
from gevent.queue import Empty, Queue

from lws_gevent import Client, ConnectionClosed, Headers, LwsError, ProtocolError, ReadyState, Socket
from lws_gevent.compat.websocket_client._abnf import ABNF, STATUS_NORMAL
from lws_gevent.compat.websocket_client._exceptions import (
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketTimeoutException,
    lowered,
    of_protocol,
    translated,
)
from lws_gevent.compat.websocket_client._logging import dump, trace
from lws_gevent.compat.websocket_client._options import connect_options, tls_context

__all__ = ["WebSocket", "create_connection", "getdefaulttimeout", "setdefaulttimeout"]

_default_timeout: float | None = None

#: Frames that wait to be received. While so many do, no more messages are taken from the server.
_QUEUED = 256


def setdefaulttimeout(timeout: float | None) -> None:
    """The timeout, in seconds, of connections that are given none. None: no limit."""
    global _default_timeout
    _default_timeout = timeout


def getdefaulttimeout() -> float | None:
    """See `setdefaulttimeout`."""
    return _default_timeout


class WebSocket:
    """One connection of a client. Every operation blocks its greenlet only; one greenlet receives at a time.

    `sockopt`: arguments of setsockopt, each a tuple; `sslopt`: a dict, see the guide. Of a message that comes in
    fragments the whole is received (`fire_cont_frame` is of no effect); masking keys are the library's own
    (`get_mask_key` likewise).
    """

    def __init__(
        self,
        get_mask_key: Callable[[int], Any] | None = None,
        sockopt: Any = None,
        sslopt: Mapping[str, Any] | None = None,
        fire_cont_frame: bool = False,
        enable_multithread: bool = True,
        skip_utf8_validation: bool = False,
        dispatcher: Any = None,
        **_: Any,
    ) -> None:
        self.get_mask_key = get_mask_key
        self.connected = False
        self.sock: Socket | None = None
        self.close_frame: ABNF | None = None
        self._sockopt = tuple(sockopt or ())
        self._sslopt = dict(sslopt or {})
        self._skip_utf8_validation = skip_utf8_validation
        self._timeout: float | None = None
        self._headers: Headers | None = None
        self._client: Client | None = None
        self._frames: Queue[ABNF | Exception] = Queue()
        self._paused = False
        self._ended: Exception | None = None

    # --- connecting -------------------------------------------------------------------------------------------------

    def connect(self, url: str, **options: Any) -> None:
        """Connects to `url`. The options are those of `create_connection`."""
        self._timeout = options.get("timeout", self._timeout)
        client = Client(
            ping_interval=None,
            own_close_event=True,
            max_payload=None,
            skip_utf8_validation=self._skip_utf8_validation,
            timeout=self._timeout,
        )
        opened = Event()
        frames = self._frames = Queue()
        self._paused = False
        self._ended = None

        def upgrade(socket: Socket, headers: Headers) -> None:
            self._headers = headers
            opened.set()

        client.on("upgrade", upgrade)
        client.on("message", self._received)
        client.on("ping", lambda socket, data: frames.put(_frame(ABNF.OPCODE_PING, data)))
        client.on("pong", lambda socket, data: frames.put(_frame(ABNF.OPCODE_PONG, data)))
        client.on("error", self._erred)
        client.on("close", self._closed)
        with translated():
            self.sock = client.connect(
                url,
                ssl=tls_context(self._sslopt),
                server_hostname=self._sslopt.get("server_hostname"),
                **connect_options(url, options),
            )
        self._client = client
        self._set_socket_options(self.sock.fd)
        opened.wait()
        self.connected = True
        dump("response header", "\n".join(f"{name}: {value}" for name, value in (self.getheaders() or {}).items()))

    def _set_socket_options(self, descriptor: int) -> None:
        if self._sockopt and descriptor >= 0:
            with contextlib.closing(stdlib_socket.socket(fileno=os.dup(descriptor))) as sock:
                for arguments in self._sockopt:
                    sock.setsockopt(*arguments)

    def _received(self, socket: Socket, message: str | bytes, binary: bool) -> None:
        self._frames.put(_frame(ABNF.OPCODE_BINARY if binary else ABNF.OPCODE_TEXT, message))
        if self._frames.qsize() >= _QUEUED and not self._paused:
            self._paused = True
            socket.pause()

    def _erred(self, error: Exception) -> None:
        self._frames.put(of_protocol(error) if isinstance(error, ProtocolError) else error)

    def _closed(self, socket: Socket, code: int, reason: str) -> None:
        if code not in (1006, 1015):
            payload = b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()
            self._frames.put(_frame(ABNF.OPCODE_CLOSE, payload))
        self._frames.put(WebSocketConnectionClosedException("Connection to remote host was lost."))

    # --- receiving --------------------------------------------------------------------------------------------------

    def recv(self) -> str | bytes:
        """The next message: `str` when it is text; ``""`` when the server closes the connection."""
        opcode, data = self.recv_data()
        if opcode == ABNF.OPCODE_TEXT:
            return data.decode("utf-8", "replace" if self._skip_utf8_validation else "strict")
        return data if opcode == ABNF.OPCODE_BINARY else ""

    def recv_data(self, control_frame: bool = False) -> tuple[int, bytes]:
        """Opcode and octets of the next message, or close frame; with `control_frame` of pings and pongs too."""
        opcode, frame = self.recv_data_frame(control_frame)
        return opcode, frame.data

    def recv_data_frame(self, control_frame: bool = False) -> tuple[int, ABNF]:
        """As `recv_data`, with the frame. Pings are answered already."""
        while True:
            frame = self.recv_frame()
            trace(f"++Rcv decoded: {frame}")
            if frame.opcode == ABNF.OPCODE_CLOSE:
                self.connected = False
                self.close_frame = frame
            elif frame.opcode >= ABNF.OPCODE_PING and not control_frame:
                continue
            return frame.opcode, frame

    def recv_frame(self) -> ABNF:
        """The next frame; a message is one, however many it came in."""
        return self._next_frame(self._timeout)

    def _next_frame(self, timeout: float | None) -> ABNF:
        if self._ended is not None:
            raise self._ended
        if self.sock is None:
            raise WebSocketConnectionClosedException("Connection is closed")
        try:
            frame = self._frames.get(timeout=timeout)
        except Empty:
            raise WebSocketTimeoutException("timed out") from None
        if self._paused and self._frames.qsize() < _QUEUED // 2:
            self._paused = False
            self.sock.resume()
        if isinstance(frame, Exception):
            self._ended = frame
            self.connected = False
            raise frame
        return frame

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            yield self.recv()

    def __next__(self) -> str | bytes:
        return self.recv()

    def next(self) -> str | bytes:
        """As `recv`."""
        return self.recv()

    # --- sending ----------------------------------------------------------------------------------------------------

    def send(self, payload: str | bytes, opcode: int = ABNF.OPCODE_TEXT) -> int:
        """Sends a frame of this kind, by default text; how many octets it has on the wire."""
        return self.send_frame(ABNF.create_frame(payload, opcode))

    def send_text(self, text_data: str) -> int:
        """Sends text."""
        return self.send(text_data, ABNF.OPCODE_TEXT)

    def send_bytes(self, data: bytes | bytearray) -> int:
        """Sends octets."""
        return self.send(bytes(data), ABNF.OPCODE_BINARY)

    def send_binary(self, payload: bytes) -> int:
        """Sends octets."""
        return self.send(payload, ABNF.OPCODE_BINARY)

    def send_frame(self, frame: ABNF) -> int:
        """Sends a frame of `ABNF.create_frame`; fragments of a message with the `fin` of each."""
        client, socket = self._client, self.sock
        if client is None or socket is None:
            raise WebSocketConnectionClosedException("socket is already closed.")
        trace(f"++Sent decoded: {frame}")
        with _sending():
            if frame.opcode == ABNF.OPCODE_PING:
                client.ping(socket, frame.data)
            elif frame.opcode == ABNF.OPCODE_PONG:
                client.pong(socket, frame.data)
            elif frame.opcode == ABNF.OPCODE_CLOSE:
                self._send_close_frame(client, socket, frame.data)
            elif frame.opcode == ABNF.OPCODE_CONT or not frame.fin:
                binary = None if frame.opcode == ABNF.OPCODE_CONT else frame.opcode == ABNF.OPCODE_BINARY
                client.send_fragment(socket, frame.data, bool(frame.fin), binary)
            else:
                client.send(socket, frame.data, frame.opcode == ABNF.OPCODE_BINARY)
        return frame.wire_length

    def _send_close_frame(self, client: Client, socket: Socket, payload: bytes) -> None:
        self.connected = False
        code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else STATUS_NORMAL
        client.close(socket, code, payload[2:].decode("utf-8", "replace"))

    def ping(self, payload: str | bytes = "") -> None:
        """Sends a ping."""
        self.send(payload, ABNF.OPCODE_PING)

    def pong(self, payload: str | bytes = "") -> None:
        """Sends a pong; those that answer pings are sent without it."""
        self.send(payload, ABNF.OPCODE_PONG)

    # --- ending -----------------------------------------------------------------------------------------------------

    def send_close(self, status: int = STATUS_NORMAL, reason: str | bytes = b"") -> None:
        """Sends a close frame and waits for nothing."""
        self.send(_close_payload(status, reason), ABNF.OPCODE_CLOSE)

    def close(self, status: int = STATUS_NORMAL, reason: str | bytes = b"", timeout: float | None = 3) -> None:
        """Closes the connection and waits for the server's close frame, at most `timeout` seconds."""
        if not self.connected:
            self.shutdown()
            return
        payload = _close_payload(status, reason)
        self.close_frame = None
        with contextlib.suppress(WebSocketException, LwsError, ValueError):
            self.send(payload, ABNF.OPCODE_CLOSE)
            due = None if timeout is None else time.monotonic() + timeout
            while True:
                frame = self._next_frame(None if due is None else max(0, due - time.monotonic()))
                if frame.opcode == ABNF.OPCODE_CLOSE:
                    self.close_frame = frame
                    break
        self.shutdown()

    def abort(self) -> None:
        """Ends the connection at once; who is receiving gets WebSocketConnectionClosedException."""
        if self.connected and self.sock is not None:
            self.sock.terminate()

    def shutdown(self) -> None:
        """Ends the connection at once."""
        socket, self.sock = self.sock, None
        self.connected = False
        if socket is not None and socket.ready_state != ReadyState.CLOSED:
            socket.terminate()

    # --- what there is to know --------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor."""
        if self.sock is None:
            raise WebSocketException("Connection not established")
        return self.sock.fd

    def gettimeout(self) -> float | None:
        """Seconds that receiving and connecting may take; None: no limit."""
        return self._timeout

    def settimeout(self, timeout: float | None) -> None:
        """See `gettimeout`."""
        self._timeout = timeout

    timeout = property(gettimeout, settimeout)

    def getsubprotocol(self) -> str | None:
        """The subprotocol that the server has chosen."""
        return None if self._headers is None else self._headers.get("Sec-WebSocket-Protocol")

    subprotocol = property(getsubprotocol)

    def getstatus(self) -> int | None:
        """The status of the handshake."""
        return None if self._headers is None else 101

    status = property(getstatus)

    def getheaders(self) -> dict[str, str] | None:
        """The headers of the server's answer, their names in lower case."""
        return None if self._headers is None else lowered(self._headers)

    headers = property(getheaders)

    def set_mask_key(self, func: Callable[[int], Any] | None) -> None:
        """Kept, and of no effect: keys come from the system's random source."""
        self.get_mask_key = func


def _frame(opcode: int, data: str | bytes) -> ABNF:
    return ABNF(1, 0, 0, 0, opcode, 0, data)


def _close_payload(status: int, reason: str | bytes) -> bytes:
    if not 0 <= status < ABNF.LENGTH_16:
        raise ValueError("code is invalid range")
    return status.to_bytes(2, "big") + (reason.encode() if isinstance(reason, str) else bytes(reason or b""))


@contextlib.contextmanager
def _sending() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as error:
        raise WebSocketConnectionClosedException("socket is already closed.") from error


def create_connection(
    url: str, timeout: float | None = None, class_: type[WebSocket] = WebSocket, **options: Any
) -> WebSocket:
    """A connected `WebSocket`.

    `timeout`: seconds, of connecting and of each `recv`; None: `getdefaulttimeout`. Options: `header` (list of
    ``"Name: value"``, or dict), `cookie`, `origin`, `suppress_origin`, `host`, `subprotocols`, `redirect_limit`,
    `socket`, `sockopt`, `sslopt`, `http_proxy_host`, `http_proxy_port`, `http_proxy_auth`, `http_no_proxy`,
    `proxy_type`, `skip_utf8_validation`, `enable_multithread`.
    """
    names = ("sockopt", "sslopt", "fire_cont_frame", "enable_multithread", "skip_utf8_validation")
    own = {name: options.pop(name) for name in names if name in options}
    websocket = class_(**own, **options)
    websocket.settimeout(timeout if timeout is not None else getdefaulttimeout())
    websocket.connect(url, **options)
    return websocket
