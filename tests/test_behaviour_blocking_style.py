"""recv() and iteration: a handler that reads its socket like a file."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest
from client import BINARY, TEXT, encode
from helpers import eventually, turns

from lws_gevent import ConnectionClosed


def test_recv_in_the_connection_handler_claims_the_socket(make_server: Any, connect: Any) -> None:
    server = make_server()
    events: list[Any] = []
    server.on("message", lambda socket, message: events.append(message))

    @server.on("connection")
    def connection(socket: Any) -> None:
        while True:
            message = socket.recv()
            socket.send(message)
            if message == "last":
                return

    client = connect(server)
    client.echo("text")
    client.echo(b"binary")
    client.echo("")
    client.echo(b"x" * 1_000_000)
    client.echo("last")
    client.expect_close(1000)
    assert events == []


@pytest.mark.also_over_tls
def test_iteration_gives_messages_in_order_until_1000(make_server: Any, connect: Any) -> None:
    server = make_server()
    got = gevent.event.AsyncResult()

    @server.on("connection")
    def connection(socket: Any) -> None:
        got.set([message for message in socket])

    client = connect(server)
    client.send_raw(b"".join(encode(TEXT, str(n)) for n in range(300)))
    client.close_handshake(1000)
    assert got.get() == [str(n) for n in range(300)]


@pytest.mark.parametrize(("code", "raises"), [(1000, None), (1001, None), (4000, 4000), (1011, 1011), (None, 1005)])
def test_how_iteration_ends(make_server: Any, connect: Any, code: Any, raises: Any) -> None:
    server = make_server()
    outcome = gevent.event.AsyncResult()

    @server.on("connection")
    def connection(socket: Any) -> None:
        try:
            for _ in socket:
                pass
        except ConnectionClosed as error:
            outcome.set(error.code)
            raise
        outcome.set(None)

    connect(server).close_handshake(code)
    assert outcome.get() == raises


@pytest.mark.parametrize("end", ["disconnect", "reset"])
def test_recv_raises_connection_closed_when_the_connection_is_lost(make_server: Any, connect: Any, end: str) -> None:
    server = make_server()
    outcome = gevent.event.AsyncResult()

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.send(socket.recv())
        try:
            socket.recv()
        except ConnectionClosed as error:
            outcome.set((error.code, error.reason))

    client = connect(server)
    client.echo()
    getattr(client, end)()
    assert outcome.get() == (1006, "")


def test_a_timeout_loses_nothing(make_server: Any, connect: Any) -> None:
    server = make_server()
    timed_out = gevent.event.Event()

    @server.on("connection")
    def connection(socket: Any) -> None:
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.001)
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0)
        try:
            with gevent.Timeout(0.001):
                socket.recv()
        except gevent.Timeout:
            timed_out.set()
        socket.send(socket.recv(timeout=10))
        for message in socket:
            socket.send(message)

    client = connect(server)
    whole = encode(TEXT, "half of it")
    client.send_raw(whole[:5])
    assert timed_out.wait(10)
    client.send_raw(whole[5:])
    assert client.recv_message() == "half of it"
    client.echo("next")


@pytest.mark.also_over_tls
def test_a_timeout_in_the_middle_of_a_message_loses_nothing(make_server: Any, connect: Any) -> None:
    server = make_server()
    timed_out = gevent.event.Event()

    @server.on("connection")
    def connection(socket: Any) -> None:
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.05)
        timed_out.set()
        for message in socket:
            socket.send(message)

    client = connect(server)
    whole = encode(TEXT, "the whole message")
    client.send_raw(whole[:9])
    assert timed_out.wait(10)
    client.send_raw(whole[9:])
    assert client.recv_message() == "the whole message"


def test_recv_of_a_message_that_waits_returns_at_once_even_with_timeout_0(make_server: Any, connect: Any) -> None:
    server = make_server()
    got = gevent.event.AsyncResult()

    @server.on("connection")
    def connection(socket: Any) -> None:
        first = socket.recv()
        got.set((first, socket.recv(timeout=0)))

    client = connect(server, after=encode(TEXT, "one") + encode(TEXT, "two"))
    assert got.get() == ("one", "two")
    client.expect_close(1000)


def test_a_second_reader_at_the_same_time_raises(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()
    raised = gevent.event.AsyncResult()

    @server.on("connection")
    def both(socket: Any) -> None:
        def second() -> None:
            try:
                socket.recv()
                raised.set(None)
            except RuntimeError as error:
                raised.set(error)

        spawn(second)
        socket.send(socket.recv())

    client = connect(server)
    assert isinstance(raised.get(), RuntimeError)
    client.send("first reader goes on")
    assert client.recv_message() == "first reader goes on"
    client.expect_close(1000)


def test_a_message_handler_may_claim_its_socket(make_server: Any, connect: Any) -> None:
    server = make_server()
    events: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        events.append(message)
        for other in socket:
            socket.send("claimed " + other)

    client = connect(server)
    client.send_raw(b"".join(encode(TEXT, word) for word in ("zero", "one", "two")))
    assert [client.recv_message(), client.recv_message()] == ["claimed one", "claimed two"]
    client.close_handshake()
    assert events == ["zero"]


def test_another_greenlet_may_claim_the_socket(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()

    def serve(socket: Any) -> None:
        for message in socket:
            socket.send(message)

    server.on("connection", lambda socket: spawn(serve, socket) and None)
    client = connect(server)
    client.echo("1")
    client.echo("2")
    client.close_handshake()


def test_pings_are_answered_between_reads_and_while_waiting(make_server: Any, connect: Any) -> None:
    server = make_server()
    release = gevent.event.Event()

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.send(socket.recv())
        release.wait()
        socket.send(socket.recv())

    client = connect(server)
    client.ping(b"while waiting")
    assert client.recv_pong() == b"while waiting"
    client.echo("one")
    client.ping(b"between")
    assert client.recv_pong() == b"between"
    release.set()
    client.echo("two")
    client.expect_close(1000)


def test_a_connection_handler_that_never_claimed_does_not_close(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    server.on("connection", lambda socket: None)
    client = connect(server)
    client.echo("1")
    client.echo("2")


def test_without_a_listener_data_waits_and_is_not_lost(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, after=encode(TEXT, "one"))
    client.send(b"two")
    eventually(lambda: sockets)
    turns()
    got = spawn(lambda: [sockets[0].recv(), sockets[0].recv()])
    assert got.get() == ["one", b"two"]


@pytest.mark.also_over_tls
def test_without_a_listener_data_waits_until_one_comes(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    got: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, after=encode(TEXT, "one"))
    client.send("two")
    eventually(lambda: sockets)
    turns()
    server.on("message", lambda socket, message: got.append(message))
    client.send("three")
    eventually(lambda: len(got) == 3)
    assert got == ["one", "two", "three"]


@pytest.mark.also_over_tls
def test_a_slow_reader_does_not_make_the_server_read_without_bound(make_server: Any, connect: Any) -> None:
    server = make_server()
    release = gevent.event.Event()
    claimed = gevent.event.Event()
    total = gevent.event.AsyncResult()

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.recv()
        claimed.set()
        release.wait()
        total.set(sum(1 for _ in socket))

    client = connect(server)
    client.send("first")
    claimed.wait()
    client.sock.settimeout(0)
    piece = encode(BINARY, b"x" * 60000)
    rest = b""
    sent = stuck = 0
    while stuck < 20:
        rest = rest or piece
        try:
            count = client.send_some(rest)
            rest, sent, stuck = rest[count:], sent + count, 0
        except BlockingIOError:
            stuck += 1
            turns(3)
        assert sent < 64 * 1024 * 1024, "the server reads on and on"
    client.sock.settimeout(client.timeout)
    release.set()
    client.send_raw(rest)
    client.close_handshake()
    assert total.get() == (sent + len(rest)) // len(piece)


def test_a_fragmented_message_is_received_whole(make_server: Any, connect: Any) -> None:
    server = make_server()

    @server.on("connection")
    def connection(socket: Any) -> None:
        for message in socket:
            socket.send(message)

    client = connect(server)
    client.send_frame(TEXT, "one ", fin=False)
    client.ping(b"between")
    client.send_frame(0, "two", fin=True)
    assert client.recv_message() == "one two"
    assert client.pongs == [b"between"]


def test_the_close_event_still_comes(make_server: Any, connect: Any) -> None:
    server = make_server()
    order: list[Any] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        for message in socket:
            order.append(message)
        order.append("returned")

    server.on("close", lambda socket, code: order.append(code))
    client = connect(server, after=encode(TEXT, "message"))
    client.close_handshake(1001)
    eventually(lambda: len(order) == 3)
    assert order == ["message", "returned", 1001]


def test_a_blocked_reader_can_be_killed(make_server: Any, connect: Any) -> None:
    server = make_server()
    greenlets: list[Any] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        greenlets.append(gevent.getcurrent())
        socket.recv()

    client = connect(server)
    eventually(lambda: greenlets)
    greenlets.pop().kill(block=False)
    client.expect_close(1011)


def test_the_reason_of_a_close_may_be_of_a_class_derived_from_str(make_server: Any, connect: Any) -> None:
    class Reason(str):
        pass

    server = make_server()
    outcome = gevent.event.AsyncResult()

    @server.on("connection")
    def connection(socket: Any) -> None:
        try:
            socket.recv()
        except ConnectionClosed as closed:
            outcome.set((closed.code, closed.reason))

    client = connect(server)
    eventually(lambda: server.connections)
    server.connections[0].close(4000, Reason("enough"))
    client.expect_close(4000)
    assert outcome.get() == (4000, "enough")
