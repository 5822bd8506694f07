"""One connection of the greenlet engine (layer 2).

Its handlers run in its own greenlet, one at a time. All reading and writing is done without blocking, by whoever is at
hand: the hub reads (and runs no user code), so that a connection whose handler is blocked still answers pings and
learns of its end; a sender writes at once what the system takes, the hub the rest. What was decoded waits in `_events`
for the greenlet, or, once the connection is read in blocking style, in its `Inbox`.
"""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit, Timeout, getcurrent
from gevent._hub_local import get_hub_if_exists

from lws_gevent import handshake
from lws_gevent.context import Context, Decision, http_response
from lws_gevent.engines.interface import Socket, peer_name
from lws_gevent.engines.output_queue import OutputQueue
from lws_gevent.engines.peer_watch import peer_has_left
from lws_gevent.engines.request_reader import read_body, read_head
from lws_gevent.errors import BackpressureExceeded, ConnectionClosed, HandshakeError, LwsError, ProtocolError
from lws_gevent.frames import CloseCode, ReadyState, Role, close_payload
from lws_gevent.inbox import INBOX_LIMIT, Inbox
from lws_gevent.prepared import Prepared, message_payload
from lws_gevent.waiting_senders import WaitingSenders

if TYPE_CHECKING:
    from lws_gevent.engines.greenlet import GreenletEngine

__all__ = ["WRONG_THREAD", "GreenletSocket"]

_CONNECTING, _OPEN, _CLOSING, _CLOSED = map(int, ReadyState)

_READ_SIZE = 64 * 1024
#: While its handler is blocked, so much is read and so many events are decoded ahead of it (design rule 1).
_AHEAD_OCTETS, _AHEAD_EVENTS = 64 * 1024, 1024
#: So often is looked whether the peer is still there while nothing is read.
_LOOK_SECONDS = 1.0
#: Other connections have their turn after so many handler calls, octets of messages, or decoded events.
_TURN_CALLS, _TURN_OCTETS, _TURN_EVENTS = 64, 1024 * 1024, 256
#: What handlers send is gathered up to here.
_GATHER = 64 * 1024

WRONG_THREAD = "this belongs to the hub of another thread: call it there, by server.run_threadsafe(f, *args)"

_UTF8_DECODER = codecs.getincrementaldecoder("utf-8")


