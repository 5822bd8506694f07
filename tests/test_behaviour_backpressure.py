"""Peers that read slowly, or never: block, drop, close; drain; pause and resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest
from client import TEXT, Client, encode, unread_octets
from helpers import eventually, turns

from lws_gevent import BackpressureExceeded, ConnectionClosed, Prepared

LIMIT = 100_000
PIECE = 50_000


@pytest.fixture
def scene(make_server: Any, connect: Any) -> Any:
    """A server with a small limit, the socket of a client that reads nothing yet, and what was heard about it."""

    class Scene:
        def __init__(self) -> None:
            self.closes: list[Any] = []
            self.drains: list[Any] = []
            self.dropped: list[Any] = []

        def open(self, **options: Any) -> Any:
            options.setdefault("max_backpressure", LIMIT)
            self.server = make_server(**options)
            sockets: list[Any] = []
            self.server.on("connection", sockets.append)
            self.server.on("close", lambda socket, code, reason: self.closes.append(code))
            self.server.on("drain", lambda socket: self.drains.append(socket.buffered_amount))
            self.server.on("dropped", lambda socket, message, binary: self.dropped.append((message, binary)))
            self.client = connect(self.server, receive_buffer=4096)
            eventually(lambda: sockets)
            self.socket = sockets[0]
            return self

        def fill(self) -> int:
            """Send until the limit is passed; how many messages were accepted."""
            count = 0
            while self.socket.buffered_amount <= LIMIT:
                assert self.server.send(self.socket, b"%d" % count + b"x" * PIECE) is True
                count += 1
                assert count < 5000
            return count

        def read(self, count: int) -> None:
            for number in range(count):
                assert self.client.recv_message() == b"%d" % number + b"x" * PIECE

    return Scene()


@pytest.mark.also_over_tls
def test_block_waits_for_room_before_queueing_and_goes_on_in_order(scene: Any, spawn: Any) -> None:
    scene.open()
    count = scene.fill()
    order: list[int] = []

    def send(number: int) -> None:
        assert scene.server.send(scene.socket, b"blocked %d" % number) is True
        order.append(number)

    for number in range(5):
        spawn(send, number)
    turns()
    assert order == [], "nothing is queued over the limit"
    scene.read(count)
    for number in range(5):
        assert scene.client.recv_message() == b"blocked %d" % number
    eventually(lambda: len(order) == 5)
    assert order == [0, 1, 2, 3, 4]


def test_a_blocked_sender_that_is_killed_or_times_out_has_sent_nothing(scene: Any, spawn: Any) -> None:
    scene.open()
    count = scene.fill()
    killed = spawn(scene.server.send, scene.socket, b"killed")

    def timed() -> str:
        try:
            with gevent.Timeout(0.001):
                scene.server.send(scene.socket, b"timed out")
        except gevent.Timeout:
            return "timed out"
        return "sent"

    timing = spawn(timed)
    waiting = spawn(scene.server.send, scene.socket, b"waiting")
    turns(5)
    killed.kill()
    assert timing.get() == "timed out"
    scene.read(count)
    assert scene.client.recv_message() == b"waiting"
    assert waiting.get() is True
    scene.socket.send("end")
    assert scene.client.recv_message() == "end"


@pytest.mark.also_over_tls
def test_a_blocked_sender_learns_that_the_peer_left(scene: Any, spawn: Any) -> None:
    scene.open()
    scene.fill()

    def send() -> Any:
        try:
            return scene.server.send(scene.socket, b"never")
        except ConnectionClosed as error:
            return error.code

    senders = [spawn(send) for _ in range(3)]
    turns(5)
    scene.client.reset()
    assert [sender.get() for sender in senders] == [1006] * 3
    eventually(lambda: scene.closes)
    assert scene.closes == [1006]


def test_a_sender_blocked_in_a_handler_lets_others_work(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=LIMIT)

    @server.on("message")
    def message(socket: Any, message: Any, binary: bool) -> None:
        if message == "flood":
            for number in range(200):
                server.send(socket, b"%d" % number + b"x" * PIECE)
        else:
            server.send(socket, message, binary)

    slow, good = connect(server, receive_buffer=4096), connect(server)
    slow.send("flood")
    turns()
    good.echo(within=2)
    slow.send("after")
    assert [slow.recv_message() for _ in range(200)] == [b"%d" % number + b"x" * PIECE for number in range(200)]
    assert slow.recv_message() == "after"


def test_send_timeout_without_progress_ends_the_connection(scene: Any, spawn: Any) -> None:
    scene.open(send_timeout=0.2)
    scene.fill()

    def send() -> Any:
        try:
            return scene.server.send(scene.socket, b"never")
        except ConnectionClosed as error:
            return error.code

    assert spawn(send).get() == 1006
    eventually(lambda: scene.closes)
    assert scene.closes == [1006]
    assert scene.socket.closed


@pytest.mark.also_over_tls
def test_send_timeout_counts_from_the_last_progress(scene: Any, spawn: Any) -> None:
    scene.open(send_timeout=0.5, max_backpressure=LIMIT)
    count = scene.fill()
    sender = spawn(scene.server.send, scene.socket, b"last")
    # Read for longer than send_timeout altogether, never that long without progress.
    for _ in range(count):
        scene.client.recv_message()
        gevent.sleep(max(0.0, 0.7 / count))
    assert sender.get() is True
    assert scene.client.recv_message() == b"last"
    assert scene.closes == []


def test_a_message_that_meets_a_buffer_under_the_limit_is_accepted_whatever_its_size(scene: Any) -> None:
    scene.open()
    assert scene.server.send(scene.socket, b"x" * 3_000_000) is True
    assert scene.client.recv_message() == b"x" * 3_000_000


@pytest.mark.also_over_tls
def test_drop_returns_false_and_tells(scene: Any) -> None:
    scene.open(backpressure="drop")
    count = scene.fill()
    assert scene.server.send(scene.socket, "dropped text") is False
    assert scene.server.send(scene.socket, b"dropped binary") is False
    assert scene.dropped == [], "never inside send"
    eventually(lambda: len(scene.dropped) == 2)
    assert scene.dropped == [("dropped text", False), (b"dropped binary", True)]
    scene.read(count)
    eventually(lambda: scene.socket.buffered_amount == 0)
    assert scene.server.send(scene.socket, "there is room again") is True
    assert scene.client.recv_message() == "there is room again"


def test_control_frames_are_never_dropped(scene: Any) -> None:
    scene.open(backpressure="drop")
    count = scene.fill()
    assert scene.server.send(scene.socket, "dropped") is False
    scene.server.ping(scene.socket, b"not dropped")
    scene.socket.close(4000, "not dropped either")
    scene.read(count)
    frame = scene.client.recv_frame()
    assert (frame.opcode, frame.payload) == (9, b"not dropped")
    assert scene.client.expect_close(4000) == "not dropped either"


def test_close_ends_the_connection(scene: Any) -> None:
    scene.open(backpressure="close")
    scene.fill()
    with pytest.raises((ConnectionClosed, BackpressureExceeded)):
        scene.server.send(scene.socket, "too much")
    eventually(lambda: scene.closes)
    assert len(scene.closes) == 1
    eventually(lambda: scene.socket.closed)
    scene.client.drain_to_eof()
    eventually(lambda: not list(scene.server.connections))


@pytest.mark.also_over_tls
def test_drain_comes_once_after_the_limit_was_passed(scene: Any) -> None:
    scene.open()
    scene.server.send(scene.socket, "little")
    assert scene.client.recv_message() == "little"
    assert scene.drains == []
    count = scene.fill()
    turns()
    assert scene.drains == []
    scene.read(count)
    eventually(lambda: scene.drains)
    turns()
    assert len(scene.drains) == 1
    assert scene.drains[0] <= LIMIT


def test_drain_queues_behind_the_running_handler(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=LIMIT)
    order: list[str] = []
    release = gevent.event.Event()
    server.on("drain", lambda socket: order.append("drain"))

    @server.on("message")
    def message(socket: Any) -> None:
        order.append("message")
        while socket.buffered_amount <= LIMIT:
            server.send(socket, b"x" * PIECE)
        release.wait()
        order.append("returned")

    client = connect(server, receive_buffer=4096)
    client.send("go")
    eventually(lambda: order)
    reader = gevent.spawn(client.drain_to_eof)
    sockets = list(server.connections)
    eventually(lambda: sockets[0].buffered_amount == 0)
    turns()
    assert order == ["message"]
    release.set()
    eventually(lambda: len(order) == 3)
    assert order == ["message", "returned", "drain"]
    reader.kill()


@pytest.mark.also_over_tls
def test_in_the_hub_send_never_blocks(scene: Any) -> None:
    scene.open()
    count = scene.fill()
    raised: list[Any] = []

    def in_the_hub() -> None:
        try:
            scene.server.send(scene.socket, "never")
        except BackpressureExceeded as error:
            raised.append(error)

    gevent.get_hub().loop.run_callback(in_the_hub)
    eventually(lambda: raised)
    scene.read(count)
    eventually(lambda: scene.socket.buffered_amount == 0)
    gevent.get_hub().loop.run_callback(scene.server.send, scene.socket, "from the hub")
    assert scene.client.recv_message() == "from the hub"


@pytest.mark.also_over_tls
def test_a_fragmented_message_is_dropped_whole(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=LIMIT, backpressure="drop")
    sockets: list[Any] = []
    lost: list[Any] = []
    server.on("connection", sockets.append)
    server.on("dropped", lambda socket, message, binary: lost.append((message, binary)))
    client = connect(server, receive_buffer=4096)
    eventually(lambda: sockets)
    count = 0
    while sockets[0].buffered_amount <= LIMIT:
        assert sockets[0].send_fragment(b"x" * PIECE, False) is True  # once begun it is not dropped
        count += 1
    assert sockets[0].send_fragment(b"", True) is True
    assert [sockets[0].send_fragment(piece, piece == "two") for piece in ("one", "and", "two")] == [False] * 3
    assert client.recv_message() == b"x" * PIECE * count
    eventually(lambda: sockets[0].buffered_amount == 0)
    assert [sockets[0].send_fragment(piece, piece == "four") for piece in ("three", "four")] == [True] * 2
    assert client.recv_message() == "threefour"
    eventually(lambda: lost == [("one", False)])
    assert server.stats()["dropped"] == 1


def test_fragments_wait_for_room_one_by_one(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(max_backpressure=LIMIT)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, receive_buffer=4096)
    eventually(lambda: sockets)
    sent: list[int] = []

    def stream() -> None:
        for number in range(200):
            sockets[0].send_fragment(b"x" * PIECE, number == 199)
            sent.append(number)

    streaming = spawn(stream)
    eventually(lambda: sockets[0].buffered_amount > LIMIT)
    turns()
    assert sockets[0].buffered_amount <= LIMIT + PIECE + 20 and len(sent) < 199
    assert client.recv_message() == b"x" * PIECE * 200
    streaming.get()


@pytest.fixture
def stuck(make_server: Any, connect: Any) -> Any:
    """A socket on which there is no room, with a fragmented text message begun if `begun` says so; and its client."""

    def make(begun: bool) -> tuple[Any, Client]:
        server = make_server(max_backpressure=LIMIT)
        sockets: list[Any] = []
        server.on("connection", sockets.append)
        client = connect(server, receive_buffer=4096)
        eventually(lambda: sockets)
        while sockets[0].buffered_amount <= LIMIT:
            if begun:
                sockets[0].send_fragment("x" * PIECE, False)
            else:
                sockets[0].send("x" * PIECE)
        return sockets[0], client

    return make


def failing(function: Callable[[], Any]) -> str | None:
    try:
        function()
    except ValueError as error:
        return str(error)
    return None


def test_who_has_waited_with_a_first_fragment_or_a_message_does_not_get_into_anothers(stuck: Any, spawn: Any) -> None:
    socket, client = stuck(False)
    jobs = [
        spawn(failing, lambda: socket.send_fragment("one ", False)),
        spawn(failing, lambda: socket.send_fragment("never", False)),
        spawn(failing, lambda: socket.send("never")),
        spawn(failing, lambda: socket.send_prepared(Prepared("never"))),
        spawn(failing, lambda: socket.send_fragment("two", True)),
    ]
    turns()
    while not jobs[-1].ready():
        assert client.recv_message() == "x" * PIECE
    open_one = "a fragmented message is open: its last fragment comes first"
    assert [job.get() for job in jobs] == [None, open_one, open_one, open_one, open_one]
    finishing = spawn(socket.send_fragment, "two", True)
    received = client.recv_message()
    while received == "x" * PIECE:
        received = client.recv_message()
    assert received == "one two"
    finishing.get()


def test_who_has_waited_with_another_fragment_does_not_begin_a_new_message(stuck: Any, spawn: Any) -> None:
    socket, client = stuck(True)
    jobs = [
        spawn(failing, lambda: socket.send_fragment("one", True)),
        spawn(failing, lambda: socket.send_fragment("never", True)),
    ]
    turns()
    assert client.recv_message().strip("x") == "one"
    assert [job.get() for job in jobs] == [None, "somebody else has ended the fragmented message"]
    socket.send("two")
    assert client.recv_message() == "two"


def test_a_fragment_that_was_not_sent_is_not_part_of_the_text(stuck: Any) -> None:
    socket, client = stuck(True)
    euro = "\N{EURO SIGN}".encode()
    with gevent.Timeout(0.01, False):
        socket.send_fragment(euro[:1], False)
        raise AssertionError("there was room")
    receiving = gevent.spawn(client.recv_message)
    eventually(lambda: socket.buffered_amount == 0)
    for octet in euro:
        socket.send_fragment(bytes([octet]), False)
    socket.send_fragment(b"", True)
    assert receiving.get().strip("x") == "\N{EURO SIGN}"


@pytest.mark.parametrize("policy", ["block", "close", "drop"])
def test_broadcast_never_blocks_and_slow_receivers_meet_their_policy(
    make_server: Any, connect: Any, policy: str
) -> None:
    server = make_server(max_backpressure=LIMIT, backpressure=policy)
    sockets: dict[str, Any] = {}
    server.on("connection", lambda socket: sockets.__setitem__(socket.path, socket))
    slow = connect(server, "/slow", receive_buffer=4096)
    good = connect(server, "/good")
    eventually(lambda: len(sockets) == 2)
    for _ in range(5000):
        if sockets["/slow"].buffered_amount > LIMIT:
            break
        sockets["/slow"].send(b"x" * PIECE)
    assert server.broadcast("to the quick") == 1
    assert good.recv_message() == "to the quick"
    if policy == "drop":
        assert not sockets["/slow"].closed
    else:
        eventually(lambda: sockets["/slow"].closed)
        slow.drain_to_eof()
    assert server.broadcast("again") == 1
    assert good.recv_message() == "again"


def test_broadcast_may_be_told_to_drop(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=LIMIT)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    slow = connect(server, receive_buffer=4096)
    eventually(lambda: sockets)
    count = 0
    while sockets[0].buffered_amount <= LIMIT:
        sockets[0].send(b"x" * PIECE)
        count += 1
    assert server.broadcast("dropped", slow="drop") == 0
    for _ in range(count):
        slow.recv_message()
    eventually(lambda: sockets[0].buffered_amount == 0)
    assert server.broadcast("not dropped") == 1
    assert slow.recv_message() == "not dropped"


@pytest.mark.also_over_tls
def test_buffered_amount_grows_and_returns_to_zero(scene: Any) -> None:
    scene.open(max_backpressure=8_000_000)
    assert scene.socket.buffered_amount == 0
    scene.socket.send(b"x" * 6_000_000)
    assert 0 < scene.socket.buffered_amount <= 6_000_014
    assert scene.client.recv_message() == b"x" * 6_000_000
    eventually(lambda: scene.socket.buffered_amount == 0)


def test_a_paused_socket_reads_no_messages_until_resumed(make_server: Any, connect: Any) -> None:
    server = make_server()
    got: list[Any] = []
    sockets: list[Any] = []
    server.on("connection", sockets.append)

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        got.append(message)
        if message == "pause":
            socket.pause()

    client = connect(server)
    client.send_raw(b"".join(encode(TEXT, word) for word in ("one", "pause", "three")))
    eventually(lambda: "pause" in got)
    client.send("four")
    turns()
    assert got == ["one", "pause"]
    sockets[0].resume()
    eventually(lambda: len(got) == 4)
    assert got == ["one", "pause", "three", "four"]
    sockets[0].resume()
    client.send("five")
    eventually(lambda: len(got) == 5)


@pytest.mark.also_over_tls
def test_a_paused_socket_stops_the_peer(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    total = 0

    @server.on("connection")
    def connection(socket: Any) -> None:
        sockets.append(socket)
        socket.pause()

    @server.on("message")
    def message(socket: Any, message: bytes) -> None:
        nonlocal total
        total += len(message)

    client = connect(server)
    client.sock.settimeout(0)
    piece = encode(2, b"x" * 60000)
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
    assert total == 0
    client.sock.settimeout(client.timeout)
    sockets[0].resume()
    client.send_raw(rest)
    expected = (sent + len(rest)) // len(piece) * 60000
    eventually(lambda: total == expected)


@pytest.mark.also_over_tls
def test_a_paused_connection_still_sends_and_its_reset_is_noticed(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    closes: list[Any] = []
    server.on("message", lambda socket: None)
    server.on("close", lambda socket, code: closes.append(code))

    @server.on("connection")
    def connection(socket: Any) -> None:
        sockets.append(socket)
        socket.pause()

    client = connect(server)
    eventually(lambda: sockets)
    sockets[0].send("while paused")
    assert client.recv_message() == "while paused"
    client.reset()
    eventually(lambda: closes)
    assert closes == [1006]


def test_unread_data_waits_in_the_peers_kernel_not_in_ours(scene: Any, spawn: Any) -> None:
    """The buffer of a connection under "block" never holds more than the limit and one message."""
    scene.open()
    largest = 0

    def flood() -> int:
        nonlocal largest
        try:
            while True:
                scene.server.send(scene.socket, b"x" * PIECE)
                largest = max(largest, scene.socket.buffered_amount)
        except ConnectionClosed as error:
            return error.code

    flooding = spawn(flood)
    eventually(lambda: unread_octets(scene.client.sock) > 0)
    turns()
    assert not flooding.dead
    assert largest <= LIMIT + PIECE + 14
    scene.client.reset()
    assert flooding.get() == 1006
