"""picows on uvloop."""

from __future__ import annotations

import asyncio

import uvloop
from common import announce, listen, parse_arguments
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

transports: set[WSTransport] = set()


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)


class Broadcast(Echo):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transports.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        transports.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            super().on_ws_frame(transport, frame)
            return
        payload = frame.get_payload_as_bytes()
        for receiver in transports:
            receiver.send(frame.msg_type, payload)


async def main() -> None:
    arguments = parse_arguments("picows on uvloop")
    listener = listen(arguments.port)
    listener_class = Broadcast if arguments.broadcast else Echo

    def factory(request: WSUpgradeRequest) -> WSListener:
        return listener_class()

    server = await ws_create_server(factory, sock=listener, backlog=4096, max_frame_size=16 * 1024 * 1024)
    announce(listener.getsockname()[1])
    await server.serve_forever()


uvloop.install()
asyncio.run(main())
