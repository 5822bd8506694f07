"""The sans-IO protocol and the request parser, on every implementation that there is. F and H numbers are those of the
project's checklist of hostile input."""

from __future__ import annotations

import array
import os
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, encode, upgrade_head, xor
from codec_helpers import CODECS, ROLES, SentFrame, decode, drain, plain, receive, sent

from lws_gevent.codec import Codec
from lws_gevent.errors import HandshakeError, PayloadTooBig, ProtocolError
from lws_gevent.frames import Role
from lws_gevent.handshake import Request

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture(params=CODECS, ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    chosen: Codec = request.param
    return chosen


class Peer:
    """A protocol under test and the frames of its peer: masked for a server, plain for a client."""

    def __init__(self, codec: Codec, role: Role, **options: Any) -> None:
        self.role = role
        self.protocol = codec.Protocol(role, **{"max_payload": 16 * MIB, **options})

    def frame(self, opcode: int, payload: bytes | str = b"", **options: Any) -> bytes:
        return encode(opcode, payload, **{"mask": self.role is Role.SERVER, **options})

    def receive(self, *data: bytes) -> list[tuple[Any, ...]]:
        return [plain(event) for event in receive(self.protocol, b"".join(data))]

    def sent(self) -> list[tuple[int, bytes]]:
        frames = decode(sent(self.protocol))
        assert all((frame.key is not None) is (self.role is Role.CLIENT) for frame in frames), "masking"
        return [(frame.opcode, frame.payload) for frame in frames]

    def assert_fails(self, code: int, *data: bytes) -> None:
        """`data` ends the connection with an error of this code: exactly one event, exactly one close frame."""
        kind = "PayloadTooBig" if code == 1009 else "ProtocolError"
        assert self.receive(*data) == [("error", kind, code)]
        assert self.sent() == [(CLOSE, close_payload(code))]
        assert self.protocol.close_sent and self.protocol.close_code == code
        assert not self.protocol.close_received
        # Nothing follows an error, not even the end.
        assert self.receive(self.frame(TEXT, "ignored"), self.frame(PING), self.frame(CLOSE)) == []
        self.protocol.receive_eof()
        assert drain(self.protocol) == []
        assert self.sent() == []
        assert self.protocol.buffered == 0


MakePeer = Callable[..., Peer]


@pytest.fixture(params=ROLES, ids=lambda role: role.name.lower())
def role(request: pytest.FixtureRequest) -> Role:
    chosen: Role = request.param
    return chosen


@pytest.fixture
def make_peer(codec: Codec, role: Role) -> MakePeer:
    return lambda **options: Peer(codec, role, **options)


@pytest.fixture
def peer(make_peer: MakePeer) -> Peer:
    return make_peer()


class TestMessages:
    def test_text_comes_as_str_and_binary_as_bytes(self, peer: Peer) -> None:
        events = peer.receive(peer.frame(TEXT, "grüße 🎈"), peer.frame(BINARY, b"\x00\xff"))
        assert events == [("message", "grüße 🎈", False), ("message", b"\x00\xff", True)]
        assert type(events[1][1]) is bytes

    def test_empty_messages_are_messages(self, peer: Peer) -> None:
        assert peer.receive(peer.frame(TEXT), peer.frame(BINARY)) == [("message", "", False), ("message", b"", True)]

    def test_empty_message_of_several_empty_fragments(self, peer: Peer) -> None:
        frames = [peer.frame(TEXT, fin=False), peer.frame(CONTINUATION, fin=False), peer.frame(CONTINUATION)]
        assert peer.receive(*frames) == [("message", "", False)]

    @pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 7, 8, 124, 125, 126, 127, 65535, 65536, 65537, 300_000])
    def test_every_length_encoding(self, peer: Peer, length: int) -> None:
        payload = random.Random(length).randbytes(length)
        assert peer.receive(peer.frame(BINARY, payload)) == [("message", payload, True)]
        text = "x" * length
        assert peer.receive(peer.frame(TEXT, text)) == [("message", text, False)]
        assert peer.protocol.buffered == 0

    def test_decodes_one_event_at_a_time_and_only_when_asked(self, peer: Peer) -> None:
        data = peer.frame(TEXT, "one") + peer.frame(TEXT, "two")
        peer.protocol.receive_data(data)
        assert peer.protocol.buffered == len(data)
        assert peer.protocol.next_event() == ("message", "one", False)
        assert peer.protocol.buffered == len(data) // 2
        assert peer.protocol.next_event() == ("message", "two", False)
        assert peer.protocol.next_event() is None
        assert peer.protocol.buffered == 0

    def test_buffered_counts_an_incomplete_message(self, peer: Peer) -> None:
        peer.receive(peer.frame(TEXT, "x" * 1000, fin=False), peer.frame(CONTINUATION, "y" * 1000)[:-1])
        assert 1999 <= peer.protocol.buffered <= 2020
        peer.receive(b"\x00")
        assert peer.protocol.buffered == 0

    def test_fragments_are_put_together_and_control_frames_may_stand_between_them(self, peer: Peer) -> None:
        events = peer.receive(
            peer.frame(TEXT, "Hel", fin=False),
            peer.frame(PING, b"1"),
            peer.frame(CONTINUATION, "lo", fin=False),
            peer.frame(PONG, b"2"),
            peer.frame(CONTINUATION, "!"),
            peer.frame(BINARY, b"next"),
        )
        assert events == [("ping", b"1"), ("pong", b"2"), ("message", "Hello!", False), ("message", b"next", True)]

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_received_octets_may_be_any_bytes_like_and_are_not_changed(self, peer: Peer, kind: Any) -> None:
        data = peer.frame(TEXT, "hello")
        given = kind(data)
        peer.protocol.receive_data(given)
        assert drain(peer.protocol) == [("message", "hello", False)]
        assert bytes(given) == data

    def test_the_end_is_reported_once_after_everything_before_it(self, peer: Peer) -> None:
        peer.protocol.receive_data(peer.frame(TEXT, "last") + peer.frame(TEXT, "cut")[:-1])
        peer.protocol.receive_eof()
        peer.protocol.receive_eof()
        assert drain(peer.protocol) == [("message", "last", False), ("eof",)]
        assert drain(peer.protocol) == []
        assert peer.protocol.close_code == 1006
        assert not peer.protocol.close_received and not peer.protocol.close_sent

    def test_the_end_is_reported_after_a_close_too(self, peer: Peer) -> None:
        peer.receive(peer.frame(CLOSE, close_payload(1000)))
        peer.protocol.receive_eof()
        assert drain(peer.protocol) == [("eof",)]
        assert peer.protocol.close_code == 1000


