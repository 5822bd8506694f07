"""Every item of the checklist has a test named after it, and one that runs on both engines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent

#: Handshakes, frames, compression, the process: how many items each part has.
PARTS = {"h": 25, "f": 23, "c": 7, "s": 6}
ITEMS = [f"{letter}{number}" for letter, last in PARTS.items() for number in range(1, last + 1)]

#: Whoever takes one of these fixtures runs on every stack.
ON_EVERY_STACK = {"stack", "scene", "attack", "process", "make_server"}


def checklist() -> Iterator[tuple[set[str], bool]]:
    """The items that each test is named after (test_h09_..., test_h19_h20_...), and whether it runs on both engines."""
    for path in sorted(FOLDER.glob("test_checklist_*.py")):
        module = ast.parse(path.read_text())
        whole = not any(".only(" in ast.unparse(node) for node in module.body if isinstance(node, ast.Assign))
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found = re.match(r"test_((?:[hfcs][0-9]+_)*)", node.name)
                assert found is not None
                items = {f"{item[0]}{int(item[1:])}" for item in found[1].split("_")[:-1]}
                fixtures = {argument.arg for argument in node.args.args}
                marks = "".join(map(ast.unparse, node.decorator_list))
                yield (
                    items,
                    whole and bool(fixtures & ON_EVERY_STACK) and ".only(" not in marks and ".skip" not in marks,
                )


def test_every_item_has_a_test() -> None:
    named: set[str] = set().union(*(items for items, _ in checklist()))
    assert [item for item in ITEMS if item not in named] == []
    assert named <= set(ITEMS)


def test_every_item_has_a_test_on_both_engines() -> None:
    named: set[str] = set().union(*(items for items, both in checklist() if both))
    assert [item for item in ITEMS if item not in named] == []
