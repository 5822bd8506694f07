"""The opening handshake of clients of lws_gevent.compat.ws, redirects included."""

from __future__ import annotations

import os
from typing import Any

import pytest
from gevent import socket as gsocket
from parity import Done, case, opened, record, until
from raw_http import switching

from lws_gevent.compat.ws import IncomingMessage, WebSocketServer, WSSyntaxError
from lws_gevent.compat.ws.client_request import ClientRequest

FILE = "websocket.test.js"
ESTABLISHING = "WebSocket > Connection establishing > "
SECURE = ESTABLISHING + "When moving away from a secure context > "
ELSEWHERE = ESTABLISHING + "When the redirect host is different > "
UNHEARD = "If there is no 'redirect' event listener > "
HEARD = "If there is at least one 'redirect' event listener > "
CREDENTIALS = "Basic Zm9vOmJhcg=="


def port(server: Any) -> int:
    number: int = server.address()["port"]
    return number


def answering(http: Any, answer: Any) -> Any:
    """A server that answers upgrades with ``answer(request)``, and ends."""
    server = http()
    server.on("upgrade", lambda request, socket: socket.end(answer(request)))
    return server


def failing(client: Any) -> tuple[str, list[Any]]:
    """The message of the error of `client`, and its events until the close."""
    events = record(client, "open", "error", "close")
    until(client, "close")()
    assert [event[0] for event in events] == ["error", "close"]
    assert events[1] == ("close", 1006, b"")
    return str(events[0][1]), events


FAILURES = [
    (
        "fails if the Upgrade header field value cannot be read",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        [],
        {},
        "Invalid Upgrade header",
    ),
    (
        'fails if the Upgrade header field value is not "websocket"',
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
        [],
        {},
        "Invalid Upgrade header",
    ),
    (
        "fails if the Sec-WebSocket-Accept header is invalid",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: CxYS6+NgJSBG74mdgLvGscRvpns=\r\n\r\n",
        [],
        {},
        "Invalid Sec-WebSocket-Accept header",
    ),
    (
        "error is emitted if server aborts connection",
        "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: 12\r\n\r\n",
        [],
        {},
        "Unexpected server response: 401",
    ),
    (
        "fails if an unexpected Sec-WebSocket-Extensions header is received",
        None,
        ["Sec-WebSocket-Extensions: foo"],
        {"perMessageDeflate": False},
        "Server sent a Sec-WebSocket-Extensions header but no extension was requested",
    ),
    (
        "fails if the Sec-WebSocket-Extensions header is invalid (1/2)",
        None,
        ["Sec-WebSocket-Extensions: foo;="],
        {},
        "Invalid Sec-WebSocket-Extensions header",
    ),
    (
        "fails if the Sec-WebSocket-Extensions header is invalid (2/2)",
        None,
        ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=7"],
        {},
        "Invalid Sec-WebSocket-Extensions header",
    ),
    (
        "fails if an unexpected extension is received (1/2)",
        None,
        ["Sec-WebSocket-Extensions: foo"],
        {},
        "Server indicated an extension that was not requested",
    ),
    (
        "fails if an unexpected extension is received (2/2)",
        None,
        ["Sec-WebSocket-Extensions: permessage-deflate,foo"],
        {},
        "Server indicated an extension that was not requested",
    ),
    (
        "fails if server sends a subprotocol when none was requested",
        None,
        ["Sec-WebSocket-Protocol: foo"],
        {},
        "Server sent a subprotocol but none was requested",
    ),
    (
        "fails if server sends an invalid subprotocol (1/2)",
        None,
        ["Sec-WebSocket-Protocol: baz"],
        {"protocols": ["foo", "bar"]},
        "Server sent an invalid subprotocol",
    ),
    (
        "fails if server sends an invalid subprotocol (2/2)",
        None,
        ["Sec-WebSocket-Protocol:"],
        {"protocols": ["foo", "bar"]},
        "Server sent an invalid subprotocol",
    ),
    (
        "fails if server sends no subprotocol",
        None,
        [],
        {"protocols": ["foo", "bar"]},
        "Server sent no subprotocol",
    ),
    (
        "does not follow redirects by default",
        "HTTP/1.1 301 Moved Permanently\r\nLocation: ws://localhost:8080\r\n\r\n",
        [],
        {},
        "Unexpected server response: 301",
    ),
]