class TestViolations:
    """Each is refused, with the code that RFC 6455 section 7.4.1 gives it, whatever stood before."""

    def test_messages_before_a_violation_are_delivered(self, peer: Peer) -> None:
        events = peer.receive(peer.frame(TEXT, "fine"), peer.frame(3), peer.frame(TEXT, "never"))
        assert events == [("message", "fine", False), ("error", "ProtocolError", 1002)]

    def test_errors_are_of_this_library_and_say_what_was_wrong(self, peer: Peer) -> None:
        peer.protocol.receive_data(peer.frame(3))
        kind, error = peer.protocol.next_event()
        assert kind == "error" and isinstance(error, ProtocolError) and error.problem
        assert peer.protocol.next_event() is None

    def test_f1_wrong_masking(self, peer: Peer) -> None:
        peer.assert_fails(1002, encode(TEXT, "hello", mask=peer.role is Role.CLIENT))

    def test_f1_wrong_masking_of_an_empty_frame(self, peer: Peer) -> None:
        peer.assert_fails(1002, encode(PING, mask=peer.role is Role.CLIENT))

    @pytest.mark.parametrize("rsv", range(1, 8))
    @pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
    def test_f2_reserved_bits(self, peer: Peer, opcode: int, rsv: int) -> None:
        peer.assert_fails(1002, peer.frame(opcode, rsv=rsv))

    def test_f2_reserved_bit_on_a_continuation(self, peer: Peer) -> None:
        peer.receive(peer.frame(TEXT, "a", fin=False))
        peer.assert_fails(1002, peer.frame(CONTINUATION, "b", rsv=4))

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    def test_f3_unknown_opcodes(self, peer: Peer, opcode: int) -> None:
        peer.assert_fails(1002, peer.frame(opcode, b"x"))

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    @pytest.mark.parametrize("length", [126, 127, 65535, 65536])
    def test_f4_long_control_frames_on_the_header_alone(self, peer: Peer, opcode: int, length: int) -> None:
        peer.assert_fails(1002, peer.frame(opcode, length=length))

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_f4_fragmented_control_frames_on_the_header_alone(self, peer: Peer, opcode: int) -> None:
        peer.assert_fails(1002, peer.frame(opcode, fin=False, length=5))

    @pytest.mark.parametrize("fin", [True, False])
    def test_f5_continuation_of_nothing(self, peer: Peer, fin: bool) -> None:
        peer.assert_fails(1002, peer.frame(CONTINUATION, b"x", fin=fin))

    def test_f5_continuation_after_the_last_fragment(self, peer: Peer) -> None:
        peer.receive(peer.frame(TEXT, "a", fin=False), peer.frame(CONTINUATION, "b"))
        peer.assert_fails(1002, peer.frame(CONTINUATION, b"x"))

    @pytest.mark.parametrize("first", [TEXT, BINARY])
    @pytest.mark.parametrize("second", [TEXT, BINARY])
    @pytest.mark.parametrize("payload", [b"", b"x"])
    def test_f5_new_message_inside_another(self, peer: Peer, first: int, second: int, payload: bytes) -> None:
        assert peer.receive(peer.frame(first, payload, fin=False)) == []
        peer.assert_fails(1002, peer.frame(second, b"x"))

    @pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, (1 << 63) + 5])
    @pytest.mark.parametrize("limit", [None, 1000])
    def test_f6_top_bit_of_the_length(self, make_peer: MakePeer, length: int, limit: int | None) -> None:
        peer = make_peer(max_payload=limit)
        peer.assert_fails(1002, peer.frame(BINARY, length=length))

    @pytest.mark.parametrize("length", [(1 << 63) - 1, (1 << 32) + 2, 1 << 32, 1 << 31, 1001])
    def test_f7_too_long_on_the_header_alone(self, make_peer: MakePeer, length: int) -> None:
        peer = make_peer(max_payload=1000)
        tracemalloc.start()
        try:
            peer.assert_fails(1009, peer.frame(BINARY, length=length))
            assert tracemalloc.get_traced_memory()[1] < MIB
        finally:
            tracemalloc.stop()

    def test_f7_announcing_much_allocates_nothing_of_it(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_payload=None)
        tracemalloc.start()
        try:
            assert peer.receive(peer.frame(BINARY, b"x" * 100, length=(1 << 63) - 1)) == []
            assert tracemalloc.get_traced_memory()[1] < 2 * MIB
        finally:
            tracemalloc.stop()

    def test_f7_exactly_the_limit_is_accepted(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_payload=1000)
        assert peer.receive(peer.frame(BINARY, b"x" * 1000)) == [("message", b"x" * 1000, True)]
        peer.assert_fails(1009, peer.frame(TEXT, b"x" * 1001))

    def test_f7_the_error_is_payload_too_big(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_payload=3)
        peer.protocol.receive_data(peer.frame(TEXT, "four"))
        assert isinstance(peer.protocol.next_event()[1], PayloadTooBig)

    def test_f7_a_limit_of_nothing_still_takes_empty_messages(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_payload=0)
        assert peer.receive(peer.frame(BINARY), peer.frame(PING, b"x")) == [("message", b"", True), ("ping", b"x")]
        assert peer.sent() == [(PONG, b"x")]
        peer.assert_fails(1009, peer.frame(BINARY, b"x"))

    @pytest.mark.parametrize(("length", "octets"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)])
    def test_f8_lengths_that_are_not_in_their_shortest_form(self, peer: Peer, length: int, octets: int) -> None:
        peer.assert_fails(1002, peer.frame(BINARY, b"x" * length, length_octets=octets))

    @pytest.mark.parametrize("opcode", [PING, CLOSE])
    def test_f8_control_frame_with_a_long_form_of_a_short_length(self, peer: Peer, opcode: int) -> None:
        peer.assert_fails(1002, peer.frame(opcode, close_payload(1000), length_octets=2))


class TestChunks:
    def stream(self, peer: Peer) -> bytes:
        return b"".join(
            [
                peer.frame(TEXT, "grüße 🎈", fin=False),
                peer.frame(PING, b"ping"),
                peer.frame(CONTINUATION, "", fin=False),
                peer.frame(CONTINUATION, "⛵" * 43),
                peer.frame(BINARY, bytes(range(256)) * 2),
                peer.frame(TEXT),
                peer.frame(PONG, b"p" * 125),
                peer.frame(CLOSE, close_payload(3000, "tschüß")),
            ]
        )

    EVENTS = [
        ("ping", b"ping"),
        ("message", "grüße 🎈" + "⛵" * 43, False),
        ("message", bytes(range(256)) * 2, True),
        ("message", "", False),
        ("pong", b"p" * 125),
        ("close", 3000, "tschüß"),
    ]

    def test_f9_split_at_every_position(self, make_peer: MakePeer) -> None:
        data = self.stream(make_peer())
        for position in range(len(data) + 1):
            peer = make_peer()
            assert receive(peer.protocol, data, [position]) == self.EVENTS, position
            assert peer.sent() == [(PONG, b"ping"), (CLOSE, close_payload(3000, "tschüß"))]

    def test_f9_every_chunk_size(self, make_peer: MakePeer) -> None:
        data = self.stream(make_peer())
        for size in (*range(1, 40), 125, 126, 127, 128, 500):
            assert receive(make_peer().protocol, data, [size] * len(data)) == self.EVENTS, size

    def test_f9_a_large_frame_in_many_chunks(self, peer: Peer) -> None:
        payload = random.Random(1).randbytes(300_000)
        data = peer.frame(BINARY, payload)
        assert receive(peer.protocol, data, [1, 1, 5, 3, 7, 4096, 1, 70_001, 2, 65_536]) == [("message", payload, True)]


