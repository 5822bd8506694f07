"""Servers and clients of lws_gevent.compat.ws that are gone when their test is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gevent
import pytest
from helpers import FACTOR
from parity import until

from lws_gevent.compat.ws import HttpServer, WebSocket, WebSocketServer, createServer


@pytest.fixture
def undo() -> Iterator[list[Callable[[], Any]]]:
    """What is called at the end, the latest first."""
    functions: list[Callable[[], Any]] = []
    yield functions
    for function in reversed(functions):
        function()
    for _ in range(3):
        gevent.sleep(0)


@pytest.fixture
def serve(undo: list[Any]) -> Callable[..., WebSocketServer]:
    """``serve(**options)``: a server that listens on a free port."""

    def make(**options: Any) -> WebSocketServer:
        server = WebSocketServer({"port": 0, **options})

        def stop() -> None:
            for client in server.clients or ():
                client.terminate()
            if server._state == 0:
                server.close()

        undo.append(stop)
        if "port" in server.options and server.options["port"] is not None:
            until(server, "listening")()
        return server

    return make


@pytest.fixture
def http(undo: list[Any]) -> Callable[..., HttpServer]:
    """``http(options, at)``: an HTTP server that listens, on a free port or at a path."""

    def make(options: Any = None, at: Any = 0) -> HttpServer:
        server = createServer(options)
        listening = until(server, "listening")
        server.listen(at)
        listening()
        undo.append(server.close)
        return server

    return make


@pytest.fixture
def dial(undo: list[Any]) -> Callable[..., WebSocket]:
    """``dial(server or url, ...)``: a client of it."""

    def make(server: Any, *args: Any, path: str = "", scheme: str = "ws", **options: Any) -> WebSocket:
        url = server if isinstance(server, str) else f"{scheme}://localhost:{server.address()['port']}{path}"
        client = WebSocket(url, *args, **options)
        if not client.listenerCount("error"):
            client.on("error", lambda: None)
        undo.append(client.terminate)
        return client

    return make


class Pems(NamedTuple):
    """Paths: the certificate of localhost and its key, of a client and its key, and of who has issued them."""

    cert: str
    key: str
    client_cert: str
    client_key: str
    ca: str


@pytest.fixture(scope="session")
def pems() -> Pems:
    """Certificates for TLS."""
    certificates = pytest.importorskip("certificates").certificates()
    folder = certificates.directory
    return Pems(
        certificates.cert,
        certificates.key,
        str(folder / "client.pem"),
        str(folder / "client.key"),
        str(certificates.ca),
    )


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """No test of this folder waits for ever."""
    with gevent.Timeout(30 * FACTOR):
        yield
