"""websockets on uvloop, without compression unless asked for, and without its keep-alive pings: others send none."""

from __future__ import annotations

import asyncio

import uvloop
from common import MAX_PAYLOAD, announce, listen, parse_arguments
from websockets.asyncio.server import ServerConnection, broadcast, serve

connections: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def broadcast_all(connection: ServerConnection) -> None:
    connections.add(connection)
    try:
        async for message in connection:
            broadcast(connections, message)
    finally:
        connections.discard(connection)


async def main() -> None:
    arguments = parse_arguments("websockets on uvloop")
    listener = listen(arguments.port)
    handler = broadcast_all if arguments.broadcast else echo
    server = await serve(
        handler,
        sock=listener,
        backlog=4096,
        compression="deflate" if arguments.deflate else None,
        max_size=MAX_PAYLOAD,
        ping_interval=None,
    )
    announce(listener.getsockname()[1])
    await server.serve_forever()


uvloop.install()
asyncio.run(main())
