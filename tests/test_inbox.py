"""The inbox of a connection that is read in blocking style: that of each engine."""

from __future__ import annotations

import importlib
from typing import Any

import gevent
import pytest
from helpers import turns

from lws_gevent import ConnectionClosed
from lws_gevent.inbox import INBOX_LIMIT


def nothing() -> None:
    pass


@pytest.fixture(params=["lws_gevent.inbox", "lws_gevent.engines._parked"])
def make_inbox(request: pytest.FixtureRequest) -> Any:
    """The class."""
    try:
        return importlib.import_module(request.param).Inbox
    except ImportError as error:
        pytest.skip(str(error))


def test_messages_come_in_order_whether_the_reader_waits_or_not(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    inbox.put("1")
    inbox.put(b"2")
    assert (inbox.get(), inbox.get()) == ("1", b"2")
    reader = gevent.spawn(inbox.get)
    turns()
    inbox.put("3")
    inbox.put("4")
    assert reader.get() == "3"
    assert inbox.get(0) == "4"
    assert inbox.size == 0


def test_the_end_comes_after_the_messages_and_stays(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    inbox.put("last")
    inbox.end(4000, "reason")
    inbox.end(1006, "")
    assert inbox.get() == "last"
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as closed:
            inbox.get()
        assert (closed.value.code, closed.value.reason) == (4000, "reason")


def test_the_end_wakes_a_waiting_reader(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    reader = gevent.spawn(lambda: pytest.raises(ConnectionClosed, inbox.get))
    turns()
    inbox.end(1000, "")
    assert reader.get().value.code == 1000


def test_a_timeout_or_a_kill_loses_nothing(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    for timeout in (0, 0.001):
        with pytest.raises(TimeoutError):
            inbox.get(timeout)
    reader = gevent.spawn(inbox.get)
    turns()
    reader.kill(block=False)
    inbox.put("kept")
    reader.join()
    assert inbox.get() == "kept"


def test_a_second_reader_is_refused(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    reader = gevent.spawn(inbox.get)
    turns()
    with pytest.raises(RuntimeError, match="already receiving"):
        inbox.get()
    inbox.put("for the first")
    assert reader.get() == "for the first"


def test_low_water_is_told_once_when_half_is_taken(make_inbox: Any) -> None:
    calls: list[int] = []
    inbox = make_inbox(lambda: calls.append(inbox.size))
    while inbox.size <= INBOX_LIMIT:
        inbox.put(b"x" * 1000)
    while inbox.size:
        inbox.get()
    assert len(calls) == 1
    assert calls[0] <= INBOX_LIMIT // 2


def test_empty_messages_count_too(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    for _ in range(INBOX_LIMIT):
        inbox.put(b"")
    assert inbox.size > INBOX_LIMIT


def test_the_hub_must_not_wait(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    raised: list[BaseException] = []

    def in_hub() -> None:
        try:
            inbox.get()
        except RuntimeError as error:
            raised.append(error)

    gevent.get_hub().loop.run_callback(in_hub)
    turns()
    assert len(raised) == 1


def test_a_greenlet_that_is_switched_to_by_somebody_else_goes_on_waiting(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    reader = gevent.spawn(inbox.get)
    turns()
    if isinstance(inbox, importlib.import_module("lws_gevent.inbox").Inbox):
        pytest.skip("a Waiter of gevent's raises")
    gevent.get_hub().loop.run_callback(reader.switch)
    turns()
    assert not reader.ready()
    inbox.put("at last")
    assert reader.get() == "at last"


def test_a_reader_that_raises_in_the_midst_of_a_switch_does_not_end_the_hub(make_inbox: Any) -> None:
    inbox = make_inbox(nothing)
    seen: list[object] = []

    def read() -> None:
        seen.append(inbox.get())
        raise ZeroDivisionError

    hub = gevent.get_hub()
    reader = gevent.spawn(read)
    handled: list[object] = []
    hub.handle_error = lambda *what: handled.append(what[1])
    try:
        turns()
        inbox.put("one")
        turns()
    finally:
        del hub.handle_error
    assert seen == ["one"] and handled == [ZeroDivisionError] and reader.ready()
