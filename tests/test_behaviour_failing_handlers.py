"""Handlers of every kind may raise, be killed or time out: their connection ends as documented, nobody else notices."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest
from helpers import eventually

from lws_gevent import ConnectionClosed


class Boom(Exception):
    """Something a handler raises."""


def raise_boom() -> None:
    raise Boom("in a handler")


def raise_timeout() -> None:
    raise gevent.Timeout(1)


def stray_timeout() -> None:
    gevent.Timeout.start_new(0.001)
    gevent.event.Event().wait()


def raise_exit() -> None:
    raise gevent.GreenletExit


def kill_oneself() -> None:
    gevent.getcurrent().kill()


def killed_while_blocked() -> None:
    current = gevent.getcurrent()
    gevent.spawn_later(0, current.kill, block=False)
    gevent.event.Event().wait()


def raise_connection_closed() -> None:
    raise ConnectionClosed(1006, "of another connection")


FAILURES = {
    function.__name__: function
    for function in (
        raise_boom,
        raise_timeout,
        stray_timeout,
        raise_exit,
        kill_oneself,
        killed_while_blocked,
        raise_connection_closed,
    )
}
REPORTED = {"raise_boom": Boom, "raise_timeout": gevent.Timeout, "stray_timeout": gevent.Timeout}


class Scene:
    """A server with a good client beside the one whose handler fails."""

    def __init__(self, make_server: Any, connect: Any, failure: str, **options: Any) -> None:
        self.connect = connect
        self.fail = FAILURES[failure]
        self.failure = failure
        self.errors: list[Any] = []
        self.closes: list[Any] = []
        self.server = make_server(**options)
        self.victims: list[Any] = []
        self.server.on("error", lambda error, socket: self.errors.append((error, socket)))
        self.server.on("close", self.close)
        self.server.on("message", self.message)
        self.good = connect(self.server, "/good")
        self.good.echo("before")

    def close(self, socket: Any, code: int) -> None:
        if socket.path != "/good":
            self.closes.append(code)

    def message(self, socket: Any, message: Any, binary: bool) -> None:
        self.server.send(socket, message, binary)

    def check(self) -> None:
        """The good client and a new one are served; the error was reported once, or not at all."""
        self.good.echo("after", within=2)
        fresh = self.connect(self.server, "/good")
        fresh.echo("fresh", within=2)
        expected = REPORTED.get(self.failure)
        if expected is None:
            assert self.errors == []
        else:
            eventually(lambda: self.errors)
            assert [type(error) for error, _ in self.errors] == [expected]


@pytest.fixture(params=list(FAILURES))
def failure(request: Any) -> str:
    return str(request.param)


def fails_for_bad(scene: Scene) -> Any:
    def handler(socket: Any, *rest: Any) -> None:
        if socket.path == "/bad":
            scene.victims.append(socket)
            scene.fail()

    return handler


@pytest.mark.parametrize("event", ["connection", "message", "ping", "pong"])
def test_a_failing_handler_closes_its_connection_with_1011(
    make_server: Any, connect: Any, failure: str, event: str
) -> None:
    scene = Scene(make_server, connect, failure)
    scene.server.on(event, fails_for_bad(scene))
    bad = connect(scene.server, "/bad")
    if event == "message":
        bad.send("fail")
    elif event == "ping":
        bad.ping(b"fail")
    elif event == "pong":
        bad.send_frame(10, b"fail")
    if failure == "raise_connection_closed":  # no error: the connection goes on
        bad.ping(b"still there")
        while bad.recv_frame().payload != b"still there":
            pass
        bad.disconnect()
        eventually(lambda: scene.closes)
        assert scene.closes == [1006]
    else:
        bad.expect_close(1011)
        eventually(lambda: scene.closes)
        assert scene.closes == [1011]
    scene.check()
    if scene.errors:
        assert scene.errors[0][1] == scene.victims[0]


def test_messages_before_the_failure_are_answered_and_those_after_it_are_not_handled(
    make_server: Any, connect: Any
) -> None:
    scene = Scene(make_server, connect, "raise_boom")
    handled: list[Any] = []

    @scene.server.on("message")
    def message(socket: Any, message: str) -> None:
        if socket.path == "/bad":
            handled.append(message)
            if message == "2":
                scene.fail()

    bad = connect(scene.server, "/bad")
    for number in range(5):
        bad.send(str(number))
    assert [bad.recv_message() for _ in range(3)] == ["0", "1", "2"]
    bad.expect_close(1011)
    assert handled == ["0", "1", "2"]
    scene.check()


def test_a_failing_upgrade_handler_refuses_the_connection(make_server: Any, connect: Any, failure: str) -> None:
    scene = Scene(make_server, connect, failure)
    scene.server.on("upgrade", fails_for_bad(scene))
    bad = connect(scene.server, upgrade=False)
    from client import upgrade_head

    bad.send_raw(upgrade_head("/bad"))
    answer = bad.drain_to_eof()
    assert not answer.startswith(b"HTTP/1.1 101")
    if failure in REPORTED:
        assert answer.startswith(b"HTTP/1.1 500 "), answer
        assert b"Boom" not in answer and b"in a handler" not in answer
    assert scene.closes == []
    scene.check()


def test_a_failing_close_handler_harms_nobody(make_server: Any, connect: Any, failure: str) -> None:
    scene = Scene(make_server, connect, failure)
    scene.server.on("close", fails_for_bad(scene))
    bad = connect(scene.server, "/bad")
    assert bad.close_handshake(1000) == (1000, "")
    eventually(lambda: scene.victims)
    scene.check()
    eventually(lambda: scene.victims[0].data is None)
    assert scene.closes == [1000]


def test_every_close_listener_runs_even_when_the_first_fails(make_server: Any, connect: Any) -> None:
    server = make_server()
    seen: list[str] = []
    server.on("error", lambda error: seen.append(type(error).__name__))
    server.on("close", lambda socket: raise_boom())
    server.on("close", lambda socket: seen.append("second"))
    connect(server).close_handshake()
    eventually(lambda: len(seen) == 2)
    assert sorted(seen) == ["Boom", "second"]


def test_a_failing_error_handler_harms_nobody(make_server: Any, connect: Any, failure: str, logged: Any) -> None:
    server = make_server()
    failed: list[Any] = []

    @server.on("error")
    def error(error: Any, socket: Any) -> None:
        failed.append(error)
        FAILURES[failure]()

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "fail":
            raise_boom()
        server.send(socket, message)

    bad, good = connect(server), connect(server)
    bad.send("fail")
    bad.expect_close(1011)
    good.echo(within=2)
    connect(server).echo(within=2)
    assert [type(each) for each in failed] == [Boom]
    logged.clear()


def test_a_failing_http_handler_gives_500(make_server: Any, connect: Any, failure: str) -> None:
    scene = Scene(make_server, connect, failure)
    scene.server.on("http", lambda socket, request: scene.fail())
    bad = connect(scene.server, upgrade=False)
    bad.send_raw(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = bad.drain_to_eof()
    if failure in REPORTED:
        assert answer.startswith(b"HTTP/1.1 500 "), answer
    assert b"in a handler" not in answer
    scene.check()


def floods(server: Any) -> Any:
    def handler(socket: Any, message: str) -> None:
        if message == "flood":
            while server.send(socket, b"x" * 100_000):
                pass

    return handler


def test_failing_drain_and_dropped_handlers_close_the_connection(make_server: Any, connect: Any, failure: str) -> None:
    if failure == "raise_connection_closed":
        pytest.skip("is no failure")
    for event in ("drain", "dropped"):
        scene = Scene(make_server, connect, failure, max_backpressure=10000, backpressure="drop")
        scene.server.on(event, fails_for_bad(scene))
        scene.server.on("message", floods(scene.server))
        bad = connect(scene.server, "/bad", receive_buffer=4096)
        bad.send("flood")
        bad.expect_close(1011)
        eventually(lambda scene=scene: scene.closes)
        assert scene.closes == [1011]
        scene.check()


def test_without_an_error_listener_it_is_logged_once_without_payload(
    make_server: Any, connect: Any, logged: Any
) -> None:
    server = make_server()

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        raise_boom()

    client = connect(server)
    client.send("secret payload")
    client.expect_close(1011)
    eventually(lambda: logged.records)
    assert len(logged.records) == 1
    assert "Boom" in logged.text[0] and "raise_boom" in logged.text[0]
    assert "secret payload" not in logged.text[0]
    logged.clear()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_handler_goes_to_the_hub(make_server: Any, connect: Any, hub_errors: Any, kind: Any) -> None:
    server = make_server()
    errors: list[Any] = []
    server.on("error", lambda error: errors.append(error))

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "interrupt":
            raise kind
        server.send(socket, message)

    bad, good = connect(server), connect(server)
    bad.send("interrupt")
    eventually(lambda: hub_errors)
    assert [entry[1] for entry in hub_errors] == [kind]
    hub_errors.clear()
    good.echo(within=2)
    assert errors == []


def test_all_connections_may_fail_at_once(make_server: Any, connect: Any) -> None:
    server = make_server()
    errors: list[Any] = []
    closes: list[Any] = []
    server.on("error", lambda error, socket: errors.append(socket))
    server.on("close", lambda socket, code: closes.append((socket, code)))
    together = gevent.event.Event()
    inside = 0

    @server.on("message")
    def message(socket: Any) -> None:
        nonlocal inside
        inside += 1
        together.wait()
        raise_boom()

    clients = [connect(server) for _ in range(100)]
    for client in clients:
        client.send("fail")
    eventually(lambda: inside == 100)
    together.set()
    for client in clients:
        client.expect_close(1011)
    eventually(lambda: len(closes) == 100)
    assert {code for _, code in closes} == {1011}
    assert len(set(errors)) == 100
