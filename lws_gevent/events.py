"""The event emitter behind ``server.on(...)`` (layer 0)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar, overload

__all__ = ["ALL_ARGUMENTS", "EventEmitter", "Listener"]

#: The arity of a listener that takes whatever an event has.
ALL_ARGUMENTS = 255

_F = TypeVar("_F", bound=Callable[..., Any])


class Listener(NamedTuple):
    """One registered function: call it as ``function(*arguments[:arity])``; `once`: for the next event only."""

    function: Callable[..., Any]
    arity: int
    once: bool


def arity_of(function: Callable[..., Any]) -> int:
    """How many positional arguments `function` can take; ALL_ARGUMENTS for ``*args`` and where Python cannot tell.

    TypeError when it has a keyword-only parameter without a default: such a function can never be called for an event.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return ALL_ARGUMENTS
    arity = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            arity = ALL_ARGUMENTS
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            arity += 1
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise TypeError(f"a listener gets positional arguments only, but {function!r} needs {parameter.name}=")
    return min(arity, ALL_ARGUMENTS)


class EventEmitter:
    """Keeps the listeners of named events, in the order of their registration.

    A listener may take fewer arguments than its event has; how many is worked out once, when it is registered. The
    tuples in `_listeners` are replaced, never changed, so whoever runs one may be interrupted by any registration.
    Registering is for greenlets of one thread. A subclass that sets `event_names` refuses every other name.
    """

    event_names: ClassVar[tuple[str, ...] | None] = None

    def __init__(self) -> None:
        self._listeners: dict[str, tuple[Listener, ...]] = {}

    @overload
    def on(self, event: str, f: _F) -> _F: ...
    @overload
    def on(self, event: str, f: None = None) -> Callable[[_F], _F]: ...
    def on(self, event: str, f: _F | None = None) -> _F | Callable[[_F], _F]:
        """Calls `f` for every `event` from now on; returns `f`. Without `f` it is a decorator.

        ValueError for an unknown event, TypeError for something that cannot be called.
        """
        return self._register(event, f, once=False)

    @overload
    def once(self, event: str, f: _F) -> _F: ...
    @overload
    def once(self, event: str, f: None = None) -> Callable[[_F], _F]: ...
    def once(self, event: str, f: _F | None = None) -> _F | Callable[[_F], _F]:
        """As `on`, for the next `event` only."""
        return self._register(event, f, once=True)

    def off(self, event: str, f: Callable[..., Any] | None = None) -> None:
        """Removes the latest registration of `f` for `event`, or all its listeners when `f` is None.

        Nothing happens when there is none, so that it may be called twice.
        """
        self._check_event(event)
        listeners = self._listeners.get(event, ())
        if f is None:
            self._replace(event, ())
            return
        for index in reversed(range(len(listeners))):
            if listeners[index].function == f:
                self._replace(event, listeners[:index] + listeners[index + 1 :])
                return

    def listeners(self, event: str) -> tuple[Callable[..., Any], ...]:
        """The functions registered for `event`, in order."""
        self._check_event(event)
        return tuple(listener.function for listener in self._listeners.get(event, ()))

    def _take_listeners(self, event: str) -> tuple[Listener, ...]:
        """The listeners to run for one `event` that happens now; those of `once` are no longer registered after it."""
        listeners = self._listeners.get(event, ())
        for listener in listeners:
            if listener.once:
                self._replace(event, tuple(other for other in listeners if not other.once))
                break
        return listeners

    def _listeners_changed(self, event: str) -> None:
        """Hook: the listeners of `event` are not what they were. For owners that cache them."""

    def _register(self, event: str, f: _F | None, once: bool) -> _F | Callable[[_F], _F]:
        self._check_event(event)
        if f is None:

            def decorate(function: _F) -> _F:
                self._add(event, function, once)
                return function

            return decorate
        self._add(event, f, once)
        return f

    def _add(self, event: str, function: Callable[..., Any], once: bool) -> None:
        if not callable(function):
            raise TypeError(f"a listener must be callable, not {type(function).__name__}")
        self._replace(event, (*self._listeners.get(event, ()), Listener(function, arity_of(function), once)))

    def _replace(self, event: str, listeners: tuple[Listener, ...]) -> None:
        if self._listeners.get(event, ()) == listeners:
            return
        if listeners:
            self._listeners[event] = listeners
        else:
            self._listeners.pop(event, None)
        self._listeners_changed(event)

    def _check_event(self, event: str) -> None:
        if not isinstance(event, str):
            raise TypeError(f"an event's name must be str, not {type(event).__name__}")
        if self.event_names is not None and event not in self.event_names:
            raise ValueError(f"unknown event {event!r}: known are {', '.join(self.event_names)}")
