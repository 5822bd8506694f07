"""WebSocket of lws_gevent.compat.ws: attributes, events, sending, closing, the browser's interface."""

from __future__ import annotations

import array
import os
from typing import Any

import gevent
import pytest
from parity import Done, call_back, case, close_http, opened, record, until
from raw_http import switching

from lws_gevent.compat.ws import (
    CloseEvent,
    ErrorEvent,
    Event,
    IncomingMessage,
    MessageEvent,
    Sender,
    WebSocket,
    WSError,
    WSRangeError,
    WSSyntaxError,
    WSTypeError,
)

FILE = "websocket.test.js"
CTOR = "WebSocket > #ctor > "
ATTRIBUTES = "WebSocket > Attributes > "
EVENTS = "WebSocket > Events > "
BROWSER = "WebSocket > WHATWG API emulation > "
BROKEN = b"\x85\x00"  # an opcode that does not exist
NOT_OPEN = "WebSocket is not open: readyState {} ({})"


def ignore(*_: Any) -> None:
    """A listener."""


def nowhere(**options: Any) -> WebSocket:
    """A client that never connects."""
    client = WebSocket("ws://localhost", {"lookup": ignore, **options})
    client.on("error", ignore)
    return client


def pair(wss: Any, dial: Any, **options: Any) -> tuple[Any, Any]:
    """An open client, and its counterpart."""
    connection = until(wss, "connection")
    client = opened(dial(wss, **options))
    return client, connection()[0]


def invalid_opcode(error: Any) -> None:
    assert isinstance(error, WSRangeError)
    assert error.code == "WS_ERR_INVALID_OPCODE"
    assert error.message == "Invalid WebSocket frame: invalid opcode 5"


@pytest.fixture
def raw_server(http: Any) -> Any:
    """``raw_server(after)``: a server that accepts every handshake and calls ``after(socket)``."""

    def make(after: Any, *lines: str) -> Any:
        server = http()

        def upgrade(request: Any, socket: Any) -> None:
            socket.write(switching(request, *lines))
            socket.on("data", ignore)
            socket.on("end", socket.end)
            after(socket)

        server.on("upgrade", upgrade)
        return server

    return make


# construction


@case(FILE, CTOR + "throws an error when using an invalid url")
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo", "Invalid URL: foo"),
        (
            "bad-scheme://websocket-echo.com",
            'The URL\'s protocol must be one of "ws:", "wss:", "http:", "https:", or "ws+unix:"',
        ),
        ("ws+unix:", "The URL's pathname is empty"),
        ("wss://websocket-echo.com#foo", "The URL contains a fragment identifier"),
    ],
)
def test_bad_addresses(url: str, message: str) -> None:
    with pytest.raises(WSSyntaxError) as raised:
        WebSocket(url)
    assert str(raised.value) == message


@case(FILE, CTOR + "throws an error if a subprotocol is invalid or duplicated")
@pytest.mark.parametrize("protocols", [[None], "", "a,b", ["a", "a"]])
def test_bad_subprotocols(protocols: Any) -> None:
    with pytest.raises(WSSyntaxError, match="^An invalid or duplicated subprotocol was specified$"):
        WebSocket("ws://localhost", protocols)


@case(FILE, CTOR + "accepts `url.URL` objects as url")
def test_an_address_is_anything_that_reads_as_one() -> None:
    class Url:
        def __str__(self) -> str:
            return "ws://[::1]"

    hosts: list[Any] = []
    client = WebSocket(Url(), lookup=lambda host, _options, _callback: hosts.append(host))
    client.on("error", ignore)
    gevent.sleep(0)
    assert (hosts, client._req.path) == (["::1"], "/")
    client.terminate()


@case(FILE, CTOR + "allows the http scheme")
@case(FILE, CTOR + "allows the https scheme")
@pytest.mark.parametrize(("scheme", "port", "url"), [("http", 80, "ws"), ("https", 443, "wss")])
def test_http_addresses_are_those_of_websockets(scheme: str, port: int, url: str) -> None:
    seen: list[Any] = []

    def create(options: Any) -> Any:
        seen.append((options["host"], options["port"]))
        raise OSError("no")

    client = WebSocket(f"{scheme}://localhost", createConnection=create)
    until(client, "error")()
    assert seen == [("localhost", port)]
    assert client.url == f"{url}://localhost/"


@case(FILE, CTOR + "options > accepts the `options` object as 3rd argument")
def test_options_may_follow_the_subprotocols() -> None:
    for protocols in (None, []):
        client = WebSocket("ws://localhost", protocols, {"lookup": ignore, "headers": {"a": "b"}})
        assert client._req.getHeader("sec-websocket-protocol") is None
        assert client._req.getHeader("a") == "b"
        client.on("error", ignore)
        client.terminate()


@case(FILE, CTOR + "options > accepts the receiver limit options")
def test_the_limits_of_a_client(serve: Any, dial: Any) -> None:
    wss = serve(perMessageDeflate=True)
    client, server_side = pair(wss, dial, maxBufferedChunks=1024, maxFragments=512, maxPayload=20480)
    receiver = client._receiver
    assert (receiver._maxBufferedChunks, receiver._maxFragments, receiver._maxPayload) == (1024, 512, 20480)
    assert receiver._extensions["permessage-deflate"]._maxPayload == 20480
    failed = until(client, "error")
    server_side.send(b"\0" * 20481)
    assert failed().code == "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH"


@case(FILE, CTOR + "options > throws an error when using an invalid `protocolVersion`")
def test_unknown_versions() -> None:
    with pytest.raises(WSRangeError) as raised:
        WebSocket("ws://localhost", {"protocolVersion": 1000})
    assert str(raised.value) == "Unsupported protocol version: 1000 (supported versions: 8, 13)"


@case(FILE, CTOR + "options > honors the `generateMask` option")
def test_generate_mask_makes_the_masking_keys(http: Any, dial: Any, raw_server: Any) -> None:
    received = bytearray()
    enough = Done()

    def after(socket: Any) -> None:
        def data(chunk: bytes) -> None:
            received.extend(chunk)
            if len(received) >= 18:
                enough()

        socket.on("data", data)

    def fill(key: bytearray) -> None:
        key[:] = b"abcd"

    client = opened(dial(raw_server(after), generateMask=fill))
    client.send(b"foo")
    client.ping()
    client._link.sender._generateMask = lambda _key: None
    client.send(b"bar")
    enough.wait()
    assert bytes(received[2:6]) == b"abcd"
    assert bytes(received[6:9]) == bytes(a ^ b for a, b in zip(b"foo", b"abc", strict=True))
    assert bytes(received[11:15]) == b"abcd"


@case(FILE, CTOR + "options > honors the `autoPong` option")
def test_a_client_need_not_answer_pings(serve: Any, dial: Any) -> None:
    wss = serve()
    client, server_side = pair(wss, dial, autoPong=False)
    pongs = record(server_side, "pong")
    closed = until(server_side, "close")
    client.on("ping", lambda: client.close())
    server_side.ping()
    closed()
    assert pongs == []


@case(FILE, CTOR + "options > honors the `closeTimeout` option")
def test_close_timeout_of_a_client(dial: Any, raw_server: Any) -> None:
    client = opened(dial(raw_server(lambda socket: socket.pause()), closeTimeout=50))
    closed = until(client, "close")
    client.close()
    assert client._closeTimer.milliseconds == 50
    assert closed() == (1006, b"")


