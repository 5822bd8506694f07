"""The Autobahn test suite's fuzzing client and fuzzing server: getting hold of them, and running them against a server
or a client.

The suite is a Python 2 program (its package says otherwise). The last virtualenv that can make a Python 2.7 environment
makes one in .venv-autobahn at first use.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

#: What the reports call us.
AGENT = "lws_gevent"

VIRTUALENV = "virtualenv==20.21.1"
SUITE = "autobahntestsuite==25.10.1"
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-autobahn"


class Unavailable(Exception):
    """There is no way to run the suite on this machine; the text says what is missing."""


def find_python27() -> str:
    """An interpreter of Python 2.7 that works."""
    candidates = [os.environ.get("LWS_GEVENT_PYTHON27"), shutil.which("python2.7")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += map(str, sorted(pyenv.glob("versions/2.7.*/bin/python2.7"), reverse=True))
    for candidate in filter(None, candidates):
        try:
            subprocess.run(
                [candidate, "-c", "import ssl, sys; assert sys.version_info[:2] == (2, 7)"],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    raise Unavailable(
        "the Autobahn test suite needs Python 2.7, and there is none (LWS_GEVENT_PYTHON27, python2.7, pyenv's); "
        "or name a command that runs it by LWS_GEVENT_WSTEST, see docs/howto/develop.md"
    )


def wstest() -> list[str]:
    """The command of the suite, installed first where that has not been done."""
    if command := os.environ.get("LWS_GEVENT_WSTEST"):
        return shlex.split(command)
    program = ENVIRONMENT / "py27" / "bin" / "wstest"
    installed = ENVIRONMENT / "installed"
    if not installed.exists():
        python27 = find_python27()
        print(f"installing {SUITE} with {python27}", flush=True)
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        tool, pip = ENVIRONMENT / "tool", ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command_line in (
            [sys.executable, "-m", "venv", tool],
            [tool / "bin" / "python", *pip, VIRTUALENV],
            [tool / "bin" / "virtualenv", "--quiet", "-p", python27, ENVIRONMENT / "py27"],
            [ENVIRONMENT / "py27" / "bin" / "python", *pip, SUITE],
            [program, "-a"],
        ):
            done = subprocess.run(
                command_line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode:
                raise RuntimeError(f"{' '.join(map(str, command_line))} failed\n{done.stdout[-4000:]}")
        installed.touch()
    return [str(program)]


def run_fuzzing_client(
    command: list[str], url: str, patterns: list[str], outdir: Path, timeout: float
) -> dict[str, dict[str, object]]:
    """Run the cases that match the patterns; case -> what the suite's index says of it.

    The suite writes its report at the end only, so what does not end within `timeout` seconds has no results:
    RuntimeError.
    """
    specification = _write_specification(outdir, patterns, {"servers": [{"agent": AGENT, "url": url}]})
    log = outdir / "wstest.log"
    with log.open("w") as output:
        try:
            done = subprocess.run(
                [*command, "-m", "fuzzingclient", "-s", str(specification)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"wstest did not end within {timeout:.0f} s, see {log}") from None
    return _read_report(outdir, done.returncode)


def _write_specification(outdir: Path, patterns: list[str], more: dict[str, object]) -> Path:
    shutil.rmtree(outdir, ignore_errors=True)
    outdir.mkdir(parents=True)
    specification = outdir / "specification.json"
    cases = {"outdir": str(outdir), "cases": patterns, "exclude-cases": [], "exclude-agent-cases": {}}
    specification.write_text(json.dumps({**cases, **more}))
    return specification


def _read_report(outdir: Path, status: int) -> dict[str, dict[str, object]]:
    index = outdir / "index.json"
    if status or not index.exists():
        log = outdir / "wstest.log"
        raise RuntimeError(f"wstest ended with {status} and {'a' if index.exists() else 'no'} report, see {log}")
    results: dict[str, dict[str, object]] = json.loads(index.read_text())[AGENT]
    return results


def run_fuzzing_server(
    command: list[str], run_client: Callable[[str], None], patterns: list[str], outdir: Path
) -> dict[str, dict[str, object]]:
    """Run the cases that match the patterns; `run_client` takes the URL, has them all run, and the report written."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    specification = _write_specification(outdir, patterns, {"url": url})
    with (outdir / "wstest.log").open("w") as output:
        server = subprocess.Popen(
            [*command, "-m", "fuzzingserver", "-s", str(specification), "-u", "0"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_it_listens(server, port)
            run_client(url)
        finally:
            server.terminate()
            server.wait(30)
    return _read_report(outdir, 0)


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the suite's fuzzing server does not listen")
