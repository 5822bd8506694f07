"""permessage-deflate without any input or output: compressing and inflating, and the codecs that use it. C numbers are
those of the project's checklist of hostile input."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref
import zlib
from functools import cache
from typing import Any

import pytest
from client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, encode
from codec_helpers import CODECS, ROLES, SentFrame, decode, drain, plain, receive, sent
from helpers import run_script
from tools import need_module

from lws_gevent import deflate
from lws_gevent.codec import Codec
from lws_gevent.deflate import Deflate, Deflaters, library
from lws_gevent.errors import PayloadTooBig, ProtocolError
from lws_gevent.extensions import DeflateParameters, PerMessageDeflate
from lws_gevent.frames import Role

KIB = 1024
MIB = 1024 * KIB

NO_TAKEOVER = DeflateParameters(True, True)
TAKEOVER = DeflateParameters(False, False)
BOTH = [pytest.param(NO_TAKEOVER, id="no takeover"), pytest.param(TAKEOVER, id="takeover")]

#: What does not get smaller; the same in every run.
NOISE = random.Random(7692).randbytes(100 * KIB)


@pytest.fixture(params=["zlib", "isal"])
def with_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compresses with the library of this name."""
    if request.param == "zlib":
        monkeypatch.setattr(deflate, "_isal", None)
    elif deflate._isal is None:
        pytest.skip("isal is not installed")
    assert library().startswith(request.param)
    name: str = request.param
    return name


def one_end(role: Role = Role.SERVER, parameters: DeflateParameters = NO_TAKEOVER, **settings: Any) -> Deflate:
    return Deflate(parameters, role, Deflaters(PerMessageDeflate(**settings)))


