"""What the tests of the codec share: the implementations there are, and how to feed and drain a Protocol."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from client import xor

from lws_gevent.codec import Codec, load
from lws_gevent.frames import Role


def available_codecs() -> list[Codec]:
    """The compiled codec where it is built (it must be when LWS_GEVENT_REQUIRE_C is set), and its twin."""
    codecs = []
    if os.environ.get("LWS_GEVENT_PURE_PYTHON") != "1":
        try:
            codecs.append(load("c"))
        except ImportError:
            if os.environ.get("LWS_GEVENT_REQUIRE_C") == "1":
                raise
    return [*codecs, load("python")]


CODECS = available_codecs()


def drain(protocol: Any) -> list[tuple[Any, ...]]:
    """Every event that there is now. It must end: no event is given twice."""
    events = []
    while (event := protocol.next_event()) is not None:
        events.append(event)
    return events


def receive(protocol: Any, data: bytes, sizes: Iterable[int] = ()) -> list[tuple[Any, ...]]:
    """The events of `data`, fed in chunks of `sizes` octets (what is left comes last), drained after each."""
    events = []
    position = 0
    for size in sizes:
        if position >= len(data):
            break
        protocol.receive_data(data[position : position + size])
        position += size
        events += drain(protocol)
    if position < len(data):
        protocol.receive_data(data[position:])
        events += drain(protocol)
    return events


def plain(event: tuple[Any, ...], words: bool = False) -> tuple[Any, ...]:
    """An event that compares: an error as its type and close code, and, with `words`, what it says."""
    if event[0] == "error":
        return ("error", type(event[1]).__name__, event[1].close_code, *([event[1].problem] if words else []))
    return event


def sent(protocol: Any) -> bytes:
    """What the protocol has to send, as one piece."""
    pieces = protocol.data_to_send()
    assert all(type(piece) is bytes for piece in pieces), pieces
    return b"".join(pieces)


class SentFrame(NamedTuple):
    """One frame that the protocol has written, unmasked."""

    opcode: int
    payload: bytes
    fin: bool
    key: bytes | None
    rsv1: bool = False


def decode(data: bytes, rsv1: bool = False) -> list[SentFrame]:
    """All frames of `data`, by RFC 6455 section 5.2 directly; they must be complete and in their shortest form. `rsv1`:
    whether RSV1 may be set."""
    frames = []
    while data:
        assert not data[0] & (0x30 if rsv1 else 0x70), "reserved bits"
        length, position = data[1] & 0x7F, 2
        if length >= 126:
            position = 4 if length == 126 else 10
            length = int.from_bytes(data[2:position], "big")
            assert length > (125 if position == 4 else 0xFFFF), "not the shortest form"
        key = None
        if data[1] & 0x80:
            key = data[position : position + 4]
            position += 4
        payload = data[position : position + length]
        assert len(payload) == length, "incomplete"
        plain_payload = xor(payload, key) if key else payload
        frames.append(SentFrame(data[0] & 15, plain_payload, bool(data[0] & 0x80), key, bool(data[0] & 0x40)))
        data = data[position + length :]
    return frames


ROLES = (Role.SERVER, Role.CLIENT)
