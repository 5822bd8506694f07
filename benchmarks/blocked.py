"""Handlers that block: thousands of connections whose handlers all sleep at once.

Two questions: what does such a connection need beside a bare gevent greenlet that sleeps, and does any connection wait
for another one's handler.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from benchmarks.measure import cpu_nanoseconds, private_bytes, queued_nanoseconds
from benchmarks.processes import HERE, BenchmarkError, Cores, Load, running_server

CONNECTIONS = 5000
SLEEP = 0.010
MUST_MEMORY = 1.2
SLEEPING = str(HERE / "peers" / "lws_gevent_sleeping.py")


def _wait_until_quiet(pid: int) -> None:
    """Until the process has used nearly nothing for a fifth of a second; at most half a minute."""
    for _ in range(150):
        before = cpu_nanoseconds(pid)
        time.sleep(0.2)
        if cpu_nanoseconds(pid) - before < 2_000_000:
            return


def connection_bytes(cores: Cores) -> float:
    """Private memory per connection whose handler sleeps for long, all of it: connection, greenlet, handler."""
    arguments = ("idle", "--message", "send", "--connections")
    with running_server([sys.executable, SLEEPING, "--seconds", "3600"], cores.server) as server:
        with Load(server.port, (*arguments, "1"), cores.load) as load:
            load.ready()
            load.result()
        _wait_until_quiet(server.pid)
        before = private_bytes(server.pid)
        with Load(server.port, (*arguments, str(CONNECTIONS)), cores.load) as load:
            load.ready()
            _wait_until_quiet(server.pid)
            used = private_bytes(server.pid) - before
            load.result()
        return used / CONNECTIONS


def greenlet_bytes() -> float:
    """Private memory per bare greenlet that sleeps for long."""
    command = [sys.executable, str(HERE / "peers" / "bare_greenlets.py"), "--count", str(CONNECTIONS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdout.readline()
            before = private_bytes(process.pid)
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
            return (private_bytes(process.pid) - before) / CONNECTIONS
        finally:
            process.kill()


def _machine_nanoseconds(*pids: int) -> int:
    return sum(cpu_nanoseconds(pid) + queued_nanoseconds(pid) for pid in pids)


def burst(cores: Cores) -> dict[str, float]:
    """Every connection sends one message in the same moment, and every handler sleeps before it answers.

    Returns seconds: from the first message to the last answer, the longest that one connection waited for its answer,
    the CPU time of the server, and what of the wait the machine explains: the CPU time of server and load, and the time
    that others had their cores.
    """
    arguments = ("echo", "--connections", str(CONNECTIONS), "--warm-up", "0.001", "--seconds", "0")
    with running_server([sys.executable, SLEEPING, "--seconds", str(SLEEP)], cores.server) as server:
        with Load(server.port, arguments, cores.load) as load:
            load.ready()
            cpu_before, machine_before = cpu_nanoseconds(server.pid), _machine_nanoseconds(server.pid, load.pid)
            result = load.result()
            cpu, machine = cpu_nanoseconds(server.pid), _machine_nanoseconds(server.pid, load.pid)
        return {
            "seconds": result["seconds"],
            "longest_wait": result["latency_us"]["max"] / 1e6,
            "cpu_seconds": (cpu - cpu_before) / 1e9,
            "machine_seconds": (machine - machine_before) / 1e9,
        }


def nobody_waited(one: dict[str, float]) -> bool:
    """Whether the sleeps ran side by side.

    Nobody waited for longer than two sleeps and what the machine explains, and that is far from the sleeps one after
    another.
    """
    return one["longest_wait"] <= 2 * SLEEP + one["machine_seconds"] and one["longest_wait"] < CONNECTIONS * SLEEP / 10


def measure(rounds: int, cores: Cores) -> dict[str, Any]:
    """All of it; {"rounds": [...]} or {"error": ...}."""
    measured = []
    try:
        for number in range(rounds):
            one = {"connection_bytes": connection_bytes(cores), "greenlet_bytes": greenlet_bytes(), **burst(cores)}
            print(f"  blocked round {number + 1}: {one}", file=sys.stderr, flush=True)
            measured.append(one)
    except BenchmarkError as error:
        return {"error": str(error)}
    return {"rounds": measured}
