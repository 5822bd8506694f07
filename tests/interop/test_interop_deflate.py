"""Clients of other projects exchange compressed messages with the server: windows of 9 to 15 bits, with context
takeover and without, as the server asks for it, and as the client does.

A client runs once for each stack, in a process of its own against servers in another.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from clients.deflate_values import MESSAGES, WINDOWS, digest
from drive import HERE, chromium, node_client, observe, python_client
from helpers import Stack, environment
from tools import Process

pytestmark = [pytest.mark.interop, pytest.mark.timeout_factor(4)]

OCTETS = [message.encode() if isinstance(message, str) else message for message in MESSAGES]

#: What every client must get back, each time.
EXPECTED = digest(MESSAGES)

SERVER_ASKS = [f"{bits} {takeover}" for bits in WINDOWS for takeover in ("none", "takeover")]


def _chromium() -> list[str]:
    chromium()
    return node_client("deflate_chromium.mjs", "playwright-core")


class Asked(NamedTuple):
    """What a client asks for by itself: what it calls that, the window (None: it says nothing of it), and whether
    contexts may be kept."""

    name: str
    server_bits: int
    client_bits: int | None
    keeps: bool


def _by_python() -> list[Asked]:
    names = (
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
    )
    return [
        Asked(json.dumps(dict(zip(names, (none, none, bits, bits), strict=True))), bits, bits, not none)
        for bits, none in itertools.product(WINDOWS, (False, True))
    ]


def _by_node() -> list[Asked]:
    names = ("serverNoContextTakeover", "clientNoContextTakeover", "serverMaxWindowBits", "clientMaxWindowBits")
    return [
        Asked(
            json.dumps(dict(zip(names, (none, none, bits, bits), strict=True)), separators=(",", ":")),
            bits,
            bits,
            not none,
        )
        for bits, none in itertools.product(WINDOWS, (False, True))
    ]


def _by_aiohttp() -> list[Asked]:
    return [Asked(json.dumps({"server_max_window_bits": bits}), bits, None, True) for bits in WINDOWS]


class Client(NamedTuple):
    """One client: its command, and what it asks for; a browser asks for nothing."""

    command: Callable[[], list[str]]
    asks: list[Asked]


ALL = {
    "node-ws": Client(lambda: node_client("deflate_node_ws.mjs", "ws"), _by_node()),
    "chromium": Client(_chromium, []),
    "websockets": Client(python_client("deflate_websockets.py", "websockets"), _by_python()),
    "aiohttp": Client(python_client("deflate_aiohttp.py", "aiohttp"), _by_aiohttp()),
}


class Ended(NamedTuple):
    """A connection as the server saw it."""

    parameters: dict[str, str]
    received: int
    sent: int


class Seen(NamedTuple):
    by_client: dict[str, Any]
    by_server: dict[str, list[Ended]]


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, Stack], Seen]:
    return {}


def run(name: str, stack: Stack) -> Seen:
    """Run one client against servers of this stack."""
    command = ALL[name].command()
    options = json.dumps({"engine": stack.engine})
    with Process([sys.executable, str(HERE / "deflate_server.py"), options], environment(stack)) as server:
        ports = server.line()
        by_client = observe([*command, ports, *([chromium()] if name == "chromium" else [])])
        by_server: dict[str, list[Ended]] = {}
        for _ in by_client:
            ended = json.loads(server.line())
            extension, *parameters = ended["extensions"].split("; ")
            assert extension == "permessage-deflate"
            pairs = dict(parameter.partition("=")[::2] for parameter in parameters)
            by_server.setdefault(ended["name"], []).append(Ended(pairs, ended["octets_received"], ended["octets_sent"]))
    return Seen(by_client, by_server)


@pytest.fixture(params=ALL)
def name(request: pytest.FixtureRequest) -> str:
    client: str = request.param
    return client


@pytest.fixture
def seen(name: str, stack: Stack, runs: dict[tuple[str, Stack], Seen]) -> Seen:
    if (name, stack) not in runs:
        runs[name, stack] = run(name, stack)
    return runs[name, stack]


def is_small(ended: Ended, keeps: bool) -> bool:
    """Whether what went to and fro was compressed, better with context takeover. Heads of HTTP are counted too."""
    return max(ended.received, ended.sent) < sum(map(len, OCTETS)) / (2 if keeps else 1.5)


def test_every_message_comes_back_as_the_server_asks(name: str, seen: Seen) -> None:
    for case in SERVER_ASKS:
        assert seen.by_client[case] == EXPECTED, case


def test_the_server_gets_what_it_asks_for(name: str, seen: Seen) -> None:
    for case in SERVER_ASKS:
        bits, takeover = case.split(" ")
        (ended,) = seen.by_server[case]
        expected = {"server_no_context_takeover": "", "client_no_context_takeover": ""} if takeover == "none" else {}
        if bits != "15":
            expected |= {"server_max_window_bits": bits, "client_max_window_bits": bits}
        assert ended.parameters == expected, case
        assert is_small(ended, takeover == "takeover"), (case, ended)


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name].asks], indirect=True)
def test_every_message_comes_back_as_the_client_asks(name: str, seen: Seen) -> None:
    asks = ALL[name].asks
    assert set(seen.by_client) == {*SERVER_ASKS, *(asked.name for asked in asks)}
    for asked, ended in zip(asks, seen.by_server["any"], strict=True):
        assert seen.by_client[asked.name] == EXPECTED, asked
        expected = {} if asked.keeps else {"server_no_context_takeover": "", "client_no_context_takeover": ""}
        if asked.server_bits != 15 or "server_max_window_bits" in ended.parameters:
            expected["server_max_window_bits"] = str(asked.server_bits)
        if asked.client_bits not in (15, None):
            expected["client_max_window_bits"] = str(asked.client_bits)
        assert ended.parameters == expected, asked
        assert is_small(ended, asked.keeps), (asked, ended)
