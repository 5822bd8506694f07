"""What an engine knows of its server (layer 2): the settings, the listeners, and how user code is called.

`Context.deliver` is the boundary around every handler, `Context.decide` judges a request. Both may block and must run
in a greenlet, never in the hub.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from gevent import GreenletExit, get_hub

from lws_gevent import extensions, handshake
from lws_gevent.access_log import AccessLog
from lws_gevent.codec import Codec
from lws_gevent.errors import ConnectionClosed, HandshakeError, LwsError, ProtocolError
from lws_gevent.events import EventEmitter, arity_of
from lws_gevent.extensions import DeflateParameters
from lws_gevent.frames import Role
from lws_gevent.handshake import Headers, Request
from lws_gevent.options import Settings

if TYPE_CHECKING:
    from lws_gevent.deflate import Deflate, Deflaters
    from lws_gevent.engines.interface import Engine, Socket, Subscriptions
    from lws_gevent.proxy_protocol import ProxyHeader
    from lws_gevent.wsgi_service import WsgiService

__all__ = [
    "ANSWERED",
    "CLIENT_EVENTS",
    "SERVER_EVENTS",
    "ClientEvents",
    "Context",
    "Decision",
    "ServerEvents",
    "http_response",
]

SERVER_EVENTS: tuple[str, ...] = (
    "upgrade",
    "connection",
    "message",
    "close",
    "error",
    "http",
    "drain",
    "dropped",
    "ping",
    "pong",
)


#: The events of a client. There `upgrade` comes after the server's answer, whose headers it tells.
CLIENT_EVENTS = tuple(event for event in SERVER_EVENTS if event != "http")


class ServerEvents(EventEmitter):
    """The listeners of one server. Whoever caches some of them subscribes to `on_change`."""

    event_names: ClassVar[tuple[str, ...]] = SERVER_EVENTS

    def __init__(self) -> None:
        super().__init__()
        #: Plain requests go to a WSGI application: nobody can listen to ``http``.
        self.has_wsgi = False
        #: Called with the name of the event whose listeners are no longer the same.
        self.on_change: list[Callable[[str], None]] = []

    def _add(self, event: str, function: Callable[..., Any], once: bool) -> None:
        if event == "http" and self.has_wsgi:
            raise ValueError("with the option 'wsgi' there are no http events: the WSGI application gets the requests")
        super()._add(event, function, once)

    def _listeners_changed(self, event: str) -> None:
        for changed in self.on_change:
            changed(event)


class ClientEvents(ServerEvents):
    """The listeners of one client."""

    event_names: ClassVar[tuple[str, ...]] = CLIENT_EVENTS


class Decision(NamedTuple):
    """What becomes of a request: `response` is written, then the connection is open (`accept`) or ended."""

    accept: bool
    response: bytes
    subprotocol: str | None = None
    deflate: DeflateParameters | None = None
    #: What `response` says, when it refuses for a reason of ours.
    error: HandshakeError | None = None

    @property
    def extensions(self) -> str:
        """The value of Sec-WebSocket-Extensions that was agreed on; ``""`` for none."""
        return "" if self.deflate is None else self.deflate.header()


#: That of a handshake which is over: nothing is to be written any more.
ANSWERED = Decision(True, b"")


class Context:
    """Everything an engine knows of a server. One per server, shared by its engine; makes no hub."""

    __slots__ = (
        "_origin_arity",
        "_subprotocol_arity",
        "access_log",
        "codec",
        "deflaters",
        "emitter",
        "engine",
        "owner",
        "settings",
        "topics",
        "wsgi",
    )

    def __init__(self, settings: Settings, codec: Codec, emitter: ServerEvents | None = None) -> None:
        self.settings = settings
        self.codec = codec
        self.emitter = ServerEvents() if emitter is None else emitter
        #: Set by the server when it has made its engine; `decide` asks it how many connections are open.
        self.engine: Engine | None = None
        #: Set by the server: who has subscribed to what. None: topics are of no use here.
        self.topics: Subscriptions | None = None
        #: None when there is none.
        self.access_log = None if settings.access_log is False else AccessLog(settings.access_log)
        #: What compressed connections share; None when nothing is compressed.
        self.deflaters: Deflaters | None = None
        if settings.per_message_deflate is not None:
            from lws_gevent.deflate import Deflaters  # a library that only those who compress pay for

            self.deflaters = Deflaters(settings.per_message_deflate)
        #: Whatever must live as long as the engine has connections.
        self.owner: Any = None
        #: Set by the server: who answers what is no WebSocket. None: listeners of ``http``, or nobody.
        self.wsgi: WsgiService | None = None
        self._origin_arity = arity_of(settings.origins) if callable(settings.origins) else 0
        self._subprotocol_arity = arity_of(settings.subprotocols) if callable(settings.subprotocols) else 0

    def subscriptions(self) -> Subscriptions:
        """The topics of the server. LwsError when this is not a server's connection."""
        if self.topics is None:
            raise LwsError("only connections of a server can subscribe to its topics and publish")
        return self.topics

    @property
    def on_change(self) -> list[Callable[[str], None]]:
        """Functions that are called with the name of an event whose listeners have changed."""
        return self.emitter.on_change

    def has_listeners(self, event: str) -> bool:
        """Whether anybody would hear of `event`."""
        return event in self.emitter._listeners

    # --- the handler boundary ---------------------------------------------------------------------------------------

    def deliver(self, event: str, socket: Socket | None, *args: Any) -> list[Any]:
        """Runs every listener of `event` with as many of `args` as it takes; what they returned, in order.

        `socket` is the connection that fails (1011) when one of them raises. Nothing that a handler raises comes out of
        here: an Exception or a stray gevent.Timeout becomes the ``error`` event, GreenletExit ends the connection
        quietly, KeyboardInterrupt and SystemExit go to the hub as those of any greenlet do, and our ConnectionClosed is
        no error at all. A listener that raised keeps the others from nothing; a kill does.
        """
        results = []
        for function, arity, _ in self.emitter._take_listeners(event):
            try:
                results.append(function(*args[:arity]))
            except BaseException as error:
                self.handler_failed(error, event, socket)
                if isinstance(error, GreenletExit):
                    break
        return results

    def handler_failed(self, error: BaseException, event: str, socket: Socket | None) -> None:
        """What is done with `error`, which the handler of `event` has let out; called from its except clause."""
        if isinstance(error, ConnectionClosed):
            return
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            get_hub().handle_error(socket, *sys.exc_info())
        elif not isinstance(error, GreenletExit):
            self.report_error(error, socket)
        if socket is not None:
            socket._fail_handler()

    def report_error(self, error: BaseException, socket: Socket | None = None, accepting: bool = False) -> None:
        """The ``error`` event for `error`; without a listener, and when the listener fails itself, the log.
        `accepting`: no connection can be accepted because of it."""
        listeners = self.emitter._take_listeners("error")
        for function, arity, _ in listeners:
            try:
                function(*(error, socket)[:arity])
            except (KeyboardInterrupt, SystemExit):
                get_hub().handle_error(socket, *sys.exc_info())
            except GreenletExit:
                return
            except BaseException as failure:
                _log(failure, socket)
        if not listeners:
            _log(error, socket, accepting)

    def log_access(self, socket: Socket, *visit: Any) -> None:
        """Writes the line of a connection that has ended: the arguments of `AccessLog.write` behind the address. Runs
        user code, so never in the hub."""
        try:
            if self.access_log is not None:
                self.access_log.write(socket.remote_address, *visit)
        except BaseException as error:
            self.handler_failed(error, "", socket)

    # --- whom a connection comes from -------------------------------------------------------------------------------

    def proxy_header(self, data: bytes, peer: tuple[str, int] | str) -> ProxyHeader | None:
        """The PROXY protocol header with which `data`, all that `peer` has sent, begins; None: more is needed, and all
        of `data` belongs to it. ProtocolError: it is none, or `peer` may not send one."""
        from lws_gevent.proxy_protocol import parse_proxy_header  # what it needs is for those alone who use it

        allowed = self.settings.proxy_protocol
        if allowed is not True and (allowed is False or peer not in allowed):
            raise ProtocolError(problem="the peer is none of the proxies that 'proxy_protocol' names")
        try:
            return parse_proxy_header(data)
        except ValueError as error:
            raise ProtocolError(problem=str(error)) from None

    def client_address(self, peer: tuple[str, int] | str, headers: Headers) -> tuple[str, int] | str:
        """``remote_address`` of a request that `peer` has sent: what ``trusted_proxies`` tell of its origin counts."""
        trusted = self.settings.trusted_proxies
        if trusted is None or peer not in trusted:
            return peer
        from lws_gevent.forwarded import client_address

        name = self.settings.forwarded_header
        return client_address(peer, headers.get_all(name), name == "Forwarded", trusted)

    # For whoever looks for a reason: any peer can cause these lines.

    def report_tls_failure(self, error: OSError, socket: Socket) -> None:
        """TLS could not be established with this peer."""
        plain = getattr(error, "reason", None) in ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST")
        _log_debug("TLS handshake failed", "the peer speaks HTTP without TLS" if plain else str(error), socket)

    def report_refusal(self, error: HandshakeError, socket: Socket) -> None:
        """What this peer has sent is no good request."""
        _log_debug("request refused", error.problem, socket)

    # --- the opening handshake --------------------------------------------------------------------------------------

    def decide(self, socket: Socket, request: Request) -> Decision | None:
        """What becomes of `request`; runs the ``upgrade`` or ``http`` listeners.

        None: an ``http`` listener has answered by ``server.respond``, or will. The engine opens an accepted connection
        without letting other greenlets run in between, so that ``max_connections`` is never exceeded.
        """
        if request.upgrade_status == 0:
            return self._decide_http(socket, request)
        return self.negotiate(request, socket)

    def negotiate(self, request: Request, socket: Socket | None = None, *, subprotocol: str | None = None) -> Decision:
        """What becomes of an opening handshake. `socket`: whose ``upgrade`` listeners are asked; None: nobody is.
        `subprotocol`: the one that is chosen already, None: the settings choose; ValueError: it is not offered."""
        if request.upgrade_status != 101:
            return _refuse(request.upgrade_status or 426, request.problem or "this is a WebSocket endpoint")
        if subprotocol is not None and subprotocol not in handshake.offered_subprotocols(request.headers):
            raise ValueError(f"the client does not offer the subprotocol {subprotocol!r}")
        settings = self.settings
        if settings.path is not None and request.path != settings.path and request.target:
            return _refuse(404, "there is no WebSocket at this path")
        # Before the handlers, so that they are not bothered; and after them, because others may have come meanwhile.
        if self._is_full():
            return _refuse(503, "too many connections")
        try:
            deflate = self._negotiate_deflate(request.headers)
        except ValueError as error:
            return _refuse(400, str(error))
        try:
            if not self._origin_is_allowed(request.headers):
                return _refuse(403, "this origin is not allowed")
            refused = None if socket is None else self._ask_upgrade_listeners(socket, request)
            if refused is not None:
                return refused
            if subprotocol is None:
                subprotocol = self._choose_subprotocol(request.headers)
        except BaseException as error:
            self._request_failed(error, socket)
            return _refuse(500, "internal error")
        if self._is_full():
            return _refuse(503, "too many connections")
        agreed = None if deflate is None else deflate.header()
        return Decision(True, handshake.upgrade_response(request, subprotocol, agreed), subprotocol, deflate)

    def _is_full(self) -> bool:
        limit = self.settings.max_connections
        return limit is not None and self.engine is not None and self.engine.open_count >= limit

    def _request_failed(self, error: BaseException, socket: Socket | None) -> None:
        """As `handler_failed`, for a connection that is not open yet: it gets status 500 instead of close code 1011."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            get_hub().handle_error(socket, *sys.exc_info())
        elif not isinstance(error, (GreenletExit, ConnectionClosed)):
            self.report_error(error, socket)

    def _ask_upgrade_listeners(self, socket: Socket, request: Request) -> Decision | None:
        """The first refusal, or None. Listeners after a refusal are not asked any more."""
        for function, arity, _ in self.emitter._take_listeners("upgrade"):
            answer = function(*(socket, request.headers)[:arity])
            if answer is None or answer is False:
                continue
            if answer is True:
                return _refuse(403, "refused")
            return Decision(False, handshake.response(*_three(answer, "an upgrade listener")))
        return None

    def _decide_http(self, socket: Socket, request: Request) -> Decision | None:
        listeners = self.emitter._take_listeners("http")
        if not listeners:
            return Decision(False, handshake.refusal(request))
        answer: Any = None
        try:
            for function, arity, _ in listeners:
                result = function(*(socket, request)[:arity])
                if answer is None:
                    answer = result
            if answer is None:
                return None
            if isinstance(answer, (str, bytes)):
                answer = (200, None, answer)
            return Decision(False, http_response(request.method, *_three(answer, "an http listener")))
        except BaseException as error:
            self._request_failed(error, socket)
            return _refuse(500, "internal error")

    def _origin_is_allowed(self, headers: Headers) -> bool:
        """RFC 6455 section 10.2. A browser always sends its origin: who sends none is no page of somebody else's."""
        allowed = self.settings.origins
        if allowed is None:
            return True
        origins = headers.get_all("Origin")
        origin = origins[0] if origins else None
        if len(origins) > 1:
            return False
        if callable(allowed):
            return bool(allowed(*(origin, headers)[: self._origin_arity]))
        if origin is None:
            return True
        if allowed == "same":
            # Only host and port: behind a proxy that speaks TLS, the scheme that the browser used is not known here.
            scheme, separator, authority = origin.partition("://")
            return bool(separator) and authority.lower() == headers.get("Host", "").lower()
        return origin in allowed

    def _choose_subprotocol(self, headers: Headers) -> str | None:
        """RFC 6455 section 4.2.2: one of those that the client offers, or none."""
        subprotocols = self.settings.subprotocols
        if subprotocols is None:
            return None
        offered = handshake.offered_subprotocols(headers)
        if not callable(subprotocols):
            return next((name for name in subprotocols if name in offered), None)
        chosen = subprotocols(*(offered, headers)[: self._subprotocol_arity])
        if chosen is not None and chosen not in offered:
            raise ValueError(f"option 'subprotocols' chose {chosen!r}, which the client does not offer")
        return chosen

    # --- compression --------------------------------------------------------------------------------------------------

    def _negotiate_deflate(self, headers: Headers) -> DeflateParameters | None:
        """ValueError: the header is malformed. Without the option it is not looked at."""
        settings = self.settings.per_message_deflate
        if settings is None:
            return None
        offers = headers.get_all("Sec-WebSocket-Extensions")
        return extensions.negotiate(offers, settings) if offers else None

    def new_deflate(self, parameters: DeflateParameters | None, role: Role) -> Deflate | None:
        """What compresses on a connection whose peers have agreed on these parameters; None when they did not."""
        if parameters is None or self.deflaters is None:
            return None
        from lws_gevent.deflate import Deflate

        return Deflate(parameters, role, self.deflaters)


