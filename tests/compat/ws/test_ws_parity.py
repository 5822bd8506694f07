"""The table of ws's own test cases is complete and up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from differences import DIFFERENT
from parity import ORIGINALS

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_is_what_the_tests_say() -> None:
    status = subprocess.run([sys.executable, str(ROOT / "docs" / "make_ws_parity.py"), "--check"]).returncode
    assert status == 0, "docs/compat-ws-parity.md is not up to date: run docs/make_ws_parity.py"


def test_every_case_that_means_something_outside_node_is_covered_or_explained() -> None:
    page = (ROOT / "docs" / "compat-ws-parity.md").read_text(encoding="utf-8")
    assert "**not covered**" not in page
    meaningful = sum(kind != "N" for cases in ORIGINALS.values() for _, kind in cases)
    assert meaningful == 394
    assert meaningful - len(DIFFERENT) >= 385
    for file, title in DIFFERENT:
        assert any(title == known for known, _ in ORIGINALS[file])
