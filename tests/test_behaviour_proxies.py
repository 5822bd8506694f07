"""Behind proxies: the address of the client is what a trusted proxy names (PROXY protocol or a header)."""

from __future__ import annotations

import os
import socket as stdlib_socket
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest
from certificates import certificates
from client import TEXT, Client, encode, upgrade_head
from helpers import ServerProcess, eventually, turns

VERSION_2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + stdlib_socket.inet_aton("192.0.2.7") + b"\x0a\0\0\1" + b"\xdc\x04\0\x50"
)
HEADERS: dict[str, tuple[bytes, tuple[str, int] | None]] = {
    "version 1": (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 80\r\n", ("192.0.2.7", 56324)),
    "version 1, IPv6": (b"PROXY TCP6 2001:db8::7 ::1 56324 80\r\n", ("2001:db8::7", 56324)),
    "version 1, unknown": (b"PROXY UNKNOWN\r\n", None),
    "version 2": (VERSION_2, ("192.0.2.7", 56324)),
    "version 2, local": (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None),
    "version 2, long": (VERSION_2[:14] + b"\x0f\x00" + VERSION_2[16:] + bytes(0xF00 - 12), ("192.0.2.7", 56324)),
}


def watch(server: Any) -> list[tuple[str, Any]]:
    """Each event of the server with the remote_address that its handler sees."""
    seen: list[tuple[str, Any]] = []
    for event in ("upgrade", "connection", "message", "close", "http"):
        server.on(event, partial(lambda event, socket: seen.append((event, socket.remote_address)), event))
    return seen


@pytest.mark.parametrize("way", ["whole", "apart", "octet by octet"])
@pytest.mark.parametrize("kind", HEADERS)
def test_the_proxy_protocol_names_the_client(make_server: Any, connect: Any, kind: str, way: str) -> None:
    server = make_server(proxy_protocol=True)
    seen = watch(server)
    header, address = HEADERS[kind]
    client = connect(server, upgrade=False)
    local = client.sock.getsockname()
    rest = upgrade_head("/") + encode(TEXT, "at once")
    if way == "whole":
        client.send_raw(header + rest)
    elif way == "apart":
        client.send_raw(header)
        turns()
        client.send_raw(rest)
    else:
        for octet in header[:60]:
            client.send_raw(bytes((octet,)))
            turns(1)
        client.send_raw(header[60:] + rest)
    assert client.recv_response().status == 101
    eventually(lambda: len(seen) == 3)
    client.close_handshake()
    eventually(lambda: len(seen) == 4)
    assert seen == [(event, address or local) for event in ("upgrade", "connection", "message", "close")]


@pytest.mark.parametrize("together", [True, False], ids=["in one segment", "apart"])
@pytest.mark.parametrize("kind", HEADERS)
def test_the_proxy_protocol_comes_before_tls(make_server: Any, connect: Any, kind: str, together: bool) -> None:
    server = make_server(proxy_protocol=True, ssl=certificates().options)
    seen = watch(server)
    header, address = HEADERS[kind]
    client = connect(server, upgrade=False)
    local = client.sock.getsockname()
    with stdlib_socket.socket(fileno=os.dup(client.sock.fileno())) as same:
        same.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_CORK, together)
        client.send_raw(header)
        wrapping = gevent.spawn(certificates().client_context().wrap_socket, client.sock, server_hostname="localhost")
        gevent.sleep(0)
        same.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_CORK, 0)
        client.sock = wrapping.get(timeout=10)
    client.send_raw(upgrade_head("/") + encode(TEXT, "at once"))
    assert client.recv_response().status == 101
    eventually(lambda: len(seen) == 3)
    assert seen == [(event, address or local) for event in ("upgrade", "connection", "message")]
    client.close_handshake()


@pytest.mark.parametrize(
    "octets",
    [
        upgrade_head("/"),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 80\r\n" + upgrade_head("/"),
        b"PROXY TCP4 192.0.2.7",
        VERSION_2[:20],
        b"",
    ],
)
def test_without_a_whole_header_nothing_is_answered(make_server: Any, connect: Any, octets: bytes) -> None:
    server = make_server(proxy_protocol=True)
    seen = watch(server)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append((str(error), socket.closed)))
    client = connect(server, upgrade=False)
    client.send_raw(octets)
    complete = b"\n" in octets and octets not in (VERSION_2[:20],)
    if not complete:
        client.sock.shutdown(stdlib_socket.SHUT_WR)
    assert client.drain_to_eof() == b""
    eventually(lambda: server._engine.connection_count == 0)
    assert seen == [] and server.connections == []
    if complete:
        eventually(lambda: errors)
        assert len(errors) == 1 and "PROXY" in errors[0][0] and errors[0][1]
        assert server.stats()["refused"] == 1
    else:
        assert errors == [] and server.stats()["refused"] == 0
    connect_through_proxy = connect(server, upgrade=False)
    connect_through_proxy.send_raw(b"PROXY UNKNOWN\r\n" + upgrade_head("/"))
    assert connect_through_proxy.recv_response().status == 101


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 192.0.2.7"])
def test_the_header_must_come_within_the_time_of_the_handshake(make_server: Any, connect: Any, begun: bytes) -> None:
    server = make_server(proxy_protocol=True, handshake_timeout=0.3)
    client = connect(server, upgrade=False)
    client.send_raw(begun)
    assert client.drain_to_eof() == b""


