"""Deadlines of many connections on one timer (layer 2).

No timer per connection: deadlines that lie close together share a slot, one set of connections, and one timer waits
for the earliest slot. A deadline that moves because something was received costs nothing: the connection notes the
time, and says its new deadline when the old slot is due. With no deadline there is no timer, so that the hub can end.
"""

from __future__ import annotations

import math
import time
from typing import Any, Protocol

__all__ = ["Deadlines", "HasDeadlines"]

#: Slots in the near future are finer, so that a short timeout is not doubled by rounding.
_NEAR, _NEAR_TICK, _FAR_TICK = 8.0, 0.125, 1.0

#: So many connections are looked at before the hub has its turn.
_BATCH = 500


class HasDeadlines(Protocol):
    """What can stand in `Deadlines`."""

    #: The slot that it stands in; only `Deadlines` writes it. None at the beginning.
    deadline_slot: float | None

    def check_deadlines(self, now: float) -> float | None:
        """Acts on what is due at `now`; when to be called again (None: not before the next `Deadlines.set`). In the
        hub."""

    def __hash__(self) -> int: ...


class Deadlines:
    """The deadlines of the connections of one engine, as seconds of `time.monotonic`."""

    __slots__ = ("_armed", "_loop", "_slots", "_timer")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._slots: dict[float, dict[HasDeadlines, None]] = {}
        self._timer: Any = None
        self._armed = math.inf

    def __bool__(self) -> bool:
        return bool(self._slots)

    def set(self, item: HasDeadlines, due: float) -> None:
        """`item.check_deadlines` is called at `due` or shortly after. An earlier call that is already planned stays."""
        tick = _FAR_TICK if due - time.monotonic() > _NEAR else _NEAR_TICK
        slot = math.ceil(due / tick) * tick
        planned = item.deadline_slot
        if planned is not None:
            if planned <= slot:
                return
            self._remove(item, planned)
        item.deadline_slot = slot
        self._slots.setdefault(slot, {})[item] = None
        if slot < self._armed:
            self._arm()

    def cancel(self, item: HasDeadlines) -> None:
        """`item` is not called any more and no reference to it is kept."""
        if item.deadline_slot is not None:
            self._remove(item, item.deadline_slot)
            item.deadline_slot = None
            if not self._slots:
                self.clear()

    def clear(self) -> None:
        """Forgets everything and stops the timer."""
        self._slots.clear()
        self._armed = math.inf
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _remove(self, item: HasDeadlines, slot: float) -> None:
        members = self._slots.get(slot)
        if members is not None:
            members.pop(item, None)
            if not members:
                del self._slots[slot]

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        self._armed = min(self._slots, default=math.inf)
        if self._slots:
            self._timer = self._loop.timer(max(self._armed - time.monotonic(), 0.0))
            self._timer.start(self._sweep, update=True)

    def _sweep(self) -> None:
        now = time.monotonic()
        left = _BATCH
        for slot in sorted(slot for slot in self._slots if slot <= now):
            while left:
                members = self._slots.get(slot)
                if not members:
                    break
                item, _ = members.popitem()
                if not members:
                    del self._slots[slot]
                item.deadline_slot = None
                left -= 1
                due = item.check_deadlines(now)
                if due is not None:
                    self.set(item, due)
        self._arm()
