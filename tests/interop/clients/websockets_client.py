"""Python's websockets, its threading client."""

from __future__ import annotations

import ssl

from common import BINARY, CLOSE, LARGE, PIECES, PING, TEXT, URL, digest, main, shown
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


def tls() -> ssl.SSLContext | None:
    """One thread of this client reads while another one writes, and before Python 3.13 nothing keeps the two apart in
    OpenSSL: while the session tickets of TLS 1.3 are being read, a request may be taken and never be written, whatever
    the server. TLS 1.2 has none after its handshake; the other clients speak 1.3."""
    if not URL.startswith("wss"):
        return None
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


TLS = tls()


def connected(path: str = "/echo") -> ClientConnection:
    return connect(URL + path, ssl=TLS, max_size=None, compression=None, proxy=None)


def echo(message):
    with connected() as client:
        client.send(message)
        return shown(client.recv(timeout=10))


def large():
    with connected() as client:
        client.send(LARGE)
        return digest(client.recv(timeout=20))


def fragments_sent():
    with connected() as client:
        client.send(iter(PIECES))
        client.send([b"\x00", b"\xff"])
        return [shown(client.recv(timeout=10)) for _ in range(2)]


def fragments_received():
    with connected("/fragments") as client:
        return [shown(client.recv(timeout=10)) for _ in range(2)]


def ping():
    with connected() as client:
        return client.ping(PING.encode()).wait(10) and PING


def pinged():
    with connected("/pings") as client:
        return client.recv(timeout=10)


def closed():
    with connected("/closes") as client:
        try:
            client.recv(timeout=10)
        except ConnectionClosed as error:
            return [error.rcvd.code, error.rcvd.reason]


def close():
    with connected("/closed-by-client") as client:
        client.close(*CLOSE)
        return client.close_code


main(
    text=lambda: echo(TEXT),
    binary=lambda: echo(BINARY),
    empty_text=lambda: echo(""),
    empty_binary=lambda: echo(b""),
    large=large,
    fragments_sent=fragments_sent,
    fragments_received=fragments_received,
    ping=ping,
    pinged=pinged,
    closed=closed,
    close=close,
)
