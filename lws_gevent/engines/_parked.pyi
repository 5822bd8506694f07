"""The parked engine (layer 2, Linux): see docs/design.md. What it shares with other engines is told in `interface`."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, final

from gevent import Greenlet
from typing_extensions import Self

from lws_gevent.context import Context, Decision
from lws_gevent.engines import interface
from lws_gevent.frames import ReadyState, Role
from lws_gevent.handshake import Request
from lws_gevent.prepared import Prepared
from lws_gevent.server import Server

_Octets = bytes | bytearray | memoryview
_Headers = Mapping[str, str] | Collection[tuple[str, str]]

# At run time it is registered as an `interface.Socket`: a class with a metaclass would bring a GC header (rule 12).
@final
class Socket(interface.Socket):
    """One connection: a handle that is hashable, comparable and safe to keep. Servers make them, nobody else can."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """TypeError: sockets are made by a server."""

    @property
    def fd(self) -> int:
        """The file descriptor; -1 after the close."""

    @property
    def data(self) -> Any:
        """The user data."""

    @data.setter
    def data(self, value: Any) -> None: ...
    @property
    def remote_address(self) -> tuple[str, int] | str:
        """Host and port of the peer; ``""`` for a unix socket."""

    @property
    def path(self) -> str:
        """The path of the request as it was sent, without the query."""

    @property
    def query(self) -> str:
        """What came after the ``?`` of the request."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on."""

    @property
    def extensions(self) -> str:
        """The extensions that were agreed on."""

    @property
    def ssl_object(self) -> Any:
        """The `ssl.SSLObject`, to be asked for certificate, version and cipher; None without TLS, and after the end."""

    @property
    def buffered_amount(self) -> int:
        """Octets that were sent and that the operating system has not taken yet."""

    @property
    def ready_state(self) -> ReadyState:
        """The state, as in browsers."""

    @property
    def closed(self) -> bool:
        """Whether it has ended, or the peer has closed it."""

    def send(self, message: str | _Octets, binary: bool | None = None, compress: bool | None = None) -> bool:
        """As `Server.send`."""

    def send_prepared(self, prepared: Prepared, binary: bool | None = None) -> bool:
        """As `Server.send_prepared`."""

    def send_fragment(self, piece: str | _Octets, fin: bool, binary: bool | None = None) -> bool:
        """As `Server.send_fragment`."""

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """As `Server.close` with a socket."""

    def terminate(self) -> None:
        """As `Server.terminate`."""

    def ping(self, data: str | _Octets = b"") -> None:
        """As `Server.ping`."""

    def pong(self, data: str | _Octets = b"") -> None:
        """As `Server.pong`."""

    def subscribe(self, topic: str) -> bool:
        """As `Server.subscribe`."""

    def unsubscribe(self, topic: str) -> bool:
        """As `Server.unsubscribe`."""

    def publish(
        self,
        topic: str,
        message: str | _Octets | Prepared,
        binary: bool | None = None,
        exclude: Collection[interface.Socket] = (),
        slow: str = "close",
    ) -> int:
        """As `Server.publish`, to the others."""

    def pause(self) -> None:
        """No ``message`` events until `resume`."""

    def resume(self) -> None:
        """Ends a `pause`."""

    def respond(self, status: int, headers: _Headers = (), body: str | bytes = b"") -> None:
        """As `Server.respond`."""

    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next message; blocks the calling greenlet."""

    def __iter__(self) -> Iterator[str | bytes]:
        """The messages until the close."""

    def __enter__(self) -> Self:
        """``with socket:`` closes at the end of the block and waits for the end."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def _claim(self) -> Any:
        """See `interface.Socket._claim`."""

    def _fail_handler(self) -> None: ...

