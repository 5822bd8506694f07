"""Compressed messages under attack. The numbers are those of the project's security checklist."""

from __future__ import annotations

import gc
import random
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from client import BINARY, CONTINUATION, TEXT, Client, encode
from deflate_peer import RSV1, TAIL, DeflatePeer, deflated, extensions, frames
from helpers import ServerProcess, Stack, eventually, turns

MIB = 1024 * 1024
SLACK = 4 * MIB  # what allocators keep, code that is used for the first time
OFFER = extensions()
TAKEOVER = {"server_no_context_takeover": False, "client_no_context_takeover": False}


def bomb(size: int) -> bytes:
    """The payload of a message of so many zeros, a thousandth of it."""
    compressor = zlib.compressobj(9, wbits=-15)
    pieces = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*pieces, compressor.flush(zlib.Z_SYNC_FLUSH)]).removesuffix(TAIL)


@pytest.fixture
def attack(scene: Any) -> Any:
    """`attack(payload, *codes, **options)`: a compressed message that must end its connection with one of the codes,
    and reach nobody."""

    def make(payload: bytes, *codes: int, cuts: Any = (), opcode: int = BINARY, **options: Any) -> None:
        attacked = scene(**{"per_message_deflate": True, **options})
        client = attacked.attacker(headers=OFFER)
        assert "sec-websocket-extensions" in client.response.headers
        try:
            client.send_raw(b"".join(frames(opcode, payload, cuts)))
        except OSError:
            pass  # it has heard enough
        code, _ = client.recv_close()
        assert code in codes, code
        assert attacked.handled == []
        eventually(lambda: attacked.closes == [code])
        assert [error.close_code for error in attacked.errors] == [code]
        client.disconnect()

    return make


@pytest.fixture
def process(stack: Stack) -> Iterator[Any]:
    processes: list[ServerProcess] = []

    def make(**options: Any) -> ServerProcess:
        server = ServerProcess(stack, "sink_others", **{"per_message_deflate": True, "max_payload": 4 * MIB, **options})
        processes.append(server)
        with Client.connect(server.address, headers=OFFER) as good:
            peer = DeflatePeer(good)
            for _ in range(20):
                peer.echo("x" * 50_000)
            peer.send("x" * 3 * MIB)
            peer.echo("done")
        return server

    yield make
    for server in processes:
        server.kill()


# C1


@pytest.mark.parametrize("how", ["one frame", "frames of one octet", "frames of 1000 octets", "takeover", "many"])
def test_c1_a_bomb_is_1009_and_its_memory_is_never_allocated(process: Any, stack: Stack, how: str) -> None:
    server = process(**({"per_message_deflate": TAKEOVER} if how == "takeover" else {}))
    payload = bomb(200 * MIB)
    cuts: Any = ()
    if how == "frames of one octet":
        cuts = range(1, 10_000)
    elif how == "frames of 1000 octets":
        cuts = range(1000, len(payload), 1000)
    before = server.memory()

    def explode() -> None:
        for _ in range(10 if how == "many" else 1):
            client = Client.connect(server.address, headers=OFFER, timeout=20)
            if how == "takeover":
                DeflatePeer(client).echo("x" * 50_000)
            try:
                client.send_raw(b"".join(frames(BINARY, payload, cuts)))
            except OSError:
                pass
            assert client.recv_close()[0] == 1009
            client.disconnect()

    _, peak = server.peak_while(explode)
    assert peak - before < 2 * 4 * MIB + SLACK
    eventually(lambda: server.ask("connections") == "0")
    eventually(lambda: server.memory() - before < SLACK, "the memory is released", 5)
    assert server.ask("message") == ("23" if how == "takeover" else "22"), "no bomb reached the application"
    server.stop()


def test_c1_a_bomb_that_ends_before_the_limit_waits_in_no_more_than_its_size(process: Any) -> None:
    server = process()
    before = server.memory()
    with Client.connect(server.address, headers=OFFER) as client:
        payload = bomb(3 * MIB)
        client.send_raw(encode(BINARY, payload, rsv=RSV1, fin=False))
        client.ping(b"all read")
        assert client.recv_pong() == b"all read"
        assert server.memory() - before < 2 * 4 * MIB + SLACK
    eventually(lambda: server.ask("connections") == "0")
    eventually(lambda: server.memory() - before < SLACK, "the memory is released", 5)
    server.stop()


