"""The set of a server's connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ClientSet"]


class ClientSet:
    """JavaScript's Set: in the order of insertion. Iterating goes over a snapshot, so that connections may come and go
    while one sends to all of them."""

    def __init__(self) -> None:
        self._members: dict[Any, None] = {}

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._members)

    def add(self, member: Any) -> ClientSet:
        """Puts `member` in."""
        self._members[member] = None
        return self

    def delete(self, member: Any) -> bool:
        """Takes `member` out; whether it was there."""
        if member not in self._members:
            return False
        del self._members[member]
        return True

    def has(self, member: Any) -> bool:
        """Whether `member` is there."""
        return member in self._members

    def forEach(self, function: Callable[[Any], Any]) -> None:
        """Calls `function` with every member."""
        for member in self:
            function(member)

    def values(self) -> Iterator[Any]:
        """The members."""
        return iter(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members
