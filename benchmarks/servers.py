"""The servers that are measured, by name."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.processes import HERE, BenchmarkError, build, install_node_packages

OURS = "lws-gevent"
REFERENCE = "ws"
LIMIT = "limit"


class Mode(NamedTuple):
    """What a server is to do.

    Attributes:
        broadcast: every message goes to every connection, instead of back to its sender.
        deflate: it compresses (permessage-deflate without context takeover).
        fast_deflate: with whatever is installed for that, and not only what belongs to the language.
        blocking: in blocking style, a greenlet for each connection, where there is a choice of styles.
    """

    broadcast: bool = False
    deflate: bool = False
    fast_deflate: bool = True
    blocking: bool = False


ECHO = Mode()


@dataclass(frozen=True)
class Server:
    """How to start one. `command` returns the words."""

    name: str
    title: str
    command: Callable[[Mode], list[str]]
    version: Callable[[], str] = str
    everywhere: bool = True  #: else in those rows only that name it

    def check(self) -> None:
        """Raises BenchmarkError when it cannot be started here."""
        self.command(ECHO)


def peer_python() -> str:
    """The interpreter that has the Python peers installed: LWS_BENCH_PEER_PYTHON, or this one."""
    return os.environ.get("LWS_BENCH_PEER_PYTHON") or sys.executable


def _lws_gevent(*options: str) -> Callable[[Mode], list[str]]:
    def command(mode: Mode) -> list[str]:
        if mode.blocking:
            return [sys.executable, str(HERE / "peers" / "lws_gevent_blocking.py"), *options]
        program = ["-m", "lws_gevent"] if mode.fast_deflate else [str(HERE / "peers" / "lws_gevent_zlib.py")]
        more = ["--compression"] if mode.deflate else []
        name = "broadcast" if mode.broadcast else "echo"
        return [sys.executable, *program, name, "--host", "127.0.0.1", "--port", "0", *options, *more]

    return command


@functools.cache
def _can_import(python: str, modules: str) -> bool:
    return subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0


def _options(mode: Mode) -> list[str]:
    return [*(["--broadcast"] if mode.broadcast else []), *(["--deflate"] if mode.deflate else [])]


def _python_peer(script: str, modules: str) -> Callable[[Mode], list[str]]:
    def command(mode: Mode) -> list[str]:
        if not _can_import(peer_python(), modules):
            raise BenchmarkError(f"{modules}: not installed for {peer_python()} (pip install 'lws-gevent[bench]')")
        return [peer_python(), str(HERE / "peers" / script), *_options(mode)]

    return command


def _wsgi(*words: str) -> Callable[[Mode], list[str]]:
    def command(mode: Mode) -> list[str]:
        needed = "gunicorn" if "--gunicorn" in words else "gevent.pywsgi"
        if not _can_import(sys.executable, needed):
            raise BenchmarkError(f"{needed}: not installed for {sys.executable} (pip install 'lws-gevent[bench]')")
        return [sys.executable, str(HERE / "peers" / "lws_gevent_wsgi.py"), *words]

    return command


def _socketio(on: str) -> Callable[[Mode], list[str]]:
    def command(mode: Mode) -> list[str]:
        return [*_python_peer("socketio_server.py", "socketio, geventwebsocket")(ECHO), "--on", on]

    return command


def _node(mode: Mode) -> list[str]:
    node = shutil.which("node")
    if not node:
        raise BenchmarkError("Node is needed for ws, with which everything is compared")
    install_node_packages()
    return [node, str(HERE / "peers" / "ws_server.js"), *_options(mode)]


def _limit(mode: Mode) -> list[str]:
    return [str(build("limit")), *_options(mode)]


def _python_version(distribution: str, python: Callable[[], str] = peer_python) -> Callable[[], str]:
    def version() -> str:
        code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
        return subprocess.run([python(), "-c", code], capture_output=True, text=True).stdout.strip()

    return version


def _ws_version() -> str:
    package = HERE / "node_modules" / "ws" / "package.json"
    code = f"console.log(require({str(package)!r}).version, 'on Node', process.version)"
    return subprocess.run(["node", "-e", code], capture_output=True, text=True).stdout.strip()


def _our_version() -> str:
    code = "import lws_gevent; print(lws_gevent.__version__)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE.parent).stdout.strip()


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server(OURS, "lws_gevent", _lws_gevent(), _our_version),
        Server("lws-gevent-greenlet", "lws_gevent, greenlet engine", _lws_gevent("--engine", "greenlet"), _our_version),
        Server(
            "lws-gevent-python",
            "lws_gevent, greenlet engine, Python codec",
            _lws_gevent("--engine", "greenlet", "--codec", "python"),
            _our_version,
        ),
        Server(REFERENCE, "Node ws", _node, _ws_version),
        Server(
            "picows", "picows on uvloop", _python_peer("picows_server.py", "picows, uvloop"), _python_version("picows")
        ),
        Server(
            "socketify",
            "socketify (uWebSockets)",
            _python_peer("socketify_server.py", "socketify"),
            _python_version("socketify"),
        ),
        Server(
            "websockets",
            "websockets on uvloop",
            _python_peer("websockets_server.py", "websockets, uvloop"),
            _python_version("websockets"),
        ),
        Server(
            "aiohttp",
            "aiohttp on uvloop",
            _python_peer("aiohttp_server.py", "aiohttp, uvloop"),
            _python_version("aiohttp"),
        ),
        Server(
            "gevent-websocket",
            "gevent-websocket",
            _python_peer("gevent_websocket_server.py", "geventwebsocket"),
            _python_version("gevent-websocket"),
        ),
        *(
            Server(name, title, _wsgi(*words), _our_version, everywhere=False)
            for name, title, words in (
                ("wsgi-callback", "callback style", ("--style", "callback")),
                ("wsgi-blocking", "blocking style", ("--style", "blocking")),
                ("wsgi-compat", "compat.geventwebsocket", ("--style", "compat")),
                ("gunicorn-callback", "gunicorn, callback style", ("--style", "callback", "--gunicorn")),
                ("gunicorn-blocking", "gunicorn, blocking style", ("--style", "blocking", "--gunicorn")),
            )
        ),
        Server("socketio-lws-gevent", "lws_gevent", _socketio("lws-gevent"), _our_version, everywhere=False),
        Server(
            "socketio-gevent-websocket",
            "gevent-websocket",
            _socketio("gevent-websocket"),
            _python_version("python-socketio"),
            everywhere=False,
        ),
        Server(LIMIT, "the limit: bare epoll in C", _limit),
    )
}

# Measured unless --servers says otherwise. The other engines and codecs of lws_gevent are for comparing with ourselves.
DEFAULT_SERVERS = tuple(name for name in SERVERS if name != "lws-gevent-python")
QUICK_SERVERS = (OURS, REFERENCE, LIMIT)
