"""Prepared messages: encoded once, immutable, never text that is not UTF-8."""

from __future__ import annotations

import array
from typing import Any

import pytest
from client import encode
from codec_helpers import CODECS

from lws_gevent.codec import Codec
from lws_gevent.prepared import Prepared, message_payload


@pytest.fixture(params=CODECS, ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    chosen: Codec = request.param
    return chosen


@pytest.mark.parametrize("message", ["", "grüße", "x" * 126, "x" * 70_000])
def test_text_is_prepared_as_a_text_frame(codec: Codec, message: str) -> None:
    prepared = Prepared(message, encode_frame=codec.encode_frame)
    assert prepared.binary is False and prepared.payload == message.encode() and len(prepared) == len(message.encode())
    assert prepared.frame() == encode(1, message, mask=False)
    assert prepared.frame(True) == encode(2, message, mask=False)


@pytest.mark.parametrize("message", [b"", b"\xff\x00", bytearray(b"abc"), memoryview(b"abc"), array.array("B", [1, 2])])
def test_octets_are_prepared_as_a_binary_frame(codec: Codec, message: Any) -> None:
    prepared = Prepared(message, encode_frame=codec.encode_frame)
    assert prepared.binary is True and prepared.payload == bytes(message)
    assert prepared.frame() == encode(2, bytes(message), mask=False)


def test_each_kind_is_encoded_at_most_once() -> None:
    calls = []

    def encode_frame(payload: bytes, opcode: int) -> bytes:
        calls.append(opcode)
        return encode(opcode, payload, mask=False)

    prepared = Prepared("x", encode_frame=encode_frame)
    frames = {prepared.frame(), prepared.frame(), prepared.frame(False), prepared.frame(True), prepared.frame(True)}
    assert calls == [1, 2] and len(frames) == 2
    assert prepared.frame() is prepared.frame(False)


class Compressing:
    """In place of a connection's Deflate."""

    def __init__(self, compress_bits: int) -> None:
        self.compress_bits = compress_bits
        self.calls = 0

    def compress(self, data: bytes) -> bytes:
        self.calls += 1
        return b"%d:" % self.compress_bits + data


def test_it_is_compressed_at_most_once_for_each_window_and_kind(codec: Codec) -> None:
    prepared = Prepared("x", encode_frame=codec.encode_frame)
    narrow, wide, other = Compressing(9), Compressing(15), Compressing(15)
    for _ in range(2):
        assert prepared.compressed_frame(narrow) == encode(1, b"9:x", rsv=4, mask=False)  # type: ignore[arg-type]
        for deflate in (wide, other):
            assert prepared.compressed_frame(deflate) == encode(1, b"15:x", rsv=4, mask=False)  # type: ignore[arg-type]
        assert prepared.compressed_frame(narrow, True) == encode(2, b"9:x", rsv=4, mask=False)  # type: ignore[arg-type]
    assert (narrow.calls, wide.calls, other.calls) == (2, 1, 0)
    assert prepared.frame() == encode(1, b"x", mask=False)
    with pytest.raises(ValueError):
        Prepared(b"\xff").compressed_frame(wide, False)  # type: ignore[arg-type]


def test_the_codec_in_use_is_the_default() -> None:
    assert Prepared("hello").frame() == b"\x81\x05hello"


def test_the_message_is_taken_as_it_is_now() -> None:
    message = bytearray(b"before")
    prepared = Prepared(message)
    message[:] = b"after!"
    assert prepared.frame() == encode(2, b"before", mask=False)


def test_it_is_immutable() -> None:
    prepared = Prepared("x")
    for name in ("payload", "binary", "other"):
        with pytest.raises(AttributeError):
            setattr(prepared, name, b"y")
    with pytest.raises(AttributeError):
        del prepared.payload
    assert prepared.payload == b"x"


@pytest.mark.parametrize("octets", [b"\xff", b"a\xc3", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_is_refused_when_prepared_or_when_asked_for_as_text(octets: bytes) -> None:
    with pytest.raises(ValueError):
        Prepared(octets, binary=False)
    prepared = Prepared(octets)
    with pytest.raises(ValueError):
        prepared.frame(False)
    with pytest.raises(ValueError):
        prepared.check_text()
    assert prepared.frame() == encode(2, octets, mask=False)


def test_valid_octets_may_be_sent_as_text_and_text_as_octets() -> None:
    assert Prepared(b"gr\xc3\xbcn", binary=False).frame() == encode(1, "grün", mask=False)
    assert Prepared("grün", binary=True).frame() == encode(2, "grün", mask=False)


@pytest.mark.parametrize("message", [5, None, ["a"], 1.5])
def test_other_types_are_refused(message: Any) -> None:
    with pytest.raises(TypeError):
        Prepared(message)
    with pytest.raises(TypeError):
        message_payload(message)


@pytest.mark.parametrize(
    "message", ["\ud800", memoryview(b"abcdef")[::2], array.array("I", [1]), memoryview(array.array("H", [1]))]
)
def test_what_has_no_clear_length_in_octets_is_refused(message: Any) -> None:
    with pytest.raises(ValueError):
        Prepared(message)


def test_bytes_are_not_copied() -> None:
    payload = bytes(1000)
    assert Prepared(payload).payload is payload and message_payload(payload) is payload


def test_its_repr_shows_no_content() -> None:
    assert "secret" not in repr(Prepared("secret"))
