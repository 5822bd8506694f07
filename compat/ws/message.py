"""HTTP messages as Node's ``http`` module shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from lws_gevent.compat.ws.emitter import EventEmitter
from lws_gevent.compat.ws.errors import WSError
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["IncomingMessage", "statusPhrase"]

#: Node keeps the first of several; all others are joined.
_SINGLE = frozenset(
    "age authorization content-length content-type etag expires from host if-modified-since if-unmodified-since "
    "last-modified location max-forwards proxy-authorization referer retry-after server user-agent".split()
)


def statusPhrase(code: int) -> str:
    """The reason phrase of a status: ``http.STATUS_CODES``."""
    try:
        return {413: "Payload Too Large", 416: "Range Not Satisfiable", 418: "I'm a Teapot"}.get(
            code, HTTPStatus(code).phrase
        )
    except ValueError:
        return "unknown"


class IncomingMessage(EventEmitter):
    """A request that a server got (``method``, ``url``), or a response that a client got (``statusCode``,
    ``statusMessage``); ``headers`` with lower-case names, ``rawHeaders``, ``httpVersion``, ``socket``. Its body comes
    as ``'data'`` and ``'end'``.
    """

    def __init__(self, socket: Any, headers: Iterable[tuple[str, str]], httpVersion: str = "1.1") -> None:
        super().__init__()
        self.socket = socket
        self.httpVersion = httpVersion
        self.rawHeaders: list[str] = []
        self.headers: dict[str, Any] = {}
        self.method: str | None = None
        self.url: str = ""
        self.statusCode: int | None = None
        self.statusMessage: str | None = None
        self._body: Callable[[IncomingMessage], None] | None = None
        self._reading = False
        self.ended = False
        for name, value in headers:
            self._add_header(name, value)

    @property
    def connection(self) -> Any:
        """The same as `socket`, its name of old."""
        return self.socket

    def _add_header(self, name: str, value: str) -> None:
        self.rawHeaders += [name, value]
        name = name.lower()
        if name == "set-cookie":
            self.headers.setdefault(name, []).append(value)
        elif name not in self.headers:
            self.headers[name] = value
        elif name not in _SINGLE:
            self.headers[name] += ("; " if name == "cookie" else ", ") + value

    def _add(self, event: str, function: Callable[..., Any] | None, *, once: bool, first: bool) -> Any:
        result = super()._add(event, function, once=once, first=first)
        if event in ("data", "end") and function is not None:
            self.resume()
        return result

    def resume(self) -> Any:
        """Reads the body, whether or not anybody listens."""
        if not self._reading:
            self._reading = True
            nextTick(self._read_body)
        return self

    def _read_body(self) -> None:
        if self._body is not None:
            self._body(self)
        self._end()

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self.emit("end")

    def destroy(self, error: WSError | None = None) -> None:
        """Ends the connection."""
        self.socket.destroy(error)
