"""Topics: who gets what is published, in which order, and that nothing of a connection stays behind."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import gevent.event
import pytest
from client import Client
from helpers import eventually

import lws_gevent


@pytest.fixture
def room(make_server: Any, connect: Any) -> Callable[..., tuple[Any, list[Any], list[Client]]]:
    """`room(count, **options)`: a server, its sockets in the order of connecting, and their clients."""

    def make(count: int, **options: Any) -> tuple[Any, list[Any], list[Client]]:
        server = make_server(**options)
        sockets: list[Any] = []
        server.on("connection", sockets.append)
        clients = []
        for number in range(count):
            clients.append(connect(server))
            eventually(lambda number=number: len(sockets) > number)
        return server, sockets, clients

    return make


def until_end(client: Client) -> list[Any]:
    """What the client gets before the message "end"."""
    got = [client.recv_message()]
    while got[-1] != "end":
        got.append(client.recv_message())
    return got[:-1]


def test_what_is_published_reaches_the_subscribers_of_exactly_this_topic(room: Any) -> None:
    server, sockets, clients = room(4)
    assert server.subscribe(sockets[0], "news") is True
    assert sockets[1].subscribe("news") is True
    assert sockets[1].subscribe("news/sport") is True
    assert server.subscribe(sockets[2], "News") is True
    assert server.publish("news", "to two") == 2
    assert server.publish("news/sport", b"to one") == 1
    assert server.publish("new", "to nobody") == 0
    assert server.publish("news", b"as text", False, exclude=[sockets[0]]) == 1
    assert server.broadcast("end") == 4
    assert [until_end(client) for client in clients] == [["to two"], ["to two", b"to one", "as text"], [], []]


def test_the_subscriptions_can_be_asked_for(room: Any) -> None:
    server, sockets, _ = room(3)
    assert server.topics(sockets[0]) == [] and server.subscribers("a") == []
    for topic in ("b", "a", "c"):
        sockets[0].subscribe(topic)
    sockets[2].subscribe("a")
    sockets[1].subscribe("a")
    assert server.topics(sockets[0]) == ["b", "a", "c"]
    assert server.topics(sockets[1]) == ["a"]
    assert server.subscribers("a") == [sockets[0], sockets[2], sockets[1]]
    assert server.subscribers("c") == [sockets[0]]


def test_subscribing_twice_is_subscribing_once(room: Any) -> None:
    server, sockets, clients = room(1)
    assert [sockets[0].subscribe("a"), sockets[0].subscribe("a")] == [True, False]
    assert server.publish("a", "once") == 1
    assert [sockets[0].unsubscribe("a"), server.unsubscribe(sockets[0], "a")] == [True, False]
    assert server.publish("a", "never") == 0
    sockets[0].send("end")
    assert until_end(clients[0]) == ["once"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_unsubscribing_leaves_the_other_topics(room: Any, count: int) -> None:
    server, sockets, _ = room(2)
    names = [f"topic {number}" for number in range(count)]
    for name in names:
        sockets[0].subscribe(name)
        sockets[1].subscribe(name)
    for position, name in enumerate(names):
        assert sockets[0].unsubscribe(name)
        assert server.topics(sockets[0]) == names[position + 1 :]
        assert server.subscribers(name) == [sockets[1]]
    assert not sockets[0].unsubscribe("another")
    assert server.topics(sockets[1]) == names


def test_a_socket_publishes_to_the_others(room: Any) -> None:
    server, sockets, clients = room(3)
    server.on("message", lambda socket, message: counts.append(socket.publish("chat", message)))
    counts: list[int] = []
    for socket in sockets:
        socket.subscribe("chat")
    clients[0].send("hello")
    assert clients[1].recv_message() == clients[2].recv_message() == "hello"
    sockets[1].publish("chat", "not to the third", exclude=(sockets[2],))
    sockets[2].unsubscribe("chat")
    assert sockets[2].publish("chat", b"from outside") == 2
    server.broadcast("end")
    assert [until_end(client) for client in clients] == [["not to the third", b"from outside"], [b"from outside"], []]
    assert counts == [2]


def test_order_is_kept_with_direct_sends_and_broadcasts(room: Any) -> None:
    server, sockets, clients = room(3)

    @server.on("message")
    def message(socket: Any) -> None:
        for number in range(50):
            for other in sockets:
                other.send(f"{number} direct")
            server.publish("all", f"{number} published")
            server.broadcast(b"%d broadcast" % number)
            socket.publish("all", b"x" * 20_000)
        server.broadcast("end")

    for socket in sockets:
        socket.subscribe("all")
    clients[0].send("go")
    for client in clients:
        expected: list[Any] = []
        for number in range(50):
            expected += [f"{number} direct", f"{number} published", b"%d broadcast" % number]
            expected += [b"x" * 20_000] if client is not clients[0] else []
        assert until_end(client) == expected


def test_many_subscribers_get_every_message(room: Any) -> None:
    server, sockets, clients = room(120)
    for socket in sockets:
        socket.subscribe("all")
    for number in range(20):
        assert server.publish("all", f"message {number}") == 120
    server.publish("all", "end")
    assert all(until_end(client) == [f"message {number}" for number in range(20)] for client in clients)


def test_a_prepared_message_can_be_published(room: Any) -> None:
    server, sockets, clients = room(1)
    sockets[0].subscribe("a")
    prepared = server.prepare_buffer("prepared")
    assert server.publish("a", prepared) == server.publish("a", prepared, True) == 1
    assert [clients[0].recv_message() for _ in range(2)] == ["prepared", b"prepared"]


def test_the_end_of_a_connection_ends_its_subscriptions(room: Any) -> None:
    server, sockets, clients = room(4)
    seen: list[Any] = []

    @server.on("close")
    def close(socket: Any) -> None:
        seen.append((server.topics(socket), socket in server.subscribers("a"), server.publish("a", "left")))
        assert socket.publish("a", "farewell") == seen[-1][2]

    for socket in sockets:
        for topic in ("a", "b"):
            socket.subscribe(topic)
    clients[0].close_handshake()
    eventually(lambda: len(seen) == 1)
    clients[1].reset()
    eventually(lambda: len(seen) == 2)
    sockets[2].terminate()
    eventually(lambda: not any(server.topics(socket) for socket in sockets[:3]))
    assert seen == [(["a", "b"], False, 3), (["a", "b"], False, 2)]
    assert server.subscribers("a") == server.subscribers("b") == [sockets[3]]
    for socket in sockets[:3]:
        with pytest.raises(lws_gevent.ConnectionClosed):
            socket.subscribe("a")
        with pytest.raises(lws_gevent.ConnectionClosed):
            socket.publish("a", "too late")
        assert socket.unsubscribe("a") is False
    assert server.publish("a", "end") == 1
    assert until_end(clients[3]) == ["left", "farewell"] * 2


def test_a_connection_that_breaks_the_protocol_leaves_its_topics(room: Any) -> None:
    server, sockets, clients = room(2)
    server.on("message", print)
    server.on("error", lambda error: None)
    for socket in sockets:
        socket.subscribe("a")
    clients[0].send_frame(3)
    clients[0].expect_close(1002)
    eventually(lambda: not server.topics(sockets[0]))
    assert server.publish("a", "to the other") == 1
    assert server.subscribers("a") == [sockets[1]]


def test_nothing_of_ended_connections_and_deserted_topics_is_kept(make_server: Any, connect: Any) -> None:
    server = make_server()

    @server.on("connection")
    def connection(socket: Any) -> None:
        for number in range(10):
            socket.subscribe(f"{id(socket)} {number}")
        socket.subscribe("all")

    for _ in range(30):
        client = connect(server)
        eventually(lambda: server.subscribers("all"))
        client.close_handshake()
        eventually(lambda: not server.subscribers("all"))
    gc.collect()
    eventually(lambda: not server._topics._by_socket)
    assert not server._topics._by_topic


def test_who_is_not_connected_yet_cannot_subscribe(make_server: Any, connect: Any) -> None:
    server = make_server()
    errors: list[BaseException] = []

    @server.on("upgrade")
    def upgrade(socket: Any, headers: Any) -> None:
        try:
            socket.subscribe("a")
        except lws_gevent.LwsError as error:
            errors.append(error)

    connect(server).ping()
    assert len(errors) == 1 and not isinstance(errors[0], lws_gevent.ConnectionClosed)
    assert server.subscribers("a") == []


def test_subscriptions_that_change_while_a_message_is_published(room: Any) -> None:
    """Those get it that are subscribed when publish is called: here a finalizer, which may run in the middle of it,
    changes the subscriptions."""
    server, sockets, clients = room(4)

    class Excluded(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            sockets[1].unsubscribe("a")
            sockets[3].subscribe("a")
            return super().__iter__()

    for socket in sockets[:3]:
        socket.subscribe("a")
    assert server.publish("a", "before the change", exclude=Excluded([sockets[0]])) == 2
    assert server.publish("a", "after it") == 3
    server.broadcast("end")
    assert [until_end(client) for client in clients] == [
        ["after it"],
        ["before the change"],
        ["before the change", "after it"],
        ["after it"],
    ]


def test_publishing_never_blocks_and_slow_subscribers_meet_their_policy(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=50_000)
    sockets: dict[str, Any] = {}
    server.on("connection", lambda socket: sockets.__setitem__(socket.path, socket))
    slow = connect(server, "/slow", receive_buffer=4096)
    good = connect(server, "/good")
    eventually(lambda: len(sockets) == 2)
    for socket in sockets.values():
        socket.subscribe("a")
    while sockets["/slow"].buffered_amount <= 50_000:
        sockets["/slow"].send(b"x" * 20_000)
    assert server.publish("a", "dropped for the slow one", slow="drop") == 1
    assert server.publish("a", "which is cut") == 1
    assert server.publish("a", "which is gone") == 1
    expected = ["dropped for the slow one", "which is cut", "which is gone"]
    assert [good.recv_message() for _ in expected] == expected
    slow.drain_to_eof()


def test_arguments_are_checked(room: Any) -> None:
    server, sockets, _ = room(1)
    for wrong in (b"octets", None, 5):
        for call in (server.subscribers, sockets[0].subscribe, sockets[0].unsubscribe):
            with pytest.raises(TypeError, match="topic"):
                call(wrong)
        with pytest.raises(TypeError, match="topic"):
            server.publish(wrong, "message")
    with pytest.raises(ValueError, match="slow"):
        server.publish("nobody is here", "message", slow="wait")
    sockets[0].subscribe("a")
    with pytest.raises(TypeError):
        server.publish("a", 5)
    with pytest.raises(ValueError):
        server.publish("a", b"\xff", False)


def test_a_blocked_handler_does_not_hold_up_what_is_published_to_its_connection(room: Any) -> None:
    server, sockets, clients = room(2)
    release = gevent.event.Event()
    server.on("message", lambda socket: release.wait())
    for socket in sockets:
        socket.subscribe("a")
    clients[0].send("block")
    clients[0].ping()
    clients[0].recv_pong()
    assert server.publish("a", "news") == 2
    assert clients[0].recv_message() == clients[1].recv_message() == "news"
    release.set()
