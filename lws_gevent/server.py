"""The WebSocket server (layer 3)."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.server import StreamServer

from lws_gevent import after_fork, codec, engines, listening
from lws_gevent.adopting import is_tls, take_tls_socket
from lws_gevent.context import Context, Decision
from lws_gevent.endpoint import Endpoint
from lws_gevent.engines.interface import Engine, Socket
from lws_gevent.errors import HandshakeError
from lws_gevent.extensions import DeflateParameters
from lws_gevent.foreign_request import read_foreign
from lws_gevent.frames import CloseCode, close_payload
from lws_gevent.handshake import Request, handshake_error
from lws_gevent.options import ServerOptions, Settings, from_portable
from lws_gevent.prepared import Prepared
from lws_gevent.taken_requests import TakenRequests
from lws_gevent.topics import Topics
from lws_gevent.wsgi_service import WsgiService
from lws_gevent.wsgi_socket import WsgiSocket, tell_of_upgrade

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ACCEPTED", "Server", "accepting_servers"]

#: The key of a WSGI environ whose connection was accepted.
ACCEPTED = "lws_gevent.accepted"

#: Those that have accepted connections of a WSGI server, which does not know that they have to be stopped.
accepting_servers: weakref.WeakSet[Server] = weakref.WeakSet()

#: Errors of accept() that concern one connection, which is gone, and not the listener.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EPROTO",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "ENETUNREACH",
    )
    if hasattr(errno, name)
)


class Server(Endpoint, StreamServer):
    """A WebSocket server on gevent, and a gevent StreamServer: ``start``, ``stop``, ``serve_forever``.

    `listener` is an address as gevent's servers take it (``(host, port)``, a port, ``"host:port"``), ``"unix:/path"``,
    a listening socket, or a mapping with the camelCase option names of node-lws. All other options are keywords, see
    the reference documentation; a wrong one raises TypeError or ValueError here. `spawn` is gevent's: how the
    greenlets of connections are made, on the greenlet engine only.

    Methods are for greenlets of the thread in which the server was started, and for callbacks of its hub;
    `run_threadsafe` is for other threads.
    """

    # gevent's own; its type stubs do not know that there may be none of them.
    socket: Any
    address: Any
    family: Any
    loop: Any
    _spawn: Any
    _timer: Any
    _watcher: Any

    def __init__(
        self,
        listener: Any = None,
        *,
        spawn: Any = "default",
        **options: Unpack[ServerOptions],
    ) -> None:
        given: dict[str, Any] = dict(options)
        if isinstance(listener, Mapping):
            for name, value in from_portable(listener).items():
                if name in given:
                    raise TypeError(f"option {name!r} is given twice")
                given[name] = value
            listener = None
        if listener is not None and ("port" in given or "host" in given):
            raise TypeError("give either a listener or the options 'port' and 'host', not both")
        self.settings: Settings = Settings.from_options(given)
        if hasattr(listener, "accept") and "backlog" in given:
            raise TypeError("option 'backlog' is of no use with a socket that is listening already")
        engine_class = engines.choose(self.settings.engine)
        if spawn is None:
            raise TypeError("spawn=None would run handlers in the hub, where nothing may block")
        if spawn != "default" and engine_class.name != "greenlet":
            raise TypeError("'spawn' needs engine='greenlet': the parked engine keeps greenlets of its own")
        self._context = Context(self.settings, codec.load())
        self._engine: Engine = engine_class(self._context)
        self._context.engine = self._engine
        self._topics = self._context.topics = Topics(self._engine, self._prepared)
        if self.settings.wsgi is not None:
            self._context.wsgi = WsgiService(self._context, self.settings.wsgi, lambda: self.address)
            self._context.emitter.has_wsgi = True
        self._bind_verbs()
        self._hub: Any = None
        self._engine_accepts = False
        self._stopping: Event | None = None
        self._accept_fails = False
        self._accept_delay = self.min_delay
        self._unix_inode: tuple[int, int] | None = None
        self._is_worker = False
        self._reserved = False  # our socket does not listen: it keeps the address for those of workers
        self._keep_alive = (
            self.settings.keep_alive_time,
            self.settings.keep_alive_interval,
            self.settings.keep_alive_retry,
        )
        if listener is None and self.settings.port is not None:
            listener = (self.settings.host, self.settings.port)
        if listener is None and self.settings.workers > 1:
            raise ValueError("option 'workers' needs a listener: processes can share nothing else")
        super().__init__(listener, handle=None, backlog=None, spawn=spawn)
        self.backlog = self.settings.backlog

    # --- closing and answering --------------------------------------------------------------------------------------

    def close(self, socket: Socket | None = None, code: int | None = 1000, reason: str = "") -> None:
        """Closes `socket`: pending messages first, then the close frame (RFC 6455 section 7), then at most
        ``close_timeout`` for the peer's answer. Does nothing when it has ended already. `code` None: a close frame
        without one, which the peer sees as 1005. ValueError: a code that may not be sent, or a reason of more than 123
        octets.

        Without a socket: stops listening, as every gevent server's `close`; connections go on.
        """
        if socket is not None:
            self._engine.close_socket(socket, code, reason)
        else:
            self._close_listener()

    def respond(
        self, socket: Socket, status: int, headers: Mapping[str, str] | None = None, body: str | bytes = b""
    ) -> None:
        """Answers the plain HTTP request of an ``http`` event, there or later; the connection closes after it.

        ConnectionClosed: it was answered already, or has ended; ValueError: CR or LF in a header.
        """
        self._engine.respond(socket, status, headers, body)

    # --- connections that somebody else has accepted ----------------------------------------------------------------

    def handle_upgrade(self, socket: Any, request: Any, head: bytes = b"") -> Socket | None:
        """Takes over a connected socket whose HTTP request somebody else has read, answers its opening handshake, and
        returns the open connection; None when the handshake is refused: nothing was touched then, and the caller still
        owns the socket and has to answer. The server needs no listener for this, and need not be started.

        `socket`: one of gevent or of the standard library, which is detached, so that its owner may close or forget it;
        or a descriptor, of which a duplicate is used, so that the caller still has to close his own; or a TLS socket
        whose handshake is done (of the standard library's, the caller leaves his hands). `request`: the raw
        head, a WSGI environ, a `Request` or a mapping of the headers (then the path is not known: it is ``""``, and the
        option ``path`` is not looked at). `head`: what was received behind the request. All checks and options of a
        handshake apply, but neither ``upgrade`` nor ``connection`` is emitted.

        TypeError for another kind of socket or request; OSError when the descriptor is none of an open socket.
        """
        decision, parsed, rest = self._judge_foreign(request)
        if not decision.accept:
            return None
        if isinstance(socket, int):
            socket = os.dup(socket)
        return self._adopt(socket, decision, parsed, rest + bytes(head))

    def accept(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any] | None = None,
        *,
        subprotocol: str | None = None,
    ) -> Socket:
        """As `handle_upgrade`, for a request that a WSGI server has read: gevent.pywsgi, or one of gunicorn's gevent
        workers. The application returns ``[]`` then, the greenlet of the request ends, and the connection lives on.

        `subprotocol` is one that the client offers (else ValueError); None: the option ``subprotocols`` decides. With
        `start_response`, the WSGI server learns of the status 101, for its log; gunicorn insists on being told.
        HandshakeError, with the status, headers and body of the answer that would be ours, when the handshake is
        refused: the request is still the application's to answer. RuntimeError when the environ leads to no socket.
        """
        decision, parsed, rest = self._judge_foreign(environ, subprotocol)
        if decision.error is not None:
            raise decision.error
        carrier = WsgiSocket(environ)
        octets = rest + carrier.octets
        socket = self._adopt(carrier.take(), decision, parsed, octets)
        carrier.free()
        environ[ACCEPTED] = True
        accepting_servers.add(self)
        if start_response is not None:
            tell_of_upgrade(start_response)
        return socket

    def adopt(
        self,
        socket: Any,
        request: Request,
        head: bytes = b"",
        *,
        answer: bytes = b"",
        subprotocol: str | None = None,
        deflate: DeflateParameters | None = None,
    ) -> Socket:
        """Takes over a connected socket as `handle_upgrade` does, but judges nothing: whoever calls it has found the
        handshake good. `answer` is the 101, complete; b"" when it was sent already. `subprotocol` is what it names,
        `deflate` what it says of compression, on a server with ``per_message_deflate``.

        OSError and TypeError as there; ValueError: `deflate` on a server without compression; RuntimeError while the
        server is stopping.
        """
        self._use_hub()
        if self._stopping is not None:
            raise RuntimeError("the server is stopping")
        if deflate is not None and not self.settings.per_message_deflate:
            raise ValueError("this server does not compress: it needs the option 'per_message_deflate'")
        return self._adopt(socket, Decision(True, answer, subprotocol, deflate=deflate), request, head)

    def take_requests(self, takes: Callable[[Request], object], serve: Callable[[Any, Request, bytes], object]) -> None:
        """Gives requests away, with their connections: those for which ``takes(request)`` is true, plain ones and
        upgrades, good or bad, before any listener hears of them.

        ``serve(sock, request, octets)`` runs in a greenlet of its own; `sock`, a socket of gevent, is its own from then
        on, `octets` are all that was received from the beginning of the request. ``takes`` is called in greenlets, and
        must not block. TypeError on a server with ``ssl``.
        """
        if self.settings.ssl is not None:
            raise TypeError("requests cannot be taken from a server with the option 'ssl'")
        taken = self._context.wsgi
        if not isinstance(taken, TakenRequests):
            taken = self._context.wsgi = TakenRequests(self._context, self.settings.wsgi, lambda: self.address)
        taken.add(takes, serve)
        for changed in self._context.on_change:
            changed("upgrade")

    def _judge_foreign(self, request: Any, subprotocol: str | None = None) -> tuple[Decision, Request, bytes]:
        self._use_hub()
        try:
            parsed, rest = read_foreign(request, self._context.codec.parse_request, self.settings.max_header_size)
            if self._stopping is not None:
                raise handshake_error(503, "the server is stopping")
        except HandshakeError as error:
            return Decision(False, b"", error=error), Request("GET", "", b""), b""
        return self._context.negotiate(parsed, subprotocol=subprotocol), parsed, rest

    def _adopt(self, socket: Any, decision: Decision, request: Request, octets: bytes) -> Socket:
        transport = None
        if not isinstance(socket, int) and is_tls(socket):
            socket = take_tls_socket(socket)
        if hasattr(socket, "ssl_object"):
            socket, transport = None, socket
            with contextlib.suppress(OSError):  # what was opened already, and does not make the socket readable
                octets += transport.recv(64 * 1024)
        return self._engine.adopt(socket, request, octets, decision, transport=transport)

    def _use_hub(self) -> None:
        """The hub of the calling thread is the server's, if it has none yet. RuntimeError when it has another."""
        hub = gevent.get_hub()
        if self._hub is None:
            self._hub = hub
            self.loop = hub.loop
            after_fork.call_in_child(self)
        elif self._hub is not hub:
            raise RuntimeError("this server belongs to the hub of another thread: see server.run_threadsafe")

    # --- topics -----------------------------------------------------------------------------------------------------

    def broadcast(
        self,
        message: str | bytes | Prepared,
        binary: bool | None = None,
        exclude: Collection[Socket] = (),
        slow: str = "close",
    ) -> int:
        if self._topics.on_publish is not None:
            self._topics.on_publish()
        return super().broadcast(message, binary, exclude, slow)

    def subscribe(self, socket: Socket, topic: str) -> bool:
        """Subscribes an open connection to the topic of exactly this name; whether it was not subscribed before.

        What is published from now on reaches it, until `unsubscribe` or its end: its subscriptions are dropped when
        its ``close`` handlers have returned. ConnectionClosed: it has ended; LwsError: it is not open yet.
        """
        return socket.subscribe(topic)

    def unsubscribe(self, socket: Socket, topic: str) -> bool:
        """Undoes `subscribe`; whether the connection was subscribed. A connection that has ended is subscribed to
        nothing, so that is no error."""
        return socket.unsubscribe(topic)

    def publish(
        self,
        topic: str,
        message: str | bytes | Prepared,
        binary: bool | None = None,
        exclude: Collection[Socket] = (),
        slow: str = "close",
    ) -> int:
        """Sends a message to every connection that is subscribed to `topic`, but those in `exclude`; to how many it was
        queued. Never blocks, see `broadcast`; order is kept with all else that is sent to a connection.

        Those receive it that are subscribed when this is called. TypeError: a topic that is no str. With several
        ``workers`` it reaches the connections of this process only.
        """
        return self._topics.publish(topic, message, binary, exclude, slow)

    def topics(self, socket: Socket) -> list[str]:
        """What the connection is subscribed to, in the order of subscribing; as it was at the end, in ``close``
        handlers; nothing after them."""
        return self._topics.of(socket)

    def subscribers(self, topic: str) -> list[Socket]:
        """The connections that are subscribed to `topic`, a snapshot in the order of subscribing."""
        return self._topics.subscribers(topic)

    @property
    def port(self) -> int | None:
        """The port on which the server listens, the real one when 0 was asked for; None without one."""
        address = self.address
        return address[1] if isinstance(address, tuple) else None

    # --- gevent's server: listening ---------------------------------------------------------------------------------

    def set_listener(self, listener: Any) -> None:
        """For gevent: keeps the address or the listening socket."""
        if listener is None:
            self.family, self.address = None, None
        elif hasattr(listener, "accept"):
            super().set_listener(listener)
        else:
            address = listening.parse_listener(listener)
            self.address = address
            self.family = getattr(_socket, "AF_UNIX", None) if isinstance(address, str) else None

    def init_socket(self) -> None:
        """Makes the listening socket, which `start` and `serve_forever` do if nobody has: then `port` is known.

        With ``workers`` it takes the address without listening yet. OSError, which names the address, when it cannot
        be had.
        """
        fresh = not hasattr(self, "socket")
        if fresh and self.address is not None:
            address = self.address if isinstance(self.address, str) else self.address[:2]
            if self.settings.workers > 1 and listening.PORTS_CAN_BE_SHARED and not isinstance(address, str):
                self.socket = listening.reserve_address(address)
                self._reserved = True
            else:
                self.socket = listening.open_listener(address, self.backlog)
            self.family = self.socket.family
            if isinstance(self.address, str):
                status = os.lstat(self.address)
                self._unix_inode = (status.st_dev, status.st_ino)
            else:
                self.address = self.socket.getsockname()
        self.ssl_args = None
        self._handle = self.handle
        if not fresh:
            # What users of gevent's servers pass, a gevent socket, is unwrapped as gevent does it.
            self.socket = getattr(self.socket, "_sock", self.socket)
            self.socket.setblocking(False)

    def start(self) -> None:
        """Binds and listens, in the hub of the calling thread. OSError, which names the address, when that fails."""
        if self.started:
            return
        if self.settings.workers > 1 and not self._is_worker:
            raise RuntimeError(
                "option 'workers' needs serve_forever(): start() would fork a running program with all its greenlets"
            )
        self._hub = gevent.get_hub()
        self.loop = self._hub.loop
        if self._context.wsgi is not None:
            self._context.wsgi.stopping = False
        # gevent's Event belongs to the hub that has used it first.
        self._stop_event = Event()
        self._stop_event.set()
        super().start()
        after_fork.call_in_child(self)

    def start_accepting(self) -> None:
        """For gevent: begins to accept."""
        if not self._engine_accepts:
            self._engine_accepts = self._engine.start_accepting(self)
        if not self._engine_accepts and hasattr(self, "socket"):
            super().start_accepting()

    def stop_accepting(self) -> None:
        """For gevent: ceases to accept, for a while or for ever."""
        super().stop_accepting()
        if self._engine_accepts:
            self._engine_accepts = False
            self._engine.stop_accepting(self)

    def do_read(self) -> tuple[Any, Any] | None:  # type: ignore[override]
        """For gevent, in the hub: accepts one connection."""
        try:
            descriptor, address = self.socket._accept()
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if error.errno in _PASSING:
                return None
            if self.is_fatal_error(error):
                raise
            self._pause_accepting(error)
            return None
        self._accept_fails = False
        self._accept_delay = self.min_delay
        sock = _socket.socket(self.socket.family, self.socket.type, self.socket.proto, fileno=descriptor)
        sock.setblocking(False)
        listening.tune(sock, self._keep_alive)
        return sock, address

    def _pause_accepting(self, error: OSError) -> None:
        """No descriptors left, most likely. The waiting connections stay in the backlog; those that end make room."""
        self.stop_accepting()
        self._timer = self.loop.timer(self._accept_delay)
        self._timer.start(self._start_accepting_if_started)
        self._accept_delay = min(self.max_delay, self._accept_delay * 2)
        if not self._accept_fails:
            self._accept_fails = True
            gevent.spawn(self._context.report_error, error, None, True)

    def _start_accepting_if_started(self, _event: Any = None) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self.started:
            self.start_accepting()

    def handle(self, sock: Any, address: Any) -> None:  # pylint: disable=method-hidden
        """For gevent: runs an accepted connection to its end."""
        self._engine.handle(sock, address)

    def do_close(self, sock: Any, *args: Any) -> None:
        """For gevent, when the handler has returned: the engine has closed the socket, or lingers for its peer's
        sake."""

    def do_handle(self, *args: Any) -> None:
        """For gevent: has a greenlet run the connection."""
        try:
            self._spawn(self._handle, *args)
        except BaseException:
            args[0].close()
            raise

    # --- starting and stopping --------------------------------------------------------------------------------------

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Starts the server unless it is started, and returns when it has been stopped; `stop_timeout` is for `stop`.

        With ``workers``, for the main greenlet of the main thread only: this process forks so many others, which
        serve, restarts those that die, and returns when all have stopped: after SIGTERM or SIGINT, or after `stop` in
        one of them. A second signal ends everything at once.
        """
        if self.settings.workers > 1 and not self._is_worker:
            from lws_gevent.workers import Supervisor

            Supervisor(self, stop_timeout).run()
        else:
            super().serve_forever(stop_timeout)

    def become_worker(self, on_partial: Callable[[], None]) -> None:
        """For `workers`, in a process that was forked to serve: it accepts on a socket of its own, if that can be, and
        calls `on_partial` when a message goes to all connections, of which others may have some."""
        self._is_worker = True
        self._unix_inode = None  # the file is the parent's
        if self._reserved:
            reserved = self.socket
            self.socket = listening.share_address(reserved, self.backlog)
            reserved.close()
        self._topics.on_publish = on_partial

    def __enter__(self) -> Server:
        """``with server:`` starts the server unless it is started, and stops it at the end of the block."""
        if not self.started:
            self.start()
        return self

    def _close_listener(self) -> None:
        path = self.address if isinstance(getattr(self, "address", None), str) else None
        super().close()
        inode, self._unix_inode = getattr(self, "_unix_inode", None), None
        if path is not None and inode is not None:
            listening.remove_unix_path(path, inode)

    def stop(self, timeout: float | None = None, code: int = CloseCode.GOING_AWAY) -> None:
        """Stops: no new connections, close frame `code` to each, pending messages first, and waits until all have
        ended, at most `timeout` seconds (default ``close_timeout``); then handlers that are still blocked are killed
        and the connections cut. Returns when all is over; several greenlets may call it."""
        close_payload(code)
        if self._hub is not None and self._engine.connection_count and get_hub_if_exists() is not self._hub:
            raise RuntimeError("this server belongs to the hub of another thread: server.run_threadsafe(server.stop)")
        self._close_listener()
        if self._stopping is not None:
            self._stopping.wait()
            return
        self._stopping = Event()
        try:
            if self._hub is not None:
                self._end_connections(code, self.settings.close_timeout if timeout is None else timeout)
        finally:
            self._stopping.set()
            self._stopping = None

    def _end_connections(self, code: int, timeout: float) -> None:
        due = time.monotonic() + timeout
        wsgi = self._context.wsgi
        if wsgi is not None:
            wsgi.stopping = True
        self._engine.shutdown(code, timeout)
        if wsgi is not None:
            wsgi.shutdown(due - time.monotonic())
            self._engine.shutdown(code, 0)  # what has come back from it

    def after_fork_in_child(self) -> None:
        """In a forked child: this copy of the server is stopped, and has no connections. It may be started there
        anew."""
        if self._hub is None:
            return
        self._topics.clear()
        abandon = getattr(self._engine, "abandon", None)
        sockets, watchers = ([], []) if abandon is None else abandon()
        if self._context.wsgi is not None:
            sockets += self._context.wsgi.abandon()
        listener = self.__dict__.pop("socket", None)
        if listener is not None:
            sockets.append(listener)
        watchers += [watcher for watcher in (self._watcher, self._timer) if watcher is not None]
        self._watcher = self._timer = None
        self._engine_accepts = False
        self._stop_event = Event()
        self._stop_event.set()
        self._unix_inode = None  # the file is the parent's

        after_fork.replace_descriptors(sockets, watchers, self.loop)
