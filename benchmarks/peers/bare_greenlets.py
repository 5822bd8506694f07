"""Nothing but greenlets: what gevent itself needs for so many that sleep.

It waits for a line on stdin, starts them, says `ready` when all of them sleep, and ends with the next line.
"""

from __future__ import annotations

import argparse
import sys

import gevent

asleep = 0


def sleeper() -> None:
    global asleep
    asleep += 1
    gevent.sleep(3600)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--count", type=int, default=5000)
arguments = parser.parse_args()
gevent.spawn(gevent.sleep, 0).join()
print("started", flush=True)
sys.stdin.readline()
greenlets = [gevent.spawn(sleeper) for _ in range(arguments.count)]
while asleep < arguments.count:
    gevent.sleep(0.01)
print("ready", flush=True)
sys.stdin.readline()
