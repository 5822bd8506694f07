"""Long messages in pieces (`buffer_size`): whole ones, fragmented ones and compressed ones."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest
from client import BINARY, CONTINUATION, TEXT, Client, encode
from deflate_peer import deflated, inflated
from helpers import eventually, turns

import lws_gevent

pytestmark = pytest.mark.also_over_tls

DEFLATE = [("Sec-WebSocket-Extensions", "permessage-deflate")]
TEXT_OF_ALL_LENGTHS = "a\u00e9\u20ac\U0001f600" * 100


@pytest.fixture
def pieces(make_server: Any) -> Callable[..., tuple[Any, list[Any]]]:
    """`pieces(size, **options)`: a server, and the list of what its message handler gets."""

    def make(size: int, **options: Any) -> tuple[Any, list[Any]]:
        server = make_server(buffer_size=size, **options)
        got: list[Any] = []
        server.on("message", lambda socket, message, binary, remaining: got.append((message, binary, remaining)))
        return server, got

    return make


def ended(got: list[Any]) -> bool:
    return bool(got) and got[-1][2] == 0


def check_pieces(got: list[Any], message: str | bytes, size: int) -> None:
    """They are the message, in as few pieces as can be."""
    empty = "" if isinstance(message, str) else b""
    assert empty.join(piece for piece, _, _ in got) == message
    assert all(binary is isinstance(message, bytes) for _, binary, _ in got)
    assert [remaining == 0 for _, _, remaining in got] == [False] * (len(got) - 1) + [True]
    lengths = [len(piece.encode() if isinstance(piece, str) else piece) for piece, _, _ in got]
    assert max(lengths) <= size
    assert all(length > size - (4 if isinstance(message, str) else 1) for length in lengths[:-1])
    left = sum(lengths)
    for length, (_, _, remaining) in zip(lengths, got, strict=True):
        left -= length
        assert min(left, 1) <= remaining <= left


def test_what_fits_comes_whole(pieces: Any, connect: Any) -> None:
    server, got = pieces(10)
    client = connect(server)
    for message in ("", b"", "0123456789", b"0123456789", "\u20ac\u20ac\u20ac"):
        client.send(message)
    client.send_frame(TEXT, "01234", fin=False)
    client.send_frame(CONTINUATION, "56789")
    client.send_frame(BINARY, b"0123456789", fin=False)
    client.send_frame(CONTINUATION, b"")
    eventually(lambda: len(got) == 7)
    assert [message for message, _, _ in got[:5]] == ["", b"", "0123456789", b"0123456789", "\u20ac\u20ac\u20ac"]
    assert got[5:] == [("0123456789", False, 0), (b"0123456789", True, 0)]
    assert all(remaining == 0 for _, _, remaining in got)


@pytest.mark.parametrize("size", [4, 7, 1000, 4096, 100_000])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("fragments", [1, 5])
def test_a_long_message_comes_in_pieces(pieces: Any, connect: Any, size: int, compressed: bool, fragments: int) -> None:
    server, got = pieces(size, per_message_deflate=compressed)
    client = connect(server, headers=DEFLATE if compressed else ())
    messages: list[str | bytes] = [TEXT_OF_ALL_LENGTHS * (20 if size > 100 else 1), os.urandom(300 * min(size, 1000))]
    messages += [b"x" * (size * 2), b"y" * (size * 2 + 1)]
    for message in messages:
        octets = message.encode() if isinstance(message, str) else message
        if compressed:
            octets = deflated(octets)
        step = -(-len(octets) // fragments)
        for number in range(fragments):
            opcode = CONTINUATION if number else TEXT if isinstance(message, str) else BINARY
            rsv = 4 if compressed and not number else 0
            fragment = octets[number * step : (number + 1) * step]
            client.send_frame(opcode, fragment, fin=number == fragments - 1, rsv=rsv)
            client.ping(b"%d" % number)
        eventually(lambda: ended(got))
        check_pieces(got, message, size)
        got.clear()
        for number in range(fragments):
            assert client.recv_pong() == b"%d" % number
    assert server.stats()["messages_received"] == len(messages)


def test_a_full_piece_waits_until_more_is_known_to_come(pieces: Any, connect: Any) -> None:
    server, got = pieces(4)
    client = connect(server)
    client.send_frame(BINARY, b"1234", fin=False)
    client.ping(b"in between")
    assert client.recv_pong() == b"in between"
    assert got == []  # nobody knows whether there is more
    client.send_frame(CONTINUATION, b"", fin=False)
    client.send_frame(CONTINUATION, b"56", fin=False)
    eventually(lambda: got == [(b"1234", True, 2)])
    client.send_frame(CONTINUATION, b"")
    eventually(lambda: got == [(b"1234", True, 2), (b"56", True, 0)])


def test_the_rest_of_the_frame_is_known_to_remain(pieces: Any, connect: Any) -> None:
    server, got = pieces(1000)
    client = connect(server)
    client.send(b"x" * 3500)
    eventually(lambda: ended(got))
    assert [(len(piece), remaining) for piece, _, remaining in got] == [
        *((1000, 2500), (1000, 1500), (1000, 500), (500, 0))
    ]


@pytest.mark.parametrize("compressed", [False, True])
def test_max_payload_counts_the_pieces_together(pieces: Any, connect: Any, compressed: bool) -> None:
    server, got = pieces(100, max_payload=1000, per_message_deflate=compressed)
    errors: list[Any] = []
    server.on("error", errors.append)
    client = connect(server, headers=DEFLATE if compressed else ())
    if compressed:
        client.send_frame(BINARY, deflated(b"x" * 1000), rsv=4)
    else:
        client.send(b"x" * 1000)
    eventually(lambda: ended(got))
    got.clear()
    if compressed:
        client.send_frame(BINARY, deflated(b"x" * 1001), rsv=4)
    else:
        client.send_frame(BINARY, b"x" * 999, fin=False)
        client.send_frame(CONTINUATION, b"xx")
    client.expect_close(1009)
    assert got and not ended(got)
    eventually(lambda: [error.close_code for error in errors] == [1009])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("tail", [b"\xff", b"\xe2\x82"])
def test_after_an_error_there_is_no_last_piece(pieces: Any, connect: Any, compressed: bool, tail: bytes) -> None:
    server, got = pieces(8, per_message_deflate=compressed)
    server.on("error", lambda error: None)
    closed: list[Any] = []
    server.on("close", lambda socket, code: closed.append(code))
    client = connect(server, headers=DEFLATE if compressed else ())
    octets = "\u20ac".encode() * 10 + tail
    client.send_frame(TEXT, deflated(octets) if compressed else octets, rsv=4 if compressed else 0)
    client.expect_close(1007)
    eventually(lambda: closed)
    assert got and not ended(got) and all(piece == "\u20ac\u20ac" for piece, _, _ in got)


def test_a_lost_connection_ends_no_message(pieces: Any, connect: Any) -> None:
    server, got = pieces(8)
    closed: list[Any] = []
    server.on("close", lambda socket, code: closed.append(code))
    client = connect(server)
    client.send_raw(encode(BINARY, b"x" * 50)[:-1])
    client.disconnect()
    eventually(lambda: closed == [1006])
    assert [len(piece) for piece, _, _ in got] == [8] * 6 and not ended(got)


@pytest.mark.parametrize("compressed", [False, True])
def test_blocking_style_has_whole_messages(make_server: Any, connect: Any, compressed: bool) -> None:
    server = make_server(buffer_size=4, per_message_deflate=compressed)
    server.on("message", lambda socket: None)

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.send(socket.recv())
        for message in socket:
            socket.send(message)

    client = connect(server, headers=DEFLATE if compressed else ())
    for message in (b"x" * 30_000, TEXT_OF_ALL_LENGTHS):
        octets = message.encode() if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        octets = deflated(octets) if compressed else octets
        client.send_frame(opcode, octets[:20], fin=False, rsv=4 if compressed else 0)
        client.send_frame(CONTINUATION, octets[20:])
        frame = client.recv_frame()
        payload = inflated(frame.payload) if frame.rsv else frame.payload
        assert payload == (message.encode() if isinstance(message, str) else message)


@pytest.mark.parametrize("compressed", [False, True])
def test_who_changes_to_blocking_style_gets_the_rest_whole(make_server: Any, connect: Any, compressed: bool) -> None:
    server = make_server(buffer_size=10, per_message_deflate=compressed)
    got: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: Any, binary: bool, remaining: int) -> None:
        got.append((message, remaining))
        got.append(socket.recv())
        got.append(socket.recv())

    client = connect(server, headers=DEFLATE if compressed else ())
    octets = bytes(range(65, 65 + 57))
    client.send_frame(BINARY, deflated(octets) if compressed else octets, rsv=4 if compressed else 0)
    client.send("next")
    eventually(lambda: len(got) == 3)
    assert got[0][0] == octets[:10] and got[0][1] > 0
    assert got[1:] == [octets[10:], "next"]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_handler_may_pause_between_pieces(make_server: Any, connect: Any, compressed: bool) -> None:
    server = make_server(buffer_size=100, per_message_deflate=compressed)
    got: list[Any] = []
    sockets: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: bytes, binary: bool, remaining: int) -> None:
        got.append((message, remaining))
        sockets.append(socket)
        socket.pause()

    client = connect(server, headers=DEFLATE if compressed else ())
    octets = b"x" * 450
    client.send_frame(BINARY, deflated(octets) if compressed else octets, rsv=4 if compressed else 0)
    for count in range(1, 6):
        eventually(lambda count=count: len(got) == count)
        turns()
        assert len(got) == count
        sockets[0].resume()
    assert b"".join(piece for piece, _ in got) == octets and got[-1][1] == 0


@pytest.mark.parametrize("compressed", [False, True])
def test_a_handler_may_block_on_each_piece(make_server: Any, connect: Any, compressed: bool) -> None:
    server = make_server(buffer_size=1000, per_message_deflate=compressed)
    got: list[Any] = []
    inside: list[int] = []

    @server.on("message")
    def message(socket: Any, message: bytes, binary: bool, remaining: int) -> None:
        assert not inside
        inside.append(1)
        gevent.sleep(0.001)
        inside.pop()
        got.append((message, binary, remaining))
        if remaining == 0:
            socket.send("done")

    client = connect(server, headers=DEFLATE if compressed else ())
    octets = os.urandom(30_500)
    client.send_frame(BINARY, deflated(octets) if compressed else octets, rsv=4 if compressed else 0)
    assert client.recv_message() == "done"
    check_pieces(got, octets, 1000)


def test_closing_and_failing_end_the_pieces(make_server: Any, connect: Any) -> None:
    server = make_server(buffer_size=100)
    got: list[int] = []
    server.on("error", lambda error: None)

    @server.on("message")
    def message(socket: Any, message: bytes, binary: bool, remaining: int) -> None:
        got.append(remaining)
        if socket.path == "/close":
            socket.close(4000)
        else:
            raise ValueError("this handler fails")

    for path, code in (("/close", 4000), ("/fail", 1011)):
        client = connect(server, path)
        client.send(b"x" * 1000)
        client.expect_close(code)
        turns()
        assert got == [900]
        got.clear()


@pytest.mark.parametrize("compressed", [False, True])
def test_memory_is_bounded_by_the_piece(make_server: Any, connect: Any, compressed: bool) -> None:
    server = make_server(buffer_size=4096, per_message_deflate=compressed)
    received = 0
    done = gevent.event.Event()

    @server.on("message")
    def message(socket: Any, message: bytes, binary: bool, remaining: int) -> None:
        nonlocal received
        received += len(message)
        assert len(message) <= 4096
        if remaining == 0:
            done.set()

    client: Client = connect(server, headers=DEFLATE if compressed else ())
    length = 16 * 1024 * 1024
    block = bytes(65536)
    octets = deflated(bytes(length)) if compressed else b""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        if compressed:
            client.send_raw(encode(BINARY, octets, rsv=4))
        else:
            head = encode(BINARY, b"", mask=b"\0\0\0\0", length=length)
            client.send_raw(head)
            for _ in range(length // len(block)):
                client.send_raw(block)
        done.wait()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert received == length
    assert peak < 1_000_000, peak


def test_the_option_is_checked() -> None:
    for wrong, error in ((3, ValueError), (0, ValueError), ("4", TypeError), (True, TypeError)):
        with pytest.raises(error, match="buffer_size"):
            lws_gevent.Server(port=0, buffer_size=wrong)
