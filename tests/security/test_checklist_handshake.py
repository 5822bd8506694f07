"""The opening handshake under attack. The numbers are those of the project's security checklist."""

from __future__ import annotations

import base64
import os
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import TEXT, Client, encode, upgrade_head
from gevent import ssl
from helpers import ServerProcess, Stack, eventually, turns

KEY = base64.b64encode(bytes(16)).decode()


def head(*lines: str, request: str = "GET / HTTP/1.1", end: str = "\r\n") -> bytes:
    """A head of exactly these lines."""
    return (end.join([request, *lines]) + end + end).encode("latin-1")


REQUIRED = [
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
]


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "get", "GETT"])
def test_h01_non_get_is_refused_with_405(scene: Any, method: str) -> None:
    response = scene().refused(upgrade_head(method=method), 405)
    assert response.headers["allow"] == "GET"


def test_h01_connect_is_refused(scene: Any) -> None:
    scene().refused(head(*REQUIRED, request="CONNECT localhost:80 HTTP/1.1"), 400, 405)


@pytest.mark.parametrize(
    "version", ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/3", "http/1.1", "HTTP/1.1x", "HTTP/11", "ICY/1.1"]
)
def test_h02_other_versions_of_http_are_refused(scene: Any, version: str) -> None:
    scene().refused(upgrade_head(version=version), 400, 505)


def test_h02_http_0_9_is_refused(scene: Any) -> None:
    scene().refused(b"GET /\r\n\r\n", 400, 505)


def test_h02_the_preface_of_http_2_is_refused(scene: Any) -> None:
    scene().refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505)


def test_h03_a_missing_host_is_refused_with_400(scene: Any) -> None:
    scene().refused(upgrade_head(without=["Host"]), 400)


def test_h03_two_hosts_are_refused_with_400(scene: Any) -> None:
    scene().refused(upgrade_head(headers=[("Host", "other")]), 400)


@pytest.mark.parametrize("upgrade", [None, "h2c", "websocketx", "xwebsocket", "web socket", ""])
def test_h04_without_upgrade_websocket_it_is_426(scene: Any, upgrade: str | None) -> None:
    headers = [] if upgrade is None else [("Upgrade", upgrade)]
    response = scene().refused(upgrade_head(headers=headers, without=["Upgrade"]), 426)
    assert response.headers["upgrade"].lower() == "websocket"


@pytest.mark.parametrize("upgrade", ["WebSocket", "WEBSOCKET", "h2c, websocket", "websocket , h2c"])
def test_h04_the_token_is_case_insensitive_and_may_stand_in_a_list(scene: Any, upgrade: str) -> None:
    client = scene().attacker(head=upgrade_head(headers=[("Upgrade", upgrade)], without=["Upgrade"]))
    client.echo()


@pytest.mark.parametrize("connection", [None, "keep-alive", "close", "upgraded", "Up grade", ""])
def test_h05_without_connection_upgrade_it_is_400(scene: Any, connection: str | None) -> None:
    headers = [] if connection is None else [("Connection", connection)]
    scene().refused(upgrade_head(headers=headers, without=["Connection"]), 400)


@pytest.mark.parametrize(
    "connection", ["keep-alive, Upgrade", "upgrade", "UPGRADE,keep-alive", "keep-alive ,\tupgrade"]
)
def test_h05_connection_may_be_a_list(scene: Any, connection: str) -> None:
    client = scene().attacker(head=upgrade_head(headers=[("Connection", connection)], without=["Connection"]))
    client.echo()


def test_h05_connection_may_be_several_headers(scene: Any) -> None:
    client = scene().attacker(head=upgrade_head(headers=[("Connection", "keep-alive")]))
    client.echo()


@pytest.mark.parametrize("version", ["8", "12", "14", "0", "13.0", "013", "+13", "thirteen", "", "13, 8"])
def test_h06_other_versions_of_websocket_are_426(scene: Any, version: str) -> None:
    headers = [("Sec-WebSocket-Version", version)]
    response = scene().refused(upgrade_head(headers=headers, without=["Sec-WebSocket-Version"]), 426, 400)
    if response.status == 426:
        assert response.headers["sec-websocket-version"] == "13"
    if version in ("8", "12", "14"):
        assert response.status == 426


