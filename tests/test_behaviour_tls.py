"""What is special about TLS: handshakes, certificates, ends, records, callbacks of the context. That everything else is
as without TLS is shown by the tests that are marked `also_over_tls`."""

from __future__ import annotations

import logging
import socket as stdlib_socket
import ssl as stdlib_ssl
from typing import Any

import gevent
import gevent.event
import pytest
from certificates import certificates, client_hello
from client import BINARY, CLOSE, Client, close_payload, encode, upgrade_head
from gevent import socket, ssl
from helpers import crowd, eventually, run_script, turns

from lws_gevent.handshake import Headers, Request
from lws_gevent.tls_transport import SslSocketTransport, TlsTransport

pytestmark = pytest.mark.usefixtures("transport")


@pytest.fixture
def transport() -> str:
    """TLS in every test of this module."""
    return "tls"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_both_versions_are_spoken_and_the_socket_knows_which(make_server: Any, connect: Any, version: str) -> None:
    server = make_server(echo=True)
    client = connect(server, tls=certificates().client_context(version=version))
    client.echo("secret")
    client.echo(bytes(300_000))
    (open_socket,) = server.connections
    assert open_socket.ssl_object.version() == version.replace("_", ".")
    client.close_handshake()
    eventually(lambda: open_socket.closed)
    assert open_socket.ssl_object is None


def test_without_tls_there_is_no_ssl_object(make_server: Any, connect: Any) -> None:
    server = make_server(ssl=None)
    connect(server, tls=None)
    assert server.connections[0].ssl_object is None


# Certificates of clients


def who_comes(server: Any) -> list[Any]:
    certificates_of_clients: list[Any] = []
    server.on("connection", lambda socket: certificates_of_clients.append(socket.ssl_object.getpeercert()))
    return certificates_of_clients


def refused(connect: Any, server: Any, context: Any) -> None:
    """In TLS 1.3 the client's handshake is over before the server has judged it."""
    with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
        connect(server, tls=context)


def test_clients_need_a_certificate_that_the_authority_has_signed(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True, ssl={**certificates().options, "ca": str(certificates().ca)})
    seen = who_comes(server)
    refused(connect, server, certificates().client_context())
    refused(connect, server, certificates().client_context("stranger"))
    connect(server, tls=certificates().client_context("client")).echo()
    assert [certificate["subjectAltName"] for certificate in seen] == [(("email", "client@example.org"),)]


def test_with_reject_unauthorized_false_they_may_come_without_one(make_server: Any, connect: Any) -> None:
    options = {**certificates().options, "ca": str(certificates().ca), "reject_unauthorized": False}
    server = make_server(echo=True, ssl=options)
    seen = who_comes(server)
    connect(server, tls=certificates().client_context()).echo()
    refused(connect, server, certificates().client_context("stranger"))
    connect(server, tls=certificates().client_context("client")).echo()
    assert [certificate is not None for certificate in seen] == [False, True]


# The context is the user's


@pytest.mark.parametrize("module", [ssl, stdlib_ssl], ids=["gevent", "stdlib"])
def test_the_context_chooses_by_host_name_and_protocol(make_server: Any, connect: Any, module: Any) -> None:
    names: list[Any] = []
    context = certificates().server_context(module)
    context.set_alpn_protocols(["http/1.1"])
    context.sni_callback = lambda ssl_object, name, context: names.append((name, ssl_object.version is not None))
    theirs = certificates().client_context()
    theirs.set_alpn_protocols(["h2", "http/1.1"])
    server = make_server(echo=True, ssl=context)
    client = connect(server, tls=theirs)
    client.echo()
    assert names == [("localhost", True)]
    assert client.sock.selected_alpn_protocol() == "http/1.1"
    assert server.connections[0].ssl_object.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("module", [ssl, stdlib_ssl], ids=["gevent", "stdlib"])
def test_a_callback_for_host_names_may_block_and_holds_up_nobody_else(
    make_server: Any, connect: Any, spawn: Any, module: Any
) -> None:
    waiting, go_on = gevent.event.Event(), gevent.event.Event()

    def choose(ssl_object: Any, name: str, context: Any) -> None:
        if not waiting.is_set():
            waiting.set()
            go_on.wait()

    context = certificates().server_context(module)
    context.sni_callback = choose
    server = make_server(echo=True, ssl=context)
    first = spawn(connect, server)
    waiting.wait()
    others = [connect(server) for _ in range(3)]
    for other in others:
        other.echo(bytes(100_000))
    assert not first.dead
    go_on.set()
    first.get().echo(bytes(100_000))