# constants and attributes


@case(FILE, "WebSocket > Constants > `${state}` > is enumerable property of class")
@case(FILE, "WebSocket > Constants > `${state}` > is enumerable property of prototype")
@pytest.mark.parametrize(("name", "value"), [("CONNECTING", 0), ("OPEN", 1), ("CLOSING", 2), ("CLOSED", 3)])
def test_the_states_are_constants(name: str, value: int) -> None:
    assert getattr(WebSocket, name) == value
    client = nowhere()
    assert getattr(client, name) == value
    with pytest.raises(AttributeError):
        setattr(client, name, 7)
    client.terminate()


@case(FILE, ATTRIBUTES + "`binaryType` > defaults to 'nodebuffer'")
@case(FILE, ATTRIBUTES + "`binaryType` > can be changed to 'arraybuffer' or 'fragments'")
def test_binary_type() -> None:
    client = nowhere()
    assert client.binaryType == "nodebuffer"
    for given, kept in (
        ("arraybuffer", "arraybuffer"),
        ("foo", "arraybuffer"),
        ("fragments", "fragments"),
        ("", "fragments"),
        ("nodebuffer", "nodebuffer"),
    ):
        client.binaryType = given
        assert client.binaryType == kept
    client.terminate()


@case(FILE, ATTRIBUTES + "`bufferedAmount` > defaults to zero")
@case(FILE, ATTRIBUTES + '`bufferedAmount` > defaults to zero upon "open"')
def test_nothing_is_buffered_at_first(serve: Any, dial: Any) -> None:
    client = dial(serve())
    assert client.bufferedAmount == 0
    amounts: list[int] = []
    client.onopen = lambda _event: amounts.append(client.bufferedAmount)
    opened(client)
    assert amounts == [0]


@case(FILE, ATTRIBUTES + "`bufferedAmount` > takes into account the data in the sender queue")
def test_what_waits_for_its_compression_is_buffered(serve: Any, dial: Any) -> None:
    client, _ = pair(serve(perMessageDeflate=True), dial, perMessageDeflate={"threshold": 0})
    done = Done()
    client.send("foo")
    assert client.bufferedAmount == 3

    @done.last
    def sent(error: Any) -> None:
        assert error is None
        assert client.bufferedAmount == 0

    client.send("bar", sent)
    assert client.bufferedAmount == 6
    done.wait()


@case(FILE, ATTRIBUTES + "`bufferedAmount` > takes into account the data in the socket queue")
def test_what_the_system_does_not_take_is_buffered(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(), dial)
    client.pause()
    data = b"=" * 65536
    sent = 0
    for _ in range(500):
        server_side.send(data)
        sent += 65536 + 10
        if server_side.bufferedAmount > 65536:
            break
        gevent.sleep(0)
    assert 65536 < server_side.bufferedAmount <= sent
    client.resume()
    closed = until(server_side, "close")
    server_side.close()
    closed()


@case(FILE, ATTRIBUTES + "`extensions` > exposes the negotiated extensions names (1/2)")
@case(FILE, ATTRIBUTES + "`extensions` > exposes the negotiated extensions names (2/2)")
@pytest.mark.parametrize(("deflate", "names"), [(False, ""), (True, "permessage-deflate")])
def test_the_extensions_that_were_agreed_on(serve: Any, dial: Any, deflate: bool, names: str) -> None:
    wss = serve(perMessageDeflate=deflate)
    connection = until(wss, "connection")
    client = dial(wss)
    assert client.extensions == ""
    opened(client)
    assert client.extensions == names
    assert connection()[0].extensions == names


@case(FILE, ATTRIBUTES + "`isPaused` > indicates whether the websocket is paused")
def test_whether_it_is_paused(serve: Any, dial: Any) -> None:
    client = dial(serve())
    assert not client.isPaused
    opened(client)
    client.pause()
    assert client.isPaused
    client.resume()
    assert not client.isPaused
    client.close()


@case(FILE, ATTRIBUTES + "`protocol` > exposes the subprotocol selected by the server")
def test_the_subprotocol_that_was_agreed_on(serve: Any, dial: Any) -> None:
    wss = serve()
    connection = until(wss, "connection")
    client = dial(wss, "foo")
    assert client.protocol == ""
    opened(client)
    assert (client.protocol, connection()[0].protocol) == ("foo", "foo")


@case(FILE, ATTRIBUTES + "`readyState` > defaults to `CONNECTING`")
@case(FILE, ATTRIBUTES + "`readyState` > is set to `OPEN` once connection is established")
@case(FILE, ATTRIBUTES + "`readyState` > is set to `CLOSED` once connection is closed")
@case(FILE, ATTRIBUTES + "`readyState` > is set to `CLOSED` once connection is terminated")
@pytest.mark.parametrize("end", [lambda client: client.close(1001), lambda client: client.terminate()])
def test_the_ready_state(serve: Any, dial: Any, end: Any) -> None:
    client = dial(serve())
    assert client.readyState == WebSocket.CONNECTING
    until(client, "open", lambda: _equal(client.readyState, WebSocket.OPEN))()
    closed = until(client, "close", lambda *_: _equal(client.readyState, WebSocket.CLOSED))
    end(client)
    assert client.readyState == WebSocket.CLOSING
    closed()
    assert client.readyState == WebSocket.CLOSED


def _equal(one: Any, other: Any) -> None:
    assert one == other


@case(FILE, ATTRIBUTES + "`url` > exposes the server url")
@pytest.mark.parametrize(("given", "scheme"), [("ws", "ws"), ("wss", "wss"), ("http", "ws"), ("https", "wss")])
def test_the_url(given: str, scheme: str) -> None:
    client = WebSocket(f"{given}://localhost/", lookup=ignore)
    assert client.url == f"{scheme}://localhost/"
    client.on("error", ignore)
    client.terminate()


# events


@case(FILE, EVENTS + "emits an 'error' event if an error occurs (1/2)")
def test_a_breach_of_the_protocol_is_an_error_and_then_the_close(raw_server: Any, dial: Any) -> None:
    received = bytearray()

    def after(socket: Any) -> None:
        socket.on("data", received.extend)
        socket.write(BROKEN)

    client = dial(raw_server(after))
    events = record(client, "error", "close")
    until(client, "close")()
    [(_, error), closed] = events
    invalid_opcode(error)
    assert closed == ("close", 1006, b"")
    key, payload = received[2:6], received[6:8]
    assert received[:2] == b"\x88\x82"
    assert bytes(a ^ b for a, b in zip(payload, key, strict=False)) == b"\x03\xea"


def test_the_peer_of_a_breach_hears_the_close_code(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(), dial)
    events = record(server_side, "error", "close")
    closed = until(client, "close")
    client._socket.write(b"\x85\x80\0\0\0\0")
    assert closed() == (1002, b"")
    until(server_side, "close")() if len(events) < 2 else None
    invalid_opcode(events[0][1])
    assert events[1] == ("close", 1006, b"")


@case(FILE, EVENTS + "does not re-emit `net.Socket` errors")
def test_a_reset_is_no_error_of_the_websocket(raw_server: Any, dial: Any) -> None:
    sockets: list[Any] = []
    client = opened(dial(raw_server(sockets.append)))
    errors = record(client, "error")
    reset = until(client._socket, "error")
    closed = until(client, "close")
    sockets[0].resetAndDestroy()
    assert reset().code == "ECONNRESET"
    assert closed() == (1006, b"")
    assert errors == []


