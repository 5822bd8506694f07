"""What a server and a client have in common (layer 3): events, and the verbs on the connections of an engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast, overload

import gevent

from lws_gevent.context import Context
from lws_gevent.engines.interface import Engine, Socket
from lws_gevent.prepared import Prepared
from lws_gevent.topics import check_slow

__all__ = ["Endpoint"]

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
    "cork",
)


class Endpoint:
    """Owns a context and an engine. Its methods are for greenlets of the thread whose hub the connections belong to,
    and for callbacks of that hub; `run_threadsafe` is for other threads."""

    _context: Context
    _engine: Engine
    _hub: Any

    def _bind_verbs(self) -> None:
        """The engine's own methods become those of this object, unless a subclass has its own: a Python function around
        ``send`` would cost as much as sending a small message."""
        for name in _ENGINE_VERBS:
            if getattr(type(self), name) is getattr(Endpoint, name):
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

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(
        self, socket: Socket, message: str | bytes, binary: bool | None = None, compress: bool | None = None
    ) -> bool:
        """Sends a message; True: accepted, False: dropped by the policy ``backpressure="drop"``.

        `binary` None: by type, `str` is text. Text in octets must be UTF-8. `compress`: whether it is compressed, where
        that was agreed on; None: when it has as many octets as the ``threshold`` of ``per_message_deflate``.

        While more than ``max_backpressure`` octets wait, the policy decides: ``"block"`` waits for room before the
        message is queued, so that a Timeout or a kill meanwhile means "not sent". Never blocks in the hub. Frames of
        several greenlets never interleave.

        ConnectionClosed: it has ended; LwsError: it is not open yet; BackpressureExceeded: no room, and this is the
        hub; ValueError: no UTF-8, or a fragmented message is open; TypeError: neither str nor bytes-like.
        """
        return self._engine.send(socket, message, binary, compress)

    def send_prepared(self, socket: Socket, prepared: Prepared, binary: bool | None = None) -> bool:
        """As `send`, for what `prepare_buffer` has made; nothing is copied. `binary` None: as it was prepared."""
        return self._engine.send_prepared(socket, prepared, binary)

    def send_fragment(self, socket: Socket, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool:
        """Sends one fragment of a message (RFC 6455 section 5.4), the last one with `fin`. The first one decides
        between text and binary. Until the last one, no other message can be sent to this connection (ValueError).

        Each waits for room as a message does (``backpressure="block"``). ``"drop"`` drops a message whole or not at
        all: the first fragment decides, and False is returned for each of it. Errors as `send`.
        """
        return self._engine.send_fragment(socket, piece, fin, binary)

    def prepare_buffer(self, message: str | bytes, binary: bool | None = None) -> Prepared:
        """Encodes a message once, for many `send_prepared` and `broadcast`."""
        return Prepared(message, binary, self._context.codec.encode_frame)

    def _prepared(self, message: str | bytes | Prepared, binary: bool | None) -> Prepared:
        if not isinstance(message, Prepared):
            return self.prepare_buffer(message, binary)
        if binary is not None and bool(binary) is not message.binary:
            return self.prepare_buffer(message.payload, binary)
        return message

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
        check_slow(slow)
        return self._engine.broadcast(self._prepared(message, binary), exclude, slow)

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
        """A context manager: gathers what is sent inside into as few writes as possible."""
        return self._engine.cork(socket)

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

    def run_threadsafe(self, f: Callable[..., Any], *args: Any) -> None:
        """From any thread: spawns ``f(*args)`` as a greenlet in the hub of the connections, and returns at once.

        RuntimeError when there is no hub yet: a server was never started, a client has never connected.
        """
        if self._hub is None:
            raise RuntimeError("there is no hub yet: the server was not started, the client has not connected")
        self._hub.loop.run_callback_threadsafe(gevent.spawn, f, *args)

    @property
    def _listeners(self) -> Mapping[str, Any]:
        return cast(Mapping[str, Any], self._context.emitter._listeners)
