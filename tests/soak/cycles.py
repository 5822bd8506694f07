"""Two equal cycles of connections that end in every way, and what the server process has before and after."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from client import FACTOR
from helpers import ServerProcess, Stack, eventually

DRIVER = Path(__file__).parent / "driver.c"
COMPILERS = ("cc", "gcc", "clang", "clang-14")

#: Those who say nothing are cut soon; nobody who says something is. Little may wait, for those who take nothing.
OPTIONS: dict[str, Any] = {
    "handshake_timeout": 2 * FACTOR,
    "idle_timeout": 2 * FACTOR,
    "close_timeout": 2 * FACTOR,
    "max_backpressure": 65536,
    "per_message_deflate": True,  # the driver offers it
}

_folder = TemporaryDirectory(prefix="lws-gevent-soak-")


@cache
def driver() -> str:
    """The built driver."""
    binary = f"{_folder.name}/driver"
    compiler = next(filter(shutil.which, COMPILERS))
    subprocess.run([compiler, "-O2", "-o", binary, str(DRIVER)], check=True, timeout=60)
    return binary


class Left(NamedTuple):
    """What a server process has when it is at rest."""

    descriptors: int
    greenlets: int
    sockets: int
    memory: int


class Outcome(NamedTuple):
    """What the cycles have shown: `before` is after one that has filled what is kept, pools and caches."""

    before: Left
    first: Left
    second: Left
    ends: dict[str, int]  # how often a connection of the second cycle ended in which way

    @property
    def growth(self) -> float:
        """What the second cycle has added to the memory that was in use before, as a part of it."""
        return self.second.memory / max(self.before.memory, self.first.memory) - 1

    def __str__(self) -> str:
        lines = [f"{name}: {getattr(self, name)}" for name in ("before", "first", "second")]
        return "\n".join([*lines, f"the second cycle has added {self.growth * 100:.2f} % of memory"])


def run_cycles(stack: Stack, count: int, warm: int = 2000, **options: Any) -> Outcome:
    """Two cycles of `count` connections each. AssertionError when a connection does not end as it should."""
    with ServerProcess(stack, "soak", **OPTIONS, **options) as server:

        def cycle(size: int) -> tuple[Left, dict[str, int]]:
            done = subprocess.run(
                [driver(), str(server.address[1]), str(size)],
                capture_output=True,
                text=True,
                timeout=(60 + size / 100) * FACTOR,
            )
            assert done.returncode == 0, f"the driver ended with {done.returncode}: {done.stderr}"
            eventually(lambda: server.ask("connections") == "0", "all connections have ended", 20)
            port, descriptors, greenlets, sockets = map(int, server.ask("rest").split())
            server.address = ("127.0.0.1", port)
            ends = {name: int(number) for number, name in (line.split(" ", 1) for line in done.stdout.splitlines())}
            return Left(descriptors, greenlets, sockets, server.memory()), ends

        before, _ = cycle(warm)
        first, _ = cycle(count)
        second, ends = cycle(count)
        server.stop()
    return Outcome(before, first, second, ends)