def test_h06_a_missing_or_second_version_is_refused(scene: Any) -> None:
    attacked = scene()
    attacked.refused(upgrade_head(without=["Sec-WebSocket-Version"]), 400, 426)
    attacked.refused(upgrade_head(headers=[("Sec-WebSocket-Version", "13")]), 400, 426)
    attacked.refused(upgrade_head(headers=[("Sec-WebSocket-Version", "8")]), 400, 426)


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "short",
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        base64.b64encode(bytes(16)).decode()[:-2],
        base64.b64encode(bytes(16)).decode()[:-1] + "?",
        "!" * 22 + "==",
        "A" * 24,
        KEY + "=",
        KEY[:10] + " " + KEY[10:],
        "\u00e9" * 22 + "==",
        "A" * 5000,
    ],
)
def test_h07_a_wrong_key_is_refused_with_400(scene: Any, key: str | None) -> None:
    headers = [] if key is None else [("Sec-WebSocket-Key", key)]
    scene().refused(upgrade_head(headers=headers, without=["Sec-WebSocket-Key"]), 400)


def test_h07_two_keys_are_refused_with_400(scene: Any) -> None:
    attacked = scene()
    attacked.refused(upgrade_head(headers=[("Sec-WebSocket-Key", KEY)]), 400)
    attacked.refused(upgrade_head(headers=[("sec-websocket-key", KEY)]), 400)


MALFORMED = {
    "bare LF everywhere": head(*REQUIRED, end="\n"),
    "one bare LF": head(*REQUIRED).replace(b"\r\nUpgrade", b"\nUpgrade"),
    "bare LF at the end": head(*REQUIRED)[:-4] + b"\r\n\n",
    "bare CR": head(*REQUIRED).replace(b"\r\nUpgrade", b"\rUpgrade"),
    "folded line": head(*REQUIRED, "X-Folded: one", " two"),
    "folded line with a tab": head(*REQUIRED, "X-Folded: one", "\ttwo"),
    "space before the colon": head(*REQUIRED, "X-Space : value"),
    "tab before the colon": head(*REQUIRED, "X-Tab\t: value"),
    "space before the first header": head(" X: y", *REQUIRED),
    "NUL in a value": head(*REQUIRED, "X-Nul: a\0b"),
    "NUL in a name": head(*REQUIRED, "X-N\0ul: ab"),
    "control character in a value": head(*REQUIRED, "X-Bell: a\x07b"),
    "DEL in a value": head(*REQUIRED, "X-Del: a\x7fb"),
    "CR in a value": head(*REQUIRED, "X-Cr: a\rb"),
    "no colon": head(*REQUIRED, "nonsense"),
    "empty name": head(*REQUIRED, ": value"),
    "name with a parenthesis": head(*REQUIRED, "X(Y): value"),
    "name with an umlaut": head(*REQUIRED, "X\u00e4: value"),
    "request line with two spaces": head(*REQUIRED, request="GET  / HTTP/1.1"),
    "request line with a tab": head(*REQUIRED, request="GET\t/\tHTTP/1.1"),
    "request line with four parts": head(*REQUIRED, request="GET / x HTTP/1.1"),
    "request line with a space at its end": head(*REQUIRED, request="GET / HTTP/1.1 "),
    "request line with a NUL": head(*REQUIRED, request="GET /\0 HTTP/1.1"),
    "method with a control character": head(*REQUIRED, request="G\x01T / HTTP/1.1"),
    "binary noise": bytes(range(256)) + b"\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100f4010000f00303") + os.urandom(64) + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_h08_a_malformed_head_is_refused_with_400(scene: Any, name: str) -> None:
    scene().refused(MALFORMED[name], 400, 505)


