"""Code of the application's that runs in the midst of the engine's work, where a signal handler or a finalizer may: it
can end connections, send, and let others run. OpenSSL's hooks and what payloads are made by let a test choose the
moment."""

from __future__ import annotations

import ssl as stdlib_ssl
from collections.abc import Callable
from typing import Any

import pytest
from certificates import certificates
from client import BINARY, TEXT, encode, upgrade_head
from helpers import eventually, run_script, turns

from lws_gevent import ConnectionClosed

#: Of the parked engine, whose connections share their buffers and whose pointers no interpreter looks after.
pytestmark = pytest.mark.only("parked")


class Interruption:
    """What runs, once it is armed, when OpenSSL handles the next message."""

    def __init__(self) -> None:
        self.action: Callable[[], object] | None = None
        self.context = certificates().server_context(stdlib_ssl)
        self.context._msg_callback = self._on_message

    def _on_message(self, *details: Any) -> None:
        action, self.action = self.action, None
        if action is not None:
            action()


@pytest.fixture
def transport() -> str:
    """Every client here says by itself what it speaks."""
    return "tcp"


@pytest.fixture
def interruption() -> Interruption:
    return Interruption()


@pytest.fixture
def client_context() -> Any:
    return certificates().client_context()


def test_a_connection_may_be_terminated_while_it_says_goodbye(
    make_server: Any, connect: Any, client_context: Any
) -> None:
    sockets: list[Any] = []

    class Talkative(stdlib_ssl.SSLObject):
        def unwrap(self) -> Any:
            for socket in sockets:
                socket.terminate()
            return super().unwrap()

    context = certificates().server_context(stdlib_ssl)
    context.sslobject_class = Talkative
    server = make_server(ssl=context, echo=True)
    server.on("connection", sockets.append)
    for _ in range(3):
        client = connect(server, tls=client_context)
        client.echo()
        sockets[-1].terminate()
        client.drain_to_eof()
        sockets.clear()
    connect(server, tls=client_context).echo()


def test_what_is_sent_while_another_message_is_sealed_gets_to_its_own_receiver(
    make_server: Any, connect: Any, interruption: Interruption, client_context: Any
) -> None:
    server = make_server(ssl=interruption.context)
    sockets: list[Any] = []
    server.on("connection", sockets.append)

    def send_to_the_other() -> None:
        for _ in range(3):
            server.send(sockets[1], b"b" * 15_000)

    @server.on("message")
    def message(socket: Any) -> None:
        for _ in range(3):
            server.send(socket, b"a" * 15_000)
        interruption.action = send_to_the_other

    clients = [connect(server, tls=client_context) for _ in range(2)]
    eventually(lambda: len(sockets) == 2)
    clients[0].send("go")
    for client, letter in zip(clients, (b"a", b"b"), strict=True):
        for _ in range(3):
            assert client.recv_message() == letter * 15_000
    assert interruption.action is None


