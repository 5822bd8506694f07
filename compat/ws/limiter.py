"""A queue of jobs of which only so many run at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

__all__ = ["Limiter"]

Job = Callable[[Callable[[], None]], object]


class Limiter:
    """Runs at most `concurrency` jobs at once (0 or None: any number), in the order in which they were added.

    A job is called with a function that it calls when it is done.
    """

    def __init__(self, concurrency: float | None = None) -> None:
        self.concurrency = concurrency or math.inf
        self.jobs: deque[Job] = deque()
        self.pending = 0

    def add(self, job: Job) -> None:
        """Runs `job`, now or when there is room."""
        self.jobs.append(job)
        self._run()

    def _run(self) -> None:
        if self.pending < self.concurrency and self.jobs:
            job = self.jobs.popleft()
            self.pending += 1
            job(self._done)

    def _done(self) -> None:
        self.pending -= 1
        self._run()
