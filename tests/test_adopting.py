"""The engines take over sockets that somebody else has made (`Engine.adopt`): from then on they are connections as any
other."""

from __future__ import annotations

import gc
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from client import BINARY, TEXT, Client, encode
from gevent import socket
from helpers import eventually

from lws_gevent.context import Decision
from lws_gevent.frames import Role
from lws_gevent.handshake import Headers, Request

REQUEST = Request("GET", "/room?name=x", Headers())

Pair = Callable[..., tuple[Any, Client]]


@pytest.fixture
def pair(make_server: Any) -> Iterator[Pair]:
    """`pair(module)` makes two connected TCP sockets: one of that module's, and a client around the other."""
    clients: list[Client] = []

    def make(module: Any = socket) -> tuple[Any, Client]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            ours = module.socket()
            ours.connect(listener.getsockname())
            theirs, _ = listener.accept()
        clients.append(Client(theirs))
        return ours, clients[-1]

    yield make
    for client in clients:
        client.disconnect()


@pytest.mark.parametrize("module", [socket, stdlib_socket], ids=["gevent", "stdlib"])
def test_a_socket_object_is_detached_and_harms_nothing_afterwards(make_server: Any, pair: Pair, module: Any) -> None:
    server = make_server(port=None, start=False, echo=True)
    ours, client = pair(module)
    adopted = server._engine.adopt(ours, REQUEST)
    assert ours.fileno() == -1
    ours.close()
    del ours
    gc.collect()
    client.echo("still there")
    assert (adopted.path, adopted.query, adopted.subprotocol) == ("/room", "name=x", None)
    assert adopted.remote_address == client.sock.getsockname()
    assert server.connections == [adopted]
    client.close_handshake()
    eventually(lambda: adopted.closed)


def test_a_descriptor_becomes_the_engines(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False, echo=True)
    ours, client = pair()
    adopted = server._engine.adopt(ours.detach(), REQUEST, decision=Decision(True, b"", "chat"))
    assert adopted.subprotocol == "chat"
    client.echo()
    adopted.close(4000, "enough")
    assert client.expect_close(4000) == "enough"


def test_octets_that_were_read_with_the_handshake_are_decoded_first(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False, echo=True)
    ours, client = pair()
    head = encode(TEXT, "first") + encode(BINARY, b"second" * 20000) + encode(TEXT, "third")
    server._engine.adopt(ours, REQUEST, head[:-3], Decision(True, b"written first"))
    assert client.recv_exactly(13) == b"written first"
    assert client.recv_message() == "first"
    client.send_raw(head[-3:])
    client.send("fourth")
    assert [client.recv_message() for _ in range(3)] == [b"second" * 20000, "third", "fourth"]


def test_the_limits_are_those_of_the_server(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False, echo=True, max_payload=100, ping_interval=0.05)
    server.on("error", lambda error: None)
    ours, client = pair()
    server._engine.adopt(ours, REQUEST)
    assert client.recv_frame().opcode == 9
    client.send("x" * 101)
    client.expect_close(1009)


def test_neither_upgrade_nor_connection_is_emitted_but_close_is(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False)
    events: list[Any] = []
    for event in ("upgrade", "connection", "message", "close"):
        server.on(event, lambda *arguments, event=event: events.append((event, *arguments[1:3])))
    ours, client = pair()
    server._engine.adopt(ours, REQUEST).data = "kept"
    client.send("hello")
    client.close_handshake(4001, "bye")
    eventually(lambda: events == [("message", "hello", False), ("close", 4001, "bye")])


def test_blocking_style_from_the_greenlet_that_adopted(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False)
    ours, client = pair()
    adopted = server._engine.adopt(ours, REQUEST, encode(TEXT, "early"))
    client.send(b"late")
    assert [adopted.recv(5), adopted.recv(5)] == ["early", b"late"]
    with pytest.raises(TimeoutError):
        adopted.recv(0.01)
    adopted.close()
    client.expect_close(1000)


def test_as_a_client_unmasked_frames_are_taken_and_masked_ones_are_not(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False)
    server.on("error", lambda error: None)
    ours, peer = pair()
    adopted = server._engine.adopt(ours, REQUEST, encode(TEXT, "hello", mask=False), role=Role.CLIENT)
    assert adopted.recv(5) == "hello"
    peer.send_frame(TEXT, "masked", mask=b"abcd")
    with pytest.raises(Exception, match="1002"):
        adopted.recv(5)


def test_stopping_closes_what_was_adopted_however_soon(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False)
    closed: list[Any] = []
    server.on("close", lambda socket, code: closed.append(code))
    ours, client = pair()
    server._engine.adopt(ours, REQUEST)
    server._engine.shutdown(1001, 0)
    assert closed == [1001]
    assert client.recv_close()[0] == 1001


def test_what_is_no_socket_is_refused(make_server: Any) -> None:
    server = make_server(port=None, start=False)
    with pytest.raises(TypeError, match="connected socket"):
        server._engine.adopt("a socket", REQUEST)
    with socket.socket() as closed:
        pass
    with pytest.raises(OSError):
        server._engine.adopt(closed, REQUEST)
    assert server.connections == []


def test_many_adopted_at_once_are_all_served(make_server: Any, pair: Pair) -> None:
    server = make_server(port=None, start=False, echo=True)
    clients = []
    for index in range(50):
        ours, client = pair()
        server._engine.adopt(ours, REQUEST, encode(TEXT, str(index)))
        clients.append(client)
    assert [client.recv_message() for client in clients] == [str(index) for index in range(50)]
    gevent.joinall([gevent.spawn(client.echo, f"again {index}") for index, client in enumerate(clients)], 10)
