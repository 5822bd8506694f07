"""What may stand in a header, in a close frame and in a text message."""

from __future__ import annotations

from typing import Any

__all__ = ["isValidStatusCode", "isValidUTF8", "tokenChars"]

#: The characters of a token (RFC 9110 section 5.6.2).
tokenChars = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def isValidStatusCode(code: Any) -> bool:
    """Whether a close frame may have this code (RFC 6455 section 7.4)."""
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def isValidUTF8(data: bytes | bytearray | memoryview) -> bool:
    """Whether `data` is UTF-8 (RFC 3629): no surrogates, nothing above U+10FFFF, shortest forms only."""
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
