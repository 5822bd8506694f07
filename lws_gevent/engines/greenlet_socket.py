"""One connection of the greenlet engine (layer 2): its life, in a greenlet of its own.

Handlers run there, one at a time. Reading and writing do not: they never block, and are done by whoever is at hand, the
hub or a sender (see the modules that this one builds on).
"""

from __future__ import annotations

import time
from typing import Any

import gevent
from gevent import GreenletExit, Timeout

from lws_gevent import handshake
from lws_gevent.context import Decision, http_response
from lws_gevent.engines.connection_base import CLOSING, CONNECTING, OPEN
from lws_gevent.engines.connection_ending import EndingConnection
from lws_gevent.engines.request_reader import read_body, read_head, read_proxy_header
from lws_gevent.errors import ConnectionClosed, HandshakeError, LwsError, ProtocolError
from lws_gevent.frames import CloseCode, Role
from lws_gevent.handshake import Request
from lws_gevent.inbox import Inbox
from lws_gevent.wording import ONLY_PLAIN_REQUESTS
from lws_gevent.wsgi_service import Handed

__all__ = ["GreenletSocket"]

#: Others have their turn after so many handler calls, or octets of messages.
_TURN_CALLS, _TURN_OCTETS = 64, 1024 * 1024


class GreenletSocket(EndingConnection):
    """See :class:`lws_gevent.Socket`."""

    __slots__ = ()

    # --- the request --------------------------------------------------------------------------------------------------

    def limit_request(self, due: float) -> None:
        """The connection ends at `due` unless the limit is moved or the connection opens."""
        self._request_due = due
        self._engine.deadlines.set(self, due)

    def read_request(self, size: int) -> bytes:
        """Some octets of the request, blocking; empty when the connection has ended."""
        data = self.receive_request(size)
        self._count_received(len(data))
        return data

    def receive_request(self, size: int, flags: int = 0) -> bytes:
        """As `read_request`, of what the system has received, with the flags of recv()."""
        while self._sock is not None:
            try:
                data: bytes = self._sock.recv(size, flags) if flags else self._sock.recv(size)
            except (BlockingIOError, InterruptedError):
                self._after_reading()
                if self._sock is None:
                    break
                self._reader.start(self._resume)
                self._parked = True
                try:
                    self._hub.switch()
                finally:
                    self._parked = False
                    if self._reader is not None:
                        self._reader.stop()
                continue
            except OSError as error:
                if self._tls is not None:
                    self.context.report_tls_failure(error, self)
                data = b""
            self._after_reading()
            if not data and self._sock is not None:
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
            raise LwsError(ONLY_PLAIN_REQUESTS)
        if self._state != CONNECTING:
            raise ConnectionClosed(*self._ended())
        self._refuse(http_response(self._request_method, status, headers, body))
        self._wake()

    def _refuse(self, response: bytes) -> None:
        """Writes the response and then ends the connection; what the peer sends after its request is never looked
        at."""
        self._engine.refused += 1
        if self._visit is not None:
            self._visit.status = int(response[9:12])
        self._request_due = None
        self._state = CLOSING
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

    # --- the life of the connection -----------------------------------------------------------------------------------

    def run(self) -> None:
        """The whole life of the connection; returns when it has ended and its last handler has returned, or when it was
        handed over (see `handed`)."""
        opened = self.opened  # it is when it was adopted
        try:
            if not opened:
                opened = self._answer_request()
                if opened:
                    self._connected()
            if opened:
                self._serve_all()
        except GreenletExit:
            self._fail_handler()
        except BaseException as error:
            self.context.handler_failed(error, "", self)
        finally:
            self._finish(opened)

    def _begin_tls(self, context: Any) -> None:
        """What comes next is TLS's; its handshake is part of reading the request."""
        from lws_gevent.tls_transport import TlsTransport  # what it needs is for those alone who use it

        self._sock = self._tls = TlsTransport(self._sock, context)

    def _answer_request(self) -> bool:
        """The opening handshake; whether the connection is open now."""
        try:
            self.limit_request(time.monotonic() + self.context.settings.handshake_timeout)
            if self.context.settings.proxy_protocol and self._kept is None and not read_proxy_header(self):
                return False
            if self.context.settings.ssl is not None and self._tls is None and self._sock is not None:
                self._begin_tls(self.context.settings.ssl)
            received = read_head(self, self._kept or b"")
            if received is None:
                return False
            request, head, rest = received
            if self.context.wsgi is not None and self.context.wsgi.takes(request):
                self._hand_over(request, head + rest)
                return False
            self._note_request(request)
            if request.upgrade_status == 0:
                self._request_method = request.method
                if self.context.has_listeners("http") and not read_body(self, request, rest):
                    return False
        except ProtocolError as error:
            self._engine.refused += 1
            self._end_transport()
            self.context.report_error(error, self)
            return False
        except HandshakeError as error:
            self.context.report_refusal(error, self)
            self._refuse(handshake.response(error.status, error.headers, error.body))
            self._wait_for_end()
            return False
        self._request_due = None
        decision = self.context.decide(self, request)
        if self._state == CONNECTING:
            if decision is None:
                # Somebody will call respond(); who forgets it must not leave the connection for ever.
                if self.context.settings.idle_timeout is not None:
                    self.limit_request(time.monotonic() + self.context.settings.idle_timeout)
            elif decision.accept:
                self._open(Role.SERVER, decision, rest)
                return True
            else:
                self._refuse(decision.response)
        self._wait_for_end()
        return False

    def _hand_over(self, request: Request, octets: bytes) -> None:
        """The connection is not ours any more, and nobody hears of its end here."""
        client = self.context.client_address(self.remote_address, request.headers)
        self._engine.refused += 1
        self._visit = None
        self.handed = Handed(self._sock, request, octets, self.remote_address, client)
        self._release_socket()

    def adopt(self, request: Request, rest: bytes, role: Role, decision: Decision) -> None:
        """Opens a connection whose request somebody else has read, and has its own greenlet run it."""
        self._note_request(request, role)
        self._greenlet = gevent.spawn(self.run)
        self._greenlet.rawlink(self._has_run)
        self._open(role, decision, rest)
        self._flush()  # the answer is out before anything that its caller does next, `terminate` included

    def _has_run(self, greenlet: Any) -> None:
        """In the hub: a greenlet that was killed before it began has finished nothing."""
        if self._greenlet is greenlet:
            self._greenlet = gevent.spawn(self.run)
            self._fail_handler()

    def _note_request(self, request: Request, role: Role = Role.SERVER) -> None:
        self.path, self.query = request.path, request.query
        if role is Role.SERVER and self.context.settings.trusted_proxies is not None:
            self.remote_address = self.context.client_address(self.remote_address, request.headers)
        visit = self._visit
        if visit is not None:
            visit.method, visit.target, visit.version_minor = request.method, request.target, request.version_minor

    def _open(self, role: Role, decision: Decision, rest: bytes) -> None:
        settings = self.context.settings
        self.subprotocol = decision.subprotocol
        self._role = role
        if self._visit is not None:
            self._visit.status = 101
        self._deflate = self.context.new_deflate(decision.deflate, role)
        self.extensions = decision.extensions
        self._protocol = self.context.codec.Protocol(
            role,
            max_payload=settings.max_payload,
            max_fragments=settings.max_fragments,
            auto_pong=settings.auto_pong,
            skip_utf8_validation=settings.skip_utf8_validation,
            deflate=self._deflate,
            buffer_size=settings.buffer_size,
        )
        self._state = OPEN
        self._opened_at = self._received_at = self._pinged_at = time.monotonic()
        self._engine.opened(self)
        if decision.response:
            self._out.extend((decision.response,))
        self._schedule_hub_turn()
        if rest:
            self._protocol.receive_data(rest)
            self._ahead = len(rest)
        self._regulate_reading()
        self._plan_deadline()

    def deliver_later(self, event: str, *args: Any) -> None:
        """Has the greenlet deliver an event, behind the one that is being delivered."""
        if self.context.has_listeners(event):
            self._events.append((event, *args))
            self._wake()

    def _connected(self) -> None:
        self.context.deliver("connection", self, self)
        if self._claimer is self._greenlet and self._state == OPEN:
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
            if kind == "connection":
                self._connected()
                continue
            self._schedule_hub_turn()
            if kind in ("message", "piece"):
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
            self._put(event)
            return False
        if self._sock is None:
            # The end of the connection ends a pause, and what nobody has asked for can still be fetched by recv().
            if not self.context.has_listeners("message"):
                self._inbox = Inbox(_nothing)
                self._put(event)
                return False
        elif self._paused or not self.context.has_listeners("message"):
            self._events.appendleft(event)
            self._engine.hold(self)
            try:
                self._decode_ahead()  # a close behind it is noticed all the same
                if self._sock is not None:  # else it has ended just now, and nobody will wake us
                    self._park(idle=False)
            finally:  # whoever stops the server may kill us here
                self._engine.release(self)
            return False
        self.context.deliver("message", self, self, event[1], event[2], event[3] if event[0] == "piece" else 0)
        return True

    def _finish(self, opened: bool) -> None:
        """The greenlet is at its end: so is the connection, whatever has happened."""
        self._flush()
        if self._sock is not None:
            self._end_transport(linger=opened)
        if opened and (not self._own or self.context.settings.own_close_event):
            cause = self._cause or (CloseCode.ABNORMAL_CLOSURE, "")
            if self._own:  # as the peer has answered it
                cause = (self._protocol.close_code, self._protocol.close_reason)
            self.context.deliver("close", self, self, int(cause[0]), cause[1])
        visit = self._visit
        if visit is not None and visit.received:
            code = int(self._ended()[0]) if opened else 0
            self.context.log_access(
                self,
                visit.method,
                visit.target,
                visit.version_minor,
                visit.status,
                code,
                visit.received,
                visit.sent,
                visit.started,
            )
        if self._inbox is not None:
            self._inbox.end(*self._ended())
        self._data = None
        if self.context.topics is not None:
            self.context.topics.forget(self)
        self._protocol = self._deflate = self._greenlet = self._claimer = None
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


def _nothing() -> None:
    pass
