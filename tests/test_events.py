"""The event emitter: registration, arity, and what may happen while listeners run."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from lws_gevent.events import ALL_ARGUMENTS, EventEmitter


class Recorder(EventEmitter):
    """An emitter that knows its events and notes each change."""

    event_names = ("open", "message")

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[str] = []

    def _listeners_changed(self, event: str) -> None:
        self.changes.append(event)


@pytest.fixture
def emitter() -> Recorder:
    return Recorder()


def emit(emitter: EventEmitter, event: str, *arguments: Any) -> list[Any]:
    """Runs the listeners as an engine does."""
    return [listener.function(*arguments[: listener.arity]) for listener in emitter._take_listeners(event)]


def test_listeners_run_in_the_order_of_their_registration(emitter: Recorder) -> None:
    emitter.on("message", lambda: 1)
    emitter.on("message", lambda: 2)
    emitter.on("open", lambda: 3)
    assert emit(emitter, "message") == [1, 2]


def test_on_returns_the_function_and_works_as_a_decorator(emitter: Recorder) -> None:
    def first() -> str:
        return "first"

    assert emitter.on("message", first) is first

    @emitter.on("message")
    def second() -> str:
        return "second"

    @emitter.once("message")
    def third() -> str:
        return "third"

    assert second() == "second" and third() == "third"
    assert emitter.listeners("message") == (first, second, third)
    assert emit(emitter, "message") == ["first", "second", "third"]


def test_a_listener_may_take_fewer_arguments_than_the_event_has(emitter: Recorder) -> None:
    emitter.on("message", lambda: ())
    emitter.on("message", lambda a: (a,))
    emitter.on("message", lambda a, b: (a, b))
    emitter.on("message", lambda a, b=None: (a, b))
    emitter.on("message", lambda *everything: everything)
    emitter.on("message", lambda a, *rest: (a, *rest))
    emitter.on("message", lambda a, *, key="default", **more: (a,))
    assert emit(emitter, "message", 1, 2, 3) == [(), (1,), (1, 2), (1, 2), (1, 2, 3), (1, 2, 3), (1,)]


def test_arity_of_methods_partials_callables_and_classes(emitter: Recorder) -> None:
    class Thing:
        def method(self, a: int) -> int:
            return a

        @staticmethod
        def static(a: int, b: int) -> int:
            return a + b

        def __call__(self, a: int, b: int) -> int:
            return a * b

    @functools.wraps(Thing.static)
    def wrapped(*arguments: int) -> int:
        return Thing.static(*arguments)

    thing = Thing()
    for function in (thing.method, Thing.static, thing, functools.partial(Thing.static, 10), wrapped, Exception):
        emitter.on("message", function)
    results = emit(emitter, "message", 2, 3, 4)
    assert results[:5] == [2, 5, 6, 12, 5]
    assert results[5].args == (2, 3, 4)


def test_builtins_without_a_signature_get_all_arguments(emitter: Recorder) -> None:
    seen: list[Any] = []
    emitter.on("message", max)
    emitter.on("message", seen.append)
    assert [listener.arity for listener in emitter._listeners["message"]] == [ALL_ARGUMENTS, 1]
    assert emit(emitter, "message", 5, 7) == [7, None]
    assert seen == [5]


def test_arity_is_worked_out_once(emitter: Recorder) -> None:
    class Counted:
        asked = 0

        @property
        def __signature__(self) -> Any:
            type(self).asked += 1
            return None

        def __call__(self, a: int) -> int:
            return a

    emitter.on("message", Counted())
    asked = Counted.asked
    for _ in range(3):
        assert emit(emitter, "message", 1, 2) == [1]
    assert Counted.asked == asked


def test_a_listener_that_needs_a_keyword_is_refused(emitter: Recorder) -> None:
    with pytest.raises(TypeError, match="key="):
        emitter.on("message", lambda a, *, key: a)
    assert emitter.listeners("message") == ()


@pytest.mark.parametrize("listener", [5, "name", b""])
def test_only_callables_are_listeners(emitter: Recorder, listener: Any) -> None:
    for register in (emitter.on, emitter.once):
        with pytest.raises(TypeError, match="callable"):
            register("message", listener)
    with pytest.raises(TypeError, match="callable"):
        emitter.on("message")(listener)
    assert emitter.listeners("message") == ()


def test_once_runs_for_one_event_only(emitter: Recorder) -> None:
    emitter.on("message", lambda: "always")
    emitter.once("message", lambda: "once")
    assert emit(emitter, "message") == ["always", "once"]
    assert emit(emitter, "message") == ["always"]


def test_once_is_gone_before_its_listener_runs(emitter: Recorder) -> None:
    results = []
    emitter.once("message", lambda: results.append(emit(emitter, "message")))
    emit(emitter, "message")
    assert results == [[]]


def test_off_removes_the_latest_registration_of_a_function(emitter: Recorder) -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    for function in (one, two, one):
        emitter.on("message", function)
    emitter.off("message", one)
    assert emitter.listeners("message") == (one, two)
    emitter.off("message", one)
    assert emitter.listeners("message") == (two,)
    emitter.off("message", one)  # nothing to do
    assert emitter.listeners("message") == (two,)


def test_off_knows_bound_methods_and_once_listeners(emitter: Recorder) -> None:
    class Thing:
        def method(self) -> None: ...

    thing = Thing()
    emitter.on("message", thing.method)
    emitter.once("message", thing.method)
    emitter.off("message", thing.method)
    emitter.off("message", thing.method)
    assert emitter.listeners("message") == ()


def test_off_without_a_function_removes_all_of_this_event(emitter: Recorder) -> None:
    emitter.on("message", print)
    emitter.on("message", repr)
    emitter.on("open", print)
    emitter.off("message")
    emitter.off("message")
    assert emitter.listeners("message") == () and emitter.listeners("open") == (print,)


def test_the_same_function_may_be_registered_twice(emitter: Recorder) -> None:
    def one() -> int:
        return 1

    emitter.on("message", one)
    emitter.on("message", one)
    assert emit(emitter, "message") == [1, 1]


def test_changes_while_listeners_run_count_from_the_next_event_on(emitter: Recorder) -> None:
    def adds() -> str:
        emitter.on("message", lambda: "added")
        emitter.off("message", last)
        return "adds"

    def last() -> str:
        return "last"

    emitter.on("message", adds)
    emitter.on("message", last)
    assert emit(emitter, "message") == ["adds", "last"]
    assert emit(emitter, "message") == ["adds", "added"]


@pytest.mark.parametrize("method", ["on", "once", "off", "listeners"])
def test_unknown_events_are_named_with_the_known_ones(emitter: Recorder, method: str) -> None:
    with pytest.raises(ValueError, match="'mesage'.*open, message"):
        getattr(emitter, method)("mesage")
    with pytest.raises(TypeError):
        getattr(emitter, method)(None)


def test_an_emitter_without_names_takes_any() -> None:
    emitter = EventEmitter()
    emitter.on("whatever", lambda: 1)
    assert emit(emitter, "whatever") == [1]
    assert emit(emitter, "other") == []


def test_the_hook_is_called_for_every_change_and_only_then(emitter: Recorder) -> None:
    emitter.on("message", print)
    emitter.once("open", print)
    assert emitter.changes == ["message", "open"]
    emit(emitter, "message")
    emitter.off("message", repr)
    assert emitter.changes == ["message", "open"]
    emit(emitter, "open")
    emitter.off("message")
    assert emitter.changes == ["message", "open", "open", "message"]
    emitter.off("message")
    assert emitter.changes == ["message", "open", "open", "message"]


def test_the_tuples_of_listeners_are_replaced_never_changed(emitter: Recorder) -> None:
    emitter.on("message", print)
    before = emitter._listeners["message"]
    emitter.on("message", repr)
    assert len(before) == 1 and emitter._listeners["message"] is not before
    emitter.off("message")
    assert "message" not in emitter._listeners
