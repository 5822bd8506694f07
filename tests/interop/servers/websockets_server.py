"""An echo server of websockets; "close" makes it close the connection. It prints its port."""

import asyncio

from websockets.asyncio.server import ServerConnection, serve


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        if message == "close":
            await socket.close(4001, "as you wish")
        else:
            await socket.send(message)


def choose(socket: ServerConnection, offered: list[str]) -> str | None:
    return "v2" if "v2" in offered else None


async def main() -> None:
    async with serve(echo, "127.0.0.1", 0, max_size=None, select_subprotocol=choose) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