@pytest.mark.parametrize("size", [10, 40_000, 400_000])
def test_a_connection_may_be_terminated_while_its_message_is_opened(
    make_server: Any, connect: Any, interruption: Interruption, client_context: Any, size: int
) -> None:
    server = make_server(ssl=interruption.context, echo=True)
    other = connect(server, tls=client_context)
    for _ in range(3):
        client = connect(server, tls=client_context)
        client.echo()
        frame = encode(BINARY, bytes(size))
        client.send_raw(frame[: len(frame) // 2])
        turns(5)
        (mine,) = set(server.connections) - {server.connections[0]}
        interruption.action = mine.terminate
        client.send_raw(frame[len(frame) // 2 :])
        client.drain_to_eof()
        eventually(lambda mine=mine: mine.closed)
        other.echo()


def test_a_connection_may_be_terminated_while_what_it_sends_is_sealed(
    make_server: Any, connect: Any, interruption: Interruption, client_context: Any
) -> None:
    server = make_server(ssl=interruption.context, max_backpressure=1 << 26)
    other = connect(server, tls=client_context)

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "stall":
            for _ in range(40):
                socket.send(bytes(400_000))
            interruption.action = socket.terminate
        else:
            socket.send(message)

    for _ in range(3):
        client = connect(server, tls=client_context)
        client.send("stall")
        eventually(lambda: interruption.action is not None or len(server.connections) == 1)
        client.drain_to_eof()
        eventually(lambda: len(server.connections) == 1)
        other.echo()


@pytest.mark.parametrize("others", ["tls", "plain"])
def test_others_that_run_while_a_message_is_opened_get_their_own(
    make_server: Any, connect: Any, interruption: Interruption, client_context: Any, others: str
) -> None:
    server = make_server(ssl=interruption.context, echo=True)
    second = server if others == "tls" else make_server(echo=True)
    mine = connect(server, tls=client_context)
    theirs = [connect(second, tls=client_context if others == "tls" else None) for _ in range(3)]
    for client in (mine, *theirs):
        client.echo()
    for size in (20, 2_000, 50_000):
        interruption.action = lambda: turns(3)
        mine.send("m" * size)
        for number, client in enumerate(theirs):
            client.send(str(number) * size)
        assert mine.recv_message() == "m" * size
        for number, client in enumerate(theirs):
            assert client.recv_message() == str(number) * size
        assert interruption.action is None


def test_others_that_run_while_an_opening_handshake_is_answered_get_their_own(
    make_server: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lws_gevent.engines import _parked

    answer = _parked.accept_key

    def interrupted(key: Any) -> Any:
        turns(3)
        return answer(key)

    server = make_server(echo=True)
    clients = [connect(server, upgrade=False) for _ in range(4)]
    monkeypatch.setattr(_parked, "accept_key", interrupted)
    for number, client in enumerate(clients):
        client.send_raw(upgrade_head(f"/{number}" * (1 + number * 20)) + encode(TEXT, str(number)))
    for number, client in enumerate(clients):
        assert client.recv_response().status == 101
        assert client.recv_message() == str(number)
    assert sorted(socket.path for socket in server.connections) == sorted(
        f"/{number}" * (1 + number * 20) for number in range(4)
    )


class Ending(str):
    """Ends a connection when it is encoded."""

    socket: Any

    def encode(self, *arguments: Any) -> bytes:
        self.socket.terminate()
        return super().encode(*arguments)


@pytest.mark.parametrize("verb", ["ping", "pong", "send_fragment"])
def test_a_connection_that_ends_while_a_payload_is_made_is_closed_for_its_sender(
    make_server: Any, connect: Any, verb: str
) -> None:
    server = make_server()
    client = connect(server)
    eventually(lambda: server.connections)
    (socket,) = server.connections
    payload = Ending("x")
    payload.socket = socket
    with pytest.raises(ConnectionClosed):
        getattr(socket, verb)(payload, *([True] if verb == "send_fragment" else []))
    client.drain_to_eof()


def test_a_handler_that_forks_with_more_to_come_leaves_both_processes_whole(stack: Any) -> None:
    run_script("fork_in_handler.py", stack.engine, stack=stack)


@pytest.mark.parametrize("how", ["stop", "terminate"])
def test_a_callback_of_the_handshake_may_end_everything(
    make_server: Any, connect: Any, client_context: Any, how: str
) -> None:
    context = certificates().server_context(stdlib_ssl)
    server = make_server(ssl=context, echo=True)
    others = [connect(server, tls=client_context) for _ in range(2)]
    for other in others:
        other.echo()
    called: list[Any] = []

    def choose(ssl_object: Any, name: str | None, chosen: Any) -> None:
        called.append(name)
        if how == "stop":
            server.stop(timeout=0.2)
        for socket in server.connections:
            socket.terminate()

    context.sni_callback = choose
    last = connect(server, upgrade=False, tls=None)
    outgoing = stdlib_ssl.MemoryBIO()
    hello = client_context.wrap_bio(stdlib_ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(stdlib_ssl.SSLWantReadError):
        hello.do_handshake()
    last.send_raw(outgoing.read())
    for other in others:
        other.drain_to_eof()
    assert called == ["localhost"]