def test_c1_little_bombs_that_wait_for_a_blocked_handler_are_not_all_inflated(stack: Stack) -> None:
    with ServerProcess(stack, "block", per_message_deflate=True, max_payload=4 * MIB) as server:
        with Client.connect(server.address, headers=OFFER) as client:
            client.send("block")
            eventually(lambda: server.ask("message") == "1")
            before = server.memory()
            payload = bomb(MIB)  # some 1,000 octets each

            def send() -> None:
                client.send_raw(b"".join(b"".join(frames(BINARY, payload)) for _ in range(50)))
                turns()

            _, peak = server.peak_while(send)
            assert max(peak, server.memory()) - before < 4 * MIB + SLACK
            server.ask("release")
            peer = DeflatePeer(client)
            assert peer.recv() == "block"
            for _ in range(50):
                assert peer.recv() == bytes(MIB)
        server.stop()


def test_c1_endless_empty_blocks_are_bounded(process: Any) -> None:
    server = process()
    before = server.memory()
    with Client.connect(server.address, headers=OFFER) as client:
        blocks = b"\x00\x00\x00\xff\xff" * 20_000

        def send() -> int | None:
            try:
                client.send_frame(BINARY, blocks, rsv=RSV1, fin=False)
                for _ in range(200):
                    client.send_frame(CONTINUATION, blocks, fin=False)
            except OSError:
                pass
            return client.recv_close()[0]

        code, peak = server.peak_while(send)
        assert code == 1009, "there is a limit for the octets on the wire too"
        assert peak - before < 2 * 4 * MIB + SLACK
    server.stop()


# C2


