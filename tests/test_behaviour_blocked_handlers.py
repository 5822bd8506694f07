"""A handler may block. Its connection goes on answering, learns of its end, and loses nothing."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import gevent.queue
import pytest
from client import BINARY, TEXT, encode
from helpers import eventually, turns

from lws_gevent import ConnectionClosed


@pytest.fixture(params=["message", "connection"])
def blocked(request: Any, make_server: Any, connect: Any) -> Any:
    """A connection whose handler (of either kind) is blocked; what it does after the release is up to the test."""

    class Blocked:
        def __init__(self) -> None:
            self.release = gevent.event.Event()
            self.entered = gevent.event.Event()
            self.outcome = gevent.event.AsyncResult()
            self.closes: list[Any] = []
            self.then = lambda socket: socket.send("released")
            self.server = make_server()
            self.server.on("close", lambda socket, code, reason: self.closes.append((code, reason)))
            self.first = True
            self.later: list[Any] = []
            if request.param == "message":
                self.server.on("message", self.message)
            else:
                self.server.on("connection", self.handle)
                self.server.on("message", lambda socket, message: self.later.append(message))
            self.client = connect(self.server)
            if request.param == "message":
                self.client.send("block")
            self.entered.wait()

        def message(self, socket: Any, message: Any) -> None:
            if self.first:
                self.first = False
                self.handle(socket)
            else:
                self.later.append(message)

        def handle(self, socket: Any) -> None:
            self.socket = socket
            self.entered.set()
            self.release.wait()
            try:
                self.outcome.set(self.then(socket))
            except BaseException as error:
                self.outcome.set_exception(error)
                raise

    return Blocked()


@pytest.mark.also_over_tls
def test_a_first_send_before_blocking_arrives_at_once(make_server: Any, connect: Any) -> None:
    release = gevent.event.Event()
    server = make_server()

    @server.on("message")
    def message(socket: Any) -> None:
        server.send(socket, "before")
        release.wait()
        server.send(socket, "after")

    client = connect(server)
    client.send("go")
    assert client.recv_message() == "before"
    release.set()
    assert client.recv_message() == "after"


def test_a_first_send_in_the_connection_handler_arrives_at_once(make_server: Any, connect: Any) -> None:
    release = gevent.event.Event()
    server = make_server()

    @server.on("connection")
    def connection(socket: Any) -> None:
        server.send(socket, "before")
        release.wait()
        server.send(socket, "after")

    client = connect(server)
    assert client.recv_message() == "before"
    release.set()
    assert client.recv_message() == "after"


@pytest.mark.also_over_tls
def test_pings_are_answered_while_the_handler_is_blocked(blocked: Any) -> None:
    for number in range(5):
        blocked.client.ping(b"%d" % number)
        assert blocked.client.recv_pong() == b"%d" % number
    blocked.release.set()
    assert blocked.client.recv_message() == "released"


@pytest.mark.also_over_tls
def test_a_close_frame_is_noticed_and_answered_and_the_next_send_raises(blocked: Any) -> None:
    assert blocked.client.close_handshake(4001, "had enough")[0] == 4001
    eventually(lambda: blocked.socket.closed)
    assert not blocked.closes, "the close event waits for the running handler"
    blocked.release.set()
    with pytest.raises(ConnectionClosed) as caught:
        blocked.outcome.get()
    assert (caught.value.code, caught.value.reason) == (4001, "had enough")
    eventually(lambda: blocked.closes)
    assert blocked.closes == [(4001, "had enough")]


@pytest.mark.also_over_tls
def test_a_reset_is_noticed_and_the_next_send_raises(blocked: Any) -> None:
    blocked.client.reset()
    eventually(lambda: blocked.socket.closed)
    assert blocked.socket.fd == -1 or blocked.socket.ready_state != 1
    blocked.release.set()
    with pytest.raises(ConnectionClosed) as caught:
        blocked.outcome.get()
    assert caught.value.code == 1006
    eventually(lambda: blocked.closes)
    assert blocked.closes == [(1006, "")]


@pytest.mark.also_over_tls
def test_an_end_of_stream_without_a_close_frame_is_noticed(blocked: Any) -> None:
    blocked.client.disconnect()
    eventually(lambda: blocked.socket.closed)
    blocked.release.set()
    with pytest.raises(ConnectionClosed):
        blocked.outcome.get()
    eventually(lambda: blocked.closes)
    assert blocked.closes[0][0] == 1006


def test_a_protocol_error_is_noticed_while_the_handler_is_blocked(blocked: Any) -> None:
    blocked.server.on("error", lambda error, socket: None)
    blocked.client.send_frame(3, b"")
    blocked.client.expect_close(1002)
    blocked.release.set()
    with pytest.raises(ConnectionClosed):
        blocked.outcome.get()
    eventually(lambda: blocked.closes)
    assert [code for code, _ in blocked.closes] == [1002]


def test_every_verb_raises_after_the_end_and_reading_attributes_does_not(blocked: Any) -> None:
    socket, server = blocked.socket, blocked.server
    prepared = server.prepare_buffer("prepared")
    blocked.client.disconnect()
    eventually(lambda: socket.closed)
    for operation in (
        lambda: server.send(socket, "x"),
        lambda: socket.send(b"x"),
        lambda: server.send_prepared(socket, prepared),
        lambda: server.send_fragment(socket, "x", False),
        lambda: server.ping(socket),
        lambda: server.pong(socket),
        lambda: socket.recv(),
    ):
        with pytest.raises(ConnectionClosed):
            operation()
    for name in (
        "data",
        "remote_address",
        "path",
        "query",
        "subprotocol",
        "extensions",
        "buffered_amount",
        "ready_state",
    ):
        getattr(socket, name)
    assert socket.ready_state in (2, 3)
    assert hash(socket) == hash(socket) and socket == socket
    blocked.release.set()


@pytest.mark.also_over_tls
def test_messages_sent_meanwhile_are_handled_afterwards_in_order(blocked: Any) -> None:
    blocked.client.send_raw(b"".join(encode(TEXT, str(number)) for number in range(500)))
    blocked.client.ping(b"read so far")
    assert blocked.client.recv_pong() == b"read so far"
    assert blocked.later == []
    blocked.release.set()
    eventually(lambda: len(blocked.later) == 500)
    assert blocked.later == [str(number) for number in range(500)]


@pytest.mark.also_over_tls
def test_a_flood_of_messages_to_a_blocked_handler_is_not_read_without_bound(blocked: Any) -> None:
    total = 0
    piece = encode(BINARY, b"x" * 60000)
    blocked.client.sock.settimeout(0)
    sent = b""
    full = 0
    while full < 20:
        try:
            if not sent:
                sent = piece
            count = blocked.client.send_some(sent)
            sent = sent[count:]
            total += count
            full = 0
        except BlockingIOError:
            full += 1
            turns(3)
        assert total < 64 * 1024 * 1024, "the server reads on and on"
    blocked.client.sock.settimeout(blocked.client.timeout)
    blocked.release.set()
    blocked.client.send_raw(sent)
    whole = (total + len(sent)) // len(piece)
    eventually(lambda: len(blocked.later) == whole)
    assert all(message == b"x" * 60000 for message in blocked.later)
    assert blocked.client.recv_message() == "released"


@pytest.mark.also_over_tls
def test_the_end_is_noticed_even_behind_a_flood(blocked: Any) -> None:
    blocked.client.sock.settimeout(0)
    full = 0
    piece = encode(BINARY, b"x" * 60000)
    while full < 20:
        try:
            blocked.client.send_some(piece)
            full = 0
        except BlockingIOError:
            full += 1
            turns(3)
    blocked.client.reset()
    eventually(lambda: blocked.socket.closed)
    blocked.release.set()
    with pytest.raises(ConnectionClosed):
        blocked.outcome.get()
    eventually(lambda: blocked.closes)
    assert len(blocked.closes) == 1


@pytest.mark.parametrize("event", ["connection", "message"])
def test_the_classic_endless_sender_ends_when_its_client_leaves(make_server: Any, connect: Any, event: str) -> None:
    server = make_server()
    ended = gevent.event.Event()

    @server.on(event)
    def forever(socket: Any) -> None:
        try:
            while True:
                server.send(socket, "tick")
                gevent.sleep(0.001)
        finally:
            ended.set()

    client = connect(server)
    client.send("go")
    for _ in range(5):
        assert client.recv_message() == "tick"
    client.reset()
    assert ended.wait(10)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_killed_handler_ends_its_connection_quietly(blocked: Any, end: str) -> None:
    errors: list[Any] = []
    blocked.server.on("error", lambda error, socket: errors.append(error))

    def die(socket: Any) -> None:
        raise gevent.GreenletExit

    blocked.then = die
    if end == "reset":
        blocked.client.reset()
        eventually(lambda: blocked.socket.closed)
    blocked.release.set()
    if end == "close":
        blocked.client.expect_close(1011)
    eventually(lambda: blocked.closes)
    assert errors == []


def test_a_blocked_handler_can_be_killed_from_outside_and_others_go_on(make_server: Any, connect: Any) -> None:
    server = make_server()
    greenlets: list[Any] = []
    errors: list[Any] = []
    closes: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    server.on("close", lambda socket, code: closes.append(code))

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "block":
            greenlets.append(gevent.getcurrent())
            gevent.event.Event().wait()
        server.send(socket, message)

    victim, other = connect(server), connect(server)
    victim.send("block")
    eventually(lambda: greenlets)
    assert isinstance(greenlets[0], gevent.Greenlet)
    other.echo()
    greenlets[0].kill(block=False)
    victim.expect_close(1011)
    other.echo()
    eventually(lambda: closes)
    assert closes == [1011] and errors == []
    greenlets.clear()


def test_a_timeout_around_a_blocking_call_belongs_to_the_handler(make_server: Any, connect: Any) -> None:
    server = make_server()

    @server.on("message")
    def message(socket: Any) -> None:
        try:
            with gevent.Timeout(0.001):
                gevent.event.Event().wait()
        except gevent.Timeout:
            server.send(socket, "timed out")

    client = connect(server)
    for _ in range(5):
        client.send("go")
        assert client.recv_message() == "timed out"


def test_a_greenlet_spawned_by_a_handler_may_send_later(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()
    release = gevent.event.Event()

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        def later() -> None:
            release.wait()
            server.send(socket, "later " + message)

        spawn(later)

    client = connect(server)
    client.send("1")
    client.ping()
    client.recv_pong()
    release.set()
    assert client.recv_message() == "later 1"


@pytest.mark.also_over_tls
def test_many_connections_may_block_at_once(make_server: Any, connect: Any) -> None:
    count = 500
    server = make_server()
    release = gevent.event.Event()
    inside = 0

    @server.on("message")
    def message(socket: Any) -> None:
        nonlocal inside
        inside += 1
        release.wait()
        server.send(socket, "done")

    clients = [connect(server) for _ in range(count)]
    for client in clients:
        client.send("block")
    eventually(lambda: inside == count)
    release.set()
    assert [client.recv_message() for client in clients] == ["done"] * count


def test_a_handler_may_close_itself_and_others(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    closes: list[Any] = []
    server.on("connection", sockets.append)
    server.on("close", lambda socket: closes.append(socket))

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "close all":
            for other in sockets:
                other.close(4000, "all")
            with pytest.raises(ConnectionClosed):
                server.send(socket, "too late")

    clients = [connect(server) for _ in range(5)]
    clients[2].send("close all")
    for client in clients:
        assert client.expect_close(4000) == "all"
    eventually(lambda: not list(server.connections))
    assert closes == [], "no event for the application's own close"
