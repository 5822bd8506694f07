"""The compiled codec against its twin on random streams and request heads, and both against llhttp.

What is compared: the events, the close code and reason, what is said of a breach, and what is sent once it is unmasked.
Not compared: how many octets each keeps.

LWS_GEVENT_HYPOTHESIS_PROFILE=long looks at many more examples.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
from client import encode, upgrade_head
from codec_helpers import CODECS, decode, drain, plain, sent
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from lws_gevent.codec import Codec
from lws_gevent.deflate import Deflate, Deflaters
from lws_gevent.errors import HandshakeError
from lws_gevent.extensions import DeflateParameters, PerMessageDeflate
from lws_gevent.frames import Role

httptools = pytest.importorskip("httptools")

EXAMPLES = {"default": 1, "long": 100}[os.environ.get("LWS_GEVENT_HYPOTHESIS_PROFILE", "default")]

TWIN = CODECS[-1]


def profile(examples: int) -> settings:
    """Bounded by examples, never by time: the machine may be slow."""
    return settings(
        max_examples=examples * EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def compiled() -> Codec:
    if CODECS[0].name != "c":
        pytest.skip("the compiled codec is not built")
    return CODECS[0]


# Streams of frames

text_payloads = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.sampled_from(["ß⛵🎈", "\U0010ffff", "\ud7ff\ue000", "x" * 200]).map(str.encode),
    # valid text cut anywhere, so that characters are split between fragments
    st.tuples(st.sampled_from(["ß⛵🎈ab", "🎈🎈"]), st.integers(0, 12)).map(lambda pair: pair[0].encode()[: pair[1]]),
    st.tuples(st.sampled_from(["ß⛵🎈ab", "🎈🎈"]), st.integers(0, 12)).map(lambda pair: pair[0].encode()[pair[1] :]),
    st.sampled_from([b"\xed", b"\xed\xa0", b"\xf4\x90", b"\xc0", b"\xe2\x82", b"\xf0\x9f", b"\xff", b"\x80"]),
)
payloads = st.one_of(
    text_payloads,
    st.binary(max_size=30),
    st.sampled_from([125, 126, 127, 200, 1000, 5000, 70_000]).map(lambda length: b"z" * length),
)
close_payloads = st.one_of(
    st.just(b""),
    st.binary(max_size=5),
    st.tuples(
        st.sampled_from([1000, 1001, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 3000, 4999, 5000]),
        st.one_of(st.text(max_size=10).map(str.encode), st.binary(max_size=4), st.just(b"r" * 123)),
    ).map(lambda pair: pair[0].to_bytes(2, "big") + pair[1]),
)


@st.composite
def good_messages(draw: Any, mask: bool) -> bytes:
    """One message or control frame as a well-behaved peer sends it."""
    kind = draw(st.sampled_from(["text", "binary", "fragments", "ping", "pong"]))
    if kind in ("ping", "pong"):
        return encode(9 if kind == "ping" else 10, draw(st.binary(max_size=125)), mask=mask)
    if kind == "fragments":
        whole = draw(st.text(max_size=20).map(str.encode))
        opcode = draw(st.sampled_from([1, 2]))
        cuts = [0, *sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4))), len(whole)]
        frames: list[bytes] = []
        for begin, end in pairwise(cuts):
            frames.append(
                encode(0 if frames else opcode, whole[begin:end], fin=len(frames) == len(cuts) - 2, mask=mask)
            )
            if draw(st.sampled_from([False, False, True])):
                frames.append(encode(9, b"between", mask=mask))
        return b"".join(frames)
    payload = draw(st.text(max_size=40).map(str.encode)) if kind == "text" else draw(payloads)
    return encode(1 if kind == "text" else 2, payload, mask=mask)


@st.composite
def any_frames(draw: Any, mask: bool) -> bytes:
    """One frame, valid or not; often a continuation, so that fragmented messages come about."""
    opcode = draw(st.sampled_from([0, 0, 0, 1, 1, 2, 2, 8, 9, 10, 3, 11, 15]))
    payload = draw(close_payloads if opcode == 8 else text_payloads if opcode in (0, 1) else payloads)
    options: dict[str, Any] = {"fin": draw(st.sampled_from([True, True, False])), "mask": mask}
    for name, values in (
        ("rsv", st.integers(1, 7)),
        ("mask", st.just(not mask)),
        ("length", st.sampled_from([0, 125, 126, 65_536, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])),
        ("length_octets", st.sampled_from([2, 8])),
    ):
        if draw(st.integers(0, 40)) == 13:  # not 0, which is drawn more often than others
            options[name] = draw(values)
    if options.get("length_octets", 8) == 2 and options.get("length", len(payload)) > 65_535:
        del options["length_octets"]
    return encode(opcode, payload, **options)


@st.composite
def streams(draw: Any, mask: bool) -> bytes:
    """Good messages, and then any frames, a close frame, or some octets changed, cut out or put in."""
    frames = draw(st.lists(good_messages(mask), max_size=6))
    ending = draw(st.sampled_from(["any frames", "close", "nothing", "changes"]))
    if ending == "any frames":
        frames += draw(st.lists(any_frames(mask), max_size=6))
    elif ending == "close":
        frames.append(encode(8, draw(close_payloads), mask=mask) + draw(st.binary(max_size=10)))
    data = b"".join(frames)
    for _ in range(draw(st.integers(1, 3)) if ending == "changes" else 0):
        position = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(["change", "cut", "insert"]))
        replacement = draw(st.binary(min_size=1, max_size=3)) if how != "cut" else b""
        data = data[:position] + replacement + data[position + (how != "insert") :]
    return data


chunk_sizes: st.SearchStrategy[list[int]] = st.one_of(
    st.just([]),
    st.integers(1, 20).map(lambda size: [size] * 10_000),
    st.lists(st.integers(1, 300), max_size=30),
    st.lists(st.sampled_from([1, 2, 4096, 4097, 60_000]), max_size=10),
)
limits = st.fixed_dictionaries(
    {
        "max_payload": st.sampled_from([None, 0, 5, 125, 1000, 100_000]),
        "max_fragments": st.sampled_from([None, None, 0, 1, 2, 3]),
        "auto_pong": st.booleans(),
        "skip_utf8_validation": st.sampled_from([False, False, True]),
    }
)


def outcome(
    codec: Codec, role: Role, options: dict[str, Any], data: bytes, sizes: list[int], drain_always: bool, close_at: int
) -> tuple[Any, ...]:
    """Everything that can be seen of a protocol that is fed `data`; after `close_at` chunks it sends a close itself."""
    protocol = codec.Protocol(role, **options)
    events: list[Any] = []
    output: list[Any] = []

    def take() -> None:
        events.extend(plain(each, words=True) for each in drain(protocol))
        frames = decode(sent(protocol))
        assert all((frame.key is not None) is (role is Role.CLIENT) for frame in frames)
        output.extend((frame.opcode, frame.payload, frame.fin) for frame in frames)

    chunks = [size for size in sizes if size]
    position = 0
    index = 0
    while position < len(data):
        size = chunks[index] if index < len(chunks) else len(data)
        protocol.receive_data(data[position : position + size])
        position += size
        index += 1
        if drain_always:
            take()
        if index == close_at:
            protocol.send_close(1001, "enough")
    take()
    protocol.receive_eof()
    take()
    state = (protocol.close_sent, protocol.close_received, protocol.close_code, protocol.close_reason)
    return events, output, state


class TestProtocol:
    @profile(400)
    @given(data=st.data())
    def test_c_and_twin_see_the_same_in_any_stream(self, compiled: Codec, data: Any) -> None:
        role = data.draw(st.sampled_from(Role), label="role")
        stream = data.draw(streams(role is Role.SERVER), label="stream")
        options = data.draw(limits, label="options")
        sizes = data.draw(chunk_sizes, label="sizes")
        drain_always = data.draw(st.booleans(), label="drain after each chunk")
        close_at = data.draw(st.sampled_from([0, 0, 0, 1, 3]), label="close after this many chunks")
        expected = outcome(TWIN, role, options, stream, sizes, drain_always, close_at)
        event(f"ends with {expected[0][-1][:3]}" if expected[0] else "no event")
        assert outcome(compiled, role, options, stream, sizes, drain_always, close_at) == expected

    @pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
    @profile(100)
    @given(data=st.data())
    def test_chunks_make_no_difference(self, codec: Codec, data: Any) -> None:
        """F9: a stream in chunks gives what it gives whole (when all is drained at once, pongs merge in both)."""
        role = data.draw(st.sampled_from(Role), label="role")
        stream = data.draw(streams(role is Role.SERVER), label="stream")
        options = data.draw(limits, label="options")
        sizes = data.draw(chunk_sizes, label="sizes")
        whole = outcome(codec, role, options, stream, [], False, 0)
        assert outcome(codec, role, options, stream, sizes, False, 0) == whole
        events, _, state = outcome(codec, role, options, stream, sizes, True, 0)
        assert (events, state) == (whole[0], whole[2])

    @pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
    @profile(60)
    @given(octets=st.binary(max_size=400), role=st.sampled_from(Role), options=limits)
    def test_noise_never_raises_and_gives_at_most_one_error(
        self, codec: Codec, octets: bytes, role: Role, options: dict[str, Any]
    ) -> None:
        events, output, _ = outcome(codec, role, options, octets, [7] * 100, True, 0)
        kinds = [each[0] for each in events]
        assert kinds.count("error") + kinds.count("eof") == 1
        assert [frame[0] for frame in output].count(8) <= 1

    @profile(100)
    @given(
        messages=st.lists(st.tuples(payloads, st.booleans()), max_size=5), role=st.sampled_from(Role), data=st.data()
    )
    def test_what_one_sends_the_other_understands(
        self, compiled: Codec, messages: list[tuple[bytes, bool]], role: Role, data: Any
    ) -> None:
        sender, receiver = data.draw(st.permutations([compiled, TWIN]))
        source = sender.Protocol(role, max_payload=None)
        target = receiver.Protocol(Role(1 - role), max_payload=None)
        expected: list[Any] = []
        for payload, binary in messages:
            try:
                source.send_message(payload, binary)
            except ValueError:
                assert not binary
                with pytest.raises(UnicodeDecodeError):
                    payload.decode()
                continue
            expected.append(("message", payload if binary else payload.decode(), binary))
        target.receive_data(sent(source))
        assert drain(target) == expected


# Compressed messages


@st.composite
def compressed_streams(draw: Any, role: Role, parameters: DeflateParameters) -> bytes:
    """Compressed messages and others, whole and in fragments, to a protocol of `role`; perhaps with octets changed."""
    sender = Deflate(parameters, Role(1 - role), Deflaters(PerMessageDeflate(level=draw(st.sampled_from([0, 1, 9])))))
    mask = role is Role.SERVER
    frames: list[bytes] = []
    for _ in range(draw(st.integers(1, 5))):
        message = draw(payloads)
        compress = draw(st.sampled_from([True, True, False]))
        data = sender.compress(message) if compress else message
        cuts = [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=3))), len(data)]
        opcode = draw(st.sampled_from([1, 2, 2, 2]))
        for index, (begin, end) in enumerate(pairwise(cuts)):
            options = {"fin": index == len(cuts) - 2, "rsv": 4 if compress and not index else 0, "mask": mask}
            frames.append(encode(0 if index else opcode, data[begin:end], **options))
    stream = b"".join(frames)
    for _ in range(draw(st.sampled_from([0, 0, 1]))):
        position = draw(st.integers(0, len(stream) - 1))
        stream = stream[:position] + draw(st.binary(min_size=1, max_size=2)) + stream[position + 1 :]
    return stream


class TestCompression:
    @profile(200)
    @given(data=st.data())
    def test_c_and_twin_see_the_same(self, compiled: Codec, data: Any) -> None:
        role = data.draw(st.sampled_from(Role), label="role")
        bits = data.draw(st.sampled_from([9, 15]), label="window bits")
        takeover = data.draw(st.booleans(), label="takeover")
        parameters = DeflateParameters(not takeover, not takeover, bits, bits)
        stream = data.draw(compressed_streams(role, parameters), label="stream")
        options = data.draw(limits, label="options")
        sizes = data.draw(chunk_sizes, label="sizes")

        def seen(codec: Codec) -> Any:
            deflate = Deflate(parameters, role, Deflaters(PerMessageDeflate()))
            events, output, state = outcome(codec, role, {**options, "deflate": deflate}, stream, sizes, True, 0)
            # Which of two faults in one part of a message is reported depends on how much is inflated at a time.
            if events and events[-1][0] == "error" and events[-1][2] in (1007, 1009):
                return events[:-1], len(output), state[:2]
            return events, output, state

        event(f"ends with {seen(TWIN)[0][-1:]}"[:40])
        assert seen(compiled) == seen(TWIN)


# Request heads

names = st.one_of(
    st.sampled_from(
        [
            *("Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Content-Length"),
            *("Transfer-Encoding", "Expect", "Origin", "Sec-WebSocket-Protocol", "Cookie", "X"),
        ]
    ),
    st.text("abX-!#", min_size=1, max_size=4),
    st.text(max_size=3),
)
values = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                "a",
                "localhost:80",
                "websocket",
                "Upgrade",
                "keep-alive, upgrade",
                "close",
                "13",
                "8",
                "0",
                "5",
                "+5",
            ),
            *(
                "5, 5",
                "chunked",
                "gzip, chunked",
                "100-continue",
                "dGhlIHNhbXBsZSBub25jZQ==",
                "a b",
                "a,,b",
                "\x00",
                "a\x7f",
            ),
        ]
    ),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
good_lines = st.tuples(
    st.sampled_from(["X", "Cookie", "Origin", "Upgrade", "Connection", "Content-Length", "Sec-WebSocket-Protocol"]),
    st.sampled_from([":", ": ", ":\t", ":   "]),
    st.one_of(
        st.sampled_from(["", "0", "5", "websocket", "upgrade", "close", "a, b"]), st.text("ab\xe4 \t,;", max_size=8)
    ),
    st.just("\r\n"),
).map("".join)
any_lines = st.tuples(
    names, st.sampled_from([":", ": ", ":\t", " :", ""]), values, st.sampled_from(["\r\n", "\r\n", "\n", "\r", " \r\n"])
).map("".join)
header_lines = st.one_of(good_lines, good_lines, any_lines)
targets = st.one_of(
    st.sampled_from(["/", "/chat?x=1", "//", "/%00"]),
    st.sampled_from(["*", "http://a/", "", "/ü", "/a b", "/\x7f", "/#f"]),
    st.text("/abc?=&%", max_size=8).map(lambda text: "/" + text),
)


@st.composite
def heads(draw: Any) -> bytes:
    """A request head: a good opening handshake that is changed a little, or lines that are put together at random."""
    if draw(st.sampled_from([True, True, False])):
        head = upgrade_head(draw(targets), key="dGhlIHNhbXBsZSBub25jZQ==").decode("latin-1")
        lines = [f"{line}\r\n" for line in head.split("\r\n")[:-2]]
        for _ in range(draw(st.integers(0, 3))):
            how = draw(st.sampled_from(["drop", "add", "repeat", "swap"]))
            index = draw(st.integers(0, len(lines) - 1)) if lines else 0
            if how == "drop" and lines:
                del lines[index]
            elif how == "add":
                lines.insert(draw(st.integers(1, max(1, len(lines)))), draw(header_lines))
            elif how == "repeat" and lines:
                lines.insert(index, lines[draw(st.integers(0, len(lines) - 1))])
            elif lines:
                other = draw(st.integers(0, len(lines) - 1))
                lines[index], lines[other] = lines[other], lines[index]
    else:
        method = draw(st.sampled_from(["GET", "GET", "POST", "HEAD", "OPTIONS", "get", "G(T"]))
        version = draw(
            st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1", "http/1.1", ""])
        )
        gap = draw(st.sampled_from([" ", " ", " ", "  ", "\t"]))
        lines = [f"{method}{gap}{draw(targets)} {version}\r\n", "Host: a\r\n" if draw(st.booleans()) else ""]
        lines += draw(st.lists(header_lines, max_size=6))
    data: bytes = ("".join(lines) + draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r\n\r\n"]))).encode(
        "latin-1", "replace"
    )
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))):
        position = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(["change", "cut", "insert"]))
        octet = bytes([draw(st.integers(0, 255))]) if how != "cut" else b""
        data = data[:position] + octet + data[position + (how != "insert") :]
    return data


def parse(codec: Codec, data: bytes, limit: int = 1000, sizes: list[int] | None = None) -> tuple[Any, ...]:
    """What can be seen of a request: fed in `sizes`, or whole."""
    scanned = 0
    length = 0
    result: Any = 0
    try:
        for size in [*(sizes or ()), len(data)]:
            length = min(len(data), length + size)
            result = codec.parse_request(data[:length], limit, scanned)
            if not isinstance(result, int):
                break
            scanned = result
    except HandshakeError as error:
        return ("refused", error.status, error.problem)
    if isinstance(result, int):
        return ("incomplete",)
    request, head_length = result
    return (
        *("request", head_length, request.method, request.target, request.path, request.query, request.version_minor),
        *(request.content_length, bool(request.chunked), bool(request.keep_alive), request.upgrade_status),
        *(request.problem, bytes(request.key), request.headers.raw),
    )


class LlhttpRequest:
    """What llhttp sees."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.error: Exception | None = None
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            self.error = error

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


