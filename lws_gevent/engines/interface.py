"""What the layers above need of an engine (layer 2): the types that every engine keeps to."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from lws_gevent.frames import ReadyState, Role
from lws_gevent.prepared import Prepared

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from lws_gevent.context import Context, Decision
    from lws_gevent.handshake import Request
    from lws_gevent.server import Server

__all__ = ["Engine", "Socket", "Subscriptions", "peer_name"]


class Socket(abc.ABC):
    """One connection: a light handle that is hashable, comparable (by identity) and safe to keep after the close.

    Reading an attribute never raises. After the close every verb that needs the connection raises
    :class:`~lws_gevent.ConnectionClosed`. All of it is for greenlets of the server's thread.
    """

    __slots__ = ("__weakref__",)

    @property
    @abc.abstractmethod
    def fd(self) -> int:
        """The file descriptor; -1 after the close."""

    @property
    @abc.abstractmethod
    def data(self) -> Any:
        """The user data: whatever the application puts here; None before, and after the ``close`` handlers returned.

        From then on to set it raises :class:`~lws_gevent.ConnectionClosed`: it would be lost."""

    @data.setter
    @abc.abstractmethod
    def data(self, data: Any) -> None: ...

    @property
    @abc.abstractmethod
    def remote_address(self) -> tuple[str, int] | str:
        """Host and port of the peer, or the path of its unix socket (usually ``""``)."""

    @property
    @abc.abstractmethod
    def path(self) -> str:
        """The path of the request as it was sent, without the query."""

    @property
    @abc.abstractmethod
    def query(self) -> str:
        """What came after the ``?`` of the request; ``""`` without one."""

    @property
    @abc.abstractmethod
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on (RFC 6455 section 1.9)."""

    @property
    @abc.abstractmethod
    def extensions(self) -> str:
        """The value of Sec-WebSocket-Extensions that was agreed on; ``""`` for none."""

    @property
    @abc.abstractmethod
    def ssl_object(self) -> Any:
        """What knows of TLS on this connection: certificate of the peer, version, cipher and so on. An
        ``ssl.SSLObject``, to be asked only; None without TLS, and after the end."""

    @property
    @abc.abstractmethod
    def buffered_amount(self) -> int:
        """Octets that were sent and that the operating system has not taken yet."""

    @property
    @abc.abstractmethod
    def ready_state(self) -> ReadyState:
        """CONNECTING until the handshake is answered, OPEN, CLOSING from the first close frame on, CLOSED."""

    @property
    @abc.abstractmethod
    def closed(self) -> bool:
        """Whether the connection has ended (``ready_state`` is CLOSED)."""

    @abc.abstractmethod
    def send(self, message: str | bytes, binary: bool | None = None, compress: bool | None = None) -> bool:
        """As :meth:`Server.send`."""

    @abc.abstractmethod
    def send_prepared(self, prepared: Prepared, binary: bool | None = None) -> bool:
        """As :meth:`Server.send_prepared`."""

    @abc.abstractmethod
    def send_fragment(self, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool:
        """As :meth:`Server.send_fragment`."""

    @abc.abstractmethod
    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """As :meth:`Server.close` with a socket."""

    @abc.abstractmethod
    def terminate(self) -> None:
        """As :meth:`Server.terminate`."""

    @abc.abstractmethod
    def ping(self, data: str | bytes = b"") -> None:
        """As :meth:`Server.ping`."""

    @abc.abstractmethod
    def pong(self, data: str | bytes = b"") -> None:
        """As :meth:`Server.pong`."""

    @abc.abstractmethod
    def subscribe(self, topic: str) -> bool:
        """As :meth:`Server.subscribe`."""

    @abc.abstractmethod
    def unsubscribe(self, topic: str) -> bool:
        """As :meth:`Server.unsubscribe`."""

    @abc.abstractmethod
    def publish(
        self,
        topic: str,
        message: str | bytes | Prepared,
        binary: bool | None = None,
        exclude: Collection[Socket] = (),
        slow: str = "close",
    ) -> int:
        """As :meth:`Server.publish`, to the others: this connection does not get what it publishes itself. It need not
        be subscribed, and may publish until its ``close`` handlers have returned; ConnectionClosed after that."""

    @abc.abstractmethod
    def pause(self) -> None:
        """No ``message`` event from now on until `resume`: what the peer sends waits, within bounds, then in its own
        buffers. Pings are answered meanwhile. The end of the connection ends the pause too."""

    @abc.abstractmethod
    def resume(self) -> None:
        """Ends a `pause`."""

    @abc.abstractmethod
    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next message: `str` when it is text, `bytes` when it is binary. Blocks the calling greenlet.

        The first use claims the socket: its messages come here and no longer as ``message`` events. TimeoutError after
        `timeout` seconds without a message, nothing is lost then; :class:`~lws_gevent.ConnectionClosed` when the
        connection has ended and all messages were taken; RuntimeError when another greenlet is receiving.
        """

    @abc.abstractmethod
    def __iter__(self) -> Iterator[str | bytes]:
        """The messages as they come, see `recv`; ends on close codes 1000 and 1001, raises ConnectionClosed
        otherwise."""

    @abc.abstractmethod
    def __enter__(self) -> Self:
        """``with socket:`` closes the connection at the end of the block, with 1000, or 1011 when an exception leaves
        it, and waits until it has ended, at most ``close_timeout``."""

    @abc.abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @abc.abstractmethod
    def _claim(self) -> Any:
        """What the first `recv` does first: from now on the messages are for it."""

    @abc.abstractmethod
    def _fail_handler(self) -> None:
        """A handler of this connection failed: close it with 1011. Does nothing when it has ended."""


class Subscriptions(Protocol):
    """What an engine needs of the topics of its server; see :class:`lws_gevent.topics.Topics`."""

    def add(self, socket: Any, topic: str) -> bool: ...
    def discard(self, socket: Any, topic: str) -> bool: ...
    def forget(self, socket: Any) -> None: ...
    def publish(
        self, topic: str, message: Any, binary: bool | None = None, exclude: Collection[Any] = (), slow: str = "close"
    ) -> int: ...


class Engine(Protocol):
    """What :class:`lws_gevent.Server` needs of an engine. One object per server.

    The verbs are those of the server, and are told there. `socket` is one of the engine's own.
    """

    #: ``"parked"`` or ``"greenlet"``.
    name: str

    @property
    def open_count(self) -> int:
        """WebSocket connections that are open or closing."""

    @property
    def connection_count(self) -> int:
        """All connections, those in their handshake included."""

    def __init__(self, context: Context) -> None:
        """Makes no hub and no descriptor."""

    def start_accepting(self, server: Server) -> bool:
        """The hub of the calling thread is the engine's from now on. True: the engine accepts on ``server.socket``
        itself; False: the server accepts and calls `handle`. ``server.socket`` may be missing: no listener."""

    def stop_accepting(self, server: Server) -> None:
        """Undoes `start_accepting`; may be called when it was not called."""

    def handle(self, sock: Any, address: Any) -> None:
        """Owns the accepted (non-blocking, stdlib) socket `sock` and runs its connection until its end."""

    def adopt(
        self,
        sock: Any,
        request: Request,
        head: bytes = b"",
        decision: Decision = ...,
        *,
        role: Role = Role.SERVER,
        address: Any = None,
        transport: Any = None,
    ) -> Socket:
        """Takes over the connected socket `sock` (see `adopting.take_socket`), whose opening handshake is done: the
        connection is open when this returns, and belongs to the hub of the calling thread as any other. No event tells
        of it.

        `request`: whose target it has as path and query; `head`: octets that were received behind the handshake, which
        are decoded first, in the hub's next turn; `decision`: what was agreed on, and the answer, which is written
        first, ``context.ANSWERED`` without it; `role`: what we are; `address`: as accept() gives it, None: asked of the
        system; `transport`: TLS over the connection (see `lws_gevent.tls_transport`), which has the socket; `sock` is
        None. What the system refuses is raised as OSError; `sock` is closed then. Nothing blocks.
        """

    def deliver_later(self, socket: Any, event: str, *args: Any) -> None:
        """Has the listeners of `event` called, in a handler greenlet: behind the handlers of this connection that are
        running, and before any message that is received later."""

    def wait_until_ended(self, socket: Any, timeout: float) -> bool:
        """Blocks until the connection has ended and its last handler has returned, at most `timeout` seconds; whether
        it has. A handler of the connection itself is not waited for."""

    def take_back(self, sock: Any, address: Any, octets: bytes | None) -> None:
        """For `WsgiService.begin`: owns the socket of a request that is answered. `octets` came behind that request;
        None: the connection has to end."""

    def connections(self) -> list[Socket]:
        """A snapshot of the connections that are open or closing, from before ``connection`` is emitted."""

    def stats(self) -> dict[str, int]:
        """Counters since the construction: see :meth:`lws_gevent.Server.stats`."""

    def go_away(self, socket: Any, code: int) -> None:
        """Begins what `shutdown` does to each connection: the close frame, and the ``close`` event at the end."""

    def shutdown(self, code: int, timeout: float) -> None:
        """Close frame `code` to each connection, wait until all have ended, at most `timeout` seconds; then kill
        blocked handlers and cut. Called from a greenlet."""

    def send(
        self, socket: Any, message: str | bytes, binary: bool | None = None, compress: bool | None = None
    ) -> bool: ...
    def send_prepared(self, socket: Any, prepared: Prepared, binary: bool | None = None) -> bool: ...
    def send_fragment(self, socket: Any, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool: ...
    def close_socket(self, socket: Any, code: int | None = 1000, reason: str = "") -> None: ...
    def terminate(self, socket: Any) -> None: ...
    def ping(self, socket: Any, data: str | bytes = b"") -> None: ...
    def pong(self, socket: Any, data: str | bytes = b"") -> None: ...
    def set_user_data(self, socket: Any, data: Any) -> None: ...
    def get_user_data(self, socket: Any) -> Any: ...
    def get_fd(self, socket: Any) -> int: ...
    def respond(
        self, socket: Any, status: int, headers: Mapping[str, str] | None = None, body: str | bytes = b""
    ) -> None: ...
    def cork(self, socket: Any) -> AbstractContextManager[None]: ...
    def broadcast(
        self, prepared: Prepared, exclude: Collection[Socket], slow: str, sockets: list[Any] | None = None
    ) -> int:
        """To `sockets`, which are the engine's own; None: to all. See :meth:`lws_gevent.Server.broadcast`."""


def peer_name(address: Any) -> tuple[str, int] | str:
    """``remote_address`` for what accept() gave: without the scope of IPv6, and an IPv4 peer of a dual-stack listener
    as IPv4."""
    if isinstance(address, tuple):
        return address[0].removeprefix("::ffff:") if "." in address[0] else address[0], address[1]
    return address if isinstance(address, str) else ""
