"""The vocabulary of RFC 6455: opcodes, close codes, roles and states (layer 0)."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "MAX_CONTROL_PAYLOAD",
    "CloseCode",
    "Opcode",
    "ReadyState",
    "Role",
    "close_code_is_valid",
    "close_payload",
]

#: Octets that a control frame may carry at most (RFC 6455 section 5.5).
MAX_CONTROL_PAYLOAD = 125


class Opcode(IntEnum):
    """What a frame is (RFC 6455 section 5.2). From 8 on they are control frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """The close codes that have a name (RFC 6455 section 7.4.1 and the IANA registry it made).

    1005, 1006 and 1015 are only ever reported, never sent.
    """

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_PAYLOAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


class Role(IntEnum):
    """Which end of the connection we are. A client masks what it sends, a server must not (RFC 6455 section 5.1)."""

    SERVER = 0
    CLIENT = 1


class ReadyState(IntEnum):
    """The state of a connection, numbered as in the WebSocket interface of browsers."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


def close_code_is_valid(code: int) -> bool:
    """Whether a close frame may carry `code` (RFC 6455 section 7.4): 1000-1003, 1007-1014, 3000-4999."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def close_payload(code: int | None, reason: str = "") -> bytes:
    """The payload of a close frame (RFC 6455 section 5.5.1): `code`, then `reason` in UTF-8; empty when `code` is None.

    ValueError: a code that may not be sent, a reason without a code, a reason of more than 123 octets or one that
    UTF-8 cannot express (lone surrogates). TypeError: anything that is not an int and a str.
    """
    if not isinstance(reason, str):
        raise TypeError(f"the reason of a close must be str, not {type(reason).__name__}")
    if code is None:
        if reason:
            raise ValueError("a close reason needs a close code")
        return b""
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"a close code must be int, not {type(code).__name__}")
    if not close_code_is_valid(code):
        raise ValueError(f"close code {int(code)} may not be sent: allowed are 1000-1003, 1007-1014 and 3000-4999")
    payload = code.to_bytes(2, "big") + reason.encode("utf-8")  # UnicodeEncodeError is a ValueError
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError(f"a close reason has at most 123 octets in UTF-8, this one has {len(payload) - 2}")
    return payload
