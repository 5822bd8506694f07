"""The `upgrade` event: who gets in, with what, and who does not."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest
from client import TEXT, Client, encode, upgrade_head
from helpers import eventually, turns

from lws_gevent import LwsError


def refused(connect: Any, server: Any, path: str = "/", headers: Any = ()) -> Any:
    """The response to an upgrade that is refused, and that the connection ends after it."""
    client: Client = connect(server, upgrade=False)
    response = client.request(upgrade_head(path, headers))
    client.expect_eof()
    assert response.headers["connection"].lower() == "close"
    assert "content-length" in response.headers
    return response


def test_true_refuses_with_403(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    opened: list[Any] = []
    server.on("connection", opened.append)
    server.on("upgrade", lambda socket: socket.path == "/refused")
    assert refused(connect, server, "/refused").status == 403
    connect(server, "/welcome").echo()
    assert len(opened) == 1


@pytest.mark.parametrize("body", ["who are you?", b"who are you?", ""])
def test_a_tuple_refuses_with_status_headers_and_body(make_server: Any, connect: Any, body: Any) -> None:
    server = make_server()
    server.on("upgrade", lambda socket: (401, {"WWW-Authenticate": "Basic"}, body))
    response = refused(connect, server)
    assert response.status == 401
    assert response.headers["www-authenticate"] == "Basic"
    assert response.body == (body if isinstance(body, bytes) else body.encode())


def test_headers_of_a_refusal_may_be_pairs(make_server: Any, connect: Any) -> None:
    server = make_server()
    server.on("upgrade", lambda socket: (302, [("Location", "/elsewhere")], ""))
    response = refused(connect, server)
    assert (response.status, response.headers["location"]) == (302, "/elsewhere")


def test_the_first_refusal_wins(make_server: Any, connect: Any) -> None:
    server = make_server()
    server.on("upgrade", lambda socket: None)
    server.on("upgrade", lambda socket: (418, {}, "first"))
    server.on("upgrade", lambda socket: (500, {}, "second"))
    assert refused(connect, server).body == b"first"


@pytest.mark.parametrize("answer", [None, False])
def test_nothing_and_false_accept(make_server: Any, connect: Any, answer: Any) -> None:
    server = make_server(echo=True)
    server.on("upgrade", lambda socket: answer)
    connect(server).echo()


def test_headers_are_case_insensitive_and_own_their_data(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    kept: list[Any] = []
    server.on("upgrade", lambda socket, headers: kept.append(headers))
    client = connect(server, "/", [("X-Some", "value \u00e9"), ("x-twice", "1"), ("X-Twice", "2"), ("Cookie", "a=b")])
    for _ in range(20):  # overwrite whatever buffer the head was read into
        client.echo(b"\x00" * 20000)
    headers = kept[0]
    assert headers["x-some"] == headers["X-SOME"] == "value \u00e9"
    assert headers.get_all("X-twice") == ["1", "2"]
    assert headers.get("absent") is None
    assert "COOKIE" in headers and "absent" not in headers
    with pytest.raises(KeyError):
        headers["absent"]
    assert "host" in {name.lower() for name in headers}
    assert len(headers) == len(list(headers))


def test_sending_before_the_connection_is_open_raises(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    raised: list[Any] = []

    @server.on("upgrade")
    def upgrade(socket: Any) -> None:
        assert socket.ready_state == 0
        for operation in (
            lambda: server.send(socket, "early"),
            lambda: socket.ping(),
            lambda: server.send(socket, b""),
        ):
            try:
                operation()
            except LwsError as error:
                raised.append(error)

    connect(server).echo()
    assert len(raised) == 3


def test_an_upgrade_handler_may_block_while_others_are_served(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(echo=True)
    release = gevent.event.Event()
    entered = gevent.event.Event()

    @server.on("upgrade")
    def upgrade(socket: Any) -> None:
        if socket.path == "/slow":
            entered.set()
            release.wait()

    slow = connect(server, upgrade=False)
    slow.send_raw(upgrade_head("/slow"))
    assert entered.wait(10)
    connect(server).echo(within=2)
    release.set()
    assert slow.recv_response().status == 101
    slow.echo()


@pytest.mark.parametrize("end", ["disconnect", "reset", "half_close"])
def test_a_client_that_leaves_during_a_blocked_upgrade_leaves_nothing(make_server: Any, connect: Any, end: str) -> None:
    server = make_server(echo=True)
    release = gevent.event.Event()
    sockets: list[Any] = []

    @server.on("upgrade")
    def upgrade(socket: Any) -> None:
        if socket.path == "/slow":
            sockets.append(socket)
            release.wait()

    leaving = connect(server, upgrade=False)
    leaving.send_raw(upgrade_head("/slow"))
    eventually(lambda: sockets)
    getattr(leaving, end)()
    turns()
    release.set()
    connect(server).echo(within=2)
    eventually(lambda: sockets[0].closed)


def test_only_the_path_upgrades(make_server: Any, connect: Any) -> None:
    server = make_server(path="/chat", echo=True)
    connect(server, "/chat").echo()
    connect(server, "/chat?room=1").echo()
    for other in ("/", "/chat/", "/chatter", "/Chat", "/other"):
        assert refused(connect, server, other).status == 404


def test_data_in_the_same_segment_as_the_head_is_delivered(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    client = connect(server, after=encode(TEXT, "one") + encode(TEXT, "two"))
    assert [client.recv_message(), client.recv_message()] == ["one", "two"]


def test_messages_sent_before_the_connection_handler_returns_are_delivered_after_it(
    make_server: Any, connect: Any
) -> None:
    server = make_server()
    order: list[str] = []
    release = gevent.event.Event()

    @server.on("connection")
    def connection(socket: Any) -> None:
        order.append("connection")
        release.wait()
        order.append("connection returns")

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        order.append(message)
        server.send(socket, message)

    client = connect(server, after=encode(TEXT, "one"))
    client.send("two")
    turns()
    release.set()
    assert [client.recv_message(), client.recv_message()] == ["one", "two"]
    assert order == ["connection", "connection returns", "one", "two"]


def test_what_the_connection_handler_sends_comes_first(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    server.on("connection", lambda socket: server.send(socket, "welcome"))
    client = connect(server, after=encode(TEXT, "hello"))
    assert [client.recv_message(), client.recv_message()] == ["welcome", "hello"]


def test_over_max_connections_is_503_until_one_leaves(make_server: Any, connect: Any) -> None:
    server = make_server(max_connections=2, echo=True)
    first, second = connect(server), connect(server)
    first.echo()
    second.echo()
    third = connect(server, upgrade=False)
    third.send_raw(upgrade_head())
    assert third.recv_response().status == 503
    third.expect_eof()
    first.close_handshake()
    eventually(lambda: len(list(server.connections)) == 1)

    def admitted() -> bool:
        client = connect(server, upgrade=False)
        client.send_raw(upgrade_head())
        if client.recv_response().status != 101:
            return False
        client.echo()
        return True

    eventually(admitted)
    second.echo()


def test_a_subprotocol_nobody_chose_is_not_answered(make_server: Any, connect: Any) -> None:
    client = connect(make_server(echo=True), "/", [("Sec-WebSocket-Protocol", "chat, superchat")])
    assert "sec-websocket-protocol" not in client.response.headers
    client.echo()


def test_offered_extensions_are_declined(make_server: Any, connect: Any) -> None:
    client = connect(make_server(echo=True), "/", [("Sec-WebSocket-Extensions", "permessage-deflate")])
    assert "sec-websocket-extensions" not in client.response.headers
    client.echo()


def test_closing_in_the_connection_handler(make_server: Any, connect: Any) -> None:
    server = make_server()
    closes: list[Any] = []
    server.on("close", closes.append)

    @server.on("connection")
    def connection(socket: Any) -> None:
        server.send(socket, "goodbye")
        server.close(socket, 4002, "not today")

    client = connect(server)
    assert client.recv_message() == "goodbye"
    assert client.expect_close(4002) == "not today"
    eventually(lambda: not list(server.connections))
    assert closes == []


def test_terminating_in_the_connection_handler(make_server: Any, connect: Any) -> None:
    server = make_server()
    server.on("connection", lambda socket: server.terminate(socket))
    client = connect(server, upgrade=False)
    client.send_raw(upgrade_head())
    client.drain_to_eof()
