"""What the compressing clients share. Arguments: one JSON object, name -> port, of deflate_server.py."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

PORTS: dict[str, int] = json.loads(sys.argv[1])
WINDOWS = range(9, 16)
LINES = "".join(f"line {number} of the Gr\u00fc\u00dfe \u20ac text\n" for number in range(2000))
# Each is sent and comes back in turn. Those that come again are short with context takeover.
MESSAGES: list[str | bytes] = [
    "Gr\u00fc\u00dfe \u20ac \U0001d11e",
    LINES[:1500],
    "",
    b"",
    bytes(index * index % 251 for index in range(70_000)),
    LINES[:1500],
    LINES,
    bytes(range(256)),
    bytes(100_000),
    LINES[:1500],
]


def digest(messages: list[str | bytes]) -> list[list[Any]]:
    """How messages are reported: kind, octets, checksum."""
    return [
        ["text" if isinstance(message, str) else "binary", len(octets), hashlib.sha256(octets).hexdigest()]
        for message in messages
        for octets in [message.encode() if isinstance(message, str) else bytes(message)]
    ]


def main(echo: Callable[[str, dict[str, Any]], Awaitable[list[str | bytes]]], asks: list[dict[str, Any]]) -> None:
    """`echo(url, asked)` sends MESSAGES and gives what came back. Prints one JSON object: by the server's name, and for
    each of `asks` (what the client asks for by itself) by its JSON, what came back."""
    seen = {}
    todo = [(name, port, {}) for name, port in PORTS.items() if name != "any"]
    todo += [(json.dumps(asked), PORTS["any"], asked) for asked in asks]
    for name, port, asked in todo:
        try:
            seen[name] = digest(asyncio.run(asyncio.wait_for(echo(f"ws://127.0.0.1:{port}/", asked), 20)))
        except Exception:
            seen[name] = [traceback.format_exc()]
    print(json.dumps(seen))
