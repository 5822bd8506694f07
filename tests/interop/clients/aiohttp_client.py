"""aiohttp's client. It has no way to send a message in fragments."""

from __future__ import annotations

from contextlib import asynccontextmanager

import aiohttp
from aiohttp import WSMsgType
from common import BINARY, CLOSE, LARGE, PING, TEXT, URL, digest, main, shown


@asynccontextmanager
async def connected(path: str = "/echo", **options):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session:
        async with session.ws_connect(URL + path, max_msg_size=0, **options) as client:
            yield client


async def echo(message):
    async with connected() as client:
        await (client.send_str(message) if isinstance(message, str) else client.send_bytes(message))
        return shown((await client.receive()).data)


async def large():
    async with connected() as client:
        await client.send_bytes(LARGE)
        return digest((await client.receive()).data)


async def fragments_received():
    async with connected("/fragments") as client:
        return [shown((await client.receive()).data) for _ in range(2)]


async def ping():
    async with connected(autoping=False) as client:
        await client.ping(PING.encode())
        answer = await client.receive()
        return bytes(answer.data).decode() if answer.type == WSMsgType.PONG else str(answer)


async def pinged():
    async with connected("/pings") as client:
        return (await client.receive()).data


async def closed():
    async with connected("/closes") as client:
        answer = await client.receive()
        return [answer.data, answer.extra] if answer.type == WSMsgType.CLOSE else str(answer)


async def close():
    async with connected("/closed-by-client") as client:
        await client.close(code=CLOSE[0], message=CLOSE[1].encode())
        return client.close_code


main(
    text=lambda: echo(TEXT),
    binary=lambda: echo(BINARY),
    empty_text=lambda: echo(""),
    empty_binary=lambda: echo(b""),
    large=large,
    fragments_received=fragments_received,
    ping=ping,
    pinged=pinged,
    closed=closed,
    close=close,
)
