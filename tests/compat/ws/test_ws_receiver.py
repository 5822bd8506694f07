"""Receiver of lws_gevent.compat.ws."""

from __future__ import annotations

import os
from typing import Any

import gevent
import pytest
from parity import Done, call_back, case

from lws_gevent.compat.ws import PerMessageDeflate, Receiver, Sender, WSError, WSRangeError

FILE = "receiver.test.js"
LONG = b"A" * 300


def deflate(**options: Any) -> PerMessageDeflate:
    made = PerMessageDeflate(options)
    made.accept([{}])
    return made


def with_deflate(extension: PerMessageDeflate, **options: Any) -> Receiver:
    return Receiver({"extensions": {"permessage-deflate": extension}, **options})


def frame(data: bytes, opcode: int = 1, fin: bool = True, mask: bool = True) -> bytes:
    options = {"fin": fin, "rsv1": False, "opcode": opcode, "mask": mask, "readOnly": True}
    return b"".join(Sender.frame(data, options))


def listen(receiver: Receiver) -> list[Any]:
    """The list to which all events of `receiver` are appended, as (name, arguments...)."""
    events: list[Any] = []
    for name in ("message", "ping", "pong", "conclude", "error", "finish"):

        def listener(*args: Any, name: str = name) -> None:
            events.append((name, *args))

        receiver.on(name, listener)
    return events


def parse(receiver: Receiver, *chunks: bytes) -> list[Any]:
    """The events that `chunks` give; the ``finish`` that follows a close frame is left out."""
    events = listen(receiver)
    for chunk in chunks:
        receiver.write(chunk)
    for _ in range(5):
        gevent.sleep(0)
    return [event for event in events if event[0] != "finish"]


def halves(octets: bytes) -> list[bytes]:
    middle = len(octets) // 2
    return [octets[:middle], octets[middle:]]


@case(FILE, "Receiver > parses an unmasked text message")
def test_an_unmasked_text_message() -> None:
    assert parse(Receiver(), bytes.fromhex("810548656c6c6f")) == [("message", b"Hello", False)]


@case(FILE, "Receiver > parses a close message")
def test_a_close_frame_without_a_code() -> None:
    assert parse(Receiver(), b"\x88\x00") == [("conclude", 1005, b"")]


@case(FILE, "Receiver > parses a close message spanning multiple writes")
def test_a_close_frame_in_two_chunks() -> None:
    assert parse(Receiver(), b"\x88\x06", bytes.fromhex("03e8444F4E45")) == [("conclude", 1000, b"DONE")]


@case(FILE, "Receiver > parses a masked text message")
def test_a_masked_text_message() -> None:
    octets = bytes.fromhex("81933483a86801b992524fa1c60959e68a5216e6cb005ba1d5")
    assert parse(Receiver({"isServer": True}), octets) == [("message", b'5:::{"name":"echo"}', False)]


@case(FILE, "Receiver > parses a masked text message longer than 125 B")
def test_a_masked_message_longer_than_125_octets() -> None:
    octets = frame(b"A" * 200)
    assert parse(Receiver({"isServer": True}), octets[:2], octets[2:]) == [("message", b"A" * 200, False)]


@case(FILE, "Receiver > parses a really long masked text message")
def test_a_masked_message_of_64_kib() -> None:
    message = b"A" * 64 * 1024
    assert parse(Receiver({"isServer": True}), frame(message)) == [("message", message, False)]


@case(FILE, "Receiver > parses a 300 B fragmented masked text message")
def test_two_masked_fragments() -> None:
    chunks = frame(LONG[:150], fin=False), frame(LONG[150:], opcode=0)
    assert parse(Receiver({"isServer": True}), *chunks) == [("message", LONG, False)]


@case(FILE, "Receiver > parses a ping message")
def test_a_ping() -> None:
    assert parse(Receiver({"isServer": True}), frame(b"Hello", 9)) == [("ping", b"Hello")]


@case(FILE, "Receiver > parses a ping message with no data")
def test_a_ping_without_data() -> None:
    assert parse(Receiver(), b"\x89\x00") == [("ping", b"")]


PING_IN_THE_MIDDLE = frame(LONG[:150], fin=False), frame(b"Hello", 9), frame(LONG[150:], opcode=0)


