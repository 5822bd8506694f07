"""What is sent to be compressed, for clients in Python and for the test; deflate_values.mjs is the same for Node."""

from __future__ import annotations

import hashlib
from typing import Any

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
