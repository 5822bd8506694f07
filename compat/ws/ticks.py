"""JavaScript's turns of the event loop in terms of gevent: user code runs in greenlets, never in the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

__all__ = ["nextTick", "setImmediate"]


def nextTick(function: Callable[..., Any], *args: Any) -> gevent.Greenlet[..., Any]:
    """Calls ``function(*args)`` in a greenlet of its own when the calling greenlet gives way; in the order of the
    calls."""
    return gevent.spawn(function, *args)


def setImmediate(function: Callable[..., Any], *args: Any) -> gevent.Greenlet[..., Any]:
    """As `nextTick`, but after everything that `nextTick` was told until then, and one at a time."""
    return gevent.spawn_later(0, function, *args)
