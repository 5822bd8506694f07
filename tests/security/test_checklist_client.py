"""The client and what servers, proxies and applications may do to it. The numbers are those of the project's security
checklist."""

from __future__ import annotations

import collections
import datetime
import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from certificates import Certificates
from certificates import certificates as certificates_of_the_suite
from gevent import socket, ssl
from helpers import Stack, process_memory
from raw_server import accept, drain, header_of, read_head, url_of

import lws_gevent
from lws_gevent.handshake import accept_key

HandshakeError = lws_gevent.HandshakeError


def answering(response: Callable[[str], bytes]) -> Callable[[Any], None]:
    """Handles a connection of a raw server: answers with `response(good value of Sec-WebSocket-Accept)`."""

    def handle(sock: Any) -> None:
        head = read_head(sock)
        sock.sendall(response(accept_key(header_of(head, "Sec-WebSocket-Key"))))
        drain(sock)

    return handle


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


# --- L1 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda key: ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {key[::-1]}"),
        lambda key: ("Upgrade: websocket", "Connection: Upgrade"),
        lambda key: ("Connection: Upgrade", f"Sec-WebSocket-Accept: {key}"),
        lambda key: ("Upgrade: websocket", f"Sec-WebSocket-Accept: {key}"),
        lambda key: ("Upgrade: h2c", "Connection: Upgrade", f"Sec-WebSocket-Accept: {key}"),
    ],
    ids=["accept", "no accept", "no upgrade", "no connection", "other upgrade"],
)
def test_l1_a_wrong_101_is_no_connection(opened: Any, raw_server: Any, wrong: Any) -> None:
    server = raw_server(answering(lambda key: head("101 Switching Protocols", *wrong(key))))
    with pytest.raises(HandshakeError) as caught:
        opened(url_of(server))
    assert caught.value.status == 101 and len(caught.value.headers) >= 2


@pytest.mark.parametrize("status", [200, 301, 401, 500])
def test_l1_another_status_is_told_with_headers_and_body(opened: Any, raw_server: Any, status: int) -> None:
    response = head(f"{status} No", "X-Why: because", "Location: /x", "Content-Length: 5") + b"sorry and more"
    with pytest.raises(HandshakeError) as caught:
        opened(url_of(raw_server(answering(lambda key: response))))
    error = caught.value
    assert (error.status, error.headers["x-why"], error.body) == (status, "because", b"sorry")


def test_l1_the_body_of_a_refusal_is_bounded(opened: Any, raw_server: Any) -> None:
    def handle(sock: Any) -> None:
        read_head(sock)
        sock.sendall(head("500 Endless"))
        while True:
            sock.sendall(b"x" * 65536)

    with pytest.raises(HandshakeError) as caught:
        opened(url_of(raw_server(handle)))
    assert caught.value.status == 500 and len(caught.value.body) == 64 * 1024


def test_l1_a_body_that_never_ends_does_not_hide_the_status(opened: Any, raw_server: Any) -> None:
    server = raw_server(answering(lambda key: head("503 Busy", "Content-Length: 100") + b"part"))
    with pytest.raises(HandshakeError) as caught:
        opened(url_of(server), timeout=0.3)
    assert caught.value.status == 503 and caught.value.body == b"part"


# --- L2 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extensions",
    [
        ("permessage-deflate; server_max_window_bits=7",),
        ("permessage-deflate; server_max_window_bits=16",),
        ("permessage-deflate; server_max_window_bits=abc",),
        ("permessage-deflate; client_max_window_bits=0",),
        ("permessage-deflate; client_max_window_bits=99999999999999999999",),
        ("permessage-deflate; unknown",),
        ("permessage-deflate; server_no_context_takeover=1",),
        ("permessage-deflate, permessage-deflate",),
        ("permessage-deflate", "permessage-deflate"),
        ("x-webkit-deflate-frame",),
        ('permessage-deflate; "',),
        ("mux; max-channels=4; flow-control",),
    ],
)
@pytest.mark.parametrize("offered", [False, True], ids=["not offered", "offered"])
def test_l2_an_extension_that_was_not_offered_fails_the_handshake(
    opened: Any, raw_server: Any, extensions: tuple[str, ...], offered: bool
) -> None:
    lines = [f"Sec-WebSocket-Extensions: {value}" for value in extensions]
    server = raw_server(answering(lambda key: head("101 S", *GOOD, f"Sec-WebSocket-Accept: {key}", *lines)))
    with pytest.raises(HandshakeError) as caught:
        opened(url_of(server), per_message_deflate=offered)
    assert caught.value.status == 101


GOOD = ("Upgrade: websocket", "Connection: Upgrade")


