"""Greenlets that wait for room in a send buffer."""

from __future__ import annotations

import gevent
import pytest
from helpers import turns

from lws_gevent import ConnectionClosed
from lws_gevent.waiting_senders import WaitingSenders


def waiters(senders: WaitingSenders, count: int, order: list[int]) -> list[gevent.Greenlet]:
    def wait(number: int) -> None:
        senders.wait()
        order.append(number)

    greenlets = [gevent.spawn(wait, number) for number in range(count)]
    turns()
    return greenlets


def test_they_are_let_go_one_at_a_time_in_order() -> None:
    senders, order = WaitingSenders(), list[int]()
    greenlets = waiters(senders, 3, order)
    assert order == []
    assert senders
    for expected in ([0], [0, 1], [0, 1, 2]):
        senders.wake()
        senders.wake()  # the one that is on its way counts
        turns()
        assert order == expected
    assert not senders
    gevent.joinall(greenlets)
    senders.wake()


def test_the_end_reaches_those_who_wait_and_those_who_come_later() -> None:
    senders = WaitingSenders()
    greenlets = [gevent.spawn(lambda: pytest.raises(ConnectionClosed, senders.wait)) for _ in range(3)]
    turns()
    senders.end(ConnectionClosed(4000, "reason"))
    errors = [greenlet.get().value for greenlet in greenlets]
    assert [(error.code, error.reason) for error in errors] == [(4000, "reason")] * 3
    assert len(set(map(id, errors))) == 3
    with pytest.raises(ConnectionClosed):
        senders.wait()


def test_a_killed_waiter_passes_its_turn_on() -> None:
    senders, order = WaitingSenders(), list[int]()
    greenlets = waiters(senders, 3, order)
    greenlets[0].kill()
    greenlets[1].kill(block=False)
    senders.wake()  # it is this one's turn, but the kill comes first
    turns()
    assert order == [2]
    assert not senders


def test_a_timeout_ends_the_wait() -> None:
    senders = WaitingSenders()
    with pytest.raises(TimeoutError):
        senders.wait(0.001)
    assert not senders
