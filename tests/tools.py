"""Tools of other projects that some tests drive, and processes of our own.

A missing tool skips the test with the reason. Where CI=true or LWS_GEVENT_REQUIRE_TOOLS=1 it fails instead, so that
nothing goes untested unseen.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import pytest
from client import FACTOR
from helpers import Stack, environment

REQUIRED = os.environ.get("LWS_GEVENT_REQUIRE_TOOLS", "1" if os.environ.get("CI") == "true" else "0") == "1"


def missing(reason: str) -> NoReturn:
    """Skip the test for this reason, or fail it where tools are required."""
    if REQUIRED:
        pytest.fail(f"{reason}, and it is required here", pytrace=False)
    pytest.skip(reason)


def need_program(*names: str) -> str:
    """The path of the first of these programs that there is."""
    for name in names:
        if path := shutil.which(name):
            return path
    missing(f"there is no {' or '.join(names)}")


def need_module(name: str) -> None:
    """A module of the test extra."""
    if importlib.util.find_spec(name) is None:
        missing(f"the Python package {name} is not installed")


class Process:
    """A process whose standard output and standard error are read line by line, always within some seconds."""

    def __init__(self, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            list(command), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self.output, self.errors = b"", b""
        self._read = 0
        self._open = {self._process.stdout.fileno(): "output", self._process.stderr.fileno(): "errors"}

    @property
    def pid(self) -> int:
        return self._process.pid

    def _pump(self, seconds: float) -> None:
        """Take what it has printed, waiting at most so long for something."""
        ready, _, _ = select.select(list(self._open), [], [], seconds)
        for descriptor in ready:
            data = os.read(descriptor, 65536)
            name = self._open[descriptor]
            setattr(self, name, getattr(self, name) + data)
            if not data:
                del self._open[descriptor]

    def _until(self, condition: Callable[[], bool], what: str, within: float) -> None:
        deadline = time.monotonic() + within * FACTOR
        while not condition():
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"not within {within * FACTOR} s: {what}\n{self.printed}")
            if self._open:
                self._pump(0.05)
            elif self._process.poll() is not None:
                assert condition(), f"it ended with {self._process.returncode} before: {what}\n{self.printed}"
            else:
                time.sleep(0.01)

    @property
    def printed(self) -> str:
        """All that it has printed, for messages."""
        return f"output: {self.output.decode(errors='replace')}\nerrors: {self.errors.decode(errors='replace')}"

    def line(self, within: float = 20) -> str:
        """The next line of its standard output."""
        self._until(lambda: b"\n" in self.output[self._read :], "a line of output", within)
        end = self.output.index(b"\n", self._read)
        line, self._read = self.output[self._read : end], end + 1
        return line.decode()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, within: float = 20) -> int:
        """Its exit status (negative: the signal that ended it), once it has ended by itself."""
        self._until(lambda: not self._open and self._process.poll() is not None, "the end of the process", within)
        return self._process.returncode

    def kill(self) -> None:
        """End it at once if it has not ended, and take the rest of what it printed."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        while self._open:
            self._pump(1)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()


def lws_gevent(*arguments: str, stack: Stack | None = None, extra: dict[str, str] | None = None) -> Process:
    """The command `lws-gevent` with these arguments; with a stack, on its engine and codec."""
    command = [sys.executable, "-m", "lws_gevent", *arguments]
    if stack is not None:
        command += ["--engine", stack.engine, "--codec", stack.codec]
    variables = environment(None, extra)
    for name in ("LWS_GEVENT_PURE_PYTHON", "LWS_GEVENT_REQUIRE_C"):
        if name not in (extra or {}):
            variables.pop(name, None)
    return Process(command, variables)


def listening(process: Process) -> tuple[str, int]:
    """The address in the one line that a server prints once it accepts."""
    host, _, port = process.line().partition("://")[2].rpartition(":")
    return host, int(port)
