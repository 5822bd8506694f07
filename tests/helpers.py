"""What tests share beside the client and the fixtures: waiting on conditions, what is alive in this process,
subprocesses."""

from __future__ import annotations

import _socket
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
from client import FACTOR

TESTS = Path(__file__).resolve().parent
SCRIPTS = TESTS / "scripts"


class Stack(NamedTuple):
    """One combination of engine and codec on which every behavioural test runs."""

    engine: str
    codec: str

    def __str__(self) -> str:
        return f"{self.engine}+{self.codec}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make lws_gevent use this codec (the engine is an option of the server)."""
        variables = {"LWS_GEVENT_PURE_PYTHON": "", "LWS_GEVENT_REQUIRE_C": ""}
        variables["LWS_GEVENT_PURE_PYTHON" if self.codec == "python" else "LWS_GEVENT_REQUIRE_C"] = "1"
        return variables


def eventually(condition: Callable[[], Any], what: str = "", within: float = 10) -> Any:
    """Run the hub until `condition` holds, and return what it gave; AssertionError after `within` seconds."""
    deadline = time.monotonic() + within * FACTOR
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within * FACTOR} s: {what or condition}")
        gevent.sleep(0.001)


@contextmanager
def crowd(server: Any, octets: Iterable[bytes]) -> Iterator[list[Any]]:
    """Connections to `server`, one for each of `octets`, which it has sent: all of them without a switch, so that the
    server finds them at once."""
    sockets: list[Any] = []
    try:
        for sent in octets:
            one = _socket.socket()
            sockets.append(one)
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.port))
            one.send(sent)
        yield sockets
    finally:
        for one in sockets:
            one.close()


@contextmanager
def ending(make: Callable[..., Any], end: Callable[[Any], Any]) -> Iterator[Callable[..., Any]]:
    """For fixtures: `make`, for whose results `end` is called afterwards."""
    made: list[Any] = []

    def make_one(*arguments: Any, **named: Any) -> Any:
        made.append(make(*arguments, **named))
        return made[-1]

    yield make_one
    for one in made:
        end(one)
    made.clear()


def turns(count: int = 20) -> None:
    """Give everybody else in the hub several turns, I/O included: for "nothing happens" assertions after a condition
    that shows that whatever would happen has had its chance."""
    for _ in range(count):
        gevent.sleep(0)
        gevent.sleep(0.0005)


# What is alive in this process


def open_descriptors() -> dict[int, str]:
    """Descriptor -> what it is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # that of listdir itself
    return found


def live_greenlets() -> list[gevent.Greenlet]:
    """Every gevent.Greenlet that has been spawned and has not ended."""
    return [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet) and not thing.dead]


def live_sockets() -> int:
    """How many connection objects of lws_gevent exist, on whatever engine."""
    interface = sys.modules.get("lws_gevent.engines.interface")
    if interface is None:
        return 0
    count = sum(isinstance(thing, interface.Socket) for thing in gc.get_objects())
    parked = sys.modules.get("lws_gevent.engines._parked")
    if parked is not None:  # whose connections the collector does not know
        count += parked.live_sockets()
    return count


class Alive(NamedTuple):
    """A count of everything that must not leak. Compare two for equality."""

    greenlets: int
    descriptors: tuple[int, ...]
    sockets: int


def alive() -> Alive:
    gc.collect()
    return Alive(len(live_greenlets()), tuple(sorted(open_descriptors())), live_sockets())


def process_memory(pid: int) -> int:
    """Private octets of a process (what it alone would give back), from /proc/PID/smaps_rollup. Always 1 where
    LWS_GEVENT_TEST_MEMORY=0: a sanitizer's allocator keeps what is freed, so that nothing can be learned there."""
    if os.environ.get("LWS_GEVENT_TEST_MEMORY") == "0":
        return 1
    private = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Dirty:", "Private_Clean:")):
            private += int(line.split()[1]) * 1024
    return private


def process_ticks(pid: int | str = "self") -> int:
    """User and system time of a process in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class LoopTurns:
    """Counts how often the hub's event loop goes round while inside the `with`."""

    def __init__(self) -> None:
        self.count = 0
        self._watcher = gevent.get_hub().loop.prepare()

    def _turn(self) -> None:
        self.count += 1

    def __enter__(self) -> LoopTurns:
        self._watcher.start(self._turn)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._watcher.stop()
        self._watcher.close()


