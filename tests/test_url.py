"""The URLs of WebSocket servers."""

from __future__ import annotations

import pytest

from lws_gevent.url import URL, basic_credentials, parse_url, redirected


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "host_header"),
    [
        ("ws://example.org", "example.org", 80, "/", "example.org"),
        ("WS://Example.ORG:80/Chat?a=1?b", "example.org", 80, "/Chat?a=1?b", "example.org"),
        ("http://example.org:8080", "example.org", 8080, "/", "example.org:8080"),
        ("wss://example.org", "example.org", 443, "/", "example.org"),
        ("https://example.org:80?x", "example.org", 80, "/?x", "example.org:80"),
        ("ws://[::1]:3000/a", "::1", 3000, "/a", "[::1]:3000"),
        ("ws://[fe80::1%25eth0]/", "fe80::1%eth0", 80, "/", "[fe80::1]"),
        ("ws://127.0.0.1:65535//a//b", "127.0.0.1", 65535, "//a//b", "127.0.0.1:65535"),
        ("ws://b\u00fccher.example/\u00fc?\u20ac", "xn--bcher-kva.example", 80, "/%C3%BC?%E2%82%AC", None),
        ("ws://example.org/%20%2F%zz", "example.org", 80, "/%20%2F%zz", "example.org"),
    ],
)
def test_host_port_and_target(url: str, host: str, port: int, target: str, host_header: str | None) -> None:
    parsed = parse_url(url)
    assert (parsed.host, parsed.port, parsed.target) == (host, port, target)
    assert parsed.secure is url.lower().startswith(("wss", "https"))
    assert host_header is None or parsed.host_header == host_header
    assert parsed.username is None and parsed.password is None and parsed.unix_path is None


def test_credentials_are_decoded_and_never_shown() -> None:
    parsed = parse_url("ws://us%65r:p%40ss:w%C3%BCrd@example.org/x")
    assert (parsed.username, parsed.password) == ("user", "p@ss:w\u00fcrd")
    assert str(parsed) == "ws://example.org/x"
    assert parse_url("ws://user@example.org").password == ""


def test_unix_sockets_with_and_without_a_target() -> None:
    assert parse_url("unix:/run/app.sock")[3:] == ("/", None, None, "/run/app.sock")
    parsed = parse_url("ws+unix:///run/app.sock:/chat?room=1")
    assert (parsed.unix_path, parsed.target, parsed.host_header) == ("/run/app.sock", "/chat?room=1", "localhost")
    assert str(parsed) == "unix:/run/app.sock:/chat?room=1"


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "//example.org", "ftp://example.org", "ws:example.org", "ws://", "ws:///path", "ws://:80",
        "ws://a b/", "ws://a/\r\nX: y", "ws://a/\n", "ws://a\x00/", "ws://a/\x7f", "ws://a/\u2028", " ws://a",
        "ws://a/#fragment", "ws://a#", "ws://a:0", "ws://a:65536", "ws://a:-1", "ws://a:+1", "ws://a:\u0661",
        "ws://a:b", "ws://[::1", "ws://[::1]x", "ws://[g::1]", "ws://a%20b/", "ws://a\\b/", "ws://a<b/",
        "ws://user:pa%0d%0ass@a/", "unix:", "unix:/a:/b#c", "ws://" + "\u00e4" * 70 + "/",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_websocket_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert len(url) < 6 or url not in str(caught.value)


def test_a_url_is_a_str() -> None:
    with pytest.raises(TypeError):
        parse_url(b"ws://a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("ws://b/x", "ws://b/x"),
        ("wss://b/x", "wss://b/x"),
        ("http://b/x", "ws://b/x"),
        ("https://b/x#y", "wss://b/x"),
        ("//b:99", "ws://b:99/"),
        ("/other?q", "ws://a:81/other?q"),
        ("other", "ws://a:81/dir/other"),
        ("?q", "ws://a:81/dir/page?q"),
    ],
)
def test_where_a_redirect_leads(location: str, target: str) -> None:
    assert str(redirected(parse_url("ws://a:81/dir/page"), location)) == target


@pytest.mark.parametrize("location", ["ws://a/", "http://a/", "ftp://a/", "unix:/x", "mailto:x", "/a\r\nb"])
def test_where_a_redirect_from_wss_must_not_lead(location: str) -> None:
    with pytest.raises(ValueError):
        redirected(parse_url("wss://a/"), location)


def test_credentials_of_basic_authentication() -> None:
    assert basic_credentials("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    for username, password in (("a:b", "c"), ("a\r\n", "b"), ("a", "b\x00")):
        with pytest.raises(ValueError):
            basic_credentials(username, password)


def test_origins_differ_by_scheme_host_and_port() -> None:
    def origin(url: str) -> object:
        return parse_url(url).origin

    assert origin("ws://a/x") == origin("ws://u:p@A:80/y")
    assert len({origin(url) for url in ("ws://a", "wss://a", "ws://b", "ws://a:81", "wss://a:80", "unix:/a")}) == 6
    assert isinstance(parse_url("ws://a"), URL)
