"""The option `wsgi`: requests that are no upgrade go to a WSGI application, on the same port and connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from client import TEXT, Client, encode, upgrade_head
from helpers import eventually, turns

import lws_gevent
from lws_gevent.tls_blocking import BlockingTransport

Environ = dict[str, Any]


def application(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    """Tells what it was asked."""
    body = environ["wsgi.input"].read()
    text = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ['QUERY_STRING']} {body.decode()}"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]


def get(path: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode() + body


def post(path: str, body: bytes, *lines: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *lines, method="POST", body=body)


@pytest.fixture
def serve(make_server: Any, connect: Any) -> Iterator[Callable[..., tuple[Any, Client]]]:
    """A server with `wsgi` and a client that has sent nothing."""

    def start(wsgi: Any = application, **options: Any) -> tuple[Any, Client]:
        server = make_server(wsgi=wsgi, echo=True, **options)
        return server, connect(server, upgrade=False)

    yield start


# Requests


def test_requests_are_answered_one_after_the_other_on_one_connection(serve: Any) -> None:
    _, client = serve()
    for index in range(5):
        response = client.request(get(f"/page%20{index}?q={index}"))
        assert (response.status, response.body) == (200, f"GET /page {index} q={index} ".encode())
        assert "connection" not in response.headers
    assert client.request(post("/form", b"a=1")).body == b"POST /form  a=1"


def test_pipelined_requests_with_bodies_are_answered_in_order(serve: Any) -> None:
    _, client = serve()
    chunked = get(
        "/chunked", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX: y\r\n\r\n"
    )
    client.send_raw(
        get("/1") + post("/2", b"x" * 20000) + get("/3") + chunked + get("/5", "Connection: close") + get("/6")
    )
    bodies = [client.recv_response().body for _ in range(4)]
    assert bodies == [b"GET /1  ", b"POST /2  " + b"x" * 20000, b"GET /3  ", b"POST /chunked  abcde"]
    last = client.recv_response()
    assert (last.body, last.headers["connection"]) == (b"GET /5  ", "close")
    client.expect_eof()


def test_requests_in_single_octets(serve: Any) -> None:
    _, client = serve()
    client.dribble(post("/slow", b"body") + get("/next"))
    assert client.recv_response().body == b"POST /slow  body"
    assert client.recv_response().body == b"GET /next  "


def test_a_body_that_nobody_reads_is_passed_over(serve: Any) -> None:
    def careless(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    _, client = serve(careless)
    smuggled = get("/smuggled")
    client.send_raw(
        post("/1", smuggled) + get("/2", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n") + get("/3")
    )
    assert [client.recv_response().body for _ in range(3)] == [b"/1", b"/2", b"/3"]


def test_a_body_that_nobody_reads_and_that_is_large_ends_the_connection(serve: Any) -> None:
    def careless(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    _, client = serve(careless, max_body_size=1000)
    client.send_raw(get("/", "Content-Length: 100000", method="POST", body=b"x" * 100000) + get("/smuggled"))
    assert client.recv_response().body == b"ok"
    assert client.drain_to_eof() == b""


def test_a_body_larger_than_max_body_size_is_the_applications_business(serve: Any) -> None:
    _, client = serve(max_body_size=10)
    assert client.request(post("/", b"x" * 100)).body == b"POST /  " + b"x" * 100


def test_head_has_no_body_and_the_connection_stays_in_step(serve: Any) -> None:
    def generator(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a body"
        yield b"in two pieces"

    _, client = serve(generator)
    client.send_raw(get("/", method="HEAD") + get("/"))
    head = client.recv_response()
    assert head.status == 200
    client.recv_response()
    assert client.recv_exactly(34) == b"6\r\na body\r\nd\r\nin two pieces\r\n0\r\n\r\n"


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
def test_100_continue_is_sent_when_the_body_is_asked_for(serve: Any, expect: str) -> None:
    _, client = serve()
    client.send_raw(get("/", "Content-Length: 4", f"Expect: {expect}", method="POST"))
    assert client.recv_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send_raw(b"body" + get("/next"))
    assert client.recv_response().body == b"POST /  body"
    assert client.recv_response().body == b"GET /next  "


def test_without_100_continue_the_connection_ends_behind_the_answer(serve: Any) -> None:
    def careless(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("403 Forbidden", [("Content-Length", "0")])
        return []

    _, client = serve(careless)
    client.send_raw(get("/", "Content-Length: 40", "Expect: 100-continue", method="POST"))
    assert client.recv_response().status == 403
    client.send_raw(get("/smuggled"))
    assert client.drain_to_eof() == b""


def test_http_1_0(serve: Any) -> None:
    _, client = serve()
    response = client.request(b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert response.body == b"GET /old  "
    assert response.headers["connection"].lower() == "keep-alive"
    response = client.request(b"GET /older HTTP/1.0\r\n\r\n")
    assert response.headers["connection"] == "close"
    client.expect_eof()


def test_an_answer_of_unknown_length_to_http_1_0_ends_with_the_connection(serve: Any) -> None:
    def generator(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"until"
        yield b" the end"

    _, client = serve(generator)
    client.send_raw(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get())
    assert client.recv_response().headers["connection"] == "close"
    assert client.drain_to_eof() == b"until the end"


# Malformed requests never reach the application


@pytest.mark.parametrize(
    "request_octets",
    [
        get("/", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST", body=b"0\r\n\r\n"),
        get("/", "Content-Length: 3", "Content-Length: 3", method="POST", body=b"abc"),
        get("/", "Content-Length: +3", method="POST", body=b"abc"),
        get("/", "Transfer-Encoding: gzip, chunked", method="POST", body=b"0\r\n\r\n"),
        b"GET / HTTP/1.1\nHost: x\n\n",
        get("/", "X : y"),
        get("/", "X: y", " folded"),
        get("/", "Expect: something"),
        get("/", "X: nul\0"),
    ],
)
def test_what_would_desynchronise_is_refused_and_ends_the_connection(serve: Any, request_octets: bytes) -> None:
    called: list[Environ] = []

    def never(environ: Environ, start_response: Any) -> list[bytes]:
        called.append(environ)
        return application(environ, start_response)

    _, client = serve(never)
    assert client.request(get("/first")).status == 200
    client.send_raw(request_octets + get("/smuggled"))
    assert client.recv_response().status in (400, 417, 501)
    assert client.drain_to_eof() == b""
    assert [environ["PATH_INFO"] for environ in called] == ["/first"]


@pytest.mark.parametrize("body", [b"z\r\n", b"3\r\nabcX", b"ffffffffffffffffff\r\n", b"-1\r\n\r\n"])
def test_a_broken_chunked_body_ends_the_connection(serve: Any, body: bytes, logged: Any) -> None:
    def tolerant(environ: Environ, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError:
            pass
        start_response("200 OK", [("Content-Length", "0")])
        return []

    _, client = serve(tolerant)
    client.send_raw(get("/", "Transfer-Encoding: chunked", method="POST", body=body) + get("/smuggled"))
    assert client.recv_response().status in (200, 400)
    assert client.drain_to_eof() == b""


# Applications that misbehave


def test_an_application_that_raises_gives_500_and_an_error_event(serve: Any) -> None:
    def broken(environ: Environ, start_response: Any) -> list[bytes]:
        raise OSError("broken")

    server, client = serve(broken)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append((str(error), socket)))
    client.send_raw(get())
    assert client.recv_response().status == 500
    client.expect_eof()
    assert errors == [("broken", None)]


def test_an_application_that_raises_is_logged_with_its_traceback(serve: Any, logged: Any) -> None:
    def broken(environ: Environ, start_response: Any) -> list[bytes]:
        raise OSError("broken")

    _, client = serve(broken)
    assert client.request(get()).status == 500
    assert "error in a handler" in logged.text[0] and "OSError: broken" in logged.text[0]
    logged.clear()


@pytest.mark.parametrize("pieces", [[b"more than three"], [b"ab"]], ids=["more", "less"])
def test_a_wrong_content_length_ends_the_connection(serve: Any, pieces: list[bytes]) -> None:
    def wrong(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "3")])
        return pieces

    server, client = serve(wrong)
    errors: list[Any] = []
    server.on("error", errors.append)
    client.send_raw(get() + get())
    assert b"HTTP/1.1" not in client.drain_to_eof()[8:]
    assert len(errors) == 1


def test_an_application_that_does_not_answer_gives_500(serve: Any) -> None:
    server, client = serve(lambda environ, start_response: [])
    errors: list[Any] = []
    server.on("error", errors.append)
    assert client.request(get()).status == 500
    client.expect_eof()
    assert len(errors) == 1


# Upgrades


def test_an_upgrade_on_a_kept_alive_connection(serve: Any) -> None:
    server, client = serve()
    opened: list[Any] = []
    server.on("connection", lambda socket: opened.append(socket.path))
    client.send_raw(get("/page") + upgrade_head("/chat") + encode(TEXT, "at once"))
    assert client.recv_response().body == b"GET /page  "
    assert client.recv_response().status == 101
    assert client.recv_message() == "at once"
    client.echo()
    assert opened == ["/chat"]
    client.close_handshake()


def test_an_upgrade_on_another_path_goes_to_the_application(serve: Any) -> None:
    def careless(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    _, client = serve(careless, path="/chat")
    client.send_raw(upgrade_head("/elsewhere?x") + get("/smuggled"))
    response = client.recv_response()
    assert (response.status, response.body) == (200, b"/elsewhere")
    assert response.headers["connection"] == "close"
    assert client.drain_to_eof() == b""  # behind a refused upgrade nothing is interpreted


def test_the_application_may_hand_it_to_another_server(make_server: Any, connect: Any) -> None:
    other = make_server(port=None, start=False, echo=True)

    def handing(environ: Environ, start_response: Any) -> list[bytes]:
        other.accept(environ).data = environ["PATH_INFO"]
        return []

    server = make_server(path="/chat", wsgi=handing)
    messages = [str(index) * 1000 for index in range(30)]
    client = connect(server, "/other", after=b"".join(encode(TEXT, message) for message in messages))
    assert [client.recv_message() for _ in messages] == messages
    assert [socket.data for socket in other.connections] == ["/other"]
    assert server.connections == []
    client.close_handshake()


def test_a_malformed_upgrade_is_refused_by_us(serve: Any) -> None:
    _, client = serve(path="/chat")
    client.send_raw(upgrade_head("/chat", without=["Sec-WebSocket-Key"]) + get("/smuggled"))
    assert client.recv_response().status == 400
    assert client.drain_to_eof() == b""


# Blocking, many, stopping


def test_an_application_may_block(serve: Any, connect: Any) -> None:
    release = gevent.event.Event()

    def blocking(environ: Environ, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            release.wait(10)
        start_response("200 OK", [])
        return [b"done"]

    server, client = serve(blocking)
    client.send_raw(get("/wait"))
    connect(server, "/chat").echo()
    other = connect(server, upgrade=False)
    assert other.request(get()).body == b"done"
    release.set()
    assert client.recv_response().body == b"done"


def test_a_large_answer_to_a_slow_reader_is_complete(serve: Any, connect: Any) -> None:
    def large(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", str(40 * 100_000))])
        for _ in range(40):
            yield b"x" * 100_000

    server, _ = serve(large)
    client = connect(server, upgrade=False, receive_buffer=4096)
    client.send_raw(get())
    turns()
    assert len(client.recv_response().body) == 4_000_000


def test_a_reader_that_takes_nothing_is_given_up(serve: Any, connect: Any) -> None:
    ended = gevent.event.Event()

    def large(environ: Environ, start_response: Any) -> Iterator[bytes]:
        try:
            start_response("200 OK", [])
            while True:
                yield b"x" * 1_000_000
        finally:
            ended.set()

    server, _ = serve(large, send_timeout=0.2)
    client = connect(server, upgrade=False, receive_buffer=4096)
    client.send_raw(get())
    assert ended.wait(10)


def test_a_body_that_does_not_come_is_given_up(serve: Any, connect: Any) -> None:
    server, client = serve(idle_timeout=0.2)
    client.send_raw(get("/", "Content-Length: 10", method="POST", body=b"half"))
    assert b"200" not in client.drain_to_eof()[:20]


def test_an_idle_kept_alive_connection_ends_after_handshake_timeout(serve: Any) -> None:
    _, client = serve(handshake_timeout=0.3)
    assert client.request(get()).status == 200
    client.expect_eof()


@pytest.mark.only("parked")
def test_an_idle_kept_alive_connection_needs_no_greenlet(serve: Any) -> None:
    from helpers import live_greenlets

    server, client = serve()
    before = len(live_greenlets())
    assert client.request(get()).status == 200
    eventually(lambda: len(live_greenlets()) <= before)
    assert client.request(get()).status == 200


def test_stop_waits_for_the_answer_and_ends_kept_alive_connections(serve: Any, connect: Any, spawn: Any) -> None:
    begun, release = gevent.event.Event(), gevent.event.Event()

    def blocking(environ: Environ, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            begun.set()
            release.wait(10)
        start_response("200 OK", [])
        return [b"done"]

    server, client = serve(blocking)
    idle = connect(server, upgrade=False)
    assert idle.request(get()).status == 200
    websocket = connect(server)
    client.send_raw(get("/wait"))
    begun.wait(10)
    stopping = spawn(server.stop, 10)
    websocket.expect_close(1001)
    idle.expect_eof()
    release.set()
    response = client.recv_response()
    assert (response.body, response.headers["connection"]) == (b"done", "close")
    client.expect_eof()
    client.disconnect()
    stopping.get()


def test_stop_kills_an_application_that_does_not_end(serve: Any) -> None:
    begun = gevent.event.Event()
    ended: list[BaseException] = []

    def blocking(environ: Environ, start_response: Any) -> list[bytes]:
        begun.set()
        try:
            gevent.sleep(100)
        except BaseException as error:
            ended.append(error)
            raise
        return []

    server, client = serve(blocking)
    client.send_raw(get())
    begun.wait(10)
    server.stop(0.1)
    assert [type(error) for error in ended] == [gevent.GreenletExit]
    client.drain_to_eof()


def test_a_server_that_was_stopped_can_start_again(serve: Any, connect: Any) -> None:
    server, client = serve()
    assert client.request(get()).status == 200
    server.stop(1)
    client.drain_to_eof()
    server.start()
    again = connect(server, upgrade=False)
    for _ in range(2):
        assert again.request(get()).status == 200


# Settings


def test_http_listeners_and_wsgi_exclude_each_other(make_server: Any) -> None:
    server = make_server(wsgi=application, start=False)
    for register in (server.on, server.once):
        with pytest.raises(ValueError, match="'wsgi'"):
            register("http", print)
    with pytest.raises(TypeError, match="'wsgi' must be a callable"):
        make_server(wsgi="application", start=False)


def test_the_environ(serve: Any, make_server: Any) -> None:
    environs: list[Environ] = []

    def noting(environ: Environ, start_response: Any) -> list[bytes]:
        environs.append(environ)
        return application(environ, start_response)

    server, client = serve(noting)
    client.request(get("/a%2Fb?c", "X-Header: one", "X-Header: two", "X_Header: three", "Content-Type: text/x"))
    (environ,) = environs
    host, port = client.sock.getsockname()
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    assert (environ["PATH_INFO"], environ["RAW_URI"], environ["QUERY_STRING"]) == ("/a/b", "/a%2Fb?c", "c")
    assert (environ["HTTP_X_HEADER"], environ["CONTENT_TYPE"]) == ("one,two", "text/x")
    assert environ["wsgi.url_scheme"] == ("http" if server.settings.ssl is None else "https")
    environs.clear()


def test_trusted_proxies_name_the_remote_address(serve: Any) -> None:
    def who(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode()]

    _, client = serve(who, trusted_proxies=["127.0.0.1"])
    assert client.request(get("/", "X-Forwarded-For: 192.0.2.1")).body == b"192.0.2.1"
    assert client.request(get("/")).body == b"127.0.0.1"


def test_the_access_log_has_a_line_for_each_request(serve: Any) -> None:
    lines: list[str] = []
    _, client = serve(access_log=lines.append)
    client.request(post("/one?secret", b"body"))
    client.request(get("/two"))
    eventually(lambda: len(lines) == 2)
    assert '"POST /one HTTP/1.1" 200 - ' in lines[0]
    assert '"GET /two HTTP/1.1" 200 - ' in lines[1]
    client.disconnect()
    turns()
    assert len(lines) == 2


def test_a_unix_listener(make_server: Any, connect: Any, tmp_path: Any) -> None:
    make_server(f"unix:{tmp_path}/socket", wsgi=application)
    client = connect(f"{tmp_path}/socket", upgrade=False)
    for _ in range(2):
        assert client.request(get("/unix")).body == b"GET /unix  "


def test_statistics(serve: Any) -> None:
    server, client = serve()
    for _ in range(3):
        client.request(get())
    assert isinstance(server, lws_gevent.Server)
    stats = server.stats()
    assert (stats["accepted"], stats["refused"], stats["opened"]) == (1, 3, 0)


def test_requests_and_upgrades_over_tls(make_server: Any) -> None:
    from certificates import certificates

    server = make_server(wsgi=application, echo=True, ssl=certificates().options)
    with Client.open(("127.0.0.1", server.port), tls=certificates().client_context()) as client:
        client.send_raw(get("/1") + post("/2", b"x" * 50_000) + get("/3"))
        assert client.recv_response().body == b"GET /1  "
        assert client.recv_response().body == b"POST /2  " + b"x" * 50_000
        assert client.recv_response().body == b"GET /3  "
        client.send_raw(upgrade_head() + encode(TEXT, "at once"))
        assert client.recv_response().status == 101
        assert client.recv_message() == "at once"
        client.echo("x" * 100_000)
        client.send_close()
        assert client.recv_close() == (1000, "")


def test_a_tls_connection_that_breaks_behind_its_answer_is_forgotten(make_server: Any, monkeypatch: Any) -> None:
    from certificates import certificates

    def flush(transport: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(BlockingTransport, "flush", flush)
    server = make_server(wsgi=application, ssl=certificates().options)
    with Client.open(("127.0.0.1", server.port), tls=certificates().client_context()) as client:
        assert client.request(get()).body == b"GET /  "
        client.expect_eof()


def test_a_child_that_an_application_forks_leaves_the_connection_alone(serve: Any) -> None:
    def forking(environ: Environ, start_response: Any) -> list[bytes]:
        child = os.fork()
        if child == 0:
            os._exit(0)  # its hub does not turn: the client of this test, which it has inherited too, would read there
        os.waitpid(child, 0)
        start_response("200 OK", [])
        return [b"from the parent"]

    _, client = serve(forking)
    for _ in range(2):
        assert client.request(get()).body == b"from the parent"
    client.send_raw(upgrade_head())
    assert client.recv_response().status == 101
    client.echo()
    client.close_handshake()
