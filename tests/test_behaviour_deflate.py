"""Compressed connections (permessage-deflate, RFC 7692), as both sides of the wire see them."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import gevent
import pytest
from client import BINARY, CONTINUATION, PING, TEXT, Client, encode, upgrade_head
from deflate_peer import RSV1, TAIL, DeflatePeer, deflated, extensions, frames, inflated
from gevent.socket import socketpair
from helpers import eventually, turns

import lws_gevent

JSON = json.dumps([{"id": number, "name": f"user {number}", "active": True} for number in range(40)])
TAKEOVER = {"server_no_context_takeover": False, "client_no_context_takeover": False}
OFFERS = ("permessage-deflate", "permessage-deflate; client_max_window_bits")


def noise(size: int) -> bytes:
    """Octets that cannot be compressed, the same every time."""
    return random.Random(size).randbytes(size)


@pytest.fixture
def peer(make_server: Any, connect: Any) -> Any:
    """`peer(server, offer)`: a client whose offer was accepted."""

    def make(server: Any, offer: str = "permessage-deflate; client_max_window_bits", **how: Any) -> DeflatePeer:
        return DeflatePeer(connect(server, headers=extensions(offer)), **how)

    return make


def count_compressions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on, the window of each message that is compressed without a context."""
    from lws_gevent import deflate

    calls: list[int] = []
    compress = deflate.Deflaters.compress

    def counted(self: Any, data: Any, bits: int) -> bytes:
        calls.append(bits)
        return compress(self, data, bits)

    monkeypatch.setattr(deflate.Deflaters, "compress", counted)
    return calls


# Agreeing


def test_without_the_option_nothing_is_compressed(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    seen: list[str] = []
    server.on("connection", lambda socket: seen.append(socket.extensions))
    client = connect(server, headers=extensions())
    assert "sec-websocket-extensions" not in client.response.headers
    client.send(JSON)
    assert client.recv_message() == JSON
    assert seen == [""]
    client.send_frame(TEXT, deflated(b"x"), rsv=RSV1)
    assert client.recv_close()[0] == 1002


def test_a_client_that_does_not_ask_for_it_is_not_compressed(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    client = connect(server)
    assert "sec-websocket-extensions" not in client.response.headers
    client.send(JSON)
    assert client.recv_message() == JSON
    client.send_frame(TEXT, deflated(b"x"), rsv=RSV1)
    assert client.recv_close()[0] == 1002


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        (True, "; server_no_context_takeover; client_no_context_takeover"),
        (TAKEOVER, ""),
        ({"client_no_context_takeover": False}, "; server_no_context_takeover"),
        (
            lws_gevent.PerMessageDeflate(server_max_window_bits=10, client_max_window_bits=12, **TAKEOVER),
            "; server_max_window_bits=10; client_max_window_bits=12",
        ),
    ],
)
def test_what_was_agreed_is_answered_and_known_to_the_socket(
    make_server: Any, connect: Any, option: Any, answer: str
) -> None:
    server = make_server(echo=True, per_message_deflate=option)
    seen: list[str] = []
    server.on("connection", lambda socket: seen.append(socket.extensions))
    client = connect(server, headers=extensions())
    assert client.response.headers["sec-websocket-extensions"] == "permessage-deflate" + answer
    client.echo("hello")
    assert seen == ["permessage-deflate" + answer]


def test_the_names_of_node_lws_are_understood(make_server: Any, peer: Any) -> None:
    options = {
        "host": "127.0.0.1",
        "port": 0,
        "perMessageDeflate": {
            "serverNoContextTakeover": False,
            "clientNoContextTakeover": False,
            "serverMaxWindowBits": 9,
            "memLevel": 5,
        },
    }
    server = make_server(options, echo=True)
    assert peer(server).header == "permessage-deflate; server_max_window_bits=9"


