"""Floods, and what they cost the server: memory is bounded and released, and a good client is answered all the while.

The server is a process of its own, so that its memory can be seen from outside. F11, F18, F20, F23 of the checklist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from client import BINARY, CONTINUATION, PING, TEXT, Client, encode
from helpers import ServerProcess, Stack, eventually, turns

MIB = 1024 * 1024
SLACK = 4 * MIB  # what allocators keep, code that is used for the first time


class Attack:
    """A server process, a good client that asks all the time, and how much memory the server had before."""

    def __init__(self, stack: Stack, kind: str = "echo", **options: Any) -> None:
        self.server = ServerProcess(stack, kind, **options)
        self.clients: list[Client] = []
        self.good = self.connect()
        self.rounds = 0
        self.stopped = False
        for _ in range(50):
            self.good.echo("before", within=2)
        self.good.echo("x" * 100_000, within=2)
        self.before = self.server.memory()
        self.asking = gevent.spawn(self.ask)

    def ask(self) -> None:
        """An echo again and again, each within the deadline."""
        while not self.stopped:
            self.good.echo(f"round {self.rounds}", within=2)
            self.rounds += 1
            gevent.sleep(0.005)

    def connect(self, **named: Any) -> Client:
        self.clients.append(Client.connect(self.server.address, **named))
        return self.clients[-1]

    def pour(self, client: Client, data: bytes, total: int) -> int:
        """Send copies of `data` until `total` octets are sent, or the server has taken nothing for a while. How
        many."""
        client.sock.settimeout(0)
        sent = stuck = 0
        rest = b""
        while sent < total:
            rest = rest or data
            try:
                count = client.send_some(rest)
                rest, sent, stuck = rest[count:], sent + count, 0
                gevent.sleep(0)
            except BlockingIOError:
                stuck += 1
                if stuck > 30:
                    break
                gevent.sleep(0.01)
            except (BrokenPipeError, ConnectionResetError):
                break
        client.sock.settimeout(client.timeout)
        return sent

    def finish(self) -> None:
        """Every attacker leaves; memory and descriptors come back."""
        self.stopped = True
        self.asking.get()
        for client in self.clients[1:]:
            client.disconnect()
        assert self.rounds > 0
        self.good.echo("after", within=2)
        eventually(lambda: self.server.ask("connections") == "1")
        eventually(lambda: self.server.memory() - self.before < SLACK, "the memory is released", 5)
        self.good.close_handshake()
        self.server.stop()


@pytest.fixture
def attack(stack: Stack) -> Iterator[Any]:
    attacks: list[Attack] = []

    def make(*arguments: Any, **options: Any) -> Attack:
        attacks.append(Attack(stack, *arguments, **options))
        return attacks[-1]

    yield make
    for made in attacks:
        made.stopped = True
        made.asking.kill()
        for client in made.clients:
            client.disconnect()
        made.server.kill()


def test_f07_announced_lengths_are_not_allocated(attack: Any) -> None:
    scene = attack()
    announced = encode(BINARY, b"x" * 100, length=16 * MIB)
    for _ in range(50):
        scene.connect().send_raw(announced)
    turns()
    eventually(lambda: scene.server.ask("connections") == "51")
    assert scene.server.memory() - scene.before < SLACK
    scene.finish()


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["empty", "one octet"])
def test_f11_endless_fragments_take_no_more_than_their_octets(attack: Any, stack: Stack, piece: bytes) -> None:
    scene = attack()
    count = 20_000 if stack.codec == "python" else 200_000
    client = scene.connect()
    client.send_frame(BINARY, b"", fin=False)
    fragments = encode(CONTINUATION, piece, fin=False) * 1000
    _, peak = scene.server.peak_while(lambda: [client.send_raw(fragments) for _ in range(count // 1000)])
    client.ping(b"all read")
    assert client.recv_pong() == b"all read"
    assert peak - scene.before < SLACK
    assert scene.server.memory() - scene.before < SLACK
    client.send_frame(CONTINUATION, b"end")
    assert client.recv_message() == piece * count + b"end"
    scene.finish()


def test_f11_a_message_in_segments_of_one_octet_takes_no_more_than_its_octets(attack: Any) -> None:
    scene = attack()
    client = scene.connect()
    frame = encode(BINARY, b"x" * 8000)
    client.dribble(frame[:-1])
    assert scene.server.memory() - scene.before < SLACK
    client.send_raw(frame[-1:])
    assert client.recv_message() == b"x" * 8000
    scene.finish()


def test_f11_a_big_fragmented_message_takes_little_more_than_itself(attack: Any, stack: Stack) -> None:
    scene = attack("sink_others")
    client = scene.connect()
    pieces = [encode(CONTINUATION, b"x" * 50_000, fin=False)] * 200

    def send() -> None:
        client.send_frame(BINARY, b"", fin=False)
        for piece in pieces:
            client.send_raw(piece)
        client.ping(b"all read")
        assert client.recv_pong() == b"all read"

    _, peak = scene.server.peak_while(send)
    assert peak - scene.before < 10_000_000 * 2 + SLACK


def test_f18_a_ping_flood_whose_pongs_are_not_read_takes_bounded_memory(attack: Any, stack: Stack) -> None:
    scene = attack()
    client = scene.connect(receive_buffer=4096)
    flood = encode(PING, b"p" * 125) * 500
    total = (4 if stack.codec == "python" else 30) * MIB
    sent, peak = scene.server.peak_while(lambda: scene.pour(client, flood, total))
    assert peak - scene.before < SLACK, f"{sent} octets were taken"
    scene.finish()


def test_f18_after_a_ping_flood_the_reader_still_gets_answers(attack: Any) -> None:
    scene = attack()
    client = scene.connect()
    reader = gevent.spawn(lambda: client.recv_message())
    for number in range(2000):
        client.ping(b"%d" % number)
    client.send("the end")
    assert reader.get() == "the end"
    assert client.pongs[-1] == b"1999"
    numbers = [int(pong) for pong in client.pongs]
    assert numbers == sorted(set(numbers))
    scene.finish()


def test_f20_peers_that_never_read_take_the_limit_and_one_message_each(attack: Any) -> None:
    scene = attack("flood", max_backpressure=MIB)
    clients = [scene.connect(receive_buffer=4096) for _ in range(10)]
    for client in clients:
        client.send("flood")
    last = -1

    def settled() -> bool:
        nonlocal last
        gevent.sleep(0.05)
        count = int(scene.server.ask("message"))
        settled_now, last = count == last and count > 0, count
        return settled_now

    eventually(settled, "every flooding handler is blocked")
    assert scene.server.memory() - scene.before < len(clients) * (MIB + 65536 + 16384) + SLACK
    scene.finish()


def test_f20_echoes_that_nobody_reads_stop_the_reading(attack: Any) -> None:
    scene = attack("echo", max_backpressure=MIB)
    client = scene.connect(receive_buffer=4096)
    sent, peak = scene.server.peak_while(lambda: scene.pour(client, encode(BINARY, b"x" * 60000), 100 * MIB))
    assert sent < 100 * MIB
    assert peak - scene.before < 2 * MIB + SLACK
    scene.finish()


def test_f20_messages_to_a_blocked_handler_are_bounded(attack: Any) -> None:
    scene = attack("block")
    clients = [scene.connect() for _ in range(3)]
    for client in clients:
        client.send("block")
    for client in clients:
        sent = scene.pour(client, encode(TEXT, "x") * 5000, 50 * MIB)
        assert sent < 50 * MIB
    assert scene.server.memory() - scene.before < 3 * MIB + SLACK
    scene.server.ask("release")
    scene.finish()


def test_f23_a_hundred_thousand_messages_in_one_segment_starve_nobody(attack: Any) -> None:
    scene = attack()
    client = scene.connect()
    count = 100_000
    before = scene.rounds
    sending = gevent.spawn(client.send_raw, encode(TEXT, "x", mask=b"abcd") * count)
    received = 0
    while received < count * 3:  # an echo of one octet is a frame of three
        received += len(client.sock.recv(262144))
        gevent.sleep(0)
    sending.get()
    assert received == count * 3
    assert scene.rounds > before, "the good client was answered meanwhile"
    scene.finish()


def test_f23_two_busy_connections_do_not_starve_a_third(attack: Any) -> None:
    scene = attack()
    stop = False
    busy = [scene.connect() for _ in range(2)]
    segment = encode(TEXT, "x", mask=b"abcd") * 5000

    def keep_busy(client: Client) -> None:
        while not stop:
            client.send_raw(segment)
            got = 0
            while got < 15000:
                got += len(client.sock.recv(65536))

    greenlets = [gevent.spawn(keep_busy, client) for client in busy]
    third = scene.connect()
    for number in range(50):
        third.echo(f"third {number}", within=2)
    stop = True
    gevent.joinall(greenlets, raise_error=True)
    scene.finish()
