"""The server as a whole: options, listeners, start and stop, several of them, threads, processes and loops."""

from __future__ import annotations

import gc
import os
import socket as stdlib_socket
import sys
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.server
import gevent.socket
import pytest
from client import Client, upgrade_head
from helpers import eventually, live_sockets, run_script, turns

import lws_gevent
from lws_gevent import engines

# Options


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"no_such_option": 1}, TypeError, "no_such_option"),
        ({"max_payload": "16"}, TypeError, "max_payload"),
        ({"max_payload": -1}, ValueError, "max_payload"),
        ({"max_payload": True}, TypeError, "max_payload"),
        ({"max_header_size": 0}, ValueError, "max_header_size"),
        ({"max_connections": -1}, ValueError, "max_connections"),
        ({"handshake_timeout": -1}, ValueError, "handshake_timeout"),
        ({"handshake_timeout": "soon"}, TypeError, "handshake_timeout"),
        ({"close_timeout": -0.5}, ValueError, "close_timeout"),
        ({"send_timeout": float("nan")}, ValueError, "send_timeout"),
        ({"max_backpressure": 1.5}, TypeError, "max_backpressure"),
        ({"backpressure": "explode"}, ValueError, "backpressure"),
        ({"engine": "steam"}, ValueError, "engine"),
        ({"path": "no-slash"}, ValueError, "path"),
        ({"path": 3}, TypeError, "path"),
        ({"port": 70000}, ValueError, "port"),
        ({"port": "http"}, TypeError, "port"),
        ({"backlog": 0}, ValueError, "backlog"),
    ],
)
def test_a_wrong_option_is_named_at_construction(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        lws_gevent.Server(**{"port": 0, **options})


def test_it_is_a_stream_server(make_server: Any) -> None:
    assert isinstance(make_server(start=False), gevent.server.StreamServer)


# Listeners


def test_it_listens_on_an_address(make_server: Any, connect: Any) -> None:
    server = make_server(("127.0.0.1", 0), echo=True)
    assert server.port > 0
    connect(("127.0.0.1", server.port)).echo()


def test_it_serves_a_listening_socket_and_leaves_it_usable(make_server: Any, connect: Any) -> None:
    listener = stdlib_socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    server = make_server(listener, echo=True)
    assert server.port == listener.getsockname()[1]
    connect(listener.getsockname()).echo()
    server.stop(timeout=1)
    listener.close()


def test_it_listens_on_a_unix_socket(make_server: Any, connect: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = make_server("unix:" + path, echo=True)
    client = connect(path)
    client.echo()
    client.close_handshake()
    del server


def test_a_port_in_use_is_an_oserror(make_server: Any) -> None:
    server = make_server()
    second = lws_gevent.Server(host="127.0.0.1", port=server.port, engine="auto")
    with pytest.raises(OSError):
        second.start()
    second.stop()


# Start and stop


def test_with_starts_and_stops(make_server: Any, connect: Any) -> None:
    server = make_server(start=False, echo=True)
    with server:
        assert server.started
        port = server.port
        client = connect(server)
        client.echo()
        client.close_handshake()
    assert not server.started
    with pytest.raises(OSError):
        Client.open(("127.0.0.1", port))


@pytest.mark.also_over_tls
def test_stop_sends_1001_to_everyone_and_reports_it(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(echo=True)
    closes: list[Any] = []
    server.on("close", lambda socket, code: closes.append(code))
    clients = [connect(server) for _ in range(20)]
    for client in clients:
        client.echo()
    stopping = spawn(server.stop)
    for client in clients:
        client.expect_close(1001)
    stopping.get()
    assert closes == [1001] * 20
    assert not list(server.connections)


@pytest.mark.also_over_tls
def test_stop_reports_those_whom_it_cuts_before_it_returns(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    closes: list[Any] = []
    server.on("close", lambda socket, code: closes.append(code))
    clients = [connect(server) for _ in range(3)]
    for client in clients:
        client.echo()
    server.stop(timeout=0.05)  # nobody answers
    assert closes == [1001] * 3
    for client in clients:
        client.expect_close(1001)


def test_stop_takes_another_code(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(echo=True)
    client = connect(server)
    client.echo()
    stopping = spawn(server.stop, code=1012)
    client.expect_close(1012)
    stopping.get()


@pytest.mark.also_over_tls
def test_stop_delivers_pending_messages_first(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(max_backpressure=64_000_000)

    @server.on("message")
    def message(socket: Any) -> None:
        for number in range(100):
            server.send(socket, b"%d" % number + b"x" * 50000)

    client = connect(server, receive_buffer=4096)
    client.send("go")
    eventually(lambda: any(socket.buffered_amount for socket in server.connections))
    stopping = spawn(server.stop)
    for number in range(100):
        assert client.recv_message() == b"%d" % number + b"x" * 50000
    client.expect_close(1001)
    stopping.get()


def test_stop_accepts_nobody_new(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(echo=True)
    client = connect(server)
    client.echo()
    port = server.port
    stopping = spawn(server.stop)
    assert client.recv_close() == (1001, "")
    with pytest.raises((OSError, EOFError)):
        late = Client.open(("127.0.0.1", port), timeout=2)
        try:
            late.request(upgrade_head())
        finally:
            late.disconnect()
    client.send_close(1001)
    stopping.get()


def test_stop_kills_blocked_handlers_and_cuts_after_its_timeout(make_server: Any, connect: Any) -> None:
    server = make_server()
    ended: list[str] = []

    @server.on("message")
    def message(socket: Any) -> None:
        try:
            gevent.event.Event().wait()
        finally:
            ended.append("killed")

    clients = [connect(server) for _ in range(5)]
    for client in clients:
        client.send("block")
        client.ping()
        client.recv_pong()
    eventually(lambda: len(list(server.connections)) == 5)
    turns()
    server.stop(timeout=0.1)
    assert ended == ["killed"] * 5
    for client in clients:
        client.drain_to_eof()


def test_stop_lets_a_handler_finish_in_time(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()
    entered = gevent.event.Event()
    release = gevent.event.Event()
    finished: list[bool] = []

    @server.on("message")
    def message(socket: Any) -> None:
        entered.set()
        release.wait()
        finished.append(True)

    client = connect(server)
    client.send("go")
    entered.wait()
    stopping = spawn(server.stop)
    assert client.recv_close()[0] == 1001
    client.send_close(1001)
    release.set()
    stopping.get()
    assert finished == [True]


@pytest.mark.also_over_tls
def test_stop_ends_connections_that_have_not_finished_their_handshake(make_server: Any, connect: Any) -> None:
    server = make_server()
    silent = connect(server, upgrade=False)
    half = connect(server, upgrade=False)
    half.send_raw(upgrade_head()[:20])
    connect(server).close_handshake()
    server.stop(timeout=0.2)
    silent.drain_to_eof()
    half.drain_to_eof()


def test_stop_twice_and_without_start_is_harmless(make_server: Any) -> None:
    server = make_server()
    server.stop()
    server.stop()
    make_server(start=False).stop()


def test_a_handler_may_stop_the_server(make_server: Any, connect: Any) -> None:
    server = make_server()
    server.on("message", lambda socket: server.stop(timeout=1))
    client, other = connect(server), connect(server)
    client.send("stop")
    assert client.recv_close()[0] == 1001
    client.send_close(1001)
    other.expect_close(1001)
    eventually(lambda: not server.started)


def test_a_handler_that_stops_the_server_has_its_own_connection_closed_as_well(make_server: Any, connect: Any) -> None:
    server = make_server()
    left: list[Any] = []

    @server.on("message")
    def message(socket: Any) -> None:
        socket.send("stopping")
        server.stop()
        left.append(len(list(server.connections)))

    client = connect(server)
    client.send("stop")
    assert client.recv_message() == "stopping"
    client.expect_close(1001)
    eventually(lambda: left == [0])


def test_a_stopped_server_keeps_nothing_of_paused_connections(make_server: Any, connect: Any) -> None:
    server = make_server()
    before = live_sockets()
    got: list[str] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        got.append(message)
        socket.pause()

    client = connect(server)
    client.send("handled")
    client.send("waits")
    client.ping()
    client.recv_pong()
    eventually(lambda: got == ["handled"])
    turns()
    server.stop(timeout=0.05)
    client.disconnect()
    gc.collect()
    eventually(lambda: live_sockets() == before)


def test_stop_of_many_cycles_leaves_nothing(make_server: Any, connect: Any) -> None:
    for _ in range(5):
        server = make_server(echo=True)
        client = connect(server)
        client.echo()
        client.disconnect()
        server.stop(timeout=1)


def test_serve_forever_returns_when_stopped(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(start=False, echo=True)
    serving = spawn(server.serve_forever)
    eventually(lambda: server.started)
    client = connect(server)
    client.echo()
    client.close_handshake()
    server.stop()
    serving.get()


def test_two_servers_on_one_hub_do_not_mix(make_server: Any, connect: Any) -> None:
    first, second = make_server(), make_server()
    first.on("message", lambda socket, message: first.send(socket, "first " + message))
    second.on("message", lambda socket, message: second.send(socket, "second " + message))
    one, two = connect(first), connect(second)
    one.send("1")
    two.send("2")
    assert (one.recv_message(), two.recv_message()) == ("first 1", "second 2")
    assert len(list(first.connections)) == len(list(second.connections)) == 1
    assert first.broadcast("all of first") == 1
    assert one.recv_message() == "all of first"
    one.close_handshake()
    first.stop()
    two.send("3")
    assert two.recv_message() == "second 3"


@pytest.mark.also_over_tls
@pytest.mark.parametrize("late", [0, 0.3])
def test_a_silent_client_is_cut_after_handshake_timeout(make_server: Any, connect: Any, late: float) -> None:
    server = make_server(handshake_timeout=0.2, echo=True)
    silent = connect(server, upgrade=False)
    half = connect(server, upgrade=False)
    half.send_raw(upgrade_head()[:-2])
    good = connect(server)
    for client in (silent, half):
        answer = client.drain_to_eof()
        assert not answer or answer.startswith(b"HTTP/1.1 408 ")
    gevent.sleep(late)
    good.echo("the deadline is over once the connection is open", within=2)


# Threads, processes, loops, imports


def test_run_threadsafe_runs_in_the_servers_hub(stack: Any) -> None:
    run_script("run_threadsafe.py", stack.engine, stack=stack)


def test_a_server_in_a_second_thread_has_its_own_hub(stack: Any) -> None:
    run_script("second_thread.py", stack.engine, stack=stack)


def test_other_threads_are_told_to_use_run_threadsafe(stack: Any) -> None:
    run_script("wrong_thread.py", stack.engine, stack=stack)


def test_gevent_wait_returns_after_stop(stack: Any) -> None:
    run_script("wait.py", stack.engine, stack=stack)


@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_import_works_before_after_and_without_monkey_patching(stack: Any, when: str) -> None:
    run_script("patched.py", stack.engine, when, stack=stack, options=("-W", "error::gevent.monkey.MonkeyPatchWarning"))


def test_import_is_light(stack: Any) -> None:
    run_script("light_import.py", stack=stack)


@pytest.mark.parametrize("when", ["idle", "connected", "blocked"])
def test_a_forked_child_serves_on_its_own_after_use_in_the_parent(stack: Any, when: str) -> None:
    run_script("fork.py", stack.engine, when, stack=stack)


def test_a_forked_child_that_holds_the_descriptors_keeps_no_connection_alive(stack: Any) -> None:
    run_script("fork_holds.py", stack.engine, stack=stack)


@pytest.mark.parametrize("loop", ["libev-cext", "libev-cffi", "libuv-cffi"])
def test_every_loop_of_gevent_serves(stack: Any, loop: str) -> None:
    run_script("loops.py", stack.engine, loop, stack=stack, extra={"GEVENT_LOOP": loop})


def test_python_without_asserts_behaves_the_same(stack: Any) -> None:
    run_script("loops.py", stack.engine, "", stack=stack, options=("-O",))


def test_the_parked_engine_is_chosen_where_it_runs(stack: Any) -> None:
    out = run_script("engine_name.py", stack=stack)
    expected = "parked" if stack.codec == "c" and _parked_exists() else "greenlet"
    assert out.split() == [expected]


def test_a_missing_extension_of_the_parked_engine_is_an_error_where_extensions_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lws_gevent.engines._parked", None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("LWS_GEVENT_PURE_PYTHON", raising=False)
    monkeypatch.delenv("LWS_GEVENT_REQUIRE_C", raising=False)
    assert engines.choose("auto").name == "greenlet"
    monkeypatch.setenv("LWS_GEVENT_REQUIRE_C", "1")
    assert engines.choose("greenlet").name == "greenlet"
    with pytest.raises(ImportError, match=r"lws_gevent\.engines\._parked"):
        engines.choose("auto")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert engines.choose("auto").name == "greenlet"


def _parked_exists() -> bool:
    try:
        import lws_gevent.engines._parked  # noqa: F401
    except ImportError:
        return False
    return os.name == "posix"
