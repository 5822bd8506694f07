"""What the scripts share: an echo server, and checks that python -O does not remove."""

from __future__ import annotations

from typing import Any

import lws_gevent


def check(condition: object, *what: object) -> None:
    """assert, also under python -O."""
    if not condition:
        raise RuntimeError(f"check failed: {what}")


def echo_server(engine: str, **options: Any) -> Any:
    """A started echo server on a free port of the loopback."""
    server = lws_gevent.Server(host="127.0.0.1", port=0, engine=engine, **options)

    @server.on("message")
    def message(socket: Any, message: Any, binary: bool) -> None:
        server.send(socket, message, binary)

    server.start()
    return server


def address(server: Any) -> tuple[str, int]:
    return "127.0.0.1", server.port
