"""The errors of ws under Python's classes: one base, and the four kinds that the original throws."""

from __future__ import annotations

__all__ = ["WSError", "WSRangeError", "WSSyntaxError", "WSTypeError"]


class WSError(Exception):
    """What ws throws, passes to callbacks and emits as ``'error'``.

    ``message`` is the text of the original, ``code`` its code (``WS_ERR_...``, ``Z_DATA_ERROR``) or None, ``errno`` the
    number of an error of zlib, ``statusCode`` the close code that was sent because of it (RFC 6455 section 7.4).
    """

    def __init__(self, message: str, code: str | None = None, statusCode: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.statusCode = statusCode
        self.errno: int | None = None

    @property
    def name(self) -> str:
        """The name of the original's class: ``Error``, ``TypeError``, ``RangeError`` or ``SyntaxError``."""
        return type(self).__name__.removeprefix("WS")


class WSTypeError(WSError, TypeError):
    """A TypeError of ws."""


class WSRangeError(WSError, ValueError):
    """A RangeError of ws."""


class WSSyntaxError(WSError, ValueError):
    """A SyntaxError of ws: a URL, a header or a subprotocol that is not well-formed."""
