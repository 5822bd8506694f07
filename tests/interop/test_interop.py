"""Clients of other projects talk to the server: each exchanges the same messages, pings and closes, on every stack.

A client runs once for each stack, in a process of its own against a server in another, and prints what it saw in each
scenario; the tests look at that.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from client import FACTOR
from helpers import Stack, environment
from tools import Process, listening, lws_gevent, missing, need_module, need_program

pytestmark = [pytest.mark.interop, pytest.mark.timeout_factor(3)]

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
NODE_MODULES = HERE / "node_modules"

LARGE = (bytes(range(251)) * (16 * 1024 * 1024 // 251 + 1))[: 16 * 1024 * 1024]

#: What every client must see, by scenario.
EXPECTED: dict[str, Any] = {
    "text": {"text": "Grüße € \U0001d11e"},
    "binary": {"binary": bytes(range(256)).hex()},
    "empty_text": {"text": ""},
    "empty_binary": {"binary": ""},
    "large": [len(LARGE), hashlib.sha256(LARGE).hexdigest()],
    "fragments_sent": [{"text": "one twö three"}, {"binary": "00ff"}],
    "fragments_received": [{"text": "frägm€nts"}, {"binary": "00ff8001"}],
    "ping": "ping €",
    "pinged": "pong: are you there?",
    "closed": [4001, "goodbye €"],
    "close": 4002,
}


class Client(NamedTuple):
    """One client: how to find its tools (which skips the test when they are absent) and what it cannot do."""

    command: Callable[[], list[str]]
    cannot: frozenset[str] = frozenset()


def _python(name: str, module: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        need_module(module)
        return [sys.executable, str(CLIENTS / name)]

    return command


def _node(name: str, package: str) -> list[str]:
    node = need_program("node")
    if not (NODE_MODULES / package).is_dir():
        missing(f"the npm package {package} is not installed (npm ci in tests/interop)")
    return [node, str(CLIENTS / name)]


def _chromium() -> list[str]:
    need_program("chromium", "chromium-browser", "google-chrome")
    return _node("chromium.mjs", "playwright-core")


def _java() -> list[str]:
    need_program("javac")  # a single source file is compiled as it is run
    return [need_program("java"), "-Dfile.encoding=UTF-8", str(CLIENTS / "JavaClient.java")]


ALL = {
    "node-ws": Client(lambda: _node("node_ws.mjs", "ws")),
    "chromium": Client(_chromium, frozenset({"fragments_sent", "ping"})),
    "websockets": Client(_python("websockets_client.py", "websockets")),
    "websocket-client": Client(_python("websocket_client_client.py", "websocket")),
    "aiohttp": Client(_python("aiohttp_client.py", "aiohttp"), frozenset({"fragments_sent"})),
    "picows": Client(_python("picows_client.py", "picows")),
    "java": Client(_java),
}


class Seen(NamedTuple):
    """What one run of a client gave."""

    by_client: dict[str, Any]
    closes: list[dict[str, Any]]  # that the server saw


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, Stack], Seen]:
    """The runs so far."""
    return {}


def run(name: str, stack: Stack) -> Seen:
    """Run one client against a server of this stack."""
    arguments = ALL[name].command()
    options = json.dumps({"engine": stack.engine})
    with Process([sys.executable, str(HERE / "server.py"), options], environment(stack)) as server:
        url = f"ws://127.0.0.1:{server.line()}"
        if name == "chromium":
            with lws_gevent("echo", "--port", "0", stack=stack) as page:
                host, port = listening(page)
                browser = need_program("chromium", "chromium-browser", "google-chrome")
                by_client = _observe([*arguments, url, f"http://{host}:{port}/", browser])
        else:
            by_client = _observe([*arguments, url])
        closes = [json.loads(server.line())]
        while closes[-1]["path"] != "/closed-by-client":
            closes.append(json.loads(server.line()))
    return Seen(by_client, closes)


def _observe(command: list[str]) -> dict[str, Any]:
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=80 * FACTOR, env=env, encoding="utf-8"
    )
    assert done.returncode == 0, f"{command[-2:]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    observed: dict[str, Any] = json.loads(done.stdout)
    return observed


@pytest.fixture(params=ALL)
def name(request: pytest.FixtureRequest) -> str:
    """A client by name."""
    client: str = request.param
    return client


@pytest.fixture
def seen(name: str, stack: Stack, runs: dict[tuple[str, Stack], Seen]) -> Iterator[Seen]:
    """What this client saw on this stack."""
    if (name, stack) not in runs:
        runs[name, stack] = run(name, stack)
    yield runs[name, stack]


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_client_sees_what_it_must(scenario: str, name: str, seen: Seen) -> None:
    if scenario in ALL[name].cannot:
        assert scenario not in seen.by_client
    else:
        assert seen.by_client[scenario] == EXPECTED[scenario]


def test_the_server_sees_the_close_of_a_client(seen: Seen) -> None:
    assert seen.closes[-1] == {"path": "/closed-by-client", "code": 4002, "reason": "see you €"}


@pytest.mark.parametrize("name", ["chromium"], indirect=True)
def test_the_page_of_the_command_shows_what_comes_back(seen: Seen) -> None:
    hello, markup = "hello", "<b>café</b>"
    assert seen.by_client["page"] == [["sent", hello], ["received", hello], ["sent", markup], ["received", markup]]
