"""The scene of every attack: an echo server, and a good client beside the attacker that must be answered all the
while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from client import Client, Response


class Scene:
    """A server under attack."""

    def __init__(self, make_server: Any, connect: Any, **options: Any) -> None:
        self._connect = connect
        self.handled: list[Any] = []
        self.closes: list[int] = []
        self.errors: list[BaseException] = []
        self.opened = 0
        self.server = make_server(**options)
        self.server.on("message", self._message)
        self.server.on("connection", self._connection)
        self.server.on("close", self._close)
        self.server.on("error", lambda error: self.errors.append(error))
        self.good = connect(self.server, "/good")
        self.good.echo("before the attack")

    def _connection(self, socket: Any) -> None:
        if socket.path != "/good":
            self.opened += 1

    def _message(self, socket: Any, message: Any, binary: bool) -> None:
        if socket.path != "/good":
            self.handled.append(message)
        self.server.send(socket, message, binary)

    def _close(self, socket: Any, code: int) -> None:
        if socket.path != "/good":
            self.closes.append(code)

    def attacker(self, path: str = "/", **named: Any) -> Client:
        """An open WebSocket connection."""
        return self._connect(self.server, path, **named)

    def raw(self, **named: Any) -> Client:
        """A TCP connection."""
        return self._connect(self.server, upgrade=False, **named)

    def refused(self, head: bytes, *statuses: int) -> Response:
        """Send a request head that must be refused: a complete response with one of `statuses`, then the end of the
        stream."""
        client = self.raw()
        try:
            client.send_raw(head)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may be refused before we have sent all of it
        response = client.recv_response()
        assert response.status in statuses, (response.raw, response.body)
        assert response.headers["connection"].lower() == "close", response.raw
        assert "content-length" in response.headers, response.raw
        rest = client.drain_to_eof()
        assert rest == b"", rest
        client.disconnect()
        assert self.opened == 0 and self.handled == []
        return response

    def violation(self, octets: bytes, *codes: int) -> None:
        """Send `octets` on a fresh connection; they must be answered by a close frame with one of `codes` and the
        end."""
        client = self.attacker()
        before = len(self.handled)
        client.send_raw(octets)
        code, _ = client.recv_close()
        assert code in codes, (code, octets[:50])
        client.send_close(code)
        client.expect_eof()
        assert len(self.handled) == before, "nothing of it reached the application"
        client.disconnect()

    def check(self) -> None:
        """The good client is answered, and so is a new one."""
        self.good.echo("after the attack", within=2)
        fresh = self._connect(self.server, "/good")
        fresh.echo("a new one", within=2)
        fresh.disconnect()


@pytest.fixture
def scene(make_server: Any, connect: Any) -> Iterator[Any]:
    """`scene(**options)` makes a Scene, which is checked at the end."""
    scenes: list[Scene] = []

    def make(**options: Any) -> Scene:
        scenes.append(Scene(make_server, connect, **options))
        return scenes[-1]

    yield make
    for made in scenes:
        made.check()