@case(FILE, ESTABLISHING + "fails if the Upgrade header field value cannot be read")
@case(FILE, ESTABLISHING + 'fails if the Upgrade header field value is not "websocket"')
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Accept header is invalid")
@case(FILE, ESTABLISHING + "error is emitted if server aborts connection")
@case(FILE, ESTABLISHING + "fails if an unexpected Sec-WebSocket-Extensions header is received")
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Extensions header is invalid (1/2)")
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Extensions header is invalid (2/2)")
@case(FILE, ESTABLISHING + "fails if an unexpected extension is received (1/2)")
@case(FILE, ESTABLISHING + "fails if an unexpected extension is received (2/2)")
@case(FILE, ESTABLISHING + "fails if server sends a subprotocol when none was requested")
@case(FILE, ESTABLISHING + "fails if server sends an invalid subprotocol (1/2)")
@case(FILE, ESTABLISHING + "fails if server sends an invalid subprotocol (2/2)")
@case(FILE, ESTABLISHING + "fails if server sends no subprotocol")
@case(FILE, ESTABLISHING + "does not follow redirects by default")
@pytest.mark.parametrize(
    ("answer", "lines", "options", "message"), [row[1:] for row in FAILURES], ids=[str(row[0]) for row in FAILURES]
)
def test_answers_that_are_no_good(http: Any, dial: Any, answer: Any, lines: Any, options: Any, message: str) -> None:
    server = answering(http, lambda request: switching(request, *lines) if answer is None else answer)
    client = dial(server, **options)
    assert failing(client)[0] == message
    assert client._redirects == 0


