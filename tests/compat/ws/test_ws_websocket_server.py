"""WebSocketServer of lws_gevent.compat.ws."""

from __future__ import annotations

import os
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from parity import Done, case, close_http, opened, record, until
from raw_http import HANDSHAKE, KEY, UPGRADE, ask, connect

from lws_gevent.compat.ws import (
    IncomingMessage,
    Sender,
    WebSocket,
    WebSocketServer,
    WSError,
    WSTypeError,
    createServer,
)

FILE = "websocket-server.test.js"
CTOR = "WebSocketServer > #ctor > "
OPTIONS = CTOR + "options > "
ESTABLISHING = "WebSocketServer > Connection establishing > "
VERIFY = ESTABLISHING + "`verifyClient` > "

ONE_MODE = 'One and only one of the "port", "server", or "noServer" options must be specified'


def port(server: Any) -> int:
    number: int = server.address()["port"]
    return number


def no_connection(wss: WebSocketServer) -> list[Any]:
    return record(wss, "connection")


# construction


@case(FILE, CTOR + "throws an error if no option object is passed")
@case(FILE, OPTIONS + "throws an error if required options are not specified")
@pytest.mark.parametrize("arguments", [(), ({},)])
def test_a_server_needs_a_mode(arguments: Any) -> None:
    with pytest.raises(WSTypeError) as raised:
        WebSocketServer(*arguments)
    assert str(raised.value) == ONE_MODE


@case(FILE, OPTIONS + "throws an error if mutually exclusive options are specified")
def test_a_server_has_one_mode() -> None:
    server = createServer()
    for options in (
        {"port": 0, "noServer": True, "server": server},
        {"port": 0, "noServer": True},
        {"port": 0, "server": server},
        {"noServer": True, "server": server},
    ):
        with pytest.raises(WSTypeError) as raised:
            WebSocketServer(options)
        assert str(raised.value) == ONE_MODE


@case(FILE, OPTIONS + "exposes options passed to constructor")
def test_the_options_are_there_to_read(serve: Any) -> None:
    assert serve().options["port"] == 0


@case(FILE, OPTIONS + "accepts the receiver limit options")
def test_the_limits_of_a_server_are_those_of_its_connections(serve: Any, dial: Any) -> None:
    wss = serve(perMessageDeflate=True, maxBufferedChunks=1024, maxFragments=4, maxPayload=20480)
    connection = until(wss, "connection")
    client = dial(wss, perMessageDeflate=False)
    websocket, _ = connection()
    errors = until(websocket, "error")
    opened(client)
    for _ in range(5):
        client.send("x", fin=False)
    assert (errors().code, errors().message) == ("WS_ERR_TOO_MANY_BUFFERED_PARTS", "Too many message fragments")
    for compressing in (False, True):
        connection = until(wss, "connection")
        client = dial(wss, perMessageDeflate=compressing)
        websocket, _ = connection()
        errors = until(websocket, "error")
        opened(client)
        client.send(b"\0" * 20481)
        assert errors().code == "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH"


@case(FILE, OPTIONS + "honors the `WebSocket` option")
def test_connections_are_of_the_class_that_was_given(serve: Any, dial: Any) -> None:
    class CustomWebSocket(WebSocket):
        @property
        def foo(self) -> str:
            return "foo"

    wss = serve(WebSocket=CustomWebSocket)
    connection = until(wss, "connection")
    dial(wss)
    websocket, _ = connection()
    assert isinstance(websocket, CustomWebSocket)
    assert websocket.foo == "foo"


@case(FILE, OPTIONS + "honors the `autoPong` option")
def test_pings_are_not_answered_when_told_so(serve: Any, dial: Any) -> None:
    wss = serve(autoPong=False)
    connection = until(wss, "connection")
    client = dial(wss)
    pongs = record(client, "pong")
    closed = until(client, "close")
    client.on("open", lambda: client.ping())
    websocket, _ = connection()
    until(websocket, "ping", lambda _data: websocket.close())()
    closed()
    assert pongs == []


@case(FILE, OPTIONS + "honors the `closeTimeout` option")
def test_a_peer_that_does_not_answer_the_close_is_cut_after_close_timeout(serve: Any) -> None:
    wss = serve(closeTimeout=50)
    connection = until(wss, "connection")
    peer = ask(port(wss), HANDSHAKE).sock
    websocket, _ = connection()
    closed = until(websocket, "close")
    websocket.close()
    assert closed() == (1006, b"")
    peer.close()


