"""`server.handle_upgrade` and `server.accept`: connections whose request somebody else has read."""

from __future__ import annotations

import io
import os
import socket as stdlib_socket
import ssl as stdlib_ssl
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any

import gevent
import gevent.ssl
import pytest
from certificates import certificates
from client import TEXT, Client, encode, upgrade_head
from gevent import pywsgi, socket
from helpers import eventually, open_descriptors

import lws_gevent
from lws_gevent.handshake import Headers

HEADERS = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/a b/\xe9",
    "QUERY_STRING": "q=%20",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "localhost",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
}


def message_of(headers: dict[str, str]) -> Message:
    """As http.server keeps them."""
    message = Message()
    for name, value in headers.items():
        message[name] = value
    return message


Pair = Callable[..., tuple[Any, Client]]


@pytest.fixture
def pair(make_server: Any) -> Iterator[Pair]:
    """`pair(module)` makes two connected sockets: one of that module's, and a client around the other."""
    clients: list[Client] = []

    def make(module: Any = socket) -> tuple[Any, Client]:
        ours, theirs = stdlib_socket.socketpair()
        clients.append(Client(socket.socket(theirs.family, theirs.type, theirs.proto, fileno=theirs.detach())))
        return module.socket(ours.family, ours.type, ours.proto, fileno=ours.detach()), clients[-1]

    yield make
    for client in clients:
        client.disconnect()


@pytest.fixture
def portless(make_server: Any) -> Any:
    return make_server(port=None, start=False, echo=True, subprotocols=["chat"])


# The forms of a request


@pytest.mark.parametrize(
    ("request_form", "path", "query"),
    [
        (upgrade_head("/path?query", key="dGhlIHNhbXBsZSBub25jZQ=="), "/path", "query"),
        (bytearray(upgrade_head("/", key="dGhlIHNhbXBsZSBub25jZQ==")), "/", ""),
        (ENVIRON, "/a%20b/%E9", "q=%20"),
        ({**ENVIRON, "RAW_URI": "/a%2520?x"}, "/a%2520", "x"),
        (HEADERS, "", ""),
        (message_of(HEADERS), "", ""),
        (Headers((name.encode(), value.encode()) for name, value in HEADERS.items()), "", ""),
    ],
    ids=["head", "bytearray", "environ", "gunicorn environ", "dict", "message", "Headers"],
)
def test_the_forms_of_a_request(portless: Any, pair: Pair, request_form: Any, path: str, query: str) -> None:
    ours, client = pair()
    adopted = portless.handle_upgrade(ours, request_form)
    assert isinstance(adopted, lws_gevent.Socket)
    response = client.recv_response()
    assert response.status == 101
    assert response.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert (adopted.path, adopted.query) == (path, query)
    client.echo()


def test_a_request_that_was_parsed_already(portless: Any, pair: Pair) -> None:
    ours, client = pair()
    parsed, _ = portless._context.codec.parse_request(upgrade_head("/parsed"), 4096)
    assert portless.handle_upgrade(ours, parsed).path == "/parsed"
    assert client.recv_response().status == 101


def test_what_is_no_request_is_a_mistake(portless: Any, pair: Pair) -> None:
    ours, client = pair()
    with pytest.raises(TypeError, match="WSGI environ"):
        portless.handle_upgrade(ours, 42)
    with pytest.raises(TypeError, match="connected socket"):
        portless.handle_upgrade(object(), HEADERS)
    ours.close()
    client.expect_eof()


# What is refused