def test_lines_that_a_server_adds_or_chooses_wrongly_reach_the_client(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("headers", lambda lines: lines.append("Sec-WebSocket-Protocol: foo"))
    assert failing(dial(wss))[0] == "Server sent a subprotocol but none was requested"
    assert failing(dial(serve(handleProtocols=lambda: "baz"), ["foo"]))[0] == "Server sent an invalid subprotocol"
    assert failing(dial(serve(handleProtocols=lambda: None), ["foo"]))[0] == "Server sent no subprotocol"


@case(FILE, ESTABLISHING + "close event is raised when server closes connection")
def test_a_server_that_ends_the_connection(http: Any, dial: Any) -> None:
    client = dial(answering(http, switching))
    assert until(client, "close")() == (1006, b"")


REFUSAL = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: 3\r\n\r\nfoo"


@case(FILE, ESTABLISHING + "unexpected response can be read when sent by server")
@case(FILE, ESTABLISHING + "request can be aborted when unexpected response is sent by server")
@pytest.mark.parametrize("abort", [False, True])
def test_an_unexpected_response_is_for_its_listener(http: Any, dial: Any, abort: bool) -> None:
    client = dial(answering(http, lambda _request: REFUSAL))
    events = record(client, "open", "error")
    body = bytearray()
    done = Done()

    @done.checks
    def unexpected(request: Any, response: Any) -> None:
        assert isinstance(response, IncomingMessage)
        assert response.statusCode == 401
        response.on("data", body.extend)
        response.on("end", done)
        if abort:
            request.abort()

    client.on("unexpected-response", unexpected)
    done.wait()
    assert events == []
    assert abort or body == b"foo"


@pytest.mark.parametrize(
    ("head", "pieces", "body"),
    [
        ("Transfer-Encoding: chunked", [b"3\r\nabc\r\nA ;x=y\r\n0123", b"456789\r\n0\r\n\r\n"], b"abc0123456789"),
        ("Transfer-Encoding: chunked", [b"3\r\nabc\r\n-1\r\nxyz\r\n"], b"abc"),
        ("Transfer-Encoding: chunked", [b"3\r\nabc\r\n1_0\r\n0123456789abcdef\r\n0\r\n\r\n"], b"abc"),
        ("Transfer-Encoding: chunked", [b"3\r\nabcdef\r\n0\r\n\r\n"], b"abc"),
        ("Transfer-Encoding: chunked", [b"3\r\nabc\r\n", b"1" * 40_000], b"abc"),
        ("Transfer-Encoding: chunked", [b"3\r\nab"], b"ab"),
        ("Content-Length: 5", [b"ab", b"cdefg"], b"abcde"),
        (f"Content-Length: {'9' * 5000}", [b"ab"], b""),
        ("Connection: close", [b"ab", b"cd"], b"abcd"),
    ],
    ids=[
        "chunks",
        "negative",
        "underscore",
        "too long",
        "endless line",
        "cut",
        "length",
        "absurd length",
        "to the end",
    ],
)
def test_the_body_of_an_unexpected_response_is_read(http: Any, dial: Any, head: str, pieces: Any, body: bytes) -> None:
    server = http()

    def upgrade(_request: Any, socket: Any) -> None:
        socket.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n")
        for piece in pieces:
            socket.write(piece)
        socket.end()

    server.on("upgrade", upgrade)
    client = dial(server)
    read = bytearray()
    done = Done()

    def unexpected(_request: Any, response: Any) -> None:
        response.on("data", read.extend)
        response.on("end", done)

    client.on("unexpected-response", unexpected)
    done.wait()
    assert read == body


@case(FILE, ESTABLISHING + "fails if the opening handshake timeout expires")
def test_a_handshake_has_a_deadline(http: Any, dial: Any) -> None:
    server = http()
    server.on("upgrade", lambda _request, socket: socket.on("end", socket.end))
    assert failing(dial(server, handshakeTimeout=50))[0] == "Opening handshake has timed out"


@case(FILE, ESTABLISHING + "honors the `createConnection` option")
def test_the_connection_may_be_made_by_the_program(http: Any, dial: Any) -> None:
    server = http()
    wss = WebSocketServer(noServer=True, path="/foo")
    hosts: list[Any] = []

    def upgrade(request: Any, socket: Any, head: bytes) -> None:
        hosts.append(request.headers["host"])
        wss.handleUpgrade(request, socket, head, lambda: None)

    def create(options: Any) -> Any:
        hosts.append((options["host"], options["port"]))
        return gsocket.create_connection(("localhost", port(server)))

    server.on("upgrade", upgrade)
    client = opened(dial("ws://google.com:22/foo", createConnection=create))
    assert client.url == "ws://google.com:22/foo"
    assert hosts == [("google.com", 22), "google.com:22"]
    closed = until(client, "close")
    client.close()
    closed()


# redirects


def redirecting(http: Any, location: Any, at: Any = 0) -> Any:
    """A server that redirects every upgrade to `location`, or to what it returns."""
    server = http(at=at)

    def upgrade(_request: Any, socket: Any) -> None:
        where = location() if callable(location) else location
        socket.end(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\n\r\n")

    server.on("upgrade", upgrade)
    return server


def redirecting_once(http: Any, location: str) -> tuple[Any, list[Any]]:
    """A server that redirects the first upgrade, and closes the second WebSocket at once; its requests."""
    server = http()
    wss = WebSocketServer(noServer=True)
    requests: list[Any] = []

    def upgrade(request: Any, socket: Any, head: bytes) -> None:
        requests.append(request)
        if len(requests) == 1:
            socket.end(f"HTTP/1.1 302 Found\r\nLocation: {location.format(port=port(server))}\r\n\r\n")
        else:
            wss.handleUpgrade(request, socket, head, lambda websocket: websocket.close())

    server.on("upgrade", upgrade)
    return server, requests


@case(FILE, "WebSocket > Events > emits a 'redirect' event")
@case(FILE, ESTABLISHING + "honors the `followRedirects` option")
def test_redirects_are_followed_when_told_so(http: Any, dial: Any) -> None:
    server, requests = redirecting_once(http, "/foo")
    client = dial(server, followRedirects=True)
    url = f"ws://localhost:{port(server)}/foo"
    done = Done()

    @done.checks
    def redirect(where: str, request: Any) -> None:
        assert client._redirects == 1
        assert where == url
        assert isinstance(request, ClientRequest)

    client.on("redirect", redirect)
    client.on("close", lambda code: done() if code == 1005 else done(AssertionError(code)))
    done.wait()
    assert client.url == url
    assert [request.url for request in requests] == ["/", "/foo"]


@case(FILE, ESTABLISHING + "honors the `maxRedirects` option")
def test_redirects_are_followed_so_often(http: Any, dial: Any) -> None:
    client = dial(redirecting(http, "/"), followRedirects=True, maxRedirects=1)
    assert failing(client)[0] == "Maximum redirects exceeded"
    assert client._redirects == 2


@case(FILE, ESTABLISHING + "emits an error if the redirect URL is invalid (1/2)")
@case(FILE, ESTABLISHING + "emits an error if the redirect URL is invalid (2/2)")
@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("ws://", "Invalid URL: ws://"),
        (
            "bad-scheme://localhost",
            'The URL\'s protocol must be one of "ws:", "wss:", "http:", "https:", or "ws+unix:"',
        ),
    ],
)
def test_redirects_to_nowhere(http: Any, dial: Any, location: str, message: str) -> None:
    client = dial(redirecting(http, location), followRedirects=True)
    problem, events = failing(client)
    assert problem == message
    assert isinstance(events[0][1], WSSyntaxError)
    assert client._redirects == 1


