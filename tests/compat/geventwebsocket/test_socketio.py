"""Flask-SocketIO on `compat.geventwebsocket`, `compat.simple_websocket` and `compat.engineio`; nothing is patched."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from client import Client, upgrade_head
from helpers import SCRIPTS, environment
from tools import Process, need_module


@pytest.fixture(
    params=["geventwebsocket", "simple_websocket", "engineio", "engineio geventwebsocket", "engineio theirs"]
)
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    need_module("flask_socketio")
    if "theirs" in request.param:
        need_module("geventwebsocket")
    with Process([sys.executable, str(SCRIPTS / "socketio_app.py"), *request.param.split()], environment()) as server:
        yield "127.0.0.1", int(server.line().split()[0])
        assert b"Traceback" not in server.errors, server.printed


def talk(client: Client) -> None:
    """The protocol of Socket.IO: join the namespace, then an event."""
    client.send("40")
    joined = client.recv_message()
    assert isinstance(joined, str) and joined.startswith("40{")
    for text in ("hello", "x" * 10_000):
        client.send("42" + json.dumps(["message", text]))
        answer = client.recv_message()
        assert isinstance(answer, str) and json.loads(answer[2:]) == ["message", text]


def test_websocket_only(address: tuple[str, int]) -> None:
    for _ in range(2):
        with Client.connect(address, "/socket.io/?EIO=4&transport=websocket") as client:
            opened = client.recv_message()
            assert isinstance(opened, str) and opened.startswith('0{"sid"')
            talk(client)
            client.close_handshake(1000)


def test_polling_that_is_upgraded(address: tuple[str, int]) -> None:
    with Client.open(address) as asking:
        request = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        session = json.loads(asking.request(request).body[1:])["sid"]
    with Client.connect(address, f"/socket.io/?EIO=4&transport=websocket&sid={session}") as client:
        client.send("2probe")
        assert client.recv_message() == "3probe"
        client.send("5")
        assert client.recv_message() == "6"  # the end of polling
        talk(client)
        client.close_handshake(1000)


@pytest.mark.parametrize("address", ["engineio"], indirect=True)
def test_without_a_handler_the_limit_is_engineios_and_bad_handshakes_are_refused(address: tuple[str, int]) -> None:
    with Client.connect(address, "/socket.io/?EIO=4&transport=websocket") as client:
        client.recv_message()
        client.send("x" * 1_000_001)
        client.expect_close(1009)
    with Client.open(address) as client:
        head = upgrade_head("/socket.io/?EIO=4&transport=websocket", without=["Sec-WebSocket-Key"])
        assert client.request(head).status == 400
    with Client.open(address) as asking:
        request = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        session = json.loads(asking.request(request).body[1:])["sid"]
    with Client.open(address) as client:
        target = f"/socket.io/?EIO=4&transport=websocket&sid={session}"
        assert client.request(upgrade_head(target, without=["Sec-WebSocket-Key"])).status == 400
