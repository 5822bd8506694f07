"""lws_gevent.compat.ws and the real ws of npm, in both roles, over TCP and TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import subprocess
from helpers import FACTOR
from parity import opened, record, until
from tools import missing, need_program

from lws_gevent.compat.ws import WebSocketServer

pytestmark = [pytest.mark.interop]

INTEROP = Path(__file__).resolve().parents[2] / "interop"


def node(script: str, *arguments: str) -> list[str]:
    """The command that runs a script with ws."""
    program = need_program("node")
    if not (INTEROP / "node_modules" / "ws").is_dir():
        missing("the npm package ws is not installed (npm ci in tests/interop)")
    return [program, str(INTEROP / "clients" / script), *arguments]


# our server, their client


def dispatch(server: Any) -> None:
    """What the client of the other side expects at each path."""
    wss = WebSocketServer(noServer=True, perMessageDeflate={"threshold": 0})

    def upgrade(request: Any, socket: Any, head: bytes) -> None:
        if request.url == "/redirect":
            socket.end("HTTP/1.1 302 Found\r\nLocation: /echo\r\n\r\n")
            return
        wss.handleUpgrade(request, socket, head, lambda websocket: serve(websocket, request.url))

    def serve(websocket: Any, path: str) -> None:
        if path == "/close":
            websocket.close(4001, "goodbye \u20ac")
        elif path == "/terminate":
            websocket.terminate()
        websocket.on("error", lambda: None)
        websocket.on("message", lambda data, is_binary: websocket.send(data, {"binary": is_binary}))

    server.on("upgrade", upgrade)


SEEN = {
    "extensions": {"plain": "", "compressed": "permessage-deflate"},
    "text": {"text": "Gr\u00fc\u00dfe \u20ac \U0001d11e"},
    "binary": {"binary": "00ff80"},
    "large": 300000,
    "fragments": {"text": "one two"},
    "pong": "are you there",
    "close": [1000, "done"],
}


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_a_client_of_npm_understands_our_server(http: Any, pems: Any, secure: bool) -> None:
    server = http({"cert": pems.cert, "key": pems.key} if secure else None)
    dispatch(server)
    url = f"{'wss' if secure else 'ws'}://localhost:{server.address()['port']}"
    process = subprocess.Popen(node("compat_client.mjs", url), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = process.communicate(timeout=60 * FACTOR)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    seen = json.loads(output)
    for kind in ("plain", "compressed"):
        for name, expected in SEEN.items():
            assert seen[f"{kind} {name}"] == (expected[kind] if name == "extensions" else expected), (kind, name)  # type: ignore[index]
    assert seen["closed"] == [4001, "goodbye \u20ac"]
    assert seen["terminated"] == 1006
    assert seen["protocol"] == "foo"
    assert seen["redirected"] == "/echo"
    assert seen["broken"] == 1002


# their server, our client


class Peer:
    """The server of the other side."""

    def __init__(self, pems: Any) -> None:
        command = node("compat_server.mjs", pems.cert, pems.key)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _, plain, secure = self.line().split()
        self.urls = {"tcp": f"ws://localhost:{plain}", "tls": f"wss://localhost:{secure}"}

    def line(self) -> str:
        with gevent.Timeout(30 * FACTOR):
            return self.process.stdout.readline().decode().strip()  # type: ignore[no-any-return]

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(30 * FACTOR)
        self.process.stdout.close()


@pytest.fixture
def peer(pems: Any) -> Iterator[Peer]:
    peer = Peer(pems)
    yield peer
    peer.stop()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_our_client_understands_a_server_of_npm(peer: Peer, dial: Any, transport: str) -> None:
    url = peer.urls[transport].replace("localhost", "127.0.0.1")

    def client(path: str, **options: Any) -> Any:
        return dial(url + path, rejectUnauthorized=False, **options)

    for deflate, extensions in ((False, ""), ({"threshold": 0}, "permessage-deflate")):
        websocket = opened(client("/echo", perMessageDeflate=deflate))
        assert websocket.extensions == extensions
        for data, expected in (
            ("Gr\u00fc\u00dfe \u20ac", ("Gr\u00fc\u00dfe \u20ac".encode(), False)),
            (bytes(range(256)), (bytes(range(256)), True)),
            ("x" * 300000, (b"x" * 300000, False)),
            ("", (b"", False)),
        ):
            message = until(websocket, "message")
            websocket.send(data)
            assert message() == expected
        message = until(websocket, "message")
        websocket.send("one ", fin=False)
        websocket.send("two", fin=True)
        assert message() == (b"one two", False)
        pong, closed = until(websocket, "pong"), until(websocket, "close")
        websocket.ping("are you there")
        assert pong() == b"are you there"
        websocket.close(4002, "done")
        assert closed() == (4002, b"done")
        assert peer.line() == "closed 4002 done"

    assert until(client("/close"), "close")() == (4001, "goodbye \u20ac".encode())
    assert until(client("/terminate"), "close")() == (1006, b"")
    websocket = client("/ping")
    ping = until(websocket, "ping")
    assert until(websocket, "message")() == (b"pong: hey", False)
    assert ping() == b"hey"
    assert until(client("/fragments"), "message")() == ("fr\u00e4gments".encode(), False)
    websocket = opened(client("/redirect", followRedirects=True))
    assert websocket.url == url + "/echo"
    websocket = client("/broken")
    events = record(websocket, "error", "close")
    until(websocket, "close")()
    assert events[0][1].code == "WS_ERR_INVALID_OPCODE"
    assert events[1] == ("close", 1006, b"")
