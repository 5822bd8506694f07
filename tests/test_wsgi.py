"""lws_gevent.wsgi: `environ["wsgi.websocket"]` under a real gevent.pywsgi, by the handler and by the middleware."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.ssl
import pytest
from certificates import certificates
from client import TEXT, Client, encode, upgrade_head
from gevent import pywsgi
from helpers import eventually

import lws_gevent
from lws_gevent.wsgi import WebSocket, WebSocketHandler, WebSocketMiddleware

Environ = dict[str, Any]


def echo(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    """Blocking style."""
    websocket = environ.get("wsgi.websocket")
    if websocket is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"no websocket"]
    for message in websocket:
        websocket.send(message)
    return []


class Wsgi:
    """A gevent.pywsgi server."""

    def __init__(self, kind: str, engine: str, application: Any, tls: bool = False, **options: Any) -> None:
        self.log = io.StringIO()
        options = {"engine": engine, "close_timeout": 2, **options}
        arguments: dict[str, Any] = {"log": self.log, "error_log": self.log, "spawn": 20}
        self.lws = lws_gevent.Server(**{"ping_interval": 20, "ping_timeout": 20, **options})
        if tls:
            arguments["ssl_context"] = certificates().server_context()
        if kind == "handler":
            arguments["handler_class"] = type("Handler", (WebSocketHandler,), {"websocket_server": self.lws})
        else:
            application = WebSocketMiddleware(application, server=self.lws)
        self.server = pywsgi.WSGIServer(("127.0.0.1", 0), application, **arguments)
        self.server.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_port

    @property
    def busy(self) -> int:
        """How many greenlets are busy with requests."""
        return 20 - self.server.pool.free_count()


@pytest.fixture(params=["handler", "middleware"])
def serve(request: Any, stack: Any, nothing_leaks: None) -> Iterator[Callable[..., Wsgi]]:
    servers: list[Wsgi] = []

    def make(application: Any = echo, **options: Any) -> Wsgi:
        servers.append(Wsgi(request.param, stack.engine, application, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.server.stop(1)
        server.lws.stop(1)
    servers.clear()


@pytest.fixture
def connect(serve: Any) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(wsgi: Wsgi, *arguments: Any, upgrade: bool = True, **named: Any) -> Client:
        client = Client.connect(wsgi.address, *arguments, **named) if upgrade else Client.open(wsgi.address, **named)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.disconnect()


# Blocking style


def test_blocking_style(serve: Any, connect: Any) -> None:
    wsgi = serve()
    client = connect(wsgi, "/path?query", after=encode(TEXT, "with the request"))
    assert client.recv_message() == "with the request"
    for message in ("text", b"binary", "", "x" * 100_000):
        client.echo(message)
    assert client.close_handshake(1000) == (1000, "")
    eventually(lambda: not wsgi.busy)
    assert '"GET /path?query HTTP/1.1" 101' in wsgi.log.getvalue()
    assert "Traceback" not in wsgi.log.getvalue()


def test_large_bursts_with_the_request_are_complete(serve: Any, connect: Any) -> None:
    burst = [f"{index} " * 3000 for index in range(30)]
    client = connect(serve(), after=b"".join(encode(TEXT, message) for message in burst))
    assert [client.recv_message() for _ in burst] == burst
    client.close_handshake()


def test_over_tls(serve: Any, connect: Any) -> None:
    wsgi = serve(tls=True)
    client = connect(wsgi, tls=certificates().client_context(), after=encode(TEXT, "early"))
    assert client.recv_message() == "early"
    client.echo("x" * 100_000)
    client.close_handshake()
    plain = connect(wsgi, upgrade=False, tls=certificates().client_context())
    assert plain.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").body == b"no websocket"
    plain.disconnect()


def test_requests_before_the_upgrade_on_the_same_connection(serve: Any, connect: Any) -> None:
    client = connect(serve(), upgrade=False)
    for _ in range(2):
        assert client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").body == b"no websocket"
    assert client.request(upgrade_head()).status == 101
    client.echo()
    client.close_handshake()


def test_an_application_that_returns_closes_with_1000(serve: Any, connect: Any) -> None:
    def greet(environ: Environ, start_response: Any) -> list[bytes]:
        environ["wsgi.websocket"].send("hello")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"what a framework returns for a view without a result"]

    wsgi = serve(greet)
    client = connect(wsgi)
    assert client.recv_message() == "hello"
    client.expect_close(1000)
    eventually(lambda: not wsgi.busy)
    assert '" 101 ' in wsgi.log.getvalue()


def test_an_application_that_raises_closes_with_1011(serve: Any, connect: Any, monkeypatch: Any) -> None:
    def broken(environ: Environ, start_response: Any) -> list[bytes]:
        environ["wsgi.websocket"].send("hello")
        raise ZeroDivisionError

    raised: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda context, kind, value, tb: raised.append(kind))
    client = connect(serve(broken))
    assert client.recv_message() == "hello"
    client.expect_close(1011)
    assert raised == [ZeroDivisionError]


@pytest.mark.parametrize("is_iterator", [False, True])
def test_an_application_whose_framework_answers_with_500_closes_with_1011(
    serve: Any, connect: Any, is_iterator: bool
) -> None:
    def application(environ: Environ, start_response: Any) -> Any:
        environ["wsgi.websocket"].recv()
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return iter([b"What went wrong is in the log."]) if is_iterator else [b"What went wrong is in the log."]

    client = connect(serve(application))
    client.send("fail")
    client.expect_close(1011)


def test_a_peer_that_leaves_is_no_error_of_the_application(serve: Any, connect: Any) -> None:
    def waiting(environ: Environ, start_response: Any) -> list[bytes]:
        websocket = environ["wsgi.websocket"]
        while True:
            websocket.send(websocket.recv())

    wsgi = serve(waiting)
    client = connect(wsgi)
    client.echo()
    client.send_close(4000)
    assert client.recv_close()[0] == 4000
    other = connect(wsgi)
    other.echo()
    other.reset()
    eventually(lambda: not wsgi.busy)
    assert "Traceback" not in wsgi.log.getvalue()


def test_a_killed_application_closes_with_1001(serve: Any, connect: Any) -> None:
    wsgi = serve()
    client = connect(wsgi)
    client.echo()
    wsgi.server.stop(0.1)
    client.expect_close(1001)


def test_generators_may_use_the_websocket_while_they_run(serve: Any, connect: Any) -> None:
    def generator(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for message in environ["wsgi.websocket"]:
            environ["wsgi.websocket"].send(message)
            yield b"never sent"

    wsgi = serve(generator)
    client = connect(wsgi)
    for message in ("one", "two"):
        client.echo(message)
    client.close_handshake()
    eventually(lambda: not wsgi.busy)
    assert "Traceback" not in wsgi.log.getvalue()


# Accepting


def test_accept_chooses_the_subprotocol(serve: Any, connect: Any) -> None:
    def choosing(environ: Environ, start_response: Any) -> list[bytes]:
        websocket = environ["wsgi.websocket"]
        with pytest.raises(ValueError, match="does not offer"):
            websocket.accept(subprotocol="unheard of")
        assert websocket.accept(subprotocol="b") is websocket
        assert websocket.subprotocol == "b"
        with pytest.raises(RuntimeError, match="already"):
            websocket.accept()
        websocket.send("accepted")
        return []

    client = connect(serve(choosing), headers=[("Sec-WebSocket-Protocol", "a, b")])
    assert client.response.headers["sec-websocket-protocol"] == "b"
    assert client.recv_message() == "accepted"
    client.expect_close(1000)


def test_attributes_do_not_accept(serve: Any, connect: Any) -> None:
    seen: list[Any] = []

    def looking(environ: Environ, start_response: Any) -> list[bytes]:
        websocket = environ["wsgi.websocket"]
        assert isinstance(websocket, WebSocket) and isinstance(websocket, lws_gevent.Socket)
        seen.extend([websocket.path, websocket.query, websocket.closed, websocket.fd, websocket.ready_state.name])
        seen.extend([websocket.remote_address[0], websocket.accepted, websocket.data, websocket.subprotocol])
        start_response("401 Unauthorized", [("Content-Type", "text/plain")])
        return [b"who are you?"]

    client = connect(serve(looking), upgrade=False)
    response = client.request(upgrade_head("/path?query"))
    assert (response.status, response.body) == (401, b"who are you?")
    assert seen == ["/path", "query", False, -1, "CONNECTING", "127.0.0.1", False, None, None]


@pytest.mark.parametrize("streaming", [False, True])
def test_behind_a_normal_response_to_an_upgrade_nothing_is_interpreted(
    serve: Any, connect: Any, streaming: bool
) -> None:
    def refusing(environ: Environ, start_response: Any) -> Any:
        start_response("403 Forbidden", [("Connection", "keep-alive")])
        pieces = [b"no", b" websocket ", b"here"]
        return iter(pieces) if streaming else pieces

    wsgi = serve(refusing)
    client = connect(wsgi, upgrade=False)
    client.send_raw(upgrade_head() + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    response = client.recv_response()
    assert (response.status, response.headers["connection"]) == (403, "close")
    assert b"HTTP" not in client.drain_to_eof()
    client.disconnect()
    eventually(lambda: not wsgi.busy)
    assert "smuggled" not in wsgi.log.getvalue()


def test_a_peer_that_goes_on_sending_behind_a_normal_response_is_left_after_a_while(
    serve: Any, connect: Any, spawn: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(lws_gevent.wsgi, "_LINGER_SECONDS", 0.05)

    def refusing(environ: Environ, start_response: Any) -> Any:
        start_response("403 Forbidden", [])
        return []

    wsgi = serve(refusing)
    client = connect(wsgi, upgrade=False)
    assert client.request(upgrade_head()).status == 403

    def dribble() -> None:
        with contextlib.suppress(OSError):
            while True:
                client.dribble(b"x" * 100)

    spawn(dribble)
    eventually(lambda: not wsgi.busy)


def test_a_refused_handshake_is_answered_when_the_application_does_not(serve: Any, connect: Any) -> None:
    wsgi = serve(origins=["https://good.example"])
    client = connect(wsgi, upgrade=False)
    assert client.request(upgrade_head(headers=[("Origin", "https://evil.example")])).status == 403
    client.expect_eof()
    other = connect(wsgi, upgrade=False)
    assert other.request(upgrade_head(without=["Sec-WebSocket-Version"])).status == 400
    other.expect_eof()


@pytest.mark.parametrize(
    "head",
    [
        upgrade_head().replace(b"\r\n", b"\n"),
        upgrade_head(headers=[("X", "a\r\n folded")]),
        upgrade_head(headers=[("Name ", "space before the colon")]),
        upgrade_head(headers=[("X", "nul\0")]),
        upgrade_head(headers=[("Content-Length", "3"), ("Transfer-Encoding", "chunked")]),
        upgrade_head(headers=[("Content-Length", "3")]),
        upgrade_head(headers=[("Host", "other")]),
        upgrade_head(headers=[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]),
        upgrade_head(headers=[("Transfer-Encoding", "chunked")]),
    ],
    ids=["bare LF", "folded", "space", "NUL", "CL and TE", "CL", "two hosts", "two keys", "TE"],
)
def test_what_pywsgi_lets_through_is_refused_by_the_handler(
    serve: Any, connect: Any, head: bytes, request: Any
) -> None:
    if "middleware" in request.node.name and any(word in request.node.name for word in ("bare", "space")):
        pytest.skip("of this, an environ tells nothing")
    client = connect(serve(), upgrade=False)
    client.send_raw(head)
    assert client.recv_response().status in (400, 501)
    assert b"HTTP" not in client.drain_to_eof()


# Callback style


def test_callback_style_ends_the_requests_greenlet(serve: Any, connect: Any) -> None:
    wsgi: Wsgi

    def callbacks(environ: Environ, start_response: Any) -> list[bytes]:
        socket = wsgi.lws.accept(environ)
        socket.data = environ["PATH_INFO"]
        return []

    wsgi = serve(callbacks)
    wsgi.lws.on("message", lambda socket, message: socket.send(f"{socket.data}: {message}"))
    client = connect(wsgi, "/room")
    eventually(lambda: not wsgi.busy)
    client.send("hello")
    assert client.recv_message() == "/room: hello"
    assert '"GET /room HTTP/1.1" 101' in wsgi.log.getvalue()
    client.close_handshake()


def test_with_start_response_as_well(serve: Any, connect: Any) -> None:
    wsgi: Wsgi

    def callbacks(environ: Environ, start_response: Any) -> list[bytes]:
        wsgi.lws.accept(environ, start_response)
        return []

    wsgi = serve(callbacks)
    wsgi.lws.on("message", lambda socket, message: socket.send(message))
    client = connect(wsgi)
    client.echo()
    eventually(lambda: '" 101 ' in wsgi.log.getvalue())
    client.close_handshake()


# Settings


def test_half_open_peers_are_pinged_by_default(stack: Any) -> None:
    middleware = WebSocketMiddleware(echo, engine=stack.engine)
    assert (middleware.server.settings.ping_interval, middleware.server.settings.ping_timeout) == (20, 20)
    assert WebSocketMiddleware(echo, ping_interval=5).server.settings.ping_interval == 5


def test_pings_are_sent(serve: Any, connect: Any) -> None:
    client = connect(serve(ping_interval=0.05))
    assert client.recv_frame().opcode == 9


def test_who_expects_gevent_websockets_interface_is_told_where_it_is() -> None:
    def accept(*arguments: Any) -> Any:
        raise AssertionError("nobody has used it")

    websocket = WebSocket(accept, {})
    for name in ("receive", "environ", "handler", "version"):
        assert not hasattr(websocket, name)
        with pytest.raises(AttributeError, match=r"lws_gevent\.compat\.geventwebsocket"):
            getattr(websocket, name)
    with pytest.raises(AttributeError, match=r"has no 'reveice'$"):
        websocket.reveice  # noqa: B018


def test_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(TypeError, match="max_paylod"):
        WebSocketMiddleware(echo, max_paylod=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not both"):
        WebSocketMiddleware(echo, server=lws_gevent.Server(), max_payload=1)


def test_a_handler_without_settings_makes_a_server(stack: Any, nothing_leaks: None) -> None:
    server = pywsgi.WSGIServer(("127.0.0.1", 0), echo, log=None, handler_class=WebSocketHandler)
    server.start()
    with Client.connect(("127.0.0.1", server.server_port)) as client:
        client.echo()
        client.close_handshake()
    server.stop()
    server._lws_gevent_bridge.server.stop()


def test_handler_and_middleware_together(stack: Any, nothing_leaks: None) -> None:
    middleware = WebSocketMiddleware(echo)
    server = pywsgi.WSGIServer(("127.0.0.1", 0), middleware, log=None, handler_class=WebSocketHandler)
    server.start()
    with Client.connect(("127.0.0.1", server.server_port)) as client:
        client.echo()
        client.close_handshake()
    server.stop()
    server._lws_gevent_bridge.server.stop()