@case(FILE, EVENTS + "emits an 'upgrade' event")
def test_upgrade_comes_with_the_response(serve: Any, dial: Any) -> None:
    client = dial(serve())
    response = until(client, "upgrade")()
    assert isinstance(response, IncomingMessage)
    assert response.statusCode == 101


@case(FILE, EVENTS + "emits a 'ping' event")
@case(FILE, EVENTS + "emits a 'pong' event")
@pytest.mark.parametrize("verb", ["ping", "pong"])
def test_control_frames_are_events(serve: Any, dial: Any, verb: str) -> None:
    wss = serve()

    def connection(websocket: Any) -> None:
        getattr(websocket, verb)()
        websocket.close()

    wss.on("connection", connection)
    assert until(dial(wss), verb)() == b""


# ping and pong


@case(FILE, "WebSocket > #ping > throws an error if `readyState` is `CONNECTING`")
@case(FILE, "WebSocket > #pong > throws an error if `readyState` is `CONNECTING`")
@case(FILE, "WebSocket > #send > throws an error if `readyState` is `CONNECTING`")
@pytest.mark.parametrize("verb", ["ping", "pong", "send"])
def test_nothing_can_be_sent_while_connecting(verb: str) -> None:
    client = nowhere()
    for arguments in ((), ("hi", ignore)) if verb == "send" else ((), (ignore,)):
        with pytest.raises(WSError) as raised:
            getattr(client, verb)(*arguments)
        assert str(raised.value) == NOT_OPEN.format(0, "CONNECTING")
    client.terminate()


@case(FILE, "WebSocket > #ping > increases `bufferedAmount` if `readyState` is 2 or 3")
@case(FILE, "WebSocket > #pong > increases `bufferedAmount` if `readyState` is 2 or 3")
@case(FILE, "WebSocket > #send > increases `bufferedAmount` if `readyState` is 2 or 3")
@pytest.mark.parametrize("verb", ["ping", "pong", "send"])
def test_what_is_sent_after_a_failed_handshake_is_counted(verb: str) -> None:
    client = nowhere()
    done = Done()
    amounts: list[int] = []

    def send_twice() -> None:
        getattr(client, verb)("hi")
        amounts.append(client.bufferedAmount)
        getattr(client, verb)()
        amounts.append(client.bufferedAmount)

    @done.checks
    def failed(error: Any) -> None:
        assert str(error) == "WebSocket was closed before the connection was established"
        assert client.readyState == WebSocket.CLOSING
        amounts.append(client.bufferedAmount)
        send_twice()

    @done.last
    def closed() -> None:
        assert client.readyState == WebSocket.CLOSED
        send_twice()

    client.removeAllListeners("error")
    client.on("error", failed)
    client.on("close", closed)
    client.close()
    done.wait()
    assert amounts == [0, 2, 2, 4, 4]


@case(FILE, "WebSocket > #ping > calls the callback w/ an error if `readyState` is 2 or 3")
@case(FILE, "WebSocket > #pong > calls the callback w/ an error if `readyState` is 2 or 3")
@case(FILE, "WebSocket > #send > calls the callback w/ an error if `readyState` is 2 or 3")
@pytest.mark.parametrize("verb", ["ping", "pong", "send"])
def test_the_callback_hears_that_the_connection_is_over(serve: Any, dial: Any, verb: str) -> None:
    wss = serve()
    done = Done()
    told: list[Any] = []

    @done.checks
    def connection(websocket: Any) -> None:
        websocket.close()
        assert websocket.bufferedAmount == 0

        @done.checks
        def closing(error: Any) -> None:
            told.append((str(error), websocket.bufferedAmount))

            @done.checks
            def closed(*_: Any) -> None:
                @done.last
                def over(error: Any) -> None:
                    told.append((str(error), websocket.bufferedAmount))

                if verb == "send":
                    websocket.send("hi", over)
                else:
                    getattr(websocket, verb)(over)

            websocket.on("close", closed)

        getattr(websocket, verb)("hi", closing)

    wss.on("connection", connection)
    dial(wss)
    done.wait()
    after = 4 if verb == "send" else 2
    assert told == [(NOT_OPEN.format(2, "CLOSING"), 2), (NOT_OPEN.format(3, "CLOSED"), after)]


@case(FILE, "WebSocket > #ping > can send a ping with no data")
@case(FILE, "WebSocket > #ping > can send a ping with data")
@case(FILE, "WebSocket > #pong > can send a pong with no data")
@case(FILE, "WebSocket > #pong > can send a pong with data")
@pytest.mark.parametrize("arguments", [(), ("hi",)], ids=["no data", "data"])
@pytest.mark.parametrize("verb", ["ping", "pong"])
def test_control_frames_with_and_without_data(serve: Any, dial: Any, verb: str, arguments: Any) -> None:
    wss = serve()
    client, server_side = pair(wss, dial)
    seen = record(server_side, verb)
    closed = until(server_side, "close")

    def sent() -> None:
        getattr(client, verb)(*arguments, *((True,) if arguments else ()))
        client.close()

    getattr(client, verb)(*arguments, sent)
    closed()
    data = b"hi" if arguments else b""
    assert seen == [(verb, data), (verb, data)]


@case(FILE, "WebSocket > #ping > can send numbers as ping payload")
@case(FILE, "WebSocket > #pong > can send numbers as pong payload")
@pytest.mark.parametrize("verb", ["ping", "pong"])
def test_control_frames_with_a_number(serve: Any, dial: Any, verb: str) -> None:
    client, server_side = pair(serve(), dial)
    seen = until(server_side, verb)
    getattr(client, verb)(0)
    client.close()
    assert seen() == b"0"


@case(FILE, "WebSocket > #ping > throws an error if the data size is greater than 125 bytes")
@case(FILE, "WebSocket > #pong > throws an error if the data size is greater than 125 bytes")
@pytest.mark.parametrize("verb", ["ping", "pong"])
def test_control_frames_are_short(serve: Any, dial: Any, verb: str) -> None:
    for websocket in pair(serve(), dial):
        with pytest.raises(WSRangeError, match="^The data size must not be greater than 125 bytes$"):
            getattr(websocket, verb)(b"\0" * 126)


@case(FILE, "WebSocket > #pong > is called automatically when a ping is received")
def test_pings_are_answered(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(), dial)
    pong = until(client, "pong")
    ping = until(server_side, "ping", lambda _data: server_side.close())
    client.ping(b"hi")
    assert (ping(), pong()) == (b"hi", b"hi")


@pytest.mark.parametrize(("limit", "count", "closed"), [(None, 61, True), (None, 60, False), (0, 100, False)])
def test_a_peer_that_pings_too_much_is_cut_off(
    raw_server: Any, dial: Any, limit: Any, count: int, closed: bool
) -> None:
    """New in 8.23: maxPendingAutoPongs."""
    pongs = bytearray()
    enough = Done()

    def after(socket: Any) -> None:
        def data(chunk: bytes) -> None:
            pongs.extend(chunk)
            if len(pongs) == 6 * count:
                enough()

        socket.on("data", data)
        socket.write(b"\x89\x00" * count)

    client = dial(raw_server(after), **({} if limit is None else {"maxPendingAutoPongs": limit}))
    if closed:
        assert until(client, "close")() == (1006, b"")
    else:
        enough.wait()
        assert client.readyState == WebSocket.OPEN