def test_a_declined_offer_leaves_the_connection_uncompressed(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    client = connect(server, headers=extensions("permessage-deflate; server_max_window_bits=8, foo; bar"))
    assert "sec-websocket-extensions" not in client.response.headers
    client.send(JSON)
    assert client.recv_message() == JSON


def test_a_malformed_header_is_refused_with_400(make_server: Any, connect: Any) -> None:
    server = make_server(per_message_deflate=True)
    upgrades: list[Any] = []
    server.on("upgrade", lambda socket: upgrades.append(1))
    client = connect(server, upgrade=False)
    response = client.request(upgrade_head(headers=extensions("permessage-deflate; =")))
    assert response.status == 400 and b"Sec-WebSocket-Extensions" in response.body
    assert upgrades == []


def test_a_connection_that_is_taken_over_is_compressed_too(make_server: Any) -> None:
    server = make_server(port=None, start=False, echo=True, per_message_deflate=TAKEOVER)
    ours, theirs = socketpair()
    try:
        adopted = server.handle_upgrade(ours, upgrade_head(headers=extensions()))
    finally:
        ours.close()
    client = Client(theirs)
    assert client.recv_response().status == 101
    assert adopted.extensions == "permessage-deflate"
    peer = DeflatePeer(client)
    for _ in range(3):
        peer.echo(JSON)
        assert peer.was_compressed
    client.disconnect()


# Messages


@pytest.mark.also_over_tls
@pytest.mark.parametrize("keeps", [False, True], ids=["no takeover", "takeover"])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 1023, 1024, 5000, 70_000, 1_000_000])
def test_compressed_messages_of_every_size_class_come_back(make_server: Any, peer: Any, size: int, keeps: bool) -> None:
    server = make_server(echo=True, per_message_deflate=TAKEOVER if keeps else True)
    client = peer(server)
    text = (JSON * (size // len(JSON) + 1))[:size]
    for message in (text, text.encode(), noise(size), "\u20ac" * (size // 3)):
        for _ in range(2):
            client.echo(message)
            length = len(message.encode() if isinstance(message, str) else message)
            assert client.was_compressed is (length >= 1024)


def test_the_receiver_gets_str_and_bytes_as_ever(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=True)
    got: list[Any] = []
    server.on("message", lambda socket, *arguments: got.append(arguments))
    client = peer(server)
    client.send(JSON)
    client.send(JSON.encode())
    client.client.send("plain")  # each message for itself may be compressed, or not
    client.send("")
    client.client.send_frame(TEXT, b"", rsv=RSV1)
    eventually(lambda: len(got) == 5)
    assert got == [
        (JSON, False, 0),
        (JSON.encode(), True, 0),
        ("plain", False, 0),
        ("", False, 0),
        ("", False, 0),
    ]


@pytest.mark.also_over_tls
@pytest.mark.parametrize("keeps", [False, True], ids=["no takeover", "takeover"])
def test_messages_in_one_segment_are_inflated_in_order(make_server: Any, peer: Any, keeps: bool) -> None:
    server = make_server(per_message_deflate=TAKEOVER if keeps else True)
    got: list[str] = []
    server.on("message", lambda socket, message: got.append(message))
    client = peer(server)
    sent = [JSON[: number * 10] for number in range(100)]
    octets = b"".join(b"".join(frames(TEXT, client.compress(message.encode()))) for message in sent)
    client.client.send_raw(octets)
    eventually(lambda: len(got) == 100)
    assert got == sent


@pytest.mark.also_over_tls
@pytest.mark.parametrize("message", [JSON, noise(3000), b"\x00" * 100_000], ids=["text", "noise", "zeros"])
def test_a_compressed_message_may_come_in_any_pieces(make_server: Any, peer: Any, message: bytes | str) -> None:
    server = make_server(echo=True, per_message_deflate=TAKEOVER)
    client = peer(server)
    opcode = TEXT if isinstance(message, str) else BINARY
    octets = message.encode() if isinstance(message, str) else message
    for cuts in ((0,), (1,), (1, 1, 2, 3, 50), range(1, 40), (10, 10, 10)):
        client.send(message, cuts)
        assert client.recv() == message
    payload = client.compress(octets)
    client.client.dribble(b"".join(frames(opcode, payload, (5, 20))), 1 if len(payload) < 500 else 97)
    assert client.recv() == message


def test_an_empty_last_fragment_ends_a_compressed_message(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    client = peer(server)
    payload = deflated(JSON.encode())
    client.client.send_raw(b"".join(frames(TEXT, payload, (len(payload),))))
    assert client.recv() == JSON
    client.client.send_raw(b"".join(frames(TEXT, payload + TAIL, (len(payload) + 4,))))  # a flush sent whole
    assert client.recv() == JSON


def test_control_frames_come_between_the_fragments_of_a_compressed_message(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    client = peer(server)
    first, second, third = frames(TEXT, deflated(JSON.encode()), (10, 30))
    client.client.send_raw(first + encode(PING, b"1") + second + encode(PING, b"2") + third)
    assert client.client.recv_pong() == b"1" and client.client.recv_pong() == b"2"
    assert client.recv() == JSON


@pytest.mark.parametrize(
    "frame",
    [
        encode(PING, b"x", rsv=RSV1),
        encode(TEXT, deflated(b"ab")[:1], rsv=RSV1, fin=False) + encode(CONTINUATION, b"x", rsv=RSV1),
        encode(TEXT, b"x", rsv=2),
        encode(TEXT, b"x", rsv=1),
        encode(TEXT, b"x", rsv=7),
    ],
    ids=["ping", "continuation", "RSV2", "RSV3", "all"],
)
def test_rsv1_stands_on_the_first_frame_of_a_message_only(make_server: Any, peer: Any, frame: bytes) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    errors: list[Any] = []
    server.on("error", lambda error: errors.append(error.close_code))
    client = peer(server)
    client.client.send_raw(frame)
    assert client.client.recv_close()[0] == 1002
    eventually(lambda: errors == [1002])


def test_text_is_checked_after_it_was_inflated(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    server.on("error", lambda error: None)
    for octets in (b"\xff", JSON.encode() + b"\xed\xa0\x80", b"a" * 100_000 + b"\xc3", b"\xc3" + b"a" * 100_000):
        client = peer(server)
        client.client.send_frame(TEXT, deflated(octets), rsv=RSV1)
        assert client.client.recv_close()[0] == 1007
    client = peer(server)
    client.client.send_frame(BINARY, deflated(b"\xff" * 2000), rsv=RSV1)
    assert client.recv() == b"\xff" * 2000


def test_characters_may_be_cut_by_fragments_and_by_steps_of_inflating(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate={"client_max_window_bits": 9})
    client = peer(server)
    for shift in range(4):
        message = "a" * shift + "\u20ac\U0001d11e" * 30_000
        client.send(message, (7, 8, 9, 100))
        assert client.recv() == message


def test_invalid_text_is_let_through_when_it_is_not_to_be_checked(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True, skip_utf8_validation=True)
    client = peer(server)
    client.client.send_frame(TEXT, deflated(b"a\xffb"), rsv=RSV1)
    assert client.recv() == "a\ufffdb"


# What was agreed is kept to


@pytest.mark.parametrize("keeps", [False, True], ids=["no takeover", "takeover"])
@pytest.mark.parametrize("bits", range(9, 16))
def test_every_window_is_kept_to_both_ways(make_server: Any, peer: Any, bits: int, keeps: bool) -> None:
    server = make_server(echo=True, per_message_deflate={"threshold": 0, **(TAKEOVER if keeps else {})})
    offer = f"permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}"
    client = peer(server, offer, strict_window=True)
    assert (client.server_bits, client.client_bits) == (bits, bits)
    # Repeats as far away as the next larger window, and a bit nearer than this one reaches.
    for distance in ((1 << bits) - 300, 1 << bits, (1 << bits) + 200):
        block = noise(distance)
        client.echo(block + block[:2000])
        assert client.was_compressed


@pytest.mark.parametrize("keeps", [False, True], ids=["no takeover", "takeover"])
def test_context_is_taken_over_only_where_that_was_agreed(make_server: Any, peer: Any, keeps: bool) -> None:
    server = make_server(echo=True, per_message_deflate=TAKEOVER if keeps else True)
    client = peer(server)
    message = noise(4000)
    lengths = []
    for _ in range(3):
        client.echo(message)
        lengths.append(client.wire_length)
    assert lengths[0] > 4000
    if keeps:
        assert lengths[1] < 100 and lengths[2] < 100
    else:
        assert lengths[1] == lengths[2] == lengths[0]


def test_connections_do_not_share_their_contexts(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=TAKEOVER)
    clients = [peer(server) for _ in range(4)]
    for number, client in itertools.product(range(5), clients):
        client.echo(f"{JSON} {number} {clients.index(client)}")


def test_connections_without_contexts_see_nothing_of_each_other(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    clients = [peer(server) for _ in range(3)]
    secret = noise(3000)
    lengths = []
    for client in clients:
        client.echo(secret)
        lengths.append(client.wire_length)
    assert len(set(lengths)) == 1 and lengths[0] >= 3000


# Sending


def test_the_sender_may_decide_for_each_message(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate={"threshold": 100})
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = peer(server)
    eventually(lambda: sockets)
    seen = []
    for size, compress in itertools.product((0, 99, 100, 5000), (None, True, False)):
        assert server.send(sockets[0], "x" * size, None, compress) is True
        assert client.recv() == "x" * size
        seen.append((size, compress, client.was_compressed))
    assert seen == [
        (0, None, False),
        (0, True, True),
        (0, False, False),
        (99, None, False),
        (99, True, True),
        (99, False, False),
        (100, None, True),
        (100, True, True),
        (100, False, False),
        (5000, None, True),
        (5000, True, True),
        (5000, False, False),
    ]


def test_asking_for_compression_where_there_is_none_is_no_error(make_server: Any, connect: Any) -> None:
    server = make_server(per_message_deflate=True)
    server.on("connection", lambda socket: socket.send("hello", compress=True))
    assert connect(server).recv_message() == "hello"


def test_the_threshold_counts_octets_of_text(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate={"threshold": 30})
    client = peer(server)
    client.echo("\u20ac" * 9)
    assert not client.was_compressed
    client.echo("\u20ac" * 10)
    assert client.was_compressed


@pytest.mark.parametrize("keeps", [False, True], ids=["no takeover", "takeover"])
def test_fragments_are_compressed_when_the_first_one_is_long_enough(make_server: Any, peer: Any, keeps: bool) -> None:
    server = make_server(per_message_deflate={"threshold": 100, **(TAKEOVER if keeps else {})})
    pieces = {
        "long": [b"a" * 100, b"b" * 300, b"", b"c"],
        "short": [b"a" * 99, b"b" * 300],
        "empty end": [b"\xe2" + b"x" * 200, b""],
        "text": ["\u20ac" * 50, "", "end"],
        "again": [JSON, JSON, JSON],
    }

    @server.on("message")
    def message(socket: Any, name: str) -> None:
        for piece in pieces[name][:-1]:
            server.send_fragment(socket, piece, False)
        server.ping(socket, b"between")
        server.send_fragment(socket, pieces[name][-1], True)

    client = peer(server)
    for _ in range(2):
        for name, sent in pieces.items():
            client.client.send(name)
            assert client.recv() == sent[0][:0].join(sent)  # type: ignore[call-overload]
            assert client.was_compressed is (name != "short")


def test_messages_without_compression_between_compressed_ones_harm_no_context(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = peer(server)
    eventually(lambda: sockets)
    for number in range(20):
        message = f"{JSON} {number}"
        sockets[0].send(message, compress=number % 3 != 0)
        assert client.recv() == message
        assert client.was_compressed is (number % 3 != 0)


@pytest.mark.also_over_tls
def test_a_prepared_message_reaches_compressed_and_plain_connections(make_server: Any, connect: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER)
    prepared = [server.prepare_buffer(JSON), server.prepare_buffer(JSON.encode()), server.prepare_buffer("short")]
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    plain = connect(server)
    compressed = [
        peer(server, offer)
        for offer in (
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
        )
    ]
    eventually(lambda: len(sockets) == 5)
    for _ in range(3):
        for socket in sockets:
            for message in prepared:
                assert server.send_prepared(socket, message) is True
            assert server.send_prepared(socket, prepared[0], True) is True
            socket.send(f"{JSON} direct")
        expected = [JSON, JSON.encode(), "short", JSON.encode(), f"{JSON} direct"]
        assert [plain.recv_message() for _ in expected] == expected
        for client in compressed:
            for message in expected:
                assert client.recv() == message
                assert client.was_compressed is (message != "short")
    with pytest.raises(ValueError):
        server.send_prepared(sockets[1], server.prepare_buffer(b"\xff" * 2000), False)


def test_a_broadcast_is_compressed_once_for_each_window(
    make_server: Any, connect: Any, peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(per_message_deflate=True)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    plain = connect(server)
    narrow = [peer(server, "permessage-deflate; server_max_window_bits=9") for _ in range(3)]
    wide = [peer(server) for _ in range(3)]
    eventually(lambda: len(sockets) == 7)

    calls = count_compressions(monkeypatch)
    assert server.broadcast(JSON) == 7
    assert server.broadcast("short") == 7
    prepared = server.prepare_buffer(JSON.encode())
    assert server.broadcast(prepared) == 7
    assert server.broadcast(prepared) == 7
    expected = [JSON, "short", JSON.encode(), JSON.encode()]
    assert [plain.recv_message() for _ in expected] == expected
    for client in (*narrow, *wide):
        for message in expected:
            assert client.recv() == message
            assert client.was_compressed is (message != "short")
    assert sorted(calls) == [9, 9, 15, 15]


def test_what_is_published_is_compressed_once_for_each_window(
    make_server: Any, connect: Any, peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(per_message_deflate=True)
    server.on("connection", lambda socket: server.subscribe(socket, "news"))
    plain = connect(server)
    clients = [peer(server, offer) for offer in ("permessage-deflate; server_max_window_bits=10", *OFFERS)]
    eventually(lambda: len(server.subscribers("news")) == 1 + len(clients))
    calls = count_compressions(monkeypatch)
    assert server.publish("news", JSON) == 1 + len(clients)
    assert plain.recv_message() == JSON
    for client in clients:
        assert client.recv() == JSON and client.was_compressed
    assert sorted(calls) == [10, 15]


def test_direct_prepared_and_broadcast_messages_keep_their_order(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    clients = [peer(server), peer(server, "permessage-deflate; server_no_context_takeover")]
    eventually(lambda: len(sockets) == 2)
    with server.cork(sockets[0]):
        for number in range(10):
            for socket in sockets:
                socket.send(f"{JSON} {number}")
                server.send_prepared(socket, server.prepare_buffer(f"{JSON} {number} prepared"))
            server.broadcast(f"{JSON} {number} broadcast")
    for client in clients:
        for number in range(10):
            for what in ("", " prepared", " broadcast"):
                assert client.recv() == f"{JSON} {number}{what}"


def test_back_pressure_counts_what_goes_over_the_wire(make_server: Any, connect: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=True, max_backpressure=100_000, backpressure="drop")
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    silent = Client.connect(("127.0.0.1", server.port), headers=extensions(), receive_buffer=4096)
    eventually(lambda: sockets)
    assert all(sockets[0].send(bytes(1_000_000)) for _ in range(20)), "a thousandth of that"
    assert sockets[0].buffered_amount <= 100_000
    while sockets[0].send(noise(50_000)):
        assert sockets[0].buffered_amount <= 160_000
    assert 100_000 < sockets[0].buffered_amount <= 160_000
    client = DeflatePeer(silent)
    for _ in range(20):
        assert client.recv() == bytes(1_000_000)
    assert client.recv() == noise(50_000)
    silent.disconnect()


def test_a_dropped_message_does_not_disturb_the_context(make_server: Any, connect: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER, max_backpressure=10_000, backpressure="drop")
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    silent = Client.connect(("127.0.0.1", server.port), headers=extensions(), receive_buffer=4096)
    eventually(lambda: sockets)
    accepted = []
    number = 0
    while len(accepted) == number:
        message = noise(30_000 + number)
        if sockets[0].send(message):
            accepted.append(message)
        number += 1
    client = DeflatePeer(silent)
    for message in accepted:
        assert client.recv() == message
    eventually(lambda: sockets[0].buffered_amount == 0)
    assert sockets[0].send(accepted[-1] + b"end")
    assert client.recv() == accepted[-1] + b"end"
    silent.disconnect()


def test_a_killed_sender_leaves_the_context_whole(make_server: Any, spawn: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER, max_backpressure=10_000)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    silent = Client.connect(("127.0.0.1", server.port), headers=extensions(), receive_buffer=4096)
    eventually(lambda: sockets)
    sent = []

    def send_for_ever() -> None:
        while True:
            message = noise(20_000 + len(sent))
            sockets[0].send(message)
            sent.append(message)

    sender = spawn(send_for_ever)
    eventually(lambda: sockets[0].buffered_amount > 10_000)
    turns()
    sender.kill()
    client = DeflatePeer(silent)
    for message in sent:
        assert client.recv() == message
    eventually(lambda: sockets[0].buffered_amount == 0)
    sockets[0].send(JSON)
    assert client.recv() == JSON
    silent.disconnect()


# The rest of a connection's life


@pytest.mark.also_over_tls
def test_blocking_style_receives_inflated_messages(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER)

    @server.on("connection")
    def connection(socket: Any) -> None:
        for message in socket:
            socket.send(message)

    client = peer(server)
    for message in (JSON, noise(2000), "", JSON * 100):
        client.echo(message)


@pytest.mark.also_over_tls
def test_messages_that_wait_for_a_blocked_handler_are_inflated_in_order(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER)
    release = gevent.event.Event()
    got: list[str] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if not got:
            release.wait()
        got.append(message)

    client = peer(server)
    for number in range(200):
        client.send(f"{JSON} {number}")
    client.client.ping(b"x")
    turns()
    release.set()
    eventually(lambda: len(got) == 200)
    assert got == [f"{JSON} {number}" for number in range(200)]


def test_a_close_in_the_middle_of_a_compressed_message_is_a_close(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER)
    closes: list[tuple[int, str]] = []
    server.on("close", lambda socket, code, reason: closes.append((code, reason)))
    client = peer(server)
    client.client.send_frame(TEXT, deflated(JSON.encode())[:50], rsv=RSV1, fin=False)
    assert client.client.close_handshake(4000, "enough")[0] == 4000
    eventually(lambda: closes == [(4000, "enough")])


def test_a_connection_lost_in_the_middle_of_a_compressed_message_leaves_nothing(make_server: Any, peer: Any) -> None:
    server = make_server(per_message_deflate=TAKEOVER)
    closes: list[int] = []
    server.on("close", lambda socket, code: closes.append(code))
    for end in (Client.disconnect, Client.reset):
        client = peer(server)
        client.client.send_frame(TEXT, deflated(JSON.encode())[:50], rsv=RSV1, fin=False)
        client.client.ping()
        client.client.recv_pong()
        end(client.client)
    eventually(lambda: closes == [1006, 1006])


def test_messages_and_octets_are_counted(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    client = peer(server)
    before = server.stats()
    client.echo("x" * 100_000)
    eventually(lambda: server.stats()["messages_sent"] == before["messages_sent"] + 1)
    after = server.stats()
    assert after["messages_received"] == before["messages_received"] + 1
    assert after["octets_received"] - before["octets_received"] < 1000 < 100_000
    assert after["octets_sent"] - before["octets_sent"] < 1000


def test_what_is_sent_can_be_inflated_by_itself(make_server: Any, peer: Any) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    client = peer(server)
    client.send(JSON)
    (frame,) = client.recv_frames()
    assert inflated(frame.payload) == JSON.encode()
    assert not frame.payload.endswith(TAIL)
