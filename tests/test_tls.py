"""The option `ssl`: what is accepted, and that what is wrong is said in one clear line; the transports below it."""

from __future__ import annotations

import socket as stdlib_socket
import ssl as stdlib_ssl
from collections.abc import Callable
from typing import Any

import pytest
from certificates import certificates
from gevent import ssl

from lws_gevent.options import Settings, from_portable
from lws_gevent.tls_transport import SslSocketTransport, TlsTransport, whole_records


def test_a_dict_makes_a_context_for_tls_1_2_and_newer_that_refuses_renegotiation() -> None:
    context = Settings(ssl=certificates().options).ssl
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_NONE


def test_an_authority_means_that_clients_must_have_certificates_unless_they_need_not() -> None:
    options = {**certificates().options, "ca": str(certificates().ca)}
    assert Settings(ssl=options).ssl.verify_mode == ssl.CERT_REQUIRED
    assert Settings(ssl={**options, "reject_unauthorized": False}).ssl.verify_mode == ssl.CERT_OPTIONAL


def test_the_names_of_node_lws_are_understood() -> None:
    options = {**certificates().options, "rejectUnauthorized": True, "ca": str(certificates().ca)}
    settings = Settings.from_options(from_portable({"ssl": options}))
    assert settings.ssl.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("module", [ssl, stdlib_ssl], ids=["gevent", "stdlib"])
def test_a_context_is_taken_as_it_is(module: Any) -> None:
    context = certificates().server_context(module)
    before = (context.options, context.minimum_version, context.verify_mode)
    assert Settings(ssl=context).ssl is context
    assert (context.options, context.minimum_version, context.verify_mode) == before


