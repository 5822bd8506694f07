"""Writes docs/compat-ws-parity.md: every test case of ws, and how lws_gevent.compat.ws stands to it.

It reads tests/compat/ws without running it: the ``@case(file, title)`` marks of the tests and the reasons in
differences.py. ``--check`` writes nothing and says whether the page is what they say.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "compat" / "ws"
PAGE = ROOT / "docs" / "compat-ws-parity.md"

INTRODUCTION = """# lws_gevent.compat.ws against ws's own tests

Every test case of ws (the files of its test folder), with the test of ours that asserts the same: *covered* passes;
*differs* is answered differently, with the reason; *Node only* means nothing outside Node (property descriptors, Blob,
limits and bugs of Node's own HTTP parser and streams). Written by docs/make_ws_parity.py.
"""

WORDS = {"covered": "covered", "differs": "differs", "node": "Node only", "missing": "**not covered**"}


def marks() -> dict[tuple[str, str], list[str]]:
    """(file, title) of the original -> our tests, as file::function."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        namespace: dict[str, object] = {}
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                try:
                    namespace[node.targets[0].id] = eval(  # noqa: S307 - our own constants
                        compile(ast.Expression(node.value), str(path), "eval"), {}, namespace
                    )
                except Exception:  # not a constant
                    continue
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                for file, title in _cases(decorator, namespace):
                    found.setdefault((file, title), []).append(f"{path.name}::{node.name}")
    return found


def _cases(decorator: ast.expr, namespace: dict[str, object]) -> list[tuple[str, str]]:
    """What one decorator says: ``case(file, title)``, or a table of titles named by ``case_of_...``."""
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "case":
        values = [
            eval(compile(ast.Expression(argument), "case", "eval"), {}, namespace)  # noqa: S307 - our own constants
            for argument in decorator.args
        ]
        return [(str(values[0]), str(values[1]))]
    if isinstance(decorator, ast.Name) and decorator.id == "case_of_breaches":
        table = namespace["BREACHES"]
        assert isinstance(table, list)
        return [(str(namespace["FILE"]), f"Receiver > {row[0]}") for row in table]
    return []


def differences() -> dict[tuple[str, str], str]:
    """(file, title) -> why it differs."""
    namespace: dict[str, dict[tuple[str, str], str]] = {}
    exec((TESTS / "differences.py").read_text(encoding="utf-8"), namespace)  # noqa: S102 - our own table
    return namespace["DIFFERENT"]


def rows() -> list[tuple[str, str, str, str]]:
    """(file, title, state, remark) of every original."""
    originals: dict[str, list[list[str]]] = json.loads((TESTS / "originals.json").read_text(encoding="utf-8"))
    ours, different = marks(), differences()
    result = []
    for file, cases in originals.items():
        for title, kind in cases:
            key = (file, title)
            if key in ours:
                result.append((*key, "covered", ", ".join(f"`{name}`" for name in ours[key])))
            elif key in different:
                result.append((*key, "differs", different[key]))
            else:
                result.append((*key, "node" if kind == "N" else "missing", ""))
    return result


def page() -> str:
    table = rows()
    lines = [INTRODUCTION]
    counts = {state: sum(row[2] == state for row in table) for state in WORDS}
    lines.append("; ".join(f"{counts[state]} {word}" for state, word in WORDS.items() if counts[state]) + ".")
    file = None
    for name, title, state, remark in table:
        if name != file:
            file = name
            lines += ["", f"## {name}", "", "| test of ws | | |", "|---|---|---|"]
        lines.append(f"| {title.replace('|', chr(92) + '|')} | {WORDS[state]} | {remark} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