# pause and resume


@case(FILE, "WebSocket > #pause > does nothing if `readyState` is `CONNECTING` or `CLOSED`")
@case(FILE, "WebSocket > #resume > does nothing if `readyState` is `CONNECTING` or `CLOSED`")
@pytest.mark.parametrize("paused", [False, True])
def test_pause_and_resume_need_a_connection(serve: Any, dial: Any, paused: bool) -> None:
    client = dial(serve())
    assert not client.isPaused
    client.pause()
    client.resume()
    assert not client.isPaused
    opened(client)
    if paused:
        client.pause()
    closed = until(client, "close")
    client.terminate()
    closed()
    if paused:
        client.resume()
        assert client.isPaused
    else:
        client.pause()
        assert not client.isPaused


@case(FILE, "WebSocket > #pause > pauses the socket")
@case(FILE, "WebSocket > #resume > resumes the socket")
def test_a_paused_connection_does_not_receive(serve: Any, dial: Any) -> None:
    for receiver, sender in (pair(serve(), dial), pair(serve(), dial)[::-1]):
        messages = record(receiver, "message")
        assert not receiver.isPaused
        receiver.pause()
        assert receiver.isPaused
        call_back(sender.send, "foo")
        for _ in range(10):
            gevent.sleep(0.001)
        assert messages == []
        message = until(receiver, "message")
        receiver.resume()
        assert not receiver.isPaused
        assert message() == (b"foo", False)


# send


def echo(serve: Any, **options: Any) -> Any:
    wss = serve(**options)

    def connection(websocket: Any) -> None:
        websocket.on("message", lambda data, is_binary: websocket.send(data, {"binary": is_binary}))

    wss.on("connection", connection)
    return wss


FLOATS = array.array("f", [i / 2 for i in range(6)])
BIG = array.array("f", [i / 5 for i in range(1024 * 1024)])

SEND = "WebSocket > #send > "
DEFLATE_SEND = "WebSocket > permessage-deflate > #send > "


@case(FILE, SEND + "can send a big binary message")
@case(FILE, SEND + "can send text data")
@case(FILE, SEND + "sends numbers as strings")
@case(FILE, SEND + "can send a `TypedArray`")
@case(FILE, SEND + "can send an `ArrayBuffer`")
@case(FILE, SEND + "can send a `Buffer`")
@case(FILE, SEND + "works when the `data` argument is falsy")
@case(FILE, DEFLATE_SEND + "can send text data")
@case(FILE, DEFLATE_SEND + "can send a `TypedArray`")
@case(FILE, DEFLATE_SEND + "can send an `ArrayBuffer`")
@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize(
    ("data", "received"),
    [
        ("hi", (b"hi", False)),
        (0, (b"0", False)),
        (1.0, (b"1", False)),
        (b"foobar", (b"foobar", True)),
        (None, (b"", True)),
        ("", (b"", False)),
        (memoryview(FLOATS)[2:5], (FLOATS[2:5].tobytes(), True)),
        (bytearray(FLOATS.tobytes()), (FLOATS.tobytes(), True)),
        ([104, 105], (b"hi", True)),
        (BIG, (BIG.tobytes(), True)),
        ("\u20ac\ud800", ("\u20ac\ufffd".encode(), False)),
    ],
    ids=["text", "number", "float", "bytes", "none", "empty", "slice", "bytearray", "list", "big", "half a pair"],
)
def test_what_can_be_sent(serve: Any, dial: Any, data: Any, received: Any, deflate: bool) -> None:
    wss = serve(perMessageDeflate={"threshold": 0} if deflate else False)
    client, server_side = pair(wss, dial, perMessageDeflate={"threshold": 0})
    server_side.on("message", lambda data, is_binary: server_side.send(data, {"binary": is_binary, "compress": True}))
    message = until(client, "message")
    client.send(data, {"compress": True})
    assert message() == received


def test_what_cannot_be_sent(serve: Any, dial: Any) -> None:
    for websocket in pair(serve(), dial):
        for data in (True, object(), {"a": 1}):
            with pytest.raises(WSTypeError):
                websocket.send(data)


@case(FILE, DEFLATE_SEND + "ignores the `compress` option if the extension is disabled")
def test_nothing_is_compressed_without_the_extension(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(), dial, perMessageDeflate=False)
    server_side.on("message", lambda data, is_binary: server_side.send(data, binary=is_binary, compress=True))
    message = until(client, "message")
    client.send("hi", compress=True)
    client.close()
    assert message() == (b"hi", False)


@case(FILE, SEND + "does not override the `fin` option")
def test_a_message_in_fragments(serve: Any, dial: Any) -> None:
    for sender, receiver in (pair(serve(), dial), pair(serve(), dial)[::-1]):
        message = until(receiver, "message")
        sender.send("fragment", {"fin": False})
        sender.send("fragment", {"fin": True})
        sender.close()
        assert message() == (b"fragmentfragment", False)


@case(FILE, SEND + "calls the callback when data is written out")
def test_the_callback_hears_that_data_was_written(serve: Any, dial: Any) -> None:
    for websocket in pair(serve(), dial):
        done = Done()
        websocket.send("hi", done)
        done.wait()
        assert websocket.bufferedAmount == 0


@case(FILE, SEND + "honors the `mask` option")
def test_a_frame_need_not_be_masked(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(), dial)
    events = record(server_side, "error", "close")
    closed = until(client, "close")
    server_closed = until(server_side, "close")
    client.send("hi", {"mask": False})
    assert closed() == (1002, b"")
    server_closed()
    assert isinstance(events[0][1], WSRangeError)
    assert events[0][1].message == "Invalid WebSocket frame: MASK must be set"
    assert events[1] == ("close", 1006, b"")


# close

CLOSE = "WebSocket > #close > "
TERMINATE = "WebSocket > #terminate > "
TOO_EARLY = "WebSocket was closed before the connection was established"


@case(FILE, CLOSE + "closes the connection if called while connecting (1/3)")
@case(FILE, CLOSE + "closes the connection if called while connecting (2/3)")
@case(FILE, TERMINATE + "closes the connection if called while connecting (1/2)")
@case(FILE, TERMINATE + "closes the connection if called while connecting (2/2)")
@pytest.mark.parametrize("end", [lambda client: client.close(1001), lambda client: client.terminate()])
@pytest.mark.parametrize("late", [False, True])
def test_a_client_that_is_closed_while_connecting(serve: Any, dial: Any, end: Any, late: bool) -> None:
    asked = Done()
    wss = serve(verifyClient=lambda info, cb: asked())
    client = dial(wss)
    events = record(client, "open", "error", "close")
    closed = until(client, "close")
    if late:
        asked.wait()
    end(client)
    assert client.readyState == WebSocket.CLOSING
    closed()
    assert [event[0] for event in events] == ["error", "close"]
    assert str(events[0][1]) == TOO_EARLY
    assert events[1] == ("close", 1006, b"")


