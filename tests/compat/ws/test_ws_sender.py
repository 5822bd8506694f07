"""Sender of lws_gevent.compat.ws."""

from __future__ import annotations

import array
from typing import Any

import pytest
from parity import Done, case

from lws_gevent.compat.ws import PerMessageDeflate, Sender, WSRangeError, WSTypeError, extension

FILE = "sender.test.js"
SEND = "Sender > #send > "
WITHOUT = SEND + "when context takeover is disabled > "


class MockSocket:
    """Keeps what is written; `done` is called after `count` writes."""

    def __init__(self, count: int = 0) -> None:
        self.chunks: list[bytes] = []
        self.count = count
        self.done = Done()

    def write(self, octets: bytes, callback: Any = None) -> None:
        self.chunks.append(octets)
        if callback is not None:
            callback()
        if len(self.chunks) == self.count:
            self.done()


def deflating(socket: MockSocket, header: str = "permessage-deflate", **options: Any) -> Sender:
    deflate = PerMessageDeflate(options)
    deflate.accept(extension.parse(header)["permessage-deflate"])
    return Sender(socket, {"permessage-deflate": deflate})


@case(FILE, "Sender > .frame > does not mutate the input buffer if data is `readOnly`")
@pytest.mark.parametrize("read_only", [True, False])
def test_framing_never_changes_what_was_passed(read_only: bool) -> None:
    data = bytearray(b"\x01\x02\x03\x04\x05")
    Sender.frame(data, {"readOnly": read_only, "rsv1": False, "mask": True, "opcode": 2, "fin": True})
    assert data == b"\x01\x02\x03\x04\x05"


@case(FILE, "Sender > .frame > honors the `rsv1` option")
def test_the_first_reserved_bit() -> None:
    options = {"readOnly": False, "mask": False, "rsv1": True, "opcode": 1, "fin": True}
    assert Sender.frame(b"", options)[0][0] & 0x40 == 0x40


@case(FILE, "Sender > .frame > accepts a string as first argument")
def test_text_is_framed_in_utf8() -> None:
    options = {"readOnly": False, "rsv1": False, "mask": False, "opcode": 1, "fin": True}
    assert Sender.frame("\u20ac", options) == [bytes.fromhex("8103"), bytes.fromhex("e282ac")]


@case(FILE, SEND + "compresses data if compress option is enabled")
def test_all_kinds_of_data_are_compressed() -> None:
    socket = MockSocket(6)
    sender = deflating(socket)
    options = {"compress": True, "fin": True}
    for data in (bytearray(b"hi"), array.array("B", b"hi"), "hi"):
        sender.send(data, options)
    socket.done.wait()
    for header in socket.chunks[::2]:
        assert len(header) == 2
        assert header[0] & 0x40 == 0x40


NO_TAKEOVER = "permessage-deflate; client_no_context_takeover"


@case(FILE, WITHOUT + "honors the compression threshold")
def test_short_messages_are_not_compressed() -> None:
    socket = MockSocket(2)
    deflating(socket, NO_TAKEOVER).send("hi", {"compress": True, "fin": True})
    socket.done.wait()
    assert len(socket.chunks[0]) == 2
    assert socket.chunks[0][0] & 0x40 == 0
    assert socket.chunks[1] == b"hi"


def two_fragments(threshold: int, first: str | bytes, second: str | bytes) -> list[bytes]:
    socket = MockSocket(4)
    sender = deflating(socket, NO_TAKEOVER, threshold=threshold)
    sender.send(first, {"compress": True, "fin": False})
    sender.send(second, {"compress": True, "fin": True})
    socket.done.wait()
    return socket.chunks


@case(FILE, WITHOUT + "compresses all fragments of a fragmented message")
def test_a_message_whose_first_fragment_is_long_is_compressed() -> None:
    chunks = two_fragments(3, "123", "12")
    assert [len(chunk) for chunk in chunks] == [2, 9, 2, 4]
    assert (chunks[0][0] & 0x40, chunks[2][0] & 0x40) == (0x40, 0)