@case(FILE, CTOR + "emits an error if http server bind fails")
def test_a_port_in_use_is_an_error_event(serve: Any) -> None:
    wss = serve()
    second = WebSocketServer(port=port(wss))
    assert until(second, "error")().code is not None


@case(FILE, CTOR + "starts a server on a given port")
def test_a_server_on_a_given_port(serve: Any, dial: Any) -> None:
    with gsocket.socket() as probe:
        probe.bind(("", 0))
        number = probe.getsockname()[1]
    wss = serve(port=number)
    connection = until(wss, "connection")
    client = dial(f"ws://localhost:{number}")
    client.on("open", client.close)
    connection()


@case(FILE, CTOR + "binds the server on any IPv6 address when available")
def test_without_a_host_it_listens_on_ipv6_and_ipv4(serve: Any, dial: Any) -> None:
    wss = serve()
    assert wss._server.address()["address"] == "::"
    connection = until(wss, "connection")
    dial(f"ws://127.0.0.1:{port(wss)}")
    connection()


@case(FILE, CTOR + "uses a precreated http server")
def test_a_server_on_another_one(http: Any, serve: Any, dial: Any) -> None:
    server = http()
    wss = serve(port=None, server=server)
    connection = until(wss, "connection")
    client = dial(server)
    client.on("open", client.close)
    connection()
    close_http(server)


@case(FILE, CTOR + "426s for non-Upgrade requests")
def test_plain_requests_are_told_to_upgrade(serve: Any) -> None:
    response = ask(port(serve()), {})
    assert (response.status, response.body) == (426, b"Upgrade Required")


@case(FILE, CTOR + "uses a precreated http server listening on IPC")
def test_a_server_on_a_unix_socket(http: Any, serve: Any, dial: Any, tmp_path: Any) -> None:
    path = os.fspath(tmp_path / "ws.sock")
    server = http(at=path)
    wss = serve(port=None, server=server)
    assert wss.address() == path
    connection = until(wss, "connection")
    dial(f"ws+unix:{path}:/foo?bar=bar")
    assert connection()[1].url == "/foo?bar=bar"
    connection = until(wss, "connection")
    dial(f"ws+unix:{path}")
    assert connection()[1].url == "/"
    assert wss.clients.size == 2
    for client in wss.clients:
        client.close()
    close_http(server)


# address


@case(FILE, "WebSocketServer > #address > returns the address of the server")
def test_the_address_is_that_of_the_http_server(serve: Any) -> None:
    wss = serve()
    assert wss.address() == wss._server.address()


@case(FILE, 'WebSocketServer > #address > throws an error when operating in "noServer" mode')
def test_without_a_server_there_is_no_address() -> None:
    with pytest.raises(WSError, match='^The server is operating in "noServer" mode$'):
        WebSocketServer(noServer=True).address()


@case(FILE, "WebSocketServer > #address > returns `null` if called after close")
def test_after_the_close_there_is_no_address(serve: Any) -> None:
    wss = serve()
    close_http(wss)
    assert wss.address() is None


# close


@case(FILE, "WebSocketServer > #close > does not throw if called multiple times")
def test_close_may_be_called_again(serve: Any) -> None:
    wss = serve()
    closed = until(wss, "close")
    for _ in range(3):
        wss.close()
    closed()


@case(FILE, "WebSocketServer > #close > doesn't close a precreated server")
def test_close_leaves_the_other_server_alone(http: Any, serve: Any, dial: Any) -> None:
    server = http()
    wss = serve(port=None, server=server)
    connection = until(wss, "connection")
    client = dial(server)
    client.on("open", client.close)
    connection()
    wss.close()
    assert server.listening
    close_http(server)


@case(FILE, "WebSocketServer > #close > invokes the callback in noServer mode")
def test_close_without_a_server_calls_back() -> None:
    close_http(WebSocketServer(noServer=True))


@case(FILE, "WebSocketServer > #close > cleans event handlers on precreated server")
def test_close_takes_its_listeners_back(http: Any, serve: Any) -> None:
    server = http()
    wss = serve(port=None, server=server)
    assert server.listenerCount("upgrade") == 1
    close_http(wss)
    assert [server.listenerCount(event) for event in ("listening", "upgrade", "error")] == [0, 0, 0]


@case(FILE, "WebSocketServer > #close > emits the 'close' event after the server closes")
def test_close_comes_after_that_of_the_http_server(serve: Any) -> None:
    wss = serve()
    events = record(wss._server, "close")
    connected = until(wss._server, "connection")
    peer = connect(port(wss))
    connected()
    closed = until(wss, "close", lambda: events.append("wss"))
    wss.close()
    wss.close()
    for _ in range(5):
        gevent.sleep(0)
    assert events == []
    peer.close()
    closed()
    assert events == [("close",), "wss"]


