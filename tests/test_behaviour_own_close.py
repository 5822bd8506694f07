"""Own closes as `own_close_event` tells of them; closes without a code; what a breach says of itself."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from client import CLOSE, TEXT, close_payload, encode
from helpers import eventually

import lws_gevent


def listening(make_server: Any, **options: Any) -> tuple[Any, list[Any]]:
    """A server that writes down messages and closes."""
    server = make_server(own_close_event=True, **options)
    events: list[Any] = []
    server.on("message", lambda socket, message: events.append(message))
    server.on("close", lambda socket, code, reason: events.append((code, reason)))
    return server, events


def test_what_comes_before_the_answer_to_our_close_is_delivered(make_server: Any, connect: Any) -> None:
    server, events = listening(make_server)
    server.on("connection", lambda socket: server.close(socket, 4000, "ours"))
    client = connect(server)
    assert client.recv_close() == (4000, "ours")
    client.sock.sendall(encode(TEXT, b"still") + encode(TEXT, b"here") + encode(CLOSE, close_payload(4000, "theirs")))
    eventually(lambda: len(events) == 3)
    assert events == ["still", "here", (4000, "theirs")]


def test_a_close_that_is_never_answered_ends_with_1006(make_server: Any, connect: Any) -> None:
    server, events = listening(make_server)
    server.on("connection", lambda socket: server.close(socket, 4000, "ours"))
    client = connect(server)
    client.recv_close()
    client.disconnect()
    eventually(lambda: events)
    assert events == [(1006, "")]


def test_a_close_without_a_code(make_server: Any, connect: Any) -> None:
    server, events = listening(make_server)
    server.on("connection", lambda socket: server.close(socket, None))
    client = connect(server)
    assert client.recv_close() == (None, "")
    client.sock.sendall(encode(CLOSE, b""))
    eventually(lambda: events)
    assert events == [(1005, "")]


def test_a_reason_is_echoed_with_its_code(make_server: Any, connect: Any) -> None:
    client = connect(make_server())
    client.sock.sendall(encode(CLOSE, close_payload(4000, "the reason \u20ac")))
    assert client.recv_close() == (4000, "the reason \u20ac")


@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (b"\x85\x80\0\0\0\0", 5),
        (b"\xc1\x80\0\0\0\0", 4),
        (b"\x89\xfe\x00\x7e\0\0\0\0", 126),
        (encode(CLOSE, b"\x03\xee"), 1006),
    ],
    ids=["opcode", "reserved bit", "length", "close code"],
)
def test_an_error_says_which_number_was_wrong(make_server: Any, connect: Any, octets: bytes, detail: int) -> None:
    server = make_server()
    errors: list[Any] = []
    server.on("error", errors.append)
    connect(server).sock.sendall(octets)
    eventually(lambda: errors)
    assert errors[0].detail == detail


def test_what_is_agreed_on_needs_a_server_that_compresses(make_server: Any) -> None:
    ours, theirs = gevent.socket.socketpair()
    with pytest.raises(ValueError, match="per_message_deflate"):
        make_server().adopt(ours, lws_gevent.Request("GET", "/", b""), deflate=lws_gevent.DeflateParameters())
    ours.close()
    theirs.close()


def test_the_answer_of_an_adopted_socket_is_written_before_it_is_terminated(make_server: Any) -> None:
    ours, theirs = gevent.socket.socketpair()
    make_server().adopt(ours, lws_gevent.Request("GET", "/", b""), answer=b"the answer").terminate()
    theirs.settimeout(10)
    assert theirs.recv(100) == b"the answer"
    assert theirs.recv(100) == b""
    theirs.close()


def test_a_socket_is_adopted_without_being_judged(make_server: Any) -> None:
    """Whoever calls `adopt` has answered, or says with what."""
    server, events = listening(make_server)
    ours, theirs = gevent.socket.socketpair()
    adopted = server.adopt(ours, lws_gevent.Request("GET", "/a?b", b""), encode(TEXT, b"head"), answer=b"the answer")
    assert (adopted.path, adopted.query, adopted.ready_state) == ("/a", "b", lws_gevent.ReadyState.OPEN)
    theirs.settimeout(10)
    assert theirs.recv(100) == b"the answer"
    eventually(lambda: events == ["head"])
    theirs.close()
    eventually(lambda: events == ["head", (1006, "")])
