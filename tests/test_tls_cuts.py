"""The octets of a client's TLS handshake and of its request may come in whatever segments: cut anywhere, or several
flights in one. Nothing that was received may wait for something that will never come, on either engine."""

from __future__ import annotations

import ssl
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import BINARY, Client, encode, upgrade_head
from gevent import socket
from gevent.pool import Pool
from helpers import eventually

#: Peers at work at a time.
AT_ONCE = 16

REQUEST = upgrade_head("/cut")


class Peer:
    """A TLS client that decides itself when which of its octets leave."""

    def __init__(self, client: Client, version: str) -> None:
        self.client = client
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = certificates().client_context(version=version)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def last_flight(self) -> bytes:
        """Makes the handshake; its last octets, not sent yet. In TLS 1.2 there are none: the server ends it."""
        while True:
            try:
                self.tls.do_handshake()
                return self.outgoing.read()
            except ssl.SSLWantReadError:
                octets = self.outgoing.read()
                if not octets:
                    self.receive()
                self.client.send_raw(octets)

    def receive(self) -> None:
        data = self.client.sock.recv(65536)
        if not data:
            raise EOFError
        self.incoming.write(data)

    def sealed(self, octets: bytes) -> bytes:
        self.tls.write(octets)
        return self.outgoing.read()

    def read_until(self, end: bytes) -> bytes:
        read = b""
        while not read.endswith(end):
            try:
                read += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.receive()
        return read


@pytest.fixture
def transport() -> str:
    """TLS in every test of this module."""
    return "tls"


@pytest.fixture
def peer(connect: Any) -> Any:
    return lambda server, version="TLSv1_3": Peer(connect(server, upgrade=False, tls=None), version)


@pytest.mark.timeout_factor(3)
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_the_last_flight_the_request_and_a_message_may_be_cut_anywhere(
    make_server: Any, peer: Any, version: str
) -> None:
    server = make_server(echo=True, backlog=1000)

    def all_octets(one: Peer) -> bytes:
        # The request is in two records, so that it is cut at the border of records, too.
        flight = one.last_flight()
        return flight + one.sealed(REQUEST[:40]) + one.sealed(REQUEST[40:]) + one.sealed(encode(BINARY, b"behind it"))

    def exchange(cut: int) -> None:
        one = peer(server, version)
        octets = all_octets(one)
        one.client.send_raw(octets[:cut])
        for _ in range(3):  # the server reads it
            gevent.sleep(0)
        one.client.send_raw(octets[cut:])
        assert one.read_until(b"behind it").startswith(b"HTTP/1.1 101")
        one.client.disconnect()

    length = len(all_octets(peer(server, version)))
    pool = Pool(AT_ONCE)
    jobs = [pool.spawn(exchange, cut) for cut in range(length + 1)]
    gevent.joinall(jobs, raise_error=True)
    assert server.stats()["opened"] == length + 1


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_everything_may_come_octet_by_octet(make_server: Any, peer: Any, version: str) -> None:
    server = make_server(echo=True)
    one = peer(server, version)
    send = one.client.send_raw
    one.client.send_raw = one.client.dribble
    octets = one.last_flight() + one.sealed(REQUEST) + one.sealed(encode(BINARY, b"in crumbs"))
    one.client.send_raw = send
    one.client.dribble(octets)
    assert one.read_until(b"in crumbs").startswith(b"HTTP/1.1 101")


def test_a_server_whose_words_do_not_fit_into_the_system_finishes_them_later(make_server: Any, connect: Any) -> None:
    """Session tickets are sent behind the handshake, before the answer to the request: so many of them that the system
    takes only a part."""
    context = certificates().server_context()
    context.num_tickets = 255
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen(10)
    server = make_server(listener, echo=True, ssl=context)
    one = Peer(connect(server, upgrade=False, tls=None, receive_buffer=4096), "TLSv1_3")
    one.client.send_raw(one.last_flight() + one.sealed(REQUEST) + one.sealed(encode(BINARY, b"in the end")))
    eventually(lambda: server.stats()["opened"] == 1)
    assert one.read_until(b"in the end").startswith(b"HTTP/1.1 101")