@case(FILE, "Receiver > parses a 300 B fragmented masked text message with a ping in the middle (1/2)")
def test_a_ping_between_fragments() -> None:
    events = parse(Receiver({"isServer": True}), *PING_IN_THE_MIDDLE)
    assert events == [("ping", b"Hello"), ("message", LONG, False)]


@case(FILE, "Receiver > parses a 300 B fragmented masked text message with a ping in the middle (2/2)")
def test_a_ping_between_fragments_in_pieces() -> None:
    chunks = [half for chunk in PING_IN_THE_MIDDLE for half in halves(chunk)]
    assert parse(Receiver({"isServer": True}), *chunks) == [("ping", b"Hello"), ("message", LONG, False)]


@case(FILE, "Receiver > parses a 100 B masked binary message")
@case(FILE, "Receiver > parses a 256 B masked binary message")
@case(FILE, "Receiver > parses a 200 KiB masked binary message")
@pytest.mark.parametrize("size", [100, 256, 200 * 1024])
def test_masked_binary_messages(size: int) -> None:
    message = os.urandom(size)
    assert parse(Receiver({"isServer": True}), frame(message, 2)) == [("message", message, True)]


@case(FILE, "Receiver > parses a 200 KiB unmasked binary message")
def test_an_unmasked_binary_message_of_200_kib() -> None:
    message = os.urandom(200 * 1024)
    assert parse(Receiver(), frame(message, 2, mask=False)) == [("message", message, True)]


@case(FILE, "Receiver > parses a compressed message")
def test_a_compressed_message() -> None:
    extension = deflate()
    data = call_back(extension.compress, b"Hello", True)
    assert parse(with_deflate(extension), bytes([0xC1, len(data)]), data) == [("message", b"Hello", False)]


@case(FILE, "Receiver > parses a compressed and fragmented message")
def test_a_compressed_message_in_fragments() -> None:
    extension = deflate()
    first = call_back(extension.compress, b"foo", False)
    second = call_back(extension.compress, b"bar", True)
    chunks = bytes([0x41, len(first)]), first, bytes([0x80, len(second)]), second
    assert parse(with_deflate(extension), *chunks) == [("message", b"foobar", False)]


@case(FILE, "Receiver > parses a buffer with thousands of frames")
def test_thousands_of_frames_in_one_chunk() -> None:
    assert parse(Receiver(), b"\x81\x00" * 20000) == [("message", b"", False)] * 20000


@case(FILE, "Receiver > resets `totalPayloadLength` only on final frame (unfragmented)")
@case(FILE, "Receiver > resets `totalPayloadLength` only on final frame (fragmented)")
@case(FILE, "Receiver > resets `totalPayloadLength` only on final frame (fragmented + ping)")
@pytest.mark.parametrize(
    ("chunks", "between", "events"),
    [
        (["810548656c6c6f"], [], [("message", 0, b"Hello")]),
        (["01024865", "80036c6c6f"], [2], [("message", 0, b"Hello")]),
        (["02024865", "8900", "80036c6c6f"], [2, 2], [("ping", 2, b""), ("message", 0, b"Hello")]),
    ],
    ids=["one frame", "fragments", "fragments and a ping"],
)
def test_the_length_of_a_message_is_counted_over_its_fragments(chunks: Any, between: Any, events: Any) -> None:
    receiver = Receiver({"maxPayload": 10})
    seen = []
    receiver.on("message", lambda data: seen.append(("message", receiver._totalPayloadLength, data)))
    receiver.on("ping", lambda data: seen.append(("ping", receiver._totalPayloadLength, data)))
    assert receiver._totalPayloadLength == 0
    lengths = []
    for chunk in chunks:
        receiver.write(bytes.fromhex(chunk))
        lengths.append(receiver._totalPayloadLength)
    assert lengths == [*between, 0]
    assert seen == events


@case(FILE, "Receiver > ignores any data after a close frame")
def test_data_after_a_close_frame_is_ignored() -> None:
    receiver = with_deflate(deflate())
    events = listen(receiver)
    done = Done()
    receiver.on("finish", done)
    for chunk in (b"\xc1\x01\x00", b"\x88\x00", b"\x81\x00"):
        receiver.write(chunk)
    done.wait()
    assert events == [("message", b"", False), ("conclude", 1005, b""), ("finish",)]