class TestLimits:
    def test_f10_the_fragment_that_crosses_the_limit(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_payload=100)
        assert peer.receive(peer.frame(TEXT, "x" * 60, fin=False), peer.frame(CONTINUATION, "x" * 40, fin=False)) == []
        peer.assert_fails(1009, peer.frame(CONTINUATION, length=1))

    def test_f10_the_limit_counts_each_message_anew_and_no_control_frame(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_payload=10)
        for _ in range(3):
            events = peer.receive(
                peer.frame(TEXT, "x" * 9, fin=False), peer.frame(PING, b"y" * 50), peer.frame(CONTINUATION, "x")
            )
            assert events == [("ping", b"y" * 50), ("message", "x" * 10, False)]

    def test_f10_lengths_that_would_overflow_when_added_up(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_payload=1000)
        peer.receive(peer.frame(BINARY, b"x" * 999, fin=False))
        peer.assert_fails(1009, peer.frame(CONTINUATION, length=(1 << 63) - 1))

    def test_f11_more_fragments_than_allowed(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_fragments=3)
        frames = [peer.frame(TEXT, "a", fin=False), peer.frame(CONTINUATION, "b", fin=False)]
        for _ in range(2):
            assert peer.receive(*frames, peer.frame(CONTINUATION, "c")) == [("message", "abc", False)]
        assert peer.receive(*frames, peer.frame(CONTINUATION, fin=False)) == []
        peer.assert_fails(1008, peer.frame(CONTINUATION, length=5))

    def test_f11_a_message_of_one_frame_is_one_fragment(self, make_peer: MakePeer) -> None:
        peer = make_peer(max_fragments=1)
        assert peer.receive(peer.frame(TEXT, "a")) == [("message", "a", False)]
        assert peer.receive(peer.frame(TEXT, "a", fin=False)) == []
        peer.assert_fails(1008, peer.frame(CONTINUATION, "b"))

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    @pytest.mark.parametrize("payload", [b"", b"x"])
    def test_f11_very_many_fragments_take_the_memory_of_their_octets(
        self, codec: Codec, opcode: int, payload: bytes
    ) -> None:
        count = 20_000 if codec.name == "python" else 100_000
        peer = Peer(codec, Role.SERVER)
        mask = b"abcd"
        many = peer.frame(CONTINUATION, payload, fin=False, mask=mask) * 1000
        tracemalloc.start()
        try:
            peer.receive(peer.frame(opcode, payload, fin=False))
            for _ in range(count // 1000):
                assert peer.receive(many) == []
            assert tracemalloc.get_traced_memory()[0] < 3 * count * len(payload) + 64 * KIB
            assert peer.protocol.buffered <= count + 20
        finally:
            tracemalloc.stop()
        expected = payload * (count + 1)
        assert peer.receive(peer.frame(CONTINUATION)) == [
            ("message", expected.decode() if opcode == TEXT else expected, opcode == BINARY)
        ]

    def test_f11_one_frame_in_segments_of_one_octet_takes_the_memory_of_its_octets(self, codec: Codec) -> None:
        peer = Peer(codec, Role.SERVER)
        data = peer.frame(BINARY, b"x" * 20_000)
        tracemalloc.start()
        try:
            for position in range(len(data) - 1):
                peer.protocol.receive_data(data[position : position + 1])
                assert peer.protocol.next_event() is None
            assert tracemalloc.get_traced_memory()[0] < 3 * len(data) + 64 * KIB
        finally:
            tracemalloc.stop()
        assert peer.receive(data[-1:]) == [("message", b"x" * 20_000, True)]

    def test_f18_of_a_flood_of_pings_the_first_and_the_last_are_answered(self, peer: Peer) -> None:
        for number in range(1000):
            peer.receive(peer.frame(PING, b"%d" % number))
        assert peer.sent() == [(PONG, b"%d" % number) for number in (*range(128), 999)]
        peer.receive(peer.frame(PING, b"again"))
        assert peer.sent() == [(PONG, b"again")]


INVALID_UTF8 = {
    "overlong of two": b"\xc0\xaf",
    "overlong of three": b"\xe0\x9f\xbf",
    "overlong of four": b"\xf0\x8f\xbf\xbf",
    "high surrogate": b"\xed\xa0\x80",
    "low surrogate": b"\xed\xbf\xbf",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "five octets": b"\xf8\x88\x80\x80\x80",
    "continuation alone": b"\x80",
    "octet FE": b"\xfe",
    "octet FF": b"\xff",
    "cut by a letter": b"\xe2\x82a",
}


class TestText:
    @pytest.mark.parametrize("octets", INVALID_UTF8.values(), ids=INVALID_UTF8)
    @pytest.mark.parametrize("before", [b"", b"x" * 5, b"y" * 64], ids=len)
    def test_f12_invalid_utf8(self, make_peer: MakePeer, octets: bytes, before: bytes) -> None:
        make_peer().assert_fails(1007, make_peer().frame(TEXT, before + octets + b"after"))

    @pytest.mark.parametrize("octets", INVALID_UTF8.values(), ids=INVALID_UTF8)
    def test_f12_the_octet_that_nothing_can_repair_is_enough(self, make_peer: MakePeer, octets: bytes) -> None:
        hopeless = 1  # the shortest beginning that no valid text has
        while hopeless < len(octets) and _may_become_valid(octets[:hopeless]):
            hopeless += 1
        for mode in ("frame", "fragment"):
            peer = make_peer()
            if mode == "frame":  # inside a frame that is not complete
                data = peer.frame(TEXT, b"ok" + octets[:hopeless], length=1000)
            else:  # between two frames
                data = peer.frame(TEXT, b"ok" + octets[:hopeless], fin=False)
            assert peer.receive(data[:-1]) == []
            peer.assert_fails(1007, data[-1:])

    @pytest.mark.parametrize(
        "character", ["ß", "⛵", "🎈", "\u07ff", "\u0800", "\uffff", "\U0010ffff", "\ud7ff", "\ue000"]
    )
    def test_f12_a_character_may_be_split_between_fragments(self, make_peer: MakePeer, character: str) -> None:
        octets = character.encode()
        for cut in range(1, len(octets)):
            peer = make_peer()
            frames = [peer.frame(TEXT, octets[:cut], fin=False), peer.frame(CONTINUATION, b"", fin=False)]
            assert peer.receive(*frames, peer.frame(CONTINUATION, octets[cut:])) == [("message", character, False)]

    @pytest.mark.parametrize("character", ["ß", "⛵", "🎈"])
    def test_f12_a_message_may_not_end_inside_a_character(self, make_peer: MakePeer, character: str) -> None:
        octets = character.encode()
        for cut in range(1, len(octets)):
            peer = make_peer()
            peer.assert_fails(1007, peer.frame(TEXT, octets[:cut]))
            peer = make_peer()
            assert peer.receive(peer.frame(TEXT, octets[:cut], fin=False)) == []
            peer.assert_fails(1007, peer.frame(CONTINUATION))

    def test_a_message_begins_with_a_clean_slate(self, peer: Peer) -> None:
        assert peer.receive(peer.frame(BINARY, b"\xe2\x82"), peer.frame(TEXT, "a")) == [
            ("message", b"\xe2\x82", True),
            ("message", "a", False),
        ]

    def test_binary_messages_are_not_checked(self, peer: Peer) -> None:
        peer.receive(peer.frame(BINARY, b"\xff", fin=False))
        assert peer.receive(peer.frame(CONTINUATION, b"\xfe")) == [("message", b"\xff\xfe", True)]

    def test_the_check_can_be_left_out(self, make_peer: MakePeer) -> None:
        peer = make_peer(skip_utf8_validation=True)
        assert peer.receive(peer.frame(TEXT, b"a\xffb"), peer.frame(TEXT, "ß")) == [
            ("message", "a\ufffdb", False),
            ("message", "ß", False),
        ]
        peer.receive(peer.frame(TEXT, b"a\xe2", fin=False))
        assert peer.receive(peer.frame(CONTINUATION, b"\x82")) == [("message", "a\ufffd", False)]


def _may_become_valid(octets: bytes) -> bool:
    """Whether some continuation makes these octets valid UTF-8: found by trying, so that it owes nothing to any
    decoder's way of failing."""
    tails = [b"", b"\x80", b"\xbf", b"\x90", b"\xa0", b"\x8f", b"\x9f"]
    for first in tails:
        for rest in (b"", b"\x80", b"\x80\x80"):
            try:
                (octets + first + rest).decode()
            except UnicodeDecodeError:
                continue
            return True
    return False


class TestClose:
    @pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
    def test_f14_a_valid_code_is_echoed(self, peer: Peer, code: int) -> None:
        assert peer.receive(peer.frame(CLOSE, close_payload(code, "warum nicht?"))) == [("close", code, "warum nicht?")]
        assert peer.sent() == [(CLOSE, close_payload(code, "warum nicht?"))]
        assert peer.protocol.close_sent and peer.protocol.close_received
        assert (peer.protocol.close_code, peer.protocol.close_reason) == (code, "warum nicht?")

    def test_f14_an_empty_close_is_answered_with_an_empty_one(self, peer: Peer) -> None:
        assert peer.receive(peer.frame(CLOSE)) == [("close", 1005, "")]
        assert peer.sent() == [(CLOSE, b"")]
        assert peer.protocol.close_code == 1005

    def test_f14_the_longest_reason(self, peer: Peer) -> None:
        assert peer.receive(peer.frame(CLOSE, close_payload(1000, "x" * 123))) == [("close", 1000, "x" * 123)]

    def test_f13_a_payload_of_one_octet(self, peer: Peer) -> None:
        peer.assert_fails(1002, peer.frame(CLOSE, b"\x03"))

    @pytest.mark.parametrize(
        "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 9999, 65535]
    )
    def test_f13_codes_that_may_not_be_sent(self, peer: Peer, code: int) -> None:
        peer.assert_fails(1002, peer.frame(CLOSE, close_payload(code, "x")))

    @pytest.mark.parametrize("octets", [*INVALID_UTF8.values(), b"\xe2\x82"])
    def test_f13_a_reason_that_is_not_utf8(self, peer: Peer, octets: bytes) -> None:
        peer.assert_fails(1007, peer.frame(CLOSE, close_payload(1000, b"x" + octets)))

    def test_f15_everything_after_a_close_is_ignored(self, peer: Peer) -> None:
        after = [peer.frame(TEXT, "x"), peer.frame(PING, b"x"), peer.frame(CLOSE), peer.frame(3), b"\xff" * 100]
        assert peer.receive(peer.frame(CLOSE, close_payload(1001)), *after) == [("close", 1001, "")]
        assert peer.sent() == [(CLOSE, close_payload(1001))]
        assert peer.receive(*after) == []
        assert peer.sent() == []
        assert peer.protocol.buffered == 0

    def test_a_close_may_come_inside_a_fragmented_message(self, peer: Peer) -> None:
        events = peer.receive(peer.frame(TEXT, "a", fin=False), peer.frame(CLOSE, close_payload(1000)))
        assert events == [("close", 1000, "")]
        assert peer.protocol.buffered == 0

    def test_the_answer_to_our_close_is_not_answered(self, peer: Peer) -> None:
        peer.protocol.send_close(1001, "bye")
        assert peer.protocol.close_sent and not peer.protocol.close_received
        assert peer.sent() == [(CLOSE, close_payload(1001, "bye"))]
        assert peer.protocol.close_code == 1006
        assert peer.receive(peer.frame(CLOSE, close_payload(1001))) == [("close", 1001, "")]
        assert peer.sent() == []
        assert peer.protocol.close_received and peer.protocol.close_code == 1001

    def test_messages_between_our_close_and_the_answer_are_events_but_pings_get_no_pong(self, peer: Peer) -> None:
        peer.protocol.send_close(1000)
        peer.sent()
        events = peer.receive(peer.frame(TEXT, "late"), peer.frame(PING, b"x"), peer.frame(CLOSE))
        assert events == [("message", "late", False), ("ping", b"x"), ("close", 1005, "")]
        assert peer.sent() == []

    def test_a_violation_after_our_close_sends_no_second_close(self, peer: Peer) -> None:
        peer.protocol.send_close(1000)
        peer.sent()
        assert peer.receive(peer.frame(3)) == [("error", "ProtocolError", 1002)]
        assert peer.sent() == []

    def test_a_close_is_sent_once(self, peer: Peer) -> None:
        peer.protocol.send_close(1000)
        peer.protocol.send_close(1001, "again")
        assert peer.sent() == [(CLOSE, close_payload(1000))]

    def test_a_close_without_a_code(self, peer: Peer) -> None:
        peer.protocol.send_close(None)
        assert peer.sent() == [(CLOSE, b"")]

    def test_a_pending_pong_goes_out_before_the_close(self, peer: Peer) -> None:
        peer.receive(peer.frame(PING, b"x"))
        peer.protocol.send_close(1000)
        assert peer.sent() == [(PONG, b"x"), (CLOSE, close_payload(1000))]

    def test_a_ping_and_a_close_in_one_piece(self, peer: Peer) -> None:
        peer.receive(peer.frame(PING, b"x"), peer.frame(CLOSE))
        assert peer.sent() == [(PONG, b"x"), (CLOSE, b"")]


class TestPingPong:
    @pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
    def test_f19_a_ping_is_answered_with_its_own_payload(self, peer: Peer, payload: bytes) -> None:
        assert peer.receive(peer.frame(PING, payload)) == [("ping", payload)]
        assert peer.sent() == [(PONG, payload)]

    def test_f19_a_pong_is_an_event_and_nothing_else(self, peer: Peer) -> None:
        assert peer.receive(peer.frame(PONG, b"unasked")) == [("pong", b"unasked")]
        assert peer.sent() == []

    def test_pings_are_not_answered_without_auto_pong(self, make_peer: MakePeer) -> None:
        peer = make_peer(auto_pong=False)
        assert peer.receive(peer.frame(PING, b"x")) == [("ping", b"x")]
        assert peer.sent() == []

    def test_pings_in_one_piece_are_answered_in_order(self, peer: Peer) -> None:
        numbers = [b"%d" % number for number in range(10)]
        assert peer.receive(*(peer.frame(PING, number) for number in numbers)) == [("ping", each) for each in numbers]
        assert peer.sent() == [(PONG, number) for number in numbers]

    def test_answers_and_messages_keep_their_order(self, peer: Peer) -> None:
        peer.protocol.send_message(b"before", True)
        peer.receive(peer.frame(PING, b"1"))
        peer.protocol.send_message(b"x" * 20_000, True)
        peer.receive(peer.frame(PING, b"2"))
        peer.protocol.send_message(b"after", True)
        assert peer.sent() == [
            (BINARY, b"before"),
            (PONG, b"1"),
            (BINARY, b"x" * 20_000),
            (PONG, b"2"),
            (BINARY, b"after"),
        ]

    def test_our_own_pongs_are_never_replaced(self, peer: Peer) -> None:
        peer.protocol.send_pong(b"own")
        for number in range(200):
            peer.receive(peer.frame(PING, b"%d" % number))
        peer.protocol.send_pong(b"own")
        sent = peer.sent()
        assert len(sent) == 128 + 1 + 2
        assert (sent[0], sent[-2:]) == ((PONG, b"own"), [(PONG, b"199"), (PONG, b"own")])


class TestSending:
    @pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
    def test_messages_of_every_length(self, peer: Peer, length: int) -> None:
        payload = random.Random(length).randbytes(length)
        peer.protocol.send_message(payload, True)
        peer.protocol.send_message(b"x" * length, False)
        assert peer.sent() == [(BINARY, payload), (TEXT, b"x" * length)]
        assert peer.protocol.data_to_send() == []

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
    @pytest.mark.parametrize("length", [5, 100_000])
    def test_payloads_may_be_any_bytes_like_and_are_taken_as_they_are_now(
        self, peer: Peer, kind: Any, length: int
    ) -> None:
        payload = kind(b"x" * length)
        peer.protocol.send_message(payload, True)
        if not isinstance(payload, (bytes, memoryview)):
            payload[0] = 0
        assert peer.sent() == [(BINARY, b"x" * length)]

    def test_fragments(self, codec: Codec, role: Role) -> None:
        peer = Peer(codec, role)
        peer.protocol.send_fragment(b"a", False, False)
        peer.protocol.send_ping(b"p")
        peer.protocol.send_fragment(b"", False, True)
        peer.protocol.send_fragment(b"c", True, True)
        peer.protocol.send_fragment(b"whole", True, True)
        frames = [(frame.opcode, frame.payload, frame.fin) for frame in decode(sent(peer.protocol))]
        assert frames == [
            (TEXT, b"a", False),
            (PING, b"p", True),
            (CONTINUATION, b"", False),
            (CONTINUATION, b"c", True),
            (BINARY, b"whole", True),
        ]

    def test_no_message_inside_a_fragmented_one(self, peer: Peer) -> None:
        peer.protocol.send_fragment(b"a", False, False)
        peer.sent()
        with pytest.raises(ValueError):
            peer.protocol.send_message(b"b", True)
        assert peer.sent() == []
        peer.protocol.send_fragment(b"c", True, False)
        peer.protocol.send_message(b"b", True)
        assert peer.sent() == [(CONTINUATION, b"c"), (BINARY, b"b")]

    @pytest.mark.parametrize(
        "call",
        [
            lambda protocol: protocol.send_message(b"x", True),
            lambda protocol: protocol.send_fragment(b"x", True, True),
            lambda protocol: protocol.send_ping(b""),
            lambda protocol: protocol.send_pong(b""),
        ],
    )
    def test_nothing_may_be_sent_after_a_close(self, peer: Peer, call: Any) -> None:
        peer.protocol.send_close(1000)
        peer.sent()
        with pytest.raises(ValueError):
            call(peer.protocol)
        assert peer.sent() == []

    BAD_CALLS: dict[str, Callable[[Any], None]] = {
        "reason too long": lambda protocol: protocol.send_close(1000, "x" * 124),
        "reason too long in utf-8": lambda protocol: protocol.send_close(1000, "ß" * 62),
        "reason with a lone surrogate": lambda protocol: protocol.send_close(1000, "\ud800"),
        "reason without a code": lambda protocol: protocol.send_close(None, "x"),
        "reason of bytes": lambda protocol: protocol.send_close(1000, b"x"),
        "code as str": lambda protocol: protocol.send_close("1000"),
        "ping of an int": lambda protocol: protocol.send_ping(100),
        "pong of an int": lambda protocol: protocol.send_pong(100),
        "ping of str": lambda protocol: protocol.send_ping("x"),
        "ping of None": lambda protocol: protocol.send_ping(None),
        "ping too long": lambda protocol: protocol.send_ping(b"x" * 126),
        "pong too long": lambda protocol: protocol.send_pong(b"x" * 126),
        "message of an int": lambda protocol: protocol.send_message(100, True),
        "message of str": lambda protocol: protocol.send_message("x", False),
        "message of None": lambda protocol: protocol.send_message(None, False),
        "message of a list": lambda protocol: protocol.send_message([1], True),
        "non-contiguous view": lambda protocol: protocol.send_message(memoryview(b"abcdef")[::2], True),
        "wide items": lambda protocol: protocol.send_message(memoryview(array.array("I", [1, 2, 3])), True),
        "wide items of an array": lambda protocol: protocol.send_message(array.array("d", [1.5]), True),
        "wide items in a ping": lambda protocol: protocol.send_ping(array.array("H", [1])),
        "fragment of an int": lambda protocol: protocol.send_fragment(7, False, True),
        "non-contiguous fragment": lambda protocol: protocol.send_fragment(memoryview(b"abcdef")[::-1], False, True),
    }

    @pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
    def test_f17_misuse_raises_and_sends_nothing(self, peer: Peer, call: Any) -> None:
        with pytest.raises((ValueError, TypeError)):
            call(peer.protocol)
        assert peer.sent() == []
        assert not peer.protocol.close_sent
        peer.protocol.send_message(b"still whole", True)  # the misuse has left no trace
        assert peer.sent() == [(BINARY, b"still whole")]

    @pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 66536])
    def test_f17_codes_that_may_not_be_sent_raise_and_send_nothing(self, peer: Peer, code: int) -> None:
        with pytest.raises(ValueError):
            peer.protocol.send_close(code)
        assert peer.sent() == [] and not peer.protocol.close_sent

    @pytest.mark.parametrize("octets", [*INVALID_UTF8.values(), b"\xe2\x82", b"\xe2\x82\xac\xf0"])
    def test_f17_text_that_is_not_utf8_is_not_sent(self, peer: Peer, octets: bytes) -> None:
        for text in (octets, b"x" * 100 + octets, octets + b"y" * 20_000):
            with pytest.raises(ValueError):
                peer.protocol.send_message(text, False)
            with pytest.raises(ValueError):
                peer.protocol.send_fragment(text, True, False)
            peer.protocol.send_message(text, True)
            assert peer.sent() == [(BINARY, text)]

    def test_f17_text_is_checked_over_its_fragments(self, peer: Peer) -> None:
        peer.protocol.send_fragment(b"a\xe2\x82", False, False)
        for wrong in (b"\xff", b"b", b"\xac\xe2"):
            with pytest.raises(ValueError):
                peer.protocol.send_fragment(wrong, True, False)
        peer.protocol.send_fragment(b"", False, False)
        peer.protocol.send_fragment(b"\xac", True, False)
        assert peer.sent() == [(TEXT, b"a\xe2\x82"), (CONTINUATION, b""), (CONTINUATION, b"\xac")]
        peer.protocol.send_fragment(b"next", True, False)
        assert peer.sent() == [(TEXT, b"next")]

    def test_the_kind_of_later_fragments_does_not_matter(self, peer: Peer) -> None:
        peer.protocol.send_fragment(b"\xff", False, True)
        peer.protocol.send_fragment(b"\xff", True, False)
        assert peer.sent() == [(BINARY, b"\xff"), (CONTINUATION, b"\xff")]

    @pytest.mark.parametrize("options", [{"max_payload": -1}, {"max_payload": None, "max_fragments": -1}])
    def test_limits_are_not_negative(self, codec: Codec, role: Role, options: Any) -> None:
        with pytest.raises(ValueError):
            codec.Protocol(role, **options)

    def test_a_big_payload_of_a_server_is_not_copied(self, codec: Codec) -> None:
        protocol = codec.Protocol(Role.SERVER, max_payload=None)
        payload = os.urandom(MIB)
        protocol.send_message(payload, True)
        assert any(piece is payload for piece in protocol.data_to_send())

    def test_l6_masking_keys_are_fresh_and_spread(self, codec: Codec) -> None:
        protocol = codec.Protocol(Role.CLIENT, max_payload=None)
        for _ in range(5000):
            protocol.send_message(b"x", True)
        keys = [frame.key for frame in decode(sent(protocol))]
        assert len(set(keys)) > 4990
        for position in range(4):
            assert len({key[position] for key in keys if key}) == 256
        assert keys[:2000] != keys[2000:4000]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    def test_l6_a_forked_child_has_other_masking_keys(self, codec: Codec) -> None:
        protocol = codec.Protocol(Role.CLIENT, max_payload=None)
        protocol.send_ping(b"")  # a pool of random octets, if there is one, is filled
        protocol.data_to_send()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for _ in range(10):
                    protocol.send_ping(b"")
                os.write(writer, sent(protocol))
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            theirs = {frame.key for frame in decode(stream.read())}
        os.waitpid(child, 0)
        for _ in range(10):
            protocol.send_ping(b"")
        ours = {frame.key for frame in decode(sent(protocol))}
        assert len(ours | theirs) >= 19

    def test_both_ends_understand_each_other(self, codec: Codec) -> None:
        server = codec.Protocol(Role.SERVER, max_payload=None)
        client = codec.Protocol(Role.CLIENT, max_payload=None)
        client.send_message("héllo".encode(), False)
        client.send_ping(b"ping")
        assert receive(server, sent(client)) == [("message", "héllo", False), ("ping", b"ping")]
        server.send_fragment(b"a", False, True)
        server.send_fragment(b"b", True, True)
        assert receive(client, sent(server)) == [("pong", b"ping"), ("message", b"ab", True)]
        client.send_close(1000, "done")
        assert receive(server, sent(client)) == [("close", 1000, "done")]
        assert receive(client, sent(server)) == [("close", 1000, "done")]


