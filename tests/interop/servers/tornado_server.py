"""An echo server of tornado; "close" makes it close the connection. It prints its port."""

import asyncio
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler


class Echo(WebSocketHandler):
    """See the module."""

    def get_compression_options(self) -> dict[str, Any]:
        return {}

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "v2" if "v2" in subprotocols else None

    def on_message(self, message: str | bytes) -> None:
        if message == "close":
            self.close(4001, "as you wish")
        else:
            self.write_message(message, binary=isinstance(message, bytes))


async def main() -> None:
    server = HTTPServer(Application([("/", Echo)], websocket_max_message_size=64 * 1024 * 1024))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