def test_the_ciphers_are_those_that_were_asked_for() -> None:
    context = Settings(ssl={**certificates().options, "ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"}).ssl
    older = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    assert older == {"ECDHE-ECDSA-AES256-GCM-SHA384"}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"cert": None}, ValueError, "needs a 'cert'"),
        ({"cert": "nowhere.pem"}, ValueError, "cannot read cert 'nowhere.pem': No such file"),
        ({"key": "nowhere.key"}, ValueError, "cannot read key 'nowhere.key': No such file"),
        ({"ca": "nowhere.pem"}, ValueError, "cannot read ca 'nowhere.pem': No such file"),
        ({"cert": __file__}, ValueError, "cannot use cert '.*' and key '.*' \\("),
        ({"ca": __file__}, ValueError, "cannot use ca '.*' \\("),
        ({"ciphers": "ROT13"}, ValueError, "'ciphers' 'ROT13': no cipher"),
        ({"cert": 1}, TypeError, "'cert' must be a str, not int"),
        ({"reject_unauthorized": 1}, TypeError, "'reject_unauthorized' must be a bool"),
        ({"cret": "x"}, TypeError, "has no 'cret': known are ca, cert"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(change: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        Settings(ssl={**certificates().options, **change})
    assert "option 'ssl'" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_key_of_somebody_else_is_refused() -> None:
    key = str(certificates().directory / "client.key")
    with pytest.raises(ValueError, match="option 'ssl': cannot use cert .*key values mismatch"):
        Settings(ssl={"cert": certificates().cert, "key": key})


def test_a_certificate_without_any_key_is_refused_with_a_hint() -> None:
    with pytest.raises(ValueError, match="cannot use cert .*; without 'key' its private key must be in it too$"):
        Settings(ssl={"cert": certificates().cert})


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(tmp_path: Any) -> None:
    from cryptography.hazmat.primitives import serialization

    with open(certificates().key, "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ValueError, match="the private key is encrypted"):
        Settings(ssl={"cert": certificates().cert, "key": str(locked)})


@pytest.mark.parametrize("value", [True, "server.pem", ssl.SSLContext, object()])
def test_anything_else_is_no_value(value: Any) -> None:
    with pytest.raises(TypeError, match=r"option 'ssl' must be an ssl\.SSLContext, a dict or None"):
        Settings(ssl=value)


def test_the_context_of_a_client_is_refused() -> None:
    with pytest.raises(ValueError, match="not one for servers"):
        Settings(ssl=certificates().client_context())


# Records


def record(length: int, kind: int = 23) -> bytes:
    return bytes([kind, 3, 3]) + length.to_bytes(2, "big") + bytes(length)


def test_records_are_told_from_parts_of_records() -> None:
    whole = record(0) + record(1) + record(16384 + 256)
    assert whole_records(whole) == len(whole)
    for left in (1, 4, 5, 100):
        assert whole_records(whole + record(200)[:left]) == len(whole)
    assert whole_records(b"") == 0


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n", record(10, 19), record(10, 25), record(16384 + 2049)[:9]])
def test_what_is_no_record_is_left_to_openssl_at_once(octets: bytes) -> None:
    assert whole_records(octets) == len(octets)
    assert whole_records(record(3) + octets) == 8 + len(octets)


# The transports: two of them against each other, moved by nobody but the test


def pump(steps: list[Callable[[], Any]], until: Callable[[], bool]) -> None:
    for _ in range(1000):
        for step in steps:
            try:
                step()
            except BlockingIOError:
                pass
        if until():
            return
    raise AssertionError("they do not come to an end")


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def pair(request: pytest.FixtureRequest) -> Any:
    """A server's and a client's transport, connected; the handshake is not made yet."""
    ours, theirs = stdlib_socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    server = TlsTransport(ours, certificates().server_context())
    context = certificates().client_context(version=request.param)
    client = TlsTransport(theirs, context, server_side=False, server_hostname="localhost")
    yield server, client
    server.close()
    client.close()


def shake_hands(server: TlsTransport, client: TlsTransport) -> None:
    steps = [client.do_handshake, server.do_handshake]
    pump(steps, lambda: server.established and client.established)


def test_what_is_sent_arrives_in_both_directions(pair: Any) -> None:
    server, client = pair
    shake_hands(server, client)
    for sender, receiver in ((server, client), (client, server)):
        message = bytes(range(256)) * 4096
        got = bytearray()
        left = [memoryview(message)]

        def send(sender: Any = sender, left: Any = left) -> None:
            while left[0]:
                left[0] = left[0][sender.sendmsg([left[0][:1000], left[0][1000:]]) :]

        def receive(receiver: Any = receiver, got: Any = got) -> None:
            got += receiver.recv(65536)

        pump([send, receive], lambda message=message, got=got: len(got) == len(message))
        assert got == message
        assert not sender.wants_write


def test_octets_count_as_sent_when_the_system_has_taken_all_of_them(pair: Any) -> None:
    server, client = pair
    shake_hands(server, client)
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += server.send(bytes(100_000))
    assert server.wants_write
    got = 0

    def receive() -> None:
        nonlocal got
        got += len(client.recv(65536))

    pump([receive, server.flush], lambda: not server.wants_write)
    sent += server.send(bytes(100_000))  # the octets that were sealed before, now that they are gone
    pump([receive], lambda: got == sent)
    with pytest.raises(BlockingIOError):
        client.recv(1)


def test_records_that_come_octet_by_octet_are_understood(pair: Any) -> None:
    server, client = pair
    shake_hands(server, client)
    here, there = stdlib_socket.socketpair()
    here.setblocking(False)
    raw, client._sock = client._sock, here
    client.send(b"drop by drop")
    got = b""
    for octet in there.recv(65536):
        with pytest.raises(BlockingIOError):
            server.recv(65536)
        raw.send(bytes([octet]))
    try:
        got = server.recv(65536)
    finally:
        client._sock = raw
        here.close()
        there.close()
    assert got == b"drop by drop"


def test_the_end_is_said_and_heard_behind_what_was_sent_before(pair: Any) -> None:
    server, client = pair
    shake_hands(server, client)
    server.send(b"last words")
    server.shutdown(stdlib_socket.SHUT_WR)
    got: list[bytes] = []
    pump([lambda: got.append(client.recv(65536))], lambda: bool(got) and got[-1] == b"")
    assert got == [b"last words", b""]
    assert client.recv(65536) == b""


def test_garbage_behind_good_records_does_not_take_them_with_it(pair: Any) -> None:
    server, client = pair
    shake_hands(server, client)
    client.send(b"good")
    client._sock.send(b"this is not TLS at all")
    got: list[bytes] = []
    with pytest.raises(ssl.SSLError):
        pump([lambda: got.append(server.recv(65536))], lambda: False)
    assert got == [b"good"]


def test_a_handshake_with_nonsense_fails_with_what_openssl_says_of_it() -> None:
    ours, theirs = stdlib_socket.socketpair()
    ours.setblocking(False)
    server = TlsTransport(ours, certificates().server_context())
    theirs.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ssl.SSLError, match="(?i)http.request"):
        server.do_handshake()
    server.close()
    theirs.close()


def test_a_handshake_that_breaks_off_is_an_end() -> None:
    ours, theirs = stdlib_socket.socketpair()
    ours.setblocking(False)
    server = TlsTransport(ours, certificates().server_context())
    theirs.send(record(500, 22)[:100])
    theirs.close()
    with pytest.raises(EOFError):
        server.do_handshake()
    server.close()


@pytest.mark.parametrize("module", [ssl, stdlib_ssl], ids=["gevent", "stdlib"])
def test_a_socket_of_somebody_else_becomes_a_transport(module: Any) -> None:
    ours, theirs = stdlib_socket.socketpair()
    theirs.setblocking(False)
    made = certificates().server_context(module).wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    made.setblocking(False)
    context = certificates().client_context()
    client = TlsTransport(theirs, context, server_side=False, server_hostname="localhost")

    def handshake() -> None:
        try:
            made.do_handshake()
            done.append(True)
        except ssl.SSLWantReadError:
            pass

    done: list[bool] = []
    pump([client.do_handshake, handshake], lambda: bool(done) and client.established)
    server = SslSocketTransport(made)
    with pytest.raises(BlockingIOError):
        server.recv(65536)
    client.send(bytes(60_000))
    got = bytearray()

    def receive() -> None:
        got.extend(server.recv(1000))

    pump([receive], lambda: len(got) == 60_000)
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += server.sendmsg([b"x", bytes(50_000)])
    back = bytearray()

    def drain() -> None:
        back.extend(client.recv(65536))

    pump([drain], lambda: len(back) >= sent)
    server.shutdown(stdlib_socket.SHUT_WR)
    pump([lambda: back.extend(client.recv(65536) or b"END")], lambda: back.endswith(b"END"))
    server.close()
    client.close()