@case(FILE, ESTABLISHING + "uses the first url userinfo when following redirects")
def test_the_credentials_of_the_first_address_count(http: Any, dial: Any) -> None:
    server, requests = redirecting_once(http, "ws://baz:qux@localhost:{port}/foo")
    client = dial(f"ws://foo:bar@localhost:{port(server)}", followRedirects=True)
    assert client._req.getHeader("Authorization") == CREDENTIALS
    assert until(client, "close")()[0] == 1005
    assert client.url == f"ws://baz:qux@localhost:{port(server)}/foo"
    assert client._redirects == 1
    assert [request.headers["authorization"] for request in requests] == [CREDENTIALS, CREDENTIALS]


HEADERS = {"authorization": CREDENTIALS, "cookie": "foo=bar", "host": "foo"}


class Redirected:
    """A client that went from one server to another, and what the other was told."""

    def __init__(self, client: Any, target: WebSocketServer) -> None:
        self.first = {name: client._req.getHeader(name) for name in ("Authorization", "Cookie", "Host")}
        connection = until(target, "connection")
        closed = until(client, "close")
        websocket, request = connection()
        websocket.close()
        assert closed()[0] == 1005
        assert client._redirects == 1
        self.url = client.url
        self.told = {name: request.headers.get(name) for name in HEADERS}


def proxy(http: Any, undo: Any, plain: Any, secure: Any) -> int:
    """The port of a server that speaks TLS and plain HTTP: the first octet tells."""
    import gevent
    from gevent.server import StreamServer

    def forward(source: Any, sink: Any) -> None:
        try:
            while chunk := source.recv(65536):
                sink.sendall(chunk)
            sink.shutdown(gsocket.SHUT_WR)
        except OSError:
            pass

    def accepted(sock: Any, _address: Any) -> None:
        first = sock.recv(1, gsocket.MSG_PEEK)
        target = gsocket.create_connection(("localhost", port(secure if first == b"\x16" else plain)))
        other = gevent.spawn(forward, target, sock)
        forward(sock, target)
        other.join()
        target.close()

    server = StreamServer(("localhost", 0), accepted)
    server.start()
    undo.append(server.stop)
    return server.server_port


