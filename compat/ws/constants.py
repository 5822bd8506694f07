"""What the modules of this package agree on."""

from __future__ import annotations

__all__ = ["BINARY_TYPES", "CLOSE_TIMEOUT", "CLOSED", "CLOSING", "CONNECTING", "EMPTY_BUFFER", "GUID", "OPEN"]

#: ``binaryType`` of a WebSocket. ``blob`` of the original is left out: Python has no such type.
BINARY_TYPES = ("nodebuffer", "arraybuffer", "fragments")

#: How long `WebSocket.close` waits for the answer of the peer, in milliseconds.
CLOSE_TIMEOUT = 30_000

EMPTY_BUFFER = b""

#: RFC 6455 section 1.3.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# WebSocket.readyState
CONNECTING = 0
OPEN = 1
CLOSING = 2
CLOSED = 3

READY_STATES = ("CONNECTING", "OPEN", "CLOSING", "CLOSED")