def test_l2_compression_that_was_not_offered_fails_the_handshake(opened: Any, raw_server: Any) -> None:
    lines = (*GOOD, "Sec-WebSocket-Extensions: permessage-deflate")
    with pytest.raises(HandshakeError):
        opened(url_of(raw_server(answering(lambda key: head("101 S", *lines, f"Sec-WebSocket-Accept: {key}")))))


@pytest.mark.parametrize("chosen", ["c", "A", "a, b", "a b", ""])
def test_l2_a_subprotocol_that_was_not_offered_fails_the_handshake(opened: Any, raw_server: Any, chosen: str) -> None:
    lines = (*GOOD, f"Sec-WebSocket-Protocol: {chosen}")
    server = raw_server(answering(lambda key: head("101 S", *lines, f"Sec-WebSocket-Accept: {key}")))
    with pytest.raises(HandshakeError):
        opened(url_of(server), subprotocols=["a", "b"])


# --- L3 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [b"X: y\r\n", b"y" * 64, b"HTTP/1.1 100 Continue\r\n\r\n", b"\x00" * 64])
def test_l3_an_endless_head_ends_at_64_kib(opened: Any, raw_server: Any, octets: bytes) -> None:
    sent = collections.Counter[str]()

    def handle(sock: Any) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 101 S\r\n" if octets.startswith((b"X", b"y")) else b"")
        piece = octets * 100
        while True:
            sock.sendall(piece)
            sent["octets"] += len(piece)

    server = raw_server(handle)
    before = process_memory(os.getpid())
    with pytest.raises(HandshakeError) as caught:
        opened(url_of(server))
    assert caught.value.status == 0
    # What is sent beyond the limit lies in the system's buffers.
    assert process_memory(os.getpid()) - before < 16 * 1024 * 1024


def test_l3_a_huge_header_is_refused_at_its_beginning(opened: Any, raw_server: Any) -> None:
    server = raw_server(answering(lambda key: b"HTTP/1.1 101 S\r\nX: " + b"y" * 1024 * 1024))
    with pytest.raises(HandshakeError, match="65536"):
        opened(url_of(server))


def test_l3_a_dribbled_head_ends_with_the_timeout(opened: Any, raw_server: Any) -> None:
    def handle(sock: Any) -> None:
        read_head(sock)
        for octet in head("101 Switching Protocols", *GOOD, "X: " + "y" * 1000):
            sock.sendall(bytes((octet,)))
            gevent.sleep(0.05)

    with pytest.raises(TimeoutError):
        opened(url_of(raw_server(handle)), timeout=0.5)


def test_l3_a_server_that_says_nothing_ends_with_the_timeout(opened: Any, raw_server: Any) -> None:
    with pytest.raises(TimeoutError):
        opened(url_of(raw_server(drain)), timeout=0.2)


@pytest.fixture(name="certificates")
def shared_certificates() -> Certificates:
    return certificates_of_the_suite()


# --- L4 ---------------------------------------------------------------------------------------------------------------


def tls_server(context: Any, hosts: list[Any] | None = None) -> Callable[[Any], None]:
    """Handles connections of a raw server by TLS and a good handshake."""
    if hosts is not None:
        context.sni_callback = lambda sock, name, context: hosts.append(name)

    def handle(sock: Any) -> None:
        try:
            secure = context.wrap_socket(sock, server_side=True)
        except OSError:
            return
        accept(secure)
        drain(secure)
        secure.close()

    return handle


def wss(server: Any, host: str = "localhost") -> str:
    return f"wss://{host}:{server.port}/"


def test_l4_a_good_certificate_is_accepted_and_the_name_sent(
    opened: Any, raw_server: Any, certificates: Certificates
) -> None:
    names: list[Any] = []
    server = raw_server(tls_server(certificates.server_context(), names))
    ca = {"ca": str(certificates.ca)}
    opened(wss(server), ssl=ca, close_timeout=0.2).close()
    opened(wss(server, "127.0.0.1"), ssl=ca, close_timeout=0.2).close()
    opened(wss(server, "127.0.0.1"), ssl=ca, server_hostname="localhost", close_timeout=0.2).close()
    assert names == ["localhost", None, "localhost"]


def test_l4_a_certificate_that_nobody_trusts_is_refused(
    opened: Any, raw_server: Any, certificates: Certificates
) -> None:
    server = raw_server(tls_server(certificates.server_context()))
    with pytest.raises(ssl.SSLCertVerificationError):
        opened(wss(server))
    opened(wss(server), ssl={"reject_unauthorized": False}, close_timeout=0.2).close()


