"""What all parts of a connection of the greenlet engine share: its state (layer 2).

The parts build on each other, each in a module of its own: `ConnectionBase` (what there is), `SendingConnection`,
`ReceivingConnection`, `EndingConnection` and `GreenletSocket` (its life). None of them runs user code but the last.
"""

from __future__ import annotations

import abc
from collections import deque
from typing import TYPE_CHECKING, Any

from gevent import getcurrent
from gevent._hub_local import get_hub_if_exists

from lws_gevent.access_log import Visit
from lws_gevent.context import Context
from lws_gevent.engines.interface import Socket, peer_name
from lws_gevent.engines.output_queue import OutputQueue
from lws_gevent.errors import ConnectionClosed, LwsError, ProtocolError
from lws_gevent.frames import CloseCode, ReadyState, Role
from lws_gevent.inbox import Inbox
from lws_gevent.waiting_senders import WaitingSenders
from lws_gevent.wording import NOT_OPEN_YET, WRONG_THREAD

if TYPE_CHECKING:
    from lws_gevent.deflate import Deflate
    from lws_gevent.engines.greenlet import GreenletEngine
    from lws_gevent.wsgi_service import Handed

__all__ = ["AHEAD_EVENTS", "CLOSED", "CLOSING", "CONNECTING", "OPEN", "ConnectionBase"]

#: The states as plain ints, which are compared at every turn.
CONNECTING, OPEN, CLOSING, CLOSED = map(int, ReadyState)

#: So many events wait at most for a handler that is busy (design rule 1).
AHEAD_EVENTS = 1024