class TestEncodeFrame:
    @pytest.mark.parametrize("key", [None, b"\x00\x00\x00\x00", b"\x12\xfe\x00\x9a"])
    @pytest.mark.parametrize("length", [0, 1, 3, 125, 126, 65535, 65536])
    def test_agrees_with_an_independent_encoder(self, codec: Codec, length: int, key: bytes | None) -> None:
        payload = random.Random(length).randbytes(length)
        for opcode in (CONTINUATION, TEXT, BINARY):
            for fin in (True, False):
                for rsv1 in (True, False):
                    frame = codec.encode_frame(payload, opcode, fin, rsv1, key)
                    expected = encode(opcode, payload, fin=fin, rsv=4 if rsv1 else 0, mask=key or False)
                    assert type(frame) is bytes and frame == expected

    def test_the_default_is_a_whole_unmasked_frame(self, codec: Codec) -> None:
        assert codec.encode_frame(b"Hello", 1) == b"\x81\x05Hello"  # RFC 6455 section 5.7
        assert codec.encode_frame(b"Hello", 1, masking_key=b"\x37\xfa\x21\x3d") == bytes.fromhex(
            "818537fa213d7f9f4d5158"
        )

    @pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
    def test_a_masking_key_has_four_octets(self, codec: Codec, key: bytes) -> None:
        with pytest.raises(ValueError):
            codec.encode_frame(b"x", BINARY, masking_key=key)
        with pytest.raises(ValueError):
            codec.apply_mask(b"x", key)

    @pytest.mark.parametrize("opcode", [-1, 16, 255, 256])
    def test_an_opcode_has_four_bits(self, codec: Codec, opcode: int) -> None:
        with pytest.raises((ValueError, OverflowError)):
            codec.encode_frame(b"x", opcode)

    @pytest.mark.parametrize("payload", [5, "x", None, memoryview(b"abcdef")[::2], array.array("I", [1])])
    def test_a_payload_is_contiguous_octets(self, codec: Codec, payload: Any) -> None:
        with pytest.raises((ValueError, TypeError)):
            codec.encode_frame(payload, BINARY)


