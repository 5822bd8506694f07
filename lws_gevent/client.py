"""The WebSocket client (layer 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from gevent._hub_local import get_hub_if_exists

from lws_gevent import after_fork, codec, engines
from lws_gevent.client_options import ClientOptions, ConnectOptions, ConnectSettings, split_options
from lws_gevent.connecting import Opened, open_connection
from lws_gevent.context import ClientEvents, Context, Decision
from lws_gevent.endpoint import Endpoint
from lws_gevent.engines.interface import Engine, Socket
from lws_gevent.frames import CloseCode, Role, close_payload
from lws_gevent.handshake import Headers, Request
from lws_gevent.options import Settings
from lws_gevent.url import parse_url

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

__all__ = ["Client", "connect"]


class Client(Endpoint):
    """WebSocket connections to servers, in callback style: any number of them, without a greenlet for each.

    Its events, and its verbs on the sockets that `connect` returns, are those of a :class:`~lws_gevent.Server`. All
    options are keywords, see the reference documentation; a wrong one raises TypeError or ValueError here. Methods are
    for greenlets of one thread, whose hub the connections belong to, and for callbacks of that hub; `run_threadsafe` is
    for other threads. As a context manager it stops at the end of the block.
    """

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self.settings: Settings
        self.settings, self._connecting = split_options(options)
        self._context = Context(self.settings, codec.load(), ClientEvents())
        self._engine: Engine = engines.choose(self.settings.engine)(self._context)
        self._context.engine = self._engine
        # Connections outlive whoever has forgotten the client, and a fork concerns them then too.
        self._context.owner = self
        self._hub: Any = None
        self._bind_verbs()

    def connect(self, url: str, *, data: Any = None, **options: Unpack[ConnectOptions]) -> Socket:
        """A new open connection to `url`: ``ws://``, ``wss://`` or ``unix:/path:/target``. Blocks the calling greenlet
        until its opening handshake is done, at most ``timeout`` seconds.

        `data` is its user data, before any event. The other keywords are those options of the client that concern the
        handshake, for this connection only. Listeners of ``upgrade`` and ``connection`` are called afterwards, before
        those of any other event.

        HandshakeError: the server refuses, or its answer is no good one; TimeoutError; OSError: it cannot be reached,
        or its certificate is not good; ValueError, TypeError: what is wrong with the URL or an option.
        """
        parsed = parse_url(url)
        connecting = self._connecting.replaced(options) if options else self._connecting
        self._use_hub()
        opened = self._open(parsed, connecting)
        target = opened.url.target
        socket = self._engine.adopt(
            opened.stream.take(),
            Request("GET", target, Headers()),
            opened.rest,
            Decision(True, b"", opened.subprotocol, opened.deflate),
            role=Role.CLIENT,
            transport=opened.stream.transport,
        )
        if data is not None:
            socket.data = data
        self._engine.deliver_later(socket, "upgrade", opened.headers)
        self._engine.deliver_later(socket, "connection")
        return socket

    def _open(self, url: Any, connecting: ConnectSettings) -> Opened:
        if connecting.timeout is None:
            return open_connection(url, connecting, self.settings)
        problem = TimeoutError(f"{url} has not opened a connection within {connecting.timeout:g} s")
        with gevent.Timeout(connecting.timeout, problem):
            return open_connection(url, connecting, self.settings)

    def _use_hub(self) -> None:
        hub = gevent.get_hub()
        if self._hub is None:
            after_fork.call_in_child(self)
        elif self._hub is not hub and self._engine.connection_count:
            raise RuntimeError(
                "this client has connections in the hub of another thread: client.run_threadsafe(f, ...)"
            )
        self._hub = hub

    def close(self, socket: Socket, code: int | None = 1000, reason: str = "") -> None:
        """Closes `socket`: pending messages first, then the close frame (RFC 6455 section 7). Then the server answers
        and ends the TCP connection; that is waited for, in the background, at most ``close_timeout``. Does nothing when
        it has ended already. ValueError: a code that may not be sent, or a reason of more than 123 octets."""
        self._engine.close_socket(socket, code, reason)

    def stop(self, timeout: float | None = None, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Close frame `code` to each connection, pending messages first, and waits until all have ended, at most
        `timeout` seconds (default ``close_timeout``); then handlers that are still blocked are killed and the
        connections cut. The client can connect anew afterwards."""
        close_payload(code)
        if self._hub is None:
            return
        if self._engine.connection_count and get_hub_if_exists() is not self._hub:
            raise RuntimeError("this client belongs to the hub of another thread: client.run_threadsafe(client.stop)")
        self._engine.shutdown(code, self.settings.close_timeout if timeout is None else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def after_fork_in_child(self) -> None:
        """In a forked child: this copy of the client has no connections."""
        if self._hub is None:
            return
        abandon = getattr(self._engine, "abandon", None)
        if abandon is not None:
            sockets, watchers = abandon()
            after_fork.replace_descriptors(sockets, watchers, self._hub.loop)
        self._hub = None


def connect(url: str, **options: Unpack[ClientOptions]) -> Socket:
    """A new open connection to `url`, in blocking style: ``recv``, iteration, ``send``, ``close``.

    Blocks the calling greenlet until the opening handshake is done, at most ``timeout`` seconds. The options are those
    of :class:`~lws_gevent.Client`, the errors those of its `connect`. As a context manager the socket closes at the
    end of the block and waits for the server to end the connection, at most ``close_timeout``.

    >>> with lws_gevent.connect("ws://localhost:3000") as socket:           # doctest: +SKIP
    ...     socket.send("hello")
    ...     print(socket.recv())
    """
    return Client(**options).connect(url)
