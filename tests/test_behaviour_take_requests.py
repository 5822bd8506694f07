"""`server.take_requests`: requests that leave the server with their connections."""

from __future__ import annotations

from typing import Any

import pytest
from certificates import certificates
from client import TEXT, Client, encode, upgrade_head
from helpers import eventually


def test_those_that_are_wanted_go_and_the_others_stay(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    taken: list[Any] = []

    def serve(sock: Any, request: Any, octets: bytes) -> None:
        taken.append((request.path, octets))
        sock.sendall(b"HTTP/1.1 418 Teapot\r\nConnection: close\r\nContent-Length: 3\r\n\r\nown")
        sock.close()

    server.take_requests(lambda request: request.path == "/taken", serve)
    octets = upgrade_head("/taken") + encode(TEXT, b"behind")
    client = Client.open((server.address[0], server.port))
    client.send_raw(octets)
    response = client.recv_response()
    assert (response.status, response.body) == (418, b"own")
    client.expect_eof()
    client.disconnect()
    assert taken == [("/taken", octets)]
    connect(server, path="/other").echo()
    eventually(lambda: len(server.connections) == 1)


def test_malformed_handshakes_and_plain_requests_may_be_taken(make_server: Any) -> None:
    server = make_server()
    statuses: list[int] = []

    def serve(sock: Any, request: Any, octets: bytes) -> None:
        statuses.append(request.upgrade_status)
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        sock.close()

    server.take_requests(lambda request: True, serve)
    for head in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ):
        client = Client.open((server.address[0], server.port))
        assert client.request(head).status == 200
        client.disconnect()
    assert statuses == [0, 400]


def test_a_server_that_speaks_tls_gives_nothing_away(make_server: Any) -> None:
    server = make_server(ssl=certificates().options, start=False)
    with pytest.raises(TypeError, match="ssl"):
        server.take_requests(lambda request: True, print)
