"""The documentation: its links lead somewhere, its first server works, the reference is what the docstrings say."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from client import Client
from helpers import environment
from tools import Process

from lws_gevent.context import SERVER_EVENTS
from lws_gevent.options import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_exist(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def anchors(page: Path) -> set[str]:
    """The fragments that lead to a heading of the page, made of it as GitHub does."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_into_pages_lead_to_headings_that_exist(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    lost = []
    for path, fragment in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", text):
        target = (page.parent / path).resolve() if path else page
        if "://" not in path and target.suffix == ".md" and fragment not in anchors(target):
            lost.append(f"{path}#{fragment}")
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_in_the_pages_compiles(page: Path) -> None:
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
        compile(code, f"{page.name}, block {number}", "exec")


@pytest.mark.parametrize(("page", "greeting"), [("README.md", ["welcome"]), ("docs/tutorial.md", [])])
def test_the_first_server_of_the_page_works_as_written(page: str, greeting: list[str], tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    code = next(block for block in blocks if "serve_forever()" in block)
    assert code.count("port=3000") == code.count("server.serve_forever()") == 1
    code = code.replace("port=3000", "port=0")
    code = code.replace(
        "server.serve_forever()", "server.start(); print(server.port, flush=True); server.serve_forever()"
    )
    program = tmp_path / "server.py"
    program.write_text(code)
    with Process([sys.executable, str(program)], environment()) as server:
        client = Client.connect(("127.0.0.1", int(server.line())))
        for expected in greeting:
            assert client.recv_message() == expected
        for message in ("text", b"binary"):
            client.echo(message)
        client.close_handshake(1000, "bye")
        if greeting:
            assert server.line().startswith("left: ('127.0.0.1', ") and server.output.endswith(b" 1000 bye\n")


def test_every_option_and_event_is_documented_with_its_default() -> None:
    options = (ROOT / "docs" / "reference" / "options.md").read_text()
    rows = {name: row for row in options.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row)}
    for field in dataclasses.fields(Settings):
        default = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
        assert f"| `{default}` |" in rows[field.name], field.name
    events = (ROOT / "docs" / "reference" / "events.md").read_text()
    assert set(SERVER_EVENTS) <= set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", events, re.M))))


def test_the_reference_is_what_the_docstrings_say() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make_reference.py"), "--check"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


#: All that the README of node-lws has.
NODE_LWS = """
port path keepAliveTime keepAliveInterval keepAliveRetry bufferSize perMessageDeflate serverNoContextTakeover
clientNoContextTakeover serverMaxWindowBits clientMaxWindowBits memLevel ssl key cert ca ciphers rejectUnauthorized
upgrade connection error message close http
setUserData getUserData getFd send prepareBuffer sendPrepared handleUpgrade wsServer
""".split()


def test_everything_of_node_lws_stands_beside_ours_with_a_test_that_exists() -> None:
    rows = [
        row.split(" | ")
        for row in (ROOT / "docs" / "from-node-lws.md").read_text().splitlines()
        if row.startswith("| `") or row.startswith("| node-lws")
    ]
    theirs = set(re.findall(r"\w+", " ".join(row[0] for row in rows)))
    assert [name for name in NODE_LWS if name not in theirs] == []
    for row in rows:
        if row[0] == "| node-lws":
            continue
        named = re.findall(r"`(\w+\.py)::(\w+)`", row[-1])
        assert named, f"no test for {row[0]}"
        for file, test in named:
            (path,) = (ROOT / "tests").rglob(file)
            assert re.search(rf"^(    )?def {test}\(", path.read_text(), re.M), f"{file} has no {test}"
