"""Run sections of the Autobahn test suite against `lws-gevent echo`, or against our client, on each stack, and compare
with what is expected.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

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


def run(stack: str, role: str, patterns_of: dict[int, list[str]], update: bool) -> list[str]:
    """Run the sections on one stack in one role; the lines that tell what is not as expected."""
    command = suite.wstest()
    reports = suite.ROOT / "reports" / "autobahn" / (stack if role == "server" else f"{stack}-client")
    wrong = []

    def section(number: int, patterns: list[str], fuzz: Callable[[list[str], Path], results.Results]) -> None:
        begun = time.monotonic()
        found = fuzz(patterns, reports / str(number))
        if update:
            merge(found, role)
        differences = results.differences(number, found, patterns, role)
        seconds = time.monotonic() - begun
        counts = results.counts(found)
        print(f"{stack} {role}, section {number}: {len(found)} cases, {counts}; {seconds:.1f} s", flush=True)
        for line in differences:
            print(f"  {line}", flush=True)
        wrong.extend(f"{stack} {role}: {line}" for line in differences)

    if role == "client":
        for number, patterns in patterns_of.items():
            section(number, patterns, lambda cases, outdir: fuzz_client(command, stack, cases, outdir))
        return wrong
    with echo_server(stack, not COMPRESSION.isdisjoint(patterns_of)) as url:
        for number, patterns in patterns_of.items():
            section(number, patterns, lambda cases, out: suite.run_fuzzing_client(command, url, cases, out, TIMEOUT))
    return wrong


def fuzz_client(command: list[str], stack: str, patterns: list[str], outdir: Path) -> results.Results:
    """Run our echoing client against the suite's server."""
    engine, codec = stack.split("+")
    variables = {"LWS_GEVENT_PURE_PYTHON": "1"} if codec == "python" else {"LWS_GEVENT_REQUIRE_C": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LWS_GEVENT")}

    def run_client(url: str) -> None:
        client = [sys.executable, "-m", "tests.autobahn.echo_client", url, engine]
        subprocess.run(
            client,
            env={**environment, **variables},
            cwd=suite.ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=TIMEOUT,
        )

    try:
        return suite.run_fuzzing_server(command, run_client, patterns, outdir)
    except subprocess.SubprocessError as error:
        raise RuntimeError(f"the client did not run all cases: {error}") from None


def merge(found: results.Results, role: str) -> None:
    """Write these results into the expectations; to be looked at before they are committed."""
    path = results.EXPECTED[role]
    everything = json.loads(path.read_text()) if path.exists() else {}
    for case, result in found.items():
        everything[case] = {"behavior": result["behavior"], "behaviorClose": result["behaviorClose"]}
    rows = [f"{json.dumps(case)}: {json.dumps(everything[case])}" for case in sorted(everything, key=results.sort_key)]
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def _section(text: str) -> str:
    if re.fullmatch(r"\d+(\.\d+)*", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no section and no case")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("--sections", nargs="*", type=_section, default=SECTIONS, help="default: %(default)s")
    parser.add_argument("--stacks", nargs="*", help="engine+codec, as parked+c (default: every one that exists)")
    parser.add_argument("--roles", nargs="*", choices=("server", "client"), default=("server", "client"))
    parser.add_argument("--update", action="store_true", help="write the results into expected.json")
    arguments = parser.parse_args()
    os.chdir(suite.ROOT)
    patterns_of = results.by_section(arguments.sections)
    try:
        wrong = []
        for stack in arguments.stacks or available_stacks():
            for role in arguments.roles:
                begun = time.monotonic()
                wrong += run(stack, role, patterns_of, arguments.update)
                print(f"{stack} {role}: {time.monotonic() - begun:.1f} s in all", flush=True)
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
