"""Every example of the README of ws, and of node-lws, runs in its Python form and does what the original does."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import certificates
from client import Client
from helpers import environment
from tools import Process

PORTED = Path(__file__).resolve().parents[1] / "examples" / "ported"
PAGE = PORTED.parents[1] / "docs" / "porting-from-ws.md"


@contextmanager
def running(name: str, *arguments: str) -> Iterator[Process]:
    with Process([sys.executable, str(PORTED / name), *arguments], environment()) as process:
        yield process


@contextmanager
def serving(name: str, *arguments: str) -> Iterator[tuple[Process, int]]:
    """A server on a free port, and the port."""
    with running(name, "0", *arguments) as process:
        match = re.fullmatch(r"listening on \w+://127\.0\.0\.1:(\d+)", process.line())
        assert match
        yield process, int(match[1])


def connect(port: int, **how: Any) -> Client:
    return Client.connect(("127.0.0.1", port), **how)


def test_simple_server() -> None:
    with serving("simple_server.py") as (server, port):
        client = connect(port)
        assert client.recv_message() == "something"
        client.send("hello")
        assert server.line() == "received: hello"
        client.disconnect()


def test_external_https_server() -> None:
    from gevent import socket

    with serving("external_https_server.py", certificates().cert, certificates().key) as (server, port):
        context = certificates().client_context()
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        octets = b""
        while not octets.endswith(b"something"):
            octets += sock.recv(1000)
        sock.close()


@pytest.mark.parametrize("name", ["multiple_servers.py", "multiple_servers_pywsgi.py"])
def test_multiple_servers(name: str) -> None:
    with serving(name) as (_, port):
        foo, bar = connect(port, path="/foo"), connect(port, path="/bar")
        assert foo.recv_message() == "this is foo"
        if name == "multiple_servers.py":
            assert bar.recv_message() == "this is bar"
        else:
            bar.echo()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=10) as response:
                assert response.read() == b"a page\n"
        with pytest.raises((AssertionError, OSError, EOFError)):
            connect(port, path="/other")
        foo.disconnect()
        bar.disconnect()


def test_client_authentication() -> None:
    with serving("client_authentication.py") as (server, port):
        client = connect(port, headers=[("Authorization", "User alice")])
        client.send("hello")
        assert server.line() == "Received message hello from user alice"
        client.disconnect()
        with pytest.raises(AssertionError):
            connect(port)


@pytest.mark.parametrize(("name", "itself"), [("broadcast_all.py", True), ("broadcast_others.py", False)])
def test_broadcast(name: str, itself: bool) -> None:
    with serving(name) as (_, port):
        one, two = connect(port), connect(port)
        one.ping()
        one.recv_pong()
        two.ping()
        two.recv_pong()
        one.send("hello")
        assert two.recv_message() == "hello"
        two.send(b"octets")
        assert one.recv_message() == ("hello" if itself else b"octets")
        one.disconnect()
        two.disconnect()


def test_client_address() -> None:
    with serving("client_address.py") as (_, port):
        client = connect(port)
        assert client.recv_message() == "127.0.0.1"
        proxied = connect(port, headers=[("X-Forwarded-For", "192.0.2.1, 10.0.0.1")])
        assert proxied.recv_message() == "192.0.2.1"
        client.disconnect()
        proxied.disconnect()


def test_broken_connections() -> None:
    with serving("broken_connections.py", "0.2") as (_, port):
        deaf, good = connect(port), connect(port)
        for _ in range(3):
            assert good.recv_frame().opcode == 9
            good.send_frame(10)
        deaf.drain_to_eof()
        good.send_close(1000)
        good.drain_to_eof()


def test_client_heartbeat() -> None:
    with (
        serving("simple_server.py") as (_, port),
        running("client_heartbeat.py", f"ws://127.0.0.1:{port}", "-0.9") as it,
    ):
        assert it.line() == "closed 1006"


def test_sending_text() -> None:
    with serving("broadcast_all.py") as (_, port), running("sending_text.py", f"ws://127.0.0.1:{port}") as client:
        assert client.line() == "received: something"


def test_sending_binary() -> None:
    with serving("broadcast_others.py") as (_, port):
        observer = connect(port)
        observer.ping()
        observer.recv_pong()
        with running("sending_binary.py", f"ws://127.0.0.1:{port}"):
            message = observer.recv_message()
        assert message == bytes.fromhex("000000000000003f0000803f0000c03f00000040")
        observer.disconnect()


def test_round_trip_time() -> None:
    with serving("broadcast_all.py") as (server, port):
        with running("round_trip_time.py", f"ws://127.0.0.1:{port}") as client:
            assert client.line() == "connected"
            for _ in range(2):
                assert re.fullmatch(r"Round-trip time: \d+\.\d+ ms", client.line())


def test_duplex_stream() -> None:
    import subprocess

    with serving("broadcast_all.py") as (_, port):
        command = [sys.executable, str(PORTED / "duplex_stream.py"), f"ws://127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == "hello\n"
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.close()


def test_lws_overview() -> None:
    with serving("lws_overview.py") as (server, port):
        client = connect(port)
        assert [client.recv_message(), client.recv_message()] == ["a text message", b"a binary message"]
        client.send("hello")
        assert client.recv_message() == 'You sent me this: "hello"'
        client.disconnect()
        lines = [server.line() for _ in range(5)]
        assert lines == [
            "Upgrading to WebSocket!",
            "[Connection]",
            "[Message: hello]",
            "[Close]",
            "persistent per socket data",
        ]


@pytest.mark.parametrize("name", ["lws_broadcast.py", "lws_ws_server.py"])
def test_lws_broadcast(name: str) -> None:
    with serving(name) as (_, port):
        one, two = connect(port), connect(port)
        for client in (one, two):
            client.ping()
            client.recv_pong()
        one.send("hello")
        assert [one.recv_message(), two.recv_message()] == ["hello", "hello"]
        one.disconnect()
        two.disconnect()


def test_every_example_stands_on_the_page_as_it_runs() -> None:
    """A block of Python on the page, under the link to a file, is made of lines of that file."""
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"\[(\w+\.py)\]\(\.\./examples/ported/\1\).*?```python\n(.*?)```", text, re.DOTALL)
    assert {name for name, _ in shown} == {path.name for path in PORTED.glob("*.py")}
    for name, block in shown:
        lines = (PORTED / name).read_text(encoding="utf-8").splitlines()
        for line in block.splitlines():
            assert line in lines, (name, line)