def test_only_the_proxies_that_are_named_may_speak_the_proxy_protocol(make_server: Any, connect: Any) -> None:
    server = make_server(proxy_protocol=["192.0.2.0/24", "::1"])
    errors: list[str] = []
    server.on("error", lambda error: errors.append(str(error)))
    client = connect(server, upgrade=False)
    client.send_raw(HEADERS["version 1"][0] + upgrade_head("/"))
    assert client.drain_to_eof() == b""
    eventually(lambda: errors)
    assert "proxy_protocol" in errors[0]
    server = make_server(proxy_protocol=["127.0.0.0/8"])
    seen = watch(server)
    client = connect(server, upgrade=False)
    client.send_raw(HEADERS["version 1"][0] + upgrade_head("/"))
    assert client.recv_response().status == 101
    eventually(lambda: len(seen) == 2)
    assert seen[0] == ("upgrade", ("192.0.2.7", 56324))


def test_the_proxy_protocol_on_a_unix_socket(make_server: Any, connect: Any, tmp_path: Path) -> None:
    server = make_server(f"unix:{tmp_path}/socket", proxy_protocol=["unix:"], trusted_proxies=["192.0.2.7"])
    seen = watch(server)
    client = connect(f"{tmp_path}/socket", upgrade=False)
    client.send_raw(HEADERS["version 2"][0] + upgrade_head("/", [("X-Forwarded-For", "2001:db8::9")]))
    assert client.recv_response().status == 101
    eventually(lambda: len(seen) == 2)
    assert seen == [("upgrade", ("2001:db8::9", 0)), ("connection", ("2001:db8::9", 0))]
    client = connect(f"{tmp_path}/socket", upgrade=False)
    client.send_raw(HEADERS["version 1, unknown"][0] + upgrade_head("/"))
    assert client.recv_response().status == 101
    eventually(lambda: len(seen) == 4)
    assert seen[2:] == [("upgrade", ""), ("connection", "")]


def test_a_plain_request_behind_the_proxy_protocol(make_server: Any, connect: Any) -> None:
    server = make_server(proxy_protocol=True)
    server.on("http", lambda socket: str(socket.remote_address))
    client = connect(server, upgrade=False)
    client.send_raw(HEADERS["version 1"][0] + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    assert client.recv_response().body == b"('192.0.2.7', 56324)"


@pytest.mark.parametrize(
    ("options", "headers", "address"),
    [
        ({}, [("X-Forwarded-For", "192.0.2.7")], None),
        ({"trusted_proxies": ["192.0.2.0/24"]}, [("X-Forwarded-For", "192.0.2.7")], None),
        ({"trusted_proxies": ["127.0.0.1"]}, [], None),
        ({"trusted_proxies": ["127.0.0.1"]}, [("X-Forwarded-For", "192.0.2.7")], ("192.0.2.7", 0)),
        ({"trusted_proxies": ["127.0.0.1"]}, [("X-Forwarded-For", "6.6.6.6, 192.0.2.7:99")], ("192.0.2.7", 99)),
        (
            {"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]},
            [("X-Forwarded-For", "6.6.6.6, 2001:db8::7"), ("X-Forwarded-For", "10.1.2.3")],
            ("2001:db8::7", 0),
        ),
        ({"trusted_proxies": ["127.0.0.1"]}, [("X-Forwarded-For", "192.0.2.7, nonsense")], None),
        ({"trusted_proxies": ["127.0.0.1"]}, [("Forwarded", "for=192.0.2.7")], None),
        (
            {"trusted_proxies": ["127.0.0.1"], "forwarded_header": "Forwarded"},
            [("X-Forwarded-For", "6.6.6.6"), ("Forwarded", 'for="[2001:db8::7]:99";proto=https')],
            ("2001:db8::7", 99),
        ),
    ],
)
def test_a_header_of_a_trusted_proxy_names_the_client(
    make_server: Any, connect: Any, options: Any, headers: Any, address: Any
) -> None:
    server = make_server(**options)
    seen = watch(server)
    client = connect(server, headers=headers)
    local = client.sock.getsockname()
    client.send("message")
    eventually(lambda: len(seen) == 3)
    assert seen == [(event, address or local) for event in ("upgrade", "connection", "message")]


def test_a_header_of_a_trusted_proxy_without_upgrade_listeners(make_server: Any, connect: Any) -> None:
    server = make_server(trusted_proxies=["127.0.0.1"])
    connect(server, headers=[("X-Forwarded-For", "192.0.2.7")])
    eventually(lambda: server.connections)
    assert server.connections[0].remote_address == ("192.0.2.7", 0)


def test_a_header_of_a_trusted_proxy_counts_for_connections_that_are_taken_over(make_server: Any) -> None:
    server = make_server(trusted_proxies=["unix:"])
    ours, theirs = gevent.socket.socketpair()
    with theirs:
        socket = server.handle_upgrade(ours, upgrade_head("/", [("X-Forwarded-For", "192.0.2.7")]))
        assert socket.remote_address == ("192.0.2.7", 0)


@pytest.mark.only("parked")
def test_an_idle_connection_behind_proxies_costs_no_more_memory(stack: Any) -> None:
    count = 1500

    def cost(begin: bytes, headers: list[tuple[str, str]], **options: Any) -> float:
        clients: list[Client] = []
        with ServerProcess(stack, **options) as server:
            try:
                for number in range(count):
                    client = Client.open(server.address)
                    clients.append(client)
                    client.send_raw(begin + upgrade_head("/", headers))
                    assert client.recv_response().status == 101
                    if number == 300:
                        before = server.memory()
                return (server.memory() - before) / (count - 300)
            finally:
                for client in clients:
                    client.disconnect()

    plain = cost(b"", [])
    behind = cost(
        HEADERS["version 2"][0],
        [("X-Forwarded-For", "198.51.100.9")],
        proxy_protocol=True,
        trusted_proxies=["192.0.2.7"],
    )
    assert behind < plain + 60, f"{behind:.0f} octets in place of {plain:.0f}"