@case(FILE, "WebSocketServer > #close > emits the 'close' event if client tracking is disabled")
def test_close_without_client_tracking() -> None:
    wss = WebSocketServer(noServer=True, clientTracking=False)
    closed = until(wss, "close")
    wss.close()
    closed()


@case(FILE, "WebSocketServer > #close > calls the callback if the server is already closed")
def test_close_after_the_close_calls_back_with_an_error(serve: Any) -> None:
    wss = serve()
    close_http(wss)
    assert wss._state == 2
    done = Done()
    wss.close(done)
    with pytest.raises(WSError, match="^The server is not running$"):
        done.wait()


@case(FILE, "WebSocketServer > #close > emits the 'close' event if the server is already closed")
def test_close_after_the_close_emits_again(serve: Any) -> None:
    wss = serve()
    close_http(wss)
    assert wss._state == 2
    closed = until(wss, "close")
    wss.close()
    closed()


# clients


@case(FILE, "WebSocketServer > #clients > returns a list of connected clients")
def test_clients_are_counted_before_connection(serve: Any, dial: Any) -> None:
    wss = serve()
    assert wss.clients.size == 0
    sizes: list[int] = []
    connection = until(wss, "connection", lambda _ws, _request: sizes.append(wss.clients.size))
    client = dial(wss)
    client.on("open", client.close)
    websocket, _ = connection()
    assert sizes == [1]
    assert websocket in wss.clients


@case(FILE, "WebSocketServer > #clients > can be disabled")
def test_clients_need_not_be_tracked(serve: Any, dial: Any) -> None:
    wss = serve(clientTracking=False)
    assert wss.clients is None
    connection = until(wss, "connection")
    client = dial(wss)
    client.on("open", lambda: client.close())
    websocket, _ = connection()
    assert wss.clients is None
    until(websocket, "close")()


@case(FILE, "WebSocketServer > #clients > is updated when client terminates the connection")
@case(FILE, "WebSocketServer > #clients > is updated when client closes the connection")
@pytest.mark.parametrize("verb", ["terminate", "close"])
def test_in_its_close_listener_a_connection_is_no_client_any_more(serve: Any, dial: Any, verb: str) -> None:
    wss = serve()
    connection = until(wss, "connection")
    client = dial(wss)
    client.on("open", lambda: getattr(client, verb)())
    websocket, _ = connection()
    sizes: list[int] = []
    until(websocket, "close", lambda _code, _reason: sizes.append(wss.clients.size))()
    assert sizes == [0]


# shouldHandle


class Url:
    def __init__(self, url: str) -> None:
        self.url = url


@case(FILE, "WebSocketServer > #shouldHandle > returns true when the path matches")
@case(FILE, "WebSocketServer > #shouldHandle > returns false when the path doesn't match")
def test_a_server_handles_its_path() -> None:
    wss = WebSocketServer(noServer=True, path="/foo")
    assert wss.shouldHandle(Url("/foo"))
    assert wss.shouldHandle(Url("/foo?bar=baz"))
    assert not wss.shouldHandle(Url("/bar"))
    assert not wss.shouldHandle(Url("/foobar"))


# handleUpgrade


def greeting(server: Any, wss: WebSocketServer, stream: Any = lambda socket: socket) -> None:
    """Every upgrade on `server` gets a WebSocket that says hello and closes."""

    def opened(websocket: WebSocket) -> None:
        websocket.send("hello")
        websocket.close()

    server.on("upgrade", lambda request, socket, head: wss.handleUpgrade(request, stream(socket), head, opened))


@case(FILE, "WebSocketServer > #handleUpgrade > can be used for a pre-existing server")
def test_upgrades_of_another_server_can_be_handled(http: Any, dial: Any) -> None:
    server = http()
    greeting(server, WebSocketServer(noServer=True))
    assert until(dial(server), "message")() == (b"hello", False)
    close_http(server)


@case(FILE, "WebSocketServer > #handleUpgrade > closes the connection when path doesn't match")
def test_another_path_is_refused(serve: Any) -> None:
    response = ask(port(serve(path="/ws")), HANDSHAKE)
    assert (response.status, response.body) == (400, b"Bad Request")


