"""Run sections of the Autobahn test suite against `lws-gevent echo` on each stack, and compare with what is expected.

A section is a number ("12"), a part of one ("12.1") or a single case ("12.1.18"). Exit status: 0 as expected, 1 not as
expected, 3 the suite cannot run here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from tests.autobahn import results, suite

SECTIONS = ("1", "2", "3", "4", "5", "6", "7", "9", "10", "12", "13")
COMPRESSION = frozenset({12, 13})
TIMEOUT = 3600  # seconds for one section; 12 and 13 take some ten minutes on a busy machine, the others one
UNAVAILABLE = 3


def available_stacks() -> list[str]:
    """engine+codec for every combination that this installation has."""
    stacks = []
    if find_spec("lws_gevent._codec"):
        if find_spec("lws_gevent.engines._parked"):
            stacks.append("parked+c")
        stacks.append("greenlet+c")
    return [*stacks, "greenlet+python"]


@contextmanager
def echo_server(stack: str, compression: bool) -> Iterator[str]:
    """The command's echo server on this stack; its URL. It must live to the end and then stop cleanly."""
    engine, codec = stack.split("+")
    command = [sys.executable, "-m", "lws_gevent", "echo", "--port", "0", "--engine", engine, "--codec", codec]
    if compression:
        command.append("--compression")
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=suite.ROOT
    ) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            match = re.search(r"ws://\S+", line)
            if match is None:
                raise RuntimeError(f"the server did not start: {line!r}")
            yield match.group()
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with {server.returncode}")
            server.send_signal(signal.SIGTERM)
            if server.wait(30):
                raise RuntimeError(f"the server stopped with {server.returncode}")
        finally:
            if server.poll() is None:
                server.kill()


def run(stack: str, patterns_of: dict[int, list[str]], update: bool) -> list[str]:
    """Run the sections on one stack; the lines that tell what is not as expected."""
    wrong = []
    command = suite.wstest()
    with echo_server(stack, not COMPRESSION.isdisjoint(patterns_of)) as url:
        for section, patterns in patterns_of.items():
            begun = time.monotonic()
            outdir = suite.ROOT / "reports" / "autobahn" / stack / str(section)
            found = suite.run_fuzzing_client(command, url, patterns, outdir, TIMEOUT)
            differences = results.differences(section, found, patterns)
            seconds = time.monotonic() - begun
            print(
                f"{stack}, section {section}: {len(found)} cases, {results.counts(found)}; {seconds:.1f} s", flush=True
            )
            if update:
                merge(found)
            for line in differences:
                print(f"  {line}", flush=True)
            wrong += [f"{stack}: {line}" for line in differences]
    return wrong


def merge(found: results.Results) -> None:
    """Write these results into the expectations; to be looked at before they are committed."""
    everything = json.loads(results.EXPECTED.read_text()) if results.EXPECTED.exists() else {}
    for case, result in found.items():
        everything[case] = {"behavior": result["behavior"], "behaviorClose": result["behaviorClose"]}
    rows = [f"{json.dumps(case)}: {json.dumps(everything[case])}" for case in sorted(everything, key=results.sort_key)]
    results.EXPECTED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def _section(text: str) -> str:
    if re.fullmatch(r"\d+(\.\d+)*", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no section and no case")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("--sections", nargs="*", type=_section, default=SECTIONS, help="default: %(default)s")
    parser.add_argument("--stacks", nargs="*", help="engine+codec, as parked+c (default: every one that exists)")
    parser.add_argument("--update", action="store_true", help="write the results into expected.json")
    arguments = parser.parse_args()
    os.chdir(suite.ROOT)
    patterns_of = results.by_section(arguments.sections)
    try:
        wrong = []
        for stack in arguments.stacks or available_stacks():
            begun = time.monotonic()
            wrong += run(stack, patterns_of, arguments.update)
            print(f"{stack}: {time.monotonic() - begun:.1f} s in all", flush=True)
    except suite.Unavailable as error:
        print(f"autobahn: {error}", file=sys.stderr)
        return UNAVAILABLE
    except RuntimeError as error:
        print(f"autobahn: {error}", file=sys.stderr)
        return 1
    print(f"autobahn: {len(wrong)} not as expected" if wrong else "autobahn: everything as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
