"""What the compressing clients share. Arguments: one JSON object, name -> port, of deflate_server.py."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from deflate_values import MESSAGES, WINDOWS, digest

__all__ = ["MESSAGES", "WINDOWS", "main"]

PORTS: dict[str, int] = json.loads(sys.argv[1])


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
