"""The figures in words: one line of a row, the tables, all of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks import blocked
from benchmarks.figures import (
    Measured,
    Results,
    blocked_verdict,
    goal_distance,
    median,
    meets_must,
    ratio,
    values,
)
from benchmarks.rows import BLOCKED, TABLE, WSGI, Quantity, Row
from benchmarks.servers import LIMIT, OURS, REFERENCE, SERVERS


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
        reference = row.reference or ""
        to = ratio(measured, name, reference)
        spread = f" [{number(min(found))}..{number(max(found))}]" if len(found) > 1 else ""
        parts.append(
            f"{name} {number(median(measured, name))}{spread}"
            + (f" = {to:.3f} x {reference}" if to and name != reference else "")
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


def wsgi_table(results: Results) -> str:
    """Under WSGI servers, beside what is compared with there."""
    lines = []
    for row in WSGI:
        measured: Measured = results["rows"].get(row.name, {})
        if not measured:
            continue
        to = None if row.reference is None else ratio(measured, row.subject, row.reference)
        others = [name for name in measured if name not in (row.subject, row.servers[-1])]
        lines.append(
            [
                row.title,
                row.quantity.value,
                number(median(measured, row.subject)),
                number(median(measured, row.servers[-1])),
                "-" if to is None else f"{to:.3f}",
                "-" if row.must is None else f"{row.must:g}" + ("" if row.reference else f" {row.quantity.value}"),
                _verdict(meets_must(row, measured)),
                ", ".join(f"{SERVERS[name].title} {number(median(measured, name))}" for name in others),
            ]
        )
    if not lines:
        return ""
    return _table(["case", "unit", "lws_gevent", "gevent-websocket", "ratio", "must", "", "others"], lines)


def servers_table(results: Results) -> str:
    """Every case and every server."""
    names = [name for name in SERVERS if name in results["servers"] and SERVERS[name].everywhere]
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


def machine_text(results: Results) -> str:
    machine = results["machine"]
    versions = ", ".join(
        f"{server['title']} {server['version']}" for server in results["servers"].values() if server["version"]
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['python']}; server and load "
        f"on a core each; median of {results['rounds']} rounds. {versions}."
    )


def text(results: Results) -> str:
    """All of it, for the terminal."""
    parts = [
        machine_text(results),
        targets_table(results),
        blocked_text(results),
        wsgi_table(results),
        servers_table(results),
        latency_table(results),
    ]
    return "\n\n".join(part for part in (*parts, f"The handler measured:\n\n{results['handler']}") if part)
