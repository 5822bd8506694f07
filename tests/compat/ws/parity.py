"""Which test of ws each of our tests stands for.

``@case(file, title)`` names the original by its file and its title (the titles of its groups and its own, joined by
`` > ``). differences.py holds those that we answer differently, with the reason. ``docs/make_ws_parity.py`` makes the
table of both.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.event import Event
from helpers import FACTOR

ORIGINALS: dict[str, list[list[str]]] = json.loads((Path(__file__).parent / "originals.json").read_text("utf-8"))

_F = TypeVar("_F", bound=Callable[..., Any])


def case(file: str, title: str) -> Callable[[_F], _F]:
    """Marks a test as the counterpart of one of ws; an unknown one is an error at once."""
    if all(title != known for known, _ in ORIGINALS[file]):
        raise LookupError(f"{file} has no test {title!r}")

    def mark(function: _F) -> _F:
        function.__dict__.setdefault("cases", []).append((file, title))
        return function

    return mark


class Done:
    """The ``done`` of the original's tests: `wait` for it. An exception in a callback is raised by `wait`."""

    def __init__(self, calls: int = 1) -> None:
        self._missing = calls
        self._event = Event()
        self._error: BaseException | None = None

    def __call__(self, error: BaseException | None = None) -> None:
        self._missing -= 1
        if isinstance(error, BaseException):
            self._error = error
        if self._missing <= 0 or self._error is not None:
            self._event.set()

    def checks(self, function: Callable[..., Any], finish: bool = False) -> Callable[..., Any]:
        """`function`, whose failed assertions are those of the test; `finish`: and after it the test is over."""

        @functools.wraps(function)
        def checked(*args: Any) -> Any:
            try:
                result = function(*args)
            except BaseException as error:
                self(error)
                raise
            if finish:
                self()
            return result

        return checked

    def last(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """As `checks`: with the return of `function` the test is over."""
        return self.checks(function, finish=True)

    def wait(self, within: float = 10) -> None:
        """Until it was called as often as was said; raises what was passed to it."""
        if not self._event.wait(within * FACTOR):
            raise AssertionError(f"done was not called {self._missing} times more within {within * FACTOR} s")
        if self._error is not None:
            raise self._error


def call_back(function: Callable[..., Any], *args: Any) -> Any:
    """The result that ``function(*args, callback)`` passes to its callback ``(error, result)``; raises the error."""
    result: gevent.event.AsyncResult[Any] = gevent.event.AsyncResult()

    def callback(error: BaseException | None = None, value: Any = None) -> None:
        if error is None:
            result.set(value)
        else:
            result.set_exception(error)

    function(*args, callback)
    return result.get(timeout=10 * FACTOR)


def until(emitter: Any, event: str, check: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """From now on waits for the next `event`; what is returned gives its arguments (the one, if it has one), waiting
    for it. `check` is called with them in the listener; its exceptions are raised there."""
    result: gevent.event.AsyncResult[Any] = gevent.event.AsyncResult()

    def listener(*args: Any) -> None:
        try:
            if check is not None:
                check(*args)
        except BaseException as error:
            result.set_exception(error)
            return
        result.set(args[0] if len(args) == 1 else args)

    emitter.once(event, listener)

    def wait(within: float = 10) -> Any:
        try:
            return result.get(timeout=within * FACTOR)
        except gevent.Timeout:
            raise AssertionError(f"no {event!r} within {within * FACTOR} s") from None

    return wait


def record(emitter: Any, *events: str) -> list[Any]:
    """The list to which these events of `emitter` are appended, as (name, arguments...)."""
    seen: list[Any] = []
    for name in events:

        def listener(*args: Any, name: str = name) -> None:
            seen.append((name, *args))

        emitter.on(name, listener)
    return seen


def close_http(server: Any) -> None:
    """Closes a server and waits until it has."""
    done = Done()
    server.close(done)
    done.wait()


def opened(client: Any) -> Any:
    """`client`, when it is open."""
    if client.readyState == client.CONNECTING:
        until(client, "open")()
    assert client.readyState == client.OPEN
    return client
