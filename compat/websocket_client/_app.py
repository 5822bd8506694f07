"""`WebSocketApp` of websocket-client: callbacks on one connection, made again when it is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent

from lws_gevent.compat.websocket_client._abnf import ABNF
from lws_gevent.compat.websocket_client._core import WebSocket, getdefaulttimeout
from lws_gevent.compat.websocket_client._exceptions import (
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketTimeoutException,
)
from lws_gevent.compat.websocket_client._logging import debug, error, info

__all__ = ["WebSocketApp", "setReconnect", "set_reconnect"]

_reconnect: float = 0

#: So often, in seconds, has a foreign dispatcher the hub run, and for so long.
_STEP = 0.01


def set_reconnect(reconnectInterval: float) -> None:
    """The default of `run_forever`'s `reconnect`, in seconds; 0: it does not."""
    global _reconnect
    _reconnect = reconnectInterval


setReconnect = set_reconnect


class WebSocketApp:
    """Calls functions for what happens on a connection to `url`. Each gets this object first:

    `on_open`, `on_reconnect`; `on_message` (the message); `on_data` (the message, its opcode, True); `on_error` (the
    exception); `on_close` (close code and reason, or None); `on_ping`, `on_pong` (octets). Messages come whole, so that
    `on_cont_message` is never called. `header` may be a function that gives the headers of each attempt.
    """

    def __init__(
        self,
        url: str,
        header: Any = None,
        on_open: Callable[..., Any] | None = None,
        on_reconnect: Callable[..., Any] | None = None,
        on_message: Callable[..., Any] | None = None,
        on_error: Callable[..., Any] | None = None,
        on_close: Callable[..., Any] | None = None,
        on_ping: Callable[..., Any] | None = None,
        on_pong: Callable[..., Any] | None = None,
        on_cont_message: Callable[..., Any] | None = None,
        keep_running: bool = True,
        get_mask_key: Callable[..., Any] | None = None,
        cookie: str | None = None,
        subprotocols: list[str] | None = None,
        on_data: Callable[..., Any] | None = None,
        socket: Any = None,
    ) -> None:
        self.url = url
        self.header = header if header is not None else []
        self.cookie = cookie
        self.on_open = on_open
        self.on_reconnect = on_reconnect
        self.on_message = on_message
        self.on_data = on_data
        self.on_error = on_error
        self.on_close = on_close
        self.on_ping = on_ping
        self.on_pong = on_pong
        self.on_cont_message = on_cont_message
        self.keep_running = False
        self.get_mask_key = get_mask_key
        self.subprotocols = subprotocols
        self.prepared_socket = socket
        self.sock: WebSocket | None = None
        self.last_ping_tm = 0.0
        self.last_pong_tm = 0.0
        self.has_errored = False
        self.last_close_frame: ABNF | None = None
        self._pinger: Any = None

    # --- verbs ------------------------------------------------------------------------------------------------------

    def send(self, data: str | bytes, opcode: int = ABNF.OPCODE_TEXT) -> None:
        """Sends a message, by default text."""
        if self.sock is None:
            raise WebSocketConnectionClosedException("Connection is already closed.")
        self.sock.send(data, opcode)

    def send_text(self, text_data: str) -> None:
        """Sends text."""
        self.send(text_data, ABNF.OPCODE_TEXT)

    def send_bytes(self, data: bytes | bytearray) -> None:
        """Sends octets."""
        self.send(bytes(data), ABNF.OPCODE_BINARY)

    def close(self, **options: Any) -> None:
        """Closes the connection, for good; the options are those of `WebSocket.close`."""
        self.keep_running = False
        sock = self.sock
        if sock is not None:
            sock.close(**options)
            self.last_close_frame = sock.close_frame or self.last_close_frame
            self.sock = None

    def ready(self) -> bool:
        """Whether it is connected."""
        return self.sock is not None and self.sock.connected

    # --- running ----------------------------------------------------------------------------------------------------

    def run_forever(
        self,
        sockopt: Any = None,
        sslopt: Any = None,
        ping_interval: float = 0,
        ping_timeout: float | None = None,
        ping_payload: str = "",
        http_proxy_host: str | None = None,
        http_proxy_port: int | str | None = None,
        http_no_proxy: list[str] | None = None,
        http_proxy_auth: tuple[str, str] | None = None,
        http_proxy_timeout: float | None = None,
        skip_utf8_validation: bool = False,
        host: str | None = None,
        origin: str | None = None,
        dispatcher: Any = None,
        suppress_origin: bool = False,
        suppress_host: bool = False,
        proxy_type: str | None = None,
        reconnect: float | None = None,
    ) -> bool:
        """Connects and calls the callbacks until the connection has ended, or, with `reconnect` seconds between the
        attempts, until `close`. True: an error has ended it.

        `ping_interval`: seconds between pings; `ping_timeout`: seconds until a missing pong is an error. With a
        `dispatcher` (as rel) it returns at once, and that has it run.
        """
        if ping_timeout is not None and ping_timeout <= 0:
            raise WebSocketException("Ensure ping_timeout > 0")
        if ping_interval is not None and ping_interval < 0:
            raise WebSocketException("Ensure ping_interval >= 0")
        if ping_timeout and ping_interval and ping_interval <= ping_timeout:
            raise WebSocketException("Ensure ping_interval > ping_timeout")
        if self.sock is not None:
            raise WebSocketException("socket is already opened")
        connecting = {
            "http_proxy_host": http_proxy_host,
            "http_proxy_port": http_proxy_port,
            "http_no_proxy": http_no_proxy,
            "http_proxy_auth": http_proxy_auth,
            "host": host,
            "origin": origin,
            "suppress_origin": suppress_origin,
            "suppress_host": suppress_host,
            "proxy_type": proxy_type,
        }
        making = {"sockopt": sockopt, "sslopt": sslopt, "skip_utf8_validation": skip_utf8_validation}
        pinging = (ping_interval or 0, ping_timeout, ping_payload)
        again = _reconnect if reconnect is None else reconnect
        self.keep_running = True
        self.has_errored = False
        self.last_close_frame = None
        if dispatcher is None:
            return self._run(making, connecting, pinging, again)
        greenlet = gevent.spawn(self._run, making, connecting, pinging, again)

        def step() -> bool:
            greenlet.join(_STEP)
            return not greenlet.dead

        dispatcher.timeout(_STEP, step)
        return False

    def _run(self, making: Any, connecting: Any, pinging: Any, reconnect: float) -> bool:
        reconnecting = False
        try:
            while True:
                self._run_once(making, connecting, pinging, reconnecting, reconnect)
                if not reconnect or not self.keep_running:
                    break
                reconnecting = True
                gevent.sleep(reconnect)
        except (KeyboardInterrupt, SystemExit) as stopped:
            self.has_errored = True
            self._callback(self.on_error, stopped)
            raise
        finally:
            self._tear_down()
        return self.has_errored

    def _run_once(self, making: Any, connecting: Any, pinging: Any, reconnecting: bool, reconnect: float) -> None:
        """One connection, to its end."""
        self.last_close_frame = None
        sock = self.sock = WebSocket(self.get_mask_key, **making)
        sock.settimeout(getdefaulttimeout())
        try:
            sock.connect(
                self.url,
                header=self.header() if callable(self.header) else self.header,
                cookie=self.cookie,
                subprotocols=self.subprotocols,
                socket=self.prepared_socket,
                **connecting,
            )
            info("Websocket connected")
            self._start_pings(sock, pinging)
            self._callback(self.on_reconnect if reconnecting and self.on_reconnect else self.on_open)
            while self.keep_running:
                if not self._receive(sock, pinging, bool(reconnect)):
                    break
        except Exception as failure:
            if not self.keep_running and isinstance(failure, WebSocketConnectionClosedException):
                return  # by close()
            self.has_errored = True
            self._report(failure, reconnecting)
        finally:
            self._stop_pings()
            if reconnect and self.keep_running:
                self.sock = None
                sock.shutdown()

    def _receive(self, sock: WebSocket, pinging: tuple[float, float | None, str], reconnecting: bool) -> bool:
        """One event. False: the server has closed."""
        frame = self._next(sock, pinging)
        if frame is None:
            return True
        if frame.opcode == ABNF.OPCODE_CLOSE:
            self._server_closed(frame, reconnecting)
            return False
        if frame.opcode == ABNF.OPCODE_PING:
            self._callback(self.on_ping, frame.data)
        elif frame.opcode == ABNF.OPCODE_PONG:
            self.last_pong_tm = time.time()
            self._callback(self.on_pong, frame.data)
        else:
            data: str | bytes = frame.data
            if frame.opcode == ABNF.OPCODE_TEXT:
                data = frame.data.decode("utf-8", "replace")
            self._callback(self.on_data, data, frame.opcode, True)
            self._callback(self.on_message, data)
        return True

    def _next(self, sock: WebSocket, pinging: tuple[float, float | None, str]) -> ABNF | None:
        """The next frame; None: it is time to look whether the pong has come."""
        timeout = pinging[1]
        if not timeout:
            return sock.recv_data_frame(True)[1]
        sock.settimeout(timeout)
        try:
            return sock.recv_data_frame(True)[1]
        except WebSocketTimeoutException:
            late = time.time() - self.last_ping_tm > timeout
            if self.last_ping_tm and late and self.last_pong_tm < self.last_ping_tm:
                raise WebSocketTimeoutException("ping/pong timed out") from None
            return None

    def _server_closed(self, frame: ABNF, reconnecting: bool) -> None:
        self.last_close_frame = frame
        code, reason = _close_arguments(frame)
        message = "Connection closed" if code is None else f"Connection closed (code {code})"
        closed = WebSocketConnectionClosedException(f"{message}: {reason}" if reason else message)
        closed.status_code, closed.reason = code, reason  # type: ignore[attr-defined]
        self._report(closed, reconnecting)

    def _report(self, failure: Exception, reconnecting: bool) -> None:
        error(f"{failure}")
        if not reconnecting:
            self._callback(self.on_error, failure)

    def _tear_down(self) -> None:
        self.keep_running = False
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()
            self.last_close_frame = self.last_close_frame or sock.close_frame
        self._callback(self.on_close, *_close_arguments(self.last_close_frame))

    def _callback(self, callback: Callable[..., Any] | None, *arguments: Any) -> None:
        if callback is None:
            return
        try:
            callback(self, *arguments)
        except Exception as failure:
            error(f"error from callback {callback}: {failure}")
            if self.on_error is not None and callback is not self.on_error:
                self._callback(self.on_error, failure)

    # --- pings ------------------------------------------------------------------------------------------------------

    def _start_pings(self, sock: WebSocket, pinging: tuple[float, float | None, str]) -> None:
        self.last_ping_tm = self.last_pong_tm = 0.0
        if pinging[0]:
            self._pinger = gevent.spawn(self._send_pings, sock, pinging[0], pinging[2])

    def _send_pings(self, sock: WebSocket, interval: float, payload: str) -> None:
        while True:
            gevent.sleep(interval)
            self.last_ping_tm = time.time()
            try:
                sock.ping(payload)
            except WebSocketException as failure:
                debug(f"Failed to send ping: {failure}")
                return

    def _stop_pings(self) -> None:
        pinger, self._pinger = self._pinger, None
        if pinger is not None:
            pinger.kill()


def _close_arguments(frame: ABNF | None) -> tuple[int | None, str | None]:
    if frame is None or len(frame.data) < 2:
        return None, None
    return int.from_bytes(frame.data[:2], "big"), frame.data[2:].decode("utf-8", "replace") or None
