"""`lws_gevent.compat.websocket_client`: what users of websocket-client use, and the examples that it documents."""

from __future__ import annotations

import contextlib
import logging
import os
import socket as stdlib_socket
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import TEXT, encode
from gevent import socket
from helpers import eventually
from raw_server import accept, drain, read_head, url_of

from lws_gevent.compat import websocket_client as websocket

#: It stands on public names only, which are the same on every stack.
pytestmark = pytest.mark.only("parked", "greenlet")


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What exists for the life of the process from its first use on."""
    with contextlib.suppress(ImportError):
        import rel

        rel.initialize()
    socket.getaddrinfo("localhost", 1)


# --- create_connection and WebSocket ----------------------------------------------------------------------------------


def test_create_connection_send_and_recv(make_server: Any) -> None:
    server = make_server(echo=True)
    ws = websocket.create_connection(url_of(server), timeout=5)
    assert ws.connected and ws.getstatus() == 101 and ws.getheaders()["upgrade"] == "websocket"
    assert ws.send("Hello, Server") == 19 and ws.recv() == "Hello, Server"
    assert ws.send_text("text \u20ac") == 14 and ws.recv_data() == (websocket.ABNF.OPCODE_TEXT, "text \u20ac".encode())
    assert ws.send_binary(b"\x00\xff") == 8 and ws.recv() == b"\x00\xff"
    assert ws.send_bytes(bytearray(200)) == 208 and ws.recv() == bytes(200)
    assert ws.send(b"x" * 70000, websocket.ABNF.OPCODE_BINARY) == 70014 and len(next(ws)) == 70000
    opcode, frame = (ws.send("frame"), ws.recv_data_frame())[1]
    assert (opcode, frame.opcode, frame.fin, frame.data) == (1, 1, 1, b"frame")
    assert ws.fileno() == ws.sock.fd
    ws.close()
    assert not ws.connected and ws.sock is None
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        ws.send("late")
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        ws.recv()
    ws.close()


def test_fragments_pings_and_pongs(make_server: Any) -> None:
    server = make_server(echo=True)
    server.on("connection", lambda sock: sock.ping(b"you"))
    ws = websocket.create_connection(url_of(server), timeout=5)
    ws.ping("me")
    seen = {ws.recv_data(control_frame=True), ws.recv_data(control_frame=True)}
    assert seen == {(websocket.ABNF.OPCODE_PING, b"you"), (websocket.ABNF.OPCODE_PONG, b"me")}
    ws.pong("unasked")
    ws.send_frame(websocket.ABNF.create_frame("My name is ", websocket.ABNF.OPCODE_TEXT, 0))
    ws.send_frame(websocket.ABNF.create_frame("Foo ", websocket.ABNF.OPCODE_CONT, 0))
    ws.send_frame(websocket.ABNF.create_frame("Bar", websocket.ABNF.OPCODE_CONT, 1))
    assert ws.recv() == "My name is Foo Bar"
    ws.close()


def test_timeouts(raw_server: Any) -> None:
    def handle(sock: Any) -> None:
        accept(sock)
        drain(sock)

    url = url_of(raw_server(handle))
    ws = websocket.WebSocket()
    ws.settimeout(0.05)
    ws.connect(url)
    assert ws.gettimeout() == ws.timeout == 0.05
    with pytest.raises(websocket.WebSocketTimeoutException):
        ws.recv()
    assert ws.connected
    ws.close(timeout=0.05)
    websocket.setdefaulttimeout(0.05)
    try:
        ws = websocket.create_connection(url)
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()
        ws.shutdown()
        with pytest.raises(websocket.WebSocketTimeoutException):
            websocket.create_connection(url_of(raw_server(drain)))
    finally:
        websocket.setdefaulttimeout(None)


def test_the_servers_close(make_server: Any) -> None:
    server = make_server()
    server.on("connection", lambda sock: sock.close(4001, "enough"))
    ws = websocket.create_connection(url_of(server), timeout=5)
    opcode, data = ws.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE and data == b"\x0f\xa1enough"
    assert not ws.connected
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        ws.recv()
    ws.shutdown()
    ws = websocket.create_connection(url_of(server), timeout=5)
    assert ws.recv() == ""
    ws.shutdown()


def test_a_lost_connection_and_a_broken_protocol(raw_server: Any) -> None:
    ws = websocket.create_connection(url_of(raw_server(lambda sock: accept(sock) and None)), timeout=5)
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        ws.recv()
    ws.close()

    def handle(sock: Any) -> None:
        accept(sock)
        sock.sendall(encode(TEXT, "masked"))
        drain(sock)

    ws = websocket.create_connection(url_of(raw_server(handle)), timeout=5)
    with pytest.raises(websocket.WebSocketProtocolException):
        ws.recv()
    ws.close()


def test_abort_wakes_up_who_receives(make_server: Any, spawn: Any) -> None:
    server = make_server()
    ws = websocket.create_connection(url_of(server))
    ended: list[Any] = []

    def receive() -> None:
        try:
            ws.recv()
        except websocket.WebSocketConnectionClosedException as error:
            ended.append(error)

    spawn(receive)
    gevent.sleep(0.01)
    ws.abort()
    eventually(lambda: ended)
    ws.shutdown()


def test_the_close_carries_code_and_reason(make_server: Any) -> None:
    server = make_server()
    closes: list[Any] = []
    server.on("close", lambda sock, code, reason: closes.append((code, reason)))
    ws = websocket.create_connection(url_of(server))
    ws.close(status=4000, reason=b"why")
    assert ws.close_frame is not None and ws.close_frame.data == b"\x0f\xa0why"  # the reason is echoed
    ws = websocket.create_connection(url_of(server))
    ws.send_close(4002, "other")
    ws.shutdown()
    eventually(lambda: closes == [(4000, "why"), (4002, "other")])


def test_what_the_server_sees(make_server: Any) -> None:
    server = make_server(subprotocols=["chat"])
    seen: list[Any] = []
    server.on("upgrade", lambda sock, headers: seen.append(headers))
    ws = websocket.create_connection(
        url_of(server), header=["X-One: 1", "Sec-WebSocket-Protocol: chat"], cookie="a=b", host="example.org"
    )
    assert ws.subprotocol == ws.getsubprotocol() == "chat"
    ws.close()
    websocket.create_connection(
        url_of(server), header={"X-One": "2", "X-None": None}, subprotocols=["chat"], suppress_origin=True
    ).close()
    websocket.create_connection(url_of(server), origin="https://mine").close()
    first, second, third = seen
    assert (first["x-one"], first["cookie"], first["host"]) == ("1", "a=b", "example.org")
    assert first["origin"] == f"http://127.0.0.1:{server.port}" and first["sec-websocket-protocol"] == "chat"
    assert second["x-one"] == "2" and "origin" not in second and "x-none" not in second
    assert third["origin"] == "https://mine"


def test_socket_options_and_given_sockets(make_server: Any) -> None:
    server = make_server(echo=True)
    options = ((stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1), (stdlib_socket.IPPROTO_TCP, 5, 7))
    ws = websocket.create_connection(url_of(server), sockopt=options)
    with socket.socket(fileno=os.dup(ws.fileno())) as copy:
        assert copy.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE) == 1
        assert copy.getsockopt(stdlib_socket.IPPROTO_TCP, 5) == 7
    ws.close()
    ws = websocket.create_connection(url_of(server), socket=socket.create_connection(("127.0.0.1", server.port)))
    ws.send("x")
    assert ws.recv() == "x"
    ws.close()


def test_errors_of_connecting(make_server: Any, raw_server: Any, hub_errors: Any) -> None:
    server = make_server()
    server.on("upgrade", lambda sock, headers: (403, {"X-Why": "because"}, "no"))
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(url_of(server))
    error = caught.value
    assert error.status_code == 403 and error.status_message == "Forbidden" and error.resp_body == b"no"
    assert error.resp_headers is not None and error.resp_headers["x-why"] == "because" and "403" in str(error)
    with pytest.raises(ConnectionRefusedError):
        websocket.create_connection("ws://127.0.0.1:1/")
    with pytest.raises(ValueError):
        websocket.create_connection("127.0.0.1:1")
    with pytest.raises(websocket.WebSocketAddressException):
        websocket.create_connection("ws://no-such-host.invalid/", timeout=20)
    hub_errors.clear()  # what gevent's thread pool says of it

    def wrong(sock: Any) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        drain(sock)

    with pytest.raises(websocket.WebSocketException):
        websocket.create_connection(url_of(raw_server(wrong)))

    def proxy(sock: Any) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n")
        drain(sock)

    proxy_port = raw_server(proxy).port
    with pytest.raises(websocket.WebSocketProxyException):
        websocket.create_connection(
            "ws://example.org/", http_proxy_host="127.0.0.1", http_proxy_port=proxy_port, http_proxy_auth=("u", "p:w")
        )


def test_tls(make_server: Any) -> None:
    server = make_server(echo=True, ssl=certificates().options)
    url = f"wss://localhost:{server.port}/"
    from gevent import ssl

    with pytest.raises(ssl.SSLError):
        websocket.create_connection(url)
    for sslopt in (
        {"ca_certs": str(certificates().ca)},
        {"cert_reqs": ssl.CERT_NONE},
        {"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
        {"ca_certs": str(certificates().ca), "check_hostname": False},
        {"context": certificates().client_context()},
    ):
        ws = websocket.create_connection(url, sslopt=sslopt)
        ws.send("secret")
        assert ws.recv() == "secret"
        ws.close()


def test_a_flood_waits_in_the_server(make_server: Any) -> None:
    server = make_server(max_backpressure=None)
    server.on("connection", lambda sock: [sock.send(f"{number} " + "x" * 1000) for number in range(5000)] and None)
    ws = websocket.create_connection(url_of(server), timeout=5)
    gevent.sleep(0.2)
    assert ws._frames.qsize() < 1000
    assert [int(ws.recv().split()[0]) for _ in range(5000)] == list(range(5000))
    ws.close()


def test_tracing(make_server: Any) -> None:
    server = make_server(echo=True)
    records: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    websocket.enableTrace(True, Handler())
    try:
        assert websocket.isEnabledForTrace() and websocket.isEnabledForDebug() and websocket.isEnabledForError()
        ws = websocket.create_connection(url_of(server))
        ws.send("traced")
        ws.recv()
        ws.close()
    finally:
        websocket.enableTrace(False)
    text = "\n".join(records)
    assert "response header" in text and "Sent decoded" in text and "Rcv decoded" in text and "traced" in text
    assert not websocket.isEnabledForTrace()


def test_the_names_of_the_original_are_there() -> None:
    original = pytest.importorskip("websocket")
    names = {name for name in dir(original) if not name.startswith("_")}
    modules = {name for name in names if isinstance(getattr(original, name), type(logging))}
    left_out = {"continuous_frame", "frame_buffer", "recv", "recv_line", "send", "sock_opt", "DEFAULT_SOCKET_OPTION"}
    missing = names - modules - left_out - {"Any", "Optional", "Union", "Callable"} - set(dir(websocket))
    assert not missing, missing
    for kind in ("WebSocket", "WebSocketApp", "ABNF"):
        theirs = {name for name in vars(getattr(original, kind)) if not name.startswith("_")}
        ours = set(dir(getattr(websocket, kind)))
        assert theirs - ours <= {"is_ssl", "create_dispatcher", "format", "mask", "validate"}, (kind, theirs - ours)


# --- WebSocketApp -----------------------------------------------------------------------------------------------------


def test_an_app_hears_of_everything(make_server: Any) -> None:
    server = make_server()
    events: list[Any] = []

    @server.on("connection")
    def connection(sock: Any) -> None:
        sock.ping(b"p")
        sock.send("text")
        sock.send(b"octets")

    @server.on("message")
    def message(sock: Any, message: Any) -> None:
        sock.close(4000, message)

    def on_message(app: Any, message: Any) -> None:
        events.append(("message", message))
        if message == b"octets":
            app.send("goodbye")

    app = websocket.WebSocketApp(
        url_of(server),
        on_open=lambda app: events.append("open"),
        on_message=on_message,
        on_data=lambda app, data, opcode, last: events.append(("data", data, opcode, last)),
        on_ping=lambda app, data: events.append(("ping", data)),
        on_error=lambda app, error: events.append(("error", type(error).__name__, getattr(error, "status_code", None))),
        on_close=lambda app, code, reason: events.append(("close", code, reason)),
    )
    assert app.run_forever() is False
    assert events == [
        "open",
        ("ping", b"p"),
        ("data", "text", 1, True),
        ("message", "text"),
        ("data", b"octets", 2, True),
        ("message", b"octets"),
        ("error", "WebSocketConnectionClosedException", 4000),
        ("close", 4000, "goodbye"),
    ]


def test_an_app_that_cannot_connect(make_server: Any) -> None:
    errors: list[Any] = []
    closes: list[Any] = []
    app = websocket.WebSocketApp(
        "ws://127.0.0.1:1/",
        on_error=lambda app, error: errors.append(error),
        on_close=lambda *arguments: closes.append(1),
    )
    assert app.run_forever() is True
    assert isinstance(errors[0], ConnectionRefusedError) and closes == [1]


def test_an_app_that_is_closed_by_another_greenlet(make_server: Any, spawn: Any) -> None:
    server = make_server()
    closes: list[Any] = []
    app = websocket.WebSocketApp(url_of(server), on_close=lambda app, code, reason: closes.append((code, reason)))
    running = spawn(app.run_forever)
    eventually(app.ready)
    app.close(status=1001)
    running.join(5)
    assert running.value is False and closes == [(1001, None)]


def test_an_app_reconnects(make_server: Any, spawn: Any) -> None:
    server = make_server()
    events: list[Any] = []

    @server.on("connection")
    def connection(sock: Any) -> None:
        if server.stats()["opened"] < 3:
            sock.close(1012)
        else:
            sock.send("stays")

    app = websocket.WebSocketApp(
        url_of(server),
        on_open=lambda app: events.append("open"),
        on_reconnect=lambda app: events.append("again"),
        on_error=lambda app, error: events.append("error"),
        on_message=lambda app, message: app.close(),
        header=lambda: {"X": "fresh"},
    )
    app.run_forever(reconnect=0.01)
    assert events == ["open", "again", "again"] and app.sock is None


def test_an_app_pings_and_misses_the_pong(make_server: Any, raw_server: Any) -> None:
    server = make_server()
    pongs: list[bytes] = []

    def on_pong(app: Any, data: bytes) -> None:
        pongs.append(data)
        if len(pongs) == 2:
            app.close()

    websocket.WebSocketApp(url_of(server), on_pong=on_pong).run_forever(
        ping_interval=0.05, ping_timeout=0.04, ping_payload="tick"
    )
    assert pongs == [b"tick", b"tick"]

    def silent(sock: Any) -> None:
        accept(sock)
        drain(sock)

    errors: list[Any] = []
    app = websocket.WebSocketApp(url_of(raw_server(silent)), on_error=lambda app, error: errors.append(error))
    # Not to wait for a close frame that does not come either.
    app.on_error = lambda app, error: (errors.append(error), app.close(timeout=0.05))
    assert app.run_forever(ping_interval=0.1, ping_timeout=0.05) is True
    assert isinstance(errors[0], websocket.WebSocketTimeoutException)


def test_errors_of_callbacks_go_to_on_error(make_server: Any) -> None:
    server = make_server()
    server.on("connection", lambda sock: (sock.send("x"), sock.close(1000)) and None)
    errors: list[Any] = []

    def on_message(app: Any, message: Any) -> None:
        raise ZeroDivisionError

    app = websocket.WebSocketApp(
        url_of(server), on_message=on_message, on_error=lambda app, error: errors.append(type(error))
    )
    app.run_forever()
    assert errors[0] is ZeroDivisionError


@pytest.mark.parametrize(
    "options", [{"ping_timeout": 0}, {"ping_interval": -1}, {"ping_interval": 1, "ping_timeout": 2}]
)
def test_wrong_options_of_run_forever(options: dict[str, Any]) -> None:
    with pytest.raises(websocket.WebSocketException):
        websocket.WebSocketApp("ws://127.0.0.1:1/").run_forever(**options)


# --- the documented examples ------------------------------------------------------------------------------------------

# From websocket-client's README and its page of examples; the import and the servers' addresses are changed, and what
# would run for ever ends.
EXAMPLES = {
    "short-lived connection": """
