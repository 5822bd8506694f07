"""Published programs and packages for gevent-websocket run on `compat.geventwebsocket` as they are.

What its authors have published is found where it is installed, or in a checkout of its repository, which
LWS_GEVENT_GEVENTWEBSOCKET names; nothing of it is copied here.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from client import Client
from helpers import SCRIPTS, environment
from tools import Process, missing, need_module

Address = tuple[str, int]


@contextmanager
def running(program: Path, directory: Path | None = None) -> Iterator[Address]:
    """The program, and where it listens."""
    variables = environment()
    if directory is not None:
        variables["PYTHONPATH"] = f"{directory}{os.pathsep}{variables['PYTHONPATH']}"
    with Process([sys.executable, str(SCRIPTS / "published.py"), str(program)], variables) as process:
        while not (line := process.line()).startswith("port "):
            pass
        yield "127.0.0.1", int(line.split()[1])
        assert b"Traceback" not in process.errors, process.printed


def readme_programs() -> list[str]:
    """The programs in the README of gevent-websocket, which is part of what is installed of it."""
    need_module("geventwebsocket")
    text = str(importlib.metadata.metadata("gevent-websocket").get_payload())
    text = re.sub(r"(?m)^ {8}| +$", "", text)  # old tools indent it
    blocks = re.findall(r"::\n\n((?:(?: {4}.*)?\n)+)", text)
    programs = [textwrap.dedent(block) for block in blocks if "serve_forever" in block]
    if len(programs) != 2:
        missing("the README of gevent-websocket is not installed with it")
    return [re.sub(r"(?m)^(\s*)print ([^(\n].*)$", r"\1print(\2)", program) for program in programs]  # Python 2


@pytest.mark.parametrize(("number", "path"), [(0, "/"), (1, "/echo")], ids=["Resource", "handler"])
def test_the_programs_of_its_readme(number: int, path: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(readme_programs()[number])
    with running(program) as address, Client.connect(address, path) as client:
        client.echo("hello")
        if number == 0:
            client.echo(b"again")
            client.close_handshake(1000)
        else:  # it answers one message, and returns None
            assert client.recv_close()[0] in (1000, 1011)


def examples() -> Path:
    """Those of its repository."""
    checkout = os.environ.get("LWS_GEVENT_GEVENTWEBSOCKET")
    if not checkout:
        pytest.skip("LWS_GEVENT_GEVENTWEBSOCKET names no checkout of gevent-websocket, whose examples are in it alone")
    return Path(checkout) / "examples"


def test_its_example_of_an_echo_server() -> None:
    with running(examples() / "echoserver.py") as address:
        for message in ("hello", b"binary"):
            with Client.connect(address, "/") as client:
                client.echo(message)
                client.close_handshake(1000)


def test_its_example_of_a_graph() -> None:
    with running(examples() / "plot_graph.py") as address, Client.connect(address, "/data") as client:
        for number in range(3):
            message = client.recv_message()
            assert isinstance(message, str) and re.fullmatch(rf"0 {number} [0-9.e-]+\n", message)
        client.disconnect()


def test_its_example_of_a_chat() -> None:
    need_module("flask")
    directory = examples() / "chat"
    with running(directory / "chat.py", directory) as address:
        with Client.connect(address, "/chat") as one, Client.connect(address, "/chat") as other:
            for client, name in ((one, "first"), (other, "second")):
                client.send(json.dumps({"msg_type": "update_clients", "nickname": name}))
                assert name in json.loads(client.recv_message())["clients"]
            for client in (one, other):
                client.send(json.dumps({"msg_type": "message", "nickname": "x", "message": "hello"}))
                for receiver in (one, other):
                    assert json.loads(receiver.recv_message())["message"] == "hello"
            one.close_handshake(1000)
            other.disconnect()


BOTTLE = """
import bottle
from bottle_websocket import GeventWebSocketServer, websocket

@bottle.get("/echo/<name>", apply=[websocket])
def echo(ws, name):
    while True:
        message = ws.receive()
        if message is None:
            break
        ws.send(name + message)

bottle.run(host="127.0.0.1", port=8000, server=GeventWebSocketServer, quiet=False)
"""


def test_bottle_websocket(tmp_path: Path) -> None:
    need_module("bottle_websocket")
    program = tmp_path / "program.py"
    program.write_text(BOTTLE)
    with running(program) as address, Client.connect(address, "/echo/me:") as client:
        client.send("hello")
        assert client.recv_message() == "me:hello"
        client.close_handshake(1000)


FLASK_SOCKETS = """
from flask import Flask
from flask_sockets import Sockets
from gevent import pywsgi
from geventwebsocket.handler import WebSocketHandler
{more}
app = Flask(__name__)
sockets = Sockets(app)

@sockets.route("/echo")
def echo(ws):
    while not ws.closed:
        message = ws.receive()
        ws.send(message)

@app.route("/")
def hello():
    return "Hello World!"

{wrap}
pywsgi.WSGIServer(("", 5000), app, handler_class=WebSocketHandler).serve_forever()
"""


def test_flask_sockets(tmp_path: Path) -> None:
    """Werkzeug 2 has broken it under every server; with one line it runs again."""
    need_module("flask_sockets")
    program = tmp_path / "program.py"
    more, wrap = "from lws_gevent.flask import PlainRoutes", "app.wsgi_app = PlainRoutes(app.wsgi_app)"
    program.write_text(FLASK_SOCKETS.format(more=more, wrap=wrap))
    with running(program) as address:
        with Client.connect(address, "/echo") as client:
            client.echo("hello")
            client.echo("x" * 10_000)
        with Client.open(address) as client:
            assert client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").body == b"Hello World!"
