"""createWebSocketStream of lws_gevent.compat.ws."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import gevent
import pytest
from parity import Done, call_back, case, opened, record, until

from lws_gevent.compat import ws
from lws_gevent.compat.ws import Sender, WebSocket, WSError, WSRangeError, createWebSocketStream
from lws_gevent.compat.ws.duplex import Duplex

FILE = "create-websocket-stream.test.js"
STREAM = "createWebSocketStream > The returned stream > "
MARK = 16 * 1024
BROKEN = b"\x85\x00"


def _tell_when_paused(websocket: Any, done: Done, *_: Any) -> None:
    if websocket.isPaused:
        done()


def connected(wss: Any, dial: Any, **options: Any) -> tuple[Any, Any]:
    """A client that is not open yet, and a function that gives its counterpart."""
    connection = until(wss, "connection")
    return dial(wss, **options), lambda: connection()[0]


@case(FILE, "createWebSocketStream > is exposed as a property of the `WebSocket` class")
def test_the_class_has_what_the_module_has() -> None:
    assert WebSocket.createWebSocketStream is createWebSocketStream
    for name in ("WebSocket", "Server", "WebSocketServer", "Receiver", "Sender", "PerMessageDeflate", "extension"):
        assert getattr(WebSocket, name) is getattr(ws, name)


@case(FILE, "createWebSocketStream > returns a `Duplex` stream")
def test_it_is_a_duplex_stream() -> None:
    assert isinstance(createWebSocketStream(WebSocket(None)), Duplex)


@case(FILE, "createWebSocketStream > passes the options object to the `Duplex` constructor")
def test_options_are_those_of_the_stream(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: (websocket.send(b"hi"), websocket.close()))
    duplex = createWebSocketStream(dial(wss), {"allowHalfOpen": False, "encoding": "utf8"})
    closed = until(duplex, "close")
    assert until(duplex, "data")() == "hi"
    closed()


@case(FILE, STREAM + "buffers writes if `readyState` is `CONNECTING`")
def test_writes_wait_for_the_connection(serve: Any, dial: Any) -> None:
    chunk = os.urandom(1024)
    wss = serve()
    client, server_side = connected(wss, dial)
    assert client.readyState == WebSocket.CONNECTING
    duplex = createWebSocketStream(client)
    duplex.write(chunk)
    websocket = server_side()
    message, closed = until(websocket, "message"), until(websocket, "close")
    websocket.close()
    assert message() == (chunk, True)
    assert closed() == (1005, b"")


@case(FILE, STREAM + "errors if a write occurs when `readyState` is `CLOSING`")
@case(FILE, STREAM + "errors if a write occurs when `readyState` is `CLOSED`")
@pytest.mark.parametrize(("when", "state"), [("closing", "2 (CLOSING)"), ("closed", "3 (CLOSED)")])
def test_a_write_after_the_end_is_an_error(serve: Any, dial: Any, when: str, state: str) -> None:
    wss = serve()
    client, server_side = connected(wss, dial)
    duplex = createWebSocketStream(client)
    closed = until(duplex, "close")
    failed = until(duplex, "error")
    opened(client)
    if when == "closing":
        client._receiver.on("conclude", lambda: duplex.write("hi"))
    else:
        client.on("close", lambda: duplex.write("hi"))
    server_side().close()
    assert str(failed()) == f"WebSocket is not open: readyState {state}"
    assert duplex.destroyed
    closed()


@case(FILE, STREAM + "does not error if `_final()` is called while connecting")
def test_it_may_be_ended_while_connecting(serve: Any, dial: Any) -> None:
    client, _ = connected(serve(), dial)
    assert client.readyState == WebSocket.CONNECTING
    duplex = createWebSocketStream(client)
    closed = until(duplex, "close")
    duplex.resume()
    duplex.end()
    closed()


@case(FILE, STREAM + "makes `_final()` a noop if no socket is assigned")
def test_a_failed_handshake_is_the_end(http: Any, dial: Any) -> None:
    server = http()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    head = "\r\n".join([*lines, "Sec-WebSocket-Accept: foo", "\r\n"])
    server.on("upgrade", lambda _request, socket: (socket.on("end", socket.end), socket.write(head)))
    client = dial(server)
    duplex = createWebSocketStream(client)
    events = record(duplex, "error", "finish")
    closed = until(duplex, "close")
    client.on("upgrade", lambda: duplex.end())
    closed()
    assert [event[0] for event in events] == ["error"]
    assert str(events[0][1]) == "Invalid Sec-WebSocket-Accept header"


@case(FILE, STREAM + "reemits errors")
def test_an_error_of_the_websocket_is_one_of_the_stream(serve: Any, dial: Any) -> None:
    wss = serve()
    client, server_side = connected(wss, dial)
    opened(client)
    websocket = server_side()
    duplex = createWebSocketStream(websocket)
    failed, closed = until(duplex, "error"), until(duplex, "close")
    client_closed = until(client, "close")
    client._socket.write(b"\x85\x80\0\0\0\0")
    error = failed()
    assert isinstance(error, WSRangeError)
    assert (error.code, error.message) == ("WS_ERR_INVALID_OPCODE", "Invalid WebSocket frame: invalid opcode 5")
    closed()
    assert client_closed() == (1002, b"")


@case(FILE, STREAM + "does not swallow errors that may occur while destroying")
def test_an_error_while_it_is_destroyed_is_not_swallowed(serve: Any, dial: Any) -> None:
    options = {"fin": True, "rsv1": True, "opcode": 2, "mask": False, "readOnly": False}
    client, _ = connected(serve(perMessageDeflate=True), dial)
    duplex = createWebSocketStream(client)
    failed, closed = until(duplex, "error"), until(duplex, "close")
    opened(client)
    client._socket.on("data", lambda: duplex.destroy())
    client._socket.push(b"".join(Sender.frame(b"\x22\xfa\xec\x78", options)))
    client._socket.resume()
    client.ping()
    error = failed()
    assert isinstance(error, WSError)
    assert (error.code, error.errno) == ("Z_DATA_ERROR", -3)
    closed()


@case(FILE, STREAM + "is destroyed after 'end' and 'finish' are emitted (1/2)")
def test_finish_and_then_end_destroy_it(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: (websocket.send("foo"), websocket.close()))
    client = dial(wss)
    duplex = createWebSocketStream(client)
    events: list[Any] = []

    def finish() -> None:
        events.append(("finish", duplex.destroyed, duplex.readable))
        duplex.resume()

    duplex.on("end", lambda: events.append(("end", duplex.destroyed)))
    duplex.on("finish", finish)
    client.on("close", lambda: duplex.end())
    until(duplex, "close")()
    assert events == [("finish", False, True), ("end", True)]


@case(FILE, STREAM + "is destroyed after 'end' and 'finish' are emitted (2/2)")
def test_end_and_then_finish_destroy_it(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: websocket.close())
    duplex = createWebSocketStream(dial(wss))
    events: list[Any] = []

    def end() -> None:
        events.append(("end", duplex.destroyed, duplex.writable))
        duplex.end()

    duplex.on("end", end)
    duplex.on("finish", lambda: events.append(("finish",)))
    duplex.resume()
    until(duplex, "close")()
    assert events == [("end", False, True), ("finish",)]


@case(FILE, STREAM + "handles backpressure (1/3)")
def test_a_slow_peer_makes_the_writer_wait(serve: Any, dial: Any) -> None:
    client, server_side = connected(serve(), dial)
    opened(client)
    for websocket in (server_side(), client):
        duplex = createWebSocketStream(websocket)
        duplex.resume()
        drained, closed = until(duplex, "drain"), until(duplex, "close")
        chunk = os.urandom(1024)
        while duplex.write(chunk):
            pass
        drained()
        if websocket is client:
            duplex.end()
            closed()


@case(FILE, STREAM + "handles backpressure (2/3)")
@case(FILE, STREAM + "handles backpressure (3/3)")
def test_a_slow_reader_makes_the_peer_wait(serve: Any, dial: Any) -> None:
    for index in (0, 1):
        client, server_side = connected(serve(perMessageDeflate=True), dial)
        opened(client)
        reader, writer = (client, server_side()) if index == 0 else (server_side(), client)
        duplex = createWebSocketStream(reader)
        paused = Done()
        reader.on("message", partial(_tell_when_paused, reader, paused))
        writer.send(os.urandom(MARK))
        paused.wait()
        messages = record(reader, "message")
        call_back(writer.send, b"x")
        for _ in range(10):
            gevent.sleep(0.001)
        assert messages == []
        chunks = record(duplex, "data")
        until(reader, "message")()
        gevent.sleep(0)
        assert not reader.isPaused
        assert sum(len(chunk) for _, chunk in chunks) == MARK + 1


@case(FILE, STREAM + "can be destroyed (1/2)")
@case(FILE, STREAM + "can be destroyed (2/2)")
@pytest.mark.parametrize("error", [WSError("Oops"), None])
def test_it_can_be_destroyed(serve: Any, dial: Any, error: Any) -> None:
    client, server_side = connected(serve(), dial)
    duplex = createWebSocketStream(client)
    events = record(duplex, "error")
    closed = until(duplex, "close")
    peer_closed = until(server_side(), "close")
    opened(client)
    duplex.destroy(error)
    closed()
    assert events == ([] if error is None else [("error", error)])
    assert peer_closed() == (1006, b"")


@case(FILE, STREAM + "converts text messages to strings in readable object mode")
def test_text_is_str_in_object_mode(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: (websocket.send("foo"), websocket.close()))
    duplex = createWebSocketStream(dial(wss), {"readableObjectMode": True})
    events = record(duplex, "data", "end")
    duplex.on("end", lambda: duplex.end())
    until(duplex, "close")()
    assert events == [("data", "foo"), ("end",)]


@case(FILE, STREAM + "resumes the socket if `readyState` is `CLOSING`")
def test_it_is_read_to_its_end_while_closing(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: websocket.send(os.urandom(MARK)))
    client = dial(wss)
    duplex = createWebSocketStream(client)
    closed = until(duplex, "close")
    states: list[Any] = []

    def later() -> None:
        states.append(client.readyState)
        duplex.resume()

    def message() -> None:
        states.append(client.isPaused)
        duplex.end()
        gevent.spawn_later(0, later)

    client.on("message", message)
    closed()
    assert states == [True, WebSocket.CLOSING]


def test_it_can_be_iterated_and_piped(serve: Any, dial: Any) -> None:
    wss = serve()
    wss.on("connection", lambda websocket: createWebSocketStream(websocket).pipe(createWebSocketStream(websocket)))
    duplex = createWebSocketStream(dial(wss))
    duplex.write("foo")
    duplex.write(b"bar")
    received = bytearray()
    for chunk in duplex:
        received += chunk
        if len(received) == 6:
            duplex.end()
    assert received == b"foobar"