@pytest.mark.parametrize(
    "change",
    [
        {"HTTP_UPGRADE": "h2c"},
        {"REQUEST_METHOD": "POST"},
        {"SERVER_PROTOCOL": "HTTP/1.0"},
        {"HTTP_SEC_WEBSOCKET_VERSION": "8"},
        {"HTTP_SEC_WEBSOCKET_VERSION": "13,13"},
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==,dGhlIHNhbXBsZSBub25jZQ=="},
        {"HTTP_HOST": "one,two"},
        {"HTTP_X": "folded\r\n value"},
        {"HTTP_X": "nul\0"},
        {"HTTP_X": "\u20ac"},
        {"HTTP_BAD NAME": "x"},
        {"CONTENT_LENGTH": "1"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_EXPECT": "100-continue"},
        {"HTTP_CONNECTION": "close"},
        {"RAW_URI": "/with space"},
    ],
    ids=lambda change: " ".join(f"{name}={value!r}" for name, value in change.items()),
)
def test_what_a_lenient_reader_has_let_through_is_refused_and_untouched(
    portless: Any, pair: Pair, change: dict[str, str]
) -> None:
    ours, client = pair()
    client.send(b"waiting")
    assert portless.handle_upgrade(ours, {**ENVIRON, **change}) is None
    ours.sendall(b"still yours")
    assert client.recv_exactly(11) == b"still yours"
    assert len(ours.recv(100)) > 7
    ours.close()
    assert portless.connections == []


def test_an_incomplete_head_is_refused(portless: Any, pair: Pair) -> None:
    ours, _ = pair()
    assert portless.handle_upgrade(ours, upgrade_head()[:-1]) is None
    ours.close()


def test_the_options_of_a_handshake_apply(make_server: Any, pair: Pair) -> None:
    server = make_server(
        port=None, start=False, path="/ws", origins=["https://good.example"], max_connections=1, subprotocols=["b", "a"]
    )
    emitted: list[str] = []
    for event in ("upgrade", "connection", "http"):
        server.on(event, lambda event=event: emitted.append(event))
    ours, client = pair()
    assert server.handle_upgrade(ours, upgrade_head("/elsewhere")) is None
    assert server.handle_upgrade(ours, upgrade_head("/ws", [("Origin", "https://evil.example")])) is None
    good = upgrade_head("/ws", [("Origin", "https://good.example"), ("Sec-WebSocket-Protocol", "a, b")])
    adopted = server.handle_upgrade(ours, good)
    assert adopted.subprotocol == "b"
    assert client.recv_response().headers["sec-websocket-protocol"] == "b"
    second, _ = pair()
    assert server.handle_upgrade(second, HEADERS) is None  # it is full
    second.close()
    assert emitted == []


def test_an_option_that_raises_refuses(make_server: Any, pair: Pair, logged: Any) -> None:
    server = make_server(port=None, start=False, origins=lambda origin: 1 / 0)
    errors: list[Any] = []
    server.on("error", errors.append)
    ours, _ = pair()
    assert server.handle_upgrade(ours, HEADERS) is None
    assert [type(error) for error in errors] == [ZeroDivisionError]
    ours.close()


# Sockets


@pytest.mark.parametrize("module", [socket, stdlib_socket], ids=["gevent", "stdlib"])
def test_octets_behind_the_request_come_first(portless: Any, pair: Pair, module: Any) -> None:
    ours, client = pair(module)
    portless.handle_upgrade(ours, upgrade_head() + encode(TEXT, "one"), encode(TEXT, "two"))
    ours.close()
    client.send("three")
    assert client.recv_response().status == 101
    assert [client.recv_message() for _ in range(3)] == ["one", "two", "three"]


def test_a_descriptor_stays_the_callers(portless: Any, pair: Pair) -> None:
    ours, client = pair()
    descriptor = ours.detach()
    adopted = portless.handle_upgrade(descriptor, HEADERS)
    assert adopted.fd != descriptor
    os.close(descriptor)
    assert client.recv_response().status == 101
    client.echo()
    client.close_handshake()


def test_the_server_stops_what_it_has_taken_over(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False)
    ours, client = pair()
    server.handle_upgrade(ours, HEADERS)
    assert client.recv_response().status == 101
    stopping = gevent.spawn(server.stop, 5)
    assert client.recv_close()[0] == 1001
    late, _ = pair()
    assert server.handle_upgrade(late, HEADERS) is None
    late.close()
    client.send_close(1001)
    client.expect_eof()
    stopping.get()
    assert server.connections == []


def test_a_started_server_takes_over_others_beside_its_own(make_server: Any, connect: Any, pair: Pair) -> None:
    server = make_server(echo=True)
    ours, client = pair()
    adopted = server.handle_upgrade(ours, HEADERS)
    assert client.recv_response().status == 101
    other = connect(server)
    assert len(server.connections) == 2
    assert server.broadcast("to all", exclude=[]) == 2
    assert client.recv_message() == other.recv_message() == "to all"
    adopted.close()
    client.expect_close(1000)


def test_trusted_proxies_name_the_remote_address(make_server: Any, serve_wsgi: Any, connect: Any) -> None:
    server = make_server(port=None, start=False, trusted_proxies=["127.0.0.1"])

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        server.accept(environ)
        return []

    connect(serve_wsgi(application).address, headers=[("X-Forwarded-For", "192.0.2.7")])
    assert [adopted.remote_address[0] for adopted in server.connections] == ["192.0.2.7"]


def test_another_threads_hub_is_refused(portless: Any, pair: Pair) -> None:
    ours, client = pair()
    portless.handle_upgrade(ours, HEADERS)
    raised: list[BaseException] = []

    def elsewhere() -> None:
        try:
            portless.handle_upgrade(0, HEADERS)
        except RuntimeError as error:
            raised.append(error)
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    gevent.get_hub().threadpool.apply(elsewhere)
    assert "another thread" in str(raised)
    client.recv_response()


# WSGI


class PyWsgi:
    """A gevent.pywsgi server in this process whose requests are answered by `application`."""

    def __init__(self, application: Callable[..., Any], **options: Any) -> None:
        self.log = io.StringIO()
        self.server = pywsgi.WSGIServer(
            ("127.0.0.1", 0), application, log=self.log, error_log=self.log, spawn=10, **options
        )
        self.server.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_port

    @property
    def idle(self) -> bool:
        """Whether no greenlet is busy with a request."""
        return bool(self.server.pool.free_count() == 10)


@pytest.fixture
def serve_wsgi(nothing_leaks: None) -> Iterator[Callable[..., PyWsgi]]:
    servers: list[PyWsgi] = []

    def make(application: Callable[..., Any], **options: Any) -> PyWsgi:
        servers.append(PyWsgi(application, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.server.stop()


def test_accept_under_pywsgi_ends_the_greenlet_and_keeps_the_connection(
    portless: Any, serve_wsgi: Any, connect: Any
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        portless.accept(environ).data = environ["PATH_INFO"]
        return []

    wsgi = serve_wsgi(application)
    client = connect(wsgi.address, "/room", after=encode(TEXT, "with the request"))
    assert client.recv_message() == "with the request"
    eventually(lambda: wsgi.idle)
    client.echo("much later")
    assert [adopted.data for adopted in portless.connections] == ["/room"]
    assert "Traceback" not in wsgi.log.getvalue()
    client.close_handshake()


def test_accept_tells_the_wsgi_servers_log(portless: Any, serve_wsgi: Any, connect: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        portless.accept(environ, start_response)
        return []

    wsgi = serve_wsgi(application)
    client = connect(wsgi.address)
    eventually(lambda: '"GET / HTTP/1.1" 101' in wsgi.log.getvalue())
    client.echo()
    assert wsgi.idle
    client.close_handshake()


def test_a_large_pipelined_burst_under_pywsgi_is_complete(portless: Any, serve_wsgi: Any, connect: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gevent.sleep(0.01)  # more comes meanwhile
        portless.accept(environ)
        return []

    wsgi = serve_wsgi(application)
    burst = [f"{index} " * 700 for index in range(50)]
    client = connect(wsgi.address, after=b"".join(encode(TEXT, message) for message in burst))
    assert [client.recv_message() for _ in burst] == burst
    client.close_handshake()


def test_a_refused_handshake_is_the_applications_to_answer(portless: Any, serve_wsgi: Any, connect: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            portless.accept(environ)
        except lws_gevent.HandshakeError as error:
            start_response(f"{error.status} Refused", [*error.headers.items(), ("X-From", "application")])
            return [error.body]
        return []

    wsgi = serve_wsgi(application)
    client = connect(wsgi.address, upgrade=False)
    response = client.request(upgrade_head(headers=[("Sec-WebSocket-Version", "8")], without=["sec-websocket-version"]))
    assert (response.status, response.headers["x-from"]) == (426, "application")
    assert response.headers["sec-websocket-version"] == "13"
    response = client.request(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n")  # on the same connection
    assert response.status == 426
    client.disconnect()
    eventually(lambda: wsgi.idle)


def test_whatever_the_application_writes_after_accept_goes_nowhere(
    portless: Any, serve_wsgi: Any, connect: Any
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        portless.accept(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"not a frame"
        environ["wsgi.input"].read(10)

    wsgi = serve_wsgi(application)
    client = connect(wsgi.address)
    eventually(lambda: wsgi.idle)
    client.echo()
    client.close_handshake()


def test_an_environ_without_a_socket_says_so(portless: Any) -> None:
    with pytest.raises(RuntimeError, match="leads to no socket"):
        portless.accept({**ENVIRON, "wsgi.input": io.BytesIO()})


def test_taking_over_leaves_no_descriptor_behind(portless: Any, serve_wsgi: Any, connect: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        portless.accept(environ)
        return []

    wsgi = serve_wsgi(application)
    for _ in range(20):
        connect(wsgi.address).close_handshake()
    eventually(lambda: wsgi.idle)
    before = len(open_descriptors())
    for _ in range(20):
        connect(wsgi.address).close_handshake()
    eventually(lambda: len(open_descriptors()) == before)


# TLS


@pytest.fixture
def tls_pair(make_server: Any) -> Iterator[Pair]:
    """As `pair`, with TLS in between whose handshake is done."""
    clients: list[Client] = []

    def make(module: Any) -> tuple[Any, Client]:
        ours, theirs = socket.socketpair()
        if module is not socket:
            ours = stdlib_socket.socket(ours.family, ours.type, ours.proto, fileno=ours.detach())
        client_side = gevent.spawn(certificates().client_context().wrap_socket, theirs, server_hostname="localhost")
        tls_module = gevent.ssl if module is socket else stdlib_ssl
        context = certificates().server_context(tls_module)
        if module is socket:
            sock = context.wrap_socket(ours, server_side=True)
        else:
            sock = gevent.get_hub().threadpool.apply(lambda: context.wrap_socket(ours, server_side=True))
        clients.append(Client(client_side.get()))
        return sock, clients[-1]

    yield make
    for client in clients:
        client.disconnect()


def test_what_the_owner_has_opened_and_not_read_is_not_lost(portless: Any, tls_pair: Pair) -> None:
    ours, client = tls_pair(socket)
    client.send_raw(b"X" + encode(TEXT, "in the same record"))
    assert ours.recv(1) == b"X"
    portless.handle_upgrade(ours, HEADERS)
    assert client.recv_response().status == 101
    assert client.recv_message() == "in the same record"


@pytest.mark.parametrize("module", [socket, stdlib_socket], ids=["gevent", "stdlib"])
def test_a_tls_socket_echoes_large_messages_and_ends_properly(portless: Any, tls_pair: Pair, module: Any) -> None:
    ours, client = tls_pair(module)
    adopted = portless.handle_upgrade(ours, upgrade_head("/tls"), encode(TEXT, "early"))
    ours.close()
    assert client.recv_response().status == 101
    assert client.recv_message() == "early"
    for size in (0, 1, 125, 126, 16384, 70000, 1_000_000):
        client.echo("x" * size)
    assert adopted.path == "/tls"
    client.send_close(4000, "bye")
    assert client.recv_close()[0] == 4000
    client.expect_eof()
    eventually(lambda: adopted.closed)


def test_many_messages_through_tls_to_a_slow_reader_keep_their_order(portless: Any, tls_pair: Pair) -> None:
    ours, client = tls_pair(socket)
    adopted = portless.handle_upgrade(ours, HEADERS)
    assert client.recv_response().status == 101
    sender = gevent.spawn(lambda: [adopted.send(f"{index} " * 5000) for index in range(200)])
    assert [client.recv_message()[:4].split()[0] for _ in range(200)] == [str(index) for index in range(200)]
    sender.get()


def test_the_server_closes_a_tls_connection(portless: Any, tls_pair: Pair) -> None:
    ours, client = tls_pair(socket)
    adopted = portless.handle_upgrade(ours, HEADERS)
    client.recv_response()
    adopted.close(4001)
    client.expect_close(4001)


def test_a_client_that_vanishes_under_tls(portless: Any, tls_pair: Pair) -> None:
    ours, client = tls_pair(socket)
    closed: list[Any] = []
    portless.on("close", lambda socket, code: closed.append(code))
    portless.handle_upgrade(ours, HEADERS)
    client.recv_response()
    client.disconnect()
    eventually(lambda: closed == [1006])


def test_accept_under_pywsgi_with_tls(portless: Any, serve_wsgi: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        portless.accept(environ)
        return []

    wsgi = serve_wsgi(application, ssl_context=certificates().server_context())
    burst = [f"{index} " * 3000 for index in range(20)]
    after = b"".join(encode(TEXT, message) for message in burst)
    with Client.connect(wsgi.address, tls=certificates().client_context(), after=after) as client:
        assert [client.recv_message() for _ in burst] == burst
        eventually(lambda: wsgi.idle)
        client.echo("much later")
        assert "Traceback" not in wsgi.log.getvalue()
        client.close_handshake()
