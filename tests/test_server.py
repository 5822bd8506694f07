"""What is the server's own: its arguments, its listener, accepting, and being a gevent server."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
from pathlib import Path
from typing import Any

import gevent
import gevent.pool
import gevent.socket
import pytest
from client import CONTINUATION, TEXT, upgrade_head
from gevent.server import StreamServer
from helpers import eventually

from lws_gevent import LwsError, Server, Socket
from lws_gevent.engines.interface import peer_name
from lws_gevent.listening import parse_listener


@pytest.mark.parametrize(
    ("listener", "address"),
    [
        (3000, ("", 3000)),
        ("3000", ("", 3000)),
        (("127.0.0.1", 1), ("127.0.0.1", 1)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        (":1", ("", 1)),
        ("*:1", ("", 1)),
        ("[::1]:1", ("::1", 1)),
        ("unix:/run/socket", "/run/socket"),
    ],
)
def test_listeners_are_written_as_for_gevents_servers(listener: Any, address: Any) -> None:
    assert parse_listener(listener) == address


@pytest.mark.parametrize("listener", [True, 1.5, b"x", ("h",), ("h", None), (1, 1), ["h", 1]])
def test_what_is_no_listener_is_a_type_error(listener: Any) -> None:
    with pytest.raises(TypeError, match="listener"):
        Server(listener)


@pytest.mark.parametrize("listener", [-1, 65536, "::1:80", "unix:"])
def test_a_listener_that_cannot_be_is_a_value_error(listener: Any) -> None:
    with pytest.raises(ValueError, match="listener"):
        Server(listener)


def test_it_is_a_gevent_server_with_the_verbs_of_its_engine(stack: Any) -> None:
    server = Server(engine=stack.engine)
    assert isinstance(server, StreamServer)
    assert server.engine_name == stack.engine
    assert server.send.__func__ is not Server.send if hasattr(server.send, "__func__") else True
    assert server.port is None


def test_a_subclass_may_have_its_own_verbs(make_server: Any, connect: Any) -> None:
    class Shouting(Server):
        def send(self, socket: Socket, message: Any, binary: Any = None, compress: Any = None) -> bool:
            return super().send(socket, message.upper(), binary, compress)

    engine = make_server(start=False).engine_name
    with Shouting(("127.0.0.1", 0), engine=engine) as server:
        server.on("message", lambda socket, message: server.send(socket, message))
        client = connect(server)
        client.send("quiet")
        assert client.recv_message() == "QUIET"
        client.close_handshake()


def test_options_in_a_mapping_have_the_names_of_node_lws(stack: Any) -> None:
    server = Server({"port": 0, "maxPayload": 10}, engine=stack.engine)
    assert (server.settings.port, server.settings.max_payload) == (0, 10)
    with pytest.raises(TypeError, match="twice"):
        Server({"port": 0}, port=1)


@pytest.mark.parametrize("options", [{"port": 1}, {"host": "localhost"}])
def test_a_listener_and_a_port_contradict_each_other(options: Any) -> None:
    with pytest.raises(TypeError, match="listener"):
        Server(("", 1), **options)


def test_a_listening_socket_has_its_backlog() -> None:
    with stdlib_socket.socket() as listener, pytest.raises(TypeError, match="backlog"):
        Server(listener, backlog=5)


def test_construction_opens_nothing(stack: Any) -> None:
    before = os.listdir("/proc/self/fd")
    server = Server(("127.0.0.1", 0), engine=stack.engine)
    assert os.listdir("/proc/self/fd") == before
    del server


def test_a_port_in_use_is_named(make_server: Any) -> None:
    port = make_server().port
    second = make_server(("127.0.0.1", port), start=False)
    with pytest.raises(OSError, match=f"127.0.0.1:{port}") as raised:
        second.start()
    assert raised.value.errno == errno.EADDRINUSE
    assert not second.started


def test_the_empty_host_is_every_address(make_server: Any, connect: Any) -> None:
    server = make_server(0, echo=True)
    connect(("127.0.0.1", server.port)).echo()


def test_a_gevent_socket_may_be_the_listener(make_server: Any, connect: Any) -> None:
    listener = gevent.socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    connect(make_server(listener, echo=True)).echo()


@pytest.mark.skipif(not hasattr(stdlib_socket, "AF_UNIX"), reason="needs unix sockets")
def test_a_unix_socket_is_removed_at_the_end_and_a_stale_one_replaced(
    make_server: Any, connect: Any, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = make_server(f"unix:{path}", echo=True)
    client = connect(str(path))
    client.echo()
    assert [socket.remote_address for socket in server.connections] == [""]
    with pytest.raises(OSError, match="in use"):
        make_server(f"unix:{path}", start=False).start()
    client.close_handshake()
    server.stop()
    assert not path.exists()


def test_a_server_may_be_started_again(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    port = server.port
    connect(server).close_handshake()
    server.stop()
    server.start()
    assert server.port == port
    client = connect(server)
    client.echo()
    client.close_handshake()


def test_without_a_listener_it_starts_and_stops(make_server: Any) -> None:
    server = make_server(start=False, port=None)
    server.start()
    assert server.started
    assert server.port is None
    server.stop()


def test_close_with_a_socket_closes_it_and_without_one_the_listener(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    first, second = connect(server, "/first"), connect(server, "/second")
    first.echo()
    second.echo()
    server.close(next(socket for socket in server.connections if socket.path == "/first"), 4000, "reason")
    assert first.expect_close(4000) == "reason"
    server.close()
    assert not server.started
    second.echo("goes on")


@pytest.mark.only("greenlet")
def test_a_pool_bounds_the_connections(make_server: Any, connect: Any) -> None:
    pool = gevent.pool.Pool(1)
    server = make_server(echo=True, spawn=pool)
    first = connect(server)
    first.echo()
    second = connect(server, upgrade=False)
    gevent.sleep(0.05)
    assert len(pool) == 1
    first.close_handshake()
    second.send_raw(upgrade_head())
    assert second.recv_response().status == 101
    second.echo()


@pytest.mark.only("greenlet")
def test_spawn_raw_makes_lighter_greenlets(make_server: Any, connect: Any) -> None:
    connect(make_server(echo=True, spawn=gevent.spawn_raw)).echo()


@pytest.mark.only("greenlet")
def test_handlers_in_the_hub_are_refused(make_server: Any) -> None:
    with pytest.raises(TypeError, match="spawn"):
        make_server(spawn=None)


@pytest.mark.only("parked")
def test_spawn_is_refused_by_the_parked_engine(make_server: Any) -> None:
    with pytest.raises(TypeError, match="spawn"):
        make_server(spawn=gevent.spawn_raw)


@pytest.mark.only("greenlet")
def test_a_failing_accept_pauses_is_reported_once_and_goes_on(
    make_server: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(echo=True)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append((error.errno, socket)))
    listener = server.socket

    class Exhausted:
        attempts = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(listener, name)

        def _accept(self) -> Any:
            self.attempts += 1
            if self.attempts <= 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return listener._accept()

    server.socket = Exhausted()
    client = connect(server)
    client.echo("accepted in the end")
    assert server.socket.attempts >= 4
    server.socket = listener
    eventually(lambda: errors)
    assert errors == [(errno.EMFILE, None)]


def test_respond_is_for_http_only(make_server: Any, connect: Any) -> None:
    server = make_server()
    raised: list[Any] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        try:
            server.respond(socket, 200)
        except LwsError as error:
            raised.append(error)

    connect(server)
    eventually(lambda: raised)


def test_stats_count(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    client = connect(server)
    client.echo("12345")
    stats = server.stats()
    assert (stats["accepted"], stats["opened"], stats["connections"], stats["closed"]) == (1, 1, 1, 0)
    assert (stats["messages_received"], stats["messages_sent"]) == (1, 1)
    assert stats["octets_received"] > 5
    client.close_handshake()
    eventually(lambda: server.stats()["closed"] == 1)
    refused = connect(server, upgrade=False)
    refused.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert server.stats()["refused"] == 1


def test_stats_count_everything_once(make_server: Any, connect: Any) -> None:
    server = make_server(backpressure="drop", max_backpressure=1000, path="/here")
    assert set(server.stats().values()) == {0}
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    server.on("message", lambda socket, message: None)
    client = connect(server, "/here", receive_buffer=4096)
    eventually(lambda: sockets)
    assert not connect(server, upgrade=False).request(upgrade_head("/elsewhere")).status == 101
    before = server.stats()
    client.send("123")
    client.send_frame(TEXT, "4", fin=False)
    client.send_frame(CONTINUATION, "5")
    client.ping(b"not counted as a message")
    client.recv_pong()
    eventually(lambda: server.stats()["messages_received"] == before["messages_received"] + 2)
    sent = 0
    while sockets[0].send(b"x" * 50_000):
        sent += 1
    for _ in range(sent):
        client.recv_message()
    eventually(lambda: sockets[0].buffered_amount == 0)
    sockets[0].send_fragment("one", False)
    sockets[0].send_fragment("two", True)
    server.broadcast("three")
    server.send_prepared(sockets[0], server.prepare_buffer("four"))
    assert [client.recv_message() for _ in range(3)] == ["onetwo", "three", "four"]
    stats = server.stats()
    assert (stats["accepted"], stats["opened"], stats["refused"], stats["connections"]) == (2, 1, 1, 1)
    assert (stats["messages_received"], stats["messages_sent"], stats["dropped"]) == (2, sent + 3, 1)
    assert stats["octets_sent"] - before["octets_sent"] == sent * 50_004 + 2 + 24 + (5 + 5) + 7 + 6
    assert stats["octets_received"] - before["octets_received"] == 9 + 7 + 7 + 6 + 24
    client.close_handshake()
    eventually(lambda: server.stats()["closed"] == 1 and server.stats()["connections"] == 0)


def test_every_option_of_node_lws_is_understood(make_server: Any, connect: Any) -> None:
    deflate = {"serverNoContextTakeover": False, "clientNoContextTakeover": False, "memLevel": 8}
    deflate |= {"serverMaxWindowBits": 15, "clientMaxWindowBits": 15}
    keep_alive = {"keepAliveTime": 60, "keepAliveInterval": 5, "keepAliveRetry": 3}
    options = {
        "port": 0,
        "host": "127.0.0.1",
        "path": "/",
        "bufferSize": 4096,
        "perMessageDeflate": deflate,
        "ssl": None,
    }
    server = make_server({**options, **keep_alive}, echo=True)
    settings = server.settings
    assert (settings.buffer_size, settings.keep_alive_time, settings.keep_alive_retry) == (4096, 60, 3)
    assert settings.per_message_deflate.server_no_context_takeover is False
    connect(server).echo("as there")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("192.0.2.1", 1), ("192.0.2.1", 1)),
        (("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.1", 1)),
        (("2001:db8::1", 1, 0, 0), ("2001:db8::1", 1)),
        ("", ""),
        (b"\0abstract", ""),
    ],
)
def test_peers_are_named_by_host_and_port(address: Any, name: Any) -> None:
    assert peer_name(address) == name
