"""lws_gevent.compat.lws: node-lws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from client import Client
from gevent import pywsgi
from helpers import eventually

from lws_gevent.compat import lws


@pytest.fixture
def servers() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for server in made:
        server.stop(1)


def serve(servers: list[Any], **options: Any) -> Any:
    server = lws.Server({"port": 0, "host": "127.0.0.1", **options})
    servers.append(server)
    return server


def connect(server: Any) -> Client:
    return Client.connect(("127.0.0.1", server.port))


def test_the_first_example_of_its_readme(servers: list[Any]) -> None:
    server = serve(servers)
    heard: list[Any] = []
    server.on("upgrade", lambda socket, headers: heard.append(headers["upgrade"]))

    def connection(socket: Any) -> None:
        server.send(socket, b"a text message", False)
        server.send(socket, b"a binary message", True)
        server.setUserData(socket, "persistent per socket data")

    server.on("connection", connection)
    server.on("message", lambda socket, message: server.send(socket, b"You sent me this: " + message, False))
    server.on("close", lambda socket: heard.append(server.getUserData(socket)))
    client = connect(server)
    assert client.recv_message() == "a text message"
    assert client.recv_message() == b"a binary message"
    client.send("hello")
    assert client.recv_message() == "You sent me this: hello"
    client.disconnect()
    eventually(lambda: heard == ["websocket", "persistent per socket data"])


def test_messages_are_octets_and_their_kind(servers: list[Any]) -> None:
    server = serve(servers)
    heard: list[Any] = []
    server.on("message", lambda socket, message, binary, remaining: heard.append((message, binary, remaining)))
    client = connect(server)
    client.send("gr\u00fc\u00dfe")
    client.send(b"\xff")
    eventually(lambda: len(heard) == 2)
    assert heard == [("gr\u00fc\u00dfe".encode(), False, 0), (b"\xff", True, 0)]


def test_an_upgrade_listener_that_returns_true_refuses(servers: list[Any]) -> None:
    server = serve(servers)
    server.on("upgrade", lambda: True)
    with pytest.raises(AssertionError):
        connect(server)


def test_prepared_buffers_and_fragments(servers: list[Any]) -> None:
    server = serve(servers)
    prepared = server.prepareBuffer(b"many times")

    def connection(socket: Any) -> None:
        assert server.getFd(socket) > 0
        server.sendPrepared(socket, prepared, False)
        server.sendFragment(socket, b"one ", False, 3)
        server.sendFragment(socket, b"two", False, 0)

    server.on("connection", connection)
    client = connect(server)
    assert [client.recv_message(), client.recv_message()] == ["many times", "one two"]


def test_an_own_close_is_no_event(servers: list[Any]) -> None:
    server = serve(servers)
    closes: list[Any] = []
    server.on("close", closes.append)
    server.on("connection", lambda socket: (server.send(socket, b"last", False), server.close(socket)))
    client = connect(server)
    assert client.recv_message() == "last"
    assert client.recv_close() == (1000, "")
    client.send_close(1000)
    client.expect_eof()
    assert closes == []


def test_a_port_in_use_is_told_to_the_error_listener(servers: list[Any]) -> None:
    server = serve(servers)
    second = lws.Server({"port": server.port, "host": "127.0.0.1"})
    errors: list[Any] = []
    second.on("connection", errors.append)
    second.on("error", errors.append)
    assert [type(error) for error in errors] == [OSError]


def test_connections_of_another_server_are_imported(servers: list[Any]) -> None:
    from lws_gevent.compat import ws

    server = lws.Server({})
    servers.append(server)
    server.on("message", lambda socket, message: server.send(socket, message, False))
    web = pywsgi.WSGIServer(("127.0.0.1", 0), lambda environ, start: start("404 Not Found", []) or [], log=None)
    imported: list[Any] = []

    @ws.upgrades(web).on("upgrade")
    def upgrade(request: Any, sock: Any, head: bytes) -> None:
        imported.append(server.handleUpgrade(sock, request, head))

    web.start()
    client = Client.connect(("127.0.0.1", web.server_port))
    client.echo()
    assert imported[0] is not None
    client.disconnect()
    web.stop()


def test_options_have_the_names_of_node_lws(servers: list[Any]) -> None:
    server = serve(servers, keepAliveTime=10, keepAliveInterval=5, keepAliveRetry=3, maxPayload=100)
    assert (server.core.settings.keep_alive_time, server.core.settings.max_payload) == (10, 100)
    with pytest.raises(TypeError, match="unknown option"):
        lws.Server({"keep_alive_time": 10})


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "compressed"])
def test_ws_server_broadcasts(deflate: bool) -> None:
    from lws_gevent.compat.ws import WebSocket

    server = lws.wsServer({"port": 0, "host": "127.0.0.1", "perMessageDeflate": deflate})
    eventually(server.address)
    heard: list[Any] = []
    clients = [WebSocket(f"ws://127.0.0.1:{server.address()['port']}") for _ in range(3)]
    for client in clients:
        client.on("message", lambda data, is_binary: heard.append((data, is_binary)))
    eventually(lambda: server.clients.size == 3 and all(client.readyState == 1 for client in clients))
    server.broadcast("to all")
    eventually(lambda: len(heard) == 3)
    server.broadcast("as octets", {"binary": True})
    eventually(lambda: len(heard) == 6)
    assert heard == [(b"to all", False)] * 3 + [(b"as octets", True)] * 3
    for client in clients:
        client.terminate()
    server.close()
    eventually(lambda: server.clients.size == 0)