class TestMask:
    def test_every_length_and_key(self, codec: Codec) -> None:
        generator = random.Random(7)
        for length in (*range(70), 127, 128, 129, 255, 899, 900, 901, 1000, 4097, 65537):
            data, key = generator.randbytes(length), generator.randbytes(4)
            masked = codec.apply_mask(data, key)
            assert type(masked) is bytes and masked == xor(data, key)
            assert codec.apply_mask(masked, key) == data

    def test_does_not_change_its_input(self, codec: Codec) -> None:
        data = bytearray(b"hello world, this is longer than a word")
        before = bytes(data)
        codec.apply_mask(bytes(data), b"abcd")
        assert data == before


# Request heads


def parse(codec: Codec, head: bytes, limit: int = 16 * KIB) -> Request:
    result = codec.parse_request(head, limit, 0)
    assert not isinstance(result, int), "the head is not complete"
    request, length = result
    assert length == len(head)
    assert isinstance(request, Request)
    return request


def status_of(codec: Codec, head: bytes, limit: int = 16 * KIB) -> int:
    """The status that a head gets: raised, or what its handshake deserves."""
    try:
        return parse(codec, head, limit).upgrade_status
    except HandshakeError as error:
        assert error.body and error.problem
        return error.status


def insert(line: bytes, **options: Any) -> bytes:
    """A good opening handshake with one more line of octets."""
    head = upgrade_head(**options)
    return head[:-2] + line + b"\r\n\r\n"


