"""Frames under attack. The numbers are those of the project's security checklist."""

from __future__ import annotations

import random
import struct
from typing import Any

import gevent
import gevent.event
import pytest
from client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, PeerClosed, close_payload, encode
from helpers import eventually, turns

from lws_gevent import ConnectionClosed

KEY = b"\x12\x34\x56\x78"
MAX = 16 * 1024 * 1024


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE, CONTINUATION])
def test_f01_an_unmasked_frame_is_1002(scene: Any, opcode: int) -> None:
    attacked = scene()
    attacked.violation(encode(opcode, b"", mask=False), 1002)
    attacked.violation(encode(opcode, b"hello" if opcode != CLOSE else close_payload(1000), mask=False), 1002)


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_f02_reserved_bits_are_1002(scene: Any, opcode: int, rsv: int) -> None:
    scene().violation(encode(opcode, b"", rsv=rsv), 1002)


def test_f02_reserved_bits_on_a_continuation_are_1002(scene: Any) -> None:
    attacked = scene()
    for rsv in (1, 2, 4):
        attacked.violation(encode(TEXT, b"a", fin=False) + encode(CONTINUATION, b"b", rsv=rsv), 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_f03_unknown_opcodes_are_1002(scene: Any, opcode: int) -> None:
    attacked = scene()
    attacked.violation(encode(opcode, b""), 1002)
    attacked.violation(encode(opcode, b"payload"), 1002)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_f04_long_or_fragmented_control_frames_are_1002_before_their_payload(scene: Any, opcode: int) -> None:
    attacked = scene()
    for length in (126, 65536, 2**40):
        attacked.violation(encode(opcode, b"", length=length), 1002)
    attacked.violation(encode(opcode, b"", fin=False), 1002)
    attacked.violation(encode(opcode, b"", fin=False, length=10), 1002)


def test_f05_a_continuation_without_a_start_is_1002(scene: Any) -> None:
    attacked = scene()
    attacked.violation(encode(CONTINUATION, b"x"), 1002)
    attacked.violation(encode(CONTINUATION, b"x", fin=False), 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_f05_a_new_message_inside_a_message_is_1002(scene: Any, opcode: int) -> None:
    attacked = scene()
    attacked.violation(encode(TEXT, b"x", fin=False) + encode(opcode, b"y"), 1002)
    attacked.violation(encode(TEXT, b"x", fin=False) + encode(PING, b"") + encode(opcode, b"y", fin=False), 1002)


@pytest.mark.parametrize("length", [2**63, 2**63 + 5, 2**64 - 1, 2**64 - 14])
def test_f06_a_length_with_the_top_bit_is_1002(scene: Any, length: int) -> None:
    scene().violation(encode(BINARY, b"", length=length, mask=KEY), 1002, 1009)


@pytest.mark.parametrize("length", [2**63 - 1, 2**63 - 14, 2**32 + 2, 2**32, 2**31, 2**31 - 1, MAX + 1])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_f07_a_length_over_the_limit_is_1009_on_the_header_alone(scene: Any, opcode: int, length: int) -> None:
    scene().violation(encode(opcode, b"", length=length, mask=KEY), 1009)


def test_f07_the_limit_itself_is_accepted_and_one_more_is_not(scene: Any) -> None:
    attacked = scene(max_payload=1000)
    client = attacked.attacker()
    client.echo(b"x" * 1000)
    client.echo("x" * 1000)
    attacked.handled.clear()
    attacked.violation(encode(BINARY, b"", length=1001), 1009)


@pytest.mark.parametrize(("length", "octets"), [(0, 2), (1, 2), (125, 2), (5, 8), (126, 8), (65535, 8)])
def test_f08_a_length_that_is_not_minimal_is_1002(scene: Any, length: int, octets: int) -> None:
    scene().violation(encode(BINARY, b"", length=length, length_octets=octets), 1002)


STREAM = [
    encode(TEXT, "h\u00e9llo", mask=KEY),
    encode(PING, b"ping", mask=KEY),
    encode(BINARY, b"", mask=KEY),
    encode(TEXT, "\u20ac".encode()[:2], fin=False, mask=KEY),
    encode(PONG, b"unsolicited", mask=KEY),
    encode(CONTINUATION, "\u20ac".encode()[2:] + b"!", mask=KEY),
    encode(BINARY, bytes(range(130)), mask=KEY),
    encode(CLOSE, close_payload(4000, "over"), mask=KEY),
]


def answers(client: Client) -> list[Any]:
    """Everything that comes back for STREAM. Only the order of messages, not that of the pong between them, is
    fixed."""
    got: list[Any] = []
    try:
        while True:
            got.append(client.recv_message())
    except PeerClosed as closed:
        got.append(closed.code)
    client.expect_eof()
    got.append(client.pongs)
    client.disconnect()
    return got


EXPECTED = ["h\u00e9llo", b"", "\u20ac!", bytes(range(130)), 4000, [b"ping"]]


def test_f09_a_stream_split_at_every_octet_gives_the_same(scene: Any) -> None:
    attacked = scene()
    stream = b"".join(STREAM)
    for cut in range(len(stream) + 1):
        client = attacked.attacker()
        client.send_raw(stream[:cut])
        gevent.sleep(0)
        client.send_raw(stream[cut:])
        assert answers(client) == EXPECTED, cut


def test_f09_a_stream_in_chunks_of_every_size_gives_the_same(scene: Any) -> None:
    attacked = scene()
    stream = b"".join(STREAM)
    for size in [*range(1, 20), 31, 64, 100, 150]:
        client = attacked.attacker()
        client.dribble(stream, size)
        assert answers(client) == EXPECTED, size


def test_f10_fragments_over_the_limit_together_are_1009(scene: Any) -> None:
    attacked = scene(max_payload=1000)
    pieces = encode(BINARY, b"x" * 400, fin=False) + encode(CONTINUATION, b"x" * 400, fin=False)
    attacked.violation(pieces + encode(CONTINUATION, b"", length=201), 1009)
    attacked.violation(pieces + encode(CONTINUATION, b"", length=201, fin=False), 1009)
    client = attacked.attacker()
    client.send_raw(pieces + encode(CONTINUATION, b"x" * 200))
    assert client.recv_message() == b"x" * 1000
    attacked.handled.clear()


INVALID_UTF8 = {
    "overlong 2": b"\xc0\xaf",
    "overlong 3": b"\xe0\x80\xaf",
    "overlong 4": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "over 10FFFF": b"\xf4\x90\x80\x80",
    "continuation alone": b"\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "F5": b"\xf5\x80\x80\x80",
    "truncated 2": b"\xc3",
    "truncated 3": b"\xe2\x82",
    "truncated 4": b"\xf0\x9f\x98",
    "broken off": b"\xe2\x28\xa1",
}


@pytest.mark.parametrize("name", list(INVALID_UTF8))
def test_f12_text_that_is_no_utf8_is_1007(scene: Any, name: str) -> None:
    attacked = scene()
    bad = INVALID_UTF8[name]
    attacked.violation(encode(TEXT, bad), 1007)
    attacked.violation(encode(TEXT, b"abc \xe2\x82\xac " + bad), 1007)
    attacked.violation(encode(TEXT, b"x" * 70000 + bad), 1007)
    attacked.violation(encode(TEXT, b"a", fin=False) + encode(CONTINUATION, bad), 1007)
    for cut in range(1, len(bad)):
        attacked.violation(encode(TEXT, bad[:cut], fin=False) + encode(CONTINUATION, bad[cut:]), 1007)


@pytest.mark.parametrize("name", ["overlong 2", "surrogate", "over 10FFFF", "FF"])
def test_f12_it_is_noticed_at_the_first_bad_octet(scene: Any, name: str) -> None:
    attacked = scene()
    bad = INVALID_UTF8[name]
    attacked.violation(encode(TEXT, bad, fin=False), 1007)
    attacked.violation(encode(TEXT, b"ok" + bad, length=5000), 1007)  # the rest of the frame never comes


def test_f12_code_points_may_be_split_between_fragments_and_segments(scene: Any) -> None:
    client = scene().attacker()
    text = "\u00e9\u20ac\U0001f600".encode()
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            client.send_frame(TEXT, text[:first], fin=False)
            client.send_frame(CONTINUATION, text[first:second], fin=False)
            client.send_frame(CONTINUATION, text[second:])
            assert client.recv_message() == text.decode()
    client.dribble(encode(TEXT, text))
    assert client.recv_message() == text.decode()


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_f13_a_close_code_that_must_not_be_sent_is_1002(scene: Any, code: int) -> None:
    attacked = scene()
    attacked.violation(encode(CLOSE, close_payload(code)), 1002)
    attacked.violation(encode(CLOSE, close_payload(code, "reason")), 1002)


def test_f13_a_close_payload_of_one_octet_is_1002(scene: Any) -> None:
    scene().violation(encode(CLOSE, b"\x03"), 1002)


@pytest.mark.parametrize("name", list(INVALID_UTF8))
def test_f13_a_reason_that_is_no_utf8_is_1007(scene: Any, name: str) -> None:
    scene().violation(encode(CLOSE, close_payload(1000, INVALID_UTF8[name])), 1007)


@pytest.mark.parametrize("code", [None, *range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_f14_a_valid_close_is_echoed_and_the_server_ends_first(scene: Any, code: int | None) -> None:
    attacked = scene()
    client = attacked.attacker()
    client.send_close(code, "reason" if code else "")
    assert client.recv_close()[0] == code
    client.expect_eof(reset=False)
    client.disconnect()
    eventually(lambda: attacked.closes)
    assert attacked.closes == [code or 1005]


def test_f14_a_reason_of_123_octets_is_fine(scene: Any) -> None:
    client = scene().attacker()
    assert client.close_handshake(1000, "r" * 123)[0] == 1000


@pytest.mark.parametrize(
    "after",
    [encode(TEXT, "data"), encode(PING, b"ping"), encode(CLOSE, close_payload(1001)), encode(3, b""), b"\xff" * 50],
    ids=["data", "ping", "another close", "reserved opcode", "rubbish"],  # not the frames, whose mask is random
)
def test_f15_whatever_comes_after_the_close_is_ignored(scene: Any, after: bytes) -> None:
    attacked = scene()
    client = attacked.attacker()
    client.send_raw(encode(CLOSE, close_payload(1000)) + after * 10)
    assert client.recv_close()[0] == 1000
    client.expect_eof()
    client.disconnect()
    eventually(lambda: attacked.closes)
    turns()
    assert attacked.handled == [] and attacked.errors == [] and attacked.closes == [1000]


def test_f16_a_close_that_is_never_answered_ends_after_the_timeout(scene: Any) -> None:
    attacked = scene(close_timeout=0.2)
    attacked.server.on("message", lambda socket, message: socket.close(4000) if message == "close" else None)
    clients = [attacked.attacker() for _ in range(20)]
    for client in clients:
        client.send("close")
    for client in clients:
        assert client.recv_close() == (4000, "")
        client.expect_eof()
    eventually(lambda: len(list(attacked.server.connections)) == 1)


def test_f16_talking_on_does_not_put_the_deadline_off(scene: Any, spawn: Any) -> None:
    attacked = scene(close_timeout=0.3)
    attacked.server.on("message", lambda socket, message: socket.close(4000) if message == "close" else None)
    client = attacked.attacker()
    client.send("close")

    def talk() -> None:
        try:
            while True:
                client.ping(b"x")
                gevent.sleep(0.01)
        except OSError:
            pass

    spawn(talk)
    client.drain_to_eof()


class Str(str):
    """A str that is not exactly str."""


WRONG_CALLS = {
    "reason too long": (ValueError, lambda server, socket: server.close(socket, 1000, "r" * 124)),
    "reason too long in UTF-8": (ValueError, lambda server, socket: server.close(socket, 1000, "\u20ac" * 42)),
    "close 1005": (ValueError, lambda server, socket: server.close(socket, 1005)),
    "close with a str": (TypeError, lambda server, socket: server.close(socket, "1000")),
    "close with a float": (TypeError, lambda server, socket: server.close(socket, 1000.0)),
    "reason with a lone surrogate": (ValueError, lambda server, socket: server.close(socket, 1000, "\ud800")),
    "reason that is an int": (TypeError, lambda server, socket: server.close(socket, 1000, 5)),
    "text with a lone surrogate": (ValueError, lambda server, socket: server.send(socket, "\ud800")),
    "int": (TypeError, lambda server, socket: server.send(socket, 100)),
    "int as ping": (TypeError, lambda server, socket: server.ping(socket, 100)),
    "int as pong": (TypeError, lambda server, socket: server.pong(socket, 100)),
    "ping too long": (ValueError, lambda server, socket: server.ping(socket, b"x" * 126)),
    "pong too long": (ValueError, lambda server, socket: server.pong(socket, b"x" * 126)),
    "view that is not contiguous": (
        (ValueError, TypeError, BufferError),
        lambda server, socket: server.send(socket, memoryview(b"abcdef")[::2]),
    ),
    "view of wide items": (
        (ValueError, TypeError),
        lambda server, socket: server.send(socket, memoryview(struct.pack("4i", 1, 2, 3, 4)).cast("i")),
    ),
    "fragment that is an int": (TypeError, lambda server, socket: server.send_fragment(socket, 5, True)),
    "prepared that is none": (TypeError, lambda server, socket: server.send_prepared(socket, b"bytes")),
    "list": (TypeError, lambda server, socket: server.send(socket, [1, 2])),
}


@pytest.mark.parametrize("name", list(WRONG_CALLS))
def test_f17_wrong_calls_of_the_application_raise_and_send_nothing(scene: Any, name: str) -> None:
    attacked = scene()
    kind, call = WRONG_CALLS[name]
    sockets: list[Any] = []
    attacked.server.on("connection", sockets.append)
    client = attacked.attacker()
    eventually(lambda: sockets)
    with pytest.raises(kind):
        call(attacked.server, sockets[0])
    client.echo("nothing came before this")


def test_f19_ping_payloads_are_echoed_exactly_and_pongs_ignored(scene: Any) -> None:
    client = scene().attacker()
    for length in (0, 1, 2, 3, 4, 5, 124, 125):
        payload = random.Random(length).randbytes(length)
        client.ping(payload)
        assert client.recv_pong() == payload
        client.send_frame(PONG, payload)
    client.echo()


def test_f21_frames_of_several_senders_never_interleave_and_a_killed_one_harms_nothing(scene: Any, spawn: Any) -> None:
    attacked = scene(max_backpressure=200_000)
    sockets: list[Any] = []
    attacked.server.on("connection", sockets.append)
    client = attacked.attacker(receive_buffer=4096)
    eventually(lambda: sockets)

    def send(letter: bytes) -> None:
        for _ in range(20):
            attacked.server.send(sockets[0], letter * 100_000)

    senders = {letter: spawn(send, letter) for letter in (b"a", b"b", b"c")}
    seen: dict[bytes, int] = {}
    for _ in range(10):
        message = client.recv_message()
        assert message == message[:1] * 100_000
        seen[message[:1]] = seen.get(message[:1], 0) + 1
    senders[b"b"].kill()
    while seen.get(b"a", 0) < 20 or seen.get(b"c", 0) < 20:
        message = client.recv_message()
        assert message == message[:1] * 100_000
        seen[message[:1]] = seen.get(message[:1], 0) + 1
    assert seen[b"a"] == seen[b"c"] == 20
    client.echo("the stream is whole")


@pytest.mark.parametrize(
    "phase",
    ["open", "head", "opened", "in a header", "in a payload", "in a message", "handling", "blocked in send", "closing"],
)
@pytest.mark.parametrize("end", ["reset", "disconnect"])
def test_f22_a_connection_lost_in_any_phase_is_reported_as_it_should(
    scene: Any, spawn: Any, phase: str, end: str
) -> None:
    attacked = scene(max_backpressure=50_000, close_timeout=0.5)
    release = gevent.event.Event()
    entered: list[Any] = []
    raised: list[Any] = []

    @attacked.server.on("message")
    def message(socket: Any, message: Any) -> None:
        if message == "block":
            entered.append(socket)
            release.wait()
        elif message == "flood":
            entered.append(socket)
            try:
                while True:
                    socket.send(b"x" * 60_000)
            except ConnectionClosed as error:
                raised.append(error.code)
                raise
        elif message == "close":
            socket.close(4000)
            entered.append(socket)

    if phase in ("open", "head"):
        client = attacked.raw()
        if phase == "head":
            client.send_raw(b"GET / HTTP/1.1\r\nHost:")
    else:
        client = attacked.attacker(receive_buffer=4096)
        client.echo()
    if phase == "in a header":
        client.send_raw(encode(BINARY, b"x" * 70000)[:5])
    elif phase == "in a payload":
        client.send_raw(encode(BINARY, b"x" * 70000)[:50000])
    elif phase == "in a message":
        client.send_frame(BINARY, b"x" * 1000, fin=False)
    elif phase in ("handling", "blocked in send", "closing"):
        client.send({"handling": "block", "blocked in send": "flood", "closing": "close"}[phase])
        eventually(lambda: entered)
    turns(3)
    getattr(client, end)()
    if phase == "handling":
        eventually(lambda: entered[0].closed)
        release.set()
    if phase in ("open", "head"):
        turns()
        assert attacked.closes == []
    elif phase == "closing":
        eventually(lambda: len(list(attacked.server.connections)) == 1)
        assert attacked.closes == []
    else:
        eventually(lambda: attacked.closes)
        assert attacked.closes == [1006]
    if phase == "blocked in send":
        assert raised == [1006]
    assert attacked.errors == []
