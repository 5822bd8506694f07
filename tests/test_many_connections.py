"""As many connections as a machine's worth of workers is meant for: what they cost while they are idle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from client import FACTOR
from helpers import SCRIPTS, Stack, environment, process_memory, process_ticks
from tools import listening, lws_gevent, missing

CONNECTIONS, WORKERS, LOADS = 100_000, 6, 6
DESCRIPTORS = 20_000  # for each process
MEMORY = 60e6  # private octets of all workers together
CORE = 0.005  # of one core, for each worker
WINDOW = 5  # seconds in which the time of the processor is taken


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("LWS_GEVENT_TEST_MEMORY") == "0", reason="memory tells nothing here")
@pytest.mark.only("parked")
@pytest.mark.timeout_factor(4)
def test_a_hundred_thousand_idle_connections(stack: Stack) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        missing(f"a process may have {hard} descriptors here, {DESCRIPTORS} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    loads: list[subprocess.Popen[bytes]] = []
    try:
        with lws_gevent("echo", "--port", "0", "--workers", str(WORKERS), stack=stack) as server:
            host, port = listening(server)
            pids = [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]
            assert len(pids) == WORKERS
            fresh = sum(process_memory(pid) for pid in pids)
            for number in range(LOADS):
                count = CONNECTIONS * (number + 1) // LOADS - CONNECTIONS * number // LOADS
                # A source address each: the system has some 28,000 ports for one.
                arguments = [str(SCRIPTS / "idle_load.py"), host, str(port), str(count), f"127.0.1.{number + 1}"]
                loads.append(
                    subprocess.Popen(
                        [sys.executable, *arguments], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
                    )
                )
            begun = time.monotonic()
            for load in loads:
                assert load.stdout is not None and load.stdout.readline() == b"open\n"
            took = time.monotonic() - begun
            open_descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
            assert sum(open_descriptors) >= CONNECTIONS and max(open_descriptors) < DESCRIPTORS
            memory = [process_memory(pid) for pid in pids]
            before = [process_ticks(pid) for pid in pids]
            begun = time.monotonic()
            time.sleep(WINDOW * FACTOR)
            seconds = time.monotonic() - begun
            ticks = [process_ticks(pid) - earlier for pid, earlier in zip(pids, before, strict=True)]
            cores = [count / os.sysconf("SC_CLK_TCK") / seconds for count in ticks]
            print(
                f"\n{CONNECTIONS} idle connections over {WORKERS} workers, opened in {took:.1f} s: "
                f"{sum(memory) / 1e6:.1f} MB private ({fresh / 1e6:.1f} MB before), each "
                f"{min(memory) / 1e6:.1f} to {max(memory) / 1e6:.1f} MB; "
                f"{(sum(memory) - fresh) / CONNECTIONS:.0f} octets per connection; "
                f"at most {max(cores):.2%} of a core each"
            )
            assert sum(memory) < MEMORY
            assert max(cores) < CORE
            for load in loads:
                load.kill()
            server.signal(signal.SIGTERM)
            assert server.wait(30) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for load in loads:
            load.kill()
            load.communicate()
