"""The rules of the parked engine where messages are compressed: inflating is Python, and little becomes much."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from client import BINARY, CONTINUATION, PING, encode
from deflate_peer import RSV1, DeflatePeer, deflated, extensions
from helpers import eventually

import lws_gevent.deflate
from lws_gevent import ConnectionClosed

pytestmark = pytest.mark.only("parked")

MIB = 1024 * 1024


@pytest.fixture
def peer(connect: Any) -> Any:
    """Opens a compressed connection."""
    return lambda server: DeflatePeer(connect(server, headers=extensions()))


@pytest.mark.parametrize("takeover", [False, True])
def test_rule_5_whatever_runs_while_a_message_is_inflated_harms_nothing(
    make_server: Any, peer: Any, monkeypatch: pytest.MonkeyPatch, takeover: bool
) -> None:
    """Other connections use the shared buffer meanwhile, and this one's next messages arrive."""
    inflate = lws_gevent.deflate.Deflate.decompress
    interrupted = []

    def decompress(self: Any, data: bytes, *rest: Any) -> bytes:
        gevent.sleep(0)
        interrupted.append(len(data))
        result = inflate(self, data, *rest)
        gevent.sleep(0.001)
        return result

    monkeypatch.setattr(lws_gevent.deflate.Deflate, "decompress", decompress)
    server = make_server(
        per_message_deflate={"client_no_context_takeover": not takeover, "server_no_context_takeover": not takeover}
    )
    received: dict[Any, list[Any]] = {}
    server.on("message", lambda socket, message: received.setdefault(socket, []).append(message))
    clients = [peer(server) for _ in range(3)]
    expected = []
    for number, client in enumerate(clients):
        messages = [bytes([number]) * (1000 * index + 1) for index in range(12)]
        expected.append(messages)
        octets = b""
        for index, message in enumerate(messages):
            if index % 3 == 0:
                octets += encode(BINARY, client.compress(message), rsv=RSV1)
            elif index % 3 == 1:
                data = client.compress(message)
                octets += encode(BINARY, data[:2], rsv=RSV1, fin=False) + encode(PING, b"between")
                octets += encode(CONTINUATION, data[2:])
            else:
                octets += encode(BINARY, message)
        client.client.send_raw(octets)
    eventually(lambda: sum(map(len, received.values())) == 36)
    assert sorted(received.values()) == sorted(expected)
    assert len(interrupted) == 36  # whole ones, and two parts of as many


@pytest.mark.parametrize("verb", ["send", "send text", "send_fragment", "send_prepared", "broadcast"])
@pytest.mark.parametrize("takeover", [False, True])
def test_rule_5_a_connection_may_end_while_a_message_for_it_is_compressed(
    make_server: Any, peer: Any, monkeypatch: pytest.MonkeyPatch, takeover: bool, verb: str
) -> None:
    server = make_server(per_message_deflate={"server_no_context_takeover": not takeover, "threshold": 0})
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = peer(server)
    eventually(lambda: sockets)
    (socket,) = sockets
    compress = lws_gevent.deflate.Deflate.compress

    def end(self: Any, *arguments: Any) -> bytes:
        socket.terminate()
        gevent.sleep(0)
        return compress(self, *arguments)

    message = b"x" * 100_000
    verbs: dict[str, Any] = {
        "send": lambda: server.send(socket, message),
        "send text": lambda: server.send(socket, message.decode()),
        "send_fragment": lambda: server.send_fragment(socket, message, False),
        "send_prepared": lambda: server.send_prepared(socket, server.prepare_buffer(message)),
        "broadcast": lambda: server.broadcast(message),
    }
    with monkeypatch.context() as patched:
        patched.setattr(lws_gevent.deflate.Deflate, "compress", end)
        if verb == "broadcast":
            assert verbs[verb]() == 0
        else:
            with pytest.raises(ConnectionClosed):
                verbs[verb]()
    assert client.client.drain_to_eof() == b""


def test_rule_8_what_is_inflated_counts(make_server: Any, peer: Any, connect: Any) -> None:
    """One segment of a connection becomes forty MiB: others have their turn in between."""
    server = make_server(per_message_deflate=True, max_payload=MIB)
    order: list[str] = []
    server.on("message", lambda socket, message: order.append("large" if len(message) == MIB else message))
    greedy, other = peer(server), connect(server)
    greedy.client.send_raw(encode(BINARY, deflated(bytes(MIB)), rsv=RSV1) * 40)
    other.send("small")
    eventually(lambda: len(order) == 41)
    assert order.index("small") < 10
