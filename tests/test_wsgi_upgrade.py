"""What an application sees of a request is the same, whether gevent.pywsgi or our own handler has read its head."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from client import Client, upgrade_head
from gevent import pywsgi
from helpers import eventually

from lws_gevent.foreign_request import ParsedHead
from lws_gevent.wsgi import WebSocketHandler

Environ = dict[str, Any]

MORE = [
    ("Cookie", "a=1"),
    ("Cookie", "b=2"),
    ("X-Twice", "1"),
    ("X-Twice", "  2"),
    ("X_Underscored", "no"),
    ("Content-Type", "text/odd"),
    ("Origin", "http://localhost"),
    ("User-Agent", "\xe9\xe8"),
    ("Sec-WebSocket-Protocol", "one, two"),
]
HEADS = {
    "of a browser": upgrade_head("/chat%20room/%C3%A9?a=%20&b=1", MORE),
    "bare": upgrade_head("/"),
    "of many kilobytes": upgrade_head("/long", [(f"X-{number}", "x" * 500) for number in range(20)]),
    "of a plain request": b"GET /plain?q HTTP/1.1\r\nHost: x\r\nX-Mentions: websocket\r\nConnection: close\r\n\r\n",
    "with a body": upgrade_head("/", [("Content-Length", "0")]),
    "of another method": b"PUT /p HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
}


class Seen:
    """What came to an application: the environ, the headers of the handler, its log."""

    def __init__(self, handler: Any) -> None:
        self.environ: Environ = {}
        self.headers: list[tuple[str, str]] = []
        self.handlers: list[Any] = []
        self.log = io.StringIO()
        seen = self

        class Handler(handler):  # type: ignore[misc]
            def run_application(self) -> None:
                seen.headers = sorted((name.lower(), value) for name, value in self.headers.items())
                seen.handlers.append((self.requestline, self.command, self.path, self.request_version))
                super().run_application()

        self.server = pywsgi.WSGIServer(("127.0.0.1", 0), self.application, handler_class=Handler, log=self.log)
        self.server.start()

    def application(self, environ: Environ, start_response: Any) -> list[bytes]:
        ours = ("wsgi.websocket", "lws_gevent", "wsgi.input", "wsgi.errors", "REMOTE_PORT", "SERVER_PORT")
        self.environ = {name: value for name, value in environ.items() if not name.startswith(ours)}
        start_response("403 Forbidden", [("Content-Length", "2"), ("Connection", "close")])
        return [b"no"]


@pytest.fixture
def servers() -> Iterator[list[Seen]]:
    both = [Seen(pywsgi.WSGIHandler), Seen(WebSocketHandler)]
    yield both
    for seen in both:
        seen.server.stop(1)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("cut", [None, 9, -3])
def test_the_application_and_the_log_see_the_same(servers: list[Seen], head: bytes, cut: int | None) -> None:
    for seen in servers:
        with Client.open(("127.0.0.1", seen.server.server_port)) as client:
            if cut is not None:
                client.send_raw(head[:cut])
                gevent.sleep(0.01)  # whether it has arrived by itself makes no difference to what is asked
            client.send_raw(head[cut:] if cut is not None else head)
            response = client.recv_response()
            assert (response.status, response.body) == (403, b"no")
        eventually(lambda seen=seen: '"' in seen.log.getvalue())
    theirs, ours = servers
    assert ours.environ == theirs.environ
    assert list(ours.environ)[:4] == list(theirs.environ)[:4]
    assert ours.headers == theirs.headers
    assert ours.handlers == theirs.handlers
    assert ours.log.getvalue().split('"')[1] == theirs.log.getvalue().split('"')[1]


def test_the_headers_are_there_after_the_upgrade() -> None:
    seen: list[Any] = []

    class Handler(WebSocketHandler):
        def log_request(self) -> None:
            seen.append((self.headers.get("user-agent"), self.headers.get("Content-Type"), self.environ["PATH_INFO"]))

    def application(environ: Environ, start_response: Any) -> list[bytes]:
        websocket = environ["wsgi.websocket"]
        websocket.send("hello")
        with pytest.raises(ValueError, match="closed file"):
            environ["wsgi.input"].read(1)
        start_response("200 OK", [])(b"nobody gets this")
        return [b"nor this"]

    server = pywsgi.WSGIServer(("127.0.0.1", 0), application, handler_class=Handler, log=None)
    server.start()
    try:
        more = [("User-Agent", "me"), ("Content-Type", "text/odd")]
        with Client.connect(("127.0.0.1", server.server_port), "/x", more) as client:
            assert client.recv_message() == "hello"
            client.expect_close(1000)
    finally:
        server.stop(1)
    assert seen == [("me", "text/odd", "/x")]


def test_a_head_is_not_parsed_twice_and_a_smaller_limit_holds() -> None:
    heads: list[Any] = []

    class Handler(WebSocketHandler):
        websocket_options = {"max_header_size": 600}

        def get_environ(self) -> Environ:
            environ = super().get_environ()
            heads.append(environ.get("lws_gevent.head"))
            return environ

    def application(environ: Environ, start_response: Any) -> list[bytes]:
        environ["wsgi.websocket"].send("hello")
        return []

    server = pywsgi.WSGIServer(("127.0.0.1", 0), application, handler_class=Handler, log=None)
    server.start()
    address = ("127.0.0.1", server.server_port)
    try:
        with Client.connect(address) as client:
            assert client.recv_message() == "hello"
            client.expect_close(1000)
        with Client.open(address) as client:
            assert client.request(upgrade_head("/", [("X-Long", "x" * 700)])).status == 431
    finally:
        server.stop(1)
    assert [type(head) for head in heads] == [ParsedHead, ParsedHead]
