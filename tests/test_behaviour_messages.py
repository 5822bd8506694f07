"""Messages arrive whole, in order, one at a time per connection; what handlers send goes out as it was sent."""

from __future__ import annotations

import random
from typing import Any

import gevent
import gevent.event
import pytest
from client import BINARY, CONTINUATION, PING, TEXT, Frame, encode, upgrade_head
from helpers import eventually, turns

import lws_gevent

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 65537, 1_000_000]


@pytest.mark.also_over_tls
@pytest.mark.parametrize("size", SIZES)
def test_binary_messages_of_every_size_class_come_back(make_server: Any, connect: Any, size: int) -> None:
    client = connect(make_server(echo=True))
    message = random.Random(size).randbytes(size)
    sender = gevent.spawn(client.send, message)
    assert client.recv_message() == message
    sender.get()


@pytest.mark.parametrize("size", SIZES)
def test_text_messages_of_every_size_class_come_back(make_server: Any, connect: Any, size: int) -> None:
    client = connect(make_server(echo=True))
    message = ("h\u00e9ll\u00f6 \u20ac \U0001f600 " * (size // 8 + 1))[:size]
    sender = gevent.spawn(client.send, message)
    assert client.recv_message() == message
    sender.get()


@pytest.mark.also_over_tls
def test_a_message_of_16_mib_comes_back(make_server: Any, connect: Any) -> None:
    client = connect(make_server(echo=True))
    message = random.Random(1).randbytes(16 * 1024 * 1024)
    sender = gevent.spawn(client.send, message)
    assert client.recv_message() == message
    sender.get()


def test_text_is_str_and_binary_is_bytes_and_nothing_remains(make_server: Any, connect: Any) -> None:
    got: list[Any] = []
    server = make_server()
    server.on("message", lambda socket, message, binary, remaining: got.append((message, binary, remaining)))
    client = connect(server)
    client.send("text")
    client.send(b"binary")
    client.send("")
    client.send(b"")
    eventually(lambda: len(got) == 4)
    assert got == [("text", False, 0), (b"binary", True, 0), ("", False, 0), (b"", True, 0)]
    assert all(type(message) is (bytes if binary else str) for message, binary, _ in got)


def test_listeners_may_take_fewer_arguments_and_run_in_order(make_server: Any, connect: Any) -> None:
    got: list[Any] = []
    server = make_server()
    server.on("message", lambda: got.append("none"))
    server.on("message", lambda socket: got.append("one"))
    server.on("message", lambda socket, message: got.append(message))
    server.on("message", lambda *arguments: got.append(len(arguments)))
    connect(server).send("two")
    eventually(lambda: len(got) == 4)
    assert got == ["none", "one", "two", 4]


def test_once_runs_once_and_off_removes(make_server: Any, connect: Any) -> None:
    got: list[Any] = []
    server = make_server(echo=True)
    server.once("message", lambda socket, message: got.append(("once", message)))

    @server.on("message")
    def removed(socket: Any, message: str) -> None:
        got.append(("removed", message))

    client = connect(server)
    client.echo("1")
    server.off("message", removed)
    client.echo("2")
    assert got == [("once", "1"), ("removed", "1")] or got == [("removed", "1"), ("once", "1")]


def test_a_listener_added_while_connected_is_called(make_server: Any, connect: Any) -> None:
    server = make_server()
    client = connect(server)
    server.on("message", lambda socket, message: server.send(socket, "late " + message))
    client.send("message")
    assert client.recv_message() == "late message"


def test_an_unknown_event_is_refused_by_name(make_server: Any) -> None:
    server = make_server(start=False)
    with pytest.raises(ValueError, match="mesage"):
        server.on("mesage", print)


@pytest.mark.also_over_tls
def test_pipelined_messages_are_handled_in_order_and_never_concurrently(make_server: Any, connect: Any) -> None:
    count = 2000
    running = 0
    got: list[int] = []
    server = make_server()
    pick = random.Random(3)

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        nonlocal running
        assert running == 0
        running += 1
        if pick.random() < 0.1:
            gevent.sleep(0)
        got.append(int(message))
        server.send(socket, message)
        running -= 1

    client = connect(server)
    client.send_raw(b"".join(encode(TEXT, str(number)) for number in range(count)))
    assert [client.recv_message() for _ in range(count)] == [str(number) for number in range(count)]
    assert got == list(range(count))


def test_connections_are_handled_concurrently(make_server: Any, connect: Any) -> None:
    server = make_server()
    together = gevent.event.Event()
    inside: set[Any] = set()

    @server.on("message")
    def message(socket: Any) -> None:
        inside.add(socket)
        if len(inside) == 50:
            together.set()
        together.wait()
        server.send(socket, "together")

    clients = [connect(server) for _ in range(50)]
    for client in clients:
        client.send("go")
    assert [client.recv_message() for client in clients] == ["together"] * 50


@pytest.mark.also_over_tls
def test_fragments_arrive_as_one_message_with_control_frames_between_them(make_server: Any, connect: Any) -> None:
    client = connect(make_server(echo=True))
    client.send_frame(TEXT, "\u20ac".encode()[:1], fin=False)
    client.ping(b"between")
    client.send_frame(CONTINUATION, "\u20ac".encode()[1:], fin=False)
    client.send_frame(CONTINUATION, b"", fin=False)
    client.send_frame(CONTINUATION, b"!")
    assert client.recv_message() == "\u20ac!"
    assert client.pongs == [b"between"]


@pytest.mark.also_over_tls
def test_a_message_dribbled_octet_by_octet_arrives(make_server: Any, connect: Any) -> None:
    client = connect(make_server(echo=True))
    client.dribble(encode(TEXT, "dribbled \u20ac") + encode(BINARY, b"x" * 200))
    assert client.recv_message() == "dribbled \u20ac"
    assert client.recv_message() == b"x" * 200


def test_send_says_accepted_and_chooses_text_or_binary(make_server: Any, connect: Any) -> None:
    returned: list[Any] = []
    server = make_server()

    @server.on("connection")
    def connection(socket: Any) -> None:
        returned.append(server.send(socket, "text"))
        returned.append(server.send(socket, b"binary"))
        returned.append(server.send(socket, b"text", False))
        returned.append(server.send(socket, "binary", True))
        returned.append(socket.send("verb"))
        returned.append(server.send(socket, bytearray(b"array")))
        returned.append(server.send(socket, memoryview(b"view")))

    client = connect(server)
    expected = ["text", b"binary", "text", b"binary", "verb", b"array", b"view"]
    assert [client.recv_message() for _ in expected] == expected
    assert returned == [True] * 7


def test_octets_that_are_no_utf8_are_never_sent_as_text(make_server: Any, connect: Any) -> None:
    refused: list[Any] = []
    server = make_server()

    @server.on("message")
    def message(socket: Any, message: Any) -> None:
        for bad in (b"\xff", "\ud800", b"\xed\xa0\x80"):
            try:
                server.send(socket, bad, False)
            except ValueError:
                refused.append(bad)
        server.send(socket, "next")

    client = connect(server)
    client.send("go")
    assert client.recv_message() == "next"
    assert refused == [b"\xff", "\ud800", b"\xed\xa0\x80"]


@pytest.mark.parametrize("bad", [None, 1, 1.5, ["list"], object()])
def test_sending_something_that_is_no_message_raises_and_sends_nothing(
    make_server: Any, connect: Any, bad: Any
) -> None:
    server = make_server()

    @server.on("message")
    def message(socket: Any) -> None:
        with pytest.raises(TypeError):
            server.send(socket, bad)
        server.send(socket, "next")

    client = connect(server)
    client.send("go")
    assert client.recv_message() == "next"


def test_a_mutable_payload_is_sent_as_it_was(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=64 * 1024 * 1024)
    size = 8 * 1024 * 1024

    @server.on("message")
    def message(socket: Any) -> None:
        payload = bytearray(b"a" * size)
        server.send(socket, payload)
        payload[:] = b"b" * size
        server.send(socket, payload)

    client = connect(server)
    client.send("go")
    assert client.recv_message() == b"a" * size
    assert client.recv_message() == b"b" * size


def test_send_fragment_sends_the_pieces_of_one_message(make_server: Any, connect: Any) -> None:
    server = make_server()

    @server.on("message")
    def message(socket: Any) -> None:
        server.send_fragment(socket, "one ", False)
        server.ping(socket, b"between")
        server.send_fragment(socket, "two ", False)
        server.send_fragment(socket, "", True)
        server.send_fragment(socket, b"binary", True)

    client = connect(server)
    client.send("go")
    assert client.recv_frame() == Frame(TEXT, b"one ", fin=False)
    assert client.recv_frame() == Frame(PING, b"between")
    assert client.recv_frame() == Frame(CONTINUATION, b"two ", fin=False)
    assert client.recv_frame() == Frame(CONTINUATION, b"", fin=True)
    assert client.recv_frame() == Frame(BINARY, b"binary", fin=True)


def test_no_message_gets_between_fragments(make_server: Any, connect: Any) -> None:
    server = make_server()

    @server.on("message")
    def message(socket: Any) -> None:
        server.send_fragment(socket, "one ", False)
        with pytest.raises(ValueError):
            server.send(socket, "intruder")
        server.send_fragment(socket, "two", True)
        server.send(socket, "after")

    client = connect(server)
    client.send("go")
    assert client.recv_message() == "one two"
    assert client.recv_message() == "after"


def test_pings_are_answered_and_reported(make_server: Any, connect: Any) -> None:
    got: list[Any] = []
    server = make_server(echo=True)
    server.on("ping", lambda socket, data: got.append(data))
    client = connect(server)
    client.ping(b"payload")
    assert client.recv_pong() == b"payload"
    client.ping()
    assert client.recv_pong() == b""
    client.echo()
    assert got == [b"payload", b""]


def test_own_pings_and_the_pongs_to_them(make_server: Any, connect: Any) -> None:
    got: list[Any] = []
    server = make_server()
    server.on("pong", lambda socket, data: got.append(data))

    @server.on("message")
    def message(socket: Any) -> None:
        server.ping(socket)
        server.ping(socket, b"one")
        socket.ping(b"two")
        server.pong(socket, b"unsolicited")
        with pytest.raises(ValueError):
            server.ping(socket, b"x" * 126)
        server.send(socket, "done")

    client = connect(server)
    client.send("go")
    assert client.recv_message() == "done"
    assert client.pings == [b"", b"one", b"two"]
    assert client.pongs == [b"unsolicited"]
    eventually(lambda: len(got) == 3)
    assert got == [b"", b"one", b"two"]


def test_a_prepared_message_is_sent_any_number_of_times(make_server: Any, connect: Any) -> None:
    server = make_server()
    text = server.prepare_buffer("text \u20ac")
    binary = server.prepare_buffer(b"binary" * 20000)
    never = server.prepare_buffer("never sent")

    @server.on("connection")
    def connection(socket: Any) -> None:
        assert server.send_prepared(socket, text) is True
        assert server.send_prepared(socket, binary) is True
        assert server.send_prepared(socket, text) is True
        server.send(socket, "direct")

    for client in [connect(server), connect(server)]:
        expected = ["text \u20ac", b"binary" * 20000, "text \u20ac", "direct"]
        assert [client.recv_message() for _ in expected] == expected
    del never


def test_preparing_octets_that_are_no_utf8_as_text_is_refused(make_server: Any) -> None:
    with pytest.raises(ValueError):
        make_server(start=False).prepare_buffer(b"\xff", False)


@pytest.mark.also_over_tls
def test_broadcast_reaches_every_connection_but_the_excluded_and_counts_them(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    clients = [connect(server) for _ in range(10)]
    eventually(lambda: len(sockets) == 10)
    sockets[0].send("direct before")
    assert server.broadcast("to all") == 10
    assert server.broadcast(b"to nine", exclude=(sockets[3],)) == 9
    for socket in sockets:
        socket.send("end")
    for index, client in enumerate(clients):
        got = [client.recv_message()]
        while got[-1] != "end":
            got.append(client.recv_message())
        expected = ["to all", "end"] if index == 3 else ["to all", b"to nine", "end"]
        assert got == (["direct before"] if index == 0 else []) + expected


def test_broadcast_from_a_handler_reaches_oneself_and_never_the_closed(make_server: Any, connect: Any) -> None:
    server = make_server()
    counted: list[int] = []
    server.on("message", lambda socket, message: counted.append(server.broadcast(message)))
    first, second, gone = connect(server), connect(server), connect(server)
    first.ping()
    first.recv_pong()
    gone.close_handshake()
    eventually(lambda: len(list(server.connections)) == 2)
    first.send("hello")
    assert first.recv_message() == second.recv_message() == "hello"
    assert counted == [2]


@pytest.mark.also_over_tls
def test_cork_keeps_the_order_and_sends_even_when_the_block_raises(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server)
    eventually(lambda: sockets)
    with server.cork(sockets[0]):
        server.send(sockets[0], "1")
        with server.cork(sockets[0]):
            server.send(sockets[0], b"2")
        server.ping(sockets[0], b"3")
        server.send(sockets[0], "4")
    with pytest.raises(ZeroDivisionError), server.cork(sockets[0]):
        server.send(sockets[0], "5")
        raise ZeroDivisionError
    assert [client.recv_message() for _ in range(4)] == ["1", b"2", "4", "5"]
    assert client.pings == [b"3"]


@pytest.mark.also_over_tls
def test_any_greenlet_may_send_to_any_socket(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server)
    eventually(lambda: sockets)

    def send_many(name: int) -> None:
        for number in range(100):
            sockets[0].send(f"{name} {number}")
            if number % 7 == name:
                gevent.sleep(0)

    for name in range(5):
        spawn(send_many, name)
    seen: dict[str, list[int]] = {}
    for _ in range(500):
        name, number = client.recv_message().split()
        seen.setdefault(name, []).append(int(number))
    assert seen == {str(name): list(range(100)) for name in range(5)}


def test_user_data_lives_from_upgrade_to_the_end_of_close(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    seen: list[Any] = []
    kept: list[Any] = []

    @server.on("upgrade")
    def upgrade(socket: Any) -> None:
        assert server.get_user_data(socket) is None
        server.set_user_data(socket, ["upgrade"])

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.data.append("connection")
        kept.append(socket)

    @server.on("close")
    def close(socket: Any) -> None:
        gevent.sleep(0)
        seen.append((list(server.get_user_data(socket)), list(socket.data)))

    client = connect(server)
    client.echo()
    assert server.get_user_data(kept[0]) == ["upgrade", "connection"]
    kept[0].data = ["replaced"]
    assert server.get_user_data(kept[0]) == ["replaced"]
    client.close_handshake()
    eventually(lambda: seen)
    assert seen == [(["replaced"], ["replaced"])]
    eventually(lambda: kept[0].data is None, "the data is dropped after the close handlers")


@pytest.mark.parametrize("end", ["the peer's close", "terminate", "refused"])
def test_user_data_cannot_be_set_any_more_after_the_end(make_server: Any, connect: Any, end: str) -> None:
    server = make_server()
    kept: list[Any] = []

    @server.on("upgrade")
    def upgrade(socket: Any) -> bool:
        socket.data = "first"
        kept.append(socket)
        return end == "refused"

    client = connect(server, upgrade=False)
    client.send_raw(upgrade_head())
    if end == "refused":
        assert client.recv_response().status == 403
        client.disconnect()
    else:
        assert client.recv_response().status == 101
        eventually(lambda: server.connections)
        if end == "terminate":
            kept[0].terminate()
        else:
            client.close_handshake()
    socket = kept[0]
    eventually(lambda: socket.data is None)
    with pytest.raises(lws_gevent.ConnectionClosed):
        socket.data = "too late"
    with pytest.raises(lws_gevent.ConnectionClosed):
        server.set_user_data(socket, "too late")
    assert socket.data is None


def test_user_data_is_dropped_with_the_connection_even_without_listeners(make_server: Any, connect: Any) -> None:
    import weakref

    class Data:
        pass

    server = make_server(echo=True)
    watch: list[Any] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        data = Data()
        watch.append(weakref.ref(data))
        server.set_user_data(socket, data)

    client = connect(server)
    client.echo()
    assert watch[0]() is not None
    client.disconnect()
    eventually(lambda: watch[0]() is None)


def test_the_socket_describes_its_connection(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, "/some%20path?x=1&y=%20")
    other = connect(server)
    client.echo()
    other.echo()
    first, second = sockets
    assert first.path == "/some%20path"
    assert first.query == "x=1&y=%20"
    assert second.path == "/"
    assert second.query == ""
    assert tuple(first.remote_address[:2]) == client.sock.getsockname()[:2]
    assert first.fd == server.get_fd(first) >= 0
    assert first.subprotocol is None
    assert not first.extensions
    assert first.buffered_amount == 0
    assert first.ready_state == 1
    assert first.closed is False
    assert first == first and first != second
    assert len({first, second, first}) == 2
    repr(first)


def test_connections_is_a_snapshot(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    clients = [connect(server) for _ in range(5)]
    for client in clients:
        client.echo()
    seen = []
    for socket in server.connections:
        seen.append(socket)
        socket.terminate()
        turns(2)
    assert len(seen) == 5
    eventually(lambda: not list(server.connections))


def test_payloads_may_be_of_classes_derived_from_bytes_and_str(make_server: Any, connect: Any) -> None:
    class Octets(bytes):
        pass

    class Text(str):
        pass

    server = make_server()
    client = connect(server)
    eventually(lambda: server.connections)
    (socket,) = server.connections
    for message, expected in ((Octets(b"octets"), b"octets"), (Text("text"), "text")):
        socket.send(message)
        socket.send_fragment(message, False)
        socket.send_fragment(message, True)
        socket.ping(message)
        server.broadcast(message)
        socket.send_prepared(server.prepare_buffer(message))
        assert [client.recv_message() for _ in range(4)] == [expected, expected + expected, expected, expected]
    assert client.pings == [b"octets", b"text"]
