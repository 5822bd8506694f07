"""The protocol of a `WebSocketApplication`."""

from __future__ import annotations

from typing import Any

__all__ = ["BaseProtocol"]


class BaseProtocol:
    """Hands everything to its application. A subclass may do more, and name a subprotocol."""

    #: The subprotocol (RFC 6455 section 1.9); "": none.
    PROTOCOL_NAME = ""

    def __init__(self, app: Any) -> None:
        self._app = app

    def on_open(self) -> None:
        """The connection is open."""
        self.app.on_open()

    def on_message(self, message: Any) -> None:
        """A message has come; None: the connection has ended."""
        self.app.on_message(message)

    def on_close(self, reason: Any = None) -> None:
        """The connection has ended."""
        self.app.on_close(reason)

    @property
    def app(self) -> Any:
        """The application."""
        if self._app:
            return self._app
        raise Exception("No application coupled")

    @property
    def server(self) -> Any:
        """The WSGI server."""
        return self.app.ws.handler.server if hasattr(self.app, "ws") else None

    @property
    def handler(self) -> Any:
        """The handler of the request."""
        return self.app.ws.handler if hasattr(self.app, "ws") else None
