"""Comparing the suite's results with the committed expectations (expected.json and, as a client, expected_client.json:
case -> behavior, behaviorClose)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

EXPECTED = {
    "server": Path(__file__).with_name("expected.json"),
    "client": Path(__file__).with_name("expected_client.json"),
}

# Where the standard leaves a choice, and we are free to make either: invalid UTF-8 may be refused at its first octet or
# when the message is complete.
MAY_BE_NON_STRICT = "6.4."

Results = Mapping[str, Mapping[str, object]]


def section_of(case: str) -> int:
    return int(case.split(".")[0])


def sort_key(case: str) -> tuple[int, ...]:
    return tuple(map(int, case.split(".")))


def expectations(section: int, role: str = "server") -> dict[str, dict[str, str]]:
    """What is expected of the cases of one section."""
    everything: dict[str, dict[str, str]] = json.loads(EXPECTED[role].read_text())
    return {case: expected for case, expected in everything.items() if section_of(case) == section}


def by_section(selected: Iterable[str]) -> dict[int, list[str]]:
    """Section -> the suite's patterns, for sections ("12"), parts of them ("12.1") and single cases ("12.1.18")."""
    cases = json.loads(EXPECTED["server"].read_text())
    patterns: dict[int, list[str]] = {}
    for name in selected:
        patterns.setdefault(section_of(name), []).append(name if name in cases else f"{name}.*")
    return patterns


def differences(section: int, results: Results, patterns: Iterable[str] = ("*",), role: str = "server") -> list[str]:
    """One line for each case that is not as expected; a case that was not run, or that nobody knows, is not. The
    `patterns` say which cases of the section were to be run."""
    lines = []
    patterns = tuple(patterns)
    expected_of = {
        case: expected
        for case, expected in expectations(section, role).items()
        if any(fnmatchcase(case, pattern) for pattern in patterns)
    }
    if not expected_of:
        lines.append(f"section {section}: nothing is committed as expected")
    for case in sorted({*expected_of, *results}, key=sort_key):
        expected, result = expected_of.get(case), results.get(case)
        if expected is None:
            lines.append(f"{case}: nothing is committed as expected, got {result}")
        elif result is None:
            lines.append(f"{case}: was not run")
        else:
            for what in ("behavior", "behaviorClose"):
                allowed = {expected[what]}
                if what == "behavior" and case.startswith(MAY_BE_NON_STRICT):
                    allowed |= {"OK", "NON-STRICT"}
                if result[what] not in allowed:
                    code = result.get("remoteCloseCode")
                    lines.append(
                        f"{case}: {what} is {result[what]}, expected {expected[what]} (the close code we sent: {code})"
                    )
    return lines


def counts(results: Results) -> str:
    """How many cases have which behavior, in words."""
    by_behavior: dict[str, int] = {}
    for result in results.values():
        behavior = str(result["behavior"])
        by_behavior[behavior] = by_behavior.get(behavior, 0) + 1
    return ", ".join(f"{count} {behavior}" for behavior, count in sorted(by_behavior.items()))
