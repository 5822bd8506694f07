"""Every framework under every server, with real clients: examples/frameworks, as docs/howto/frameworks.md has it.

Each cell of the matrix is a test: the server is started once, as a user would, and asked for a page, for WebSockets by
three clients, and for its close codes. gunicorn's gevent workers always monkey-patch, so there is no other way there.
"""

from __future__ import annotations

import re
import signal
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from client import TEXT, Client, encode
from drive import HERE, node_client, observe
from helpers import environment
from tools import Process, need_module

pytestmark = [pytest.mark.interop, pytest.mark.timeout_factor(2)]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "frameworks"


class Server(NamedTuple):
    """A column of the matrix."""

    title: str
    worker: str | None  # gunicorn's; None: gevent.pywsgi
    around: str  # the application: handler, middleware, worker or nothing
    patchings: tuple[str, ...]


class Application(NamedTuple):
    """A row of the matrix."""

    title: str
    module: str  # in examples/frameworks
    package: str  # that it needs


WORKER = "lws_gevent.gunicorn.Worker"
SERVERS = {
    "pywsgi+handler": Server("pywsgi, handler", None, "handler", ("patched", "unpatched")),
    "pywsgi+middleware": Server("pywsgi, middleware", None, "middleware", ("patched", "unpatched")),
    "pywsgi": Server("pywsgi alone", None, "nothing", ("patched", "unpatched")),
    "gunicorn_gevent+middleware": Server("`gunicorn -k gevent`, middleware", "gevent", "middleware", ("patched",)),
    "gunicorn_gevent": Server("`gunicorn -k gevent` alone", "gevent", "nothing", ("patched",)),
    "gunicorn_worker": Server(f"`gunicorn -k {WORKER}`", WORKER, "worker", ("patched",)),
}

#: What needs nothing around it: it takes connections over by itself.
SELF_SUFFICIENT = ("wsgi_callback", "flask_sock", "socketio_websocket", "socketio_polling")

APPLICATIONS = {
    "wsgi_blocking": Application("plain WSGI, blocking", "wsgi_blocking", "lws_gevent"),
    "wsgi_callback": Application("plain WSGI, callbacks", "wsgi_callback", "lws_gevent"),
    "flask": Application("Flask", "flask_app", "flask"),
    "flask_sock": Application("flask-sock", "flask_sock_app", "flask_sock"),
    "socketio_websocket": Application("Flask-SocketIO, WebSocket only", "flask_socketio_app", "flask_socketio"),
    "socketio_polling": Application("Flask-SocketIO, polling upgraded", "flask_socketio_app", "flask_socketio"),
    "bottle": Application("Bottle", "bottle_app", "bottle"),
    "django": Application("Django", "django_app", "django"),
    "pyramid": Application("Pyramid", "pyramid_app", "pyramid"),
    "gevent_websocket": Application("gevent-websocket's `Resource`", "gevent_websocket_app", "lws_gevent"),
}


class Cell(NamedTuple):
    """One cell of the matrix, by its names."""

    server: str
    application: str
    patching: str

    def __str__(self) -> str:
        return "-".join(self)

    @property
    def command(self) -> list[str]:
        """What a user types; where that is Python code, a script that has this code."""
        server, module = SERVERS[self.server], APPLICATIONS[self.application].module
        target = f"{module}:app"
        if server.around == "middleware":
            target = f"{'wrapped_callback' if module == 'wsgi_callback' else module}:application"
        if server.worker:
            options = ["--bind", "127.0.0.1:0", "--graceful-timeout", "6"]
            return [sys.executable, "-m", "gunicorn", *options, "-k", server.worker, target]
        patching = ["-m", "gevent.monkey"] if self.patching == "patched" else []
        if server.around == ("nothing" if module == "wsgi_callback" else "handler"):
            return [sys.executable, *patching, str(EXAMPLES / f"{module}.py"), "0"]
        script = str(HERE / "servers" / "pywsgi_server.py")
        return [sys.executable, *patching, script, target, "handler" if server.around == "handler" else "plain"]


CELLS = [
    Cell(server, application, patching)
    for server in SERVERS
    for application in APPLICATIONS
    for patching in SERVERS[server].patchings
    if SERVERS[server].around != "nothing" or application in SELF_SUFFICIENT
]


