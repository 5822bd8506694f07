"""The header Sec-WebSocket-Protocol (RFC 6455 section 4.1)."""

from __future__ import annotations

from lws_gevent.compat.ws.errors import WSSyntaxError
from lws_gevent.compat.ws.validation import tokenChars

__all__ = ["parse"]


def parse(header: str) -> dict[str, None]:
    """The names in the header, in order and without repetition: the keys of a dict stand for JavaScript's Set.

    WSSyntaxError for a malformed header and for a name that comes twice.
    """
    protocols: dict[str, None] = {}
    start = end = -1

    def add(name: str) -> None:
        if name in protocols:
            raise WSSyntaxError(f'The "{name}" subprotocol is duplicated')
        protocols[name] = None

    for index, character in enumerate(header):
        if end == -1 and character in tokenChars:
            if start == -1:
                start = index
        elif index != 0 and character in " \t":
            if end == -1 and start != -1:
                end = index
        elif character == "," and start != -1:
            add(header[start : index if end == -1 else end])
            start = end = -1
        else:
            raise WSSyntaxError(f"Unexpected character at index {index}")
    if start == -1 or end != -1:
        raise WSSyntaxError("Unexpected end of input")
    add(header[start:])
    return protocols
