"""Messages in pieces, as the codec and its twin give them, from the same octets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from client import CONTINUATION, PING, encode
from codec_helpers import CODECS

from lws_gevent.codec import Codec
from lws_gevent.deflate import Deflate, Deflaters
from lws_gevent.extensions import DeflateParameters, PerMessageDeflate
from lws_gevent.frames import Opcode, Role

_SHARED = Deflaters(PerMessageDeflate())
_PARAMETERS = DeflateParameters(True, True, 15, 15)


def protocol(codec: Codec, **options: Any) -> Any:
    """A server's protocol; `compressed` as with permessage-deflate."""
    if options.pop("compressed", False):
        options["deflate"] = Deflate(_PARAMETERS, Role.SERVER, _SHARED)
    return codec.Protocol(Role.SERVER, **{"max_payload": None, **options})


def events(protocol: Any, chunks: list[bytes]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for chunk in chunks:
        protocol.receive_data(chunk)
        while (event := protocol.next_event()) is not None:
            found.append(("error", event[1].close_code) if event[0] == "error" else event)
    return found


class Scene:
    """A random message on its way, fragmented, compressed, cut and followed by a short one."""

    def __init__(self, seed: int) -> None:
        random_ = random.Random(seed)
        self.size = random_.choice([4, 5, 6, 7, 10, 64, 1000])
        self.text = random_.random() < 0.5
        self.compressed = random_.random() < 0.4
        length = random_.choice([0, 1, self.size - 1, self.size, self.size + 1, 2 * self.size, random_.randrange(4000)])
        self.message: str | bytes = random_.randbytes(length) if random_.random() < 0.5 else b"ab" * length
        if self.text:
            self.message = "".join(random_.choice("a\u00e9\u20ac\U0001f600z") for _ in range(length))
        octets = self.message.encode() if isinstance(self.message, str) else self.message
        self.max_payload = random_.choice([None, 1 << 20, len(octets), max(len(octets) - 1, 0)])
        if self.text and octets and random_.random() < 0.3:
            broken = bytearray(octets)
            broken[random_.randrange(len(octets))] = 0xFF
            octets, self.max_payload = bytes(broken), None
        if self.compressed:
            octets = Deflate(_PARAMETERS, Role.CLIENT, _SHARED).compress(octets)
        cuts = sorted(random_.randrange(len(octets) + 1) for _ in range(random_.choice([0, 0, 1, 3])))
        wire = b""
        for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(octets)], strict=True)):
            opcode = CONTINUATION if number else Opcode.TEXT if self.text else Opcode.BINARY
            rsv = 4 if self.compressed and not number else 0
            wire += encode(opcode, octets[begin:end], fin=number == len(cuts), rsv=rsv)
            if random_.random() < 0.2:
                wire += encode(PING, b"ping")
        wire += encode(Opcode.BINARY, b"next")
        step = random_.choice([1, 3, 50, len(wire)])
        self.chunks = [wire[index : index + step] for index in range(0, len(wire), step)]

    def events(self, codec: Codec) -> list[tuple[Any, ...]]:
        options = {"max_payload": self.max_payload, "compressed": self.compressed}
        return events(protocol(codec, buffer_size=self.size, **options), self.chunks)


@pytest.mark.parametrize("first", range(0, 1000, 250))
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_the_pieces_are_the_message(codec: Codec, first: int) -> None:
    whole = 0
    for seed in range(first, first + 250):
        scene = Scene(seed)
        found = scene.events(codec)
        if found[-1][0] == "error":
            continue
        whole += 1
        assert found[-1] == ("message", b"next", True)
        pieces = [event for event in found[:-1] if event[0] != "ping"]
        empty = "" if scene.text else b""
        assert empty.join(event[1] for event in pieces) == scene.message, seed
        assert [event[0] for event in pieces] == ["piece"] * (len(pieces) - 1) + ["message"], seed
        assert all(event[2] is not scene.text for event in pieces)
        lengths = [len(event[1].encode() if scene.text else event[1]) for event in pieces]
        assert max(lengths) <= scene.size and (len(pieces) == 1 or lengths[-1])
        for length, event in zip(lengths[:-1], pieces, strict=False):
            assert event[3] >= 1 and length > scene.size - (4 if scene.text else 1), seed
    assert whole > 100


@pytest.mark.skipif(len(CODECS) < 2, reason="the codec in C is not built")
def test_codec_and_twin_agree() -> None:
    for seed in range(1000):
        scene = Scene(seed)
        ours, twins = (scene.events(codec) for codec in CODECS)
        if not scene.compressed:
            assert ours == twins, seed
            continue
        # What is known to remain of a compressed message, and how near to an error it is cut, depends on the steps.
        ours, twins = ([event[:3] if event[0] == "piece" else event for event in found] for found in (ours, twins))
        if ours[-1][0] == "error":
            count = min(len(ours), len(twins)) - 1
            assert ours[-1] == twins[-1] and ours[:count] == twins[:count], seed
        else:
            assert ours == twins, seed


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_from_the_middle_of_a_message_on_it_may_come_whole(codec: Codec, compressed: bool) -> None:
    subject = protocol(codec, buffer_size=4, compressed=compressed)
    octets = b"0123456789" * 10
    payload = Deflate(_PARAMETERS, Role.CLIENT, _SHARED).compress(octets) if compressed else octets
    subject.receive_data(encode(Opcode.BINARY, payload, rsv=4 if compressed else 0))
    first = subject.next_event()
    assert first[:3] == ("piece", b"0123", True) and first[3] >= 1
    subject.buffer_size = None
    assert subject.next_event() == ("message", octets[4:], True)
    assert subject.buffer_size is None


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_piece_has_room_for_every_character(codec: Codec) -> None:
    with pytest.raises(ValueError, match="buffer_size"):
        protocol(codec, buffer_size=3)
    assert protocol(codec).buffer_size is None
    assert protocol(codec, buffer_size=4).buffer_size == 4


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_unchecked_text_is_cut_somewhere(codec: Codec) -> None:
    subject = protocol(codec, buffer_size=4, skip_utf8_validation=True)
    octets = b"\x80\xff\xe2\x82"
    found = events(subject, [encode(Opcode.TEXT, octets * 5)])
    assert [event[0] for event in found[:-1]] == ["piece"] * (len(found) - 1) and found[-1][0] == "message"
    assert "".join(event[1] for event in found) == (octets * 5).decode("utf-8", "replace")