def pieces_of(payload: bytes) -> Any:
    return {"whole": (), "halves": (len(payload) // 2,), "octets": range(1, min(len(payload), 2000))}


@pytest.mark.parametrize("cut", ["whole", "halves", "octets"])
@pytest.mark.parametrize("limit", [1, 1000, 70_000])
def test_c2_the_limit_counts_inflated_octets(scene: Any, limit: int, cut: str) -> None:
    attacked = scene(per_message_deflate=True, max_payload=max(limit, 20))
    limit = max(limit, 20)
    for fill in (bytes(limit), random.Random(limit).randbytes(limit)):
        client = DeflatePeer(attacked.attacker(headers=OFFER))
        client.send(fill, pieces_of(deflated(fill))[cut])
        assert client.recv() == fill, "exactly the limit is accepted, however long it was on the wire"
        attacked.handled.clear()
        more = fill + b"\x01"
        client.send(more, pieces_of(deflated(more))[cut])
        assert client.client.recv_close()[0] == 1009
        assert attacked.handled == []


def test_c2_the_limit_counts_octets_of_text(attack: Any) -> None:
    attack(deflated("\u20ac".encode() * 400), 1009, max_payload=1199, opcode=TEXT)


# C3

CORRUPT = {
    "reserved block type": b"\x06",
    "stored block with a wrong length": b"\x00\x05\x00\x05\x00hello",
    "distance before the beginning": b"\x4b\x04\x62\x00",
    "noise": random.Random(7).randbytes(300),
    "cut in the middle": deflated(bytes(range(256)) * 4)[:-20],
    "cut in a stored block": b"\x00\x10\x00\xef\xffabc",
    "dynamic tree that is over-subscribed": b"\x04\xff\xff\xff\xff\xff\xff\xff",
    "garbage behind the end": deflated(b"hello") + b"\xff\xff\xff",
}


def refuses(payload: bytes) -> bool:
    """Whether zlib itself takes this for wrong or unfinished: what the tests below rest on."""
    decompressor = zlib.decompressobj(wbits=-15)
    try:
        decompressor.decompress(payload + TAIL + b"\x03\x00")
    except zlib.error:
        return True
    return not decompressor.eof


@pytest.mark.parametrize("name", list(CORRUPT))
def test_c3_corrupt_data_is_1007(attack: Any, name: str) -> None:
    assert refuses(CORRUPT[name])
    attack(CORRUPT[name], 1007)


@pytest.mark.parametrize("name", list(CORRUPT))
def test_c3_corrupt_data_in_fragments_is_1007(attack: Any, name: str) -> None:
    attack(CORRUPT[name], 1007, cuts=range(1, len(CORRUPT[name])), opcode=TEXT)


def test_c3_a_distance_beyond_what_was_sent_is_1007(scene: Any) -> None:
    attacked = scene(per_message_deflate=True)
    client = attacked.attacker(headers=OFFER)
    block = random.Random(1).randbytes(500)
    compressor = zlib.compressobj(wbits=-15)
    first = (compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
    second = (compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
    client.send_frame(BINARY, first, rsv=RSV1)
    assert DeflatePeer(client).recv() == block
    client.send_frame(BINARY, second, rsv=RSV1)  # it points into the first one, whose context is gone
    assert client.recv_close()[0] == 1007


def test_c3_an_empty_payload_is_an_empty_message(scene: Any) -> None:
    attacked = scene(per_message_deflate=TAKEOVER)
    client = attacked.attacker(headers=OFFER)
    for opcode, message in ((TEXT, ""), (BINARY, b"")):
        for payload in (b"", b"\x00", deflated(b"")):
            client.send_frame(opcode, payload, rsv=RSV1)
            assert client.recv_message() == message
    client.send_frame(BINARY, b"", rsv=RSV1, fin=False)
    client.send_frame(CONTINUATION, b"")
    assert client.recv_message() == b""
    peer = DeflatePeer(client)
    peer.echo("x" * 2000)


# C4


def final(data: bytes) -> bytes:
    """A whole DEFLATE stream: its last block has BFINAL set."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize("deflate", [True, TAKEOVER], ids=["no takeover", "takeover"])
@pytest.mark.parametrize("tail", [b"", b"\x00"], ids=["bare", "as section 7.2.3.4 has it"])
def test_c4_messages_go_on_after_a_final_block(scene: Any, deflate: Any, tail: bytes) -> None:
    attacked = scene(per_message_deflate=deflate)
    client = attacked.attacker(headers=OFFER)
    for number in range(5):
        message = b"message %d " % number * 200
        client.send_frame(BINARY, final(message) + tail, rsv=RSV1)
        client.send_frame(TEXT, "between")
    peer = DeflatePeer(client)
    for number in range(5):
        assert peer.recv() == b"message %d " % number * 200
        assert peer.recv() == "between"
    peer.echo("x" * 2000)


def test_c4_a_final_block_may_stand_in_the_middle_and_in_fragments(scene: Any) -> None:
    attacked = scene(per_message_deflate=True)
    client = attacked.attacker(headers=OFFER)
    peer = DeflatePeer(client)
    payload = final(b"a" * 1000) + deflated(b"b" * 1000)
    for cuts in ((), (3,), (len(final(b"a" * 1000)),), range(1, len(payload))):
        client.send_raw(b"".join(frames(BINARY, payload, cuts)))
        assert peer.recv() == b"a" * 1000 + b"b" * 1000


def test_c4_endless_final_blocks_are_bounded(attack: Any) -> None:
    attack(b"\x03\x00" * 500_000, 1002, 1007, 1008, 1009)


# C5


def test_c5_a_distance_beyond_the_agreed_window_is_1007(scene: Any) -> None:
    attacked = scene(per_message_deflate={"client_max_window_bits": 9, **TAKEOVER})
    block = random.Random(2).randbytes(3000)
    client = attacked.attacker(headers=OFFER)
    assert "client_max_window_bits=9" in client.response.headers["sec-websocket-extensions"]
    compressor = zlib.compressobj(wbits=-15)  # a client that does not keep to it
    payload = (compressor.compress(block + block[:400]) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
    client.send_frame(BINARY, payload, rsv=RSV1)
    assert client.recv_close()[0] == 1007
    assert attacked.handled == []


def test_c5_context_that_was_given_up_cannot_be_referred_to(scene: Any) -> None:
    attacked = scene(per_message_deflate={"server_no_context_takeover": False})
    client = attacked.attacker(headers=OFFER)
    assert "client_no_context_takeover" in client.response.headers["sec-websocket-extensions"]
    peer = DeflatePeer(client)
    peer.client_keeps_context = True  # which was not agreed
    peer.send("x" * 2000 + "unique")
    assert peer.recv() == "x" * 2000 + "unique"
    peer.send("unique" * 3)
    assert client.recv_close()[0] == 1007


# C6


@pytest.mark.parametrize("deflate", [True, TAKEOVER], ids=["no takeover", "takeover"])
def test_c6_memory_is_taken_when_it_is_needed_and_freed_with_the_connection(process: Any, deflate: Any) -> None:
    server = process(per_message_deflate=deflate)
    before = server.memory()
    clients = [Client.connect(server.address, headers=OFFER) for _ in range(50)]
    eventually(lambda: server.ask("connections") == "50")
    assert server.memory() - before < SLACK / 2, "an open connection has no context yet"
    for client in clients:
        DeflatePeer(client).echo("x" * 5000)
    grown = server.memory() - before
    if deflate is True:
        assert grown < SLACK / 2, "without takeover it keeps none"
    else:
        assert grown < 50 * (256 + 64) * 1024 + SLACK
    for client in clients:
        client.disconnect()
    eventually(lambda: server.ask("connections") == "0")
    eventually(lambda: server.memory() - before < SLACK / 2, "the memory is released", 5)
    server.stop()


# C7


class Failing:
    """In place of the module zlib: nothing can be made."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(zlib, name)

    def fail(self, *arguments: Any, **named: Any) -> Any:
        self.failures += 1
        raise self.error("injected")

    decompressobj = compressobj = fail


@pytest.mark.parametrize("keeps", [False, True], ids=["no takeover", "takeover"])
@pytest.mark.parametrize("error", [MemoryError, zlib.error], ids=["memory", "zlib"])
def test_c7_a_failure_while_inflating_ends_that_connection_only(
    scene: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception], keeps: bool
) -> None:
    from lws_gevent import deflate

    attacked = scene(per_message_deflate=TAKEOVER if keeps else True)
    client = attacked.attacker(headers=OFFER)
    failing = Failing(error)
    monkeypatch.setattr(deflate, "zlib", failing)
    client.send_frame(BINARY, deflated(b"x" * 2000), rsv=RSV1)
    assert client.recv_close()[0] in (1007, 1009, 1011)
    assert failing.failures == 1 and attacked.handled == []
    monkeypatch.undo()
    eventually(lambda: len(attacked.closes) == 1)
    attacked.errors.clear()
    DeflatePeer(attacked.attacker(headers=OFFER)).echo("x" * 2000)


@pytest.mark.parametrize("keeps", [False, True], ids=["no takeover", "takeover"])
def test_c7_a_failure_while_compressing_is_an_error_of_the_sender(
    scene: Any, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    from lws_gevent import deflate

    attacked = scene(per_message_deflate=TAKEOVER if keeps else True)
    client = attacked.attacker(headers=OFFER)

    def fail(*arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(deflate.Deflaters, "new_compressor", fail)
    client.send("x" * 2000)
    client.expect_close(1011)
    eventually(lambda: attacked.closes == [1011])
    assert [type(error) for error in attacked.errors] == [MemoryError]
    monkeypatch.undo()
    DeflatePeer(attacked.attacker(headers=OFFER)).echo("x" * 2000)


def test_c7_nothing_of_it_stays_alive(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lws_gevent.deflate import Deflate

    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, Deflate) for thing in gc.get_objects())

    attacked = scene(per_message_deflate=TAKEOVER)
    before = alive()
    for payload in (CORRUPT["noise"], bomb(20 * MIB), deflated(b"x")[:1]):
        client = attacked.attacker(headers=OFFER)
        client.send_frame(BINARY, payload, rsv=RSV1)
        client.recv_close()
        client.disconnect()
    eventually(lambda: len(attacked.closes) == 3)
    turns()
    assert alive() == before
