"""Node's EventEmitter."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

__all__ = ["EventEmitter", "positional", "trimmed"]

_ALL_ARGUMENTS = 255


class _Listener(NamedTuple):
    function: Callable[..., Any]
    arity: int
    once: bool


def positional(function: Callable[..., Any]) -> int:
    """How many positional arguments `function` takes; 255 for ``*args`` and where Python cannot tell."""
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):  # what most of them are, much faster
        code = function.__code__
        return _ALL_ARGUMENTS if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return _ALL_ARGUMENTS
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return _ALL_ARGUMENTS
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in parameters)


def trimmed(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` with as many of `args` as it takes: JavaScript drops the rest silently."""
    return function(*args[: positional(function)])


class EventEmitter:
    """Node's event emitter.

    A listener may take fewer arguments than its event has. It runs in the greenlet that emits, and is called without
    ``this``: use a closure. ``on(event)`` without a listener is a decorator, a convenience of this port. For one
    greenlet at a time; listeners may come and go while an event is emitted, which then still reaches those that were
    there at its beginning.
    """

    __slots__ = ("__weakref__", "_events")

    def __init__(self) -> None:
        self._events: dict[str, tuple[_Listener, ...]] = {}

    def on(self, event: str, listener: Callable[..., Any] | None = None) -> Any:
        """Calls `listener` for every `event` from now on; returns this object. Without a listener: a decorator."""
        return self._add(event, listener, once=False, first=False)

    addListener = on

    def once(self, event: str, listener: Callable[..., Any] | None = None) -> Any:
        """As `on`, for the next `event` only."""
        return self._add(event, listener, once=True, first=False)

    def prependListener(self, event: str, listener: Callable[..., Any] | None = None) -> Any:
        """As `on`, but before the listeners that are there."""
        return self._add(event, listener, once=False, first=True)

    def prependOnceListener(self, event: str, listener: Callable[..., Any] | None = None) -> Any:
        """As `once`, but before the listeners that are there."""
        return self._add(event, listener, once=True, first=True)

    def off(self, event: str, listener: Callable[..., Any]) -> Any:
        """Removes the latest registration of `listener`; returns this object."""
        listeners = self._events.get(event, ())
        for index in reversed(range(len(listeners))):
            if listeners[index].function == listener:
                self._replace(event, listeners[:index] + listeners[index + 1 :])
                break
        return self

    removeListener = off

    def removeAllListeners(self, event: str | None = None) -> Any:
        """Removes the listeners of `event`, or of all events."""
        if event is None:
            self._events = {}
        else:
            self._events.pop(event, None)
        return self

    def emit(self, event: str, *args: Any) -> bool:
        """Calls the listeners of `event` in order; whether there was one.

        ``'error'`` without a listener raises the error. What a listener raises comes out of here.
        """
        listeners = self._events.get(event)
        if listeners is None:
            if event == "error":
                if args and isinstance(args[0], BaseException):
                    raise args[0]
                raise RuntimeError(f"unhandled error event {args!r}")
            return False
        for listener in listeners:
            if listener.once:
                self._remove(event, listener)
            listener.function(*args[: listener.arity])
        return True

    def listeners(self, event: str) -> list[Callable[..., Any]]:
        """The listeners of `event`, in order."""
        return [listener.function for listener in self._events.get(event, ())]

    def listenerCount(self, event: str) -> int:
        """How many listeners `event` has."""
        return len(self._events.get(event, ()))

    def eventNames(self) -> list[str]:
        """The events that have listeners."""
        return list(self._events)

    def _add(self, event: str, function: Callable[..., Any] | None, *, once: bool, first: bool) -> Any:
        if function is None:

            def decorate(decorated: Callable[..., Any]) -> Callable[..., Any]:
                self._add(event, decorated, once=once, first=first)
                return decorated

            return decorate
        if not callable(function):
            raise TypeError(f"a listener must be callable, not {type(function).__name__}")
        listener = _Listener(function, positional(function), once)
        listeners = self._events.get(event, ())
        self._events[event] = (listener, *listeners) if first else (*listeners, listener)
        return self

    def _remove(self, event: str, listener: _Listener) -> None:
        listeners = self._events.get(event, ())
        for index, candidate in enumerate(listeners):
            if candidate is listener:
                self._replace(event, listeners[:index] + listeners[index + 1 :])
                return

    def _replace(self, event: str, listeners: tuple[_Listener, ...]) -> None:
        if listeners:
            self._events[event] = listeners
        else:
            self._events.pop(event, None)
