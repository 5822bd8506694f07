"""aiohttp's client, compressing. It can ask for a window of the server's, and for nothing else."""

from __future__ import annotations

import aiohttp
from deflate_common import MESSAGES, WINDOWS, main


async def echo(url, asked):
    async with aiohttp.ClientSession() as session:
        compress = asked.get("server_max_window_bits", 15)
        async with session.ws_connect(url, max_msg_size=0, compress=compress) as client:
            answers = []
            for message in MESSAGES:
                await (client.send_str(message) if isinstance(message, str) else client.send_bytes(message))
                answers.append((await client.receive()).data)
            return answers


main(echo, [{"server_max_window_bits": bits} for bits in WINDOWS])