@pytest.fixture
def away(http: Any, serve: Any, dial: Any, undo: Any, pems: Any) -> Any:
    """``away(**options)``: a client that is redirected from wss to ws on the same host and port."""

    def make(listening: bool = False, **options: Any) -> Redirected:
        plain, secure = http(), http({"cert": pems.cert, "key": pems.key})
        number = proxy(http, undo, plain, secure)
        where = f"ws://localhost:{number}/"
        secure.on("upgrade", lambda _r, socket: socket.end(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\n\r\n"))
        wss = serve(port=None, server=plain)
        client = dial(f"wss://localhost:{number}", followRedirects=True, rejectUnauthorized=False, **options)
        if listening:
            client.on("redirect", lambda: None)
        result = Redirected(client, wss)
        assert result.url == where
        return result

    return make


@case(FILE, SECURE + UNHEARD + "drops the `auth` option")
def test_credentials_do_not_leave_a_secure_connection(away: Any) -> None:
    result = away(auth="foo:bar")
    assert result.first["Authorization"] == CREDENTIALS
    assert result.told["authorization"] is None


@case(FILE, SECURE + UNHEARD + "drops the Authorization and Cookie headers")
def test_cookies_do_not_leave_a_secure_connection(away: Any) -> None:
    result = away(headers=HEADERS)
    assert result.first == {"Authorization": CREDENTIALS, "Cookie": "foo=bar", "Host": "foo"}
    assert result.told == {"authorization": None, "cookie": None, "host": "foo"}


@case(FILE, SECURE + HEARD + "does not drop any headers by default")
def test_a_listener_for_redirects_is_trusted_to_know(away: Any) -> None:
    assert away(listening=True, headers=HEADERS).told == HEADERS


@case(FILE, ELSEWHERE + UNHEARD + "drops the `auth` option")
def test_credentials_do_not_go_to_another_host(http: Any, serve: Any, dial: Any) -> None:
    wss = serve()
    where = f"ws://localhost:{port(wss)}/"
    result = Redirected(dial(redirecting(http, where), auth="foo:bar", followRedirects=True), wss)
    assert result.first["Authorization"] == CREDENTIALS
    assert result.told["authorization"] is None
    assert result.url == where


@case(FILE, ELSEWHERE + UNHEARD + "drops the Authorization, Cookie and Host headers (1/4)")
@case(FILE, ELSEWHERE + UNHEARD + "drops the Authorization, Cookie and Host headers (2/4)")
@case(FILE, ELSEWHERE + UNHEARD + "drops the Authorization, Cookie and Host headers (3/4)")
@case(FILE, ELSEWHERE + UNHEARD + "drops the Authorization, Cookie and Host headers (4/4)")
@pytest.mark.parametrize("to_unix", [False, True])
@pytest.mark.parametrize("from_unix", [False, True])
def test_headers_do_not_go_to_another_host(
    http: Any, serve: Any, dial: Any, tmp_path: Any, from_unix: bool, to_unix: bool
) -> None:
    target = http(at=os.fspath(tmp_path / "to.sock") if to_unix else 0)
    wss = serve(port=None, server=target)
    where = f"ws+unix:{target.address()}" if to_unix else f"ws://localhost:{port(target)}/"
    first = redirecting(http, where, os.fspath(tmp_path / "from.sock") if from_unix else 0)
    url = f"ws+unix:{first.address()}" if from_unix else f"ws://localhost:{port(first)}"
    result = Redirected(dial(url, followRedirects=True, headers=HEADERS), wss)
    assert result.first == {"Authorization": CREDENTIALS, "Cookie": "foo=bar", "Host": "foo"}
    host = "localhost" if to_unix else f"localhost:{port(target)}"
    assert result.told == {"authorization": None, "cookie": None, "host": host}
    assert result.url == where


@pytest.mark.parametrize("credentials", [{"auth": "foo:bar"}, {"headers": HEADERS}], ids=["auth", "headers"])
def test_a_second_redirect_is_minded_like_the_first(http: Any, serve: Any, dial: Any, credentials: Any) -> None:
    wss = serve()
    there = until(wss, "connection", lambda websocket, _request: websocket.close())
    server, requests = http(), []

    def upgrade(request: Any, socket: Any) -> None:
        requests.append(request)
        where = "/again" if request.url == "/" else f"ws://localhost:{port(wss)}/there"
        socket.end(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\n\r\n")

    server.on("upgrade", upgrade)
    client = dial(server, followRedirects=True, **credentials)
    closed = until(client, "close")
    _, request = there()
    assert closed()[0] == 1005 and client._redirects == 2
    assert [(each.url, each.headers.get("authorization")) for each in requests] == [
        ("/", CREDENTIALS),
        ("/again", CREDENTIALS),
    ]
    assert (request.url, request.headers["host"]) == ("/there", f"localhost:{port(wss)}")
    assert "authorization" not in request.headers and "cookie" not in request.headers


@case(FILE, ELSEWHERE + HEARD + "does not drop any headers by default")
def test_a_listener_may_let_headers_go_to_another_host(http: Any, serve: Any, dial: Any) -> None:
    wss = serve()
    client = dial(redirecting(http, f"ws://localhost:{port(wss)}/"), followRedirects=True, headers=HEADERS)
    first = client._req
    seen: list[Any] = []

    def redirect(url: str, request: Any) -> None:
        assert request is not first
        seen.append({name: request.getHeader(name) for name in HEADERS})

    client.on("redirect", redirect)
    assert Redirected(client, wss).told == HEADERS
    assert seen == [HEADERS]


LISTENER = ESTABLISHING + "In a listener of the 'redirect' event > "


@case(FILE, LISTENER + "allows to abort the request without swallowing errors")
def test_a_listener_may_abort_the_redirect(http: Any, dial: Any) -> None:
    client = dial(redirecting(http, "/foo"), followRedirects=True)
    client.on("redirect", lambda _url, request: request.on("socket", lambda: request.abort()))
    assert failing(client)[0] == "socket hang up"
    assert client._redirects == 1


@case(FILE, LISTENER + "allows to remove headers")
def test_a_listener_may_remove_headers(http: Any, serve: Any, dial: Any) -> None:
    wss = serve()
    headers = {"authorization": CREDENTIALS, "cookie": "foo=bar"}
    client = dial(redirecting(http, f"ws://localhost:{port(wss)}/"), followRedirects=True, headers=headers)

    def redirect(_url: str, request: Any) -> None:
        for name in headers:
            assert request.getHeader(name) == headers[name]
            request.removeHeader(name)

    client.on("redirect", redirect)
    told = Redirected(client, wss).told
    assert (told["authorization"], told["cookie"]) == (None, None)
