"""`lws_gevent.compat.geventwebsocket`: what users of gevent-websocket use, under a real gevent.pywsgi."""

from __future__ import annotations

import io
import socket as stdlib_socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gevent
import pytest
from client import BINARY, TEXT, Client, encode, upgrade_head
from gevent import pywsgi, socket
from helpers import ending, environment, eventually

from lws_gevent import wsgi
from lws_gevent.compat import geventwebsocket
from lws_gevent.compat.geventwebsocket import Resource, WebSocketApplication, WebSocketError, WebSocketServer
from lws_gevent.compat.geventwebsocket.handler import Client as Client_
from lws_gevent.compat.geventwebsocket.handler import Clients, WebSocketHandler, WebSocketMiddleware
from lws_gevent.compat.geventwebsocket.utf8validator import Utf8Validator
from lws_gevent.compat.geventwebsocket.websocket import MSG_ALREADY_CLOSED

#: It stands on public names only, which are the same on every stack.
pytestmark = pytest.mark.only("parked", "greenlet")


class Wsgi:
    """One of pywsgi's servers: with the handler, the middleware, or gevent-websocket's own."""

    def __init__(self, kind: str, engine: str, application: Any, **options: Any) -> None:
        self.log = io.StringIO()
        arguments: dict[str, Any] = {"log": self.log, "error_log": self.log, "spawn": 20}
        websocket_options = {"engine": engine, "close_timeout": 2, **options}
        make: Any = pywsgi.WSGIServer
        self.middleware: Any = None
        if kind == "middleware":
            application = self.middleware = WebSocketMiddleware(application, **websocket_options)
        else:
            handler = type("Handler", (WebSocketHandler,), {"websocket_options": websocket_options})
            arguments["handler_class"] = handler
            make = WebSocketServer if kind == "server" else make
        self.server = make(("127.0.0.1", 0), application, **arguments)
        self.server.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_port

    def stop(self) -> None:
        self.server.stop(1)
        if self.middleware is not None:
            self.middleware.server.stop(1)
        elif "_lws_gevent_bridge" in self.server.__dict__:
            self.server._lws_gevent_bridge.server.stop(1)


@pytest.fixture(params=["server", "handler", "middleware"])
def serve(request: Any, stack: Any, nothing_leaks: None) -> Iterator[Callable[..., Wsgi]]:
    with ending(partial(Wsgi, request.param, stack.engine), Wsgi.stop) as serve:
        yield serve


@pytest.fixture
def connect(serve: Any) -> Iterator[Callable[..., Client]]:
    def make(wsgi: Wsgi, *arguments: Any, **named: Any) -> Client:
        return Client.connect(wsgi.address, *arguments, **named)

    with ending(make, Client.disconnect) as connect:
        yield connect


def plain(run: Callable[[Any], Any]) -> Any:
    """A WSGI application of one function of the WebSocket."""

    def application(environ: Any, start_response: Any) -> Any:
        run(environ["wsgi.websocket"])
        return []

    return application


def test_messages_have_gevent_websockets_types_and_the_end_is_none_then_an_error(serve: Any, connect: Any) -> None:
    seen: list[Any] = []

    def run(ws: Any) -> None:
        while True:
            message = ws.receive()
            seen.append((message, ws.closed))
            if message is not None:
                ws.send(message)

    wsgi = serve(plain(loop_to_the_end(run, seen)))
    client = connect(wsgi, "/path", after=encode(TEXT, "early"))
    assert client.recv_message() == "early"
    for message in ("", b"", b"\x00\xff", "x" * 70_000):
        client.echo(message)
    assert client.close_handshake(4001, "bye") == (4001, "bye")
    eventually(lambda: isinstance(seen[-1], str))
    assert seen[:4] == [("early", False), ("", False), (b"", False), (b"\x00\xff", False)]
    assert type(seen[3][0]) is bytearray
    assert seen[-2:] == [(None, True), MSG_ALREADY_CLOSED]


def loop_to_the_end(run: Callable[[Any], None], seen: list[Any]) -> Callable[[Any], None]:
    """Notes the error with which a loop ends, and lets it out."""

    def looping(ws: Any) -> None:
        try:
            run(ws)
        except WebSocketError as error:
            seen.append(str(error))
            raise

    return looping


def test_a_loop_that_ends_by_the_error_leaves_no_traceback(serve: Any, connect: Any) -> None:
    def run(ws: Any) -> None:
        while True:
            ws.receive()

    wsgi = serve(plain(run))
    connect(wsgi).close_handshake()
    eventually(lambda: wsgi.server.pool.free_count() == 20)
    assert "Traceback" not in wsgi.log.getvalue()


def test_the_close_code_and_reason_arrive(serve: Any, connect: Any) -> None:
    assert connect(serve(plain(lambda ws: ws.close(4001, "bye")))).expect_close(4001) == "bye"


