"""aiohttp on uvloop, without compression unless asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from aiohttp import WSMsgType, web
from common import BACKLOG, MAX_PAYLOAD, announce, listen, parse_arguments

connections: set[web.WebSocketResponse] = set()
compression = False


async def send(socket: web.WebSocketResponse, kind: WSMsgType, data: Any) -> None:
    if kind is WSMsgType.TEXT:
        await socket.send_str(data)
    elif kind is WSMsgType.BINARY:
        await socket.send_bytes(data)


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=compression, max_msg_size=MAX_PAYLOAD)
    await socket.prepare(request)
    async for message in socket:
        await send(socket, message.type, message.data)
    return socket


async def broadcast(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=compression, max_msg_size=MAX_PAYLOAD)
    await socket.prepare(request)
    connections.add(socket)
    try:
        async for message in socket:
            for receiver in list(connections):
                await send(receiver, message.type, message.data)
    finally:
        connections.discard(socket)
    return socket


async def main() -> None:
    global compression
    arguments = parse_arguments("aiohttp on uvloop")
    compression = arguments.deflate
    listener = listen(arguments.port)
    application = web.Application()
    application.router.add_get("/", broadcast if arguments.broadcast else echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    announce(listener.getsockname()[1])
    await asyncio.Event().wait()


uvloop.install()
asyncio.run(main())