@case(FILE, "WebSocketServer > #handleUpgrade > closes the connection when protocol version is Hixie-76")
def test_hixie_76_is_refused(serve: Any) -> None:
    response = ask(
        port(serve()),
        {
            "Connection": "Upgrade",
            "Upgrade": "WebSocket",
            "Sec-WebSocket-Key1": "4 @1  46546xW%0l 1 5",
            "Sec-WebSocket-Key2": "12998 5 Y3 1  .P00",
            "Sec-WebSocket-Protocol": "sample",
        },
    )
    assert (response.status, response.body) == (400, b"Missing or invalid Sec-WebSocket-Key header")


@case(FILE, "WebSocketServer > #handleUpgrade > completes a WebSocket upgrade over any duplex stream")
def test_a_websocket_over_any_stream(http: Any, dial: Any) -> None:
    from lws_gevent.compat.ws.emitter import EventEmitter

    class Duplex(EventEmitter):
        """A stream between the socket and the WebSocket, with no more than a stream must have."""

        readable = writable = True
        destroyed = False
        writableLength = 0  # noqa: N815
        websocket = None

        def __init__(self, socket: Any) -> None:
            super().__init__()
            self.socket = socket
            for event in ("data", "end", "error", "close"):
                socket.on(event, lambda *args, event=event: self.emit(event, *args))

        def write(self, octets: bytes, callback: Any = None) -> Any:
            return self.socket.write(octets, callback)

        def __getattr__(self, name: str) -> Any:
            if name in ("end", "destroy", "pause", "resume", "unshift"):
                return getattr(self.socket, name)
            raise AttributeError(name)

    server = http()
    greeting(server, WebSocketServer(noServer=True), Duplex)
    client = dial(server)
    closed = until(client, "close")
    assert until(client, "message")() == (b"hello", False)
    assert closed() == (1005, b"")
    close_http(server)


@case(FILE, "WebSocketServer > #completeUpgrade > throws an error if called twice with the same socket")
def test_a_socket_is_upgraded_once(http: Any, dial: Any) -> None:
    server = http()
    wss = WebSocketServer(noServer=True)
    done = Done()

    @done.last
    def upgrade(request: Any, socket: Any, head: bytes) -> None:
        wss.handleUpgrade(request, socket, head, lambda websocket: websocket.close())
        with pytest.raises(WSError) as raised:
            wss.handleUpgrade(request, socket, head, lambda: None)
        assert str(raised.value) == (
            "server.handleUpgrade() was called more than once with the same socket, possibly due to a misconfiguration"
        )

    server.on("upgrade", upgrade)
    client = dial(server)
    closed = until(client, "close")
    done.wait()
    assert closed() == (1005, b"")
    close_http(server)


# refusals

REFUSALS = [
    ("fails if the HTTP method is not GET", "POST", {**UPGRADE}, 405, "Invalid HTTP method"),
    (
        "fails if the Upgrade header field value cannot be read",
        "GET",
        {"Connection": "Upgrade", "Upgrade": ""},
        400,
        "Invalid Upgrade header",
    ),
    (
        'fails if the Upgrade header field value is not "websocket"',
        "GET",
        {**UPGRADE, "Upgrade": "foo"},
        400,
        "Invalid Upgrade header",
    ),
    (
        "fails if the Sec-WebSocket-Key header is invalid (1/2)",
        "GET",
        {**UPGRADE},
        400,
        "Missing or invalid Sec-WebSocket-Key header",
    ),
    (
        "fails if the Sec-WebSocket-Key header is invalid (2/2)",
        "GET",
        {**UPGRADE, "Sec-WebSocket-Key": "P5l8BJcZwRc="},
        400,
        "Missing or invalid Sec-WebSocket-Key header",
    ),
    (
        "fails if the Sec-WebSocket-Version header is invalid (1/2)",
        "GET",
        {**UPGRADE, "Sec-WebSocket-Key": KEY},
        400,
        "Missing or invalid Sec-WebSocket-Version header",
    ),
    (
        "fails if the Sec-WebSocket-Version header is invalid (2/2)",
        "GET",
        {**HANDSHAKE, "Sec-WebSocket-Version": "12"},
        400,
        "Missing or invalid Sec-WebSocket-Version header",
    ),
    (
        "fails is the Sec-WebSocket-Protocol header is invalid",
        "GET",
        {**HANDSHAKE, "Sec-WebSocket-Protocol": "foo;bar"},
        400,
        "Invalid Sec-WebSocket-Protocol header",
    ),
    (
        "fails if the Sec-WebSocket-Extensions header is invalid",
        "GET",
        {**HANDSHAKE, "Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=foo"},
        400,
        "Invalid or unacceptable Sec-WebSocket-Extensions header",
    ),
]


