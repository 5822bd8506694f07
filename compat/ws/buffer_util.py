"""Octets: from what JavaScript programs pass to `send`, and under a masking key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lws_gevent.compat.ws.errors import WSTypeError

__all__ = ["concat", "mask", "numberText", "textOctets", "toBuffer", "toText"]


def concat(parts: Iterable[bytes], totalLength: int | None = None) -> bytes:
    """The octets of `parts` in one piece. `totalLength` is the original's hint of how many; it is not needed."""
    parts = tuple(parts)
    return parts[0] if len(parts) == 1 and type(parts[0]) is bytes else b"".join(parts)


def mask(data: bytes | bytearray | memoryview, key: bytes | bytearray) -> bytes:
    """`data` under the masking `key` of four octets (RFC 6455 section 5.3), in new memory; its own inverse."""
    size = len(data)
    stream = (bytes(key) * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(size, "little")


def numberText(number: int | float) -> str:
    """A number as JavaScript prints it: ``1.0`` is ``1``."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def textOctets(text: str) -> bytes:
    """`text` in UTF-8. As in JavaScript, half of a surrogate pair alone becomes U+FFFD."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")


def toText(data: Any) -> str:
    """What ``String(data)`` is for received octets: U+FFFD where they are no UTF-8."""
    if isinstance(data, str):
        return data
    if isinstance(data, (list, tuple)):
        data = b"".join(data)
    return str(bytes(data), "utf-8", "replace")


def toBuffer(data: Any) -> bytes:
    """The octets of anything that can be sent: str, any object with the buffer protocol, a list of octets.

    Octets of the caller that can still change are copied. TypeError for everything else.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return textOctets(data)
    if isinstance(data, (list, tuple)):
        return bytes(element & 0xFF for element in data)
    try:
        return memoryview(data).tobytes()
    except TypeError:
        raise WSTypeError(
            f"The data must be a string, a bytes-like object or a list of octets, not {type(data).__name__}"
        ) from None