from websocket import create_connection

ws = create_connection("ws://echo.websocket.events/")
print(ws.recv())
print("Sending 'Hello, World'...")
ws.send("Hello, World")
print("Sent")
print("Receiving...")
result = ws.recv()
print("Received '%s'" % result)
ws.close()
""",
    "long-lived connection": """
import websocket
import rel

def on_message(ws, message):
    print(message)
    if message != "welcome":
        ws.close()
        rel.abort()
    else:
        ws.send("Received 'Hello, World'")

def on_error(ws, error):
    print(error)

def on_close(ws, close_status_code, close_msg):
    print("### closed ###")

def on_open(ws):
    print("Opened connection")

if __name__ == "__main__":
    websocket.enableTrace(True)
    ws = websocket.WebSocketApp("ws://echo.websocket.events/",
                              on_open=on_open,
                              on_message=on_message,
                              on_error=on_error,
                              on_close=on_close)

    ws.run_forever(dispatcher=rel, reconnect=5)  # Set dispatcher to automatic reconnection, 5 second reconnect delay
    rel.dispatch()
    websocket.enableTrace(False)
""",
    "the class WebSocket": """
import websocket

ws = websocket.WebSocket()
ws.connect("ws://echo.websocket.events/",
    header={"User-Agent": "MyProgram"}, cookie="chocolate", origin="testing_websockets.com",
    host="echo.websocket.events/websocket-client-test".partition("/")[0])
