"""HAProxy hands connections on: the server learns of the client by the PROXY protocol, or by X-Forwarded-For."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import FACTOR
from helpers import eventually
from tools import need_program

pytestmark = pytest.mark.interop

DEFAULTS = """
global
    maxconn 100
defaults
    timeout connect 10s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
"""


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Callable[..., tuple[str, int]]]:
    """`haproxy(port, mode, words)` runs one before that port; its address. `words` are of its server line."""
    program = need_program("haproxy")
    running: list[tuple[subprocess.Popen[bytes], socket.socket]] = []

    def run(port: int, mode: str, words: str = "") -> tuple[str, int]:
        listener = socket.create_server(("127.0.0.1", 0))
        configuration = tmp_path / f"{len(running)}.cfg"
        configuration.write_text(
            f"{DEFAULTS}    mode {mode}\n{'    option forwardfor' if mode == 'http' else ''}\n"
            f"listen all\n    bind fd@{listener.fileno()}\n    server one 127.0.0.1:{port} {words}\n"
        )
        process = subprocess.Popen(
            [program, "-db", "-f", str(configuration)],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        running.append((process, listener))
        address: tuple[str, int] = listener.getsockname()
        return address

    yield run
    for process, listener in running:
        process.kill()
        _, errors = process.communicate(timeout=10 * FACTOR)
        listener.close()
        assert b"ALERT" not in errors, errors.decode()


@pytest.mark.parametrize("words", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_proxy_protocol_of_haproxy(make_server: Any, connect: Any, haproxy: Any, words: str, tls: bool) -> None:
    ssl = {"ssl": certificates().options} if tls else {}
    server = make_server(echo=True, proxy_protocol=["127.0.0.1"], **ssl)
    seen: list[Any] = []
    server.on("connection", lambda socket: seen.append(socket.remote_address))
    named = {"tls": certificates().client_context()} if tls else {}
    address = haproxy(server.port, "tcp", words)
    for _ in range(3):
        client = connect(address, **named)
        client.echo("through it" * 10_000)
        assert seen.pop() == client.sock.getsockname()
        client.close_handshake()


def test_the_header_of_haproxy(make_server: Any, connect: Any, haproxy: Any) -> None:
    server = make_server(echo=True, trusted_proxies=["127.0.0.1"])
    seen: list[Any] = []
    server.on("connection", lambda socket: seen.append(socket.remote_address))
    address = haproxy(server.port, "http")
    client = connect(address, headers=[("X-Forwarded-For", "192.0.2.7")])
    client.echo("through it")
    assert seen == [("192.0.2.7", 0)]  # HAProxy has added 127.0.0.1, which is trusted itself
    client.close_handshake()


def test_health_checks_of_haproxy_are_no_errors(make_server: Any, haproxy: Any) -> None:
    """It connects and says LOCAL, or nothing at all."""
    server = make_server(proxy_protocol=True)
    errors: list[Any] = []
    server.on("error", errors.append)
    haproxy(server.port, "tcp", "send-proxy-v2 check inter 50ms")
    eventually(lambda: server.stats()["accepted"] >= 3, "it checks")
    gevent.sleep(0)
    assert errors == [] and server.stats()["refused"] == 0
