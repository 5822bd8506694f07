"""What is said of a mistake in more than one place (layer 0): both engines, the codec and its twin say the same."""

from __future__ import annotations

__all__ = [
    "FRAGMENTS_ENDED",
    "FRAGMENTS_OPEN",
    "NOT_OPEN_YET",
    "NOT_UTF8",
    "ONLY_PLAIN_REQUESTS",
    "OTHER_KIND",
    "WRONG_THREAD",
    "not_prepared",
    "too_long_for_control",
]

NOT_OPEN_YET = "the connection is not open yet"
WRONG_THREAD = "this belongs to the hub of another thread: call it there, by server.run_threadsafe(f, *args)"
ONLY_PLAIN_REQUESTS = "respond() answers plain HTTP requests only"
NOT_UTF8 = "the payload of a text message must be UTF-8"
FRAGMENTS_OPEN = "a fragmented message is open: its last fragment comes first"
FRAGMENTS_ENDED = "somebody else has ended the fragmented message"
OTHER_KIND = "the first fragment has decided between text and binary"


def not_prepared(what: object) -> str:
    """For `send_prepared`."""
    return f"send_prepared() sends what prepare_buffer() has made, not {type(what).__name__}"


def too_long_for_control(octets: int) -> str:
    """For pings and pongs (RFC 6455 section 5.5)."""
    return f"a ping or pong has at most 125 octets, not {octets}"
