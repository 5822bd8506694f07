"""Whom a server lets in, what it agrees on with them, and where it listens for them."""

from __future__ import annotations

import socket as stdlib_socket
from pathlib import Path
from typing import Any

import gevent.socket
import pytest
from client import upgrade_head
from helpers import eventually


def answer(connect: Any, server: Any, *headers: tuple[str, str]) -> Any:
    """The response to an opening handshake with these headers."""
    client = connect(server, upgrade=False)
    return client.request(upgrade_head("/", headers))


# Origins


def test_a_callable_judges_origins_and_their_absence(make_server: Any, connect: Any) -> None:
    asked: list[Any] = []

    def judge(origin: str | None, headers: Any) -> bool:
        asked.append((origin, headers["X-Kind"]))
        return origin == "https://good.example"

    server = make_server(origins=judge)
    kind = ("X-Kind", "test")
    assert answer(connect, server, kind, ("Origin", "https://good.example")).status == 101
    assert answer(connect, server, kind, ("Origin", "https://bad.example")).status == 403
    assert answer(connect, server, kind).status == 403
    assert asked == [("https://good.example", "test"), ("https://bad.example", "test"), (None, "test")]
    assert server.stats()["refused"] == 2


def test_a_callable_may_take_the_origin_alone(make_server: Any, connect: Any) -> None:
    server = make_server(origins=lambda origin: origin is None)
    assert answer(connect, server).status == 101
    assert answer(connect, server, ("Origin", "https://good.example")).status == 403


def test_origins_are_asked_before_upgrade_listeners(make_server: Any, connect: Any) -> None:
    server = make_server(origins=["https://good.example", "null"])
    upgrades: list[Any] = []
    server.on("upgrade", upgrades.append)
    assert answer(connect, server, ("Origin", "https://bad.example")).status == 403
    assert upgrades == []
    for origin in ("https://good.example", "null"):
        assert answer(connect, server, ("Origin", origin)).status == 101
    assert answer(connect, server).status == 101  # no browser
    assert len(upgrades) == 3


def test_a_callable_that_raises_refuses_with_500(make_server: Any, connect: Any) -> None:
    server = make_server(origins=lambda origin: 1 / 0)
    errors: list[Any] = []
    server.on("error", errors.append)
    assert answer(connect, server).status == 500
    assert [type(error) for error in errors] == [ZeroDivisionError]


# Subprotocols


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([("Sec-WebSocket-Protocol", "a, b, c")], "b"),
        ([("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "c,b")], "b"),
        ([("Sec-WebSocket-Protocol", "c")], "c"),
        ([("Sec-WebSocket-Protocol", "B")], None),
        ([], None),
    ],
)
def test_the_servers_preference_decides_between_the_offered(
    make_server: Any, connect: Any, offered: Any, chosen: str | None
) -> None:
    server = make_server(subprotocols=["b", "c"])
    seen: list[Any] = []
    server.on("connection", lambda socket: seen.append(socket))
    response = answer(connect, server, *offered)
    assert response.status == 101 and response.headers.get("sec-websocket-protocol") == chosen
    eventually(lambda: seen)
    assert seen[0].subprotocol == chosen
    seen[0].terminate()
    assert seen[0].subprotocol == chosen  # reading attributes does not need the connection


def test_a_callable_chooses_by_what_is_offered_and_the_headers(make_server: Any, connect: Any) -> None:
    server = make_server(subprotocols=lambda offered, headers: offered[int(headers["X-Index"])] if offered else None)
    for index, chosen in (("0", "a"), ("1", "b")):
        response = answer(connect, server, ("Sec-WebSocket-Protocol", "a, b"), ("X-Index", index))
        assert response.headers["sec-websocket-protocol"] == chosen
    assert "sec-websocket-protocol" not in answer(connect, server).headers


# Listeners


@pytest.fixture
def ipv6() -> None:
    """Skips the test on a machine without IPv6."""
    try:
        with stdlib_socket.socket(stdlib_socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"there is no IPv6 here: {error}")


@pytest.mark.parametrize("listener", [("::1", 0), "[::1]:0"])
def test_it_listens_on_ipv6(make_server: Any, connect: Any, ipv6: None, listener: Any) -> None:
    server = make_server(listener, echo=True)
    seen: list[Any] = []
    server.on("connection", lambda socket: seen.append(socket))
    client = connect(("::1", server.port))
    client.echo()
    assert seen[0].remote_address == client.sock.getsockname()[:2]
    assert seen[0].remote_address[0] == "::1"
    client.close_handshake()
    assert seen[0].remote_address[0] == "::1"


def test_every_address_means_ipv6_and_ipv4_and_each_peer_is_named_as_what_it_is(
    make_server: Any, connect: Any, ipv6: None
) -> None:
    server = make_server(0)
    seen: list[Any] = []
    server.on("connection", lambda socket: seen.append(socket.remote_address))
    for host in ("127.0.0.1", "::1"):
        client = connect((host, server.port))
        eventually(lambda: seen)
        assert seen.pop() == client.sock.getsockname()[:2] and client.sock.getsockname()[0] == host


@pytest.mark.parametrize("kind", ["gevent", "stdlib", "unix"])
def test_a_socket_that_listens_already_serves(make_server: Any, connect: Any, tmp_path: Path, kind: str) -> None:
    module: Any = gevent.socket if kind == "gevent" else stdlib_socket
    if kind == "unix":
        listener = module.socket(module.AF_UNIX)
        address: Any = str(tmp_path / "socket")
        listener.bind(address)
    else:
        listener = module.socket()
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
    listener.listen()
    server = make_server(listener, echo=True)
    client = connect(address)
    client.echo()
    client.close_handshake()
    server.stop(timeout=1)
    with pytest.raises(OSError):
        connect(address, upgrade=False)
    listener.close()
    if kind == "unix":
        assert Path(address).is_socket()  # whoever has made it removes it
