"""Names of both Pythons, which third parties import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

__all__ = ["PY2", "PY3", "iteritems", "range_type", "string_types", "text_type"]

K = TypeVar("K")
V = TypeVar("V")

PY3, PY2 = True, False
text_type = str
string_types = (str,)
range_type = range


def iteritems(mapping: Mapping[K, V]) -> Iterator[tuple[K, V]]:
    """The items of a mapping."""
    return iter(mapping.items())