def test_l4_the_certificate_of_another_host_is_refused(
    opened: Any, raw_server: Any, certificates: Certificates
) -> None:
    server = raw_server(tls_server(certificates.server_context()))
    for options in ({"ca": str(certificates.ca)}, certificates.client_context()):
        with pytest.raises(ssl.SSLCertVerificationError):
            opened(wss(server), ssl=options, server_hostname="example.org")
        with pytest.raises(ssl.SSLCertVerificationError):
            opened(wss(server), ssl=options, server_hostname="127.0.0.2")


def test_l4_an_expired_certificate_is_refused(opened: Any, raw_server: Any, certificates: Certificates) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    expired = certificates.authority.issue_cert("localhost", not_before=past, not_after=past.replace(month=2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    expired.configure_cert(context)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        opened(wss(raw_server(tls_server(context))), ssl={"ca": str(certificates.ca)})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_l4_tls_1_1_and_older_are_refused(opened: Any, raw_server: Any, certificates: Certificates) -> None:
    context = certificates.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        opened(wss(raw_server(tls_server(context))), ssl={"ca": str(certificates.ca)})


def test_l4_a_server_that_speaks_no_tls(opened: Any, raw_server: Any) -> None:
    with pytest.raises(ssl.SSLError):
        opened(wss(raw_server(plain)))


def plain(sock: Any) -> None:
    sock.recv(1000)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_l4_a_server_that_ends_in_the_tls_handshake(opened: Any, raw_server: Any) -> None:
    with pytest.raises(OSError):
        opened(wss(raw_server(lambda sock: sock.recv(1000) and None)))


def test_l4_a_tls_handshake_that_stalls_ends_with_the_timeout(opened: Any, raw_server: Any) -> None:
    with pytest.raises(TimeoutError):
        opened(wss(raw_server(drain)), timeout=0.3)


def test_l4_a_client_shows_its_certificate(opened: Any, raw_server: Any, certificates: Certificates) -> None:
    context = certificates.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(str(certificates.ca))
    server = raw_server(tls_server(context))
    options = {
        "ca": str(certificates.ca),
        "cert": str(certificates.directory / "client.pem"),
        "key": str(certificates.directory / "client.key"),
    }
    opened(wss(server), ssl=options, close_timeout=0.2).close()


def test_l4_wrong_options_of_tls(tmp_path: Any, certificates: Certificates) -> None:
    for wrong, kind in (
        ({"ca": str(tmp_path / "none")}, ValueError),
        ({"key": certificates.key}, ValueError),
        ({"certs": certificates.cert}, TypeError),
        ({"reject_unauthorized": 0}, TypeError),
        (certificates.server_context(), ValueError),
        (True, TypeError),
    ):
        with pytest.raises(kind, match="ssl"):
            lws_gevent.Client(ssl=wrong)


# --- L5 ---------------------------------------------------------------------------------------------------------------


def moved(location: str, seen: list[bytes] | None = None) -> Callable[[Any], None]:
    def handle(sock: Any) -> None:
        request = read_head(sock)
        if seen is not None:
            seen.append(request)
        sock.sendall(head("302 Found", f"Location: {location}", "Content-Length: 0"))
        drain(sock)

    return handle


def test_l5_redirects_are_off_by_default(opened: Any, raw_server: Any) -> None:
    with pytest.raises(HandshakeError) as caught:
        opened(url_of(raw_server(moved("/x"))))
    assert caught.value.status == 302


def test_l5_there_are_at_most_ten(opened: Any, raw_server: Any) -> None:
    seen: list[bytes] = []
    server = raw_server(moved("/again", seen))
    with pytest.raises(HandshakeError, match="10 redirects"):
        opened(url_of(server), follow_redirects=True)
    assert len(seen) == 11


def test_l5_credentials_do_not_go_to_another_origin(opened: Any, raw_server: Any) -> None:
    seen: list[bytes] = []

    def last(sock: Any) -> None:
        seen.append(accept(sock))
        drain(sock)

    target = raw_server(last)
    other = raw_server(moved(url_of(target), seen))
    first = raw_server(moved(url_of(other), seen))
    headers = {"Cookie": "a=b", "authorization": "Bearer x", "X-Mine": "1"}
    options: dict[str, Any] = {"follow_redirects": True, "close_timeout": 0.2}
    opened(url_of(first), headers=headers, **options)
    opened(f"ws://user:secret@127.0.0.1:{first.port}/", **options)
    assert b"a=b" in seen[0] and b"Bearer" in seen[0] and b"Basic" in seen[3]
    for request in (*seen[1:3], *seen[4:]):
        assert b"a=b" not in request and b"Bearer" not in request and b"Basic" not in request
    assert b"X-Mine" in seen[2] and len(seen) == 6


def test_l5_credentials_go_on_within_one_origin(opened: Any, raw_server: Any) -> None:
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        seen.append(read_head(sock))
        if len(seen) == 1:
            sock.sendall(head("307 Moved", "Location: /new", "Content-Length: 0"))
        else:
            key = accept_key(header_of(seen[-1], "Sec-WebSocket-Key"))
            sock.sendall(head("101 S", *GOOD, f"Sec-WebSocket-Accept: {key}"))
        drain(sock)

    server = raw_server(handle)
    sock = opened(
        f"ws://user:secret@127.0.0.1:{server.port}/",
        follow_redirects=True,
        headers={"Cookie": "a=b"},
        close_timeout=0.2,
    )
    assert sock.path == "/new" and b"a=b" in seen[1] and b"Basic" in seen[1]
    keys = {header_of(request, "Sec-WebSocket-Key") for request in seen}
    assert len(keys) == 2


def test_l5_a_redirect_from_wss_to_ws_is_refused(opened: Any, raw_server: Any, certificates: Certificates) -> None:
    context = certificates.server_context()

    def handle(sock: Any) -> None:
        secure = context.wrap_socket(sock, server_side=True)
        read_head(secure)
        secure.sendall(head("301 Moved", "Location: ws://localhost/", "Content-Length: 0"))
        drain(secure)

    with pytest.raises(HandshakeError, match="wss to ws"):
        opened(wss(raw_server(handle)), ssl={"ca": str(certificates.ca)}, follow_redirects=True)


@pytest.mark.parametrize("location", ["", "ftp://a/", "unix:/x", "mailto:a", "http://[", "http://a:99999/", "//"])
def test_l5_a_redirect_to_nowhere_is_refused(opened: Any, raw_server: Any, location: str) -> None:
    server = raw_server(answering(lambda key: head("302 Found", *([f"Location: {location}"] if location else []))))
    with pytest.raises(HandshakeError):
        opened(url_of(server), follow_redirects=True)


# --- L6 ---------------------------------------------------------------------------------------------------------------


def masking_keys(data: bytes) -> list[bytes]:
    """Those of frames of three octets each, as they follow each other."""
    assert len(data) % 9 == 0
    return [data[begin + 2 : begin + 6] for begin in range(0, len(data), 9)]


@pytest.mark.timeout_factor(3)
def test_l6_every_frame_has_a_fresh_key(opened: Any, raw_server: Any) -> None:
    count = 100_000
    received = bytearray()
    done = gevent.event.Event()

    def handle(sock: Any) -> None:
        accept(sock)
        while len(received) < 9 * count:
            received.extend(sock.recv(1 << 20))
        done.set()
        drain(sock)

    sock = opened(url_of(raw_server(handle)), close_timeout=0.2)
    for _ in range(count):
        sock.send(b"abc")
    assert done.wait(60)
    keys = masking_keys(bytes(received))
    # Of 100,000 keys of 32 random bits about one pair is the same; twenty are as good as impossible.
    assert len(keys) - len(set(keys)) < 20
    for position in range(4):
        octets = collections.Counter(key[position] for key in keys)
        assert len(octets) == 256 and max(octets.values()) < 2 * count / 256
        ones = sum(octet.bit_count() * times for octet, times in octets.items())
        assert abs(ones / (8 * count) - 0.5) < 0.01


def test_l6_a_forked_child_uses_other_keys(stack: Stack, nothing_leaks: None) -> None:
    from lws_gevent import codec
    from lws_gevent.frames import Role

    protocol = codec.load().Protocol(Role.CLIENT, max_payload=None)

    def keys() -> bytes:
        for _ in range(50):
            protocol.send_message(b"abc", True)
        return b"".join(masking_keys(b"".join(protocol.data_to_send())))

    keys()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, keys())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs, ours = os.read(reading, 1000), keys()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == len(ours) == 200

    def split(octets: bytes) -> set[bytes]:
        return {octets[begin : begin + 4] for begin in range(0, 200, 4)}

    assert not split(theirs) & split(ours)


# --- L7 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X": "a\r\nInjected: 1"}},
        {"headers": {"X\r\nInjected": "1"}},
        {"headers": [("X", "a\nb")]},
        {"subprotocols": ["a\r\nInjected: 1"]},
        {"origin": "a\r\nInjected: 1"},
        {"proxy": "http://user:pa\r\nss@localhost:1"},
        {"proxy": "http://user:pa%0d%0aInjected@localhost:1"},
        {"proxy": "socks5://us%00er:pass@localhost:1"},
        {"proxy": "http://local\r\nhost:1"},
    ],
)
def test_l7_no_option_can_break_a_line(opened: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        opened("ws://localhost:1/", **options)


@pytest.mark.parametrize("part", ["ws://localhost:1/\r\nX: y", "ws://local\nhost:1/", "ws://a%0d%0ab:c@localhost:1/"])
def test_l7_no_url_can_break_a_line(opened: Any, part: str) -> None:
    with pytest.raises(ValueError):
        opened(part)


# --- L8 ---------------------------------------------------------------------------------------------------------------


def proxy_url(server: Any, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.port}"


def test_l8_a_proxy_that_asks_for_credentials(opened: Any, raw_server: Any) -> None:
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        seen.append(read_head(sock))
        sock.sendall(head("407 Who", "Proxy-Authenticate: Basic", "Content-Length: 3") + b"who")
        drain(sock)

    with pytest.raises(HandshakeError, match="proxy") as caught:
        opened("ws://user:secret@example.org/", proxy=proxy_url(raw_server(handle)))
    error = caught.value
    assert (error.status, error.headers["proxy-authenticate"], error.body) == (407, "Basic", b"who")
    assert seen[0].startswith(b"CONNECT example.org:80 HTTP/1.1\r\n") and b"Basic" not in seen[0]


@pytest.mark.parametrize("octets", [b"X: y\r\n", b"y" * 64])
def test_l8_a_huge_answer_is_bounded(opened: Any, raw_server: Any, octets: bytes) -> None:
    def handle(sock: Any) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            sock.sendall(octets * 100)

    with pytest.raises(HandshakeError, match="65536"):
        opened("ws://example.org/", proxy=proxy_url(raw_server(handle)))


def test_l8_data_behind_the_answer_is_not_the_servers(opened: Any, raw_server: Any) -> None:
    server = raw_server(answering_proxy(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n"))
    with pytest.raises(HandshakeError, match="more than its answer"):
        opened("ws://example.org/", proxy=proxy_url(server))


def answering_proxy(*answers: bytes) -> Callable[[Any], None]:
    def handle(sock: Any) -> None:
        for answer in answers:
            sock.recv(1000)
            sock.sendall(answer)
        drain(sock)

    return handle


@pytest.mark.parametrize(
    ("scheme", "answers"),
    [
        ("socks5", [b"\x04\x00"]),
        ("socks5", [b"\x05\xff"]),
        ("socks5", [b"\x05\x02"]),
        ("socks5", [b"\x05\x00", b"\x05\x05\x00\x01" + bytes(6)]),
        ("socks5", [b"\x05\x00", b"\x05\x00\x00\x09" + bytes(6)]),
        ("socks5", [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6) + b"HTTP/1.1 101"]),
        ("socks5h", [b"HTTP/1.1 400 Bad Request\r\n\r\n"]),
        ("socks4a", [b"\x00\x5b" + bytes(6)]),
        ("socks4a", [b"\x05\x5a" + bytes(6)]),
        ("socks4a", [b"\x00\x5a" + bytes(6) + b"more"]),
    ],
)
def test_l8_socks_proxies_that_refuse_or_answer_wrongly(
    opened: Any, raw_server: Any, scheme: str, answers: list[bytes]
) -> None:
    with pytest.raises(HandshakeError, match="SOCKS") as caught:
        opened("ws://127.0.0.1:1/", proxy=proxy_url(raw_server(answering_proxy(*answers)), scheme))
    assert caught.value.status == 0


def test_l8_a_socks_proxy_that_refuses_credentials(opened: Any, raw_server: Any) -> None:
    server = raw_server(answering_proxy(b"\x05\x02", b"\x01\x01"))
    with pytest.raises(HandshakeError, match="credentials"):
        opened("ws://127.0.0.1:1/", proxy=f"socks5://user:pass@127.0.0.1:{server.port}")


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4a"])
def test_l8_a_proxy_that_says_nothing_or_ends(opened: Any, raw_server: Any, scheme: str) -> None:
    with pytest.raises(TimeoutError):
        opened("ws://127.0.0.1:1/", proxy=proxy_url(raw_server(drain), scheme), timeout=0.2)
    with pytest.raises(HandshakeError):
        opened("ws://127.0.0.1:1/", proxy=proxy_url(raw_server(lambda sock: sock.recv(1000) and None), scheme))


def test_l8_a_proxy_is_no_place_for_a_forgotten_socket(opened: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ConnectionRefusedError, match=str(port)):
        opened("ws://example.org/", proxy=f"http://127.0.0.1:{port}")
