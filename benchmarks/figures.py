"""What the figures of the rounds amount to: medians, ratios, and whether what was asked is reached."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import blocked
from benchmarks.rows import BLOCKED, ROWS, Row
from benchmarks.servers import OURS

Results = dict[str, Any]
Measured = Mapping[str, Sequence[Mapping[str, Any]]]


def values(measured: Measured, server: str) -> list[float]:
    """The figures of the rounds that succeeded."""
    return [one["value"] for one in measured.get(server, ()) if "value" in one]


def median(measured: Measured, server: str) -> float | None:
    found = values(measured, server)
    return statistics.median(found) if found else None


def ratio(measured: Measured, server: str, to: str) -> float | None:
    """The median of the ratios of each round."""
    pairs = zip(measured.get(server, ()), measured.get(to, ()), strict=False)
    found = [one["value"] / other["value"] for one, other in pairs if "value" in one and other.get("value")]
    return statistics.median(found) if found else None


def meets_must(row: Row, measured: Measured) -> bool | None:
    """None: nothing is asked, or there is no figure."""
    if row.reference is None:
        reached = median(measured, row.subject)
    else:
        reached = ratio(measured, row.subject, row.reference)
    return None if row.must is None or reached is None else reached <= row.must


def goal_distance(row: Row, measured: Measured) -> float | None:
    """Our figure as a multiple of the goal: 1 or less is reached."""
    if row.goal is None:
        return None
    if row.goal.server is None:
        ours = median(measured, OURS)
        return None if ours is None else ours / row.goal.factor
    reached = ratio(measured, OURS, row.goal.server)
    return None if reached is None else reached / row.goal.factor


def missed(results: Results) -> list[str]:
    """The names of the cases whose `must` is missed."""
    names = [name for name, measured in results["rows"].items() if meets_must(ROWS[name], measured) is False]
    if BLOCKED in results and not all(blocked_verdict(results[BLOCKED])):
        names.append(BLOCKED)
    return names


def blocked_verdict(measured: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether memory is within the limit, and whether no connection waited for another."""
    rounds = measured.get("rounds") or []
    if not rounds:
        return False, False
    memory = statistics.median(one["connection_bytes"] / one["greenlet_bytes"] for one in rounds)
    return memory <= blocked.MUST_MEMORY, all(blocked.nobody_waited(one) for one in rounds)