BODIES = {
    "CL and TE": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "TE": ["Transfer-Encoding: chunked"],
    "TE identity": ["Transfer-Encoding: identity"],
    "TE with rubbish": ["Transfer-Encoding: xchunked"],
    "CL": ["Content-Length: 5"],
    "two CL": ["Content-Length: 0", "Content-Length: 0"],
    "two different CL": ["Content-Length: 0", "Content-Length: 5"],
    "list of CL": ["Content-Length: 0, 0"],
    "CL with a plus": ["Content-Length: +5"],
    "negative CL": ["Content-Length: -1"],
    "CL in hex": ["Content-Length: 0x5"],
    "CL with an underscore": ["Content-Length: 1_0"],
    "huge CL": ["Content-Length: 99999999999999999999999"],
    "empty CL": ["Content-Length: "],
}


@pytest.mark.parametrize("name", list(BODIES))
def test_h09_a_body_on_the_upgrade_is_refused_and_never_a_second_request(scene: Any, name: str) -> None:
    attacked = scene()
    second = upgrade_head("/smuggled")
    for body in (b"", b"0\r\n\r\n", b"12345"):
        attacked.refused(head(*REQUIRED, *BODIES[name]) + body + second, 400, 413, 501)


def test_h10_a_request_line_over_8_kib_is_refused_with_414(scene: Any) -> None:
    attacked = scene()
    attacked.refused(upgrade_head("/" + "a" * 9000), 414)
    attacked.refused(b"GET /" + b"a" * 100_000, 414)  # its end never comes


def test_h11_a_header_over_8_kib_is_refused_with_431(scene: Any) -> None:
    scene().refused(upgrade_head(headers=[("X-Long", "a" * 9000)]), 431)


def test_h11_a_head_over_the_limit_is_refused_with_431(scene: Any) -> None:
    attacked = scene()
    attacked.refused(upgrade_head(headers=[(f"X-{n}", "a" * 2000) for n in range(20)]), 431)
    small = scene(max_header_size=500)
    small.refused(upgrade_head(headers=[("X-Long", "a" * 500)]), 431)
    small.attacker(head=upgrade_head()).echo()


@pytest.mark.parametrize("count", [129, 1000, 2000])
def test_h11_too_many_headers_are_refused_with_431(scene: Any, count: int) -> None:
    scene().refused(upgrade_head(headers=[("X", "")] * count), 431)


def test_h12_a_head_dribbled_octet_by_octet_is_accepted(scene: Any) -> None:
    attacked = scene()
    client = attacked.raw()
    client.dribble(upgrade_head(headers=[("X-Long", "a" * 3000)]))
    assert client.recv_response().status == 101
    client.echo()


def test_h12_an_endless_header_is_refused_while_it_is_sent(scene: Any) -> None:
    attacked = scene()
    client = attacked.raw()
    client.send_raw(upgrade_head()[:-2] + b"X: ")
    sent = 0
    try:
        while sent < 20_000_000:
            client.send_raw(b"a" * 65536)
            sent += 65536
            gevent.sleep(0)
    except (BrokenPipeError, ConnectionResetError):
        pass
    else:
        raise AssertionError("20 MB of one header were taken")
    assert client.drain_to_eof()[:12] in (b"HTTP/1.1 431", b"")  # a reset may overtake the response


