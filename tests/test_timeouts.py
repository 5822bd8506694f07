"""Deadlines of connections: silence, pings, lifetime, peers that take nothing or do not answer a close."""

from __future__ import annotations

import os
import socket as stdlib_socket
from typing import Any

import gevent
import gevent.event
import pytest
from client import PING, PONG
from helpers import eventually, turns

from lws_gevent import ConnectionClosed


@pytest.fixture
def closes() -> list[Any]:
    return []


@pytest.fixture
def serve(make_server: Any, closes: list[Any]) -> Any:
    def make(**options: Any) -> Any:
        server = make_server(echo=True, **options)
        server.on("close", lambda socket, code: closes.append(code))
        return server

    return make


def test_a_silent_connection_is_pinged_and_then_ended(serve: Any, connect: Any, closes: list[Any]) -> None:
    server = serve(idle_timeout=3)
    client = connect(server)
    frame = client.recv_frame()
    assert (frame.opcode, frame.payload) == (PING, b"")
    client.drain_to_eof()
    eventually(lambda: closes)
    assert closes == [1006]


def test_any_octet_is_a_sign_of_life(serve: Any, connect: Any, closes: list[Any]) -> None:
    server = serve(idle_timeout=3)
    client = connect(server)
    for _ in range(2):  # each after two seconds: three would have been the end
        frame = client.recv_frame()
        assert frame.opcode == PING
        client.send_frame(PONG, frame.payload)
    client.echo("still there")
    assert closes == []


def test_pings_come_at_intervals_and_their_answers_within_the_timeout(
    serve: Any, connect: Any, closes: list[Any]
) -> None:
    server = serve(ping_interval=1, ping_timeout=2, idle_timeout=None)
    client = connect(server)
    for _ in range(2):
        frame = client.recv_frame()
        assert frame.opcode == PING
        client.send_frame(PONG, frame.payload)
    client.drain_to_eof()
    eventually(lambda: closes)
    assert closes == [1006]


def test_while_we_do_not_read_silence_proves_nothing(serve: Any, connect: Any, closes: list[Any]) -> None:
    server = serve(idle_timeout=1)
    release = gevent.event.Event()
    server.on("message", lambda socket: release.wait())
    client = connect(server)
    piece = b"x" * 60000
    for _ in range(10):  # more than is read ahead of a busy handler
        client.send(piece)
    gevent.sleep(2.5)
    assert closes == []
    release.set()
    for _ in range(10):
        assert client.recv_message() == piece


def test_max_lifetime_closes_with_1001(serve: Any, connect: Any, closes: list[Any]) -> None:
    server = serve(max_lifetime=0.3)
    client = connect(server)
    client.echo()
    client.expect_close(1001)
    eventually(lambda: closes)
    assert closes == [1001]


def test_a_peer_that_takes_nothing_ends_a_blocked_sender_after_send_timeout(
    serve: Any, connect: Any, closes: list[Any]
) -> None:
    server = serve(send_timeout=0.3, max_backpressure=10_000)
    client = connect(server, receive_buffer=4096)
    client.echo()
    (socket,) = server.connections
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            server.send(socket, b"x" * 100_000)
    assert closed.value.code == 1006
    eventually(lambda: closes)
    assert closes == [1006]
    client.drain_to_eof()


def test_a_peer_that_does_not_answer_a_close_is_cut_after_close_timeout(
    serve: Any, connect: Any, closes: list[Any]
) -> None:
    server = serve(close_timeout=0.3)
    client = connect(server)
    client.echo()
    (socket,) = server.connections
    server.close(socket, 4000)
    assert client.recv_close()[0] == 4000
    client.drain_to_eof()
    eventually(lambda: socket.closed)
    turns()
    assert closes == []


def test_keep_alive_is_set_as_asked(serve: Any, connect: Any) -> None:
    server = serve(keep_alive_time=60, keep_alive_interval=7, keep_alive_retry=3)
    client = connect(server)
    client.echo()
    (socket,) = server.connections
    with stdlib_socket.socket(fileno=os.dup(socket.fd)) as copy:
        assert copy.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)
        assert copy.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE)
        values = [
            copy.getsockopt(stdlib_socket.IPPROTO_TCP, option)
            for option in (stdlib_socket.TCP_KEEPIDLE, stdlib_socket.TCP_KEEPINTVL, stdlib_socket.TCP_KEEPCNT)
        ]
    assert values == [60, 7, 3]