# Subprocesses


def environment(stack: Stack | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with the package under test and the helpers importable, and the stack's codec."""
    variables = dict(os.environ)
    variables["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys([str(TESTS), *(entry for entry in sys.path if entry), os.getcwd()])
    )
    if stack is not None:
        variables.update({name: value for name, value in stack.environment.items() if value})
        for name, value in stack.environment.items():
            if not value:
                variables.pop(name, None)
    variables.update(extra or {})
    return variables


def run_script(
    name: str,
    *arguments: str,
    stack: Stack | None = None,
    extra: Mapping[str, str] | None = None,
    timeout: float = 25,
    options: tuple[str, ...] = (),
) -> str:
    """Run tests/scripts/`name` to its end; its standard output. A status other than 0 fails the test with all it
    printed. `options` are the interpreter's."""
    command = [sys.executable, "-X", "faulthandler", *options, str(SCRIPTS / name), *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment(stack, extra),
            capture_output=True,
            text=True,
            timeout=timeout * FACTOR,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as expired:
        raise AssertionError(f"{name} hangs\n{expired.stdout!r}\n{expired.stderr!r}") from None
    assert done.returncode == 0, f"{name} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class ServerProcess:
    """A server in a process of its own (tests/scripts/serve.py), for what is measured from outside: memory,
    descriptors, CPU.

    `kind` is the name of one of its sets of handlers, `options` are the Server's, `limit` is RLIMIT_NOFILE."""

    def __init__(
        self,
        stack: Stack,
        kind: str = "echo",
        *,
        limit: int | None = None,
        options_of_python: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        command = [sys.executable, "-X", "faulthandler", *options_of_python, str(SCRIPTS / "serve.py")]
        command += [json.dumps({"engine": stack.engine, "kind": kind, "limit": limit, "options": options})]
        self.process = subprocess.Popen(
            command, env=environment(stack), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._unread = b""
        try:
            self.address = ("127.0.0.1", int(self.read_line()))
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def read_line(self, within: float = 20) -> str:
        """The next line of its standard output. The hub runs meanwhile."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + within * FACTOR
        while b"\n" not in self._unread:
            if select.select([descriptor], [], [], 0)[0]:
                data = os.read(descriptor, 65536)
                if not data:
                    raise AssertionError(f"the server process ended: {self._errors()}")
                self._unread += data
            elif time.monotonic() > deadline:
                self.process.send_signal(signal.SIGABRT)  # faulthandler shows where it is
                raise AssertionError(f"the server process says nothing: {self._errors()}")
            else:
                gevent.sleep(0.001)
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def ask(self, command: str) -> str:
        """Send a line to it (see serve.py) and read the one line it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.read_line()

    def memory(self) -> int:
        """Private octets, after it has collected garbage and given free pages back to the system."""
        self.ask("trim")
        return process_memory(self.pid)

    def peak_while(self, action: Callable[[], Any]) -> tuple[Any, int]:
        """Run `action` in this hub while looking at the process's memory; its result and the largest private memory
        seen."""
        peak = 0
        done = False

        def watch() -> None:
            nonlocal peak
            while not done:
                peak = max(peak, process_memory(self.pid))
                gevent.sleep(0.005)

        watcher = gevent.spawn(watch)
        try:
            result = action()
        finally:
            done = True
            watcher.join()
        return result, peak

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _errors(self) -> str:
        self.kill()
        return self.errors

    errors = ""

    def kill(self) -> None:
        """End it at once, keeping what it wrote to standard error in `errors`."""
        if self.process.poll() is None:
            self.process.kill()
        out, errors = self.process.communicate()
        self.errors += errors.decode(errors="replace")

    def stop(self) -> str:
        """End it by end of file on its standard input, insist on status 0; what it wrote to standard error."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None
        eventually(lambda: self.process.poll() is not None, "the server process ends", 20)
        self.kill()
        assert self.process.returncode == 0, self.errors
        return self.errors

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.kill()
        if kind is not None and self.errors:
            sys.stderr.write(self.errors)