def breach(receiver: Receiver, *chunks: bytes) -> WSError:
    """The error that `chunks` give, and nothing else."""
    events = parse(receiver, *chunks)
    assert [event[0] for event in events] == ["error"]
    error: WSError = events[0][1]
    return error


FRAME = "Invalid WebSocket frame: "

#: title of the original, options, whether permessage-deflate is there, chunks, code, message
BREACHES = [
    (
        "emits an error if RSV1 is on and permessage-deflate is disabled",
        {},
        False,
        ["c28000000000"],
        "WS_ERR_UNEXPECTED_RSV_1",
        "RSV1 must be clear",
    ),
    (
        "emits an error if RSV1 is on and opcode is 0",
        {},
        True,
        ["4000"],
        "WS_ERR_UNEXPECTED_RSV_1",
        "RSV1 must be clear",
    ),
    ("emits an error if RSV2 is on", {}, False, ["a200"], "WS_ERR_UNEXPECTED_RSV_2_3", "RSV2 and RSV3 must be clear"),
    ("emits an error if RSV3 is on", {}, False, ["9200"], "WS_ERR_UNEXPECTED_RSV_2_3", "RSV2 and RSV3 must be clear"),
    (
        "emits an error if the first frame in a fragmented message has opcode 0",
        {},
        False,
        ["0000"],
        "WS_ERR_INVALID_OPCODE",
        "invalid opcode 0",
    ),
    (
        "emits an error if a frame has opcode 1 in the middle of a fragmented message",
        {},
        False,
        ["0100", "0100"],
        "WS_ERR_INVALID_OPCODE",
        "invalid opcode 1",
    ),
    (
        "emits an error if a frame has opcode 2 in the middle of a fragmented message",
        {},
        False,
        ["0100", "0200"],
        "WS_ERR_INVALID_OPCODE",
        "invalid opcode 2",
    ),
    (
        "emits an error if a control frame has the FIN bit off",
        {},
        False,
        ["0900"],
        "WS_ERR_EXPECTED_FIN",
        "FIN must be set",
    ),
    (
        "emits an error if a control frame has the RSV1 bit on",
        {},
        True,
        ["c900"],
        "WS_ERR_UNEXPECTED_RSV_1",
        "RSV1 must be clear",
    ),
    (
        "emits an error if a control frame has the FIN bit off (2)",
        {},
        False,
        ["0900"],
        "WS_ERR_EXPECTED_FIN",
        "FIN must be set",
    ),
    (
        "emits an error if a frame has the MASK bit off (server mode)",
        {"isServer": True},
        False,
        ["81026869"],
        "WS_ERR_EXPECTED_MASK",
        "MASK must be set",
    ),
    (
        "emits an error if a frame has the MASK bit on (client mode)",
        {},
        False,
        ["8182563aac803e53"],
        "WS_ERR_UNEXPECTED_MASK",
        "MASK must be clear",
    ),
    (
        "emits an error if a control frame has a payload bigger than 125 B",
        {},
        False,
        ["897e"],
        "WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH",
        "invalid payload length 126",
    ),
    (
        "emits an error if a close frame has a payload of 1 B",
        {},
        False,
        ["8801"],
        "WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH",
        "invalid payload length 1",
    ),
    (
        "emits an error if a close frame contains an invalid close code",
        {},
        False,
        ["88020000"],
        "WS_ERR_INVALID_CLOSE_CODE",
        "invalid status code 0",
    ),
]


def case_of_breaches(function: Any) -> Any:
    for title, *_ in BREACHES:
        function = case(FILE, f"Receiver > {title}")(function)
    return function


@case_of_breaches
@pytest.mark.parametrize(
    ("options", "deflating", "chunks", "code", "message"),
    [row[1:] for row in BREACHES],
    ids=[str(row[0]) for row in BREACHES],
)
def test_breaches_of_the_protocol(options: Any, deflating: bool, chunks: Any, code: str, message: str) -> None:
    receiver = with_deflate(deflate(), **options) if deflating else Receiver(options)
    error = breach(receiver, *map(bytes.fromhex, chunks))
    assert isinstance(error, WSRangeError)
    assert (error.code, error.message, error.statusCode) == (code, FRAME + message, 1002)


