"""The client's side of permessage-deflate for tests (RFC 7692): made with the standard library's zlib, sharing no code
with lws_gevent, and strict about what the server has agreed to."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Frame, PeerClosed, decode_close, encode

RSV1 = 4
TAIL = b"\x00\x00\xff\xff"


def extensions(value: str = "permessage-deflate; client_max_window_bits") -> list[tuple[str, str]]:
    """The headers of a client that offers compression."""
    return [("Sec-WebSocket-Extensions", value)]


def deflated(data: bytes, bits: int = 15) -> bytes:
    """The payload of one compressed message, without any context."""
    compressor = zlib.compressobj(wbits=-bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def inflated(payload: bytes) -> bytes:
    """What such a payload says."""
    return zlib.decompressobj(wbits=-15).decompress(payload + TAIL)


class DeflatePeer:
    """A client whose server has accepted one of its offers; keeps to what was agreed, and holds the server to it."""

    def __init__(self, client: Client, *, strict_window: bool = False) -> None:
        """`strict_window`: every distance is checked, octet by octet, which takes its time."""
        assert client.response is not None
        self.client = client
        self.header = client.response.headers.get("sec-websocket-extensions", "")
        name, *parameters = [part.strip() for part in self.header.split(";")]
        assert name == "permessage-deflate", self.header
        self.parameters = {key: value for key, _, value in (part.partition("=") for part in parameters)}
        assert len(self.parameters) == len(parameters), self.header
        self.server_bits = int(self.parameters.get("server_max_window_bits", "15"))
        self.client_bits = int(self.parameters.get("client_max_window_bits", "15"))
        self.server_keeps_context = "server_no_context_takeover" not in self.parameters
        self.client_keeps_context = "client_no_context_takeover" not in self.parameters
        #: Of the last message that was received: the octets on the wire, and whether they were compressed.
        self.wire_length = 0
        self.was_compressed = False
        self._step = 1 if strict_window else 0
        self._compressor: Any = None
        self._decompressor: Any = None

    # Sending

    def compress(self, data: bytes) -> bytes:
        """The payload of one message, in our context if there is one."""
        compressor = self._compressor or zlib.compressobj(wbits=-self.client_bits)
        self._compressor = compressor if self.client_keeps_context else None
        return bytes((compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL))

    def send(self, message: bytes | str, cuts: Iterable[int] = ()) -> None:
        """One compressed message, its payload cut into frames at these places."""
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = self.compress(message.encode() if isinstance(message, str) else message)
        self.client.send_raw(b"".join(frames(opcode, payload, cuts)))

    # Receiving

    def recv_frames(self) -> list[Frame]:
        """The data frames of the next message; PeerClosed at a close frame. Pings and pongs are passed over."""
        found: list[Frame] = []
        while not found or not found[-1].fin:
            frame = self.client.recv_frame()
            if frame.opcode in (PING, PONG):
                assert frame.rsv == 0, "control frames are never compressed"
            elif frame.opcode == CLOSE:
                assert frame.rsv == 0, "control frames are never compressed"
                raise PeerClosed(*decode_close(frame.payload))
            elif found:
                assert (frame.opcode, frame.rsv) == (CONTINUATION, 0), frame
                found.append(frame)
            else:
                assert frame.opcode in (TEXT, BINARY) and frame.rsv in (0, RSV1), frame
                found.append(frame)
        return found

    def recv(self) -> bytes | str:
        """The next message, inflated if it was compressed."""
        received = self.recv_frames()
        payload = b"".join(frame.payload for frame in received)
        self.wire_length = len(payload)
        self.was_compressed = received[0].rsv == RSV1
        if self.was_compressed:
            payload = self.inflate(payload + TAIL)
        return payload.decode() if received[0].opcode == TEXT else payload

    def inflate(self, octets: bytes) -> bytes:
        decompressor = self._decompressor or zlib.decompressobj(wbits=-self.server_bits)
        self._decompressor = decompressor if self.server_keeps_context else None
        pieces = [decompressor.decompress(octets, self._step)]
        while pieces[-1] and self._step:
            pieces.append(decompressor.decompress(decompressor.unconsumed_tail, self._step))
        assert not decompressor.unconsumed_tail
        return b"".join(pieces)

    def echo(self, message: bytes | str) -> None:
        """The server must give back what we send."""
        self.send(message)
        answer = self.recv()
        assert answer == message, (answer[:100], message[:100])


def frames(opcode: int, payload: bytes, cuts: Iterable[int] = (), rsv: int = RSV1) -> Iterator[bytes]:
    """A message in frames, cut at these places (those that it is long enough for); RSV1 on the first one."""
    begins = [0, *(cut for cut in cuts if cut <= len(payload))]
    for index, (begin, end) in enumerate(zip(begins, [*begins[1:], len(payload)], strict=True)):
        last = index == len(begins) - 1
        yield encode(CONTINUATION if index else opcode, payload[begin:end], fin=last, rsv=0 if index else rsv)