def test_h13_slow_loris_is_cut_at_the_deadline_and_a_good_client_served(scene: Any, spawn: Any) -> None:
    attacked = scene(handshake_timeout=1.5)
    silent = [attacked.raw() for _ in range(400)]
    half = [attacked.raw() for _ in range(400)]
    slow = [attacked.raw() for _ in range(200)]
    request = upgrade_head(headers=[("X-Long", "a" * 500)])
    for client in half:
        client.send_raw(request[: len(request) // 2])

    def dribble(client: Any) -> None:
        try:
            for octet in request[:-2]:
                client.send_raw(bytes([octet]))
                gevent.sleep(0.1)
        except (BrokenPipeError, ConnectionResetError):
            pass

    for client in slow:
        spawn(dribble, client)
    attacked.good.echo("while a thousand dawdle", within=2)
    attacked.attacker("/good").echo("a new one", within=2)
    for client in silent + half + slow:
        answer = client.drain_to_eof()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 "), answer
    assert attacked.opened == 0


def test_h14_stalled_tls_handshakes_are_cut_at_the_deadline_and_a_good_client_served(
    stack: Any, make_server: Any, spawn: Any
) -> None:
    """Nothing sent, half a record, a record octet by octet, and a handshake that waits for the client."""
    opened: list[str] = []
    server = make_server(ssl=certificates().options, handshake_timeout=1.5, echo=True)
    server.on("connection", lambda socket: opened.append(socket.path))
    address, trusted = ("127.0.0.1", server.port), certificates().client_context()
    good = Client.connect(address, "/good", tls=trusted)
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        trusted.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    hello = outgoing.read()
    stalled = [Client.open(address) for _ in range(200)]
    for number, client in enumerate(stalled):
        client.send_raw((b"", hello[:3], hello[: len(hello) // 2], hello)[number % 4])

    def dribble(client: Client) -> None:
        try:
            for octet in hello:
                client.send_raw(bytes([octet]))
                gevent.sleep(0.1)
        except OSError:
            pass

    slow = [Client.open(address) for _ in range(100)]
    for client in slow:
        spawn(dribble, client)
    good.echo("while hundreds dawdle", within=2)
    with Client.connect(address, "/good", tls=trusted) as another:
        another.echo("a new one", within=2)
    for client in stalled + slow:
        assert not client.drain_to_eof().startswith(b"HTTP")
        client.disconnect()
    good.echo("after it", within=2)
    good.close_handshake()
    assert set(opened) == {"/good"}


def test_h14_a_flood_of_handshakes_does_not_keep_others_waiting(stack: Any, make_server: Any, spawn: Any) -> None:
    server = make_server(ssl=certificates().options, echo=True)
    address, trusted = ("127.0.0.1", server.port), certificates().client_context()
    good = Client.connect(address, tls=trusted)

    def connect_and_leave() -> None:
        for _ in range(10):
            Client.open(address, tls=trusted).disconnect()

    flood = [spawn(connect_and_leave) for _ in range(20)]
    while not all(greenlet.dead for greenlet in flood):
        good.echo("in between", within=2)
    for greenlet in flood:
        greenlet.get()
    good.close_handshake()


def test_h15_clients_that_leave_before_or_after_the_head_make_no_noise(scene: Any) -> None:
    attacked = scene()
    whole = upgrade_head()
    for cut in (0, 1, 20, len(whole) - 1, len(whole)):
        for leave in ("disconnect", "reset", "half_close"):
            for _ in range(5):
                client = attacked.raw()
                if cut:
                    client.send_raw(whole[:cut])
                getattr(client, leave)()
                if leave == "half_close":
                    client.drain_to_eof()
                    client.disconnect()
    turns()
    assert attacked.errors == []


def test_h16_only_allowed_origins_get_in(scene: Any) -> None:
    attacked = scene(origins=["https://good.example", "http://good.example:8080"])
    bad = [
        "https://evil.example",
        "null",
        "https://good.example.evil.example",
        "http://good.example",
        "https://good.example:444",
        "https://GOOD.example.",
        "https://xgood.example",
        "https://goodxexample",
        "http://good.example:80801",
        "https://good.example/",
        "",
    ]
    for origin in bad:
        attacked.refused(upgrade_head(headers=[("Origin", origin)]), 403)
    attacked.refused(
        upgrade_head(headers=[("Origin", "https://good.example"), ("Origin", "https://evil.example")]), 400, 403
    )
    attacked.refused(upgrade_head(headers=[("Origin", "https://good.example, https://evil.example")]), 400, 403)
    for origin in ("https://good.example", "http://good.example:8080"):
        attacked.attacker(headers=[("Origin", origin)]).echo()
    attacked.attacker().echo("no Origin: no browser")


def test_h16_the_same_origin_alone_gets_in(scene: Any) -> None:
    attacked = scene(origins="same")
    for origin in ("http://evil.example", "null", "http://localhost:81", "http://localhost.evil.example"):
        attacked.refused(upgrade_head(headers=[("Origin", origin)]), 403)
    attacked.attacker(headers=[("Origin", "http://localhost")]).echo()


@pytest.mark.parametrize(
    "offered",
    ["ch\u00e4t", " " * 7000, ",,,,", "", "chat,chat,chat", 'a"b', "a b", ", ".join(f"p{n}" for n in range(800))],
    ids=["non-ASCII", "spaces", "empty tokens", "nothing", "duplicates", "quote", "space", "800 of them"],
)
def test_h17_strange_subprotocol_offers_are_refused_or_ignored(scene: Any, offered: str) -> None:
    attacked = scene(subprotocols=["chat2"])
    client = attacked.raw()
    response = client.request(upgrade_head(headers=[("Sec-WebSocket-Protocol", offered)]))
    assert response.status in (101, 400)
    assert "sec-websocket-protocol" not in response.headers


def test_h17_a_subprotocol_that_was_not_offered_is_never_answered(scene: Any) -> None:
    attacked = scene(subprotocols=lambda offered: "never offered" if offered else None)
    client = attacked.raw()
    response = client.request(upgrade_head("/bad", [("Sec-WebSocket-Protocol", "chat")]))
    assert response.status == 500
    assert "sec-websocket-protocol" not in response.headers
    assert attacked.errors


def test_h17_the_offered_and_supported_subprotocol_is_answered(scene: Any) -> None:
    client = scene(subprotocols=["chat"]).attacker("/", headers=[("Sec-WebSocket-Protocol", "other, chat")])
    assert client.response.headers["sec-websocket-protocol"] == "chat"
    client.echo()


EXTENSIONS = {
    "backslashes": 'x; y="' + "\\x" * 3500,
    "backslashes that end": 'x; y="' + "\\x" * 3500 + '"',
    "unclosed quote": 'permessage-deflate; a="' + "b" * 5000,
    "unclosed quotes": 'a; b="' * 1300,
    "1500 parameters": "permessage-deflate" + ";a=1" * 1500,
    "1500 parameters that repeat": "permessage-deflate" + "; client_max_window_bits" * 330,
    "1000 offers": ", ".join(["permessage-deflate; x"] * 330),
    "1000 names": "a;b," * 1500,
    "semicolons": ";" * 8000,
    "commas": "," * 8000,
    "spaces": "permessage-deflate" + " " * 8000 + "x",
    "non-ASCII": "per\u00e4",
    "empty": "",
    "a huge number": "permessage-deflate; server_max_window_bits=" + "1" * 8000,
}


@pytest.mark.parametrize("deflate", [False, True], ids=["off", "on"])
@pytest.mark.parametrize("name", list(EXTENSIONS))
def test_h18_strange_extension_offers_are_refused_or_declined(scene: Any, name: str, deflate: bool) -> None:
    attacked = scene(per_message_deflate=deflate)
    client = attacked.raw()
    response = client.request(upgrade_head(headers=[("Sec-WebSocket-Extensions", EXTENSIONS[name])]))
    assert response.status in (101, 400)
    assert "sec-websocket-extensions" not in response.headers
    if response.status == 101:
        client.echo()


def test_h18_as_many_offers_as_there_can_be_keep_nobody_waiting(scene: Any) -> None:
    attacked = scene(per_message_deflate=True, max_header_size=256 * 1024 - 1)
    for name in ("backslashes that end", "commas", "1000 offers", "1500 parameters", "spaces"):
        headers = [("Sec-WebSocket-Extensions", EXTENSIONS[name].removesuffix("x") + "; x")] * 30
        response = attacked.raw().request(upgrade_head(headers=headers))
        assert response.status in (101, 400)
        assert "sec-websocket-extensions" not in response.headers


WRONG_OFFERS = [
    "unknown",
    "unknown=1",
    "server_no_context_takeover; server_no_context_takeover",
    "client_max_window_bits; client_max_window_bits",
    "client_max_window_bits=10; client_max_window_bits=10",
    "server_max_window_bits",
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=08",
    "server_max_window_bits=+9",
    "server_max_window_bits=4294967305",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=015",
    'client_max_window_bits="16"',
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
]


@pytest.mark.parametrize("wrong", WRONG_OFFERS)
def test_h19_a_wrong_deflate_offer_is_declined_and_the_next_one_used(scene: Any, wrong: str) -> None:
    attacked = scene(per_message_deflate=True)
    client = attacked.attacker("/", headers=[("Sec-WebSocket-Extensions", f"permessage-deflate; {wrong}")])
    assert "sec-websocket-extensions" not in client.response.headers
    client.echo()
    offers = f"permessage-deflate; {wrong}, permessage-deflate; server_max_window_bits=9"
    client = attacked.attacker("/", headers=[("Sec-WebSocket-Extensions", offers)])
    assert "server_max_window_bits=9" in client.response.headers["sec-websocket-extensions"]
    offers_apart = [("Sec-WebSocket-Extensions", offer) for offer in offers.split(", ")]
    client = attacked.attacker("/", headers=offers_apart)
    assert "server_max_window_bits=9" in client.response.headers["sec-websocket-extensions"]
    client.send("x")
    assert client.recv_message() == "x"


@pytest.mark.parametrize(
    "offer", [*(f"permessage-deflate; {wrong}" for wrong in WRONG_OFFERS), "x-webkit-deflate-frame"]
)
def test_h19_without_the_option_every_offer_is_declined(scene: Any, offer: str) -> None:
    client = scene().attacker("/", headers=[("Sec-WebSocket-Extensions", offer)])
    assert "sec-websocket-extensions" not in client.response.headers
    client.echo()


def test_h20_a_window_of_8_bits_for_the_server_is_declined(scene: Any) -> None:
    attacked = scene(per_message_deflate=True)
    for offer in ("server_max_window_bits=8", "server_max_window_bits=8; client_max_window_bits"):
        client = attacked.attacker("/", headers=[("Sec-WebSocket-Extensions", f"permessage-deflate; {offer}")])
        assert "sec-websocket-extensions" not in client.response.headers
        client.echo()


def test_h20_client_max_window_bits_is_never_sent_unless_it_was_offered(scene: Any) -> None:
    attacked = scene(per_message_deflate={"client_max_window_bits": 10})
    client = attacked.attacker("/", headers=[("Sec-WebSocket-Extensions", "permessage-deflate")])
    assert "client_max_window_bits" not in client.response.headers["sec-websocket-extensions"]
    for offer, answered in (("", 10), ("=15", 10), ("=9", 9), ("=8", 8)):
        offer = f"permessage-deflate; client_max_window_bits{offer}"
        client = attacked.attacker("/", headers=[("Sec-WebSocket-Extensions", offer)])
        assert client.response.headers["sec-websocket-extensions"].endswith(f"; client_max_window_bits={answered}")


def test_h21_frames_in_the_segment_of_the_head_are_frames(scene: Any) -> None:
    attacked = scene()
    client = attacked.attacker(after=encode(TEXT, "GET / HTTP/1.1\r\n\r\n") + encode(TEXT, "second"))
    assert [client.recv_message(), client.recv_message()] == ["GET / HTTP/1.1\r\n\r\n", "second"]


def test_h21_a_message_split_between_the_segment_of_the_head_and_the_next(scene: Any) -> None:
    attacked = scene()
    frame = encode(TEXT, "split")
    for cut in range(1, len(frame)):
        client = attacked.attacker(after=frame[:cut])
        client.send_raw(frame[cut:])
        assert client.recv_message() == "split"
        client.disconnect()


@pytest.mark.parametrize("status", ["refused", "bad request", "no upgrade"])
def test_h22_octets_after_a_rejected_upgrade_are_never_interpreted(scene: Any, status: str) -> None:
    attacked = scene(path="/good")
    bad = {
        "refused": upgrade_head("/elsewhere"),
        "bad request": upgrade_head("/good", without=["Host"]),
        "no upgrade": upgrade_head("/good", without=["Upgrade"]),
    }[status]
    attacked.refused(bad + upgrade_head("/good") + encode(TEXT, "tunnelled"), 400, 404, 426)
    client = attacked.raw()
    client.send_raw(bad)
    client.recv_response()
    try:
        client.send_raw(upgrade_head("/good") + encode(TEXT, "tunnelled"))
    except OSError:
        pass
    assert client.drain_to_eof() == b""


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Bad": "a\r\nInjected: yes"},
        {"X-Bad": "a\nInjected: yes"},
        {"X-Bad\r\nInjected": "yes"},
        {"X-Bad": "a\0"},
        {"": "x"},
    ],
)
def test_h23_line_breaks_in_the_applications_headers_never_reach_the_wire(scene: Any, headers: dict[str, str]) -> None:
    attacked = scene()
    attacked.server.on("upgrade", lambda socket: (403, headers, "body") if socket.path == "/bad" else None)
    client = attacked.raw()
    client.send_raw(upgrade_head("/bad"))
    answer = client.drain_to_eof()
    assert b"Injected" not in answer
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert [type(error) for error in attacked.errors] == [ValueError]


def test_h23_an_impossible_status_is_an_error_of_the_application(scene: Any) -> None:
    attacked = scene()
    attacked.server.on("upgrade", lambda socket: (7, {}, "") if socket.path == "/bad" else None)
    client = attacked.raw()
    client.send_raw(upgrade_head("/bad"))
    assert client.drain_to_eof().startswith(b"HTTP/1.1 500 ")
    assert attacked.errors


def test_h24_expect_100_continue_gets_no_interim_response(scene: Any) -> None:
    attacked = scene()
    attacked.refused(upgrade_head(headers=[("Expect", "100-continue")]), 400, 417)
    attacked.refused(upgrade_head(headers=[("Expect", "100-continue"), ("Content-Length", "5")]), 400, 417)
    attacked.refused(
        head("Host: localhost", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", 400, 426
    )


@pytest.mark.parametrize(
    "target",
    ["//", "/%00", "/../../etc/passwd", "/a//b", "/%2e%2e/", "/%", "/%zz", "/;x", "/a?b?c", "/" + "%41" * 1000],
)
def test_h25_strange_paths_are_passed_unmodified(scene: Any, target: str) -> None:
    attacked = scene()
    seen: list[Any] = []
    attacked.server.on("connection", lambda socket: seen.append((socket.path, socket.query)))
    attacked.attacker(head=upgrade_head(target)).echo()
    path, _, query = target.partition("?")
    assert seen == [(path, query)]


@pytest.mark.parametrize("target", ["http://localhost/", "*", "", "x", "/\u00e9", "/a b", "/#fragment", "/a\tb", "\\"])
def test_h25_targets_that_are_no_path_are_refused_or_passed_unmodified(scene: Any, target: str) -> None:
    attacked = scene()
    client = attacked.raw()
    response = client.request(upgrade_head(target))
    assert response.status in (101, 400)
    assert attacked.errors == []


def test_heads_take_no_memory(stack: Stack) -> None:
    """H11, H12: a thousand heads, each just under the limit and never finished, cost what they are long and no more,
    and are released."""
    from client import Client

    with ServerProcess(stack, handshake_timeout=60) as server:
        with Client.connect(server.address) as good:
            good.echo()
            before = server.memory()
            part = upgrade_head()[:-2] + b"".join(b"X-%d: " % n + b"a" * 990 + b"\r\n" for n in range(14))
            clients = []
            for _ in range(300):
                client = Client.open(server.address)
                client.send_raw(part)
                clients.append(client)
            good.echo("beside them", within=2)
            eventually(lambda: server.descriptors() > 300)
            assert server.memory() - before < 300 * 3 * 16384 + 4_000_000
            for client in clients:
                client.disconnect()
            eventually(lambda: server.ask("descriptors") == server.ask("descriptors") and server.descriptors() < 50)
            eventually(lambda: server.memory() - before < 3_000_000, "the memory is released")
            good.echo(within=2)
        server.stop()
