"""Deadlines of many connections on one timer."""

from __future__ import annotations

import time

import gevent
import pytest
from helpers import eventually

from lws_gevent.engines.deadlines import Deadlines


class Item:
    def __init__(self) -> None:
        self.deadline_slot: float | None = None
        self.calls: list[float] = []
        self.next: list[float] = []

    def check_deadlines(self, now: float) -> float | None:
        self.calls.append(now)
        return now + self.next.pop(0) if self.next else None


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines(gevent.get_hub().loop)


def test_it_is_called_when_due_and_not_before(deadlines: Deadlines) -> None:
    item, due = Item(), time.monotonic() + 0.05
    deadlines.set(item, due)
    eventually(lambda: item.calls)
    assert item.calls[0] >= due
    assert item.deadline_slot is None
    assert not deadlines


def test_it_is_called_again_when_it_says_so(deadlines: Deadlines) -> None:
    item = Item()
    item.next = [0.01, 0.01]
    deadlines.set(item, time.monotonic())
    eventually(lambda: len(item.calls) == 3)
    assert not deadlines


def test_an_earlier_deadline_counts_and_a_later_one_does_not(deadlines: Deadlines) -> None:
    item, now = Item(), time.monotonic()
    deadlines.set(item, now + 1000)
    deadlines.set(item, now)
    deadlines.set(item, now + 1000)
    eventually(lambda: item.calls)
    assert not deadlines


def test_a_cancelled_one_is_forgotten_and_the_timer_stops(deadlines: Deadlines) -> None:
    first, second = Item(), Item()
    deadlines.set(first, time.monotonic() + 1000)
    deadlines.set(second, time.monotonic() + 0.01)
    deadlines.cancel(first)
    deadlines.cancel(first)
    assert deadlines
    deadlines.cancel(second)
    assert not deadlines
    gevent.sleep(0.2)
    assert first.calls == second.calls == []


def test_many_that_are_due_at_once_are_all_called(deadlines: Deadlines) -> None:
    items = [Item() for _ in range(2000)]
    due = time.monotonic() + 0.01
    for item in items:
        deadlines.set(item, due)
    eventually(lambda: all(item.calls for item in items))
    assert not deadlines


def test_one_may_cancel_another_that_is_due_with_it(deadlines: Deadlines) -> None:
    class Cancels(Item):
        def check_deadlines(self, now: float) -> float | None:
            super().check_deadlines(now)
            for item in items:
                deadlines.cancel(item)
            return None

    items = [Cancels() for _ in range(10)]
    due = time.monotonic()
    for item in items:
        deadlines.set(item, due)
    eventually(lambda: not deadlines)
    assert sum(len(item.calls) for item in items) == 1