def squeeze(data: bytes, window_bits: int = 15, level: int = 6) -> bytes:
    """The payload of a message, as RFC 7692 section 7.2.1 makes it, by zlib."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    flushed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert flushed.endswith(b"\x00\x00\xff\xff")
    return flushed[:-4] if data else b"\x00"


def inflate(data: bytes, window_bits: int = 15) -> bytes:
    """The inverse, by RFC 7692 section 7.2.2."""
    return zlib.decompressobj(-window_bits).decompress(data + b"\x00\x00\xff\xff")


@cache
def bomb(size: int) -> bytes:
    """A message of a thousandth of the size that it inflates to."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = bytes(MIB)
    data = b"".join(compressor.compress(piece) for _ in range(size // MIB)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


class TestCompressing:
    @pytest.mark.parametrize("parameters", BOTH)
    @pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name.lower())
    @pytest.mark.parametrize("level", range(10))
    def test_what_one_end_compresses_the_other_inflates(
        self, with_library: str, parameters: DeflateParameters, role: Role, level: int
    ) -> None:
        ours, theirs = one_end(role, parameters, level=level), one_end(Role(1 - role), parameters, level=level)
        for message in (b"", b"x", b"hello " * 30, NOISE, bytes(MIB), b"", b"hello " * 30, bytearray(b"array")):
            compressed = ours.compress(message)
            assert theirs.decompress(compressed, len(message), True) == message

    def test_the_example_of_the_rfc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """RFC 7692 section 7.2.3.1 and 7.2.3.2; which octets exactly is zlib's choice."""
        monkeypatch.setattr(deflate, "_isal", None)
        assert one_end().compress(b"Hello") == bytes.fromhex("f248cdc9c90700")
        keeping = one_end(parameters=TAKEOVER)
        assert keeping.compress(b"Hello") == bytes.fromhex("f248cdc9c90700")
        assert keeping.compress(b"Hello") == bytes.fromhex("f200110000")

    def test_c5_without_takeover_every_message_can_be_inflated_by_itself(self, with_library: str) -> None:
        """Connections share a compressor; nothing of one gets into another."""
        shared = Deflaters(PerMessageDeflate())
        ends = [Deflate(NO_TAKEOVER, Role.SERVER, shared) for _ in range(2)]
        for number in range(50):
            message = b"the same words over and over again %d" % number + NOISE[: number * 100]
            assert inflate(ends[number % 2].compress(message)) == message

    def test_c5_with_takeover_a_repeated_message_is_short(self, with_library: str) -> None:
        keeping = one_end(parameters=TAKEOVER)
        first = keeping.compress(NOISE[:1000])
        assert len(keeping.compress(NOISE[:1000])) < len(first) / 10

    @pytest.mark.parametrize("window_bits", range(9, 16))
    @pytest.mark.parametrize("level", [1, 6, 9])
    def test_c5_nothing_points_farther_back_than_the_window(
        self, with_library: str, window_bits: int, level: int
    ) -> None:
        """Two copies of noise: near enough the second one becomes short, farther than the window it must not."""
        for parameters in (
            DeflateParameters(True, True, window_bits, 15),
            DeflateParameters(False, True, window_bits, 15),
        ):
            window = 1 << window_bits
            near, far = NOISE[:200], NOISE[: window + 1]
            server = one_end(Role.SERVER, parameters, level=level)
            assert len(server.compress(near * 2)) < 1.8 * len(near)
            assert len(one_end(Role.SERVER, parameters, level=level).compress(far * 2)) > 1.9 * len(far)

    def test_c5_each_role_uses_its_own_parameters(self) -> None:
        parameters = DeflateParameters(False, True, 15, 9)
        server, client = one_end(Role.SERVER, parameters), one_end(Role.CLIENT, parameters)
        twice = NOISE[:1000] * 2
        assert len(server.compress(twice)) < 1200 < 1900 < len(client.compress(twice))
        assert len(server.compress(twice)) < 100  # keeps its context
        assert len(client.compress(twice)) > 1900

    @pytest.mark.parametrize("parameters", BOTH)
    def test_fragments_of_several_connections_do_not_mix(
        self, with_library: str, parameters: DeflateParameters
    ) -> None:
        shared = Deflaters(PerMessageDeflate())
        ends = [Deflate(parameters, Role.SERVER, shared) for _ in range(3)]
        messages = [NOISE[: 100 * index] + b"words and words" * 10 for index in range(3)]
        parts: list[list[bytes]] = [[], [], []]
        for begin in range(0, 400, 50):
            for index, end in enumerate(ends):
                parts[index].append(end.compress(messages[index][begin : begin + 50], fin=False))
        for index, end in enumerate(ends):
            parts[index].append(end.compress(b"", fin=True))
            assert inflate(b"".join(parts[index])) == messages[index][:400]

    @pytest.mark.parametrize("parameters", BOTH)
    def test_c7_a_compressor_that_failed_is_not_used_again(
        self, parameters: DeflateParameters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Failing:
            def compress(self, data: bytes) -> bytes:
                return b"what it may have written"

            def flush(self, mode: int) -> bytes:
                raise MemoryError

        shared = Deflaters(PerMessageDeflate())
        end = Deflate(parameters, Role.SERVER, shared)
        with monkeypatch.context() as patched:
            patched.setattr(Deflaters, "new_compressor", lambda *_: Failing())
            with pytest.raises(MemoryError):
                end.compress(b"lost")
        assert inflate(end.compress(b"sent")) == b"sent"

    def test_a_message_that_is_sent_while_another_is_compressed_does_not_get_into_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A finalizer may do so."""
        shared = Deflaters(PerMessageDeflate())
        inner = []
        make = Deflaters.new_compressor

        class Interrupted:
            def __init__(self, compressor: Any) -> None:
                self.compressor = compressor

            def compress(self, data: bytes) -> Any:
                result = self.compressor.compress(data)
                if not inner:
                    inner.append(None)
                    inner.append(shared.compress(b"inner" * 10, 15))
                return result

            def flush(self, mode: int) -> Any:
                return self.compressor.flush(mode)

        monkeypatch.setattr(Deflaters, "new_compressor", lambda *args: Interrupted(make(*args)))
        assert inflate(shared.compress(b"outer" * 10, 15)) == b"outer" * 10
        assert inflate(inner[1]) == b"inner" * 10


class TestInflating:
    @pytest.fixture(params=[15, 12, 9])
    def bits(self, request: pytest.FixtureRequest) -> int:
        number: int = request.param
        return number

    @pytest.mark.parametrize("pieces", [1, 7, 1000, 10**6])
    @pytest.mark.parametrize("takeover", [False, True])
    def test_a_message_in_parts_of_any_size(self, bits: int, pieces: int, takeover: bool) -> None:
        end = one_end(Role.SERVER, DeflateParameters(True, not takeover, 15, bits))
        message = NOISE[:3000] + b"again and again " * 500 + NOISE[:3000]
        for data in (squeeze(message, bits), squeeze(message, bits, 0), squeeze(message, bits, 9)):
            inflated = b""
            for begin in range(0, len(data), pieces):
                last = begin + pieces >= len(data)
                inflated += end.decompress(data[begin : begin + pieces], len(message) - len(inflated), last)
            assert inflated == message

    @pytest.mark.parametrize("length", [0, 1, 100, 511, 512, 513, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 300 * KIB])
    @pytest.mark.parametrize("fill", ["zeros", "noise"])
    def test_c2_the_limit_counts_what_is_inflated(self, bits: int, length: int, fill: str) -> None:
        message = bytes(length) if fill == "zeros" else (NOISE * 3)[:length]
        data = squeeze(message, bits)
        parameters = DeflateParameters(True, True, 15, bits)
        assert one_end(Role.SERVER, parameters).decompress(data, length, True) == message
        assert one_end(Role.SERVER, parameters).decompress(data, None, True) == message
        if length:
            with pytest.raises(PayloadTooBig) as caught:
                one_end(Role.SERVER, parameters).decompress(data, length - 1, True)
            assert caught.value.close_code == 1009

    @pytest.mark.parametrize("part", [1, 100, 10**9])
    def test_c1_a_bomb_is_not_inflated_beyond_the_limit(self, part: int) -> None:
        limit = MIB
        data = bomb(64 * MIB)
        assert len(data) < 80 * KIB
        end = one_end()
        gc.collect()
        tracemalloc.start()
        try:
            length = 0
            with pytest.raises(PayloadTooBig):
                for begin in range(0, len(data), part):
                    piece = end.decompress(data[begin : begin + part], limit - length, begin + part >= len(data))
                    length += len(piece)
            assert tracemalloc.get_traced_memory()[1] < 1.5 * limit
        finally:
            tracemalloc.stop()

    def test_c1_a_bomb_with_takeover_and_one_within_another(self) -> None:
        end = one_end(parameters=TAKEOVER)
        assert end.decompress(squeeze(bytes(32 * KIB)), 32 * KIB, True) == bytes(32 * KIB)
        nested = squeeze(bomb(4 * MIB))
        inner = end.decompress(nested, 10 * KIB, True)
        with pytest.raises(PayloadTooBig):
            end.decompress(inner, MIB, True)

    @pytest.mark.parametrize("parameters", BOTH)
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"\xff\xff\xff", id="no block type"),
            pytest.param(b"\x00\x05\x00\x00\x00", id="stored length"),
            pytest.param(squeeze(NOISE[:500])[:-1], id="cut by one"),
            pytest.param(squeeze(b"hello hello hello")[:-2], id="cut by two"),
            pytest.param(squeeze(b"hello hello " * 100 + NOISE[:100])[:60], id="cut"),
            pytest.param(b"\x02\x1d\x00", id="distance too far back"),
            pytest.param(b"\x05\x00", id="dynamic block cut"),
            pytest.param(b"plain text", id="plain text"),
        ],
    )
    def test_c3_what_is_no_deflate_data(self, parameters: DeflateParameters, data: bytes) -> None:
        for parts in ([data], [data[:1], data[1:]], [data, b""]):
            end = one_end(Role.SERVER, parameters)
            with pytest.raises(ProtocolError) as caught:
                for index, part in enumerate(parts):
                    end.decompress(part, MIB, index == len(parts) - 1)
            assert caught.value.close_code == 1007

    @pytest.mark.parametrize("parameters", BOTH)
    def test_c3_an_empty_payload_is_an_empty_message(self, parameters: DeflateParameters) -> None:
        end = one_end(Role.SERVER, parameters)
        for data in (b"", b"\x00", b"\x02\x00", b""):
            assert end.decompress(data, 0, True) == b""
        assert end.decompress(b"", 0, False) == b""
        assert end.decompress(b"", 0, True) == b""

    def test_a_last_fragment_may_be_empty_when_the_flush_before_it_was_sent(self) -> None:
        for ending in (b"", b"\x00"):
            end = one_end()
            assert end.decompress(squeeze(b"hello") + b"\x00\x00\xff\xff", 5, False) == b"hello"
            assert end.decompress(ending, 0, True) == b""

    @pytest.mark.parametrize("parameters", BOTH)
    def test_c4_a_final_block_ends_neither_message_nor_connection(self, parameters: DeflateParameters) -> None:
        """RFC 7692 section 7.2.3.4."""
        end = one_end(Role.SERVER, parameters)
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        final = compressor.compress(b"Hello") + compressor.flush()
        assert final + b"\x00" == bytes.fromhex("f348cdc9c9070000")
        for data in (final + b"\x00", squeeze(b"Hello"), final, final + squeeze(b""), squeeze(b"Hello")):
            assert end.decompress(data, 5, True) == b"Hello"
        assert end.decompress(final + final + squeeze(b"Hello"), 15, True) == b"Hello" * 3
        data = final + b"\x00" + b"\x00\x00\xff\xff" + final + b"\x00"
        message = b"".join(end.decompress(data[i : i + 1], 10, i == len(data) - 1) for i in range(len(data)))
        assert message == b"Hello" * 2

    def test_c4_final_blocks_without_end_are_refused(self) -> None:
        """Each of them costs far more time than its two octets."""
        with pytest.raises(ProtocolError) as caught:
            one_end().decompress(b"\x03\x00" * 10_000 + b"\x00", MIB, True)
        assert caught.value.close_code == 1008

    def test_c5_what_came_before_counts_with_takeover_only(self) -> None:
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        messages = [
            (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            for data in (b"words" * 9, b"words" * 9)
        ]
        keeping, forgetting = one_end(parameters=TAKEOVER), one_end()
        for data in messages:
            assert keeping.decompress(data, 45, True) == b"words" * 9
        assert forgetting.decompress(messages[0], 45, True) == b"words" * 9
        with pytest.raises(ProtocolError) as caught:
            forgetting.decompress(messages[1], 45, True)
        assert caught.value.close_code == 1007

    @pytest.mark.parametrize("bits", range(9, 16))
    def test_c5_a_window_is_kept_whole_and_no_longer(self, bits: int) -> None:
        """A message that repeats what was said just within the window, and one that goes back farther."""
        window = 1 << bits
        for distance, accepted in ((window, True), (window + 1, False)):
            for sizes in ([distance], [window // 2, distance - window // 2], [1] * 300 + [distance - 300]):
                end = one_end(Role.SERVER, DeflateParameters(True, False, 15, bits))
                position = 0
                for size in sizes:
                    end.decompress(squeeze(NOISE[position : position + size], 15, 0), None, True)
                    position += size
                # a block with the fixed codes: the longest match there is, from `distance` before
                compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_FIXED, b"?" + NOISE[:distance])
                data = (compressor.compress(NOISE[:258]) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
                if len(data) > 100:
                    assert distance > 32 * KIB - 300  # zlib itself does not look that far
                    continue
                if accepted:
                    assert end.decompress(data, 258, True) == NOISE[:258]
                else:
                    with pytest.raises(ProtocolError):
                        end.decompress(data, 258, True)

    @pytest.mark.parametrize("bits", range(9, 14))
    def test_c5_within_a_message_nothing_twice_as_far_as_the_window(self, bits: int) -> None:
        """zlib cannot tell sooner where what is inflated at a time begins."""
        message = NOISE[: 2 << bits] * 2
        data = squeeze(message, 15)
        assert len(data) < 0.6 * len(message)
        end = one_end(Role.SERVER, DeflateParameters(True, True, 15, bits))
        with pytest.raises(ProtocolError) as caught:
            end.decompress(data, None, True)
        assert caught.value.close_code == 1007

    def test_c6_little_is_kept_between_messages(self) -> None:
        """Without takeover nothing; with it the peer's window, and no more than it holds."""

        def kept(parameters: DeflateParameters, message: bytes) -> float:
            shared = Deflaters(PerMessageDeflate())
            data = squeeze(message)
            Deflate(parameters, Role.SERVER, shared).compress(b"makes the shared compressor")
            gc.collect()
            tracemalloc.start()
            try:
                ends = [Deflate(parameters, Role.SERVER, shared) for _ in range(100)]
                for end in ends:
                    end.decompress(data, None, True)
                    if parameters is NO_TAKEOVER:
                        end.compress(message)
                gc.collect()
                return tracemalloc.get_traced_memory()[0] / len(ends)
            finally:
                tracemalloc.stop()

        assert kept(NO_TAKEOVER, NOISE) < 300
        assert kept(TAKEOVER, NOISE[:100]) < 500
        assert 32 * KIB < kept(TAKEOVER, NOISE) < 34 * KIB

    def test_c6_everything_is_freed_by_closing(self) -> None:
        end = one_end(parameters=TAKEOVER)
        gc.collect()
        tracemalloc.start()
        try:
            end.compress(NOISE)
            end.decompress(squeeze(NOISE), None, True)
            end.decompress(squeeze(NOISE)[:1000], None, False)
            assert tracemalloc.get_traced_memory()[0] > 32 * KIB
            end.close()
            end.close()
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 4 * KIB
        finally:
            tracemalloc.stop()

    def test_c7_memory_that_runs_out_leaves_a_connection_that_can_be_failed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any, **options: Any) -> Any:
            raise MemoryError

        end = one_end()
        with monkeypatch.context() as patched:
            patched.setattr(zlib, "decompressobj", fail)
            with pytest.raises(MemoryError):
                end.decompress(squeeze(b"x"), None, True)
        end.close()
        assert end.decompress(squeeze(b"x"), None, True) == b"x"


@pytest.fixture(params=CODECS, ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    chosen: Codec = request.param
    return chosen


class Peer:
    """A protocol with permessage-deflate, and its peer, whose frames it gets and whose end it is read at."""

    def __init__(
        self, codec: Codec, role: Role = Role.SERVER, parameters: DeflateParameters = NO_TAKEOVER, **options: Any
    ) -> None:
        self.role = role
        self.deflate = one_end(role, parameters)
        self.theirs = one_end(Role(1 - role), parameters)
        self.protocol = codec.Protocol(role, **{"max_payload": 16 * MIB, "deflate": self.deflate, **options})

    def frame(self, opcode: int, payload: bytes | str = b"", **options: Any) -> bytes:
        return encode(opcode, payload, mask=self.role is Role.SERVER, **options)

    def receive(self, *data: bytes) -> list[tuple[Any, ...]]:
        return [plain(event) for event in receive(self.protocol, b"".join(data))]

    def sent(self) -> list[SentFrame]:
        frames = decode(sent(self.protocol), rsv1=True)
        assert all((frame.key is not None) is (self.role is Role.CLIENT) for frame in frames), "masking"
        return frames

    def assert_fails(self, code: int, *data: bytes) -> None:
        kind = "PayloadTooBig" if code == 1009 else "ProtocolError"
        assert self.receive(*data) == [("error", kind, code)]
        assert [(frame.opcode, frame.payload) for frame in self.sent()] == [(CLOSE, close_payload(code))]
        assert self.protocol.close_sent and self.protocol.close_code == code
        assert not self.protocol.close_received
        assert self.receive(self.frame(TEXT, "ignored"), self.frame(CLOSE)) == []
        self.protocol.receive_eof()
        assert drain(self.protocol) == []
        assert self.protocol.buffered == 0


@pytest.fixture(params=ROLES, ids=lambda role: role.name.lower())
def peer(request: pytest.FixtureRequest, codec: Codec) -> Peer:
    return Peer(codec, request.param)


class TestReceiving:
    def test_whole_messages(self, peer: Peer) -> None:
        text, binary = "ßüß " * 100, bytes(range(256)) * 10
        assert peer.receive(
            peer.frame(TEXT, peer.theirs.compress(text.encode()), rsv=4),
            peer.frame(TEXT, "not compressed"),
            peer.frame(BINARY, peer.theirs.compress(binary), rsv=4),
            peer.frame(BINARY, b"\x00", rsv=4),
        ) == [
            ("message", text, False),
            ("message", "not compressed", False),
            ("message", binary, True),
            ("message", b"", True),
        ]

    @pytest.mark.parametrize("length", [0, 1, 10, 5000, 70_000, MIB])
    @pytest.mark.parametrize("text", [False, True])
    def test_messages_of_any_length_in_chunks_of_any_size(self, peer: Peer, length: int, text: bool) -> None:
        message = ("0aß⛵" * length)[:length] if text else (NOISE * (length // len(NOISE) + 1))[:length]
        octets = message.encode() if isinstance(message, str) else message
        data = peer.frame(TEXT if text else BINARY, peer.theirs.compress(octets), rsv=4)
        for sizes in ([], [1] * 50, [4096] * 5, [10_000, 1, 70_000, 1], [3, 2, 1, len(data) - 7]):
            assert receive(peer.protocol, data, sizes) == [("message", message, not text)]
        assert peer.protocol.buffered == 0

    def test_fragments_and_control_frames_between_them(self, peer: Peer) -> None:
        data = peer.theirs.compress(b"hello " * 20)
        for step in (1, 3, len(data)):
            parts = [data[begin : begin + step] for begin in range(0, len(data), step)]
            frames = [peer.frame(TEXT, parts[0], fin=False, rsv=4), peer.frame(CONTINUATION, b"", fin=False)]
            for part in parts[1:]:
                frames += (peer.frame(PING, b"p"), peer.frame(CONTINUATION, part, fin=False))
            events = peer.receive(*frames, peer.frame(PONG), peer.frame(CONTINUATION, b""))
            assert [event for event in events if event[0] != "ping"] == [
                ("pong", b""),
                ("message", "hello " * 20, False),
            ]
            assert events.count(("ping", b"p")) == len(parts) - 1

    @pytest.mark.parametrize("parameters", BOTH)
    def test_messages_one_after_another(self, codec: Codec, parameters: DeflateParameters) -> None:
        peer = Peer(codec, Role.SERVER, parameters)
        for number in range(20):
            message = b"a message that resembles the others: %d" % number + NOISE[: number * 20]
            assert peer.receive(peer.frame(BINARY, peer.theirs.compress(message), rsv=4)) == [
                ("message", message, True)
            ]

    def test_c3_rsv1_where_it_must_not_be(self, codec: Codec) -> None:
        """RFC 7692 section 6."""
        data = squeeze(b"hello")
        for frames in (
            [(PING, data, {"rsv": 4})],
            [(CLOSE, b"", {"rsv": 4})],
            [(BINARY, data[:3], {"rsv": 4, "fin": False}), (CONTINUATION, data[3:], {"rsv": 4})],
            [(BINARY, data[:3], {"fin": False}), (CONTINUATION, data[3:], {"rsv": 4})],
            [(BINARY, data, {"rsv": 6})],
            [(BINARY, data, {"rsv": 2})],
            [(BINARY, data, {"rsv": 5})],
        ):
            peer = Peer(codec)
            peer.assert_fails(1002, *(peer.frame(opcode, payload, **options) for opcode, payload, options in frames))
        peer = Peer(codec, deflate=None)
        peer.assert_fails(1002, peer.frame(TEXT, data, rsv=4))

    @pytest.mark.parametrize("data", [b"\xff\xff\xff", squeeze(b"hello hello")[:-2], b"plain text"])
    def test_c3_corrupt_data(self, peer: Peer, data: bytes) -> None:
        peer.assert_fails(1007, peer.frame(BINARY, data, rsv=4))

    def test_c3_an_empty_payload_with_rsv1(self, peer: Peer) -> None:
        assert peer.receive(peer.frame(TEXT, b"", rsv=4)) == [("message", "", False)]
        frames = [peer.frame(TEXT, b"", rsv=4, fin=False), peer.frame(CONTINUATION, b"", fin=False)]
        assert peer.receive(*frames, peer.frame(CONTINUATION)) == [("message", "", False)]
        frames = [peer.frame(TEXT, b"", rsv=4, fin=False), peer.frame(CONTINUATION, squeeze(b"late"))]
        assert peer.receive(*frames) == [("message", "late", False)]

    def test_c4_messages_that_end_with_a_final_block(self, peer: Peer) -> None:
        final = bytes.fromhex("f348cdc9c90700")
        frames = [
            peer.frame(TEXT, final + b"\x00", rsv=4),
            peer.frame(TEXT, squeeze(b"Hello"), rsv=4),
            peer.frame(TEXT, final[:4], rsv=4, fin=False),
            peer.frame(CONTINUATION, final[4:] + b"\x00"),
        ]
        assert peer.receive(*frames) == [("message", "Hello", False)] * 3

    def test_c2_the_limit_counts_what_is_inflated(self, codec: Codec) -> None:
        for message in (bytes(1000), NOISE[:1000]):
            peer = Peer(codec, max_payload=1000)
            data = peer.theirs.compress(message)
            assert peer.receive(peer.frame(BINARY, data, rsv=4)) == [("message", message, True)]
            parts = [peer.frame(BINARY, data[:5], rsv=4, fin=False), peer.frame(CONTINUATION, data[5:])]
            assert peer.receive(*parts) == [("message", message, True)]
            data = peer.theirs.compress(message + b"x")
            parts = [peer.frame(BINARY, data[:5], rsv=4, fin=False), peer.frame(CONTINUATION, data[5:])]
            peer.assert_fails(1009, *parts)
            peer = Peer(codec, max_payload=1000)
            peer.assert_fails(1009, peer.frame(BINARY, data, rsv=4))

    def test_a_header_that_announces_more_than_can_be_meant(self, codec: Codec) -> None:
        peer = Peer(codec, max_payload=1000)
        assert peer.receive(peer.frame(BINARY, rsv=4, length=3024)) == []
        peer = Peer(codec, max_payload=1000)
        peer.assert_fails(1009, peer.frame(BINARY, rsv=4, length=3025))
        peer = Peer(codec, max_payload=1000)
        peer.assert_fails(1009, peer.frame(BINARY, length=1001))

    @pytest.mark.parametrize("size", [1, 1000, 10**9], ids=lambda size: f"frames of {size}")
    def test_c1_a_bomb(self, codec: Codec, size: int) -> None:
        limit = MIB
        data = bomb(64 * MIB)
        peer = Peer(codec, max_payload=limit)
        parts = [data[begin : begin + size] for begin in range(0, len(data), size)]
        stream = b"".join(
            peer.frame(CONTINUATION if index else BINARY, part, rsv=0 if index else 4, fin=index == len(parts) - 1)
            for index, part in enumerate(parts)
        )
        peer.protocol.receive_data(stream)
        gc.collect()
        tracemalloc.start()
        try:
            events = [plain(event) for event in drain(peer.protocol)]
            assert tracemalloc.get_traced_memory()[1] < 3 * limit
        finally:
            tracemalloc.stop()
        assert events == [("error", "PayloadTooBig", 1009)]
        assert [frame.opcode for frame in peer.sent()] == [CLOSE]

    @pytest.mark.parametrize("chunk", [1, 100, 10**9])
    def test_text_is_checked_to_be_utf8(self, codec: Codec, chunk: int) -> None:
        for octets in (b"\xff", b"abc\xed\xa0\x80", b"x" * 5000 + b"\xc3", "ß".encode()[:1]):
            peer = Peer(codec)
            data = peer.frame(TEXT, peer.theirs.compress(octets), rsv=4)
            events = [plain(event) for event in receive(peer.protocol, data, [chunk] * 10_000)]
            assert events == [("error", "ProtocolError", 1007)]
            assert Peer(codec).receive(peer.frame(BINARY, squeeze(octets), rsv=4)) == [("message", octets, True)]
            lenient = Peer(codec, skip_utf8_validation=True)
            assert lenient.receive(data) == [("message", octets.decode("utf-8", "replace"), False)]

    def test_text_is_refused_at_the_first_octet_that_is_wrong(self, peer: Peer) -> None:
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        begun = compressor.compress(b"fine \xff") + compressor.flush(zlib.Z_SYNC_FLUSH)
        peer.assert_fails(1007, peer.frame(TEXT, begun, rsv=4, fin=False))

    def test_c7_memory_that_runs_out(self, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any, **options: Any) -> Any:
            raise MemoryError

        peer = Peer(codec)
        monkeypatch.setattr(zlib, "decompressobj", fail)
        peer.assert_fails(1011, peer.frame(TEXT, b"\x00" * 10, rsv=4))

    @pytest.mark.parametrize("how", ["close", "error", "our close"])
    def test_c6_contexts_are_freed_when_the_connection_ends(self, codec: Codec, how: str) -> None:
        peer = Peer(codec, Role.SERVER, TAKEOVER)
        peer.protocol.send_message(b"hello", False, True)
        assert peer.receive(peer.frame(TEXT, peer.theirs.compress(b"hello"), rsv=4)) == [("message", "hello", False)]
        peer.receive(peer.frame(TEXT, peer.theirs.compress(b"hello")[:3], rsv=4, fin=False))
        assert peer.deflate._compressor and peer.deflate._inflater and peer.deflate._history
        if how == "our close":
            peer.protocol.send_close(1000)
        peer.receive(peer.frame(CLOSE if how != "error" else 15))
        assert not peer.deflate._compressor and not peer.deflate._inflater and not peer.deflate._history

    def test_a_protocol_and_its_deflate_are_freed_together(self, codec: Codec) -> None:
        peer = Peer(codec)
        peer.receive(peer.frame(TEXT, b"\x00", rsv=4, fin=False))

        class Marked(Deflate):
            __slots__ = ("__weakref__",)

        marked = Marked(NO_TAKEOVER, Role.SERVER, Deflaters(PerMessageDeflate()))
        gone = weakref.ref(marked)
        protocol = codec.Protocol(Role.SERVER, max_payload=None, deflate=marked)
        protocol.receive_data(peer.frame(BINARY, squeeze(NOISE)[:5000], rsv=4, length=10_000))
        assert drain(protocol) == []
        del marked, protocol
        gc.collect()
        assert gone() is None


class TestSending:
    @pytest.mark.parametrize("parameters", BOTH)
    @pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name.lower())
    def test_messages(self, with_library: str, codec: Codec, role: Role, parameters: DeflateParameters) -> None:
        peer = Peer(codec, role, parameters)
        messages = [(b"hello " * 50, False), (NOISE, True), (b"", False), (bytearray(b"x" * 200), True)]
        for payload, binary in messages:
            peer.protocol.send_message(payload, binary, True)
        peer.protocol.send_message(memoryview(b"as it is"), True, False)
        peer.protocol.send_ping(b"ping")
        *frames, plain_one, ping = peer.sent()
        assert (plain_one.payload, plain_one.rsv1) == (b"as it is", False)
        assert (ping.payload, ping.rsv1) == (b"ping", False)
        for frame, (payload, binary) in zip(frames, messages, strict=True):
            assert frame.rsv1 and frame.fin
            assert frame.opcode == (BINARY if binary else TEXT)
            assert peer.theirs.decompress(frame.payload, None, True) == payload
        assert len(frames[0].payload) < 50

    def test_nothing_is_compressed_that_was_not_negotiated(self, codec: Codec) -> None:
        peer = Peer(codec, deflate=None)
        peer.protocol.send_message(b"hello", False, True)
        peer.protocol.send_fragment(b"hel", False, False, True)
        peer.protocol.send_fragment(b"lo", True, False)
        assert [(frame.payload, frame.rsv1) for frame in peer.sent()] == [
            (b"hello", False),
            (b"hel", False),
            (b"lo", False),
        ]

    @pytest.mark.parametrize("parameters", BOTH)
    @pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name.lower())
    def test_fragments(self, codec: Codec, role: Role, parameters: DeflateParameters) -> None:
        peer = Peer(codec, role, parameters)
        for pieces in (["ß⛵" * 20, "", "the end"], ["one", ""], ["", "one", "two"], ["", ""], ["only"]):
            for index, piece in enumerate(pieces):
                # only the first one's wish counts
                peer.protocol.send_fragment(piece.encode(), index == len(pieces) - 1, False, index == 0)
            frames = peer.sent()
            assert [frame.rsv1 for frame in frames] == [True] + [False] * (len(pieces) - 1)
            assert [frame.opcode for frame in frames] == [TEXT] + [CONTINUATION] * (len(pieces) - 1)
            assert (
                peer.theirs.decompress(b"".join(frame.payload for frame in frames), None, True)
                == "".join(pieces).encode()
            )

    def test_fragments_of_a_message_that_is_not_compressed(self, peer: Peer) -> None:
        peer.protocol.send_fragment(b"one", False, True)
        peer.protocol.send_fragment(b"two", True, True, True)
        assert [(frame.payload, frame.rsv1) for frame in peer.sent()] == [(b"one", False), (b"two", False)]

    def test_text_is_checked_before_it_is_compressed(self, peer: Peer) -> None:
        with pytest.raises(ValueError):
            peer.protocol.send_message(b"\xff", False, True)
        peer.protocol.send_fragment("ß".encode()[:1], False, False, True)
        with pytest.raises(ValueError):
            peer.protocol.send_fragment(b"x", True, False)
        peer.protocol.send_fragment("ß".encode()[1:], True, False)
        frames = peer.sent()
        assert peer.theirs.decompress(b"".join(frame.payload for frame in frames), None, True) == "ß".encode()

    def test_c7_memory_that_runs_out_sends_nothing(self, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any, **options: Any) -> Any:
            raise MemoryError

        peer = Peer(codec)
        with monkeypatch.context() as patched:
            patched.setattr(Deflaters, "new_compressor", fail)
            with pytest.raises(MemoryError):
                peer.protocol.send_message(b"lost", False, True)
        assert peer.sent() == []
        peer.protocol.send_message(b"sent", False, True)
        assert [inflate(frame.payload) for frame in peer.sent()] == [b"sent"]


@pytest.mark.skipif(CODECS[0].name != "c", reason="memory cannot run out for Python alone and leave it sound")
def test_c7_any_allocation_may_fail() -> None:
    """Whichever does: the message comes, or the connection fails; it is sent, or the next one is not harmed."""
    need_module("_testcapi")
    output = run_script("deflate_without_memory.py", timeout=60)
    assert output.strip() == "['failed', 'message', 'raised'] ['raised', 'sent']"


def test_the_library_in_use_has_a_name_and_a_version(with_library: str) -> None:
    name, version = library().split()
    assert name == with_library
    assert version[0].isdigit()
    assert library(level=9).startswith("zlib ")
