"""`lws_gevent.reconnecting`."""

from __future__ import annotations

import ssl
from typing import Any

import gevent
import pytest
from gevent import socket
from helpers import Stack, eventually
from raw_server import accept, drain, read_head, url_of

import lws_gevent
from lws_gevent.reconnecting import _Delays, is_transient

QUICK: dict[str, Any] = {"initial_delay": 0.01, "max_delay": 0.02, "close_timeout": 1}


def test_each_time_a_fresh_connection(stack: Stack, make_server: Any) -> None:
    server = make_server()
    closes: list[int] = []
    server.on("close", lambda sock, code: closes.append(code))

    @server.on("connection")
    def connection(sock: Any) -> None:
        sock.send(str(server.stats()["opened"]))
        if server.stats()["opened"] < 3:
            sock.close(1012)

    received: list[Any] = []
    for sock in lws_gevent.reconnecting(url_of(server), engine=stack.engine, **QUICK):
        try:
            for message in sock:
                received.append(message)
                if message == "3":
                    break
        except lws_gevent.ConnectionClosed:
            continue
        break
    sock.close()
    assert received == ["1", "2", "3"]
    eventually(lambda: not server.connections)
    assert closes == [1000]  # those that the server itself has ended are no event


def test_a_connection_that_is_still_open_is_closed_for_the_next(stack: Stack, make_server: Any) -> None:
    server = make_server(echo=True)
    connections = lws_gevent.reconnecting(url_of(server), engine=stack.engine, **QUICK)
    first, second = next(connections), next(connections)
    second.send("x")
    assert second.recv(5) == "x"
    with pytest.raises(lws_gevent.ConnectionClosed):
        first.send("x")
    second.close()
    eventually(lambda: not server.connections)


def test_it_waits_for_a_server_that_is_not_there_yet(stack: Stack, make_server: Any, spawn: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    retries: list[Any] = []
    opened: list[Any] = []

    def client() -> None:
        url = f"ws://127.0.0.1:{port}/"
        on_retry = lambda error, delay: retries.append((type(error), 0 <= delay <= 0.02))  # noqa: E731
        with next(lws_gevent.reconnecting(url, engine=stack.engine, on_retry=on_retry, **QUICK)) as sock:
            sock.send("at last")
            opened.append(sock.recv(5))

    greenlet = spawn(client)
    eventually(lambda: len(retries) >= 3)
    make_server(port=port, echo=True)
    greenlet.join(10)
    assert opened == ["at last"] and set(retries) == {(ConnectionRefusedError, True)}


def test_a_refusal_for_good_is_raised_and_a_passing_one_is_not(stack: Stack, raw_server: Any) -> None:
    statuses = [503, 502, 429, 401]

    def handle(sock: Any) -> None:
        read_head(sock)
        sock.sendall(f"HTTP/1.1 {statuses.pop(0)} No\r\nContent-Length: 0\r\n\r\n".encode())
        drain(sock)

    with pytest.raises(lws_gevent.HandshakeError) as caught:
        next(lws_gevent.reconnecting(url_of(raw_server(handle)), engine=stack.engine, **QUICK))
    assert caught.value.status == 401 and not statuses


def test_attempts_can_be_bounded(stack: Stack, raw_server: Any) -> None:
    attempts: list[bytes] = []

    def handle(sock: Any) -> None:
        attempts.append(read_head(sock))

    with pytest.raises(lws_gevent.HandshakeError):
        next(lws_gevent.reconnecting(url_of(raw_server(handle)), engine=stack.engine, max_attempts=3, **QUICK))
    assert len(attempts) == 3


def test_who_asks_decides_what_to_try_again(stack: Stack, raw_server: Any) -> None:
    attempts: list[bytes] = []

    def handle(sock: Any) -> None:
        attempts.append(b"")
        if len(attempts) < 3:
            read_head(sock)
            sock.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        else:
            accept(sock)
        drain(sock)

    connections = lws_gevent.reconnecting(
        url_of(raw_server(handle)), engine=stack.engine, retry=lambda error: True, **QUICK
    )
    next(connections).terminate()
    assert len(attempts) == 3


def test_a_kill_ends_it(stack: Stack, nothing_leaks: None, spawn: Any) -> None:
    greenlet = spawn(lambda: next(lws_gevent.reconnecting("ws://127.0.0.1:1/", engine=stack.engine, initial_delay=30)))
    gevent.sleep(0.05)
    greenlet.kill()
    assert greenlet.dead


def test_delays_double_up_to_their_maximum_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    delays = _Delays(1, 5)
    assert [delays.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    delays.after(4.9)
    assert delays.next() == 5
    delays.after(5)
    assert [delays.next(), delays.next()] == [1, 2]


def test_what_passes_and_what_does_not() -> None:
    transient = [
        ConnectionRefusedError(),
        TimeoutError(),
        socket.gaierror(),
        lws_gevent.HandshakeError(0),
        ssl.SSLError(),
    ]
    assert all(map(is_transient, transient))
    lasting = [ValueError(), lws_gevent.HandshakeError(101), ssl.SSLCertVerificationError(), lws_gevent.LwsError()]
    assert not any(map(is_transient, lasting))


def test_wrong_options_are_errors_at_once() -> None:
    for wrong in ({"initial_delay": 0}, {"max_delay": -1}, {"max_attempts": 0}, {"timeout": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            lws_gevent.reconnecting("ws://a", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        lws_gevent.reconnecting("a")
