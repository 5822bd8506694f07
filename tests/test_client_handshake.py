"""The request of a client, and its judgement of the answer."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from lws_gevent.client_handshake import (
    Dechunker,
    build_request,
    check_subprotocols,
    check_upgrade,
    connect_request,
    new_key,
    parse_response,
    read_body,
    read_response,
)
from lws_gevent.errors import HandshakeError
from lws_gevent.handshake import accept_key
from lws_gevent.url import parse_url

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LIMIT = 1024


def answer(status: str = "101 Switching Protocols", without: str = "", version: str = "1.1", **headers: str) -> bytes:
    """A response; keywords replace or add headers, with _ for -."""
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_key(KEY)}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    fields.pop(without, None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/{version} {status}\r\n{lines}\r\n".encode("latin-1")


def judged(data: bytes, subprotocols: tuple[str, ...] = ()) -> str | None:
    parsed = parse_response(data, 64 * 1024)
    assert isinstance(parsed, tuple) and parsed[1] == len(data)
    return check_upgrade(parsed[0], KEY, subprotocols)


class TestRequests:
    def test_the_request_of_a_handshake(self) -> None:
        request = build_request(
            parse_url("ws://user:pass@example.org:81/chat?x"), KEY, ["a", "b"], "permessage-deflate", "https://o",
            [("X-Twice", "1"), ("X-Twice", "2")], "agent",
        )  # fmt: skip
        assert request == (
            b"GET /chat?x HTTP/1.1\r\nHost: example.org:81\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\nOrigin: https://o\r\n"
            b"User-Agent: agent\r\nAuthorization: Basic dXNlcjpwYXNz\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"
        )

    def test_the_headers_of_the_application_win(self) -> None:
        url = parse_url("ws://user:pass@example.org")
        headers = {"host": "other", "ORIGIN": "o2", "User-agent": "mine", "authorization": "Bearer x"}
        lines = build_request(url, KEY, (), "", "o1", headers, "agent").decode().split("\r\n")
        assert [line for line in lines if line.lower().startswith(("host", "origin", "user", "auth"))] == [
            "host: other", "ORIGIN: o2", "User-agent: mine", "authorization: Bearer x",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "headers",
        [
            {"X": "a\r\nb"}, {"X": "a\nb"}, {"X\r\n": "a"}, {"X": "a\x00"}, {"": "a"}, {"a b": "c"}, {"X": "\u20ac"},
            {"Sec-WebSocket-Key": KEY}, {"upgrade": "h2c"}, {"Content-Length": "5"}, {"Transfer-Encoding": "chunked"},
        ],
    )  # fmt: skip
    def test_headers_that_must_not_be_sent_are_refused(self, headers: dict[str, str]) -> None:
        with pytest.raises(ValueError):
            build_request(parse_url("ws://a"), KEY, headers=headers)

    def test_keys_are_sixteen_fresh_octets(self) -> None:
        keys = {new_key() for _ in range(100)}
        assert len(keys) == 100 and all(len(base64.b64decode(key, validate=True)) == 16 for key in keys)

    def test_subprotocols_are_different_tokens(self) -> None:
        assert check_subprotocols(["b", "a"]) == ("b", "a") and check_subprotocols(None) == ()
        for wrong in (["a", "a"], ["a b"], [""], ["a,b"], ["a\r\n"]):
            with pytest.raises(ValueError):
                check_subprotocols(wrong)
        for wrong_type in ("chat", [b"a"], [1]):
            with pytest.raises(TypeError):
                check_subprotocols(wrong_type)  # type: ignore[arg-type]

    def test_the_request_for_a_tunnel(self) -> None:
        assert connect_request("::1", 81, ("a", "b")) == (
            b"CONNECT [::1]:81 HTTP/1.1\r\nHost: [::1]:81\r\nProxy-Authorization: Basic YTpi\r\n\r\n"
        )


class TestResponses:
    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/2 101 x\r\n\r\n", b"HTTP/1.2 101 x\r\n\r\n", b"HTTP/1.1 99 x\r\n\r\n", b"HTTP/1.1 1010 x\r\n\r\n",
            b"HTTP/1.1  101 x\r\n\r\n", b"HTTP/1.1 101 x\r\nA : b\r\n\r\n", b"HTTP/1.1 101 x\r\n b: c\r\n\r\n",
            b"HTTP/1.1 101 x\r\nA: b\r\n c\r\n\r\n", b"HTTP/1.1 101 x\nA: b\n\n", b"HTTP/1.1 101 x\r\nA: b\n\r\n",
            b"HTTP/1.1 101 x\r\nA: \x00\r\n\r\n", b"HTTP/1.1 101 x\r\nnone\r\n\r\n", b"HTTP/1.1 101 x\r\n: a\r\n\r\n",
            b"HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 600 x\r\n\r\n",
            b"HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 x\r\nContent-Length: 1e3\r\n\r\n",
            b"SSH-2.0-OpenSSH", b"\r\n\r\n", b"HTTP/1.1 200 x\r\n" + b"A: b\r\n" * 257 + b"\r\n",
        ],
    )  # fmt: skip
    def test_malformed_heads_are_refused(self, head: bytes) -> None:
        with pytest.raises(HandshakeError) as caught:
            parse_response(head, 64 * 1024)
        assert caught.value.status == 0 and caught.value.problem

    def test_a_head_is_found_wherever_it_is_cut(self) -> None:
        head = answer() + b"rest"
        for scanned_at in range(len(head) - 4):
            first = parse_response(head[:scanned_at], LIMIT)
            assert first == scanned_at
            parsed = parse_response(head, LIMIT, scanned_at)
            assert isinstance(parsed, tuple) and parsed[1] == len(head) - 4

    def test_a_head_may_have_just_so_many_octets(self) -> None:
        head = answer(Padding="x" * 500)
        assert isinstance(parse_response(head, len(head)), tuple)
        for data in (head, head[:-1] + b"x"):
            with pytest.raises(HandshakeError):
                parse_response(data, len(head) - 1)

    def test_reason_phrases_may_be_empty_or_missing(self) -> None:
        for line, reason in ((b"HTTP/1.1 200 ", ""), (b"HTTP/1.0 200", ""), (b"HTTP/1.1 200 A b\xfc", "A b\xfc")):
            parsed = parse_response(line + b"\r\n\r\n", LIMIT)
            assert isinstance(parsed, tuple) and parsed[0].reason == reason and parsed[0].status == 200


class TestJudgement:
    def test_a_good_answer_opens_the_connection(self) -> None:
        assert judged(answer()) is None
        assert judged(answer(Upgrade="WebSocket", Connection="keep-alive, UPGRADE")) is None
        assert judged(answer(Sec_WebSocket_Protocol="b"), ("a", "b")) == "b"
        assert judged(answer(), ("a", "b")) is None

    @pytest.mark.parametrize(
        "wrong",
        [
            answer(without="Upgrade"), answer(without="Connection"), answer(without="Sec-WebSocket-Accept"),
            answer(Upgrade="h2c"), answer(Upgrade="websocket, h2c"), answer(Connection="close"),
            answer(Sec_WebSocket_Accept=accept_key(new_key())), answer(Sec_WebSocket_Accept=""),
            answer(Sec_WebSocket_Accept=accept_key(KEY).lower()), answer(version="1.0"),
            answer(Sec_WebSocket_Protocol="c"), answer(Sec_WebSocket_Protocol="a, b"),
            answer(Sec_WebSocket_Protocol="A"), answer(Sec_WebSocket_Protocol=""),
            answer()[:-2] + b"Upgrade: websocket\r\n\r\n",
            answer(Sec_WebSocket_Protocol="a")[:-2] + b"Sec-WebSocket-Protocol: b\r\n\r\n",
        ],
    )  # fmt: skip
    def test_an_answer_to_another_question_does_not(self, wrong: bytes) -> None:
        with pytest.raises(HandshakeError) as caught:
            judged(wrong, ("a", "b"))
        assert caught.value.status == 101 and "failed" in str(caught.value)

    def test_a_subprotocol_that_was_not_asked_for_at_all(self) -> None:
        with pytest.raises(HandshakeError):
            judged(answer(Sec_WebSocket_Protocol="a"))

    @pytest.mark.parametrize("status", ["200 OK", "301 Moved", "401 Unauthorized", "404 No", "500 Oops"])
    def test_another_status_is_told_with_its_headers(self, status: str) -> None:
        with pytest.raises(HandshakeError) as caught:
            judged(answer(status, X_Reason="why"))
        assert caught.value.status == int(status[:3]) and caught.value.headers["x-reason"] == "why"


def pieces(data: bytes, size: int) -> Any:
    """`read` for a response that comes in pieces of this size."""
    parts: Iterator[bytes] = (data[begin : begin + size] for begin in range(0, len(data), size))
    return lambda: next(parts, b"")


class TestReading:
    @pytest.mark.parametrize("size", [1, 3, 10000])
    def test_interim_responses_are_passed_over(self, size: int) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
        read = pieces(interim + answer() + b"frames", size)
        response, rest = read_response(read, LIMIT, "the server")
        assert response.status == 101
        while len(rest) < 6:
            rest += read()
        assert rest == b"frames"

    def test_interim_responses_without_end_are_not(self) -> None:
        def read() -> bytes:
            return b"HTTP/1.1 100 Continue\r\n\r\n"

        with pytest.raises(HandshakeError):
            read_response(read, LIMIT, "the server")

    def test_an_end_before_the_answer(self) -> None:
        for data in (b"", answer()[:-1]):
            with pytest.raises(HandshakeError, match="without an answer"):
                read_response(pieces(data, 10), LIMIT, "the server")

    @pytest.mark.parametrize("size", [1, 2, 7, 1000])
    def test_bodies_by_length_by_chunks_and_to_the_end(self, size: int) -> None:
        for headers, body in (
            (b"Content-Length: 11\r\n", b"hello world and more"),
            (b"Transfer-Encoding: chunked\r\n", b"6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nT: x\r\n\r\nmore"),
            (b"", b"hello world"),
        ):
            read = pieces(b"HTTP/1.1 404 No\r\n" + headers + b"\r\n" + body, size)
            response, rest = read_response(read, LIMIT, "the server")
            assert read_body(read, response, rest, 100) == b"hello world"

    def test_bodies_are_bounded(self) -> None:
        for headers, endless in (
            (b"", b"x" * 100),
            (b"Content-Length: 999999999999\r\n", b"x" * 100),
            (b"Transfer-Encoding: chunked\r\n", b"1;" + b"e" * 500 + b"\r\nx\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"FFFFFFFFFFFFFFF\r\n" + b"x" * 100),
        ):
            first = b"HTTP/1.1 404 No\r\n" + headers + b"\r\n"
            response, rest = read_response(pieces(first, 1000), LIMIT, "the server")
            read = iter([endless] * 10000).__next__
            assert len(read_body(read, response, rest, 1000)) <= 1000
            assert len(read()) > 0  # it has stopped long before the end

    def test_what_is_no_chunk_ends_a_body(self) -> None:
        dechunker = Dechunker()
        assert dechunker.feed(b"2\r\nab\r\nzz\r\n3\r\ncde\r\n") == b"ab" and dechunker.ended
        dechunker = Dechunker()
        assert dechunker.feed(b"1" * 2000) == b"" and dechunker.ended
