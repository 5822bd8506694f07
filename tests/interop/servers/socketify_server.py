"""An echo server of socketify (uWebSockets); "close" makes it close the connection. It prints its port."""

import socket

from socketify import App, OpCode

with socket.socket() as probe:  # it does not tell which port the system has chosen
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]


def message(ws, message, opcode) -> None:  # type: ignore[no-untyped-def]
    if opcode == OpCode.TEXT and message == "close":
        ws.end(4001, "as you wish")
    else:
        ws.send(message, opcode)


app = App()
app.ws("/*", {"max_payload_length": 64 * 1024 * 1024, "max_backpressure": 64 * 1024 * 1024, "message": message})
app.listen({"port": PORT, "host": "127.0.0.1"}, lambda config: print(PORT, flush=True))
app.run()
