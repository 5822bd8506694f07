"""How connections end: by the peer, by the application, by nobody's will; and what is heard of it."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest
from client import CLOSE, TEXT, close_payload, encode
from helpers import eventually, turns

from lws_gevent import ConnectionClosed


class Closes(list):
    """Records close events as (code, reason)."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        server.on("close", lambda socket, code, reason: self.append((code, reason)))


@pytest.mark.also_over_tls
@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 3000, 4999])
def test_the_peers_close_is_echoed_and_reported_once(make_server: Any, connect: Any, code: int) -> None:
    server = make_server()
    closes = Closes(server)
    assert connect(server).close_handshake(code, "the reason \u20ac")[0] == code
    eventually(lambda: closes)
    turns()
    assert closes == [(code, "the reason \u20ac")]


def test_an_empty_close_is_echoed_empty_and_reported_as_1005(make_server: Any, connect: Any) -> None:
    server = make_server()
    closes = Closes(server)
    assert connect(server).close_handshake(None) == (None, "")
    eventually(lambda: closes)
    assert closes == [(1005, "")]


@pytest.mark.also_over_tls
@pytest.mark.parametrize("end", ["disconnect", "reset", "half_close"])
def test_a_lost_connection_is_reported_once_as_1006(make_server: Any, connect: Any, end: str) -> None:
    server = make_server(echo=True)
    closes = Closes(server)
    client = connect(server)
    client.echo()
    getattr(client, end)()
    eventually(lambda: closes)
    turns()
    assert closes == [(1006, "")]
    eventually(lambda: not list(server.connections))
    if end == "half_close":
        client.drain_to_eof()


@pytest.mark.parametrize("end", ["disconnect", "reset"])
def test_a_connection_lost_inside_a_frame_is_reported_once_as_1006(make_server: Any, connect: Any, end: str) -> None:
    server = make_server(echo=True)
    closes = Closes(server)
    client = connect(server)
    client.echo()
    client.send_raw(encode(TEXT, "x" * 1000)[:500])
    getattr(client, end)()
    eventually(lambda: closes)
    assert closes == [(1006, "")]


def test_the_applications_close_is_not_reported(make_server: Any, connect: Any) -> None:
    server = make_server()
    closes = Closes(server)
    server.on("message", lambda socket: server.close(socket, 4000, "reason"))
    client = connect(server)
    client.send("go")
    assert client.expect_close(4000) == "reason"
    eventually(lambda: not list(server.connections))
    turns()
    assert closes == []


def test_a_close_without_arguments_is_1000(make_server: Any, connect: Any) -> None:
    server = make_server()
    server.on("message", lambda socket: socket.close())
    client = connect(server)
    client.send("go")
    assert client.expect_close(1000) == ""


@pytest.mark.also_over_tls
def test_terminate_ends_at_once_and_is_not_reported(make_server: Any, connect: Any) -> None:
    server = make_server()
    closes = Closes(server)
    state: list[Any] = []

    @server.on("message")
    def message(socket: Any) -> None:
        socket.terminate()
        state.append((socket.closed, socket.fd))
        with pytest.raises(ConnectionClosed):
            socket.send("too late")

    client = connect(server)
    client.send("go")
    client.expect_eof()
    eventually(lambda: state)
    assert state == [(True, -1)]
    turns()
    assert closes == []


@pytest.mark.also_over_tls
def test_pending_messages_go_before_the_close_frame(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=64 * 1024 * 1024)

    @server.on("message")
    def message(socket: Any) -> None:
        for number in range(100):
            server.send(socket, b"%d" % number + b"x" * 50000)
        server.close(socket, 1000)

    client = connect(server, receive_buffer=4096)
    client.send("go")
    got = [client.recv_message() for _ in range(100)]
    assert got == [b"%d" % number + b"x" * 50000 for number in range(100)]
    client.expect_close(1000)


def test_messages_after_our_close_are_not_delivered(make_server: Any, connect: Any) -> None:
    server = make_server()
    got: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        got.append(message)
        server.close(socket)

    client = connect(server)
    client.send("one")
    client.send("two")
    frame = client.recv_frame()
    assert frame.opcode == CLOSE
    client.send("three")
    client.send_close(1000)
    client.expect_eof()
    assert got == ["one"]


def test_a_peer_that_never_answers_our_close_is_cut_after_close_timeout(make_server: Any, connect: Any) -> None:
    server = make_server(close_timeout=0.2)
    server.on("message", lambda socket: server.close(socket, 4000))
    client = connect(server)
    client.send("go")
    assert client.recv_close() == (4000, "")
    client.expect_eof()
    eventually(lambda: not list(server.connections))


