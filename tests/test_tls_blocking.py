"""TLS for code that waits: lws_gevent.tls_blocking, and the streams of clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from lws_gevent.streams import TLSStream
from lws_gevent.tls_blocking import BlockingTransport


class Renegotiating:
    """As a `TlsTransport` whose peer has begun another handshake: nothing can be sent until something was received.
    OpenSSL's clients can be told to do that, Python's cannot."""

    wants_write = False

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.reading_first = False
        self.attempts = 0
        self.due = True

    def fileno(self) -> int:
        return int(self.sock.fileno())

    def recv(self, size: int) -> bytes:
        octets: bytes = self.sock.recv(size)
        self.reading_first = self.due = False
        return octets

    def send(self, data: Any) -> int:
        self.attempts += 1
        if self.due:
            self.reading_first = True
            raise BlockingIOError
        return len(data)


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    here, there = socket.socketpair()
    here.setblocking(False)
    yield here, there
    here.close()
    there.close()


def test_who_has_to_read_before_writing_reads_and_loses_nothing(pair: Any, spawn: Any) -> None:
    transport = Renegotiating(pair[0])
    blocking = BlockingTransport(transport)
    sending = spawn(blocking.sendall, b"answer")
    gevent.sleep(0)
    assert transport.attempts < 10 and not sending.ready()
    pair[1].sendall(b"request")
    sending.get()
    assert transport.attempts < 10
    buffer = bytearray(20)
    assert bytes(buffer[: blocking.recv_into(buffer)]) == b"request"


def test_a_client_does_so_too(pair: Any, spawn: Any) -> None:
    stream = TLSStream.__new__(TLSStream)
    transport = stream.transport = stream._sock = Renegotiating(pair[0])
    stream._early = b""
    sending = spawn(stream.write, b"request")
    gevent.sleep(0)
    assert transport.attempts < 10 and not sending.ready()
    pair[1].sendall(b"answer")
    sending.get()
    assert transport.attempts < 10
    assert stream.read() == b"answer"


def test_a_peer_that_leaves_instead_breaks_the_sending(pair: Any) -> None:
    blocking = BlockingTransport(Renegotiating(pair[0]))
    pair[1].close()
    with pytest.raises(BrokenPipeError):
        blocking.sendall(b"answer")