class TestParseRequest:
    @profile(600)
    @given(data=heads(), limit=st.sampled_from([1000, 1000, 10_000, 10_000, 160]))
    @example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000)
    @example(b"GET / HTTP/1.1\r\nHost: a\r\n\n", 1000)
    @example(b"GET / HTTP/1.1\r\nHost: a\n\r\n", 1000)
    @example(b"\n\n", 1000)
    @example(b"GET /" + b"x" * 9000, 10_000)
    def test_c_and_twin_judge_alike(self, compiled: Codec, data: bytes, limit: int) -> None:
        expected = parse(TWIN, data, limit)
        event(f"{expected[0]} {expected[1] if expected[0] == 'refused' else ''}")
        assert parse(compiled, data, limit) == expected

    @pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
    @profile(100)
    @given(data=heads(), sizes=st.lists(st.integers(1, 40), max_size=30))
    def test_h12_chunks_make_no_difference(self, codec: Codec, data: bytes, sizes: list[int]) -> None:
        assert parse(codec, data, 10_000, sizes) == parse(codec, data, 10_000)

    @pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
    @profile(300)
    @given(data=heads())
    def test_what_llhttp_refuses_is_refused(self, codec: Codec, data: bytes) -> None:
        seen = parse(codec, data)
        event(str(seen[0]))
        if seen[0] != "request":
            return
        head = data[: seen[1]]
        theirs = LlhttpRequest(head)
        if isinstance(theirs.error, httptools.HttpParserInvalidMethodError):
            return  # llhttp knows a list of methods, here any token is one
        if theirs.error is not None and b" HTTP/1." in head and head.split(b"\r\n")[0][-1:] not in b"01":
            return  # HTTP/1.2 is read as 1.1, as RFC 9110 section 2.5 asks
        assert theirs.error is None, theirs.error
        assert theirs.complete
        assert [(name, value.rstrip(b" \t")) for name, value in theirs.headers] == seen[-1]