@pytest.mark.also_over_tls
def test_a_peer_that_never_reads_is_cut_after_close_timeout_too(make_server: Any, connect: Any) -> None:
    server = make_server(close_timeout=0.2, max_backpressure=64 * 1024 * 1024)

    @server.on("message")
    def message(socket: Any) -> None:
        server.send(socket, b"x" * 16_000_000)
        server.close(socket)

    client = connect(server, receive_buffer=4096)
    client.send("go")
    eventually(lambda: not list(server.connections))


@pytest.mark.also_over_tls
def test_the_server_ends_the_tcp_connection_first(make_server: Any, connect: Any) -> None:
    client = connect(make_server())
    client.send_close(1000)
    assert client.recv_close() == (1000, "")
    client.expect_eof(reset=False)


def test_both_sides_may_close_at_once(make_server: Any, connect: Any) -> None:
    server = make_server()
    release = gevent.event.Event()
    entered = gevent.event.Event()

    @server.on("message")
    def message(socket: Any) -> None:
        entered.set()
        release.wait()
        try:
            socket.close(4000)
        except ConnectionClosed:
            pass

    client = connect(server)
    client.send("go")
    entered.wait()
    client.send_close(4001)
    release.set()
    code, _ = client.recv_close()
    assert code in (4000, 4001)
    client.expect_eof()
    eventually(lambda: not list(server.connections))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, -1])
def test_a_code_that_must_not_be_sent_is_refused_and_nothing_is_sent(make_server: Any, connect: Any, code: int) -> None:
    server = make_server()
    raised: list[Any] = []

    @server.on("message")
    def message(socket: Any) -> None:
        with pytest.raises(ValueError):
            server.close(socket, code)
        raised.append(code)
        server.send(socket, "still open")

    client = connect(server)
    client.send("go")
    assert client.recv_message() == "still open"
    assert raised == [code]


def test_attributes_and_code_are_there_after_the_end(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, "/path?query")
    name = client.sock.getsockname()
    client.close_handshake(4005, "over")
    eventually(lambda: sockets[0].ready_state == 3)
    socket = sockets[0]
    assert socket.closed and socket.fd == -1
    assert socket.path == "/path" and socket.query == "query"
    assert tuple(socket.remote_address[:2]) == name[:2]
    assert repr(socket) == f"<Socket fd=-1 CLOSED {socket.remote_address}>"
    with pytest.raises(ConnectionClosed) as caught:
        socket.send("x")
    assert (caught.value.code, caught.value.reason) == (4005, "over")
    assert socket not in list(server.connections)


def test_the_close_event_comes_after_every_message(make_server: Any, connect: Any) -> None:
    server = make_server()
    order: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        order.append(message)
        gevent.sleep(0)

    server.on("close", lambda socket, code: order.append(code))
    client = connect(server)
    client.send_raw(b"".join(encode(TEXT, str(n)) for n in range(200)) + encode(CLOSE, close_payload(1000)))
    client.expect_close(1000, answer=False)
    eventually(lambda: len(order) == 201)
    assert order == [str(n) for n in range(200)] + [1000]


def test_messages_read_before_a_reset_are_still_delivered_or_not_at_all_but_in_order(
    make_server: Any, connect: Any
) -> None:
    server = make_server()
    order: list[Any] = []
    server.on("message", lambda socket, message: order.append(int(message)))
    server.on("close", lambda socket, code: order.append("close"))
    client = connect(server)
    client.send_raw(b"".join(encode(TEXT, str(n)) for n in range(200)))
    client.reset()
    eventually(lambda: "close" in order)
    turns()
    assert order[:-1] == list(range(len(order) - 1)) and order[-1] == "close"


@pytest.mark.also_over_tls
def test_a_protocol_error_is_reported_with_its_code_and_as_an_error(make_server: Any, connect: Any) -> None:
    from lws_gevent import ProtocolError

    server = make_server()
    closes = Closes(server)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    client = connect(server)
    client.send_frame(TEXT, b"\xff")
    client.expect_close(1007)
    eventually(lambda: closes)
    assert [code for code, _ in closes] == [1007]
    assert len(errors) == 1 and isinstance(errors[0], ProtocolError)
    assert errors[0].close_code == 1007


def test_a_protocol_error_without_a_listener_is_no_noise_above_warning(
    make_server: Any, connect: Any, logged: Any
) -> None:
    server = make_server()
    client = connect(server)
    client.send_frame(TEXT, b"\xff")
    client.expect_close(1007)
    eventually(lambda: not list(server.connections))
    assert all(record.exc_info is None or record.levelname != "CRITICAL" for record in logged.records)
    logged.clear()
