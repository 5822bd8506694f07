"""The exceptions, which are OSErrors."""

from __future__ import annotations

__all__ = ["FrameTooLargeException", "ProtocolError", "WebSocketError"]


class WebSocketError(OSError):
    """Base of all errors here: the connection is closed."""


class ProtocolError(WebSocketError):
    """A frame that RFC 6455 does not allow."""


class FrameTooLargeException(ProtocolError):
    """A frame that is too large."""