def test_a_server_may_stop_while_such_a_callback_is_blocked(make_server: Any, connect: Any, spawn: Any) -> None:
    waiting, go_on = gevent.event.Event(), gevent.event.Event()

    def choose(ssl_object: Any, name: str, context: Any) -> None:
        waiting.set()
        go_on.wait()

    context = certificates().server_context()
    context.sni_callback = choose
    server = make_server(echo=True, ssl=context)

    def try_to_connect() -> str:
        try:
            connect(server)
        except (OSError, EOFError):
            return "failed"
        return "connected"

    first = spawn(try_to_connect)
    waiting.wait()
    stopping = spawn(server.stop, timeout=0.05)
    assert first.get() == "failed"
    go_on.set()
    stopping.get()


def test_a_new_certificate_counts_from_the_next_connection_on(make_server: Any, connect: Any) -> None:
    context = certificates().server_context()
    server = make_server(echo=True, ssl=context)
    before = connect(server)
    directory = certificates().directory
    context.load_cert_chain(str(directory / "client.pem"), str(directory / "client.key"))
    theirs = certificates().client_context()
    theirs.check_hostname = False
    after = connect(server, tls=theirs)
    assert after.sock.getpeercert()["subjectAltName"] == (("email", "client@example.org"),)
    before.echo()
    after.echo()


def test_sessions_are_resumed(make_server: Any, connect: Any) -> None:
    context = certificates().client_context()
    server = make_server(echo=True)
    first = connect(server, tls=context)
    first.echo()
    session = first.sock.session
    sock = socket.create_connection(("127.0.0.1", server.port))
    again = context.wrap_socket(sock, server_hostname="localhost", session=session)
    assert again.session_reused
    again.close()


# Handshakes


@pytest.mark.parametrize(
    ("octets", "why"),
    [(upgrade_head("/"), "the peer speaks HTTP without TLS"), (b"SSH-2.0-client\r\n", "[SSL: ")],
)
def test_a_client_that_does_not_speak_tls_is_cut_and_only_debug_tells(
    make_server: Any, connect: Any, debug_log: list[logging.LogRecord], octets: bytes, why: str
) -> None:
    server = make_server(echo=True)
    good = connect(server)
    plain = connect(server, upgrade=False, tls=None)
    plain.send_raw(octets)
    plain.drain_to_eof()
    eventually(lambda: debug_log)
    assert [record.levelname for record in debug_log] == ["DEBUG"]
    assert debug_log[0].getMessage().startswith(f"TLS handshake failed: {why}")
    good.echo()


