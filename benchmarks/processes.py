"""The programs of a measurement: building the C ones, starting servers and load on their cores, talking to them."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = HERE / "build"
START_TIMEOUT = 20.0
LISTENING = re.compile(r"listening on wss?://\S*?:(\d+)")


class BenchmarkError(Exception):
    """A program could not be built or started, or failed; the message says what it said."""


def build(name: str) -> Path:
    """Compiles benchmarks/NAME.c, or benchmarks/NAME/*.c, if a source is newer than the program; returns the program's
    path."""
    program = BUILD / name
    sources = sorted(str(path) for path in (HERE / name).glob("*.c")) or [str(HERE / f"{name}.c")]
    headers = [*HERE.glob("*.h"), *(HERE / name).glob("*.h")]
    newest = max(Path(path).stat().st_mtime for path in (*sources, *headers))
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise BenchmarkError("a C compiler is needed for the load generator")
    BUILD.mkdir(exist_ok=True)
    # Compiled beside it and moved, so that nobody starts a half-written program.
    with tempfile.TemporaryDirectory(dir=BUILD) as directory:
        unfinished = Path(directory) / name
        command = [*compiler.split(), "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(unfinished), *sources]
        with_tls = [*command, "-DWITH_TLS", "-lssl", "-lcrypto"]
        if name != "load" or subprocess.run(with_tls, capture_output=True).returncode:  # without OpenSSL: no TLS rows
            completed = subprocess.run(command, capture_output=True, text=True)
        else:
            completed = subprocess.CompletedProcess(with_tls, 0, "", "")
        if completed.returncode:
            raise BenchmarkError(f"{' '.join(command)}\n{completed.stderr}")
        unfinished.rename(program)
    return program


def certificate() -> list[str]:
    """The options ``--cert`` and ``--key`` of servers, with a certificate that is made for it once.

    Raises:
        BenchmarkError: without the command openssl.
    """
    made = BUILD / "certificate"
    if not made.exists():
        openssl = shutil.which("openssl")
        if not openssl:
            raise BenchmarkError("the command openssl is needed to make a certificate for the TLS rows")
        BUILD.mkdir(exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=BUILD))
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"]
        name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command = [openssl, "req", "-x509", *kind, *name, "-keyout", "key.pem", "-out", "cert.pem"]
        completed = subprocess.run(command, cwd=unfinished, capture_output=True, text=True)
        try:
            if completed.returncode:
                raise BenchmarkError(completed.stderr)
            unfinished.rename(made)  # both at once, as somebody else may be about the same
        except OSError:
            if not made.exists():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    cert, key = made / "cert.pem", made / "key.pem"
    return ["--cert", str(cert), "--key", str(key)]


@dataclass(frozen=True)
class Cores:
    """Where the server and the load run; None: anywhere."""

    server: int | None
    load: int | None

    @classmethod
    def available(cls) -> Cores:
        """The first for the server and the last for the load, if there are two."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[-1]) if len(cores) > 1 else cls(None, None)


def _prepare_child(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass
class RunningServer:
    """A server process that listens. `said` is what it wrote to standard error until then."""

    process: subprocess.Popen[str]
    port: int
    said: str

    @property
    def pid(self) -> int:
        return self.process.pid


def _environment() -> dict[str, str]:
    """That of the children, who find lws_gevent as it lies here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running_server(command: Sequence[str], core: int | None = None) -> Iterator[RunningServer]:
    """Starts a server, waits until it listens, and ends it afterwards.

    Raises:
        BenchmarkError: it ended or said nothing; the message is what it wrote.
    """
    with tempfile.NamedTemporaryFile("w") as errors:
        process = subprocess.Popen(
            list(command),
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=lambda: _prepare_child(core),
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := LISTENING.search(line):
                    yield RunningServer(process, int(found[1]), Path(errors.name).read_text().strip())
                    break
            else:
                said = Path(errors.name).read_text()
                raise BenchmarkError(f"{' '.join(command)} did not start:\n{said[-2000:]}")
        finally:
            _end(process)
            if process.stdout is not None:
                process.stdout.close()


class Load:
    """The load generator in `--wait` or idle mode: `ready()`, then `result()`. A context manager."""

    def __init__(self, port: int, arguments: Sequence[str], core: int | None = None) -> None:
        if arguments[0] == "socketio":
            program = [sys.executable, str(HERE / "socketio_load.py"), *arguments[1:]]
        else:
            program = [str(build("load")), *arguments]
        command = [*program, "--port", str(port)]
        if core is not None:
            command += ["--core", str(core)]
        if arguments[0] != "idle":
            command.append("--wait")
        self._command = command
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            preexec_fn=lambda: _prepare_child(None),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:  # it only holds its connections, or has failed to make progress
            self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise BenchmarkError(f"{' '.join(self._command)}: {self._process.stderr.read().strip()}")
        return line.strip()

    def ready(self) -> None:
        """Waits until the warm-up is over and nothing is under way, or until the idle connections are there."""
        line = self._line()
        if line != "ready":
            raise BenchmarkError(f"{' '.join(self._command)} said {line!r} instead of 'ready'")

    def result(self) -> dict[str, Any]:
        """Lets it go on, and returns its report when all it began has come to its end."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        result: dict[str, Any] = json.loads(self._line())
        return result


def install_node_packages() -> None:
    """`npm ci` for the Node peers, if it has not been done yet.

    Raises:
        BenchmarkError: without npm, or when it fails.
    """
    if (HERE / "node_modules" / "ws").is_dir():
        return
    npm = shutil.which("npm")
    if not npm:
        raise BenchmarkError("npm is needed to install Node's ws, with which everything is compared")
    print("installing Node's ws (npm ci in benchmarks/)", file=sys.stderr)
    completed = subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True, text=True)
    if completed.returncode:
        raise BenchmarkError(completed.stderr)
