"""picows, its frame listener: messages are put together from frames here."""

from __future__ import annotations

import asyncio

from common import BINARY, CLOSE, LARGE, PIECES, PING, TEXT, URL, digest, main, shown
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class Listener(WSListener):
    def __init__(self):
        self.received = asyncio.Queue()
        self._pieces = []
        self._binary = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame):
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PONG:
            self.received.put_nowait(("pong", frame.get_payload_as_bytes()))
        elif frame.msg_type == WSMsgType.CLOSE:
            code, reason = int(frame.get_close_code()), frame.get_close_reason()
            self.received.put_nowait(("close", [code, reason]))
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            if frame.msg_type != WSMsgType.CONTINUATION:
                self._binary = frame.msg_type == WSMsgType.BINARY
            self._pieces.append(frame.get_payload_as_bytes())
            if frame.fin:
                data = b"".join(self._pieces)
                self._pieces.clear()
                self.received.put_nowait(data if self._binary else data.decode())


async def connected(path: str = "/echo"):
    transport, listener = await ws_connect(Listener, URL + path, max_frame_size=2 * len(LARGE), enable_auto_pong=False)
    return transport, lambda: asyncio.wait_for(listener.received.get(), 20)


async def echo(kind, message):
    transport, received = await connected()
    transport.send(kind, message)
    answer = await received()
    transport.disconnect()
    return shown(answer)


async def large():
    transport, received = await connected()
    transport.send(WSMsgType.BINARY, LARGE)
    answer = await received()
    transport.disconnect()
    return digest(answer)


async def fragments_sent():
    transport, received = await connected()
    for kind, pieces in (WSMsgType.TEXT, [piece.encode() for piece in PIECES]), (WSMsgType.BINARY, [b"\x00", b"\xff"]):
        for index, piece in enumerate(pieces):
            transport.send(kind if index == 0 else WSMsgType.CONTINUATION, piece, fin=index == len(pieces) - 1)
    answers = [shown(await received()) for _ in range(2)]
    transport.disconnect()
    return answers


async def fragments_received():
    transport, received = await connected("/fragments")
    answers = [shown(await received()) for _ in range(2)]
    transport.disconnect()
    return answers


async def ping():
    transport, received = await connected()
    transport.send_ping(PING.encode())
    kind, data = await received()
    transport.disconnect()
    return data.decode() if kind == "pong" else kind


async def pinged():
    transport, received = await connected("/pings")
    answer = await received()
    transport.disconnect()
    return answer


async def closed():
    _, received = await connected("/closes")
    kind, data = await received()
    return data if kind == "close" else kind


async def close():
    transport, received = await connected("/closed-by-client")
    transport.send_close(CLOSE[0], CLOSE[1].encode())
    kind, data = await received()
    return data[0] if kind == "close" else kind


main(
    text=lambda: echo(WSMsgType.TEXT, TEXT.encode()),
    binary=lambda: echo(WSMsgType.BINARY, BINARY),
    empty_text=lambda: echo(WSMsgType.TEXT, b""),
    empty_binary=lambda: echo(WSMsgType.BINARY, b""),
    large=large,
    fragments_sent=fragments_sent,
    fragments_received=fragments_received,
    ping=ping,
    pinged=pinged,
    closed=closed,
    close=close,
)