@case(FILE, "Receiver > emits an error if a data frame has a payload bigger than 2^53 - 1 B")
def test_a_payload_beyond_what_javascript_can_count() -> None:
    error = breach(Receiver(), b"\x82\x7f", bytes.fromhex("0020000000000000"))
    assert isinstance(error, WSRangeError)
    assert error.code == "WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH"
    assert error.message == "Unsupported WebSocket frame: payload length > 2^53 - 1"
    assert error.statusCode == 1009


def is_invalid_utf8(error: WSError) -> None:
    assert type(error) is WSError
    assert (error.code, error.statusCode) == ("WS_ERR_INVALID_UTF8", 1007)
    assert error.message == FRAME + "invalid UTF-8 sequence"


@case(FILE, "Receiver > emits an error if a text frame contains invalid UTF-8 data (1/2)")
def test_text_that_is_no_utf8() -> None:
    is_invalid_utf8(breach(Receiver(), bytes.fromhex("8104cebae1bd")))


@case(FILE, "Receiver > emits an error if a text frame contains invalid UTF-8 data (2/2)")
def test_compressed_text_that_is_no_utf8() -> None:
    extension = deflate()
    data = call_back(extension.compress, bytes.fromhex("cebae1bd"), True)
    is_invalid_utf8(breach(with_deflate(extension), bytes([0xC1, len(data)]), data))


@case(FILE, "Receiver > emits an error if a close frame contains invalid UTF-8 data")
def test_a_reason_that_is_no_utf8() -> None:
    is_invalid_utf8(breach(Receiver(), bytes.fromhex("880603efcebae1bd")))


def is_too_big(error: WSError) -> None:
    assert isinstance(error, WSRangeError)
    assert (error.code, error.statusCode) == ("WS_ERR_UNSUPPORTED_MESSAGE_LENGTH", 1009)
    assert error.message == "Max payload size exceeded"


@case(FILE, "Receiver > emits an error if a frame payload length is bigger than `maxPayload`")
def test_a_frame_that_is_too_big() -> None:
    receiver = Receiver({"isServer": True, "maxPayload": 20 * 1024})
    is_too_big(breach(receiver, frame(os.urandom(200 * 1024), 2)))


@case(FILE, "Receiver > emits an error if the message length exceeds `maxPayload`")
def test_a_message_that_is_too_big_when_inflated() -> None:
    extension = deflate(isServer=False, maxPayload=25)
    receiver = with_deflate(extension, isServer=False, maxPayload=25)
    data = call_back(extension.compress, b"A" * 50, True)
    is_too_big(breach(receiver, bytes([0xC1, len(data)]), data))


@case(FILE, "Receiver > emits an error if the sum of fragment lengths exceeds `maxPayload`")
def test_fragments_that_are_too_big_together() -> None:
    extension = deflate(isServer=False, maxPayload=25)
    receiver = with_deflate(extension, isServer=False, maxPayload=25)
    first = call_back(extension.compress, b"A" * 15, False)
    second = call_back(extension.compress, b"A" * 15, True)
    is_too_big(breach(receiver, bytes([0x41, len(first)]), first, bytes([0x80, len(second)]), second))


def are_too_many(error: WSError, what: str) -> None:
    assert isinstance(error, WSRangeError)
    assert (error.code, error.statusCode) == ("WS_ERR_TOO_MANY_BUFFERED_PARTS", 1008)
    assert error.message == f"Too many {what}"


@case(FILE, "Receiver > emits an error if there are too many message fragments (1/3)")
@case(FILE, "Receiver > emits an error if there are too many message fragments (2/3)")
@pytest.mark.parametrize("chunks", [["020161000162000163"], ["0200", "0000", "0000"]], ids=["one chunk", "empty"])
def test_too_many_fragments(chunks: list[str]) -> None:
    error = breach(Receiver({"maxFragments": 2}), *map(bytes.fromhex, chunks))
    are_too_many(error, "message fragments")


