"""The exceptions of websocket-client, and what of ours becomes which of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from gevent import socket

from lws_gevent import ConnectionClosed, HandshakeError, ProtocolError

__all__ = [
    "WebSocketAddressException",
    "WebSocketBadStatusException",
    "WebSocketConnectionClosedException",
    "WebSocketException",
    "WebSocketPayloadException",
    "WebSocketProtocolException",
    "WebSocketProxyException",
    "WebSocketTimeoutException",
]


class WebSocketException(Exception):
    """The base of the others."""


class WebSocketProtocolException(WebSocketException):
    """The server has broken the protocol."""


class WebSocketPayloadException(WebSocketException):
    """A payload is not what it should be, as text that is not UTF-8."""


class WebSocketConnectionClosedException(WebSocketException):
    """The connection has ended."""


class WebSocketTimeoutException(WebSocketException):
    """Nothing has come within the timeout."""


class WebSocketProxyException(WebSocketException):
    """A proxy refuses, or answers wrongly."""


class WebSocketBadStatusException(WebSocketException):
    """The server answers with another status than 101."""

    def __init__(
        self,
        message: str,
        status_code: int,
        status_message: str | None = None,
        resp_headers: dict[str, str] | None = None,
        resp_body: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.status_message = status_message
        self.resp_headers = resp_headers
        self.resp_body = resp_body


class WebSocketAddressException(WebSocketException):
    """The name of the server is not known."""


@contextmanager
def translated() -> Iterator[None]:
    """Our exceptions as those of websocket-client. Other OSErrors, as a refused connection, are the same in both."""
    try:
        yield
    except HandshakeError as error:
        raise _refused(error) from error
    except ConnectionClosed as error:
        raise WebSocketConnectionClosedException("Connection to remote host was lost.") from error
    except socket.gaierror as error:
        raise WebSocketAddressException(*error.args) from error
    except TimeoutError as error:
        raise WebSocketTimeoutException(str(error)) from error


def of_protocol(error: ProtocolError) -> WebSocketException:
    """For what a server must not send."""
    kind = WebSocketPayloadException if error.close_code in (1007, 1009) else WebSocketProtocolException
    return kind(str(error))


def _refused(error: HandshakeError) -> WebSocketException:
    if "proxy" in error.problem:
        return WebSocketProxyException(str(error))
    if error.status in (0, 101):
        return WebSocketException(str(error))
    phrase = next((status.phrase for status in HTTPStatus if status == error.status), "")
    headers = lowered(error.headers)
    message = f"Handshake status {error.status} {phrase} -+-+- {headers} -+-+- {error.body!r}"
    return WebSocketBadStatusException(message, error.status, phrase, headers, error.body)


def lowered(headers: Any) -> dict[str, str]:
    """Headers as websocket-client tells them: their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}
