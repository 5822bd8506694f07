"""`python -m benchmarks`: measures lws_gevent beside its peers, and prints, stores and publishes the result.

For every case and round the servers are measured one after another, each in a fresh process pinned to one core, with
the load on another. Compared is what the server process used per operation (CPU time of all its threads, private
memory), as a ratio to Node ws in the same round; given is the median of the rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import blocked, deflated, figures, record, report, tables
from benchmarks.measure import cpu_nanoseconds, private_bytes
from benchmarks.processes import HERE, BenchmarkError, Cores, Load, certificate, running_server
from benchmarks.rows import BLOCKED, CURVES, ROWS, TABLE, WSGI, Quantity, Row
from benchmarks.servers import DEFAULT_SERVERS, OURS, QUICK_SERVERS, REFERENCE, SERVERS

LATEST = HERE / "results" / "latest.json"
SETTLE_SECONDS = 0.5
IDLE_CPU_SECONDS = 2.0


def measure_cpu(row: Row, command: Sequence[str], cores: Cores, seconds: float, warm_up: float) -> dict[str, Any]:
    """One server's CPU time per operation of `row`, in microseconds, with the load generator's report."""
    arguments = [*row.load, "--seconds", f"{seconds:g}", "--warm-up", f"{warm_up:g}"]
    with running_server(command, cores.server) as server, Load(server.port, arguments, cores.load) as load:
        load.ready()
        before = cpu_nanoseconds(server.pid)
        result = load.result()
        used = cpu_nanoseconds(server.pid) - before
        return {"value": used / 1000 / result["operations"], "load": result, "said": server.said}


def measure_memory(row: Row, command: Sequence[str], cores: Cores) -> dict[str, Any]:
    """The private memory of a fresh server per idle connection, in bytes, and what CPU time the idle ones cost."""
    with running_server(command, cores.server) as server:
        # One connection comes and goes first, so that what is made once for all does not count.
        warm_up = ("echo", "--connections", "1", "--seconds", "0.05", "--warm-up", "0", *(["--tls"] if row.tls else []))
        with Load(server.port, warm_up, cores.load) as load:
            load.ready()
            load.result()
        time.sleep(SETTLE_SECONDS)
        before = private_bytes(server.pid)
        with Load(server.port, row.load, cores.load) as load:
            load.ready()
            time.sleep(SETTLE_SECONDS)
            cpu_before, begin = cpu_nanoseconds(server.pid), time.monotonic()
            time.sleep(IDLE_CPU_SECONDS)
            idle_cpu = (cpu_nanoseconds(server.pid) - cpu_before) / 1e9 / (time.monotonic() - begin)
            used = private_bytes(server.pid) - before
            result = load.result()
        return {
            "value": max(used, 0) / row.connections,
            "before": before,
            "idle_cpu_percent": round(100 * idle_cpu, 3),
            "load": result,
            "said": server.said,
        }


def measure(row: Row, server_name: str, cores: Cores, seconds: float, warm_up: float) -> dict[str, Any]:
    """One measurement: {"value": ...}, or {"error": ...} when it failed."""
    try:
        if row.mode.deflate:
            deflated.write(Path(row.load[row.load.index("--deflated") + 1]), 1024)
        command = [*SERVERS[server_name].command(row.mode), *(certificate() if row.tls else [])]
        if row.quantity is Quantity.MEMORY:
            return measure_memory(row, command, cores)
        return measure_cpu(row, command, cores, seconds, warm_up)
    except BenchmarkError as error:
        return {"error": str(error)}


def run_rows(
    rows: Iterable[Row], servers: Sequence[str], arguments: argparse.Namespace, cores: Cores
) -> dict[str, Any]:
    """Measures all rows; {row: {server: [one result per round]}}."""
    results: dict[str, Any] = {}
    for row in rows:
        chosen = [name for name in servers if name in row.servers or not row.servers and SERVERS[name].everywhere]
        of_row: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
        for number in range(arguments.rounds):
            for name in chosen if number % 2 == 0 else reversed(chosen):
                result = measure(row, name, cores, arguments.seconds, arguments.warm_up)
                of_row[name].append(result)
                said = result.get("error") or f"{result['value']:.4g} {row.quantity.value}"
                print(f"  {row.name} round {number + 1} {name}: {said}", file=sys.stderr, flush=True)
        results[row.name] = of_row
        print(tables.row_summary(row, of_row), flush=True)
    return results


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0] if __doc__ else None
    )
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (default: 5)")
    parser.add_argument("--seconds", type=float, help="how long one measurement takes (default: 2)")
    parser.add_argument("--warm-up", type=float, help="seconds before it (default: 1)")
    parser.add_argument(
        "--quick", action="store_true", help=f"one short round of {', '.join(QUICK_SERVERS)}: a first look"
    )
    parser.add_argument("--rows", type=_names, help=f"only these, separated by commas: {', '.join((*ROWS, BLOCKED))}")
    parser.add_argument("--servers", type=_names, help=f"only these, separated by commas: {', '.join(SERVERS)}")
    parser.add_argument("--no-curves", action="store_true", help="leave out what only the plots need")
    parser.add_argument("--server-core", type=int, help="core of the server (default: the first)")
    parser.add_argument("--load-core", type=int, help="core of the load (default: the last)")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"where to write the figures (default: {LATEST.relative_to(HERE.parent)} if all were measured)",
    )
    parser.add_argument(
        "--update", action="store_true", help="put what is measured into the latest figures and the documentation"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="measure nothing, write the documentation from the latest figures"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a `must` is missed")
    arguments = parser.parse_args(argv)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (0.5 if arguments.quick else 2.0)
    arguments.warm_up = arguments.warm_up if arguments.warm_up is not None else (0.3 if arguments.quick else 1.0)
    for given, known in ((arguments.rows, (*ROWS, BLOCKED)), (arguments.servers, tuple(SERVERS))):
        if unknown := set(given or ()) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return arguments


def available_servers(names: Iterable[str]) -> list[str]:
    """Those that can be started here; says why of the others."""
    available = []
    for name in names:
        try:
            SERVERS[name].check()
            available.append(name)
        except BenchmarkError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return available


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    if arguments.report_only:
        report.publish(record.load(LATEST))
        return 0
    whole = not (arguments.quick or arguments.rows or arguments.servers or arguments.no_curves)
    servers = available_servers(arguments.servers or (QUICK_SERVERS if arguments.quick else DEFAULT_SERVERS))
    if not servers:
        return 2
    if REFERENCE not in servers:
        print(f"without {REFERENCE} there are no ratios", file=sys.stderr)
    names = arguments.rows or [
        *(row.name for row in (*TABLE, *WSGI)),
        BLOCKED,
        *(row.name for row in CURVES if not (arguments.quick or arguments.no_curves)),
    ]
    cores = Cores.available()
    cores = Cores(
        cores.server if arguments.server_core is None else arguments.server_core,
        cores.load if arguments.load_core is None else arguments.load_core,
    )
    results = record.new_results(servers, cores, arguments.rounds, arguments.seconds)
    results["rows"] = run_rows([ROWS[name] for name in names if name != BLOCKED], servers, arguments, cores)
    if BLOCKED in names and OURS in servers:
        results[BLOCKED] = blocked.measure(arguments.rounds, cores)
    if arguments.update and LATEST.exists():
        results = record.merge(record.load(LATEST), results)
    print(tables.text(results))
    output = arguments.output or (LATEST if whole or arguments.update else None)
    if output:
        record.save(results, output)
    if whole or arguments.update:
        report.publish(results)
    return 1 if arguments.strict and figures.missed(results) else 0
