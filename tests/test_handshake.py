"""Headers, requests and the responses of the opening handshake."""

from __future__ import annotations

from typing import Any

import pytest

from lws_gevent.errors import HandshakeError
from lws_gevent.handshake import (
    Headers,
    Request,
    accept_key,
    handshake_error,
    offered_subprotocols,
    parse_token_list,
    refusal,
    response,
    upgrade_response,
)

HEAD = (
    b"GET /chat?a=1?b HTTP/1.1\r\nHost: example.org\r\nX-Twice: 1\r\nx-twice:\t 2 \r\nUTF: \xc3\xbc\r\nEmpty:\r\n"
    b"Colon: a:b\r\n\r\n"
)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """A response taken apart: status, headers in lower case, body."""
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    assert status_line.startswith("HTTP/1.1 ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(headers) == len(lines)
    return int(status_line.split(" ")[1]), headers, body


class TestHeaders:
    headers = Headers.from_head(HEAD)

    def test_names_are_case_insensitive(self) -> None:
        for name in ("Host", "host", "HOST"):
            assert self.headers[name] == "example.org" and name in self.headers
            assert self.headers.get(name) == "example.org" and self.headers.get_all(name) == ["example.org"]

    def test_repeated_headers_are_joined_and_can_be_had_apart(self) -> None:
        assert self.headers["x-twice"] == "1, 2"
        assert self.headers.get_all("X-Twice") == ["1", "2"]

    def test_order_and_case_are_kept(self) -> None:
        assert list(self.headers) == ["Host", "X-Twice", "UTF", "Empty", "Colon"]
        assert len(self.headers) == 5
        assert [name for name, _ in self.headers.raw] == [b"Host", b"X-Twice", b"x-twice", b"UTF", b"Empty", b"Colon"]

    def test_every_octet_of_a_value_survives(self) -> None:
        assert self.headers["utf"].encode("latin-1") == b"\xc3\xbc"
        assert self.headers["empty"] == "" and self.headers["colon"] == "a:b"

    def test_absent_headers(self) -> None:
        assert "X-No" not in self.headers and self.headers.get("X-No") is None and self.headers.get_all("X-No") == []
        assert 5 not in self.headers  # type: ignore[comparison-overlap]
        with pytest.raises(KeyError):
            self.headers["X-No"]

    def test_what_get_all_returns_is_the_callers(self) -> None:
        self.headers.get_all("x-twice").clear()
        assert self.headers.get_all("x-twice") == ["1", "2"]

    def test_they_cannot_be_changed(self) -> None:
        with pytest.raises(TypeError):
            self.headers["Host"] = "x"  # type: ignore[index]

    def test_repr_shows_no_values(self) -> None:
        assert "example.org" not in repr(self.headers)

    def test_no_headers(self) -> None:
        assert list(Headers()) == [] and not Headers() and list(Headers.from_head(b"GET / HTTP/1.0\r\n\r\n")) == []


class TestRequest:
    def test_path_and_query(self) -> None:
        request = Request("GET", "/chat?a=1?b", HEAD)
        assert (request.path, request.query) == ("/chat", "a=1?b")
        assert (Request("GET", "/", HEAD).path, Request("GET", "/", HEAD).query) == ("/", "")
        assert Request("GET", "/%3Fx?", HEAD).path == "/%3Fx"

    def test_headers_are_made_when_first_asked_for_and_once(self) -> None:
        request = Request("GET", "/", HEAD)
        assert request._headers is None
        assert request.headers["host"] == "example.org"
        assert request.headers is request.headers

    def test_headers_may_be_given(self) -> None:
        headers = Headers([(b"A", b"b")])
        assert Request("GET", "/", headers).headers is headers

    def test_it_is_small(self) -> None:
        assert not hasattr(Request("GET", "/", HEAD), "__dict__")

    def test_repr_shows_neither_query_nor_headers(self) -> None:
        assert "token" not in repr(Request("GET", "/?token=1", HEAD)) and "example" not in repr(
            Request("GET", "/", HEAD)
        )


def test_the_accept_key_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class TestTokenLists:
    @pytest.mark.parametrize(
        ("value", "elements"),
        [
            ("a", ["a"]),
            ("a,b", ["a", "b"]),
            (" a ,\tb c ,", ["a", "b c"]),
            (",, ,", []),
            ("", []),
            (["a, b", "c"], ["a", "b", "c"]),
        ],
    )
    def test_elements(self, value: Any, elements: list[str]) -> None:
        assert parse_token_list(value) == elements

    def test_h17_subprotocols_that_can_never_be_chosen_are_left_out(self) -> None:
        headers = Headers(
            [(b"Sec-WebSocket-Protocol", b"chat, , a b, \xfc, chat, x"), (b"sec-websocket-protocol", b"y")]
        )
        assert offered_subprotocols(headers) == ["chat", "x", "y"]
        assert offered_subprotocols({}) == []

    @pytest.mark.parametrize(
        "value", [" " * 1_000_000, "," * 1_000_000, "a" * 1_000_000, "a " * 500_000, "\\x" * 500_000]
    )
    def test_h17_long_values_end(self, value: str) -> None:
        offered_subprotocols({"Sec-WebSocket-Protocol": value})


class TestUpgradeResponse:
    request_ = Request("GET", "/", HEAD, upgrade_status=101, key=KEY)

    def test_without_anything_negotiated(self) -> None:
        assert upgrade_response(self.request_) == (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )

    def test_with_everything(self) -> None:
        extra = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X", "\xe4\t")]
        head = upgrade_response(self.request_, "chat", "permessage-deflate; x=1", extra)
        assert head.endswith(
            b"\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate; x=1\r\n"
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX: \xe4\t\r\n\r\n"
        )
        assert head.count(b"\r\n\r\n") == 1

    @pytest.mark.parametrize("subprotocol", ["", "a b", "a\r\nX: y", "ü", "a,b", "a\x00"])
    def test_h23_a_subprotocol_is_a_token(self, subprotocol: str) -> None:
        with pytest.raises(ValueError):
            upgrade_response(self.request_, subprotocol)

    @pytest.mark.parametrize("text", ["a\r\nX: y", "a\n", "a\r", "\x00", "a\x7f", "\u20ac"])
    def test_h23_no_line_breaks_in_what_the_application_gives(self, text: str) -> None:
        with pytest.raises(ValueError):
            upgrade_response(self.request_, None, text)
        with pytest.raises(ValueError):
            upgrade_response(self.request_, None, None, {"X": text})
        with pytest.raises(ValueError):
            upgrade_response(self.request_, None, None, {"X" + text: "y"})

    @pytest.mark.parametrize(
        "name", ["Upgrade", "connection", "Sec-WebSocket-Accept", "SEC-WEBSOCKET-PROTOCOL", "Content-Length"]
    )
    def test_headers_of_the_handshake_cannot_be_added(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            upgrade_response(self.request_, None, None, [(name, "x")])


class TestResponse:
    def test_text(self) -> None:
        status, headers, body = parsed(response(403, {"X": "y"}, "nö"))
        assert (status, body) == (403, "nö".encode())
        assert headers == {
            "x": "y",
            "content-type": "text/plain; charset=utf-8",
            "content-length": "3",
            "connection": "close",
        }

    @pytest.mark.parametrize("body", [b"\x00\xff", bytearray(b"ab"), memoryview(b"ab")])
    def test_octets(self, body: Any) -> None:
        status, headers, content = parsed(response(200, (), body))
        assert (status, content, headers["content-length"]) == (200, bytes(body), "2")
        assert headers["content-type"] == "application/octet-stream"

    def test_nothing(self) -> None:
        assert response(404) == b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def test_the_type_of_the_content_may_be_given(self) -> None:
        assert parsed(response(200, [("content-type", "text/html")], "<p>"))[1]["content-type"] == "text/html"

    def test_headers_may_be_a_mapping_pairs_or_headers(self) -> None:
        for headers in ({"A": "b"}, [("A", "b")], Headers([(b"A", b"b")]), iter([("A", "b")])):
            assert parsed(response(200, headers, "x"))[1]["a"] == "b"

    @pytest.mark.parametrize("status", [204, 304])
    def test_some_statuses_have_no_body(self, status: int) -> None:
        code, headers, body = parsed(response(status, {}, "x"))
        assert code == status and body == b"" and "content-length" not in headers

    def test_unregistered_statuses_have_a_phrase_too(self) -> None:
        assert response(499).startswith(b"HTTP/1.1 499 Unknown\r\n")

    @pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 1000, -200])
    def test_only_final_statuses(self, status: int) -> None:
        with pytest.raises(ValueError, match=str(status)):
            response(status)

    @pytest.mark.parametrize("bad", ["a\r\nX: y", "a\n", "\r", "\x00", "\x1b", "\u20ac"])
    def test_h23_line_breaks_are_refused_before_anything_is_written(self, bad: str) -> None:
        with pytest.raises(ValueError):
            response(200, {"X": bad})
        with pytest.raises(ValueError):
            response(200, {bad: "x"})

    def test_h23_a_refused_value_is_not_repeated(self) -> None:
        with pytest.raises(ValueError) as caught:
            response(200, {"Set-Cookie": "secret\r\n"})
        assert "secret" not in str(caught.value) and "Set-Cookie" in str(caught.value)

    @pytest.mark.parametrize("name", ["", "a b", "a:", "ä", "(x)"])
    def test_header_names_are_tokens(self, name: str) -> None:
        with pytest.raises(ValueError):
            response(200, {name: "x"})

    @pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection"])
    def test_the_framing_is_not_the_applications(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            response(200, {name: "5"})

    @pytest.mark.parametrize(
        "arguments", [("200",), (200, {"A": 5}), (200, {b"A": "b"}), (200, {}, 5), (200, {}, None), (None,)]
    )
    def test_other_types_are_refused(self, arguments: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError):
            response(*arguments)


class TestRefusal:
    @pytest.mark.parametrize("status", [400, 405, 414, 417, 426, 431, 501, 505])
    def test_every_refusal_is_a_complete_response(self, status: int) -> None:
        code, headers, body = parsed(refusal(Request("GET", "/", HEAD, upgrade_status=status, problem="because")))
        assert (code, body) == (status, b"because\n")
        assert headers["connection"] == "close" and int(headers["content-length"]) == len(body)

    def test_h1_405_says_what_is_allowed(self) -> None:
        assert parsed(refusal(Request("POST", "/", HEAD, upgrade_status=405)))[1]["allow"] == "GET"

    def test_h4_plain_http_is_asked_to_upgrade(self) -> None:
        status, headers, body = parsed(refusal(Request("GET", "/", HEAD)))
        assert (status, headers["upgrade"], headers["sec-websocket-version"]) == (426, "websocket", "13")
        assert body

    def test_h6_another_version_is_told_ours(self) -> None:
        assert parsed(refusal(Request("GET", "/", HEAD, upgrade_status=426)))[1]["sec-websocket-version"] == "13"

    def test_the_error_of_the_parser_is_the_same_response(self) -> None:
        error = handshake_error(431, "too big")
        assert isinstance(error, HandshakeError) and (error.status, error.body) == (431, b"too big\n")
        assert parsed(response(error.status, error.headers, error.body))[0] == 431
