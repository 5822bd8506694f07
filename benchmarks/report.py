"""What is made of the figures: the table, the JSON file, the documentation with its plots."""

from __future__ import annotations

import inspect
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import blocked
from benchmarks.processes import ROOT, Cores
from benchmarks.rows import BLOCKED, ROWS, TABLE, Quantity, Row
from benchmarks.servers import LIMIT, OURS, REFERENCE, SERVERS

DOCUMENT = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"

Results = dict[str, Any]
Measured = Mapping[str, Sequence[Mapping[str, Any]]]


# --- figures ---------------------------------------------------------------------------------------------------------


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
    reached = ratio(measured, OURS, REFERENCE)
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


# --- words -----------------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """Three significant digits, thousands with commas."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def _verdict(met: bool | None) -> str:
    return "-" if met is None else "pass" if met else "MISS"


def row_summary(row: Row, measured: Measured) -> str:
    """One row as one line, for the one who watches."""
    parts = []
    for name in measured:
        found = values(measured, name)
        if not found:
            parts.append(f"{name} failed")
            continue
        to = ratio(measured, name, REFERENCE)
        spread = f" [{number(min(found))}..{number(max(found))}]" if len(found) > 1 else ""
        parts.append(
            f"{name} {number(median(measured, name))}{spread}"
            + (f" = {to:.3f} x ws" if to and name != REFERENCE else "")
        )
    verdict = meets_must(row, measured)
    must = f" | must {row.must:g}: {_verdict(verdict)}" if row.must is not None and verdict is not None else ""
    distance = goal_distance(row, measured)
    goal = f" | goal {row.goal}: x {distance:.2f}" if distance is not None else ""
    to_limit = ratio(measured, OURS, LIMIT)
    limit = f" | {to_limit:.2f} x the C limit" if to_limit is not None else ""
    return f"{row.title} ({row.quantity.value}): {', '.join(parts)}{must}{limit}{goal}"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the columns aligned so that it reads in a terminal too."""
    cells = [list(header), *map(list, lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    out = [
        [
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in cells
    ]
    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    out.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in out)


def _measured_rows(results: Results) -> list[tuple[Row, Measured]]:
    return [(row, results["rows"][row.name]) for row in TABLE if row.name in results["rows"]]


def targets_table(results: Results) -> str:
    """Where lws_gevent stands: beside ws, the limit, and what was to be reached."""
    lines = []
    for row, measured in _measured_rows(results):
        distance, to_ws, to_limit = (
            goal_distance(row, measured),
            ratio(measured, OURS, REFERENCE),
            ratio(measured, OURS, LIMIT),
        )
        lines.append(
            [
                row.title,
                row.quantity.value,
                number(median(measured, OURS)),
                number(median(measured, REFERENCE)),
                "-" if to_ws is None else f"{to_ws:.3f}",
                "-" if row.must is None else f"{row.must:g}",
                _verdict(meets_must(row, measured)),
                number(median(measured, LIMIT)),
                "-" if to_limit is None else f"{to_limit:.2f}",
                "-" if row.goal is None else str(row.goal),
                "-" if distance is None else "reached" if distance <= 1 else f"{distance:.2f} x the goal",
            ]
        )
    header = ["case", "unit", "lws_gevent", "ws", "ratio", "must", "", "C limit", "x limit", "goal", "goal reached"]
    return _table(header, lines)


def servers_table(results: Results) -> str:
    """Every case and every server."""
    names = [name for name in SERVERS if name in results["servers"]]
    lines = [
        [f"{row.title} ({row.quantity.value})", *(number(median(measured, name)) for name in names)]
        for row, measured in _measured_rows(results)
    ]
    return _table(["case", *(results["servers"][name]["title"] for name in names)], lines)


def latency_table(results: Results) -> str:
    """Throughput and latency, which depend on the machine and on what else runs there; medians of the rounds."""
    lines = []
    for row, measured in _measured_rows(results):
        if row.quantity is not Quantity.CPU:
            continue
        for name, rounds in measured.items():
            reports = [one["load"] for one in rounds if "load" in one]
            if reports:
                latency = [
                    statistics.median(r["latency_us"][key] for r in reports) for key in ("p50", "p90", "p99", "max")
                ]
                throughput = statistics.median(r["throughput"] for r in reports)
                lines.append([row.title, name, f"{throughput:,.0f}", *map(number, latency)])
    return _table(["case", "server", "per second", "p50 us", "p90 us", "p99 us", "max us"], lines)


def blocked_text(results: Results) -> str:
    """The case of the handlers that sleep, in a few lines."""
    measured = results.get(BLOCKED)
    if not measured:
        return ""
    if "error" in measured:
        return f"Blocked handlers: failed: {measured['error']}"
    middle = {key: statistics.median(one[key] for one in measured["rounds"]) for key in measured["rounds"][0]}
    memory, waiting = blocked_verdict(measured)
    share = middle["connection_bytes"] / middle["greenlet_bytes"]
    one_by_one = blocked.CONNECTIONS * blocked.SLEEP
    return (
        f"{blocked.CONNECTIONS:,} connections whose handlers all sleep at once:\n\n"
        f"- Memory: {number(middle['connection_bytes'])} bytes each, all in all; a bare gevent greenlet that sleeps "
        f"needs {number(middle['greenlet_bytes'])}. Ratio {share:.2f}, must be at most {blocked.MUST_MEMORY:g}: "
        f"**{_verdict(memory)}**.\n"
        f"- Time: one message to each in the same moment, {blocked.SLEEP * 1000:g} ms of sleep in each handler: the "
        f"longest wait is {middle['longest_wait'] * 1000:,.0f} ms; {middle['cpu_seconds'] * 1000:,.0f} ms is the "
        f"server's CPU time for all of them (one after another the sleeps alone were {one_by_one:,.0f} s). No "
        f"connection waits for another: **{_verdict(waiting)}**."
    )


def handler_source() -> str:
    """The source of the echo handler that is measured: what `lws-gevent echo` registers."""
    from lws_gevent import cli

    return inspect.getsource(cli.echo)


def text(results: Results) -> str:
    """All of it, for the terminal."""
    parts = [
        machine_text(results),
        targets_table(results),
        blocked_text(results),
        servers_table(results),
        latency_table(results),
    ]
    return "\n\n".join(part for part in (*parts, f"The handler measured:\n\n{results['handler']}") if part)


# --- the file --------------------------------------------------------------------------------------------------------


def _cpu_model() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def new_results(servers: Sequence[str], cores: Cores, rounds: int, seconds: float) -> Results:
    """Results without figures yet: the circumstances."""
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    try:
        handler = handler_source()
    except ImportError as error:
        handler = f"(lws_gevent cannot be imported: {error})"
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "server_core": cores.server,
            "load_core": cores.load,
        },
        "revision": revision,
        "rounds": rounds,
        "seconds": seconds,
        "servers": {name: {"title": SERVERS[name].title, "version": SERVERS[name].version()} for name in servers},
        "handler": handler,
        "rows": {},
    }


def merge(old: Results, new: Results) -> Results:
    """The old figures with the new ones put over them, server by server.

    A server that was not measured again keeps its rounds, so ratios to it then span two runs.
    """
    rows = dict(old["rows"])
    for name, measured in new["rows"].items():
        rows[name] = {**rows.get(name, {}), **measured}
    return {**old, **new, "servers": {**old["servers"], **new["servers"]}, "rows": rows}


def load(path: Path) -> Results:
    results: Results = json.loads(path.read_text())
    return results


def save(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


# --- the documentation -----------------------------------------------------------------------------------------------


def machine_text(results: Results) -> str:
    machine = results["machine"]
    versions = ", ".join(
        f"{server['title']} {server['version']}" for server in results["servers"].values() if server["version"]
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['python']}; server and load "
        f"on a core each; median of {results['rounds']} rounds. {versions}."
    )


def replace_section(document: str, name: str, content: str) -> str:
    """`document` with what stands between `<!-- benchmarks: NAME -->` and `<!-- end -->` replaced.

    Without the two markers it is returned as it is.
    """
    pattern = re.compile(rf"(<!-- benchmarks: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", document)


def readme_table(results: Results) -> str:
    """A few servers and the ratio to ws, short enough for the README."""
    names = [
        name
        for name in (OURS, REFERENCE, "picows", "socketify", "gevent-websocket", LIMIT)
        if name in results["servers"]
    ]
    lines = []
    for row, measured in _measured_rows(results):
        to = ratio(measured, OURS, REFERENCE)
        figures = [number(median(measured, name)) for name in names]
        lines.append([f"{row.title} ({row.quantity.value})", *figures, "-" if to is None else f"{to * 100:.1f} %"])
    return _table(["", *(results["servers"][name]["title"] for name in names), "of ws"], lines)


def publish(results: Results) -> None:
    """Writes the marked sections of docs/performance.md and of the README, and the plots."""
    from benchmarks import plots

    try:
        plots.draw(results, IMAGES)
    except ImportError as error:
        print(f"no plots: {error}", file=sys.stderr)
    sections = {
        "machine": machine_text(results),
        "targets": targets_table(results),
        "servers": servers_table(results),
        "latency": latency_table(results),
        "blocked": blocked_text(results),
        "handler": f"```python\n{results['handler'].rstrip()}\n```",
        "readme": readme_table(results),
    }
    for path in (DOCUMENT, README):
        if path.exists():
            document = path.read_text()
            for name, content in sections.items():
                document = replace_section(document, name, content)
            path.write_text(document)
