"""How results of the Autobahn test suite are judged."""

from __future__ import annotations

import json

import pytest
from autobahn import results


def as_expected(section: int) -> dict[str, dict[str, object]]:
    return {case: dict(expected) for case, expected in results.expectations(section).items()}


def test_what_is_expected_has_no_difference() -> None:
    for section in (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13):
        assert results.differences(section, as_expected(section)) == []


def test_a_failed_case_an_unclean_close_and_a_case_that_was_not_run_are_told() -> None:
    found = as_expected(5)
    found["5.1"]["behavior"] = "FAILED"
    found["5.2"]["behaviorClose"] = "UNCLEAN"
    del found["5.3"]
    assert [line.partition(":")[0] for line in results.differences(5, found)] == ["5.1", "5.2", "5.3"]


def test_a_case_or_section_without_expectation_is_told() -> None:
    found = as_expected(10)
    found["10.9.9"] = {"behavior": "OK", "behaviorClose": "OK"}
    assert len(results.differences(10, found)) == 1
    assert results.differences(8, {}) != []


def test_parts_of_sections_and_single_cases_may_be_selected() -> None:
    patterns = results.by_section(["5", "12.1.1", "13.7", "12.5.1"])
    assert list(patterns) == [5, 12, 13]
    assert len(results.differences(13, {}, patterns[13])) == 18
    assert len(results.differences(5, {}, patterns[5])) == len(as_expected(5))
    found = {case: result for case, result in as_expected(12).items() if case in ("12.1.1", "12.5.1")}
    assert results.differences(12, found, patterns[12]) == []
    assert len(results.differences(12, found, ["12.*"])) == 88
    del found["12.5.1"]
    assert results.differences(12, found, patterns[12]) == ["12.5.1: was not run"]


def test_only_late_refusal_of_invalid_utf_8_may_be_non_strict() -> None:
    found = as_expected(6)
    found["6.4.1"]["behavior"] = "NON-STRICT"
    assert results.differences(6, found) == []
    found["6.3.1"]["behavior"] = "NON-STRICT"
    assert len(results.differences(6, found)) == 1


@pytest.mark.parametrize("role", ["server", "client"])
def test_the_committed_expectations_are_the_517_cases_and_allow_no_failure(role: str) -> None:
    everything = json.loads(results.EXPECTED[role].read_text())
    assert len(everything) == 517
    informational = {"7.1.6", "7.13.1", "7.13.2"}
    for case, expected in everything.items():
        what = "INFORMATIONAL" if case in informational else "OK"
        assert expected["behaviorClose"] == what
        assert expected["behavior"] == what or (case.startswith("6.4.") and expected["behavior"] == "NON-STRICT")
