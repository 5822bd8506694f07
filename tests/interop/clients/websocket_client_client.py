"""websocket-client, its blocking interface."""

from __future__ import annotations

import struct

import websocket
from common import BINARY, CLOSE, LARGE, PIECES, PING, TEXT, URL, digest, main, shown
from websocket import ABNF


def connected(path: str = "/echo") -> websocket.WebSocket:
    return websocket.create_connection(URL + path, timeout=20, http_no_proxy=["127.0.0.1"])


def received(client):
    opcode, data = client.recv_data()
    return data.decode() if opcode == ABNF.OPCODE_TEXT else data


def echo(message, opcode):
    client = connected()
    client.send(message, opcode)
    answer = shown(received(client))
    client.close()
    return answer


def large():
    client = connected()
    client.send_binary(LARGE)
    answer = digest(received(client))
    client.close()
    return answer


def send_pieces(client, pieces, opcode):
    for index, piece in enumerate(pieces):
        kind = opcode if index == 0 else ABNF.OPCODE_CONT
        client.send_frame(ABNF.create_frame(piece, kind, fin=int(index == len(pieces) - 1)))


def fragments_sent():
    client = connected()
    send_pieces(client, [piece.encode() for piece in PIECES], ABNF.OPCODE_TEXT)
    send_pieces(client, [b"\x00", b"\xff"], ABNF.OPCODE_BINARY)
    answers = [shown(received(client)) for _ in range(2)]
    client.close()
    return answers


def fragments_received():
    client = connected("/fragments")
    answers = [shown(received(client)) for _ in range(2)]
    client.close()
    return answers


def ping():
    client = connected()
    client.ping(PING)
    opcode, data = client.recv_data(control_frame=True)
    client.close()
    return data.decode() if opcode == ABNF.OPCODE_PONG else opcode


def pinged():
    client = connected("/pings")
    answer = received(client)
    client.close()
    return answer


def closed():
    opcode, data = connected("/closes").recv_data(control_frame=True)
    return [struct.unpack(">H", data[:2])[0], data[2:].decode()] if opcode == ABNF.OPCODE_CLOSE else opcode


def close():
    client = connected("/closed-by-client")
    client.send_close(CLOSE[0], CLOSE[1].encode())
    opcode, data = client.recv_data(control_frame=True)
    return struct.unpack(">H", data[:2])[0] if opcode == ABNF.OPCODE_CLOSE else opcode


main(
    text=lambda: echo(TEXT, ABNF.OPCODE_TEXT),
    binary=lambda: echo(BINARY, ABNF.OPCODE_BINARY),
    empty_text=lambda: echo("", ABNF.OPCODE_TEXT),
    empty_binary=lambda: echo(b"", ABNF.OPCODE_BINARY),
    large=large,
    fragments_sent=fragments_sent,
    fragments_received=fragments_received,
    ping=ping,
    pinged=pinged,
    closed=closed,
    close=close,
)
