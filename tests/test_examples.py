"""Every example runs, and does what its docstring says, with real clients (Python's websockets)."""

from __future__ import annotations

import hashlib
import re
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import certificates
from helpers import environment, eventually
from tools import Process, need_module

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@contextmanager
def example(name: str, *arguments: str) -> Iterator[str]:
    """Run an example on a free port, with arguments before that; host and port."""
    with Process([sys.executable, str(EXAMPLES / name), *arguments, "0"], environment()) as server:
        match = re.fullmatch(r"listening on \w+://([\w.:]+)/?", server.line())
        assert match
        yield match[1]
        assert server.errors == b""


def connect(address: str, path: str = "/", scheme: str = "ws", **options: Any) -> Any:
    need_module("websockets")
    from websockets.sync.client import connect

    return connect(f"{scheme}://{address}{path}", proxy=None, open_timeout=10, **options)


def test_echo() -> None:
    with example("echo.py") as address, connect(address) as client:
        for message in ("text", b"binary"):
            client.send(message)
            assert client.recv(10) == message


def client_example(name: str, address: str) -> str:
    """What an example of a client writes that connects there."""
    with Process([sys.executable, str(EXAMPLES / name), f"ws://{address}/"], environment()) as client:
        assert client.wait(60) == 0, client.printed
        return client.output.decode()


def test_flask_routes() -> None:
    need_module("flask")
    with example("flask_routes.py") as address:
        for path, answer in (("/echo/me", "me: hello"), ("/old/echo", "hello")):
            with connect(address, path) as client:
                client.send("hello")
                assert client.recv(10) == answer


def test_client() -> None:
    with example("echo.py") as address:
        assert client_example("client.py", address) == "hello\n"


def test_many_clients() -> None:
    with example("echo.py") as address:
        assert client_example("many_clients.py", address) == "1000 answers on 1000 connections\n"


def test_reconnecting_client() -> None:
    from websockets.sync.server import serve

    connections: list[Any] = []

    def handle(socket: Any) -> None:
        connections.append(socket.recv(10))
        socket.send(f"message {len(connections)}")  # and ends the connection, by returning

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            output = client_example("reconnecting_client.py", f"127.0.0.1:{server.socket.getsockname()[1]}")
        finally:
            server.shutdown()
            thread.join()
    assert output == "message 1\nmessage 2\nmessage 3\n" and connections == ["subscribe"] * 3


def test_broadcast() -> None:
    with example("broadcast.py") as address, connect(address) as one:
        assert one.recv(10) == "1 here"
        with connect(address) as two:
            assert one.recv(10) == two.recv(10) == "2 here"
            two.send("hello from two")
            assert one.recv(10) == "hello from two"
            one.send("hello from one")
            assert two.recv(10) == "hello from one"
        assert one.recv(10) == "1 here"


def test_secure() -> None:
    files = certificates().cert, certificates().key, str(certificates().ca)
    with example("secure.py", *files) as address:
        address = address.replace("127.0.0.1", "localhost")
        for name, greeted in ((None, "stranger"), ("client", "client@example.org")):
            context = certificates().client_context(name, module=ssl)
            with connect(address, scheme="wss", ssl=context) as client:
                assert client.recv(10) == f"hello {greeted}, over TLSv1.3"
                client.send("secret")
                assert client.recv(10) == "secret"


def test_topics() -> None:
    with example("topics.py") as address, connect(address, "/tea") as one:
        assert one.recv(10) == "1 in tea"
        with connect(address, "/tea") as two, connect(address, "/coffee") as three:
            assert two.recv(10) == "2 in tea"
            assert one.recv(10) == "somebody entered tea"
            assert three.recv(10) == "1 in coffee"
            three.send("/join tea")
            assert three.recv(10) == "now in coffee, tea"
            three.send("hello")
            assert one.recv(10) == two.recv(10) == "hello"
            three.send("/leave tea")
            assert three.recv(10) == "now in coffee"
            two.send(b"binary")
            assert one.recv(10) == b"binary"
            one.send("end")
            assert two.recv(10) == "end"
        assert one.recv(10) == "somebody left tea"


def test_for_gevent_websocket() -> None:
    with example("for_gevent_websocket.py") as address, connect(address, "/chat") as one:
        assert one.recv(10) == "somebody came, now 1"
        with connect(address, "/chat") as two:
            assert one.recv(10) == two.recv(10) == "somebody came, now 2"
            two.send("hello")
            assert one.recv(10) == two.recv(10) == "hello"