ws.recv()
ws.send("Received 'Hello, World'")
print(ws.recv())
ws.close()
""",
    "socket options and timeouts": """
import websocket, socket

websocket.setdefaulttimeout(5)
ws = websocket.create_connection("ws://echo.websocket.events/",
    sockopt=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),))
ws.settimeout(10)
ws.recv()
try:
    websocket.setdefaulttimeout(None)
    ws.settimeout(0.05)
    ws.recv()
except websocket.WebSocketTimeoutException:
    print("Received 'Hello, World'")
ws.close()
""",
    "ping/pong usage": """
import websocket

def on_message(wsapp, message):
    print(message)

def on_ping(wsapp, message):
    print("Got a ping! A pong reply has already been automatically sent.")

def on_pong(wsapp, message):
    print("Got a pong! No need to respond")
    print("Received 'Hello, World'")
    wsapp.close()

wsapp = websocket.WebSocketApp("ws://echo.websocket.events/",
  on_message=on_message, on_ping=on_ping, on_pong=on_pong)
wsapp.run_forever(ping_interval=0.05, ping_timeout=0.04, ping_payload="This is an optional ping payload")
""",
    "an error of connecting": """
import websocket

def on_error(wsapp, err):
    print("Got a an error: ", err)
    print("Received 'Hello, World'")