@pytest.mark.parametrize(
    ("method", "headers", "status", "body"), [row[1:] for row in REFUSALS], ids=[str(row[0]) for row in REFUSALS]
)
@case(FILE, ESTABLISHING + "fails if the HTTP method is not GET")
@case(FILE, ESTABLISHING + "fails if the Upgrade header field value cannot be read")
@case(FILE, ESTABLISHING + 'fails if the Upgrade header field value is not "websocket"')
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Key header is invalid (1/2)")
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Key header is invalid (2/2)")
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Version header is invalid (1/2)")
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Version header is invalid (2/2)")
@case(FILE, ESTABLISHING + "fails is the Sec-WebSocket-Protocol header is invalid")
@case(FILE, ESTABLISHING + "fails if the Sec-WebSocket-Extensions header is invalid")
def test_bad_handshakes(serve: Any, method: str, headers: Any, status: int, body: str) -> None:
    wss = serve(perMessageDeflate=True)
    connections = no_connection(wss)
    response = ask(port(wss), headers, method)
    assert (response.status, response.body.decode()) == (status, body)
    assert response.headers.get("sec-websocket-version") == ("13, 8" if "Version" in body else None)
    assert response.headers["connection"] == "close"
    assert response.headers["content-type"] == "text/html"
    assert connections == []


@case(FILE, ESTABLISHING + "emits the 'wsClientError' event")
def test_a_listener_may_answer_a_bad_handshake(serve: Any) -> None:
    wss = serve()
    connections = no_connection(wss)
    done = Done()

    @done.last
    def client_error(error: Any, socket: Any, request: Any) -> None:
        assert isinstance(error, WSError)
        assert str(error) == "Invalid HTTP method"
        assert isinstance(request, IncomingMessage)
        assert request.method == "POST"
        socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")
        socket.on("finish", socket.destroy)

    wss.on("wsClientError", client_error)
    assert ask(port(wss), UPGRADE, "POST").status == 400
    done.wait()
    assert connections == []


@case(FILE, ESTABLISHING + "fails if the WebSocket server is closing or closed")
def test_a_server_that_closes_refuses(http: Any, dial: Any) -> None:
    server = http()
    wss = WebSocketServer(noServer=True)
    called: list[Any] = []

    def upgrade(request: Any, socket: Any, head: bytes) -> None:
        wss.close()
        wss.handleUpgrade(request, socket, head, called.append)

    server.on("upgrade", upgrade)
    _, response = until(dial(server), "unexpected-response")()
    assert response.statusCode == 503
    assert called == []
    response.resume()


@case(FILE, ESTABLISHING + "handles unsupported extensions")
def test_unknown_extensions_are_ignored(serve: Any) -> None:
    wss = serve(perMessageDeflate=True)
    connection = until(wss, "connection")
    response = ask(port(wss), {**HANDSHAKE, "Sec-WebSocket-Extensions": "foo; bar"})
    websocket, _ = connection()
    assert websocket.extensions == ""
    websocket.close()
    assert (response.body or response.sock.recv(100))[0] == 0x88
    response.sock.close()


# verifyClient


@case(FILE, VERIFY + "can reject client synchronously")
@case(FILE, VERIFY + "can reject client asynchronously")
@case(FILE, VERIFY + "can reject client asynchronously w/ status code")
@case(FILE, VERIFY + "can reject client asynchronously w/ custom headers")
@pytest.mark.parametrize(
    ("verify", "status", "retry"),
    [
        (lambda: False, 401, None),
        (lambda info, cb: gevent.spawn(cb, False), 401, None),
        (lambda info, cb: gevent.spawn(cb, False, 404), 404, None),
        (lambda info, cb: gevent.spawn(cb, False, 503, "", {"Retry-After": 120}), 503, "120"),
    ],
    ids=["synchronously", "asynchronously", "with a status", "with headers"],
)
def test_verify_client_can_refuse(serve: Any, verify: Any, status: int, retry: Any) -> None:
    wss = serve(verifyClient=verify)
    connections = no_connection(wss)
    response = ask(port(wss), {**HANDSHAKE, "Sec-WebSocket-Version": "8"})
    assert (response.status, response.headers.get("retry-after")) == (status, retry)
    assert connections == []


