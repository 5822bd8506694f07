"""Every exception that lws_gevent raises on purpose (layer 0).

All of them are :class:`LwsError`, so one ``except lws_gevent.LwsError`` covers the library. Misuse by the application
(a wrong type, a value out of range) raises the ordinary ``TypeError`` and ``ValueError`` instead.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "BackpressureExceeded",
    "ConnectionClosed",
    "HandshakeError",
    "LwsError",
    "PayloadTooBig",
    "ProtocolError",
]


class LwsError(Exception):
    """Base of all errors of this library."""


class ConnectionClosed(LwsError):  # noqa: N818 - a public name of the interface
    """The operation needs an open connection, and this one has ended or is ending.

    ``code`` is the close code of RFC 6455 section 7.4 (1005: the peer's close frame had none; 1006: the connection was
    lost without a close frame), ``reason`` the text that came with it.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        # repr: a reason comes from the peer, it must not be able to forge lines in a log.
        return f"the connection is closed: {self.code}" + (f" {self.reason!r}" if self.reason else "")


class HandshakeError(LwsError):
    """An opening handshake (RFC 6455 section 4) failed.

    On a server it is raised by the request parser and carries the response that the peer deserves; on a client it
    carries the response that the server gave. ``status`` is the HTTP status (0: there was no answer that could be
    understood; 101: the server agreed, but to something else than it was asked), ``headers`` a mapping of the
    response's headers, ``body`` the (bounded) body in octets, ``problem`` one sentence for the log.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", problem: str = ""
    ) -> None:
        super().__init__(status, headers, body, problem)
        self.status = status
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.body = body
        self.problem = problem

    def __str__(self) -> str:
        outcome = "failed" if self.status in (0, 101) else f"was refused with status {self.status}"
        return f"the handshake {outcome}" + (f": {self.problem}" if self.problem else "")


class ProtocolError(LwsError):
    """The peer broke RFC 6455; the connection is failed (section 7.1.7) with ``close_code``.

    ``problem`` says in one sentence what was wrong; it never contains anything that the peer has sent. ``detail`` is
    the number that was wrong: an opcode, reserved bits, a payload length or a close code; 0 where it is none of them.
    """

    def __init__(self, close_code: int = 1002, problem: str = "") -> None:
        super().__init__(close_code, problem)
        self.close_code = close_code
        self.problem = problem
        self.detail = 0

    def __str__(self) -> str:
        return f"{self.problem or 'protocol error'} (close code {self.close_code})"


class PayloadTooBig(ProtocolError):  # noqa: N818 - a public name of the interface
    """The peer announced or sent a message longer than ``max_payload``; the close code is 1009."""

    def __init__(self, close_code: int = 1009, problem: str = "the message is longer than max_payload") -> None:
        super().__init__(close_code, problem)


class BackpressureExceeded(LwsError):  # noqa: N818 - a public name of the interface
    """The connection's send buffer is over ``max_backpressure`` and the caller may not block (it is in the hub)."""
