"""socketify: uWebSockets driven from Python (through cffi)."""

from __future__ import annotations

from typing import Any

from common import MAX_PAYLOAD, announce, listen, parse_arguments
from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()
compression = False


def echo(socket: Any, message: str | bytes, opcode: OpCode) -> None:
    socket.send(message, opcode, compression)


def broadcast(socket: Any, message: str | bytes, opcode: OpCode) -> None:
    app.publish("all", message, opcode)


def subscribe(socket: Any) -> None:
    socket.subscribe("all")


def main() -> None:
    global compression
    arguments = parse_arguments("socketify")
    compression = arguments.deflate
    port = arguments.port
    if not port:  # socketify cannot tell which port it was given
        with listen(0) as probe:
            port = probe.getsockname()[1]
    behaviour: dict[str, Any] = {
        "compression": CompressOptions.SHARED_COMPRESSOR if compression else CompressOptions.DISABLED,
        "max_payload_length": MAX_PAYLOAD,
        "max_backpressure": MAX_PAYLOAD,
        "idle_timeout": 0,
        "message": broadcast if arguments.broadcast else echo,
    }
    if arguments.broadcast:
        behaviour["open"] = subscribe
    app.ws("/*", behaviour)
    app.listen(AppListenOptions(port=port, host="127.0.0.1"), lambda config: announce(port))
    app.run()


main()