def test_an_application_that_raises_closes_with_1011(serve: Any, connect: Any, monkeypatch: Any) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *error: errors.append(error[1]))
    connect(serve(plain(lambda ws: 1 // 0))).expect_close(1011)
    eventually(lambda: errors)
    assert errors == [ZeroDivisionError]


def test_an_unmasked_frame_and_one_that_is_too_large_are_refused(serve: Any, connect: Any) -> None:
    wsgi = serve(plain(lambda ws: ws.receive()), max_payload=100)
    client = connect(wsgi)
    client.send_frame(TEXT, "x", mask=False)
    client.expect_close(1002)
    client = connect(wsgi)
    client.send_frame(BINARY, b"x" * 101)
    client.expect_close(1009)


def test_the_handshake_is_answered_before_the_application_uses_the_socket(serve: Any, connect: Any) -> None:
    def run(ws: Any) -> None:
        while not ws.closed:
            gevent.sleep(0.01)

    wsgi = serve(plain(run))
    connect(wsgi).close_handshake()
    eventually(lambda: wsgi.server.pool.free_count() == 20)


def test_closed_waits_for_messages_that_are_not_received_yet(serve: Any, connect: Any) -> None:
    got: list[Any] = []

    def run(ws: Any) -> None:
        eventually(lambda: ws.connection.closed)
        while not ws.closed:
            got.append(ws.receive())

    client = connect(serve(plain(run)))
    client.send("one")
    client.send("two")
    client.close_handshake()
    eventually(lambda: len(got) >= 2)
    assert got == ["one", "two"]


def test_everybody_hears_through_the_clients_of_the_server(serve: Any, connect: Any) -> None:
    def run(ws: Any) -> None:
        assert ws.handler.active_client.ws is ws
        assert ws.handler.active_client.address == ws.handler.client_address
        while (message := ws.receive()) is not None:
            for client in ws.handler.server.clients.values():
                client.ws.send(message)

    wsgi = serve(plain(run))
    clients = [connect(wsgi) for _ in range(3)]
    for client in clients:
        client.send("hello")
        assert [other.recv_message() for other in clients] == ["hello"] * 3
    for client in clients:
        client.close_handshake()
    eventually(lambda: wsgi.server.pool.free_count() == 20)


def test_the_socket_is_there_when_it_is_touched(serve: Any, connect: Any) -> None:
    def run(ws: Any) -> None:
        sock = ws.stream.handler.socket
        assert sock is ws.handler.socket and sock._sock.fileno() == ws.connection.fd >= 0
        sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        assert sock.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)
        ws.send(f"{sock.getpeername()[1]} {ws.path} {ws.version} {ws.origin} {ws.protocol}")
        assert ws.receive() == "go on"
        ws.stream.handler.socket.settimeout(0.01)
        assert ws.receive() is None and ws.closed and ws.stream is None and ws.environ is None

    client = connect(serve(plain(run)), "/here?query")
    port = client.sock.getsockname()[1]
    assert client.recv_message() == f"{port} /here 13 None None"
    client.send("go on")
    client.expect_close(1000)


def test_many_greenlets_send_large_messages_at_once(serve: Any, connect: Any) -> None:
    def run(ws: Any) -> None:
        gevent.joinall([gevent.spawn(ws.send, letter * 500_000) for letter in "abc"], raise_error=True)

    client = connect(serve(plain(run)))
    assert sorted(client.recv_message()[:1] for _ in range(3)) == ["a", "b", "c"]
    client.expect_close(1000)


def test_send_frame_sends_pings(serve: Any, connect: Any) -> None:
    def run(ws: Any) -> None:
        ws.send_frame("beat", ws.OPCODE_PING)
        ws.receive()

    client = connect(serve(plain(run)))
    assert client.recv_frame().payload == b"beat"
    client.close_handshake()


def test_a_resource_calls_applications_by_path_and_protocol(serve: Any, connect: Any) -> None:
    events: list[Any] = []

    class Protocol(geventwebsocket.resource.BaseProtocol):
        PROTOCOL_NAME = "chat"

    class Application(WebSocketApplication):
        protocol_class = Protocol

        def on_open(self) -> None:
            events.append("open")

        def on_message(self, message: Any) -> None:
            events.append(message)
            super().on_message(message)

        def on_close(self, reason: Any) -> None:
            events.append(("close", reason))

    def page(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"page"]

    wsgi = serve(Resource([("^/chat", Application), ("^/$", page)]))
    client = connect(wsgi, "/chat", headers=[("Sec-WebSocket-Protocol", "chats, chat")])
    assert client.response.headers["sec-websocket-protocol"] == "chat"
    client.echo("hello")
    client.close_handshake()
    eventually(lambda: len(events) == 4)
    assert events == ["open", "hello", None, ("close", None)]
    assert (
        "sec-websocket-protocol"
        not in (client := connect(wsgi, "/chat", headers=[("Sec-WebSocket-Protocol", "chats")])).response.headers
    )
    client.close_handshake()
    for path, status in (("/", 200), ("/nowhere", 404)):
        with Client.open(wsgi.address) as asking:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            assert asking.request(request.encode()).status == status


def test_an_application_whose_framework_answers_with_500_closes_with_1011(serve: Any, connect: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        environ["wsgi.websocket"].receive()
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"What went wrong is in the log."]

    client = connect(serve(application))
    client.send("fail")
    client.expect_close(1011)


def test_a_resource_needs_no_handler_of_this_interface(stack: Any, nothing_leaks: None) -> None:
    class Everybody(WebSocketApplication):
        def on_message(self, message: Any) -> None:
            for client in self.ws.handler.server.clients.values():
                if message is not None or client.ws is not self.ws:
                    client.ws.send(message or "somebody left")

    middleware = wsgi.WebSocketMiddleware(Resource([("^/all", Everybody)]), engine=stack.engine)
    server = pywsgi.WSGIServer(("127.0.0.1", 0), middleware, log=None)
    server.start()
    try:
        address = ("127.0.0.1", server.server_port)
        with Client.connect(address, "/all") as one, Client.connect(address, "/all") as two:
            one.echo("hello")
            assert two.recv_message() == "hello"
            one.disconnect()
            assert two.recv_message() == "somebody left"
            two.close_handshake()
        with Client.open(address) as client:
            assert client.request(upgrade_head("/nowhere")).status == 404
    finally:
        server.stop(1)
        middleware.server.stop(1)


def test_a_websocket_at_a_path_of_no_application_is_refused_with_404(serve: Any, connect: Any) -> None:
    wsgi = serve(Resource([("^/chat", WebSocketApplication)]))
    with Client.open(wsgi.address) as client:
        assert client.request(upgrade_head("/nowhere")).status == 404


def test_clients_may_come_and_go_while_a_loop_goes_over_them() -> None:
    clients = Clients()
    clients["a"], clients["b"] = Client_("a", None), Client_("b", None)
    for loop in (clients, clients.values(), clients.items()):
        seen = []
        for one in loop:
            seen.append(one)
            clients[len(clients)] = Client_("c", None)
            clients.pop("a", None)
        assert len(seen) >= 2
        clients["a"] = Client_("a", None)
    assert "b" in clients and "x" not in clients and clients["b"].address == "b"


def test_the_pre_start_hook_may_keep_a_request_from_becoming_a_websocket(stack: Any, nothing_leaks: None) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        assert "wsgi.websocket" not in environ
        start_response("403 Forbidden", [("Content-Length", "0"), ("Connection", "close")])
        return []

    server = WebSocketServer(("127.0.0.1", 0), application, log=None, pre_start_hook=lambda handler: handler.environ)
    server.start()
    try:
        with Client.open(("127.0.0.1", server.server_port)) as client:
            assert client.request(upgrade_head("/")).status == 403
    finally:
        server.stop(1)


def test_peers_without_an_address_are_told_apart(stack: Any, nothing_leaks: None, tmp_path: Any) -> None:
    def run(ws: Any) -> None:
        assert ws.handler.active_client.ws is ws
        ws.send(str(len(ws.handler.server.clients)))
        ws.receive()

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    handler = type("Handler", (WebSocketHandler,), {"websocket_options": {"engine": stack.engine}})
    server = pywsgi.WSGIServer(listener, plain(run), log=None, handler_class=handler)
    server.start()
    try:
        with Client.connect(str(tmp_path / "socket")) as one, Client.connect(str(tmp_path / "socket")) as two:
            assert one.recv_message() == "1" and two.recv_message() == "2"
            one.close_handshake()
            two.close_handshake()
    finally:
        server.stop(1)
        server._lws_gevent_bridge.server.stop(1)


def test_the_utf8_validator_takes_pieces() -> None:
    validator = Utf8Validator()
    assert validator.validate(b"a\xe2\x82") == (True, False, 3, 3)
    assert validator.validate(b"\xac") == (True, True, 1, 4)
    assert validator.validate(b"ab\xff") == (False, False, 2, 6)
    validator.reset()
    assert validator.validate(b"ok") == (True, True, 2, 2)


def test_install_makes_import_geventwebsocket_find_it() -> None:
    code = """
from lws_gevent.compat import geventwebsocket as ours
ours.install()
ours.install()
import geventwebsocket, geventwebsocket.handler
from geventwebsocket import WebSocketServer, WebSocketError, get_version
from geventwebsocket.exceptions import WebSocketError as again
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from geventwebsocket.logging import create_logger
from geventwebsocket.protocols.base import BaseProtocol
from geventwebsocket.websocket import MSG_SOCKET_DEAD, WebSocket
assert geventwebsocket is ours and WebSocketError is again and get_version() == "0.10.1", get_version()
from lws_gevent.compat.geventwebsocket import handler
assert geventwebsocket.handler is handler and handler.__spec__.name == handler.__name__
assert issubclass(GeventWebSocketWorker, __import__("lws_gevent.gunicorn").gunicorn.Worker)
try:
    import geventwebsocket.protocols.wamp
except ModuleNotFoundError:
    print("fine")
"""
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert ran.stdout == "fine\n", ran.stderr