@case(FILE, VERIFY + "can accept client synchronously")
def test_verify_client_can_accept(http: Any, serve: Any, dial: Any, pems: Any) -> None:
    server = http({"cert": pems.cert, "key": pems.key})
    infos: list[Any] = []
    wss = serve(port=None, server=server, verifyClient=lambda info: infos.append(info) or True)
    connection = until(wss, "connection")
    headers = {"Origin": "https://example.com", "foo": "bar"}
    client = dial(server, scheme="wss", headers=headers, rejectUnauthorized=False)
    client.on("open", client.close)
    connection()
    [info] = infos
    assert (info.origin, info.secure, info.req.headers["foo"]) == ("https://example.com", True, "bar")


@case(FILE, VERIFY + "can accept client asynchronously")
def test_verify_client_can_accept_later(serve: Any, dial: Any) -> None:
    wss = serve(verifyClient=lambda info, cb: gevent.spawn(cb, True))
    connection = until(wss, "connection")
    client = dial(wss)
    client.on("open", client.close)
    connection()


@case(FILE, ESTABLISHING + "doesn't emit the 'connection' event if socket is closed prematurely")
def test_a_client_that_has_left_is_no_connection(http: Any, serve: Any) -> None:
    server = http()
    done = Done()

    def verify(info: Any, cb: Any) -> None:
        socket = info.req.socket
        done.checks(lambda: _expect(socket.readable and socket.writable))()

        @done.last
        def end() -> None:
            assert not socket.readable
            assert socket.writable
            cb(True)

        socket.on("end", end)

    wss = serve(port=None, server=server, verifyClient=verify)
    connections = no_connection(wss)
    peer = connect(port(server))
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **HANDSHAKE}.items())
    peer.sendall(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
    peer.shutdown(gsocket.SHUT_WR)
    assert peer.recv(100) == b""
    done.wait()
    assert connections == []
    peer.close()


def _expect(condition: bool) -> None:
    assert condition


@case(FILE, ESTABLISHING + "handles data passed along with the upgrade request")
def test_data_behind_the_request_is_received(serve: Any) -> None:
    wss = serve()
    messages: Any = []
    done = Done()

    def connection(websocket: Any) -> None:
        websocket.on("message", lambda data, is_binary: (messages.append((data, is_binary)), done()))

    wss.on("connection", connection)
    frame = Sender.frame(b"Hello", {"fin": True, "rsv1": False, "opcode": 1, "mask": True, "readOnly": False})
    response = ask(port(wss), HANDSHAKE, body=b"".join(frame))
    done.wait()
    assert messages == [(b"Hello", False)]
    response.sock.close()


@case(FILE, ESTABLISHING + "`handleProtocols` > allows to select a subprotocol")
def test_handle_protocols_chooses(serve: Any, dial: Any) -> None:
    asked: list[Any] = []

    def choose(protocols: Any, request: Any) -> str:
        asked.append(request)
        return list(protocols).pop()

    client = dial(serve(handleProtocols=choose), ["foo", "bar"])
    until(client, "open")()
    assert client.protocol == "bar"
    assert isinstance(asked[0], IncomingMessage)
    assert asked[0].url == "/"


@case(FILE, ESTABLISHING + "emits the 'headers' event")
def test_the_lines_of_the_answer_can_be_changed(serve: Any, dial: Any) -> None:
    wss = serve()

    def headers(lines: list[str], request: Any) -> None:
        assert lines[:3] == ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        assert isinstance(request, IncomingMessage)
        assert request.url == "/?foo=bar"
        lines.append("X-More: yes")

    told = until(wss, "headers", headers)
    client = dial(wss, path="?foo=bar")
    upgraded = until(client, "upgrade")
    told()
    assert upgraded().headers["x-more"] == "yes"
    opened(client)


@case(FILE, "WebSocketServer > permessage-deflate > is disabled by default")
def test_a_server_does_not_compress_unless_told_so(serve: Any, dial: Any) -> None:
    wss = serve()
    connection = until(wss, "connection")
    client = dial(wss)
    client.on("open", client.close)
    websocket, request = connection()
    assert request.headers["sec-websocket-extensions"] == "permessage-deflate; client_max_window_bits"
    assert websocket.extensions == ""


@case(FILE, "WebSocketServer > permessage-deflate > uses configuration options")
def test_the_options_of_compression_are_answered(serve: Any, dial: Any) -> None:
    client = dial(serve(perMessageDeflate={"clientMaxWindowBits": 8}))
    response = until(client, "upgrade")()
    assert response.headers["sec-websocket-extensions"] == "permessage-deflate; client_max_window_bits=8"
