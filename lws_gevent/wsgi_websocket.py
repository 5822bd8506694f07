"""The WebSocket of a WSGI request, which is accepted when it is used (layer 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from lws_gevent.engines.interface import Socket
from lws_gevent.errors import HandshakeError
from lws_gevent.frames import ReadyState

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from lws_gevent.prepared import Prepared

__all__ = ["WebSocket"]

#: What gevent-websocket's object has at this place, and this one has not.
_OF_GEVENT_WEBSOCKET = frozenset(
    {"environ", "handler", "origin", "protocol", "receive", "send_frame", "stream", "version"}
)


class WebSocket(Socket):
    """What stands in ``environ["wsgi.websocket"]``: a :class:`lws_gevent.Socket` in blocking style whose handshake is
    answered when one of its verbs is first used, or by `accept`.

    Every verb raises :class:`lws_gevent.HandshakeError` when the handshake is refused; an application that lets it out
    has the client get the answer that it holds. Its greenlet is that of the request: when the application returns, the
    connection is closed with 1000; when it raises, or a framework around it answers with 500, with 1011.
    """

    __slots__ = ("_accept", "_environ", "_socket", "refusal")

    def __init__(self, accept: Callable[..., Socket], environ: dict[str, Any]) -> None:
        self._accept: Callable[..., Socket] | None = accept
        self._environ = environ
        self._socket: Socket | None = None
        #: The error with which the handshake was refused.
        self.refusal: HandshakeError | None = None

    @property
    def accepted(self) -> bool:
        """Whether the handshake was answered."""
        return self._socket is not None

    @property
    def socket(self) -> Socket:
        """The connection itself, for the methods of a server; accepted if it was not."""
        if self._socket is None:
            self.accept()
        assert self._socket is not None
        return self._socket

    def accept(self, subprotocol: str | None = None) -> WebSocket:
        """Answers the handshake, with one of the subprotocols that the client offers (ValueError: another one), or with
        what the option ``subprotocols`` says; the socket itself. RuntimeError when it was answered already;
        HandshakeError when it is refused."""
        if self._accept is None:
            raise RuntimeError("this WebSocket was accepted already")
        try:
            self._socket = self._accept(self._environ, subprotocol=subprotocol)
        except HandshakeError as error:
            self.refusal = error
            raise
        self._accept = None
        self._socket._claim()
        return self

    if not TYPE_CHECKING:  # for a type checker, every name would be there

        def __getattr__(self, name: str) -> Any:
            if name in _OF_GEVENT_WEBSOCKET:
                raise AttributeError(
                    f"lws_gevent.wsgi.WebSocket has no {name!r}, which is gevent-websocket's: "
                    "the handler, middleware and worker with that interface are in lws_gevent.compat.geventwebsocket"
                )
            raise AttributeError(f"lws_gevent.wsgi.WebSocket has no {name!r}")

    def __repr__(self) -> str:
        return "<lws_gevent.wsgi.WebSocket, not accepted>" if self._socket is None else repr(self._socket)

    @property
    def fd(self) -> int:
        return -1 if self._socket is None else self._socket.fd

    @property
    def data(self) -> Any:
        return None if self._socket is None else self._socket.data

    @data.setter
    def data(self, data: Any) -> None:
        self.socket.data = data

    @property
    def remote_address(self) -> tuple[str, int] | str:
        if self._socket is not None:
            return self._socket.remote_address
        host, port = self._environ.get("REMOTE_ADDR", ""), self._environ.get("REMOTE_PORT", "")
        return (host, int(port)) if port.isdigit() else host

    @property
    def path(self) -> str:
        if self._socket is not None:
            return self._socket.path
        return str(self._environ.get("SCRIPT_NAME", "") + self._environ.get("PATH_INFO", ""))

    @property
    def query(self) -> str:
        return str(self._environ.get("QUERY_STRING", "")) if self._socket is None else self._socket.query

    @property
    def subprotocol(self) -> str | None:
        return None if self._socket is None else self._socket.subprotocol

    @property
    def extensions(self) -> str:
        return "" if self._socket is None else self._socket.extensions

    @property
    def ssl_object(self) -> Any:
        return None if self._socket is None else self._socket.ssl_object

    @property
    def buffered_amount(self) -> int:
        return 0 if self._socket is None else self._socket.buffered_amount

    @property
    def ready_state(self) -> ReadyState:
        return ReadyState.CONNECTING if self._socket is None else self._socket.ready_state

    @property
    def closed(self) -> bool:
        return self._socket is not None and self._socket.closed

    def send(self, message: str | bytes, binary: bool | None = None, compress: bool | None = None) -> bool:
        return self.socket.send(message, binary, compress)

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        self.socket.close(code, reason)

    def terminate(self) -> None:
        self.socket.terminate()

    def ping(self, data: str | bytes = b"") -> None:
        self.socket.ping(data)

    def send_prepared(self, prepared: Prepared, binary: bool | None = None) -> bool:
        return self.socket.send_prepared(prepared, binary)

    def send_fragment(self, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool:
        return self.socket.send_fragment(piece, fin, binary)

    def pong(self, data: str | bytes = b"") -> None:
        self.socket.pong(data)

    def subscribe(self, topic: str) -> bool:
        return self.socket.subscribe(topic)

    def unsubscribe(self, topic: str) -> bool:
        return self.socket.unsubscribe(topic)

    def publish(
        self,
        topic: str,
        message: str | bytes | Prepared,
        binary: bool | None = None,
        exclude: Collection[Socket] = (),
        slow: str = "close",
    ) -> int:
        return self.socket.publish(topic, message, binary, exclude, slow)

    def pause(self) -> None:
        self.socket.pause()

    def resume(self) -> None:
        self.socket.resume()

    def recv(self, timeout: float | None = None) -> str | bytes:
        return self.socket.recv(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        return iter(self.socket)

    def __enter__(self) -> Self:
        self.socket.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.__exit__(kind, error, traceback)

    def _claim(self) -> Any:
        return self.socket._claim()

    def _fail_handler(self) -> None:
        self.socket._fail_handler()
