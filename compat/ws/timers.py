"""setTimeout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

__all__ = ["Timer"]


class Timer:
    """Calls ``function()`` after so many milliseconds, in a greenlet of its own, unless it is cancelled."""

    __slots__ = ("_greenlet", "milliseconds")

    def __init__(self, milliseconds: float, function: Callable[[], Any]) -> None:
        self.milliseconds = milliseconds
        self._greenlet = gevent.spawn_later(milliseconds / 1000, function)

    def cancel(self) -> None:
        """It is not called any more."""
        if self._greenlet is not gevent.getcurrent():
            self._greenlet.kill(block=False)
