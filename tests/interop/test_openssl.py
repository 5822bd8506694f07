"""OpenSSL's own client: it can ask for new keys, and for another handshake, in the midst of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import FACTOR, TEXT, Client, encode, upgrade_head
from gevent import ssl, subprocess
from tools import need_program

pytestmark = pytest.mark.interop

#: SSL_OP_ALLOW_CLIENT_RENEGOTIATION of OpenSSL 3; Python has a name for it since 3.12.
ALLOW_CLIENT_RENEGOTIATION = 0x100


class OpenSSLClient:
    """A process of ``openssl s_client``; a line with one letter is a command to it, everything else is sent."""

    def __init__(self, port: int, *options: str) -> None:
        command = [need_program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"]
        command += ["-CAfile", str(certificates().ca), "-verify_return_error", *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self.output = b""

    def write(self, octets: bytes) -> None:
        self.process.stdin.write(octets)
        self.process.stdin.flush()

    def until(self, octets: bytes) -> None:
        """Reads until the output has `octets`, and forgets it up to there."""
        with gevent.Timeout(10 * FACTOR, AssertionError(f"no {octets!r} in {self.output!r}")):
            while octets not in self.output:
                data = self.process.stdout.read(65536)
                assert data, f"it has ended: {self.output!r}"
                self.output += data
        self.output = self.output.partition(octets)[2]

    def upgrade(self) -> None:
        self.until(b"Verify return code: 0 (ok)")
        self.write(upgrade_head("/"))
        self.until(b"HTTP/1.1 101")
        self.until(b"\r\n\r\n")

    def echo(self, text: str) -> None:
        self.write(encode(TEXT, text))
        self.until(encode(TEXT, text, mask=False))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def openssl(make_server: Any) -> Iterator[Callable[..., OpenSSLClient]]:
    clients: list[OpenSSLClient] = []

    def make(server: Any, *options: str) -> OpenSSLClient:
        clients.append(OpenSSLClient(server.port, *options))
        return clients[-1]

    yield make
    for client in clients:
        client.end()
    # What gevent keeps for subprocesses watches for their ends, and stays.


@pytest.fixture(autouse=True)
def _subprocesses_have_been_used() -> None:
    subprocess.run([need_program("openssl"), "version"], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_it_talks_with_both_versions(make_server: Any, openssl: Any, version: str) -> None:
    server = make_server(ssl=certificates().options, echo=True)
    client = openssl(server, version)
    client.upgrade()
    for number in range(10):
        client.echo(f"message {number}")


def test_new_keys_may_be_asked_for_at_any_time(make_server: Any, openssl: Any) -> None:
    server = make_server(ssl=certificates().options, echo=True)
    client = openssl(server, "-tls1_3")
    client.upgrade()
    for command in (b"K\n", b"k\n", b"K\n"):
        client.echo("before")
        client.write(command)
        client.until(b"KEYUPDATE")
        client.echo("after")
        server.connections[0].send("from the server")
        client.until(b"from the server")


def test_another_handshake_is_refused_and_harms_nobody_else(make_server: Any, openssl: Any) -> None:
    server = make_server(ssl=certificates().options, echo=True)
    other = Client.connect(("127.0.0.1", server.port), tls=certificates().client_context())
    client = openssl(server, "-tls1_2")
    client.upgrade()
    client.echo("before")
    client.write(b"R\n")
    client.until(b"RENEGOTIATING")
    client.until(b"no renegotiation")
    other.echo()
    other.close_handshake()


@pytest.mark.parametrize("named", [False, True], ids=["plain", "sni"])
def test_another_handshake_goes_on_where_the_context_allows_it(make_server: Any, openssl: Any, named: bool) -> None:
    if ssl.OPENSSL_VERSION_INFO[0] < 3:
        pytest.skip("OpenSSL 3 has the option")
    context = certificates().server_context()
    context.options |= ALLOW_CLIENT_RENEGOTIATION
    if named:
        context.sni_callback = lambda ssl_object, name, context: None
    server = make_server(ssl=context, echo=True)
    client = openssl(server, "-tls1_2")
    client.upgrade()
    for _ in range(2):
        client.echo("before")
        client.write(b"R\n")
        client.until(b"RENEGOTIATING")
        client.until(b"verify return")
        client.echo("after")
        server.connections[0].send("from the server")
        client.until(b"from the server")