class TestParseRequest:
    def test_a_good_opening_handshake(self, codec: Codec) -> None:
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        request = parse(codec, upgrade_head("/chat?room=1&x=?", [("Origin", "http://a"), ("X", " a\tb ")], key=key))
        assert request.upgrade_status == 101 and request.problem in ("", None)
        assert (request.method, request.target) == ("GET", "/chat?room=1&x=?")
        assert (request.path, request.query) == ("/chat", "room=1&x=?")
        assert request.version_minor == 1
        assert request.content_length is None and not request.chunked and request.keep_alive
        assert bytes(request.key) == key.encode()
        assert request.headers["host"] == "localhost" and request.headers["x"] == "a\tb"
        assert list(request.headers) == [
            *("Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin", "X")
        ]

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_the_request_owns_its_data(self, codec: Codec, kind: Any) -> None:
        octets = bytearray(upgrade_head("/path") + b"more")
        request, _ = codec.parse_request(kind(octets) if kind is not memoryview else memoryview(octets), 16 * KIB, 0)
        octets[:] = b"\x00" * len(octets)
        assert request.path == "/path"
        assert request.headers["Host"] == "localhost"

    def test_plain_requests_are_no_handshake(self, codec: Codec) -> None:
        request = parse(codec, b"GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n")
        assert request.upgrade_status == 0
        request = parse(codec, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nConnection: close\r\n\r\n")
        assert (request.method, request.content_length, request.keep_alive) == ("POST", 12, False)
        request = parse(codec, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n")
        assert request.chunked and request.content_length is None

    def test_http_1_0_needs_no_host_and_keeps_the_connection_only_when_asked(self, codec: Codec) -> None:
        request = parse(codec, b"GET / HTTP/1.0\r\n\r\n")
        assert (request.version_minor, request.keep_alive, request.upgrade_status) == (0, False, 0)
        assert parse(codec, b"GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n").keep_alive

    def test_h21_octets_after_the_head_are_left_alone(self, codec: Codec) -> None:
        head = upgrade_head()
        request, length = codec.parse_request(head + encode(TEXT, "x") + b"\r\n\r\n", 16 * KIB, 0)
        assert length == len(head) and request.upgrade_status == 101

    def test_an_incomplete_head_says_so_at_every_length(self, codec: Codec) -> None:
        head = upgrade_head()
        for length in range(len(head)):
            assert type(codec.parse_request(head[:length], 16 * KIB, 0)) is int, length

    def test_h12_a_dribbled_head_is_understood(self, codec: Codec) -> None:
        head = upgrade_head("/dribble")
        scanned = 0
        for length in range(len(head)):
            result = codec.parse_request(bytearray(head[:length]), 16 * KIB, scanned)
            # What was seen is not looked at again, but for the line break that the empty line may follow.
            assert isinstance(result, int) and length - 3 <= result <= length
            scanned = result
        request, _ = codec.parse_request(bytearray(head), 16 * KIB, scanned)
        assert request.path == "/dribble"

    @pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "PUT", "get", "GETT"])
    def test_h1_other_methods(self, codec: Codec, method: str) -> None:
        assert status_of(codec, upgrade_head(method=method)) == 405

    def test_h2_old_and_new_versions(self, codec: Codec) -> None:
        assert status_of(codec, upgrade_head(version="HTTP/1.0")) == 400
        for version in ("HTTP/2.0", "HTTP/0.9", "HTTP/3.0"):
            assert status_of(codec, upgrade_head(version=version)) == 505
        for version in (
            "HTTP/1",
            "HTTP/11",
            "HTTP/1.",
            "HTTP/1.11",
            "http/1.1",
            "HTTP 1.1",
            "HTTP/1.1 ",
            "XTTP/1.1",
            "",
        ):
            assert status_of(codec, upgrade_head(version=version)) == 400, version
        assert status_of(codec, b"GET /\r\nHost: a\r\n\r\n") == 400

    @pytest.mark.parametrize("line", [b"GET  / HTTP/1.1", b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /  HTTP/1.1"])
    def test_request_lines_have_single_spaces(self, codec: Codec, line: bytes) -> None:
        assert status_of(codec, line + b"\r\nHost: a\r\n\r\n") == 400

    @pytest.mark.parametrize("method", [b"", b"G(T", b"G\x00T", b"G\x80T", b"GET:"])
    def test_methods_are_tokens(self, codec: Codec, method: bytes) -> None:
        assert status_of(codec, method + b" / HTTP/1.1\r\nHost: a\r\n\r\n") == 400

    def test_a_leading_empty_line_is_refused(self, codec: Codec) -> None:
        assert status_of(codec, b"\r\n" + upgrade_head()) == 400

    def test_h3_exactly_one_host(self, codec: Codec) -> None:
        assert status_of(codec, upgrade_head(without=["Host"])) == 400
        assert status_of(codec, upgrade_head(headers=[("Host", "localhost")])) == 400
        assert status_of(codec, upgrade_head(headers=[("host", "other")])) == 400
        assert status_of(codec, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n") == 400

    @pytest.mark.parametrize("host", ["", "a", "a:80", "[::1]:80", "127.0.0.1", "xn--bcher-kva.example"])
    def test_h3_hosts_that_are_fine(self, codec: Codec, host: str) -> None:
        assert status_of(codec, upgrade_head(host=host)) == 101

    @pytest.mark.parametrize("host", ["a b", "a/b", "u@a", "a?b", "a#b", "ä", 'a"b', "a\\b", "a\tb"])
    def test_h3_hosts_with_characters_that_no_host_has(self, codec: Codec, host: str) -> None:
        assert status_of(codec, upgrade_head(host=host)) == 400

    @pytest.mark.parametrize("value", ["websocket", "WebSocket", "h2c, websocket", "x/1 ,\tWEBSOCKET ,", ",,websocket"])
    def test_h4_upgrade_is_a_list_of_tokens_in_any_case(self, codec: Codec, value: str) -> None:
        assert status_of(codec, upgrade_head(without=["Upgrade"], headers=[("Upgrade", value)])) == 101

    @pytest.mark.parametrize("value", ["h2c", "websockets", "web socket", "websocket/13", "", "web,socket"])
    def test_h4_other_upgrades_are_plain_http(self, codec: Codec, value: str) -> None:
        assert status_of(codec, upgrade_head(without=["Upgrade"], headers=[("Upgrade", value)])) == 0
        assert status_of(codec, upgrade_head(without=["Upgrade"])) == 0

    @pytest.mark.parametrize("value", ["Upgrade", "keep-alive, Upgrade", "UPGRADE ,x", "close, upgrade"])
    def test_h5_connection_lists_upgrade(self, codec: Codec, value: str) -> None:
        assert status_of(codec, upgrade_head(without=["Connection"], headers=[("Connection", value)])) == 101

    def test_h5_the_list_may_be_spread_over_several_headers(self, codec: Codec) -> None:
        headers = [("Connection", "keep-alive"), ("Connection", "upgrade"), ("Upgrade", "x"), ("Upgrade", "WebSocket")]
        assert status_of(codec, upgrade_head(without=["Connection", "Upgrade"], headers=headers)) == 101

    @pytest.mark.parametrize("value", ["keep-alive", "close", "", "upgrades", "up grade"])
    def test_h5_connection_without_upgrade(self, codec: Codec, value: str) -> None:
        assert status_of(codec, upgrade_head(without=["Connection"], headers=[("Connection", value)])) == 400
        assert status_of(codec, upgrade_head(without=["Connection"])) == 400

    @pytest.mark.parametrize("value", ["8", "12", "14", "013", "13.0", "13, 8", "", "+13", "1 3"])
    def test_h6_other_versions(self, codec: Codec, value: str) -> None:
        head = upgrade_head(without=["Sec-WebSocket-Version"], headers=[("Sec-WebSocket-Version", value)])
        assert status_of(codec, head) == 426

    def test_h6_version_missing_or_doubled(self, codec: Codec) -> None:
        assert status_of(codec, upgrade_head(without=["Sec-WebSocket-Version"])) == 400
        for second in ("13", "8"):
            assert status_of(codec, upgrade_head(headers=[("Sec-WebSocket-Version", second)])) == 400

    @pytest.mark.parametrize(
        "key",
        [
            "A" * 22 + "==",
            "x",
            *("A" * 22, "A" * 23 + "=", "A" * 24, "A" * 21 + "===", "A" * 20 + "====", "A" * 23 + "=="),
            *("A" * 21 + "!==", "A" * 21 + "_==", "A" * 22 + "= =", "A" * 42 + "=="),
            *("A" * 10 + " " + "A" * 11 + "==", "A" * 10 + "," + "A" * 11 + "=="),
        ],
    )
    def test_h7_a_key_is_the_base64_of_16_octets(self, codec: Codec, key: str) -> None:
        assert status_of(codec, upgrade_head(key=key)) == (101 if key == "A" * 22 + "==" else 400)

    def test_h7_key_missing_empty_or_doubled(self, codec: Codec) -> None:
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        assert status_of(codec, upgrade_head(without=["Sec-WebSocket-Key"])) == 400
        assert status_of(codec, upgrade_head(without=["Sec-WebSocket-Key"], headers=[("Sec-WebSocket-Key", "")])) == 400
        assert status_of(codec, upgrade_head(key=key, headers=[("Sec-WebSocket-Key", key)])) == 400

    MALFORMED = {
        "obs-fold": b"X: a\r\n b",
        "obs-fold with a tab": b"X: a\r\n\tb",
        "space before the colon": b"X : a",
        "tab before the colon": b"X\t: a",
        "leading space": b" X: a",
        "no colon": b"X",
        "no name": b": a",
        "space in the name": b"X Y: a",
        "name that is no token": b"X(Y): a",
        "name beyond ASCII": b"X\xfc: a",
        "NUL in the name": b"X\x00: a",
        "NUL in the value": b"X: a\x00b",
        "control character in the value": b"X: a\x01b",
        "escape in the value": b"X: a\x1b",
        "DEL in the value": b"X: a\x7f",
        "CR in the value": b"X: a\rb",
        "CR at the end of the value": b"X: a\r",
        "vertical tab in the value": b"X: a\x0bb",
        "CR in the name": b"X\rY: a",
        "bare LF": b"X: a\nY: b",
    }

    @pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
    def test_h8_malformed_headers(self, codec: Codec, line: bytes) -> None:
        assert status_of(codec, insert(line)) == 400
        for padding in range(9):  # whatever word-at-a-time tricks look at
            assert status_of(codec, insert(line + b"z" * padding)) in (400, 431)

    @pytest.mark.parametrize("octet", [*range(9), *range(11, 32), 127])
    def test_h8_no_control_character_is_allowed_in_any_place_of_a_value(self, codec: Codec, octet: int) -> None:
        for position in range(20):
            value = bytearray(b"v" * 20)
            value[position] = octet
            assert status_of(codec, insert(b"X: " + value)) == 400, position

    def test_h8_bare_lf_everywhere(self, codec: Codec) -> None:
        head = upgrade_head()
        assert status_of(codec, head.replace(b"\r\n", b"\n")) == 400
        for line in range(head.count(b"\r\n")):
            parts = head.split(b"\r\n")
            mixed = b"\r\n".join(parts[: line + 1]) + b"\n" + b"\r\n".join(parts[line + 1 :])
            assert status_of(codec, mixed) == 400, line

    def test_values_may_have_tabs_and_octets_beyond_ascii_and_be_empty(self, codec: Codec) -> None:
        request = parse(codec, insert(b"X:\t a\t\xe4 \xff \t\r\nY:\r\nZ:  "))
        assert request.upgrade_status == 101
        assert (request.headers["x"], request.headers["y"], request.headers["z"]) == ("a\t\xe4 \xff", "", "")

    @pytest.mark.parametrize(
        "lines",
        [
            b"Content-Length: 0\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Content-Length: 1",
            b"Content-Length: 5\r\nContent-Length: 5",
            b"Content-Length: 0\r\nContent-Length: 0",
            b"Content-Length: 0, 0",
            b"Content-Length: +5",
            b"Content-Length: -1",
            b"Content-Length: 0x0",
            b"Content-Length: 1_0",
            b"Content-Length: \xb2",
            b"Content-Length:",
            b"Content-Length: 9999999999999999999999",
        ],
    )
    def test_h9_bodies_and_unclear_lengths(self, codec: Codec, lines: bytes) -> None:
        assert status_of(codec, insert(lines)) == 400

    def test_h9_other_transfer_codings(self, codec: Codec) -> None:
        for value in (b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"", b"x-chunked"):
            assert status_of(codec, insert(b"Transfer-Encoding: " + value)) == 501, value

    def test_h9_an_empty_body_is_none(self, codec: Codec) -> None:
        assert status_of(codec, insert(b"Content-Length: 0")) == 101

    def test_h9_chunks_in_http_1_0(self, codec: Codec) -> None:
        assert status_of(codec, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") == 400

    def test_h10_request_lines_that_are_too_long(self, codec: Codec) -> None:
        fits = 8192 - len("GET  HTTP/1.1")
        assert status_of(codec, upgrade_head("/" + "x" * (fits - 1))) == 101
        assert status_of(codec, upgrade_head("/" + "x" * fits)) == 414
        assert status_of(codec, upgrade_head("/" + "x" * 12_000)) == 414

    def test_h10_an_endless_request_line(self, codec: Codec) -> None:
        with pytest.raises(HandshakeError) as caught:
            codec.parse_request(b"GET /" + b"x" * 17_000, 16 * KIB, 0)
        assert caught.value.status in (414, 431)

    def test_h11_a_header_that_is_too_long(self, codec: Codec) -> None:
        assert status_of(codec, insert(b"X: " + b"x" * (8192 - 3))) == 101
        assert status_of(codec, insert(b"X: " + b"x" * (8192 - 2))) == 431
        assert status_of(codec, insert(b"X" * 8192 + b":")) == 431

    def test_h11_too_many_headers(self, codec: Codec) -> None:
        assert status_of(codec, upgrade_head(headers=[("X", "y")] * 95)) == 101
        assert status_of(codec, upgrade_head(headers=[("X", "y")] * 96)) == 431
        assert status_of(codec, upgrade_head(headers=[("X", "y")] * 1800)) == 431

    def test_h11_a_head_that_is_too_big(self, codec: Codec) -> None:
        head = upgrade_head(headers=[("X", "y" * 1000)] * 20)
        assert status_of(codec, head, limit=len(head)) == 101
        assert status_of(codec, head, limit=len(head) - 1) == 431
        with pytest.raises(HandshakeError) as caught:
            codec.parse_request(head[:-1], 16 * KIB, 0)
        assert caught.value.status == 431

    def test_h11_octets_after_a_head_do_not_count(self, codec: Codec) -> None:
        head = upgrade_head()
        _, length = codec.parse_request(head + b"x" * 20_000, len(head), 0)
        assert length == len(head)

    def test_h16_two_origins(self, codec: Codec) -> None:
        assert status_of(codec, insert(b"Origin: http://a\r\nOrigin: http://b")) == 400

    def test_h17_h18_long_subprotocols_and_extensions_are_only_carried(self, codec: Codec) -> None:
        value = b"\\x" * 4000
        for name in (b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions"):
            request = parse(codec, insert(name + b": " + value))
            assert request.upgrade_status == 101
            assert request.headers[name.decode()] == value.decode()
            assert status_of(codec, insert(name + b":" + b" " * 8000)) == 101
            assert status_of(codec, insert(name + b": " + b"," * 8000)) == 101

    def test_h24_expectations(self, codec: Codec) -> None:
        assert status_of(codec, insert(b"Expect: 100-continue")) == 417
        assert status_of(codec, insert(b"Expect: 200-ok")) == 417
        request = parse(codec, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n")
        assert request.upgrade_status == 0

    @pytest.mark.parametrize(
        "target", ["//", "//a/b", "/%00", "/..", "/a/../b", "/%2e%2e", "/a;b", "/a'\"<>|{}", "/#x"]
    )
    def test_h25_odd_paths_come_unmodified(self, codec: Codec, target: str) -> None:
        request = parse(codec, upgrade_head(target))
        assert request.upgrade_status == 101 and request.target == target and request.path == target

    @pytest.mark.parametrize("target", ["http://a/b", "a:80", "*", "a", "?x", "/\xe4", "/a\x7f", "/a\x00b", "\\"])
    def test_h25_targets_that_are_no_path(self, codec: Codec, target: str) -> None:
        assert status_of(codec, upgrade_head(target)) == 400

    def test_garbage_is_refused_in_bounded_octets(self, codec: Codec) -> None:
        generator = random.Random(3)
        for _ in range(50):
            garbage = generator.randbytes(20_000)
            with pytest.raises(HandshakeError):
                result: Any = 0
                while isinstance(result, int):
                    result = codec.parse_request(garbage, 16 * KIB, 0)

    def test_refusals_repeat_nothing_of_the_request(self, codec: Codec) -> None:
        with pytest.raises(HandshakeError) as caught:
            codec.parse_request(insert(b"Secret-Name\x00: secret-value"), 16 * KIB, 0)
        assert b"ecret" not in caught.value.body and "ecret" not in str(caught.value)


def test_frames_of_the_rfc_are_understood(codec: Codec) -> None:
    """RFC 6455 section 5.7."""
    server = codec.Protocol(Role.SERVER, max_payload=None)
    client = codec.Protocol(Role.CLIENT, max_payload=None)
    assert receive(client, b"\x81\x05Hello") == [("message", "Hello", False)]
    assert receive(server, bytes.fromhex("818537fa213d7f9f4d5158")) == [("message", "Hello", False)]
    assert receive(client, b"\x01\x03Hel\x80\x02lo") == [("message", "Hello", False)]
    assert receive(client, b"\x89\x05Hello") == [("ping", b"Hello")]
    assert decode(sent(client))[0][:3] == SentFrame(PONG, b"Hello", True, None)[:3]
    assert receive(server, bytes.fromhex("8a8537fa213d7f9f4d5158")) == [("pong", b"Hello")]
    assert receive(client, b"\x82\x7e\x01\x00" + b"x" * 256) == [("message", b"x" * 256, True)]