def test_wsgi_beside() -> None:
    with example("wsgi_beside.py") as address, connect(address, "/count") as one:
        assert one.recv(10) == "1"
        with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
            assert b"new WebSocket" in response.read()
        with connect(address, "/count") as two:
            assert one.recv(10) == two.recv(10) == "2"
        assert one.recv(10) == "1"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{address}/other", timeout=10)
        assert caught.value.code == 404
        caught.value.close()


def test_wsgi_callbacks() -> None:
    with example("wsgi_callbacks.py") as address, connect(address, "/room/tea") as one:
        assert one.recv(10) == "welcome to tea"
        with connect(address, "/room/tea") as two:
            assert two.recv(10) == "welcome to tea"
            two.send("hello")
            assert one.recv(10) == two.recv(10) == "hello"
            with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
                assert response.read() == b"2 connected\n"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{address}/room/plain", timeout=10)
        assert caught.value.code == 426
        caught.value.close()


def test_compression() -> None:
    with example("compression.py") as address:
        for compression, lines in (("deflate", "10000"), (None, "10")):
            with connect(address, compression=compression) as client:
                agreed = "permessage-deflate; " if compression else "no compression"
                assert client.recv(10).startswith(f"agreed: {agreed}")
                client.send("many")
                assert client.recv(10) == "How many lines?"
                client.send(lines)
                text = client.recv(10)
                assert text.count("\n") == int(lines)
                match = re.fullmatch(r"(\d+) characters, (\d+) octets on the wire", client.recv(10))
                assert match and int(match[1]) == len(text)
                assert int(match[2]) < len(text) / 3 if compression else int(match[2]) > len(text)


def test_workers() -> None:
    with example("workers.py") as address:
        client = eventually(lambda: connect_or_not(address), "a worker accepts")
        with client:
            first = client.recv(10)
            assert first.startswith("worker ") and first.endswith(" has 1 connections")
            client.send("echo")
            assert client.recv(10) == "echo"


def connect_or_not(address: str) -> Any:
    try:
        return connect(address)
    except OSError:
        return None


def test_large_messages() -> None:
    with example("large_messages.py") as address, connect(address) as client:
        for message, pieces in ((bytes(1_000_000), 16), ("small", 1), ("\u20ac" * 100_000, 5)):
            client.send(message)
            octets = message.encode() if isinstance(message, str) else message
            assert client.recv(10) == f"{hashlib.sha256(octets).hexdigest()} in {pieces} pieces"


def test_behind_a_proxy() -> None:
    with Process([sys.executable, str(EXAMPLES / "behind_a_proxy.py"), "0"], environment()) as server:
        address = server.line().removeprefix("listening on ws://")
        with connect(address, additional_headers={"X-Forwarded-For": "192.0.2.7"}) as client:
            assert client.recv(10) == "You come from 192.0.2.7"
        assert re.fullmatch(r'192\.0\.2\.7 "GET / HTTP/1\.1" 101 1000 \d+ \d+ [\d.]+', server.line())
        with connect(address) as client:
            assert client.recv(10) == "You come from 127.0.0.1"
        assert server.errors == b""


def test_blocking_style() -> None:
    from websockets.exceptions import ConnectionClosedOK

    with example("blocking_style.py") as address, connect(address) as client:
        assert client.recv(10) == "What is your name?"
        client.send("Ada")
        assert client.recv(10).startswith("Hello Ada.")
        for number in ("1", "2", "three"):
            client.send(number)
        assert client.recv(10) == "That is no number."
        client.send("sum")
        assert client.recv(10) == "3"
        with pytest.raises(ConnectionClosedOK):
            client.recv(10)


def test_http_page() -> None:
    with example("http_page.py") as address:
        with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert b"new WebSocket" in response.read()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{address}/other", timeout=10)
        assert caught.value.code == 404
        caught.value.close()
        with connect(address, "/greeting") as client:
            assert client.recv(10) == "hello from the same port"


def test_refusing_upgrades() -> None:
    from websockets.exceptions import InvalidStatus

    with example("refusing_upgrades.py") as address:
        with pytest.raises(InvalidStatus) as caught:
            connect(address)
        assert caught.value.response.status_code == 401
        assert caught.value.response.headers["WWW-Authenticate"] == "Bearer"
        with connect(address, additional_headers={"Authorization": "Bearer secret-of-grace"}) as client:
            assert client.recv(10) == "Welcome, Grace"


def test_every_example_has_a_test() -> None:
    tests = {name.removeprefix("test_") + ".py" for name in globals() if name.startswith("test_")}
    assert {path.name for path in EXAMPLES.glob("*.py")} <= tests


@pytest.mark.parametrize(
    "path", sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("frameworks/*.py")]), ids=lambda path: path.name
)
def test_an_example_fits_on_a_screen_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text()
    assert text.startswith('"""') and len(text.splitlines()) <= 60
