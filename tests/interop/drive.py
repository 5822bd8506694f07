"""How the clients of other projects are found and run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client import FACTOR
from tools import missing, need_module, need_program

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
NODE_MODULES = HERE / "node_modules"


def python_client(name: str, module: str) -> Callable[[], list[str]]:
    """The command that runs a client in Python; what is missing skips the test."""

    def command() -> list[str]:
        need_module(module)
        return [sys.executable, str(CLIENTS / name)]

    return command


def node_client(name: str, package: str) -> list[str]:
    """The command that runs a client in Node."""
    node = need_program("node")
    if not (NODE_MODULES / package).is_dir():
        missing(f"the npm package {package} is not installed (npm ci in tests/interop)")
    return [node, str(CLIENTS / name)]


def chromium() -> str:
    """The path of the browser."""
    return need_program("chromium", "chromium-browser", "google-chrome")


def observe(command: list[str], authority: str | None = None) -> dict[str, Any]:
    """Run a client to its end; what it has printed. It trusts the certificates that `authority`, a file, has signed."""
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", "no_proxy": "127.0.0.1,localhost"}
    if authority is not None:
        env |= {"SSL_CERT_FILE": authority, "NODE_EXTRA_CA_CERTS": authority}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=80 * FACTOR, env=env, encoding="utf-8"
    )
    assert done.returncode == 0, f"{command[:2]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    observed: dict[str, Any] = json.loads(done.stdout)
    return observed