@contextmanager
def serving(cell: Cell) -> Iterator[tuple[Process, tuple[str, int]]]:
    """The server, while it runs, with host and port; it must not complain."""
    need_module(APPLICATIONS[cell.application].package)
    worker = SERVERS[cell.server].worker
    if worker:
        need_module("gunicorn")
    variables = environment()
    variables["PYTHONPATH"] = f"{EXAMPLES}:{HERE / 'servers'}:{variables['PYTHONPATH']}"
    with Process(cell.command, variables) as server:
        if worker:
            server._until(lambda: b"Booting worker with pid" in server.errors, "it starts", 30)
            found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", server.errors.decode())
        else:
            found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)/", server.line(30))
        assert found, server.printed
        yield server, ("127.0.0.1", int(found[1]))
        server.signal(signal.SIGTERM)
        assert server.wait() == (0 if worker else -signal.SIGTERM)
        for trouble in (b"Traceback", b"Warning", b"Error", b"[ERROR]"):
            assert trouble not in server.errors, server.printed


def get(address: tuple[str, int]) -> bytes:
    """The page."""
    with urllib.request.urlopen("http://{}:{}/".format(*address), timeout=20) as response:
        body: bytes = response.read()
    return body


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "socketio" not in cell.application], ids=str)
def test_websockets_work(cell: Cell) -> None:
    need_module("websockets")
    from websockets.sync.client import connect

    node = node_client("matrix_ws.mjs", "ws")
    with serving(cell) as (server, address), ExitStack() as clients:
        assert b"/echo" in get(address)
        url = "ws://{}:{}/echo".format(*address)
        one, two = (clients.enter_context(connect(url, proxy=None, open_timeout=20)) for _ in range(2))
        for message in ("Grüße €", b"\x00\xff\x80", "x" * 70_000, b"y" * 70_000):
            for client in (two, one):  # each has its own blocked handler
                client.send(message)
                assert client.recv(20) == message
        assert b"/echo" in get(address)
        with Client.connect(address, "/echo", after=encode(TEXT, "with the request")) as client:
            assert client.recv_message() == "with the request"
            client.disconnect()  # without a close frame
        seen = observe([*node, url])
        assert seen == {
            "byServer": {"messages": [True] * 3, "closed": [4000, "bye"]},
            "byClient": {"messages": [True] * 3, "closed": [4001, "enough"]},
            "withoutCode": {"messages": [True] * 3, "closed": [1005, ""]},
        }
        one.send("bye")
        with pytest.raises(Exception, match="4000"):
            one.recv(20)
        two.send("still here")
        assert two.recv(20) == "still here"
        if SERVERS[cell.server].around == "worker":  # which tells them
            server.signal(signal.SIGTERM)
            with pytest.raises(Exception, match="1001"):
                two.recv(20)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "socketio" in cell.application], ids=str)
def test_socketio_works(cell: Cell) -> None:
    transports = ["websocket"] if cell.application == "socketio_websocket" else ["polling", "websocket"]
    node = node_client("matrix_socketio.mjs", "socket.io-client")
    with serving(cell) as (server, address):
        assert b"Socket.IO" in get(address)
        seen = observe([*node, "http://{}:{}".format(*address), *transports])
        assert seen == {"messages": [True] * 7, "reason": "io server disconnect", "transport": "websocket"}
        assert b"Socket.IO" in get(address)
        if SERVERS[cell.server].around == "worker":  # which tells those who are there
            with Client.connect(address, "/socket.io/?EIO=4&transport=websocket") as client:
                client.recv_message()
                server.signal(signal.SIGTERM)
                client.expect_close(1001)


def matrix() -> str:
    """The table of the page."""
    rows = [["", *(server.title for server in SERVERS.values())], ["---"] * (len(SERVERS) + 1)]
    for name, application in APPLICATIONS.items():
        cells = [
            ", ".join(cell.patching for cell in CELLS if (cell.server, cell.application) == (server, name))
            for server in SERVERS
        ]
        rows.append([f"[{application.title}](../../examples/frameworks/{application.module}.py)", *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_the_page_has_this_matrix() -> None:
    assert matrix() in (ROOT / "docs" / "howto" / "frameworks.md").read_text()


def test_every_example_is_in_the_matrix_and_tells_how_it_is_run() -> None:
    modules = {application.module for application in APPLICATIONS.values()}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == modules
    for module in modules:
        text = (EXAMPLES / f"{module}.py").read_text()
        assert f"python examples/frameworks/{module}.py [PORT]" in text
        assert f"gunicorn -k lws_gevent.gunicorn.Worker {module}:app\n" in text
        assert f"gunicorn -k gevent {module}:app" in text