@case(FILE, CLOSE + "closes the connection if called while connecting (3/3)")
def test_a_client_that_is_closed_after_an_unexpected_response(http: Any, dial: Any) -> None:
    server = http()

    def upgrade(_request: Any, socket: Any) -> None:
        socket.on("end", socket.end)
        socket.write(
            "HTTP/1.1 502 Bad Gateway\r\nConnection: keep-alive\r\nContent-type: text/html\r\n"
            "Content-Length: 3\r\n\r\nfoo"
        )

    server.on("upgrade", upgrade)
    client = dial(server)
    events = record(client, "open", "error", "close")
    body = bytearray()

    def unexpected(_request: Any, response: Any) -> None:
        assert response.statusCode == 502
        response.on("data", body.extend)
        response.on("end", lambda: client.close())

    client.on("unexpected-response", unexpected)
    until(client, "close")()
    assert body == b"foo"
    assert [event[0] for event in events] == ["error", "close"]
    assert str(events[0][1]) == TOO_EARLY


@case(FILE, CLOSE + "can be called from an error listener while connecting")
@case(FILE, TERMINATE + "can be called from an error listener while connecting")
@pytest.mark.parametrize("verb", ["close", "terminate"])
def test_what_is_no_http_is_an_error(dial: Any, undo: Any, verb: str) -> None:
    from gevent.server import StreamServer

    server = StreamServer(("127.0.0.1", 0), lambda sock, _: (sock.sendall(b"foo\r\n"), sock.recv(65536)))
    server.start()
    undo.append(server.stop)
    client = dial(f"ws://127.0.0.1:{server.server_port}")
    opens = record(client, "open")
    closed = until(client, "close")
    error = until(client, "error", lambda _error: getattr(client, verb)())
    assert error().code == "HPE_INVALID_CONSTANT"
    assert closed() == (1006, b"")
    assert opens == []


@case(FILE, CLOSE + "can be called from a listener of the 'redirect' event")
@case(FILE, TERMINATE + "can be called from a listener of the 'redirect' event")
@pytest.mark.parametrize("verb", ["close", "terminate"])
def test_a_client_that_is_closed_while_redirected(http: Any, dial: Any, verb: str) -> None:
    server = http()
    server.once("upgrade", lambda _request, socket: socket.end("HTTP/1.1 302 Found\r\nLocation: /foo\r\n\r\n"))
    client = dial(server, followRedirects=True)
    events = record(client, "open", "error", "close")
    client.on("redirect", lambda: getattr(client, verb)())
    until(client, "close")()
    assert [event[0] for event in events] == ["error", "close"]
    assert str(events[0][1]) == TOO_EARLY
    assert events[1][1] == 1006


@case(FILE, CLOSE + "can be called from a listener of the 'upgrade' event")
@case(FILE, TERMINATE + "can be called from a listener of the 'upgrade' event")
@pytest.mark.parametrize("verb", ["close", "terminate"])
def test_a_client_that_is_closed_on_the_upgrade(serve: Any, dial: Any, verb: str) -> None:
    client = dial(serve())
    events = record(client, "open", "error", "close")
    client.on("upgrade", lambda: getattr(client, verb)())
    until(client, "close")()
    assert [event[0] for event in events] == ["error", "close"]
    assert str(events[0][1]) == TOO_EARLY


@case(FILE, CLOSE + "sends the close status code only when necessary")
def test_a_close_without_a_code_is_an_empty_frame(serve: Any, dial: Any, raw_server: Any) -> None:
    client, server_side = pair(serve(), dial)
    sent = until(client._socket, "data")
    closed = until(server_side, "close")
    server_side.close()
    assert sent() == b"\x88\x00"
    assert closed() == (1005, b"")

    received = bytearray()

    def after(socket: Any) -> None:
        socket.on("data", received.extend)
        socket.write(b"\x88\x00")

    client = dial(raw_server(after))
    assert until(client, "close")() == (1005, b"")
    assert received[:2] == b"\x88\x80"
    assert len(received) == 6


@case(FILE, CLOSE + "works when close reason is not specified")
@case(FILE, CLOSE + "works when close reason is specified")
@pytest.mark.parametrize("reason", ["", "some reason"])
def test_code_and_reason_reach_the_peer(serve: Any, dial: Any, reason: str) -> None:
    for closer, other in (pair(serve(), dial), pair(serve(), dial)[::-1]):
        closed, own = until(other, "close"), until(closer, "close")
        closer.close(1000, reason)
        assert closed() == (1000, reason.encode())
        assert own() == (1000, reason.encode())


@case(FILE, CLOSE + "permits all buffered data to be delivered")
def test_what_was_sent_before_the_close_arrives(serve: Any, dial: Any) -> None:
    wss = serve(perMessageDeflate={"threshold": 0})
    errors: list[Any] = []

    def connection(websocket: Any) -> None:
        for text in ("foo", "bar", "baz"):
            websocket.send(text, errors.append)
        websocket.close()
        websocket.close()

    wss.on("connection", connection)
    client = dial(wss)
    messages = record(client, "message")
    assert until(client, "close")()[0] == 1005
    assert messages == [("message", text, False) for text in (b"foo", b"bar", b"baz")]
    assert errors == [None, None, None]


@case(FILE, CLOSE + "allows close code 1013")
@case(FILE, CLOSE + "allows close code 1014")
@pytest.mark.parametrize("code", [1013, 1014, 3000, 4999])
def test_codes_that_may_be_used(serve: Any, dial: Any, code: int) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: websocket.close(code))
    assert until(dial(wss), "close")() == (code, b"")


def test_codes_and_reasons_that_may_not_be_used(serve: Any, dial: Any) -> None:
    """The connection goes on after the error, as in 8.23."""
    for websocket in pair(serve(), dial):
        for arguments, kind, message in (
            ((1005,), WSTypeError, "First argument must be a valid error code number"),
            ((2000,), WSTypeError, "First argument must be a valid error code number"),
            ((1000, "a" * 124), WSRangeError, "The message must not be greater than 123 bytes"),
            ((1000, [1]), WSTypeError, "Second argument must be a string or a Uint8Array"),
        ):
            with pytest.raises(kind) as raised:
                websocket.close(*arguments)
            assert str(raised.value) == message
            assert websocket.readyState == WebSocket.OPEN


@case(FILE, CLOSE + "does nothing if `readyState` is `CLOSED`")
def test_close_after_the_close_does_nothing(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: websocket.close())
    client = dial(wss)
    assert until(client, "close")()[0] == 1005
    assert client.readyState == WebSocket.CLOSED
    client.close()
    assert client.readyState == WebSocket.CLOSED


@case(FILE, CLOSE + "sets a timer for the closing handshake to complete")
def test_the_close_has_a_deadline(serve: Any, dial: Any) -> None:
    client, _ = pair(serve(), dial)
    closed = until(client, "close")
    called: list[Any] = []
    assert client._closeTimer is None
    client.send("foo", called.append)
    client.close(1000, "some reason")
    assert called == []
    assert client._closeTimer.milliseconds == 30000
    assert closed() == (1000, b"some reason")


@case(FILE, TERMINATE + "does nothing if `readyState` is `CLOSED`")
def test_terminate_after_the_close_does_nothing(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: websocket.terminate())
    client = dial(wss)
    assert until(client, "close")()[0] == 1006
    client.terminate()
    assert client.readyState == WebSocket.CLOSED


# the browser's interface