class GreenletSocket(Socket):
    """See :class:`lws_gevent.Socket`. Owns its operating system socket until the connection ends."""

    __slots__ = (
        "_ahead",
        "_cause",
        "_claimer",
        "_closing_since",
        "_corks",
        "_deaf",
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
        "_senders",
        "_sock",
        "_state",
        "_writer",
        "_writing",
        "context",
        "data",
        "deadline_slot",
        "extensions",
        "fd",
        "path",
        "query",
        "remote_address",
        "subprotocol",
    )

    def __init__(self, engine: GreenletEngine, sock: Any, address: Any) -> None:
        self.context: Context = engine.context
        self._engine = engine
        self._hub: Any = engine.hub
        self._loop: Any = engine.hub.loop
        self._greenlet: Any = getcurrent()
        self._sock: Any = sock
        self.fd: int = sock.fileno()
        self.remote_address: tuple[str, int] | str = peer_name(address)
        self.path: str = ""
        self.query: str = ""
        self.subprotocol: str | None = None
        self.extensions: str = ""
        self.data: Any = None
        self._state = _CONNECTING
        #: Code and reason of the first thing that ended the connection.
        self._cause: tuple[int, str] | None = None
        self._provisional = False  # the cause is a lost connection, and what was received may still hold a better one
        self._own = False  # the application itself closes
        self._deaf = False  # we close: what the peer still sends is forgotten
        self._failed = False  # end the TCP connection as soon as everything is written
        # Reading.
        self._protocol: Any = None
        self._reader: Any = self._loop.io(self.fd, 1)
        self._reading = False
        self._eof = False
        self._events: deque[tuple[Any, ...]] = deque()
        self._ahead = 0  # octets read since the greenlet became busy
        self._paused = False
        self._inbox: Inbox | None = None
        self._claimer: Any = None
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
        # Times.
        self.deadline_slot: float | None = None
        self._request_due: float | None = None
        self._request_method: str | None = None  # of a plain HTTP request
        self._opened_at = self._received_at = self._pinged_at = self._progress_at = self._closing_since = 0.0

    # --- attributes -------------------------------------------------------------------------------------------------

    @property
    def buffered_amount(self) -> int:
        return self._out.size

    @property
    def ready_state(self) -> ReadyState:
        return ReadyState(self._state)

    @property
    def closed(self) -> bool:
        return self._state == _CLOSED

    def __repr__(self) -> str:
        return f"<lws_gevent.Socket {self.ready_state.name} fd={self.fd} {self.remote_address!r}>"

    # --- the life of the connection, in its greenlet ----------------------------------------------------------------

    def run(self) -> None:
        """The whole life of the connection; returns when it has ended and its last handler has returned."""
        opened = False
        try:
            opened = self._answer_request()
            if opened:
                self._connected()
                self._serve_all()
        except GreenletExit:
            self._fail_handler()
        except BaseException as error:
            self.context.handler_failed(error, "", self)
        finally:
            self._finish(opened)

    def _answer_request(self) -> bool:
        """The opening handshake; whether the connection is open now."""
        try:
            received = read_head(self)
            if received is None:
                return False
            request, rest = received
            self.path, self.query = request.path, request.query
            if request.upgrade_status == 0:
                self._request_method = request.method
                if self.context.has_listeners("http") and not read_body(self, request, rest):
                    return False
        except HandshakeError as error:
            self._refuse(handshake.response(error.status, error.headers, error.body))
            self._wait_for_end()
            return False
        self._request_due = None
        decision = self.context.decide(self, request)
        if self._state == _CONNECTING:
            if decision is None:
                # Somebody will call respond(); who forgets it must not leave the connection for ever.
                if self.context.settings.idle_timeout is not None:
                    self.limit_request(time.monotonic() + self.context.settings.idle_timeout)
            elif decision.accept:
                self._open(decision, rest)
                return True
            else:
                self._refuse(decision.response)
        self._wait_for_end()
        return False

    def _open(self, decision: Decision, rest: bytes) -> None:
        settings = self.context.settings
        self.subprotocol, self.extensions = decision.subprotocol, decision.extensions
        self._protocol = self.context.codec.Protocol(
            Role.SERVER,
            max_payload=settings.max_payload,
            max_fragments=settings.max_fragments,
            auto_pong=settings.auto_pong,
            skip_utf8_validation=settings.skip_utf8_validation,
        )
        self._state = _OPEN
        self._opened_at = self._received_at = self._pinged_at = time.monotonic()
        self._engine.opened(self)
        self._out.extend((decision.response,))
        self._schedule_hub_turn()
        if rest:
            self._protocol.receive_data(rest)
            self._ahead = len(rest)
        self._regulate_reading()
        self._plan_deadline()

    def _connected(self) -> None:
        self.context.deliver("connection", self, self)
        if self._claimer is self._greenlet and self._state == _OPEN:
            self._begin_close(CloseCode.NORMAL_CLOSURE, "", own=True)

    def _serve_all(self) -> None:
        while True:
            try:
                return self._serve()
            except Timeout as timeout:
                # A handler has started it and has not stopped it: a stray one, as if the handler had let it out.
                self.context.handler_failed(timeout, "", self)

    def _serve(self) -> None:
        """Delivers events until the connection has ended and nothing is left."""
        calls = octets = 0
        while True:
            if self._events:
                event = self._events.popleft()
            else:
                complete = self._fill()
                if self._events:
                    continue
                if not complete:
                    self._let_others_run()
                elif self._sock is None:
                    return
                else:
                    self._park(idle=True)
                calls = octets = 0
                continue
            kind = event[0]
            if kind == "message":
                if not self._deliver_message(event):
                    continue
                octets += len(event[1])
            elif kind == "error":
                self.context.report_error(event[1], self)
            else:
                self.context.deliver(kind, self, self, *event[1:])
            calls += 1
            if calls >= _TURN_CALLS or octets >= _TURN_OCTETS:
                self._let_others_run()
                calls = octets = 0

    def _deliver_message(self, event: tuple[Any, ...]) -> bool:
        """Whether a handler was called for it."""
        if self._deaf:
            return False
        if self._inbox is not None:
            self._inbox.put(event[1])
            return False
        if self._sock is None:
            # The end of the connection ends a pause, and what nobody has asked for can still be fetched by recv().
            if not self.context.has_listeners("message"):
                self._inbox = Inbox(_nothing)
                self._inbox.put(event[1])
                return False
        elif self._paused or not self.context.has_listeners("message"):
            self._events.appendleft(event)
            self._engine.hold(self)
            self._park(idle=False)
            self._engine.release(self)
            return False
        self._schedule_hub_turn()
        self.context.deliver("message", self, self, event[1], event[2], 0)
        return True

    def _finish(self, opened: bool) -> None:
        """The greenlet is at its end: so is the connection, whatever has happened."""
        if self._sock is not None:
            self._end_transport(linger=opened)
        if opened and (not self._own or self.context.settings.own_close_event):
            cause = self._cause or (CloseCode.ABNORMAL_CLOSURE, "")
            if self._own:  # as the peer has answered it
                cause = (self._protocol.close_code, self._protocol.close_reason)
            self.context.deliver("close", self, self, int(cause[0]), cause[1])
        if self._inbox is not None:
            self._inbox.end(*self._ended())
        self.data = None
        self._protocol = self._greenlet = self._claimer = None
        self._events.clear()
        self._engine.ended(self, opened)

    def _park(self, idle: bool) -> None:
        """Gives the hub its turn until somebody wakes this greenlet; `idle`: everything that was received is
        delivered."""
        if self._hub_turn is not None:
            self._hub_turn.stop()
            self._hub_turn = None
        self._flush()
        if idle:
            self._ahead = 0
            if self._events or self._sock is None:  # by the flush
                return
        self._idle = idle
        self._parked = True
        self._regulate_reading()
        try:
            self._hub.switch()
        finally:
            self._parked = self._idle = False

    def _let_others_run(self) -> None:
        self._loop.run_callback(self._resume)
        self._park(idle=False)

    def _wake(self) -> None:
        if self._parked:
            self._loop.run_callback(self._resume)

    def _resume(self) -> None:
        if self._parked:
            self._parked = False
            self._greenlet.switch()

    # --- the request (called by request_reader) ---------------------------------------------------------------------

    def limit_request(self, due: float) -> None:
        """The connection ends at `due` unless the limit is moved or the connection opens."""
        self._request_due = due
        self._engine.deadlines.set(self, due)

    def read_request(self, size: int) -> bytes:
        """Some octets of the request, blocking; empty when the connection has ended."""
        while self._sock is not None:
            try:
                data: bytes = self._sock.recv(size)
            except (BlockingIOError, InterruptedError):
                self._reader.start(self._resume)
                self._parked = True
                try:
                    self._hub.switch()
                finally:
                    self._parked = False
                    if self._reader is not None:
                        self._reader.stop()
                continue
            except OSError:
                data = b""
            self._engine.octets_received += len(data)
            if not data:
                self._end_transport()
            return data
        return b""

    def write_request_answer(self, octets: bytes) -> None:
        """An interim response."""
        self._out.extend((octets,))
        self._flush()

    def respond(self, status: int, headers: Any, body: bytes | str) -> None:
        """See `Server.respond`."""
        self.check_thread()
        if self._request_method is None:
            raise LwsError("respond() answers plain HTTP requests only")
        if self._state != _CONNECTING:
            raise ConnectionClosed(*self._ended())
        self._refuse(http_response(self._request_method, status, headers, body))
        self._wake()

    def _refuse(self, response: bytes) -> None:
        """Writes the response and then ends the connection; what the peer sends after its request is never looked
        at."""
        self._engine.refused += 1
        self._request_due = None
        self._state = _CLOSING
        self._failed = True
        self._out.extend((response,))
        self._plan_closing()
        self._flush()

    def _wait_for_end(self) -> None:
        while self._sock is not None:
            self._parked = True
            try:
                self._hub.switch()
            finally:
                self._parked = False

    # --- reading ----------------------------------------------------------------------------------------------------

    def _regulate_reading(self) -> None:
        """Reads if and only if there is a bounded place for what comes."""
        if self._sock is None or self._protocol is None:
            return
        if self._eof:
            wanted = False
        elif self._deaf or self._idle:
            wanted = True
        elif self._inbox is not None:
            wanted = self._inbox.size <= INBOX_LIMIT
        else:
            wanted = self._ahead < _AHEAD_OCTETS and len(self._events) < _AHEAD_EVENTS
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                # Silence counts from now on: before it was us who did not listen.
                self._received_at = time.monotonic()
                self._reader.start(self._on_readable)
            else:
                self._reader.stop()
                self._engine.deadlines.set(self, time.monotonic() + _LOOK_SECONDS)

    def _on_readable(self) -> None:
        """In the hub."""
        if self._sock is None:
            return
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._engine.octets_received += len(data)
            self._received_at = time.monotonic()
            self._protocol.receive_data(data)
            self._ahead += len(data)
        else:
            self._eof = True
            self._protocol.receive_eof()
        if self._idle and self._inbox is None:
            complete = self._fill()
            if self._events or not complete or self._sock is None:
                self._resume()
            else:
                self._ahead = 0
                self._flush()
                self._regulate_reading()
            return
        self._decode_ahead()
        if self._eof and self._sock is not None and not self._protocol.close_received:
            # What was received waits for its handlers, but nothing can be sent any more.
            self._cut()
        if self._idle and self._events:
            self._resume()

    def _fill(self) -> bool:
        """Decodes until there is an event for the greenlet. False: a turn's worth was decoded, and there may be
        more."""
        next_event = self._protocol.next_event
        for _ in range(_TURN_EVENTS):
            event = next_event()
            if event is None:
                return True
            self._note(event)
            if self._events:
                return True
        return False

    def _decode_ahead(self) -> None:
        """Decodes within bounds what the greenlet is too busy for, or what belongs into the inbox. In the hub too."""
        next_event = self._protocol.next_event
        for _ in range(_TURN_EVENTS):
            if self._deaf:
                pass
            elif self._inbox is not None:
                if self._inbox.size > INBOX_LIMIT:
                    break
            elif len(self._events) >= _AHEAD_EVENTS:
                break
            event = next_event()
            if event is None:
                break
            self._note(event)
        else:
            self._schedule_hub_turn()
        self._flush()
        self._regulate_reading()

    def _note(self, event: tuple[Any, ...]) -> None:
        """What an event means for the connection; it is kept for the greenlet when a handler wants it. No user code."""
        kind = event[0]
        if kind == "message":
            self._engine.messages_received += 1
            if self._deaf:
                return
            if self._inbox is not None:
                self._inbox.put(event[1])
            else:
                self._events.append(event)
        elif kind in ("ping", "pong"):
            # Beyond the bound they are answered all the same; only the handler does not hear of them.
            if not self._deaf and len(self._events) < _AHEAD_EVENTS and self.context.has_listeners(kind):
                self._events.append(event)
        elif kind == "close":
            self._peer_closed(event[1], event[2])
        elif kind == "error":
            self._peer_erred(event[1])
        elif kind == "eof":
            self._peer_gone()

    # --- the end ----------------------------------------------------------------------------------------------------

    def _begin_close(self, code: int, reason: str, own: bool) -> None:
        """We close an open connection: pending messages first, then the close frame, then we wait for the peer's."""
        self._collect()
        self._protocol.send_close(code, reason)
        self._state = _CLOSING
        self._deaf = True
        self._own = own
        self._ends_with(code, reason)
        self._plan_closing()
        self._written()
        self._regulate_reading()
        self._wake()

    def _peer_closed(self, code: int, reason: str) -> None:
        self._ends_with(code, reason)
        if self._state == _OPEN:
            self._state = _CLOSING
            self._plan_closing()
        self._flush()

    def _peer_erred(self, error: ProtocolError) -> None:
        """RFC 6455 section 7.1.7; the protocol has put the close frame into what is to be sent."""
        if not self._deaf:
            self._events.append(("error", error))
        self._ends_with(error.close_code, error.problem)
        self._failed = True
        if self._state == _OPEN:
            self._state = _CLOSING
            self._plan_closing()
        self._flush()

    def _peer_gone(self) -> None:
        """The peer has closed its half. After its close frame it may still read what was sent before ours."""
        if self._sock is not None and not (self._protocol.close_received and self._out.size and not self._output_dead):
            self._flush()
            self._end_transport()

    def _vanished(self) -> None:
        """The peer takes nothing any more. What it has sent before is still read, when its turn comes, and
        delivered."""
        self._output_dead = True
        self._out.clear()
        if self._writing:
            self._writing = False
            self._writer.stop()
        if self._protocol is None or self._state != _OPEN:
            self._cut()
            return
        self._state = _CLOSED
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

    def _ended(self) -> tuple[int, str]:
        return self._cause or (CloseCode.ABNORMAL_CLOSURE.value, "")

    def _finish_when_written(self) -> None:
        """Ends the TCP connection, the server first (RFC 6455 section 7.1.1), when nothing is left to say."""
        if self._sock is None or self._out.size:
            return
        if self._failed:
            self._end_transport(linger=True)
        elif self._protocol is not None and self._protocol.close_sent and self._protocol.close_received:
            self._end_transport()

    def _end_transport(self, linger: bool = False) -> None:
        """Gives the TCP connection up. The greenlet still has to deliver what was received, and the close event."""
        sock, self._sock = self._sock, None
        self.fd = -1
        self._state = _CLOSED
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

    def _fail_handler(self) -> None:
        if self._state == _OPEN:
            self._begin_close(CloseCode.INTERNAL_ERROR, "", own=False)
        elif self._state == _CONNECTING and self._sock is not None:
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
        if self._state == _OPEN:
            self._begin_close(code, "", own=False)
        elif self._state == _CONNECTING and self._request_method is None and self._sock is not None:
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
        self._state = _CLOSED
        self._cause = self._cause or (CloseCode.ABNORMAL_CLOSURE.value, "")
        self._senders.end(ConnectionClosed(*self._cause))
        return sock, watchers

    @property
    def transport_ended(self) -> bool:
        """Whether the TCP connection is given up; handlers may still be running."""
        return self._sock is None

    @property
    def opened(self) -> bool:
        """Whether the handshake has succeeded; true after the end too."""
        return self._opened_at > 0

    @property
    def greenlet(self) -> Any:
        """The greenlet in which the handlers run."""
        return self._greenlet

    # --- deadlines --------------------------------------------------------------------------------------------------

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
        if self._state == _CONNECTING:
            return self._request_due
        if self._state != _OPEN:
            # As long as the peer takes something of what was sent before, it is alive.
            since = max(self._closing_since, self._progress_at) if self._out.size else self._closing_since
            return since + settings.close_timeout
        due = [] if self._reading or self._eof else [time.monotonic() + _LOOK_SECONDS]
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
        if self._state == _OPEN:
            if settings.max_lifetime is not None and now >= self._opened_at + settings.max_lifetime:
                self._begin_close(CloseCode.GOING_AWAY, "max_lifetime", own=False)
            elif (
                self._senders and settings.send_timeout is not None and now >= self._progress_at + settings.send_timeout
            ):
                self._cut("send_timeout")
            else:
                self._check_silence(now)
        elif self._state == _CLOSED and not self._reading:
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

    # --- writing ----------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        if self._protocol is not None:
            self._out.extend(self._protocol.data_to_send())

    def _written(self) -> None:
        """Frames were added: written now, or with what follows when a handler of this connection is at work."""
        self._collect()
        if (self._corks or getcurrent() is self._greenlet) and self._out.size < _GATHER:
            self._schedule_hub_turn()
        else:
            self._flush()

    def _schedule_hub_turn(self) -> None:
        if self._hub_turn is None and self._sock is not None:
            self._hub_turn = self._loop.run_callback(self._on_hub_turn)

    def _on_hub_turn(self) -> None:
        """In the hub: the greenlet has blocked in a handler (else it would have cancelled this). What was sent before
        goes out, and what was read already is decoded, so that pings are answered and a close is noticed."""
        self._hub_turn = None
        self._flush()
        if self._sock is not None and self._protocol is not None and not (self._idle and self._inbox is None):
            self._decode_ahead()
            if self._idle and self._events:
                self._resume()

    def _flush(self) -> None:
        """Writes what the system takes. While it takes nothing, answers to pings stay in the protocol, which keeps
        one."""
        if self._sock is None or self._writing or self._output_dead:
            return
        self._collect()
        self._write()

    def _on_writable(self) -> None:
        """In the hub."""
        if self._sock is not None:
            if self._out.size <= 0:
                self._collect()
            self._write()

    def _write(self) -> None:
        if self._out.size:
            try:
                taken = self._out.write_to(self._sock)
            except OSError:
                self._vanished()
                return
            self._engine.octets_sent += taken
            if self._out.size:
                if taken or not self._writing:
                    self._progress_at = time.monotonic()
                if not self._writing:
                    self._writing = True
                    if self._writer is None:
                        self._writer = self._loop.io(self.fd, 2)
                    self._writer.start(self._on_writable)
        if not self._out.size and self._writing:
            self._writing = False
            self._writer.stop()
            self._collect()
            if self._out.size:
                self._write()
                return
        self._made_room()

    def _made_room(self) -> None:
        limit = self.context.settings.max_backpressure
        if limit is not None:
            size = self._out.size
            if size > limit:
                self._over = True
            else:
                if self._senders:
                    self._senders.wake()
                if self._over and size <= limit // 2:
                    self._over = False
                    if self._state == _OPEN and self.context.has_listeners("drain"):
                        self._events.append(("drain",))
                        self._wake()
        if self._state == _CLOSING:
            self._finish_when_written()

    def check_thread(self) -> None:
        if get_hub_if_exists() is not self._hub:
            raise RuntimeError(WRONG_THREAD)

    def _check_open(self) -> None:
        self.check_thread()
        if self._state != _OPEN:
            if self._state == _CONNECTING:
                raise LwsError("the connection is not open yet")
            raise ConnectionClosed(*self._ended())

    def _has_room(self) -> bool:
        limit = self.context.settings.max_backpressure
        return limit is None or (self._out.size <= limit and not self._senders)

    def _make_room(self, message: Any, binary: bool, may_drop: bool = True) -> bool:
        """What the policy says about a message for which there is no room; whether to queue it."""
        self._flush()
        if self._state != _OPEN:
            raise ConnectionClosed(*self._ended())
        if self._has_room():
            return True
        limit = self.context.settings.max_backpressure
        policy = self.context.settings.backpressure
        if policy == "block":
            if getcurrent() is self._hub:
                if self._out.size <= (limit or 0):
                    return True
                raise BackpressureExceeded("the send buffer is over max_backpressure, and the hub must not block")
            self._wait_for_room(limit or 0)
            return True
        if policy == "close":
            self._cut("back-pressure")
            raise ConnectionClosed(*self._ended())
        if not may_drop:
            return True
        self._dropped(message, binary)
        return False

    def _wait_for_room(self, limit: int) -> None:
        if not self._senders and self.context.settings.send_timeout is not None:
            self._progress_at = time.monotonic()
            self._engine.deadlines.set(self, self._progress_at + self.context.settings.send_timeout)
        while True:
            self._senders.wait()
            if self._state != _OPEN:
                raise ConnectionClosed(*self._ended())
            if self._out.size <= limit:
                return

    def _dropped(self, message: Any, binary: bool) -> None:
        self._engine.dropped += 1
        self._over = True
        # Handlers that do not keep up with the news of dropped messages must not make them pile up here instead.
        if len(self._events) < _AHEAD_EVENTS and self.context.has_listeners("dropped"):
            self._events.append(("dropped", message, binary))
            self._wake()

    # --- verbs ------------------------------------------------------------------------------------------------------

    def send(self, message: str | bytes, binary: bool | None = None, compress: bool | None = None) -> bool:
        self._check_open()
        is_text = isinstance(message, str)
        binary = not is_text if binary is None else bool(binary)
        payload = message_payload(message)
        if not binary and not is_text:
            payload.decode("utf-8")  # UnicodeDecodeError is a ValueError
        if not self._has_room() and not self._make_room(message, binary):
            return False
        self._protocol.send_message(payload, binary)
        self._sent()
        return True

    def send_prepared(self, prepared: Prepared, binary: bool | None = None) -> bool:
        """See `Server.send_prepared`."""
        self._check_open()
        frame = prepared.frame(binary)
        if self._fragment_binary is not None:
            raise ValueError("a fragmented message is open: its last fragment comes first")
        binary = prepared.binary if binary is None else bool(binary)
        if not self._has_room() and not self._make_room(prepared.payload, binary):
            return False
        self._collect()
        self._out.extend((frame,))
        self._sent()
        return True

    def broadcast(self, frame: bytes, message: bytes, binary: bool, slow: str) -> bool:
        """One message to many, never blocking; whether it was queued. Connections that cannot take it are passed
        over."""
        if self._state != _OPEN or self._fragment_binary is not None:
            return False
        if not self._has_room():
            self._flush()
            limit = self.context.settings.max_backpressure
            if self._state != _OPEN:
                return False
            if limit is not None and self._out.size > limit:
                if slow == "drop" or self.context.settings.backpressure == "drop":
                    self._dropped(message, binary)
                else:
                    self._cut("back-pressure")
                return False
        self._collect()
        self._out.extend((frame,))
        self._sent()
        return True

    def send_fragment(self, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool:
        """See `Server.send_fragment`."""
        self._check_open()
        first = self._fragment_binary is None
        if first:
            binary = not isinstance(piece, str) if binary is None else bool(binary)
        elif binary is not None and bool(binary) is not self._fragment_binary:
            raise ValueError("the first fragment has decided between text and binary")
        else:
            binary = bool(self._fragment_binary)
        payload = message_payload(piece)
        if not binary:
            self._check_text_fragment(payload, fin, first)
        if first:
            self._fragment_dropped = False
            if not self._has_room():
                self._fragment_dropped = not self._make_room(piece, binary)
        elif not self._fragment_dropped and not self._has_room():
            self._make_room(piece, binary, may_drop=False)  # a message is dropped whole or not at all
        self._fragment_binary = None if fin else binary
        if self._fragment_dropped:
            return False
        self._protocol.send_fragment(payload, bool(fin), binary)
        self._sent(whole=bool(fin))
        return True

    def _check_text_fragment(self, payload: bytes, fin: bool, first: bool) -> None:
        """Pieces may be cut within a character, the whole must be UTF-8 (RFC 6455 section 5.6)."""
        check = _UTF8_DECODER() if first or self._fragment_check is None else self._fragment_check
        before = check.getstate()
        try:
            check.decode(payload, final=bool(fin))
        except UnicodeDecodeError:
            check.setstate(before)
            raise
        self._fragment_check = None if fin else check

    def _sent(self, whole: bool = True) -> None:
        if whole:
            self._engine.messages_sent += 1
        self._written()
        limit = self.context.settings.max_backpressure
        if limit is not None and self._state == _OPEN:
            if self._out.size <= limit:
                if self._senders:
                    self._senders.wake()
            elif self._writing:
                self._over = True

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.check_thread()
        close_payload(code, reason)
        if self._state == _OPEN:
            self._begin_close(code, reason, own=True)
        elif self._state == _CONNECTING and self._sock is not None:
            self._end_transport()
        else:
            self._hear_no_more()

    def terminate(self) -> None:
        self.check_thread()
        if self._state == _OPEN:
            self._own = True
        self._deaf = True
        if self._sock is not None:
            self._cut()

    def ping(self, data: str | bytes = b"") -> None:
        self._check_open()
        self._protocol.send_ping(message_payload(data))
        self._written()

    def pong(self, data: str | bytes = b"") -> None:
        """See `Server.pong`."""
        self._check_open()
        self._protocol.send_pong(message_payload(data))
        self._written()

    def cork(self) -> None:
        """Frames are gathered until as many `uncork`."""
        self.check_thread()
        self._corks += 1

    def uncork(self) -> None:
        """Writes what was gathered, unless somebody else still gathers."""
        self._corks -= 1
        if not self._corks and getcurrent() is not self._greenlet:
            self._flush()

    def pause(self) -> None:
        self._check_open()
        self._paused = True

    def resume(self) -> None:
        self.check_thread()
        self._paused = False
        self._wake()

    def subscribe(self, topic: str) -> None:
        """Not yet."""
        raise NotImplementedError("topics are not supported by this version of lws_gevent")

    # --- blocking style ---------------------------------------------------------------------------------------------

    def recv(self, timeout: float | None = None) -> str | bytes:
        inbox = self._inbox
        if inbox is None or self._claimer is None:
            inbox = self._claim()
        return inbox.get(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            try:
                message = self.recv()
            except ConnectionClosed as closed:
                if closed.code in (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY):
                    return
                raise
            yield message

    def _claim(self) -> Inbox:
        """From now on the messages are for recv(), those that wait already first."""
        self.check_thread()
        if self._state == _CONNECTING:
            raise LwsError("the connection is not open yet")
        if self._inbox is None:
            self._inbox = Inbox(self._on_low_water)
        inbox = self._inbox
        if self._protocol is None:  # it has ended, and everything is in the inbox
            inbox.end(*self._ended())
            return inbox
        self._claimer = getcurrent()
        others: deque[tuple[Any, ...]] = deque()
        for event in self._events:
            if event[0] != "message":
                others.append(event)
            elif not self._deaf:
                inbox.put(event[1])
        self._events = others
        if self._sock is not None:
            self._decode_ahead()
        if self._state != _OPEN:
            inbox.end(*self._ended())
        self._wake()
        return inbox

    def _on_low_water(self) -> None:
        if self._sock is not None:
            self._decode_ahead()


def _nothing() -> None:
    pass
