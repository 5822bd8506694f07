"""The access log (layer 2): a line for each connection that has ended, for each request that was refused or answered.

A line holds what is needed to count and to trace: whom it came from, what was asked for and what became of it. It never
holds payload, headers or the query of the request, where browsers put the credentials of a WebSocket; and what a peer
has chosen cannot forge lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["AccessLog", "Logger", "Visit", "access_line"]


class Logger(Protocol):
    """What is needed of a ``logging.Logger``."""

    def isEnabledFor(self, level: int, /) -> bool:  # noqa: N802 - its name
        """Whether anybody wants to have this level."""

    def info(self, msg: object, /, *args: object) -> None:
        """Logs as INFO."""


class Visit:
    """What the log will tell of one connection: begins when it was accepted."""

    __slots__ = ("method", "received", "sent", "started", "status", "target", "version_minor")

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.method: str | None = None  # None: no request that could be understood
        self.target = ""
        self.version_minor = 1
        self.status = 0
        self.received = self.sent = 0


class AccessLog:
    """Where the lines go: to a logger, as INFO, or to a function that takes a str."""

    __slots__ = ("_logger", "_write")

    def __init__(self, target: Any) -> None:
        """`target`: True (the logger ``lws_gevent.access``), a logger, or a callable."""
        self._logger: Any = None
        self._write: Callable[[str], object] = target
        if target is True:
            import logging  # costs time and memory that a server which never logs does not pay

            self._logger = logging.getLogger("lws_gevent.access")
        elif not callable(target):
            self._logger = target

    def write(
        self,
        address: tuple[str, int] | str,
        method: str | None,
        target: str,
        version_minor: int,
        status: int,
        code: int,
        received: int,
        sent: int,
        started: float,
    ) -> None:
        """Writes the line of one connection. What the logger or the function raises comes out."""
        if self._logger is not None and not self._logger.isEnabledFor(20):  # logging.INFO
            return
        line = access_line(
            address, method, target, version_minor, status, code, received, sent, time.monotonic() - started
        )
        if self._logger is not None:
            self._logger.info("%s", line)
        else:
            self._write(line)


def access_line(
    address: tuple[str, int] | str,
    method: str | None,
    target: str,
    version_minor: int,
    status: int,
    code: int,
    received: int,
    sent: int,
    seconds: float,
) -> str:
    """``127.0.0.1:50000 "GET /chat HTTP/1.1" 101 1000 312 96 4.250``: address, request line without the query, status,
    close code, octets received and sent, seconds. ``-`` stands for what there is not."""
    if not isinstance(address, tuple):
        where = f"unix:{_escaped(address)}"
    else:
        where = f"[{address[0]}]" if ":" in address[0] else address[0]
        where += f":{address[1]}" if address[1] else ""
    request = "-"
    if method is not None:
        request = _escaped(f"{method} {target.partition('?')[0]} HTTP/1.{version_minor}")
    return f'{where} "{request}" {status or "-"} {code or "-"} {received} {sent} {seconds:.3f}'


def _escaped(text: str) -> str:
    """Without control characters, line breaks, quotation marks and whatever is not ASCII."""
    return text.encode("unicode_escape").decode("ascii").replace('"', "\\x22")
