"""The greenlet engine (layer 2): a greenlet per connection, on everything that gevent runs on."""

from __future__ import annotations

import contextlib
import socket as socket_module
import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gevent
from gevent import getcurrent
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event

from lws_gevent.adopting import take_socket
from lws_gevent.context import ANSWERED, Context, Decision
from lws_gevent.engines.deadlines import Deadlines
from lws_gevent.engines.greenlet_socket import GreenletSocket
from lws_gevent.engines.interface import Socket
from lws_gevent.engines.lingering import Lingering
from lws_gevent.frames import Role
from lws_gevent.prepared import Prepared
from lws_gevent.wording import WRONG_THREAD

if TYPE_CHECKING:
    from lws_gevent.handshake import Request
    from lws_gevent.server import Server

__all__ = ["GreenletEngine"]

#: How long `shutdown` waits for handlers that it has killed: one may be blocked by something that no kill can end.
_KILL_SECONDS = 1.0


class GreenletEngine:
    """See `lws_gevent.engines.interface.Engine`. One per server; its connections belong to one hub."""

    name = "greenlet"

    def __init__(self, context: Context) -> None:
        self.context = context
        self.hub: Any = None
        self.deadlines: Deadlines
        self.open_count = 0
        self._connections: dict[GreenletSocket, None] = {}
        self._lingering: set[Lingering] = set()
        self._held: set[GreenletSocket] = set()
        self._stopping = False
        self._changed: Event | None = None  # set whenever a connection ends, while somebody waits for that
        self.accepted = self.opened_count = self.refused = self.closed_count = self.dropped = 0
        self.messages_received = self.messages_sent = self.octets_received = self.octets_sent = 0
        context.on_change.append(self._listeners_changed)

    # --- accepting --------------------------------------------------------------------------------------------------

    def start_accepting(self, server: Server) -> bool:
        """The hub of this thread from now on; the server's own accept loop calls `handle`."""
        self._use_hub(gevent.get_hub())
        self._stopping = False
        return False

    def stop_accepting(self, server: Server) -> None:
        """Nothing to do: the server's loop has stopped."""

    def _use_hub(self, hub: Any) -> None:
        if self.hub is not hub:
            if self._connections:
                raise RuntimeError("this server has connections in the hub of another thread")
            self.hub = hub
            self.deadlines = Deadlines(hub.loop)

    def handle(self, sock: Any, address: Any) -> None:
        """Runs the connection in the calling greenlet until it has ended."""
        if self.hub is None:
            self._use_hub(gevent.get_hub())
        self.accepted += 1
        if self._stopping:
            sock.close()
            return
        kept: bytes | None = None
        while True:
            connection = GreenletSocket(self, sock, address, sock if hasattr(sock, "ssl_object") else None, kept)
            self._connections[connection] = None
            connection.run()
            handed = connection.handed
            if handed is None or self.context.wsgi is None:
                return
            sock, kept = self.context.wsgi.serve(handed)
            if sock is None:
                return
            if kept is None or self._stopping:
                self.end_socket(sock, linger=True)
                return
            address = handed.peer

    def adopt(
        self,
        sock: Any,
        request: Request,
        head: bytes = b"",
        decision: Decision = ANSWERED,
        *,
        role: Role = Role.SERVER,
        address: Any = None,
        transport: Any = None,
    ) -> GreenletSocket:
        """See `Engine.adopt`."""
        if self.hub is None:
            self._use_hub(gevent.get_hub())
        self._check_thread()
        taken = take_socket(sock, self.context.settings) if transport is None else transport
        try:
            if address is None:
                with contextlib.suppress(OSError):  # it has gone already: reading will tell
                    address = taken.getpeername()
            connection = GreenletSocket(self, taken, address, transport)
        except BaseException:
            taken.close()
            raise
        self.accepted += 1
        self._connections[connection] = None
        connection.adopt(request, head, role, decision)
        return connection

    def deliver_later(self, socket: GreenletSocket, event: str, *args: Any) -> None:
        """See `Engine.deliver_later`."""
        socket.deliver_later(event, *args)

    def wait_until_ended(self, socket: Any, timeout: float) -> bool:
        """See `Engine.wait_until_ended`."""
        self._check_thread()
        due = time.monotonic() + timeout
        while socket in self._connections and socket.greenlet is not getcurrent():
            left = due - time.monotonic()
            if left <= 0:
                return False
            self._wait_for_change(left)
        return True

    def take_back(self, sock: Any, address: Any, octets: bytes | None) -> None:
        """Never called: `handle` has the request answered in its own greenlet."""
        raise NotImplementedError("connections are not handed over by this engine")

    # --- what connections report ------------------------------------------------------------------------------------

    def opened(self, connection: GreenletSocket) -> None:
        """The handshake has succeeded."""
        self.open_count += 1
        self.opened_count += 1

    def ended(self, connection: GreenletSocket, opened: bool) -> None:
        """The connection and its last handler have ended."""
        self._connections.pop(connection, None)
        if opened:
            self.open_count -= 1
            self.closed_count += 1
        self._notify()

    def hold(self, connection: GreenletSocket) -> None:
        """A message waits for somebody who wants it."""
        self._held.add(connection)

    def release(self, connection: GreenletSocket) -> None:
        """It waits no more."""
        self._held.discard(connection)

    def end_socket(self, sock: Any, linger: bool) -> None:
        """Closes a connection's socket: first the sending half, in case a forked child still holds the descriptor."""
        with contextlib.suppress(OSError):
            sock.shutdown(socket_module.SHUT_WR)
            if linger and self.hub is not None:
                self._lingering.add(Lingering(sock, self.hub.loop, self.deadlines, self._lingered))
                self._notify()
                return
            # What lies unread would turn the close into a reset, which takes from the peer what it has not read yet.
            sock.recv(64 * 1024)
        sock.close()
        self._notify()

    def _lingered(self, lingering: Lingering) -> None:
        self._lingering.discard(lingering)
        self._notify()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _wait_for_change(self, timeout: float) -> None:
        """Until any connection has ended, or for `timeout` seconds."""
        if self._changed is None:
            self._changed = Event()
        self._changed.wait(timeout)

    def _listeners_changed(self, event: str) -> None:
        if event == "message":
            for connection in self._held:
                connection._wake()

    # --- stopping ---------------------------------------------------------------------------------------------------

    def go_away(self, socket: GreenletSocket, code: int) -> None:
        """See `Engine.go_away`."""
        socket.go_away(code)

    def shutdown(self, code: int, timeout: float) -> None:
        """See `Engine.shutdown`. When a handler calls it, that handler is the one that is not waited for."""
        self._stopping = True
        for connection in list(self._connections):
            connection.go_away(code)
        self._wait_until_ended(timeout)
        me = getcurrent()
        for connection in list(self._connections):
            connection.cut()
            greenlet = connection.greenlet
            if greenlet is not None and greenlet is not me:
                gevent.kill(greenlet)
        for lingering in list(self._lingering):
            lingering.end()
        self._wait_until_ended(_KILL_SECONDS)

    def _wait_until_ended(self, timeout: float) -> None:
        due = time.monotonic() + timeout
        while self._is_busy():
            left = due - time.monotonic()
            if left <= 0:
                return
            self._wait_for_change(left)

    def _is_busy(self) -> bool:
        me = getcurrent()
        return bool(self._lingering) or any(
            connection.greenlet is not me or not connection.transport_ended for connection in self._connections
        )

    def abandon(self) -> tuple[list[Any], list[Any]]:
        """After a fork, in the child: forgets all connections and gives up their sockets and watchers."""
        holders: list[Any] = [*self._connections, *self._lingering]
        sockets: list[Any] = []
        watchers: list[Any] = []
        for sock, its_watchers in [holder.abandon() for holder in holders]:
            watchers += its_watchers
            if sock is not None:
                sockets.append(sock)
        self._connections = {}
        self._lingering = set()
        self._held = set()
        self.open_count = 0
        self.deadlines.clear()
        return sockets, watchers

    # --- what the server asks ---------------------------------------------------------------------------------------

    @property
    def connection_count(self) -> int:
        """All connections, those in their handshake included."""
        return len(self._connections)

    def connections(self) -> list[Socket]:
        """Those that are open or closing, a snapshot."""
        return [connection for connection in self._connections if connection.opened and not connection.closed]

    def stats(self) -> dict[str, int]:
        """See `Server.stats`."""
        return {
            "accepted": self.accepted,
            "refused": self.refused,
            "opened": self.opened_count,
            "closed": self.closed_count,
            "messages_received": self.messages_received,
            "messages_sent": self.messages_sent,
            "octets_received": self.octets_received,
            "octets_sent": self.octets_sent,
            "dropped": self.dropped,
        }

    def _check_thread(self) -> None:
        if self.hub is not None and get_hub_if_exists() is not self.hub:
            raise RuntimeError(WRONG_THREAD)

    # --- verbs ------------------------------------------------------------------------------------------------------

    def send(
        self, socket: GreenletSocket, message: str | bytes, binary: bool | None = None, compress: bool | None = None
    ) -> bool:
        return socket.send(message, binary, compress)

    def send_prepared(self, socket: GreenletSocket, prepared: Prepared, binary: bool | None = None) -> bool:
        return socket.send_prepared(prepared, binary)

    def send_fragment(self, socket: GreenletSocket, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool:
        return socket.send_fragment(piece, fin, binary)

    def close_socket(self, socket: GreenletSocket, code: int | None = 1000, reason: str = "") -> None:
        socket.close(code, reason)

    def terminate(self, socket: GreenletSocket) -> None:
        socket.terminate()

    def ping(self, socket: GreenletSocket, data: str | bytes = b"") -> None:
        socket.ping(data)

    def pong(self, socket: GreenletSocket, data: str | bytes = b"") -> None:
        socket.pong(data)

    def set_user_data(self, socket: GreenletSocket, data: Any) -> None:
        socket.data = data

    def get_user_data(self, socket: GreenletSocket) -> Any:
        return socket.data

    def get_fd(self, socket: GreenletSocket) -> int:
        return socket.fd

    def respond(
        self, socket: GreenletSocket, status: int, headers: Mapping[str, str] | None = None, body: str | bytes = b""
    ) -> None:
        socket.respond(status, headers, body)

    @contextlib.contextmanager
    def cork(self, socket: GreenletSocket) -> Iterator[None]:
        socket.cork()
        try:
            yield
        finally:
            socket.uncork()

    def broadcast(
        self,
        prepared: Prepared,
        exclude: Collection[Socket],
        slow: str,
        sockets: list[GreenletSocket] | None = None,
    ) -> int:
        self._check_thread()
        excluded = set(exclude)
        queued = 0
        for connection in list(self._connections) if sockets is None else sockets:
            if connection not in excluded:
                queued += connection.broadcast(prepared, slow)
        return queued