class Tap:
    """A TLS client whose records pass through the test's hands."""

    def __init__(self, client: Client, context: Any = None) -> None:
        self.client = client
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or certificates().client_context()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def _until_done(self, step: Any, *arguments: Any, chunk: int | None = None) -> Any:
        while True:
            try:
                result = step(*arguments)
            except ssl.SSLWantReadError:
                self._flush(chunk)
                data = self.client.sock.recv(65536)
                if not data:
                    raise EOFError from None
                self.incoming.write(data)
                continue
            self._flush(chunk)
            return result

    def _flush(self, chunk: int | None) -> None:
        octets = self.outgoing.read()
        if chunk is None:
            self.client.send_raw(octets)
        else:
            self.client.dribble(octets, chunk)

    def handshake(self, chunk: int | None = None) -> None:
        self._until_done(self.tls.do_handshake, chunk=chunk)

    def upgrade(self) -> None:
        self.handshake()
        self._until_done(self.tls.write, upgrade_head("/"))
        assert self._until_done(self.tls.read, 65536).startswith(b"HTTP/1.1 101")

    def sealed(self, octets: bytes) -> bytes:
        self.tls.write(octets)
        return self.outgoing.read()

    def read(self) -> bytes:
        data: bytes = self._until_done(self.tls.read, 65536)
        return data

    def say_goodbye(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


@pytest.fixture
def tap(connect: Any) -> Any:
    return lambda server, context=None: Tap(connect(server, upgrade=False, tls=None), context)


def test_a_handshake_may_come_octet_by_octet(make_server: Any, tap: Any) -> None:
    tapped = tap(make_server(echo=True))
    tapped.handshake(chunk=1)
    tapped.client.dribble(tapped.sealed(upgrade_head("/")))
    assert tapped.read().startswith(b"HTTP/1.1 101")


def test_request_and_messages_may_come_with_the_end_of_the_handshake(make_server: Any, tap: Any) -> None:
    server = make_server(echo=True)
    tapped = tap(server)
    while True:
        try:
            tapped.tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            tapped._flush(None)
            tapped.incoming.write(tapped.client.sock.recv(65536))
    finished = tapped.outgoing.read()
    tapped.client.send_raw(finished + tapped.sealed(upgrade_head("/")) + tapped.sealed(encode(BINARY, b"at once")))
    got = b""
    while b"at once" not in got:
        got += tapped.read()


@pytest.mark.only("parked")
def test_a_crowd_in_its_handshakes_leaves_others_their_turn(make_server: Any, connect: Any) -> None:
    server = make_server(backlog=500)
    opened = 0
    at: list[int] = []
    handshakes: list[Any] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        nonlocal opened
        opened += 1

    server.on("message", lambda socket: at.append(len([one for one in handshakes if one])))
    client = connect(server)
    eventually(lambda: opened == 1)
    with crowd(server, [client_hello() for _ in range(60)]) as sockets:
        client.send("my turn")
        eventually(lambda: at)
        answered = 0
        for one in sockets:
            try:
                answered += bool(one.recv(65536, stdlib_socket.MSG_PEEK))
            except BlockingIOError:
                pass
        assert answered < 60
        eventually(lambda: all_answered(sockets))


def all_answered(crowd: list[Any]) -> bool:
    try:
        return all(one.recv(1, stdlib_socket.MSG_PEEK) for one in crowd)
    except BlockingIOError:
        return False


# Records


def test_many_messages_in_one_record_and_one_message_in_many(make_server: Any, tap: Any) -> None:
    tapped = tap(make_server(echo=True))
    tapped.upgrade()
    many = [encode(BINARY, bytes([number]) * 20) for number in range(200)]
    tapped.client.send_raw(tapped.sealed(b"".join(many)))
    expected = 200 * 22
    got = b""
    while len(got) < expected:
        got += tapped.read()
    assert got == b"".join(encode(BINARY, bytes([number]) * 20, mask=False) for number in range(200))
    frame = encode(BINARY, b"piecemeal" * 100)
    for start in range(0, len(frame), 7):
        tapped.client.send_raw(tapped.sealed(frame[start : start + 7]))
    got = b""
    while len(got) < 904:
        got += tapped.read()
    assert got[4:] == b"piecemeal" * 100


def test_a_record_that_was_tampered_with_ends_its_connection_alone(make_server: Any, connect: Any, tap: Any) -> None:
    server = make_server(echo=True)
    codes: list[int] = []
    got: list[Any] = []
    server.on("close", lambda socket, code: codes.append(code))
    server.on("message", lambda socket, message: got.append(message))
    good = connect(server)
    tapped = tap(server)
    tapped.upgrade()
    fair = tapped.sealed(encode(BINARY, b"fair"))
    foul = bytearray(tapped.sealed(encode(BINARY, b"foul")))
    foul[-1] ^= 1
    tapped.client.send_raw(fair + bytes(foul))
    eventually(lambda: codes)
    assert (got, codes) == ([b"fair"], [1006])
    good.echo()
    assert codes == [1006]


def test_empty_records_are_nothing(make_server: Any, tap: Any) -> None:
    context = certificates().client_context(version="TLSv1_2")
    tapped = tap(make_server(echo=True), context)
    tapped.upgrade()
    for _ in range(5):
        tapped.client.send_raw(tapped.sealed(encode(BINARY, b"")[:0]) + tapped.sealed(encode(BINARY, b"x")))
        assert tapped.read()[2:] == b"x"


# Ends


def test_the_end_is_said_in_the_words_of_tls(make_server: Any, tap: Any) -> None:
    tapped = tap(make_server(echo=True))
    tapped.upgrade()
    tapped.client.send_raw(tapped.sealed(encode(CLOSE, close_payload(1000))))
    assert tapped.read() == encode(CLOSE, close_payload(1000), mask=False)
    assert tapped.read() == b""  # and not SSLEOFError, nor EOFError
    tapped.client.expect_eof(reset=False)


def test_an_http_answer_ends_in_the_words_of_tls_too(make_server: Any, tap: Any) -> None:
    server = make_server()
    server.on("http", lambda socket, request: (200, None, b"x" * 100_000))
    tapped = tap(server)
    tapped.handshake()
    tapped.client.send_raw(tapped.sealed(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    got = b""
    while piece := tapped.read():
        got += piece
    assert got.endswith(b"\r\n\r\n" + b"x" * 100_000)


@pytest.mark.parametrize("farewell", [True, False], ids=["close_notify", "fin"])
@pytest.mark.parametrize("together", [True, False], ids=["with-data", "alone"])
def test_an_end_without_a_close_frame_is_1006_behind_what_was_sent_before(
    make_server: Any, tap: Any, farewell: bool, together: bool
) -> None:
    server = make_server()
    events: list[Any] = []
    server.on("message", lambda socket, message: events.append(message))
    server.on("close", lambda socket, code: events.append(code))
    tapped = tap(server)
    tapped.upgrade()
    message = tapped.sealed(encode(BINARY, b"last words"))
    if not together:
        tapped.client.send_raw(message)
        eventually(lambda: events)
        message = b""
    if farewell:
        tapped.client.send_raw(message + tapped.say_goodbye())  # and the TCP connection stays
    else:
        tapped.client.send_raw(message)
        tapped.client.half_close()
    eventually(lambda: len(events) == 2)
    assert events == [b"last words", 1006]


def test_the_end_is_noticed_while_a_handler_is_blocked(make_server: Any, tap: Any) -> None:
    server = make_server()
    go_on = gevent.event.Event()
    seen: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: bytes) -> None:
        seen.append(socket)
        go_on.wait()

    tapped = tap(server)
    tapped.upgrade()
    tapped.client.send_raw(tapped.sealed(encode(BINARY, b"block")))
    eventually(lambda: seen)
    tapped.client.send_raw(tapped.say_goodbye())
    eventually(lambda: seen[0].closed)
    go_on.set()


def test_a_peer_that_asks_on_and_on_and_reads_nothing_has_no_effect_on_others(make_server: Any, connect: Any) -> None:
    """Both directions full at once: neither side deadlocks once the peer reads."""
    server = make_server(echo=True, max_backpressure=None)
    busy, other = connect(server, receive_buffer=4096), connect(server)
    message = bytes(range(256)) * 4096
    sending = gevent.spawn(lambda: [busy.send(message) for _ in range(8)])
    turns()
    other.echo(bytes(200_000))
    for _ in range(8):
        assert busy.recv_message() == message
    sending.get()


# Monkey-patching


@pytest.mark.parametrize("kind", ["dict", "context", "sni"])
@pytest.mark.parametrize("when", ["before", "between", "after", "never"])
def test_it_does_not_matter_when_python_is_patched(stack: Any, when: str, kind: str) -> None:
    paths = certificates().cert, certificates().key, str(certificates().ca)
    run_script("patched_tls.py", stack.engine, when, kind, *paths, stack=stack)


# Taking over connections whose TLS handshake somebody else has made

REQUEST = Request("GET", "/adopted", Headers())


def established(connect: Any, tap: Any, version: str | None = None) -> tuple[TlsTransport, Tap]:
    """A server's transport and the client at its other end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        tapped = tap(listener.getsockname(), certificates().client_context(version=version))
        ours, _ = listener.accept()
    ours.setblocking(False)
    raw = stdlib_socket.socket(ours.family, ours.type, ours.proto, fileno=ours.detach())
    transport = TlsTransport(raw, certificates().server_context())
    shaking = gevent.spawn(tapped.handshake)
    while not transport.established:
        try:
            transport.do_handshake()
        except BlockingIOError:
            gevent.sleep(0.001)
    shaking.get()
    return transport, tapped


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_transport_becomes_a_connection(make_server: Any, connect: Any, tap: Any, version: str) -> None:
    server = make_server(port=None, start=False, echo=True, ssl=None)
    transport, tapped = established(connect, tap, version)
    record = tapped.sealed(encode(BINARY, b"in two parts"))
    tapped.client.send_raw(record[:10])
    with pytest.raises(BlockingIOError):
        while True:
            transport.recv(65536)
            gevent.sleep(0.001)
    adopted = server._engine.adopt(None, REQUEST, encode(BINARY, b"read before"), transport=transport)
    assert adopted.ssl_object.version() == version.replace("_", ".")
    tapped.client.send_raw(record[10:])
    expected = encode(BINARY, b"read before", mask=False) + encode(BINARY, b"in two parts", mask=False)
    got = b""
    while len(got) < len(expected):
        got += tapped.read()
    assert got == expected
    tapped.client.send_raw(tapped.sealed(encode(CLOSE, close_payload(1000))))
    assert tapped.read() == encode(CLOSE, close_payload(1000), mask=False)
    eventually(lambda: adopted.closed)


@pytest.mark.only("greenlet")
@pytest.mark.parametrize("module", [ssl, stdlib_ssl], ids=["gevent", "stdlib"])
def test_a_tls_socket_of_somebody_else_becomes_a_connection(
    make_server: Any, connect: Any, tap: Any, module: Any
) -> None:
    server = make_server(port=None, start=False, echo=True, ssl=None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        tapped = tap(listener.getsockname())
        ours, _ = listener.accept()
    raw = stdlib_socket.socket(ours.family, ours.type, ours.proto, fileno=ours.detach())
    raw.setblocking(False)
    context = certificates().server_context(module)
    theirs = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
    theirs.setblocking(False)
    shaking = gevent.spawn(tapped.handshake)
    while True:
        try:
            theirs.do_handshake()
            break
        except ssl.SSLWantReadError:
            gevent.sleep(0.001)
    shaking.get()
    adopted = server._engine.adopt(None, REQUEST, transport=SslSocketTransport(theirs))
    for message in (b"x", bytes(100_000)):
        frame = encode(BINARY, message)
        for start in range(0, len(frame), 20_000):
            tapped.client.send_raw(tapped.sealed(frame[start : start + 20_000]))
        expected = encode(BINARY, message, mask=False)
        got = b""
        while len(got) < len(expected):
            got += tapped.read()
        assert got == expected
    tapped.client.send_raw(tapped.sealed(encode(CLOSE, close_payload(1000))))
    assert tapped.read() == encode(CLOSE, close_payload(1000), mask=False)
    eventually(lambda: adopted.closed)


# Connections that leave the engine for a WSGI application


def answering(environ: Any, start_response: Any) -> list[bytes]:
    try:
        body = environ["wsgi.input"].read()
    except OSError:  # the peer has left
        body = b""
    start_response("200 OK", [("Content-Length", str(len(str(len(body)))))])
    return [str(len(body)).encode()]


def post(length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length


#: A record of application data whose contents nobody can open.
JUNK = b"\x17\x03\x03\x00\x20" + bytes(32)


@pytest.mark.parametrize("end", ["farewell", "junk"])
def test_what_a_peer_of_an_application_sends_behind_its_end_gets_into_no_other_connection(
    make_server: Any, connect: Any, tap: Any, end: str
) -> None:
    server = make_server(echo=True, wsgi=answering)
    other = connect(server)
    other.echo()
    tapped = tap(server)
    tapped.handshake()
    tapped.client.send_raw(tapped.sealed(post(100) + b"x" * 50))
    turns(5)  # the application waits for the rest
    tapped.client.send_raw((tapped.say_goodbye() if end == "farewell" else JUNK) + JUNK)
    tapped.client.drain_to_eof()
    other.echo()


def test_an_application_gets_the_whole_of_a_long_request(make_server: Any, connect: Any) -> None:
    server = make_server(wsgi=answering)
    for length in (262_100, 263_000, 270_000, 600_000):
        client = connect(server, upgrade=False)
        client.send_raw(post(length) + bytes(length))
        assert client.recv_response().body == str(length).encode()