@case(FILE, BROWSER + "supports the `on{close,error,message,open}` attributes")
def test_the_attributes_for_listeners() -> None:
    client = WebSocket("ws://localhost", lookup=ignore)
    names = ("onmessage", "onclose", "onerror", "onopen")
    for name in names:
        assert getattr(client, name) is None
        setattr(client, name, ignore)
    for name in names:
        assert getattr(client, name) is ignore
    client.onmessage = "foo"
    assert client.onmessage is None
    assert client.listenerCount("message") == 0
    client.terminate()


@case(FILE, BROWSER + "works like the `EventEmitter` interface")
def test_the_attributes_get_events(serve: Any, dial: Any) -> None:
    client = dial(echo(serve))
    events: list[Any] = []
    done = Done()
    client.onopen = lambda: client.send("foo")
    client.onmessage = lambda event: (events.append(event.data), client.close())
    client.onclose = lambda event: (events.append((event.wasClean, event.code, event.reason)), done())
    done.wait()
    assert events == ["foo", (True, 1005, "")]


def listeners(client: Any, event: str) -> list[Any]:
    """The listeners of `event`; of those that stand for another one, that."""
    return [getattr(function, "listener", function) for function in client.listeners(event)]


@pytest.fixture
def client() -> Any:
    client = WebSocket("ws://localhost", lookup=ignore)
    yield client
    client.removeAllListeners()
    client.terminate()


@case(FILE, BROWSER + "doesn't return listeners added with `on`")
def test_the_attributes_are_not_those_of_on(client: Any) -> None:
    client.on("open", ignore)
    assert client.listeners("open") == [ignore]
    assert client.onopen is None


@case(FILE, BROWSER + "doesn't remove listeners added with `on`")
@case(FILE, BROWSER + "doesn't remove listeners added with `addEventListener`")
@pytest.mark.parametrize("method", ["on", "addEventListener"])
def test_the_attributes_leave_other_listeners(client: Any, method: str) -> None:
    getattr(client, method)("close", ignore)
    for _ in range(2):
        client.onclose = ignore
        assert listeners(client, "close") == [ignore, ignore]
        assert client.listeners("close")[1] is not ignore


@case(FILE, BROWSER + "supports the `addEventListener` method")
def test_add_event_listener(client: Any) -> None:
    events: list[str] = []
    client.addEventListener("foo", ignore)
    assert client.listenerCount("foo") == 0

    def on_open() -> None:
        events.append("open")
        assert client.listenerCount("open") == 1

    client.addEventListener("open", on_open)
    client.addEventListener("open", on_open)
    assert client.listenerCount("open") == 1

    class Listener:
        def handleEvent(self) -> None:  # noqa: N802
            events.append("message")
            assert self is listener
            assert client.listenerCount("message") == 0

    listener = Listener()
    client.addEventListener("message", listener, {"once": True})
    client.addEventListener("message", listener)
    assert client.listenerCount("message") == 1
    client.addEventListener("close", ignore)
    client.onclose = ignore
    assert listeners(client, "close") == [ignore, ignore]
    client.onerror = ignore
    client.addEventListener("error", ignore)
    assert listeners(client, "error") == [ignore, ignore]
    client.emit("open")
    client.emit("message", b"", False)
    assert events == ["open", "message"]


@case(FILE, BROWSER + "doesn't return listeners added with `addEventListener`")
def test_the_attributes_are_not_those_of_add_event_listener(client: Any) -> None:
    client.addEventListener("open", ignore)
    assert listeners(client, "open") == [ignore]
    assert client.onopen is None


@case(FILE, BROWSER + "supports the `removeEventListener` method")
def test_remove_event_listener(client: Any) -> None:
    class Listener:
        def handleEvent(self) -> None:  # noqa: N802
            """Nothing."""

    listener = Listener()
    for once in ({}, {"once": True}):
        client.addEventListener("message", listener, once)
        client.addEventListener("open", ignore, once)
        assert (listeners(client, "message"), listeners(client, "open")) == ([listener], [ignore])
        client.removeEventListener("message", lambda: None)
        assert listeners(client, "message") == [listener]
        client.removeEventListener("message", listener)
        client.removeEventListener("open", ignore)
        assert (client.listenerCount("message"), client.listenerCount("open")) == (0, 0)
    client.on("message", ignore)
    client.removeEventListener("message", ignore)
    assert client.listeners("message") == [ignore]
    client.onclose = ignore
    client.removeEventListener("close", ignore)
    assert listeners(client, "close") == [ignore]


@case(FILE, BROWSER + "wraps text data in a `MessageEvent`")
def test_text_is_str_in_a_message_event(serve: Any, dial: Any) -> None:
    client = dial(echo(serve))
    events: list[Any] = []
    done = Done()
    client.addEventListener("open", lambda: (client.send("hi"), client.close()))
    client.addEventListener("message", lambda event: (events.append(event), done()))
    done.wait()
    assert isinstance(events[0], MessageEvent)
    assert events[0].data == "hi"


@case(FILE, BROWSER + "receives a `CloseEvent` when server closes (1000)")
@case(FILE, BROWSER + "receives a `CloseEvent` when server closes (4000)")
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4000, "some daft reason")])
def test_a_close_event(serve: Any, dial: Any, code: int, reason: str) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: websocket.close(code, reason))
    client = dial(wss)
    events: list[Any] = []
    done = Done()
    client.addEventListener("close", lambda event: (events.append(event), done()))
    done.wait()
    [event] = events
    assert isinstance(event, CloseEvent)
    assert (event.wasClean, event.reason, event.code) == (True, reason, code)


@case(FILE, BROWSER + "sets `target` and `type` on events")
def test_events_know_their_type_and_target(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: websocket.send("hi"))
    client = dial(wss)
    error = WSError("forced")
    seen: list[Any] = []
    done = Done()
    client.addEventListener("open", seen.append)
    client.addEventListener("message", lambda event: (seen.append(event), client.close()))
    client.addEventListener("close", lambda event: (seen.append(event), client.emit("error", error)))
    client.addEventListener("error", lambda event: (seen.append(event), done()))
    done.wait()
    assert [type(event) for event in seen] == [Event, MessageEvent, CloseEvent, ErrorEvent]
    assert [event.type for event in seen] == ["open", "message", "close", "error"]
    assert all(event.target is client for event in seen)
    assert (seen[3].message, seen[3].error) == ("forced", error)


@case(FILE, BROWSER + "passes binary data as a Node.js `Buffer` by default")
def test_binary_data_is_bytes_by_default(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: (websocket.send(bytearray(4096)), websocket.close()))
    client = dial(wss)
    seen: list[Any] = []
    done = Done()
    client.onmessage = lambda event: (seen.append(event.data), done())
    done.wait()
    assert type(seen[0]) is bytes
    assert seen == [b"\0" * 4096]


@case(FILE, BROWSER + "ignores `binaryType` for text messages")
def test_the_binary_type_is_nothing_to_text(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: (websocket.send("foo"), websocket.close()))
    client = dial(wss)
    client.binaryType = "arraybuffer"
    seen: list[Any] = []
    done = Done()
    client.onmessage = lambda event: (seen.append(event.data), done())
    done.wait()
    assert seen == ["foo"]