@final
class ParkedEngine:
    """The engine of one server; see `interface.Engine`. Engines of one process and hub share their epoll set."""

    name: str

    def __init__(self, context: Context) -> None: ...
    @property
    def context(self) -> Context:
        """What it knows of its server."""

    @property
    def open_count(self) -> int:
        """WebSocket connections that are open or closing."""

    @property
    def connection_count(self) -> int:
        """All connections, those in their handshake included."""

    def start_accepting(self, server: Server) -> bool:
        """Accepts on ``server.socket`` from now on, in the hub of the calling thread. Always True."""

    def stop_accepting(self, server: Server) -> None:
        """Undoes `start_accepting`."""

    def handle(self, sock: Any, address: Any) -> None:
        """NotImplementedError: this engine accepts by itself."""

    def adopt(
        self,
        sock: Any,
        request: Request,
        head: bytes = b"",
        decision: Decision = ...,
        *,
        role: Role = ...,
        address: Any = None,
        transport: Any = None,
    ) -> Socket:
        """Takes over a connected socket whose opening handshake is done."""

    def deliver_later(self, socket: Any, event: str, *args: Any) -> None:
        """See `interface.Engine.deliver_later`."""

    def wait_until_ended(self, socket: Any, timeout: float) -> bool:
        """See `interface.Engine.wait_until_ended`."""

    def take_back(self, sock: Any, address: Any, octets: bytes | None) -> None:
        """Owns the socket of a request that is answered."""

    def connections(self) -> list[interface.Socket]:
        """A snapshot of the connections that are open or closing."""

    def stats(self) -> dict[str, int]:
        """Counters since the construction."""

    def go_away(self, socket: Any, code: int) -> None:
        """See `interface.Engine.go_away`."""

    def shutdown(self, code: int, timeout: float) -> None:
        """Ends all connections, politely at first."""

    def send(
        self, socket: Socket, message: str | _Octets, binary: bool | None = None, compress: bool | None = None
    ) -> bool: ...
    def send_prepared(self, socket: Socket, prepared: Prepared, binary: bool | None = None) -> bool: ...
    def send_fragment(self, socket: Socket, piece: str | _Octets, fin: bool, binary: bool | None = None) -> bool: ...
    def close_socket(self, socket: Socket, code: int | None = 1000, reason: str = "") -> None: ...
    def terminate(self, socket: Socket) -> None: ...
    def ping(self, socket: Socket, data: str | _Octets = b"") -> None: ...
    def pong(self, socket: Socket, data: str | _Octets = b"") -> None: ...
    def set_user_data(self, socket: Socket, data: Any) -> None: ...
    def get_user_data(self, socket: Socket) -> Any: ...
    def get_fd(self, socket: Socket) -> int: ...
    def respond(
        self, socket: Socket, status: int, headers: _Headers | None = None, body: str | bytes = b""
    ) -> None: ...
    def cork(self, socket: Socket) -> AbstractContextManager[None]: ...
    def broadcast(
        self,
        prepared: Prepared,
        exclude: Collection[interface.Socket],
        slow: str,
        sockets: list[Socket] | None = None,
    ) -> int: ...

class HandlerGreenlet(Greenlet[..., Any]):
    """A pooled greenlet in which handlers run. Its `repr`, and so `gevent.util.print_run_info`, shows the handler and
    the connection."""

    turn: Any

    def __init__(self, turn: Any) -> None: ...

@final
class Inbox:
    """The messages of a connection in blocking style; see `lws_gevent.inbox.Inbox`."""

    def __new__(cls, low_water: Callable[[], object]) -> Self: ...
    @property
    def size(self) -> int:
        """What waits."""

    def put(self, message: str | bytes) -> int: ...
    def end(self, code: int, reason: str) -> int: ...
    def get(self, timeout: float | None = None) -> str | bytes: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> str | bytes: ...
    def __call__(self) -> None:
        """Wakes the reader."""

def live_sockets() -> int:
    """How many `Socket` objects exist, closed ones that somebody keeps included: the garbage collector does not know
    them (rule 12), so leak tests ask here."""
