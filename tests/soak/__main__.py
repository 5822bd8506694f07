"""``python -m tests.soak --count 50000 --stacks parked+c,greenlet+c``: the whole count, in minutes. Status 1 when
anything is left, or memory grows by one percent."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import Stack  # noqa: E402

from tests.soak.cycles import run_cycles  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="connections in each of the two cycles")
    parser.add_argument("--stacks", default="parked+c,greenlet+c")
    arguments = parser.parse_args()
    status = 0
    for name in arguments.stacks.split(","):
        begun = time.monotonic()
        outcome = run_cycles(Stack(*name.split("+")), arguments.count)
        same = outcome.before[:3] == outcome.first[:3] == outcome.second[:3]
        good = same and outcome.growth < 0.01
        print(f"{name}: 2 * {arguments.count} connections, {len(outcome.ends)} kinds, {time.monotonic() - begun:.0f} s")
        print(outcome, "good" if good else "NOT GOOD", sep="\n", flush=True)
        status |= not good
    return status


if __name__ == "__main__":
    sys.exit(main())