wsapp = websocket.WebSocketApp("ws://127.0.0.1:1/", on_error=on_error)
wsapp.run_forever()
""",
    "receiving with control frames": """
import websocket

ws = websocket.create_connection("ws://echo.websocket.events/")
ws.recv()
ws.ping("This is a ping")
resp_opcode, msg = ws.recv_data(control_frame=True)
assert resp_opcode == websocket.ABNF.OPCODE_PONG
ws.send("Received 'Hello, World'")
opcode, frame = ws.recv_data_frame(True)
print(frame.data.decode())
ws.close(status=websocket.STATUS_PROTOCOL_ERROR)
""",
    "a thread that sends": """
import websocket
import gevent as thread

def on_message(ws, message):
    print(message)

def on_open(ws):
    def run(*args):
        ws.send("Received 'Hello, World'")
        thread.sleep(0.05)
        ws.close()
    thread.spawn(run)

ws = websocket.WebSocketApp("ws://echo.websocket.events/", on_open=on_open, on_message=on_message)
ws.run_forever(skip_utf8_validation=True)
""",
    "a subclass": """
import websocket

class MyWebSocket(websocket.WebSocket):
    def recv_frame(self):
        frame = super().recv_frame()
        print('yay! I got this frame: ', frame)
        return frame

ws = websocket.create_connection("ws://echo.websocket.events/", sockopt=(), class_=MyWebSocket)
ws.recv()
ws.send("Received 'Hello, World'")
print(ws.recv())
ws.close()
""",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_example(make_server: Any, capsys: pytest.CaptureFixture[str], name: str) -> None:
    if "rel" in name or "import rel" in EXAMPLES[name]:
        pytest.importorskip("rel")
    server = make_server(echo=True)
    server.on("connection", lambda sock: sock.send("welcome"))
    source = EXAMPLES[name].replace("ws://echo.websocket.events/", url_of(server))
    source = source.replace("import websocket, socket", "import websocket\nimport socket")
    source = source.replace("import websocket\n", "from lws_gevent.compat import websocket_client as websocket\n")
    source = source.replace("from websocket import", "from lws_gevent.compat.websocket_client import")
    exec(compile(source, name, "exec"), {"__name__": "__main__"})
    assert "Received 'Hello, World'" in capsys.readouterr().out
