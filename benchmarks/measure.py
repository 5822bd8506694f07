"""What a process and its descendants have used: CPU time of all their threads, and private memory.

Both figures hold on a noisy machine, where wall-clock rates do not. Linux only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def process_tree(pid: int) -> Iterator[int]:
    """`pid` and all its descendants."""
    yield pid
    for children in PROC.glob(f"{pid}/task/*/children"):
        try:
            line = children.read_text()
        except OSError:  # the thread has ended meanwhile
            continue
        for child in line.split():
            yield from process_tree(int(child))


def _schedstat(pid: int, column: int) -> int:
    """The sum of one column over every living thread of the process tree."""
    total = 0
    for process in process_tree(pid):
        for schedstat in PROC.glob(f"{process}/task/*/schedstat"):
            try:
                total += int(schedstat.read_text().split()[column])
            except OSError:
                continue
    return total


def cpu_nanoseconds(pid: int) -> int:
    """User and system time of the process tree, in nanoseconds."""
    return _schedstat(pid, 0)


def queued_nanoseconds(pid: int) -> int:
    """How long the process tree wanted to run and others had the core, in nanoseconds."""
    return _schedstat(pid, 1)


def private_bytes(pid: int) -> int:
    """Memory that only these processes have: Private_Clean + Private_Dirty of each, in bytes."""
    total = 0
    for process in process_tree(pid):
        for line in (PROC / str(process) / "smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("Private_Clean", "Private_Dirty"):
                total += int(value.split()[0]) * 1024
    return total