@case(FILE, WITHOUT + "does not compress any fragments of a fragmented message")
def test_a_message_whose_first_fragment_is_short_is_not_compressed() -> None:
    chunks = two_fragments(3, "12", "123")
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 3]
    assert (chunks[0][0] & 0x40, chunks[2][0] & 0x40) == (0, 0)


@case(FILE, WITHOUT + "compresses empty buffer as first fragment")
def test_an_empty_first_fragment_is_compressed() -> None:
    chunks = two_fragments(0, b"", "data")
    assert [len(chunk) for chunk in chunks] == [2, 5, 2, 6]
    assert (chunks[0][0] & 0x40, chunks[2][0] & 0x40) == (0x40, 0)


@case(FILE, WITHOUT + "compresses empty buffer as last fragment")
def test_an_empty_last_fragment_is_compressed() -> None:
    chunks = two_fragments(0, "data", b"")
    assert [len(chunk) for chunk in chunks] == [2, 10, 2, 1]
    assert (chunks[0][0] & 0x40, chunks[2][0] & 0x40) == (0x40, 0)


@case(FILE, "Sender > #ping > can send a string as ping payload")
@case(FILE, "Sender > #pong > can send a string as ping payload")
@pytest.mark.parametrize(("verb", "first"), [("ping", 0x89), ("pong", 0x8A)])
def test_a_control_frame_goes_after_what_is_being_compressed(verb: str, first: int) -> None:
    socket = MockSocket(4)
    sender = deflating(socket)
    sender.send("foo", {"compress": True, "fin": True})
    getattr(sender, verb)("hi", False)
    socket.done.wait()
    assert socket.chunks[2:] == [bytes([first, 2]), b"hi"]


@case(FILE, "Sender > #ping > can send a `TypedArray` as ping payload")
@case(FILE, "Sender > #ping > can send an `ArrayBuffer` as ping payload")
@case(FILE, "Sender > #pong > can send a `TypedArray` as ping payload")
@case(FILE, "Sender > #pong > can send an `ArrayBuffer` as ping payload")
@pytest.mark.parametrize("data", [array.array("B", b"hi"), bytearray(b"hi")], ids=["array", "bytearray"])
@pytest.mark.parametrize(("verb", "first"), [("ping", 0x89), ("pong", 0x8A)])
def test_the_payload_of_a_control_frame_is_any_buffer(verb: str, first: int, data: Any) -> None:
    socket = MockSocket(2)
    getattr(Sender(socket), verb)(data, False)
    assert socket.chunks == [bytes([first, 2]), b"hi"]


@case(FILE, "Sender > #close > throws an error if the first argument is invalid")
@pytest.mark.parametrize("code", ["error", 1004, 999, 1005, 1006, 1015, 2000, 5000, True])
def test_codes_that_may_not_be_sent(code: Any) -> None:
    with pytest.raises(WSTypeError, match="^First argument must be a valid error code number$"):
        Sender(MockSocket()).close(code)


@case(FILE, "Sender > #close > throws an error if the second argument is invalid")
def test_reasons_that_are_neither_text_nor_octets() -> None:
    with pytest.raises(WSTypeError, match="^Second argument must be a string or a Uint8Array$"):
        Sender(MockSocket()).close(1000, array.array("f", [0] * 20))


@case(FILE, "Sender > #close > throws an error if the message is greater than 123 bytes")
def test_reasons_that_are_too_long() -> None:
    with pytest.raises(WSRangeError, match="^The message must not be greater than 123 bytes$"):
        Sender(MockSocket()).close(1000, "a" * 124)


@case(FILE, "Sender > #close > should consume all data before closing")
def test_the_close_frame_goes_after_everything_else() -> None:
    socket = MockSocket()
    sender = deflating(socket)
    done = Done()
    for text in ("foo", "bar", "baz"):
        sender.send(text, {"compress": True, "fin": True})
    sender.close(1000, None, False, done)
    done.wait()
    assert len(socket.chunks) == 8
    assert socket.chunks[-2:] == [b"\x88\x02", b"\x03\xe8"]