@case(FILE, BROWSER + "allows to update `binaryType` on the fly")
def test_the_binary_type_can_be_changed_at_any_time(serve: Any, dial: Any) -> None:
    for receiver, sender in (pair(serve(), dial), pair(serve(), dial)[::-1]):
        for kind, expected in (("nodebuffer", b"x"), ("arraybuffer", bytearray(b"x")), ("fragments", [b"x"])):
            receiver.binaryType = kind
            message = until(receiver, "message")
            sender.send(b"x")
            data, is_binary = message()
            assert is_binary
            assert (type(data), data) == (type(expected), expected)
            message = until(receiver, "message")
            sender.send("text")
            data, is_binary = message()
            assert (type(data), data, is_binary) == (bytes, b"text", False)


# TLS

SSL = "WebSocket > SSL > "


@case(FILE, SSL + "connects to secure websocket server")
@case(FILE, SSL + "can send and receive text data")
@case(FILE, SSL + "can send a big binary message")
@pytest.mark.parametrize("data", ["foobar", os.urandom(5 * 1024 * 1024)], ids=["text", "5 MiB"])
def test_messages_over_tls(http: Any, serve: Any, dial: Any, pems: Any, data: Any) -> None:
    server = http({"cert": pems.cert, "key": pems.key})
    wss = echo(serve, port=None, server=server)
    client = opened(dial(server, scheme="wss", rejectUnauthorized=False))
    message = until(client, "message")
    client.send(data)
    expected = (data, True) if isinstance(data, bytes) else (data.encode(), False)
    assert message(30) == expected
    closed = until(client, "close")
    client.close()
    assert closed() == (1005, b"")
    assert wss.clients is not None


@case(FILE, SSL + "connects to secure websocket server with client side certificate")
def test_a_client_with_a_certificate(http: Any, serve: Any, dial: Any, pems: Any) -> None:
    server = http({"cert": pems.cert, "key": pems.key, "ca": pems.ca, "requestCert": True})
    wss = serve(port=None, noServer=True)
    authorized: list[bool] = []
    closed: list[Any] = []
    done = Done()

    def upgrade(request: Any, socket: Any, head: bytes) -> None:
        authorized.append(socket.authorized)
        wss.handleUpgrade(request, socket, head, connected)

    def connected(websocket: Any) -> None:
        websocket.on("close", lambda code: (closed.append(code), done()))

    server.on("upgrade", upgrade)
    with open(pems.client_cert) as cert, open(pems.client_key) as key:  # as text, the way of the original
        options = {"cert": cert.read(), "key": key.read(), "rejectUnauthorized": False}
    client = dial(server, scheme="wss", **options)
    client.on("open", client.close)
    done.wait()
    assert (authorized, closed) == ([True], [1005])


@case(FILE, SSL + "cannot connect to secure websocket server via ws://")
def test_a_plain_client_of_a_tls_server(http: Any, serve: Any, dial: Any, pems: Any) -> None:
    server = http({"cert": pems.cert, "key": pems.key})
    serve(port=None, server=server)
    client = dial(server, rejectUnauthorized=False)
    events = record(client, "open", "error")
    until(client, "close")()
    assert [event[0] for event in events] == ["error"]


def test_the_certificate_of_a_server_is_verified(http: Any, serve: Any, dial: Any, pems: Any) -> None:
    server = http({"cert": pems.cert, "key": pems.key})
    serve(port=None, server=server)
    client = dial(server, scheme="wss")
    assert "CERTIFICATE_VERIFY_FAILED" in str(until(client, "error")())
    opened(dial(server, scheme="wss", ca=pems.ca))


@case(FILE, SSL + "allows to disable sending the SNI extension")
def test_without_a_server_name(http: Any, serve: Any, dial: Any, pems: Any) -> None:
    server = http({"cert": pems.cert, "key": pems.key})
    names: list[Any] = []
    server._context.set_servername_callback(lambda _socket, name, _context: names.append(name))
    serve(port=None, server=server)
    opened(dial(server, scheme="wss", servername="", rejectUnauthorized=False))
    opened(dial(server, scheme="wss", rejectUnauthorized=False))
    assert names == [None, "localhost"]


# request headers

HEADERS = "WebSocket > Request headers > "


