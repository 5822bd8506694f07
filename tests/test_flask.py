"""lws_gevent.flask: routes for WebSockets that Werkzeug finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from client import Client, upgrade_head
from gevent import pywsgi
from helpers import eventually
from tools import need_module

from lws_gevent.flask import PlainRoutes, websocket_route
from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware

GET = b"GET /room/x HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def app() -> Any:
    need_module("flask")
    from flask import Flask

    return Flask("tested")


@pytest.fixture(params=["handler", "middleware"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], tuple[str, int]]]:
    servers: list[Any] = []

    def start(app: Any) -> tuple[str, int]:
        if request.param == "handler":
            server = pywsgi.WSGIServer(("127.0.0.1", 0), app, handler_class=WebSocketHandler, log=None)
        else:
            server = pywsgi.WSGIServer(("127.0.0.1", 0), WebSocketMiddleware(app), log=None)
        server.start()
        servers.append(server)
        return "127.0.0.1", server.server_port

    yield start
    for server in servers:
        server.stop(1)


def test_a_view_gets_the_websocket_and_the_variables_of_its_rule(app: Any, serve: Any) -> None:
    from flask import Blueprint, request

    seen: list[Any] = []

    @websocket_route(app, "/room/<name>", endpoint="room")
    def room(websocket: Any, name: str) -> None:
        seen.append((name, request.args["token"], websocket))
        for message in websocket:
            websocket.send(f"{name}: {message}")

    part = Blueprint("part", __name__)

    @websocket_route(part, "/fails")
    def fails(websocket: Any) -> None:
        websocket.send("before")
        raise ZeroDivisionError

    app.register_blueprint(part, url_prefix="/part")
    address = serve(app)
    with Client.connect(address, "/room/x?token=y") as client:
        client.send("hello")
        assert client.recv_message() == "x: hello"
        client.close_handshake(1000)
    assert seen[0][:2] == ("x", "y")
    with Client.connect(address, "/room/x?token=y") as client:
        client.disconnect()  # which is no error of the view's
    eventually(lambda: len(seen) == 2 and seen[1][2].closed)
    with Client.connect(address, "/part/fails") as client:
        assert client.recv_message() == "before"
        client.expect_close(1011)
    with Client.open(address) as client:
        assert client.request(GET).status == 400  # plain HTTP at a WebSocket's route


def test_plain_routes_are_found_for_websockets(app: Any, serve: Any) -> None:
    from flask import request

    @app.route("/echo")
    def echo() -> str:
        websocket = request.environ.get("wsgi.websocket")
        if websocket is None:
            return "no WebSocket"
        for message in websocket:
            websocket.send(message)
        return ""

    with Client.open(serve(app)) as client:
        assert client.request(upgrade_head("/echo")).status == 400  # the trap
    app.wsgi_app = PlainRoutes(app.wsgi_app)
    address = serve(app)
    with Client.connect(address, "/echo") as client:
        client.echo("hello")
        client.close_handshake(1000)
    with Client.open(address) as client:
        assert client.request(upgrade_head("/nowhere")).status == 404
    with Client.open(address) as client:
        assert client.request(GET.replace(b"/room/x", b"/echo")).body == b"no WebSocket"


def test_without_anything_around_the_application_the_error_says_so(app: Any) -> None:
    @websocket_route(app, "/")
    def view(websocket: Any) -> None:
        raise AssertionError

    app.testing = True
    with pytest.raises(RuntimeError, match="no handler, middleware or worker"):
        app.test_client().get("/", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
