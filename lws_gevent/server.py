"""The WebSocket server (layer 3)."""

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.server import StreamServer

from lws_gevent import after_fork, codec, engines, listening
from lws_gevent.context import Context
from lws_gevent.engines.interface import Engine, Socket
from lws_gevent.frames import CloseCode, close_payload
from lws_gevent.options import ServerOptions, Settings, from_portable
from lws_gevent.prepared import Prepared

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Server"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: Verbs that call the engine without a detour; what each of them does is told at the method of the same name.
_ENGINE_VERBS = (
    "send",
    "send_prepared",
    "send_fragment",
    "terminate",
    "ping",
    "pong",
    "set_user_data",
    "get_user_data",
    "get_fd",
    "respond",
    "cork",
)

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


class Server(StreamServer):
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
        self.settings: Settings = Settings.from_options(given)
        if listener is not None and ("port" in given or "host" in given):
            raise TypeError("give either a listener or the options 'port' and 'host', not both")
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
        self._bind_verbs()
        self._hub: Any = None
        self._engine_accepts = False
        self._stopping: Event | None = None
        self._accept_fails = False
        self._accept_delay = self.min_delay
        self._unix_inode: tuple[int, int] | None = None
        self._keep_alive = (
            self.settings.keep_alive_time,
            self.settings.keep_alive_interval,
            self.settings.keep_alive_retry,
        )
        if listener is None and self.settings.port is not None:
            listener = (self.settings.host, self.settings.port)
        super().__init__(listener, handle=None, backlog=None, spawn=spawn)
        self.backlog = self.settings.backlog

    def _bind_verbs(self) -> None:
        """The engine's own methods become those of this object, unless a subclass has its own: a Python function around
        ``send`` would cost as much as sending a small message."""
        for name in _ENGINE_VERBS:
            if getattr(type(self), name) is getattr(Server, name):
                setattr(self, name, getattr(self._engine, name))

    # --- events -----------------------------------------------------------------------------------------------------

    @overload
    def on(self, event: str, f: _F) -> _F: ...
    @overload
    def on(self, event: str, f: None = None) -> Callable[[_F], _F]: ...
    def on(self, event: str, f: Any = None) -> Any:
        """Calls `f` for every `event` from now on and returns it; without `f`, a decorator. `f` may take fewer
        arguments than the event has. ValueError for an unknown event."""
        return self._context.emitter.on(event, f)

    @overload
    def once(self, event: str, f: _F) -> _F: ...
    @overload
    def once(self, event: str, f: None = None) -> Callable[[_F], _F]: ...
    def once(self, event: str, f: Any = None) -> Any:
        """As `on`, for the next `event` only."""
        return self._context.emitter.once(event, f)

    def off(self, event: str, f: Callable[..., Any] | None = None) -> None:
        """Removes the latest registration of `f`, or all listeners of `event` without it."""
        self._context.emitter.off(event, f)

    def listeners(self, event: str) -> tuple[Callable[..., Any], ...]:
        """The functions registered for `event`, in order."""
        return self._context.emitter.listeners(event)

    # --- sending and closing ----------------------------------------------------------------------------------------

    def send(
        self, socket: Socket, message: str | bytes, binary: bool | None = None, compress: bool | None = None
    ) -> bool:
        """Sends a message; True: accepted, False: dropped by the policy ``backpressure="drop"``.

        `binary` None: by type, `str` is text. Text in octets must be UTF-8. While more than ``max_backpressure`` octets
        wait, the policy decides: ``"block"`` waits for room before the message is queued, so that a Timeout or a kill
        meanwhile means "not sent". Never blocks in the hub. Frames of several greenlets never interleave.

        ConnectionClosed: it has ended; LwsError: it is not open yet; BackpressureExceeded: no room, and this is the
        hub; ValueError: no UTF-8, or a fragmented message is open; TypeError: neither str nor bytes-like.
        """
        return self._engine.send(socket, message, binary, compress)

    def send_prepared(self, socket: Socket, prepared: Prepared, binary: bool | None = None) -> bool:
        """As `send`, for what `prepare_buffer` has made; nothing is copied. `binary` None: as it was prepared."""
        return self._engine.send_prepared(socket, prepared, binary)

    def send_fragment(self, socket: Socket, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool:
        """Sends one fragment of a message (RFC 6455 section 5.4), the last one with `fin`. The first one decides
        between text and binary. Until the last one, no other message can be sent to this connection (ValueError)."""
        return self._engine.send_fragment(socket, piece, fin, binary)

    def prepare_buffer(self, message: str | bytes, binary: bool | None = None) -> Prepared:
        """Encodes a message once, for many `send_prepared` and `broadcast`."""
        return Prepared(message, binary, self._context.codec.encode_frame)

    def broadcast(
        self,
        message: str | bytes | Prepared,
        binary: bool | None = None,
        exclude: Collection[Socket] = (),
        slow: str = "close",
    ) -> int:
        """Sends a message to every open connection but those in `exclude`; to how many it was queued. Never blocks.

        A connection with more than ``max_backpressure`` octets waiting is ended (1006), or the message is dropped for
        it when its policy is ``"drop"`` or `slow` is ``"drop"``. Connections in the middle of a fragmented message are
        left out.
        """
        if slow not in ("close", "drop"):
            raise ValueError(f"slow must be 'close' or 'drop', not {slow!r}")
        if not isinstance(message, Prepared):
            message = self.prepare_buffer(message, binary)
        elif binary is not None and bool(binary) is not message.binary:
            message = self.prepare_buffer(message.payload, binary)
        return self._engine.broadcast(message, exclude, slow)

    def close(self, socket: Socket | None = None, code: int = 1000, reason: str = "") -> None:
        """Closes `socket`: pending messages first, then the close frame (RFC 6455 section 7), then at most
        ``close_timeout`` for the peer's answer. Does nothing when it has ended already. ValueError: a code that may not
        be sent, or a reason of more than 123 octets.

        Without a socket: stops listening, as every gevent server's `close`; connections go on.
        """
        if socket is not None:
            self._engine.close_socket(socket, code, reason)
        else:
            self._close_listener()

    def terminate(self, socket: Socket) -> None:
        """Ends the TCP connection at once. Does nothing when it has ended already."""
        self._engine.terminate(socket)

    def ping(self, socket: Socket, data: str | bytes = b"") -> None:
        """Sends a ping of at most 125 octets (RFC 6455 section 5.5.2). Never dropped, never blocks."""
        self._engine.ping(socket, data)

    def pong(self, socket: Socket, data: str | bytes = b"") -> None:
        """Sends an unsolicited pong of at most 125 octets. Pings are answered without it, see ``auto_pong``."""
        self._engine.pong(socket, data)

    def cork(self, socket: Socket) -> AbstractContextManager[None]:
        """``with server.cork(socket):`` gathers what is sent inside into as few writes as possible."""
        return self._engine.cork(socket)

    def respond(
        self, socket: Socket, status: int, headers: Mapping[str, str] | None = None, body: str | bytes = b""
    ) -> None:
        """Answers the plain HTTP request of an ``http`` event, there or later; the connection closes after it.

        ConnectionClosed: it was answered already, or has ended; ValueError: CR or LF in a header.
        """
        self._engine.respond(socket, status, headers, body)

    # --- sockets ----------------------------------------------------------------------------------------------------

    def set_user_data(self, socket: Socket, data: Any) -> None:
        """Keeps any object with the connection, until its ``close`` handlers have returned; ConnectionClosed from then
        on."""
        self._engine.set_user_data(socket, data)

    def get_user_data(self, socket: Socket) -> Any:
        """What `set_user_data` has kept; None without."""
        return self._engine.get_user_data(socket)

    def get_fd(self, socket: Socket) -> int:
        """The file descriptor; -1 after the close."""
        return self._engine.get_fd(socket)

    @property
    def connections(self) -> list[Socket]:
        """The connections that are open or closing, a snapshot."""
        return self._engine.connections()

    def stats(self) -> dict[str, int]:
        """How much there was since the construction: TCP connections ``accepted``, requests ``refused`` (or answered as
        HTTP), WebSocket connections ``opened`` and ``closed``, ``messages_received``, ``messages_sent``, ``dropped``,
        ``octets_received``, ``octets_sent``; and how many ``connections`` are open now."""
        return {**self._engine.stats(), "connections": self._engine.open_count}

    @property
    def engine_name(self) -> str:
        """``"parked"`` or ``"greenlet"``: the engine in use."""
        return self._engine.name

    @property
    def port(self) -> int | None:
        """The port on which the server listens, the real one when 0 was asked for; None without one."""
        address = self.address
        return address[1] if isinstance(address, tuple) else None

    def run_threadsafe(self, f: Callable[..., Any], *args: Any) -> None:
        """From any thread: spawns ``f(*args)`` as a greenlet in the hub of this server, and returns at once.

        RuntimeError when the server was never started.
        """
        if self._hub is None:
            raise RuntimeError("the server was not started yet, so it has no hub")
        self._hub.loop.run_callback_threadsafe(gevent.spawn, f, *args)

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
        """For gevent: makes the listening socket. OSError, which names the address, when it cannot be had."""
        fresh = not hasattr(self, "socket")
        if fresh and self.address is not None:
            address = self.address if isinstance(self.address, str) else self.address[:2]
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
        self._hub = gevent.get_hub()
        self.loop = self._hub.loop
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
            gevent.spawn(self._context.report_error, error)

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

    def __enter__(self) -> Server:
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
                self._engine.shutdown(code, self.settings.close_timeout if timeout is None else timeout)
        finally:
            self._stopping.set()
            self._stopping = None

    def after_fork_in_child(self) -> None:
        """In a forked child: this copy of the server is stopped, and has no connections. It may be started there
        anew."""
        if self._hub is None:
            return
        abandon = getattr(self._engine, "abandon", None)
        sockets, watchers = ([], []) if abandon is None else abandon()
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

    @property
    def _listeners(self) -> Mapping[str, Any]:
        return cast(Mapping[str, Any], self._context.emitter._listeners)
