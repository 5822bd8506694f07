"""The record of a run: begun with the circumstances, merged with that of a run before, kept as JSON."""

from __future__ import annotations

import inspect
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Results
from benchmarks.processes import ROOT, Cores
from benchmarks.servers import SERVERS


def handler_source() -> str:
    """The source of the echo handler that is measured: what `lws-gevent echo` registers."""
    from lws_gevent import cli

    return inspect.getsource(cli.echo)


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
