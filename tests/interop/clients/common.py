"""What the Python clients share: the values that are sent, and the loop over the scenarios.

A client prints one JSON object: scenario -> what it saw. The test knows what that must be; a client judges nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

URL = sys.argv[1]
TEXT = "Gr\u00fc\u00dfe \u20ac \U0001d11e"
BINARY = bytes(range(256))
LARGE = (bytes(range(251)) * (16 * 1024 * 1024 // 251 + 1))[: 16 * 1024 * 1024]
PIECES = ["one ", "", "tw\u00f6 ", "three"]
PING = "ping \u20ac"
CLOSE = (4002, "see you \u20ac")


def digest(data: bytes) -> list[Any]:
    """How a large message is reported."""
    return [len(data), hashlib.sha256(data).hexdigest()]


def shown(message: str | bytes) -> dict[str, str]:
    """How a message is reported, with its type."""
    return {"text": message} if isinstance(message, str) else {"binary": bytes(message).hex()}


def main(**scenarios: Callable[[], Any]) -> None:
    """Run the scenarios (plain or coroutine functions) one by one and print what they return."""
    seen = {}
    for name, scenario in scenarios.items():
        try:
            result = scenario()
            if inspect.isawaitable(result):
                result = asyncio.run(result)  # type: ignore[arg-type]
        except Exception:
            result = {"failed": traceback.format_exc()}
        seen[name] = result
    print(json.dumps(seen))