def http_response(method: str, status: int, headers: Any, body: bytes | str) -> bytes:
    """The response to a request with this method: that to HEAD has no body (RFC 9110 section 9.3.2)."""
    response = handshake.response(status, () if headers is None else headers, b"" if body is None else body)
    if method == "HEAD":
        response = response[: response.index(b"\r\n\r\n") + 4]
    return response


def _refuse(status: int, problem: str) -> Decision:
    error = handshake.handshake_error(status, problem)
    return Decision(False, handshake.response(error.status, error.headers, error.body), error=error)


def _three(answer: Any, who: str) -> tuple[int, Any, Any]:
    if not isinstance(answer, tuple) or len(answer) != 3:
        raise TypeError(f"{who} must return None or (status, headers, body), not {type(answer).__name__}")
    return answer


def _log_debug(what: str, why: str, socket: Socket) -> None:
    import logging

    logging.getLogger("lws_gevent").debug("%s: %s (connection from %r)", what, why, socket.remote_address)


def _log(error: BaseException, socket: Socket | None, accepting: bool = False) -> None:
    import logging  # costs time and memory that a server which never logs does not pay

    logger = logging.getLogger("lws_gevent")
    # repr, because an address of a unix socket is the peer's choice and must not forge lines.
    where = "" if socket is None else f" (connection from {socket.remote_address!r})"
    if isinstance(error, ProtocolError):
        # Any peer can cause it at will: one line, and not above INFO.
        logger.info("%s%s", error, where)
    elif accepting:
        logger.error("cannot accept connections: %s", error)
    else:
        logger.error("error in a handler%s", where, exc_info=error)