@case(FILE, HEADERS + "adds the authorization header if the url has userinfo")
@case(FILE, HEADERS + "honors the `auth` option")
@case(FILE, HEADERS + "favors the url userinfo over the `auth` option")
@case(FILE, HEADERS + "adds custom headers")
@case(FILE, HEADERS + "excludes default ports from host header")
@case(FILE, HEADERS + "doesn't add the origin header by default")
@case(FILE, HEADERS + "honors the `origin` option (1/2)")
@case(FILE, HEADERS + "honors the `origin` option (2/2)")
@case(FILE, "WebSocket > permessage-deflate > is enabled by default")
@case(FILE, "WebSocket > permessage-deflate > can be disabled")
@case(FILE, "WebSocket > permessage-deflate > can send extension parameters")
@pytest.mark.parametrize(
    ("url", "options", "name", "value"),
    [
        ("ws://test:testpass@localhost", {}, "authorization", "Basic dGVzdDp0ZXN0cGFzcw=="),
        ("ws://localhost", {"auth": "user:pass"}, "authorization", "Basic dXNlcjpwYXNz"),
        ("ws://baz:qux@localhost", {"auth": "foo:bar"}, "authorization", "Basic YmF6OnF1eA=="),
        ("ws://a%40b:c%3Ad@localhost", {}, "authorization", "Basic YUBiOmM6ZA=="),
        ("ws://localhost", {"headers": {"Cookie": "foo=bar"}}, "cookie", "foo=bar"),
        ("wss://localhost:8443", {}, "host", "localhost:8443"),
        ("wss://localhost:443", {}, "host", "localhost"),
        ("ws://localhost:88", {}, "host", "localhost:88"),
        ("ws://localhost:80", {}, "host", "localhost"),
        ("ws://localhost", {}, "origin", None),
        ("ws://localhost", {"origin": "https://example.com:8000"}, "origin", "https://example.com:8000"),
        (
            "ws://localhost",
            {"origin": "https://example.com:8000", "protocolVersion": 8},
            "sec-websocket-origin",
            "https://example.com:8000",
        ),
        ("ws://localhost", {}, "sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ("ws://localhost", {"perMessageDeflate": False}, "sec-websocket-extensions", None),
        (
            "ws://localhost",
            {
                "perMessageDeflate": {
                    "clientNoContextTakeover": True,
                    "serverNoContextTakeover": True,
                    "clientMaxWindowBits": True,
                    "serverMaxWindowBits": 10,
                }
            },
            "sec-websocket-extensions",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
            "client_max_window_bits",
        ),
    ],
)
def test_the_headers_of_the_request(url: str, options: Any, name: str, value: Any) -> None:
    client = WebSocket(url, {"lookup": ignore, **options})
    client.on("error", ignore)
    assert client._req.getHeader(name) == value
    client.terminate()


@case(FILE, HEADERS + "honors the `finishRequest` option")
def test_finish_request_sends_the_request(serve: Any, dial: Any) -> None:
    wss = serve()
    connection = until(wss, "connection")
    done = Done()

    @done.checks
    def finish(request: Any, websocket: Any) -> None:
        assert request.getHeader("host") == f"localhost:{wss.address()['port']}"
        assert isinstance(websocket, WebSocket)

        def connected() -> None:
            request.setHeader("Cookie", "foo=bar")
            request.end()
            done()

        request.on("socket", lambda socket: socket.on("connect", connected))

    client = dial(wss, finishRequest=finish)
    closed = until(client, "close")
    done.wait()
    websocket, request = connection()
    websocket.close()
    assert request.headers["cookie"] == "foo=bar"
    assert closed()[0] == 1005


# compression

DEFLATE = "WebSocket > permessage-deflate > "


@case(FILE, DEFLATE + "consumes all received data when connection is closed (1/2)")
def test_compressed_messages_before_a_lost_connection_arrive(raw_server: Any, dial: Any) -> None:
    options = {"fin": True, "rsv1": True, "opcode": 1, "mask": False}
    compressed = [call_back(_deflate().compress, text, True) for text in (b"foo", b"bar", b"baz", b"qux")]
    frames = b"".join(part for data in compressed for part in Sender.frame(data, options))
    no_takeover = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
    server = raw_server(lambda socket: (socket.write(frames), socket.end()), no_takeover)
    client = dial(server)
    messages = record(client, "message")
    assert until(client, "close")()[0] == 1006
    assert [message[1] for message in messages] == [b"foo", b"bar", b"baz", b"qux"]


def _deflate() -> Any:
    from lws_gevent.compat.ws import PerMessageDeflate

    deflate = PerMessageDeflate({"isServer": True})
    deflate.accept([{}])
    return deflate


@case(FILE, DEFLATE + "consumes all received data when connection is closed (2/2)")
def test_what_was_received_before_terminate_arrives(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(perMessageDeflate=True), dial)
    options = {"fin": True, "opcode": 2, "mask": False, "readOnly": False}
    large, small = b"\0" * 15360, b"\0"
    frames = [*Sender.frame(large, {"rsv1": False, **options}), *(Sender.frame(small, {"rsv1": True, **options}) * 341)]
    messages = record(client, "message")
    closed = until(client, "close")
    client._socket.once("data", lambda _chunk: client.terminate())
    client._socket.push(b"".join(frames))
    server_side.send(small, {"compress": False})
    assert closed()[0] == 1006
    assert len(messages) in (342, 343)
    assert len(messages[0][1]) == 15360


@case(FILE, DEFLATE + "handles a close frame received while compressing data")
def test_a_close_frame_while_data_is_compressed(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(perMessageDeflate=True), dial, perMessageDeflate={"threshold": 0})
    messages = record(server_side, "message")
    closed = until(server_side, "close")

    def conclude() -> None:
        for text in ("foo", "bar", "baz", "qux"):
            client.send(text)
        assert client._sender._state == 1

    client._receiver.prependListener("conclude", conclude)
    server_side.close(1000)
    assert closed() == (1000, b"")
    assert [message[1] for message in messages] == [b"foo", b"bar", b"baz", b"qux"]


COMPRESSED_EMPTY = bytes.fromhex("c10100" * 4)


@case(FILE, DEFLATE + "#close > can be used while data is being decompressed")
@case(FILE, DEFLATE + "#terminate > can be used while data is being decompressed")
@pytest.mark.parametrize(
    ("end", "code"), [(lambda client: client.close(1000), 1000), (lambda client: client.terminate(), 1006)]
)
def test_messages_arrive_that_are_being_inflated_at_the_end(raw_server: Any, dial: Any, end: Any, code: int) -> None:
    def after(socket: Any) -> None:
        socket.write(COMPRESSED_EMPTY)

        def data(chunk: bytes) -> None:  # the answer to the close frame
            if chunk[0] == 0x88:
                socket.write(b"\x88\x02\x03\xe8")
                socket.end()

        socket.on("data", data)

    client = dial(raw_server(after, "Sec-WebSocket-Extensions: permessage-deflate"))
    messages = record(client, "message")

    client.once("message", lambda: end(client))
    assert until(client, "close")() == (code, b"")
    assert [message[1] for message in messages] == [b""] * 4


@case(FILE, DEFLATE_SEND + "calls the callback if the socket is closed prematurely")
@case(FILE, DEFLATE + "#terminate > can be used while data is being compressed")
def test_the_callbacks_hear_that_the_connection_ended_while_compressing(serve: Any, dial: Any) -> None:
    client, server_side = pair(serve(perMessageDeflate=True), dial, perMessageDeflate={"threshold": 0})
    called: list[Any] = []
    closed = until(client, "close")

    def callback(number: int) -> Any:
        return lambda error: called.append((number, client.readyState, str(error)))

    client.send("foo")
    client.send("bar", callback(1))
    client.send("baz")
    client.send("qux", callback(2))
    client.terminate()
    closed()
    until(server_side, "close")() if server_side.readyState != WebSocket.CLOSED else None
    message = "The socket was closed while data was being compressed"
    assert called == [(1, WebSocket.CLOSING, message), (2, WebSocket.CLOSING, message)]


# the end of the connection

END = "WebSocket > Connection close > "


@case(FILE, END + "closes cleanly after simultaneous errors (1/2)")
@case(FILE, END + "closes cleanly after simultaneous errors (2/2)")
@pytest.mark.parametrize("closing", [False, True])
def test_errors_on_both_ends_at_once(raw_server: Any, serve: Any, dial: Any, closing: bool) -> None:
    """One client breaks the protocol towards a server that breaks it too."""

    def after(socket: Any) -> None:
        socket.write(BROKEN)

    client = dial(raw_server(after))
    events = record(client, "error", "close")
    if closing:
        client.on("open", lambda: client.close())
    until(client, "close")()
    invalid_opcode(events[0][1])
    assert events[1] == ("close", 1006, b"")

    client, server_side = pair(serve(), dial)
    events = record(server_side, "error", "close")
    closed = until(server_side, "close")
    client._socket.write(b"\x85\x80\0\0\0\0")
    if closing:
        client.close()
        server_side.close()
    closed()
    invalid_opcode(events[0][1])
    assert events[1] == ("close", 1006, b"")


@case(FILE, END + "resumes the socket when an error occurs")
@case(FILE, END + "resumes the socket when the close frame is received")
@pytest.mark.parametrize("size", [16 * 1024 + 1, 16 * 1024])
def test_the_end_is_seen_behind_a_large_message(serve: Any, dial: Any, size: int) -> None:
    client, server_side = pair(serve(maxPayload=16 * 1024), dial)
    events = record(server_side, "error", "close")
    closed = until(server_side, "close")
    options = {"fin": True, "mask": True, "readOnly": False}
    frames = [*Sender.frame(b"\0" * size, {"opcode": 2, **options}), *Sender.frame(b"", {"opcode": 8, **options})]
    client._socket.write(b"".join(frames))
    code, reason = closed()
    if size > 16 * 1024:
        assert events[0][1].code == "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH"
        assert events[0][1].message == "Max payload size exceeded"
        assert (code, reason) == (1006, b"")
    else:
        assert [event[0] for event in events] == ["close"]
        assert (code, reason) == (1005, b"")


def test_an_error_that_nobody_listens_to_is_logged(serve: Any, dial: Any) -> None:
    wss = serve()
    client, server_side = pair(wss, dial)
    server_side.removeAllListeners("error")
    closed = until(server_side, "close")
    client._socket.write(b"\x85\x80\0\0\0\0")
    assert closed() == (1006, b"")
    close_http(wss) if not wss.clients.size else None
