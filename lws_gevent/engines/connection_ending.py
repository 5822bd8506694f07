"""How a connection of the greenlet engine ends (layer 2): closes, errors, losses and deadlines.

The first cause is the one that is reported. The TCP connection may be gone long before the greenlet has delivered what
was received before, and the ``close`` event after it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lws_gevent.engines.connection_base import CLOSED, CLOSING, CONNECTING, OPEN
from lws_gevent.engines.connection_receiving import LOOK_SECONDS, ReceivingConnection
from lws_gevent.engines.peer_watch import peer_has_left
from lws_gevent.errors import ConnectionClosed, ProtocolError
from lws_gevent.frames import CloseCode, Role, close_payload

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["EndingConnection"]


class EndingConnection(ReceivingConnection):
    """See the module."""

    __slots__ = ()

    # --- verbs --------------------------------------------------------------------------------------------------------

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        self.check_thread()
        close_payload(code, reason)
        if self._state == OPEN:
            self._begin_close(code, reason, own=True)
        elif self._state == CONNECTING and self._sock is not None:
            self._end_transport()
        elif not self.context.settings.own_close_event:
            self._hear_no_more()

    def terminate(self) -> None:
        self.check_thread()
        if self._state == OPEN:
            self._own = True
        self._deaf = True
        if self._sock is not None:
            self._cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(CloseCode.NORMAL_CLOSURE if kind is None else CloseCode.INTERNAL_ERROR)
        self._engine.wait_until_ended(self, self.context.settings.close_timeout)

    # --- ending -------------------------------------------------------------------------------------------------------

    def _begin_close(self, code: int | None, reason: str, own: bool) -> None:
        """We close an open connection: pending messages first, then the close frame, then we wait for the peer's."""
        self._collect()
        self._protocol.send_close(code, reason)
        self._state = CLOSING
        # Who hears of his own close hears what comes before the peer's answer, too.
        self._deaf = not (own and self.context.settings.own_close_event)
        self._own = own
        self._ends_with(CloseCode.NO_STATUS_RECEIVED if code is None else code, reason)
        self._plan_closing()
        self._written()
        self._regulate_reading()
        self._wake()

    def _peer_closed(self, code: int, reason: str) -> None:
        self._ends_with(code, reason)
        if self._state == OPEN:
            self._state = CLOSING
            self._plan_closing()
        self._flush()

    def _peer_erred(self, error: ProtocolError) -> None:
        """RFC 6455 section 7.1.7; the protocol has put the close frame into what is to be sent."""
        if not self._deaf:
            self._events.append(("error", error))
        self._ends_with(error.close_code, error.problem)
        self._failed = True
        if self._state == OPEN:
            self._state = CLOSING
            self._plan_closing()
        self._flush()

    def _peer_gone(self) -> None:
        """The peer has closed its half. After its close frame it may still read what was sent before ours."""
        if self._sock is not None and not (self._protocol.close_received and self._out.size and not self._output_dead):
            self._flush()
            if self._sock is not None:
                self._end_transport()

    def _vanished(self) -> None:
        """The peer takes nothing any more. What it has sent before is still read, when its turn comes, and
        delivered."""
        self._output_dead = True
        self._out.clear()
        if self._writing:
            self._writing = False
            self._writer.stop()
        if self._protocol is None or self._state != OPEN:
            self._cut()
            return
        self._state = CLOSED
        self._provisional = True
        self._cause = (CloseCode.ABNORMAL_CLOSURE.value, "")
        self._senders.end(ConnectionClosed(*self._cause))
        self._plan_closing()
        self._wake()

    def _cut(self, reason: str = "") -> None:
        """Ends the TCP connection at once; 1006 unless there was a cause before."""
        if self._cause is None:
            self._provisional = not reason
            self._cause = (CloseCode.ABNORMAL_CLOSURE, reason)
        self._end_transport()

    def _ends_with(self, code: int, reason: str) -> None:
        """Notes the cause of the end, if it is the first; from now on nobody can send, nor receive more."""
        if self._cause is None or self._provisional:
            self._cause = (int(code), reason)
            self._provisional = False
        self._senders.end(ConnectionClosed(*self._ended()))
        if self._inbox is not None:
            self._inbox.end(*self._ended())

    def _finish_when_written(self) -> None:
        """Ends the TCP connection when nothing is left to say. It is the server that does so; a client waits for that,
        at most ``close_timeout`` (RFC 6455 section 7.1.1)."""
        if self._sock is None or self._out.size:
            return
        if self._failed:
            self._end_transport(linger=True)
        elif self._protocol is not None and self._protocol.close_sent and self._protocol.close_received:
            if self._role is Role.SERVER or self._eof:
                self._end_transport()

    def _end_transport(self, linger: bool = False) -> None:
        """Gives the TCP connection up. The greenlet still has to deliver what was received, and the close event."""
        sock = self._release_socket()
        self._out.clear()
        self._engine.end_socket(sock, linger)
        if self._inbox is not None and self._protocol is not None:
            event = self._protocol.next_event()
            while event is not None:
                self._note(event)
                event = self._protocol.next_event()
        if self._cause is None:
            self._provisional = True
            self._cause = (CloseCode.ABNORMAL_CLOSURE.value, "")
        if self._inbox is not None:
            self._inbox.end(*self._ended())
        self._senders.end(ConnectionClosed(*self._ended()))
        self._wake()

    def _release_socket(self) -> Any:
        """The socket, which is no longer this connection's."""
        sock, self._sock = self._sock, None
        self.fd = -1
        self._state = CLOSED
        self._reading = False
        self._engine.deadlines.cancel(self)
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        if self._hub_turn is not None:
            self._hub_turn.stop()
            self._hub_turn = None
        return sock

    def _fail_handler(self) -> None:
        if self._state == OPEN:
            self._begin_close(CloseCode.INTERNAL_ERROR, "", own=False)
        elif self._state == CONNECTING and self._sock is not None:
            self._end_transport()
        else:
            self._hear_no_more()

    def _hear_no_more(self) -> None:
        """The application is done with a connection that had begun to end already: what was received and not delivered
        yet stays so."""
        self._deaf = True
        self._regulate_reading()

    def go_away(self, code: int) -> None:
        """The server stops: close frame `code` to an open connection; a handshake is cut, an HTTP answer is awaited."""
        if self._state == OPEN:
            self._begin_close(code, "", own=False)
        elif self._state == CONNECTING and self._request_method is None and self._sock is not None:
            self._end_transport()

    def cut(self) -> None:
        """Ends the TCP connection at once, whatever its state."""
        if self._sock is not None:
            self._flush()
        if self._sock is not None:
            self._cut()

    def abandon(self) -> tuple[Any, list[Any]]:
        """After a fork, in the child: gives up its socket and its watchers, which it returns, without a word to the
        peer."""
        sock, self._sock = self._sock, None
        watchers = [watcher for watcher in (self._reader, self._writer) if watcher is not None]
        self._reader = self._writer = None
        self.fd = -1
        self._state = CLOSED
        self._cause = self._cause or (CloseCode.ABNORMAL_CLOSURE.value, "")
        self._senders.end(ConnectionClosed(*self._cause))
        return sock, watchers

    # --- deadlines ----------------------------------------------------------------------------------------------------

    def _plan_deadline(self) -> None:
        due = self._next_deadline()
        if due is not None:
            self._engine.deadlines.set(self, due)

    def _plan_closing(self) -> None:
        self._closing_since = time.monotonic()
        self._plan_deadline()

    def _next_deadline(self) -> float | None:
        settings = self.context.settings
        if self._sock is None:
            return None
        if self._state == CONNECTING:
            return self._request_due
        if self._state != OPEN:
            # As long as the peer takes something of what was sent before, it is alive.
            since = max(self._closing_since, self._progress_at) if self._out.size else self._closing_since
            return since + settings.close_timeout
        due = [] if self._reading or self._eof else [time.monotonic() + LOOK_SECONDS]
        if settings.max_lifetime is not None:
            due.append(self._opened_at + settings.max_lifetime)
        if settings.lost_after is not None:
            due.append(self._received_at + settings.lost_after)
        if settings.ping_after is not None:
            due.append(max(self._received_at, self._pinged_at) + settings.ping_after)
        if self._senders and settings.send_timeout is not None:
            due.append(self._progress_at + settings.send_timeout)
        return min(due, default=None)

    def check_deadlines(self, now: float) -> float | None:
        settings = self.context.settings
        if self._state == OPEN:
            if settings.max_lifetime is not None and now >= self._opened_at + settings.max_lifetime:
                self._begin_close(CloseCode.GOING_AWAY, "max_lifetime", own=False)
            elif (
                self._senders and settings.send_timeout is not None and now >= self._progress_at + settings.send_timeout
            ):
                self._cut("send_timeout")
            else:
                self._check_silence(now)
        elif self._state == CLOSED and not self._reading:
            self._closing_since = now  # a handler is busy; the rest of what the peer has sent is read after it
        else:
            due = self._next_deadline()
            if due is not None and now >= due:
                self._cut()
        return self._next_deadline()

    def _check_silence(self, now: float) -> None:
        settings = self.context.settings
        if not self._reading:
            self._received_at = now  # we do not listen, so silence proves nothing
            if peer_has_left(self._sock):
                self._vanished()
        elif settings.lost_after is not None and now >= self._received_at + settings.lost_after:
            self._cut("idle_timeout")
        elif settings.ping_after is not None and now >= max(self._received_at, self._pinged_at) + settings.ping_after:
            self._pinged_at = now
            if not self._writing:  # else the peer does not even take what it was sent before
                self._protocol.send_ping(b"")
                self._flush()
