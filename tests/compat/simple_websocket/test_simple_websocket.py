"""`lws_gevent.compat.simple_websocket`: its classes, and flask-sock, under a real gevent.pywsgi that is not patched."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from client import TEXT, Client, encode
from gevent import pywsgi
from helpers import eventually

import lws_gevent
from lws_gevent.compat import simple_websocket
from lws_gevent.wsgi import WebSocketMiddleware

#: It stands on public names only, which are the same on every stack.
pytestmark = pytest.mark.only("parked")


class Wsgi:
    """A pywsgi server, with or without the middleware of lws_gevent.wsgi."""

    def __init__(self, kind: str, application: Any) -> None:
        self.log = io.StringIO()
        self.middleware: Any = None
        if kind == "middleware":
            application = self.middleware = WebSocketMiddleware(application)
        self.server = pywsgi.WSGIServer(("127.0.0.1", 0), application, log=self.log, error_log=self.log, spawn=20)
        self.server.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.server_port}/ws"


@pytest.fixture(params=["plain", "middleware"])
def serve(request: Any, stack: Any, nothing_leaks: None) -> Iterator[Callable[..., Wsgi]]:
    servers: list[Wsgi] = []

    def make(application: Any) -> Wsgi:
        servers.append(Wsgi(request.param, application))
        return servers[-1]

    yield make
    for server in servers:
        server.server.stop(1)
        if server.middleware is not None:
            server.middleware.server.stop(1)
    for lws in simple_websocket._servers.pop(gevent.get_hub(), {}).values():
        lws.stop(1)
    servers.clear()


def plain(run: Callable[[Any], Any], **options: Any) -> Any:
    """A WSGI application of one function of the WebSocket."""

    def application(environ: Any, start_response: Any) -> Any:
        ws = simple_websocket.Server.accept(environ, **options)
        try:
            run(ws)
        except simple_websocket.ConnectionClosed:
            pass
        return []

    return application


def echo(ws: Any) -> None:
    while True:
        ws.send(ws.receive())


def test_a_server_and_a_client_of_simple_websocket(serve: Any) -> None:
    ends: list[Any] = []

    def run(ws: Any) -> None:
        try:
            echo(ws)
        except simple_websocket.ConnectionClosed as closed:
            ends.append((closed.reason, closed.message, ws.connected))

    wsgi = serve(plain(run, subprotocols=["b", "a"]))
    client = simple_websocket.Client.connect(wsgi.url, subprotocols=["a", "b"], headers={"X-Any": "thing"})
    assert client.connected and client.subprotocol == "a"
    for message in ("text", b"\x00\xff", "", "x" * 70_000):
        client.send(message)
        assert client.receive(10) == message
    assert client.receive(0) is None and client.receive(timeout=0.01) is None
    client.close(4001, "bye")
    eventually(lambda: ends)
    assert ends == [(4001, "bye", False)] and not client.connected
    with pytest.raises(simple_websocket.ConnectionClosed, match="4001 bye"):
        client.send("late")
    eventually(lambda: wsgi.server.pool.free_count() == 20)
    assert "Traceback" not in wsgi.log.getvalue()


def test_what_comes_with_the_handshake_is_not_lost_and_no_http_comes_behind_the_close(serve: Any) -> None:
    wsgi = serve(plain(echo))
    with Client.connect(wsgi.address, after=encode(TEXT, "early")) as client:
        assert client.recv_message() == "early"
        client.send_close(1000)
        assert client.recv_close() == (1000, "")
        assert client.drain_to_eof() == b""


def test_a_message_that_is_too_large_is_refused(serve: Any) -> None:
    with Client.connect(serve(plain(echo, max_message_size=100)).address) as client:
        client.echo("x" * 100)
        client.send("x" * 101)
        client.expect_close(1009)


def test_a_peer_that_does_not_answer_pings_is_dropped(serve: Any) -> None:
    with Client.connect(serve(plain(echo, ping_interval=0.5)).address) as client:
        assert client.recv_frame().opcode == 9
        client.drain_to_eof()


def test_a_bad_handshake_is_an_error(serve: Any) -> None:
    seen: list[Any] = []

    def application(environ: Any, start_response: Any) -> Any:
        try:
            simple_websocket.Server.accept(environ)
        except simple_websocket.ConnectionError as error:
            seen.append(error.status_code)
            start_response(f"{error.status_code} Refused", [("Content-Length", "0")])
            return []
        raise AssertionError

    with Client.open(serve(application).address) as client:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        assert client.request(head + b"Sec-WebSocket-Version: 13\r\n\r\n").status == 400
    assert seen == [400]


def test_a_refused_client_gets_an_error(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        start_response("403 Forbidden", [("Content-Length", "0")])
        return []

    with pytest.raises(simple_websocket.ConnectionError, match="403") as refused:
        simple_websocket.Client.connect(serve(application).url)
    assert refused.value.status_code == 403


@pytest.fixture
def sock(monkeypatch: Any) -> Any:
    """A Flask application with flask-sock, which runs on ours."""
    flask = pytest.importorskip("flask")
    flask_sock = pytest.importorskip("flask_sock")
    for name in ("simple_websocket", "simple_websocket.ws", "simple_websocket.errors"):
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    monkeypatch.setattr(flask_sock, "Server", flask_sock.Server)
    monkeypatch.setattr(flask_sock, "ConnectionClosed", flask_sock.ConnectionClosed)
    simple_websocket.install()
    return flask_sock.Sock(flask.Flask("test"))


def test_flask_sock_runs_on_it(serve: Any, sock: Any) -> None:
    import simple_websocket as theirs

    assert theirs is simple_websocket
    ended: list[bool] = []

    @sock.route("/ws")
    def view(ws: Any) -> None:
        try:
            echo(ws)
        finally:
            ended.append(ws.connected)

    @sock.app.route("/")
    def page() -> str:
        return "page"

    wsgi = serve(sock.app)
    for _ in range(2):
        with Client.connect(wsgi.address, "/ws", after=encode(TEXT, "early")) as client:
            assert client.recv_message() == "early"
            client.echo("hello")
            assert client.close_handshake(1000) == (1000, "")
    with Client.open(wsgi.address) as client:
        assert client.request(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").body == b"page"
    eventually(lambda: wsgi.server.pool.free_count() == 20)
    assert ended == [False, False] and "Traceback" not in wsgi.log.getvalue()


def test_a_view_that_returns_closes_with_1000_and_one_that_raises_with_1011(serve: Any, sock: Any) -> None:
    @sock.route("/returns")
    def returns(ws: Any) -> None:
        ws.send("hello")

    @sock.route("/raises")
    def raises(ws: Any) -> None:
        raise ZeroDivisionError

    wsgi = serve(sock.app)
    sock.app.logger.disabled = True
    with Client.connect(wsgi.address, "/returns") as client:
        assert client.recv_message() == "hello"
        client.expect_close(1000)
    with Client.connect(wsgi.address, "/raises") as client:
        # Flask has answered with its page for errors, which tells a middleware; without one, it is known from nobody
        # having the connection any more.
        collecting = gevent.spawn(collect)
        client.expect_close(1011)
        collecting.kill()


def collect() -> None:
    while True:
        gc.collect()
        gevent.sleep(0.01)


def test_it_runs_within_gevent_websockets_interface(stack: Any, nothing_leaks: None) -> None:
    from lws_gevent.compat.geventwebsocket.handler import WebSocketMiddleware as Compatible

    middleware = Compatible(plain(echo))
    server = pywsgi.WSGIServer(("127.0.0.1", 0), middleware, log=None)
    server.start()
    try:
        with Client.connect(("127.0.0.1", server.server_port)) as client:
            client.echo("hello")
            client.close_handshake()
    finally:
        server.stop(1)
        middleware.server.stop(1)
    assert isinstance(middleware.server, lws_gevent.Server)