class ConnectionBase(Socket):
    """The state of one connection. It owns its operating system socket until the connection ends."""

    __slots__ = (
        "_ahead",
        "_begun",
        "_cause",
        "_claimer",
        "_closing_since",
        "_corks",
        "_data",
        "_deaf",
        "_decoded",
        "_deflate",
        "_engine",
        "_eof",
        "_events",
        "_failed",
        "_fragment_binary",
        "_fragment_check",
        "_fragment_dropped",
        "_greenlet",
        "_hub",
        "_hub_turn",
        "_idle",
        "_inbox",
        "_kept",
        "_loop",
        "_opened_at",
        "_out",
        "_output_dead",
        "_over",
        "_own",
        "_parked",
        "_paused",
        "_pinged_at",
        "_progress_at",
        "_protocol",
        "_provisional",
        "_reader",
        "_reading",
        "_received_at",
        "_request_due",
        "_request_method",
        "_role",
        "_senders",
        "_sock",
        "_state",
        "_tls",
        "_visit",
        "_writer",
        "_writing",
        "context",
        "deadline_slot",
        "extensions",
        "fd",
        "handed",
        "path",
        "query",
        "remote_address",
        "subprotocol",
    )

    def __init__(
        self, engine: GreenletEngine, sock: Any, address: Any, tls: Any = None, kept: bytes | None = None
    ) -> None:
        """`kept`: the connection is no new one but was kept alive after a request, and this was received already."""
        self.context: Context = engine.context
        self._engine = engine
        self._hub: Any = engine.hub
        self._loop: Any = engine.hub.loop
        self._greenlet: Any = getcurrent()
        #: What octets are received from and sent to: the socket, or TLS over it (`tls_transport`).
        self._sock: Any = sock if tls is None else tls
        self._tls: Any = tls
        self.fd: int = sock.fileno()
        self.remote_address: tuple[str, int] | str = peer_name(address)
        self.path: str = ""
        self.query: str = ""
        self.subprotocol: str | None = None
        self.extensions: str = ""
        self._data: Any = None
        self._state = CONNECTING
        self._role = Role.SERVER
        #: Code and reason of the first thing that ended the connection.
        self._cause: tuple[int, str] | None = None
        self._provisional = False  # the cause is a lost connection, and what was received may still hold a better one
        self._own = False  # the application itself closes
        self._deaf = False  # we close: what the peer still sends is forgotten
        self._failed = False  # end the TCP connection as soon as everything is written
        # Reading.
        self._protocol: Any = None
        self._deflate: Deflate | None = None  # what compresses, when that was agreed on
        self._reader: Any = self._loop.io(self.fd, 1)
        self._reading = False
        self._eof = False
        self._events: deque[tuple[Any, ...]] = deque()
        self._ahead = 0  # octets read since the greenlet became busy
        self._decoded = 0  # octets of messages that were decoded since there was no event left
        self._paused = False
        self._inbox: Inbox | None = None
        self._claimer: Any = None
        self._begun: list[Any] = []  # pieces of a message that is to be had whole by recv()
        # The greenlet.
        self._parked = False  # it waits to be switched to
        self._idle = False  # it waits, and nothing is left to do
        self._hub_turn: Any = None  # the callback that runs as soon as a handler lets the hub run
        # Writing.
        self._out = OutputQueue()
        self._writer: Any = None
        self._writing = False  # the system takes no more for now
        self._output_dead = False
        self._senders = WaitingSenders()
        self._over = False  # there is a drain event to come
        self._corks = 0
        self._fragment_binary: bool | None = None  # kind of the fragmented message that is being sent
        self._fragment_check: Any = None
        self._fragment_dropped = False
        self._kept = kept
        #: Set when `run` has returned: the connection has not ended but is for the WSGI application.
        self.handed: Handed | None = None
        self._visit: Visit | None = None if self.context.access_log is None else Visit()
        # Times.
        self.deadline_slot: float | None = None
        self._request_due: float | None = None
        self._request_method: str | None = None  # of a plain HTTP request
        self._opened_at = self._received_at = self._pinged_at = self._progress_at = self._closing_since = 0.0

    # --- attributes ---------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        if self._greenlet is None:  # its last handler has returned
            raise ConnectionClosed(*self._ended())
        self._data = data

    @property
    def ssl_object(self) -> Any:
        return None if self._tls is None or self._sock is None else self._tls.ssl_object

    @property
    def buffered_amount(self) -> int:
        return self._out.size

    @property
    def ready_state(self) -> ReadyState:
        return ReadyState(self._state)

    @property
    def closed(self) -> bool:
        return self._state == CLOSED

    def __repr__(self) -> str:
        return f"<Socket fd={self.fd} {self.ready_state.name} {self.remote_address!r}>"

    @property
    def opened(self) -> bool:
        """Whether the handshake has succeeded; true after the end too."""
        return self._opened_at > 0

    @property
    def transport_ended(self) -> bool:
        """Whether the TCP connection is given up; handlers may still be running."""
        return self._sock is None

    @property
    def greenlet(self) -> Any:
        """The greenlet in which the handlers run."""
        return self._greenlet

    # --- checks -------------------------------------------------------------------------------------------------------

    def check_thread(self) -> None:
        """RuntimeError in any thread but that of the connection's hub."""
        if get_hub_if_exists() is not self._hub:
            raise RuntimeError(WRONG_THREAD)

    def _check_open(self) -> None:
        """ConnectionClosed after the end, LwsError before the beginning."""
        self.check_thread()
        if self._state != OPEN:
            if self._state == CONNECTING:
                raise LwsError(NOT_OPEN_YET)
            raise ConnectionClosed(*self._ended())

    def _ended(self) -> tuple[int, str]:
        """Code and reason of the end."""
        return self._cause or (CloseCode.ABNORMAL_CLOSURE.value, "")

    # --- counting -----------------------------------------------------------------------------------------------------

    def _count_received(self, octets: int) -> None:
        self._engine.octets_received += octets
        if self._visit is not None:
            self._visit.received += octets

    def _count_sent(self, octets: int) -> None:
        self._engine.octets_sent += octets
        if self._visit is not None:
            self._visit.sent += octets

    # --- what the parts need of each other ----------------------------------------------------------------------------

    @abc.abstractmethod
    def _wake(self) -> None:
        """Lets the greenlet look for what there is to do, soon. Does nothing while it is busy."""

    @abc.abstractmethod
    def _resume(self) -> None:
        """Switches to the greenlet, if it waits. In the hub only."""

    @abc.abstractmethod
    def check_deadlines(self, now: float) -> float | None:
        """See `HasDeadlines`."""

    @abc.abstractmethod
    def _flush(self) -> None:
        """Writes what the system takes."""

    @abc.abstractmethod
    def _schedule_hub_turn(self) -> None:
        """Has `_on_hub_turn` called as soon as the hub runs."""

    @abc.abstractmethod
    def _on_hub_turn(self) -> None:
        """In the hub, while the greenlet is blocked in a handler."""

    @abc.abstractmethod
    def _peer_closed(self, code: int, reason: str) -> None:
        """The peer's close frame was received."""

    @abc.abstractmethod
    def _peer_erred(self, error: ProtocolError) -> None:
        """The peer has broken the protocol."""

    @abc.abstractmethod
    def _peer_gone(self) -> None:
        """The peer will send nothing more."""

    @abc.abstractmethod
    def _vanished(self) -> None:
        """The peer takes nothing any more."""

    @abc.abstractmethod
    def _cut(self, reason: str = "") -> None:
        """Ends the TCP connection at once."""

    @abc.abstractmethod
    def _finish_when_written(self) -> None:
        """Ends the TCP connection if it is closing and everything is written."""
