"""Requests that are no upgrade: the `http` event."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import gevent.event
import pytest
from certificates import client_hello
from helpers import eventually, turns

GET = b"GET /page?x=1 HTTP/1.1\r\nHost: localhost\r\nX-Header: value\r\n\r\n"


def ask(connect: Any, server: Any, head: bytes = GET) -> Any:
    client = connect(server, upgrade=False)
    response = client.request(head)
    client.expect_eof()
    assert response.headers["connection"].lower() == "close"
    return response


def test_without_a_listener_it_is_426(make_server: Any, connect: Any) -> None:
    response = ask(connect, make_server())
    assert response.status == 426
    assert response.headers["upgrade"].lower() == "websocket"


@pytest.mark.also_over_tls
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        ("text \u20ac", 200, "text \u20ac".encode()),
        (b"octets", 200, b"octets"),
        ((404, {"X-Why": "not here"}, "nothing"), 404, b"nothing"),
        ((204, {}, b""), 204, b""),
    ],
)
def test_what_the_handler_returns_is_the_answer(
    make_server: Any, connect: Any, answer: Any, status: int, body: bytes
) -> None:
    server = make_server()
    server.on("http", lambda socket, request: answer)
    response = ask(connect, server)
    assert (response.status, response.body) == (status, body)
    if status == 404:
        assert response.headers["x-why"] == "not here"


def test_the_request_is_described(make_server: Any, connect: Any) -> None:
    server = make_server()
    got: list[Any] = []

    @server.on("http")
    def http(socket: Any, request: Any) -> str:
        got.append((request.method, request.path, request.query, request.headers["x-header"], request.body))
        return "ok"

    ask(connect, server)
    assert got == [("GET", "/page", "x=1", "value", b"")]


@pytest.mark.also_over_tls
def test_respond_answers_later(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()
    release = gevent.event.Event()

    @server.on("http")
    def http(socket: Any, request: Any) -> None:
        def later() -> None:
            release.wait()
            server.respond(socket, 202, {"X-Later": "yes"}, b"later")

        spawn(later)

    client = connect(server, upgrade=False)
    client.send_raw(GET)
    turns()
    release.set()
    response = client.recv_response()
    assert (response.status, response.headers["x-later"], response.body) == (202, "yes", b"later")
    client.expect_eof()


@pytest.mark.also_over_tls
def test_a_big_answer_arrives_whole(make_server: Any, connect: Any) -> None:
    server = make_server()
    server.on("http", lambda socket, request: b"x" * 5_000_000)
    assert ask(connect, server).body == b"x" * 5_000_000


def test_a_handler_may_block_while_others_are_served(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    release = gevent.event.Event()
    entered = gevent.event.Event()

    @server.on("http")
    def http(socket: Any, request: Any) -> str:
        entered.set()
        release.wait()
        return "done"

    client = connect(server, upgrade=False)
    client.send_raw(GET)
    entered.wait()
    connect(server).echo(within=2)
    release.set()
    assert client.recv_response().body == b"done"


def test_the_client_may_leave_before_the_answer(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    release = gevent.event.Event()
    entered = gevent.event.Event()

    @server.on("http")
    def http(socket: Any, request: Any) -> bytes:
        entered.set()
        release.wait()
        return b"x" * 1_000_000

    client = connect(server, upgrade=False)
    client.send_raw(GET)
    entered.wait()
    client.reset()
    turns()
    release.set()
    connect(server).echo(within=2)


def test_an_answer_with_a_line_break_in_a_header_is_never_sent(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    errors: list[Any] = []
    server.on("error", lambda error: errors.append(error))
    server.on("http", lambda socket, request: (200, {"X-Bad": "a\r\nX-Injected: yes"}, "body"))
    client = connect(server, upgrade=False)
    client.send_raw(GET)
    answer = client.drain_to_eof()
    assert b"X-Injected" not in answer
    assert answer.startswith(b"HTTP/1.1 500 ")
    eventually(lambda: errors)
    assert isinstance(errors[0], ValueError)


def test_upgrades_go_on_beside_http(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    server.on("http", lambda socket, request: "page")
    connect(server).echo()
    assert ask(connect, server).body == b"page"


POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (POST + b"Content-Length: 11\r\n\r\n", 413, b"the request body has more than 10 octets\n"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", 411, b"the request body must come with a Content-Length\n"),
    ],
)
def test_a_body_that_is_too_big_or_of_unknown_size_is_refused_in_the_same_words(
    make_server: Any, connect: Any, head: bytes, status: int, words: bytes
) -> None:
    server = make_server(max_body_size=10)
    server.on("http", lambda socket, request: request.body)
    response = ask(connect, server, head)
    assert (response.status, response.body) == (status, words)
    assert ask(connect, server, POST + b"Content-Length: 10\r\n\r\n0123456789").body == b"0123456789"


def test_a_peer_that_speaks_tls_is_told_at_once_and_so_is_the_log(
    make_server: Any, connect: Any, debug_log: list[logging.LogRecord]
) -> None:
    server = make_server(handshake_timeout=3600)
    for segment in (client_hello(), client_hello()[:1]):
        response = ask(connect, server, segment)
        assert (response.status, response.body) == (400, b"the peer speaks TLS, this server does not\n")
    assert [record.levelname for record in debug_log] == ["DEBUG"] * 2
    assert debug_log[0].getMessage().startswith("request refused: the peer speaks TLS, this server does not (")
