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


def cpu_nanoseconds(pid: int) -> int:
    """User and system time of every living thread of the process tree, in nanoseconds."""
    total = 0
    for process in process_tree(pid):
        for schedstat in PROC.glob(f"{process}/task/*/schedstat"):
            try:
                total += int(schedstat.read_text().split()[0])
            except OSError:
                continue
    return total


def private_bytes(pid: int) -> int:
    """Memory that only these processes have: Private_Clean + Private_Dirty of each, in bytes."""
    total = 0
    for process in process_tree(pid):
        for line in (PROC / str(process) / "smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("Private_Clean", "Private_Dirty"):
                total += int(value.split()[0]) * 1024
    return total
