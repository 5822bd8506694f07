"""Python's websockets, compressing."""

from __future__ import annotations

from deflate_common import MESSAGES, WINDOWS, main
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


async def echo(url, asked):
    extensions = [ClientPerMessageDeflateFactory(**{"client_max_window_bits": True, **asked})]
    async with connect(url, max_size=None, compression=None, extensions=extensions, proxy=None) as client:
        answers = []
        for message in MESSAGES:
            await client.send(message)
            answers.append(await client.recv())
        return answers


main(
    echo,
    [
        {
            "server_no_context_takeover": none,
            "client_no_context_takeover": none,
            "server_max_window_bits": bits,
            "client_max_window_bits": bits,
        }
        for bits in WINDOWS
        for none in (False, True)
    ],
)
