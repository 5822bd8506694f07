"""Clients of other projects talk to the server: each exchanges the same messages, pings and closes, on every stack.

A client runs once for each stack, in a process of its own against a server in another, and prints what it saw in each
scenario; the tests look at that.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from certificates import certificates
from drive import CLIENTS, HERE, chromium, node_client, observe, python_client
from helpers import Stack, environment
from tools import Process, listening, lws_gevent, need_program

pytestmark = [pytest.mark.interop, pytest.mark.timeout_factor(3)]

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


def _chromium() -> list[str]:
    chromium()
    return node_client("chromium.mjs", "playwright-core")


def _java() -> list[str]:
    need_program("javac")  # a single source file is compiled as it is run
    return [need_program("java"), "-Dfile.encoding=UTF-8", str(CLIENTS / "JavaClient.java")]


ALL = {
    "node-ws": Client(lambda: node_client("node_ws.mjs", "ws")),
    "chromium": Client(_chromium, frozenset({"fragments_sent", "ping"})),
    "websockets": Client(python_client("websockets_client.py", "websockets")),
    "websocket-client": Client(python_client("websocket_client_client.py", "websocket")),
    "aiohttp": Client(python_client("aiohttp_client.py", "aiohttp"), frozenset({"fragments_sent"})),
    "picows": Client(python_client("picows_client.py", "picows")),
    "java": Client(_java),
}


#: Those that talk over TLS too, and trust the authority of the tests.
OVER_TLS = ("node-ws", "chromium", "websockets", "aiohttp")


class Seen(NamedTuple):
    """What one run of a client gave."""

    by_client: dict[str, Any]
    closes: list[dict[str, Any]]  # that the server saw


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, Stack], Seen]:
    """The runs so far."""
    return {}


def run(name: str, stack: Stack, tls: bool) -> Seen:
    """Run one client against a server of this stack."""
    arguments = ALL[name].command()
    options = json.dumps({"engine": stack.engine, **({"ssl": certificates().options} if tls else {})})
    authority = str(certificates().ca) if tls else None
    files = ("--cert", certificates().cert, "--key", certificates().key) if tls else ()
    with Process([sys.executable, str(HERE / "server.py"), options], environment(stack)) as server:
        url = f"{'wss://localhost' if tls else 'ws://127.0.0.1'}:{server.line()}"
        if name == "chromium":
            with lws_gevent("echo", "--port", "0", *files, stack=stack) as page:
                host, port = listening(page)
                page_url = f"{'https' if tls else 'http'}://{'localhost' if tls else host}:{port}/"
                by_client = observe([*arguments, url, page_url, chromium()], authority)
        else:
            by_client = observe([*arguments, url], authority)
        closes = [json.loads(server.line())]
        while closes[-1]["path"] != "/closed-by-client":
            closes.append(json.loads(server.line()))
    return Seen(by_client, closes)


@pytest.fixture(params=[*ALL, *(f"{name}-tls" for name in OVER_TLS)])
def variant(request: pytest.FixtureRequest) -> str:
    """A client by name, with "-tls" behind it when it talks over TLS."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def name(variant: str) -> str:
    """The client of this variant."""
    return variant.removesuffix("-tls")


@pytest.fixture
def seen(variant: str, name: str, stack: Stack, runs: dict[tuple[str, Stack], Seen]) -> Iterator[Seen]:
    """What this client saw on this stack."""
    if (variant, stack) not in runs:
        runs[variant, stack] = run(name, stack, variant.endswith("-tls"))
    yield runs[variant, stack]


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_client_sees_what_it_must(scenario: str, name: str, seen: Seen) -> None:
    if scenario in ALL[name].cannot:
        assert scenario not in seen.by_client
    else:
        assert seen.by_client[scenario] == EXPECTED[scenario]


def test_the_server_sees_the_close_of_a_client(seen: Seen) -> None:
    assert seen.closes[-1] == {"path": "/closed-by-client", "code": 4002, "reason": "see you €"}


@pytest.mark.parametrize("variant", ["chromium", "chromium-tls"], indirect=True)
def test_the_page_of_the_command_shows_what_comes_back(seen: Seen) -> None:
    hello, markup = "hello", "<b>café</b>"
    assert seen.by_client["page"] == [["sent", hello], ["received", hello], ["sent", markup], ["received", markup]]
