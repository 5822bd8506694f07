"""WebSocketServers on servers that are none of lws_gevent.compat.ws: gevent.pywsgi's, and lws_gevent's own."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gevent.pywsgi import WSGIServer
from helpers import eventually
from parity import opened, record, until
from raw_http import HANDSHAKE, UPGRADE, ask

import lws_gevent
from lws_gevent.compat.ws import WebSocketServer, upgrades
from lws_gevent.compat.ws.core_link import CoreLink


def application(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a page"]


@pytest.fixture(params=["pywsgi", "parked", "greenlet"])
def server(request: Any) -> Iterator[Any]:
    """A started server that is not ours; `server.number` is its port."""
    made: Any
    if request.param == "pywsgi":
        made = WSGIServer(("127.0.0.1", 0), application, log=None)
    else:
        if request.param == "parked" and lws_gevent.Server().engine_name != "parked":
            pytest.skip("there is no parked engine here")
        made = lws_gevent.Server(("127.0.0.1", 0), engine=request.param)
        made.on("http", lambda: "a page")
    made.start()
    made.number = made.address[1]
    yield made
    made.stop(1)


def test_a_server_of_its_own_path(server: Any, dial: Any) -> None:
    wss = WebSocketServer({"server": server, "path": "/chat"})
    connection = until(wss, "connection")
    client = opened(dial(f"ws://127.0.0.1:{server.number}/chat?a=b"))
    websocket, request = connection()
    assert request.url == "/chat?a=b"
    assert request.socket.remoteAddress == "127.0.0.1"
    assert isinstance(websocket._link, CoreLink)
    assert wss.address() == {"address": "127.0.0.1", "family": "IPv4", "port": server.number}
    message = until(websocket, "message")
    client.send("hello")
    assert message() == (b"hello", False)
    closed = until(websocket, "close")
    client.close(1000)
    assert closed() == (1000, b"")
    assert ask(server.number, {**HANDSHAKE}, path="/other").body == b"Bad Request"
    response = ask(server.number, {**UPGRADE, "Sec-WebSocket-Key": "no"}, path="/chat")
    assert (response.status, response.body) == (400, b"Missing or invalid Sec-WebSocket-Key header")
    assert ask(server.number, {"Connection": "close"}).body.endswith(b"a page")
    wss.close()


def test_two_servers_share_one_by_their_paths(server: Any, dial: Any) -> None:
    servers = {path: WebSocketServer(noServer=True) for path in ("/one", "/two")}
    for path, wss in servers.items():
        wss.on("connection", lambda websocket, request, path=path: websocket.send(f"{path} {request.url}"))

    @upgrades(server).on("upgrade")
    def upgrade(request: Any, socket: Any, head: bytes) -> None:
        wss = servers.get(request.url)
        if wss is None:
            socket.destroy()
        else:
            wss.handleUpgrade(request, socket, head, lambda websocket: wss.emit("connection", websocket, request))

    assert upgrades(server) is upgrades(server)
    for path in servers:
        assert until(dial(f"ws://127.0.0.1:{server.number}{path}"), "message")() == (f"{path} {path}".encode(), False)
    client = dial(f"ws://127.0.0.1:{server.number}/three")
    events = record(client, "error", "close")
    until(client, "close")()
    assert [event[0] for event in events] == ["error", "close"]


def test_without_a_listener_the_server_keeps_its_upgrades(dial: Any) -> None:
    core = lws_gevent.Server(("127.0.0.1", 0))
    core.on("message", lambda socket, message: core.send(socket, message))
    wss = WebSocketServer({"server": core})
    core.start()
    wss.close()
    client = opened(dial(f"ws://127.0.0.1:{core.port}"))
    message = until(client, "message")
    client.send("echo")
    assert message() == (b"echo", False)
    core.stop(1)


@pytest.mark.parametrize("engine", ["parked", "greenlet"])
def test_a_server_that_nobody_has_any_more_is_gone(engine: str, dial: Any) -> None:
    core = lws_gevent.Server(("127.0.0.1", 0), engine="auto" if engine == "parked" else engine)
    core.start()
    wss = WebSocketServer({"server": core})
    closed = until(wss, "close")
    opened(dial(f"ws://127.0.0.1:{core.port}")).terminate()
    wss.close()
    closed()
    core.stop(1)
    left = weakref.ref(core)
    del core, wss
    eventually(lambda: gc.collect() is not None and left() is None, "the server is gone")