@case(FILE, "Receiver > emits an error if there are too many message fragments (3/3)")
def test_too_many_compressed_fragments() -> None:
    extension = deflate()
    first = call_back(extension.compress, b"foo", False)
    second = call_back(extension.compress, b"bar", True)
    chunks = bytes([0x41, len(first)]), first, bytes([0x80, len(second)]), second
    are_too_many(breach(with_deflate(extension, maxFragments=1), *chunks), "message fragments")


@case(FILE, "Receiver > emits an error if there are too many buffered chunks")
def test_too_many_chunks() -> None:
    are_too_many(breach(Receiver({"maxBufferedChunks": 2}), b"\x82\x05", b"a", b"b", b"c"), "buffered chunks")


def fragments_of(sizes: list[int]) -> tuple[list[bytes], list[bytes]]:
    parts = [os.urandom(size) for size in sizes]
    last = len(parts) - 1
    frames = [frame(part, 2 if i == 0 else 0, fin=i == last, mask=False) for i, part in enumerate(parts)]
    return parts, frames


@case(FILE, "Receiver > honors the 'nodebuffer' binary type")
def test_binary_messages_are_bytes() -> None:
    parts, frames = fragments_of([7321, 137, 285787, 3])
    assert parse(Receiver(), *frames) == [("message", b"".join(parts), True)]


@case(FILE, "Receiver > honors the 'arraybuffer' binary type")
def test_binary_messages_as_bytearray() -> None:
    parts, frames = fragments_of([19221, 954, 623987])
    [(_, data, is_binary)] = parse(Receiver({"binaryType": "arraybuffer"}), *frames)
    assert type(data) is bytearray
    assert data == b"".join(parts)
    assert is_binary


@case(FILE, "Receiver > honors the 'fragments' binary type")
def test_binary_messages_as_fragments() -> None:
    parts, frames = fragments_of([17, 419872, 83, 9928, 1])
    assert parse(Receiver({"binaryType": "fragments"}), *frames) == [("message", parts, True)]


@case(FILE, "Receiver > honors the `skipUTF8Validation` option (1/2)")
def test_text_is_not_checked_when_told_so() -> None:
    assert parse(Receiver({"skipUTF8Validation": True}), b"\x81\x01\xf8") == [("message", b"\xf8", False)]


@case(FILE, "Receiver > honors the `skipUTF8Validation` option (2/2)")
def test_a_reason_is_not_checked_when_told_so() -> None:
    assert parse(Receiver({"skipUTF8Validation": True}), b"\x88\x03\x03\xe8\xf8") == [("conclude", 1000, b"\xf8")]


@case(FILE, "Receiver > honors the `allowSynchronousEvents` option")
def test_without_synchronous_events_each_event_has_its_own_turn() -> None:
    actual: list[str] = []
    done = Done()

    def listener(data: bytes) -> None:
        message = data.decode()
        actual.append(message)

        def first() -> None:
            actual.append(f"- {message}")
            gevent.spawn(second)

        def second() -> None:
            actual.append(f"-- {message}")
            if len(actual) == 12:
                done()

        gevent.spawn(first)

    receiver = Receiver({"allowSynchronousEvents": False})
    for event in ("message", "ping", "pong"):
        receiver.on(event, listener)
    receiver.write(bytes.fromhex("8101318901328a0133820134"))
    done.wait()
    assert actual == [prefix + digit for digit in "1234" for prefix in ("", "- ", "-- ")]


@case(FILE, "Receiver > does not swallow errors thrown from event handlers")
def test_what_a_listener_raises_is_not_swallowed() -> None:
    receiver = Receiver()
    messages = []

    def listener(data: bytes) -> None:
        messages.append(data)
        if len(messages) == 2:
            raise LookupError("Oops")

    receiver.on("message", listener)
    with pytest.raises(LookupError, match="^Oops$"):
        receiver.write(bytes.fromhex("82008200"))


def test_the_octets_of_a_frame_may_come_one_by_one() -> None:
    octets = frame(b"Hello") + frame(LONG, 2) + frame(b"", 9)
    chunks = [octets[i : i + 1] for i in range(len(octets))]
    expected = [("message", b"Hello", False), ("message", LONG, True), ("ping", b"")]
    assert parse(Receiver({"isServer": True}), *chunks) == expected
