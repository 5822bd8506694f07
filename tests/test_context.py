"""The handler boundary, and the judgement of requests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from typing import Any

import gevent
import pytest

from lws_gevent import ConnectionClosed, ProtocolError
from lws_gevent.codec import load
from lws_gevent.context import Context, Decision
from lws_gevent.handshake import Headers, Request
from lws_gevent.options import Settings


class FakeSocket:
    remote_address = ("192.0.2.1", 1)
    failures = 0

    def _fail_handler(self) -> None:
        self.failures += 1


class FakeEngine:
    open_count = 0


@pytest.fixture
def socket() -> Any:
    return FakeSocket()


def make(**options: Any) -> Any:
    context: Any = Context(Settings(**options), load("python"))
    context.engine = FakeEngine()
    return context


def upgrade(*headers: tuple[str, str], target: str = "/") -> Request:
    raw = [(name.encode(), value.encode()) for name, value in (("Host", "example.com"), *headers)]
    return Request("GET", target, Headers(raw), upgrade_status=101, key=b"dGhlIHNhbXBsZSBub25jZQ==")


def status(decision: Decision) -> int:
    return int(decision.response.split(b" ", 2)[1])


# The boundary


def test_listeners_get_as_many_arguments_as_they_take_and_their_results_come_in_order(socket: Any) -> None:
    context = make()
    context.emitter.on("message", lambda: 0)
    context.emitter.on("message", lambda socket, message: message)
    context.emitter.once("message", lambda *all: len(all))
    assert context.deliver("message", socket, socket, "text", False, 0) == [0, "text", 4]
    assert context.deliver("message", socket, socket, "text", False, 0) == [0, "text"]


def boom(*_: Any) -> None:
    raise ZeroDivisionError


def test_an_exception_is_reported_fails_the_connection_and_stops_nobody_else(socket: Any) -> None:
    context, errors, ran = make(), list[Any](), list[int]()
    context.emitter.on("error", lambda error, socket: errors.append((type(error), socket)))
    context.emitter.on("drain", boom)
    context.emitter.on("drain", lambda: ran.append(1))
    context.deliver("drain", socket, socket)
    assert (errors, ran, socket.failures) == ([(ZeroDivisionError, socket)], [1], 1)


@pytest.mark.parametrize(("error", "reported"), [(gevent.Timeout(1), True), (gevent.GreenletExit(), False)])
def test_a_timeout_is_reported_and_a_kill_is_not(socket: Any, error: BaseException, reported: bool) -> None:
    context, errors = make(), list[Any]()

    def fail() -> None:
        raise error

    context.emitter.on("error", errors.append)
    context.emitter.on("drain", fail)
    context.deliver("drain", socket, socket)
    assert errors == ([error] if reported else [])
    assert socket.failures == 1


def test_connection_closed_is_no_error(socket: Any) -> None:
    context = make()

    def fail() -> None:
        raise ConnectionClosed(1000)

    context.emitter.on("error", boom)
    context.emitter.on("drain", fail)
    context.deliver("drain", socket, socket)
    assert socket.failures == 0


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """The records that are logged."""
    handler, logger = BufferingHandler(1000), logging.getLogger("lws_gevent")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.buffer
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_without_a_listener_errors_are_logged_and_those_of_peers_below_warning(socket: Any, log: list[Any]) -> None:
    context = make()
    context.emitter.on("drain", boom)
    context.deliver("drain", socket, socket)
    context.report_error(ProtocolError(1002, "a reason"), socket)
    assert [record.levelname for record in log] == ["ERROR", "INFO"]
    assert log[0].exc_info[0] is ZeroDivisionError
    assert log[1].exc_info is None


def test_an_error_listener_that_fails_is_logged(socket: Any, log: list[Any]) -> None:
    context = make()
    context.emitter.on("error", boom)
    context.report_error(ValueError("first"), socket)
    assert [record.exc_info[0] for record in log] == [ZeroDivisionError]


def test_subscribers_hear_of_changed_listeners() -> None:
    context, changes = make(), list[str]()
    context.on_change.append(changes.append)
    context.emitter.on("message", print)
    assert context.has_listeners("message")
    context.emitter.off("message", print)
    assert not context.has_listeners("message")
    assert changes == ["message", "message"]


# Requests


def test_an_upgrade_is_accepted(socket: Any) -> None:
    decision = make().decide(socket, upgrade())
    assert decision.accept
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in decision.response


def test_another_path_is_404(socket: Any) -> None:
    context = make(path="/ws")
    assert context.decide(socket, upgrade(target="/ws?query")).accept
    assert status(context.decide(socket, upgrade(target="/ws/"))) == 404


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(None, 101), (False, 101), (True, 403), ((418, {"X-A": "b"}, "tea"), 418), ("yes", 500), ((200, {}), 500)],
)
def test_upgrade_listeners_may_refuse(socket: Any, answer: Any, expected: int) -> None:
    context = make()
    context.emitter.on("error", lambda: None)
    context.emitter.on("upgrade", lambda socket, headers: answer)
    assert status(context.decide(socket, upgrade())) == expected


def test_the_first_refusal_wins_and_ends_the_questions(socket: Any) -> None:
    context, asked = make(), list[int]()
    context.emitter.on("upgrade", lambda: (401, {}, ""))
    context.emitter.on("upgrade", lambda: asked.append(1))
    assert status(context.decide(socket, upgrade())) == 401
    assert asked == []


def test_an_exception_in_an_upgrade_listener_is_500_and_reported(socket: Any) -> None:
    context, errors = make(), list[Any]()
    context.emitter.on("error", errors.append)
    context.emitter.on("upgrade", boom)
    decision = context.decide(socket, upgrade())
    assert status(decision) == 500
    assert b"ZeroDivision" not in decision.response
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_the_limit_is_looked_at_again_after_the_listeners(socket: Any) -> None:
    context = make(max_connections=1)
    assert context.decide(socket, upgrade()).accept

    def others_come() -> None:
        context.engine.open_count = 1

    context.emitter.on("upgrade", others_come)
    assert status(context.decide(socket, upgrade())) == 503
    context.emitter.off("upgrade")
    assert status(context.decide(socket, upgrade())) == 503


ORIGIN = "http://example.com"


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (None, "http://evil.example", 101),
        (["http://example.com"], "http://example.com", 101),
        (["http://example.com"], "http://example.com:8080", 403),
        (["http://example.com"], "http://example.com.evil.example", 403),
        (["http://example.com"], "https://example.com", 403),
        (["http://example.com"], "null", 403),
        (["http://example.com"], None, 101),
        ("same", "https://EXAMPLE.com", 101),
        ("same", "http://example.com:81", 403),
        ("same", "null", 403),
        ("same", None, 101),
        (lambda origin: origin is not None, None, 403),
        (lambda origin, headers: headers["host"] == "example.com", "null", 101),
    ],
)
def test_origins(socket: Any, allowed: Any, origin: str | None, expected: int) -> None:
    headers = [] if origin is None else [("Origin", origin)]
    assert status(make(origins=allowed).decide(socket, upgrade(*headers))) == expected


def test_two_origins_are_none_of_the_allowed(socket: Any) -> None:
    request = upgrade(("Origin", ORIGIN), ("Origin", ORIGIN))
    assert status(make(origins=[ORIGIN]).decide(socket, request)) == 403


@pytest.mark.parametrize(
    ("subprotocols", "offered", "expected"),
    [
        (["b", "a"], "a, b", "b"),
        (["c"], "a, b", None),
        (None, "a", None),
        (lambda offered, headers: offered[-1], "a, b", "b"),
        (lambda offered: None, "a, b", None),
    ],
)
def test_subprotocols(socket: Any, subprotocols: Any, offered: str, expected: str | None) -> None:
    decision = make(subprotocols=subprotocols).decide(socket, upgrade(("Sec-WebSocket-Protocol", offered)))
    assert decision.subprotocol == expected
    assert (b"Sec-WebSocket-Protocol" in decision.response) is (expected is not None)


def test_a_subprotocol_that_was_not_offered_is_500(socket: Any) -> None:
    context, errors = make(subprotocols=lambda offered: "other"), list[Any]()
    context.emitter.on("error", errors.append)
    assert status(context.decide(socket, upgrade())) == 500
    assert [type(error) for error in errors] == [ValueError]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("text", b"text"), (b"octets", b"octets"), ((404, {"X-A": "b"}, "none"), b"none")],
)
def test_http_listeners_answer(socket: Any, answer: Any, expected: bytes) -> None:
    context = make()
    request = Request("GET", "/", Headers())
    assert status(context.decide(socket, request)) == 426
    context.emitter.on("http", lambda socket, request: answer)
    assert context.decide(socket, request).response.endswith(b"\r\n\r\n" + expected)
    assert context.decide(socket, Request("HEAD", "/", Headers())).response.endswith(b"\r\n\r\n")


def test_an_http_listener_that_returns_nothing_answers_later(socket: Any) -> None:
    context = make()
    context.emitter.on("http", lambda: None)
    assert context.decide(socket, Request("GET", "/", Headers())) is None
