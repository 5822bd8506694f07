"""What `import lws_gevent` gives, and what it leaves alone."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lws_gevent

ROOT = Path(__file__).resolve().parent.parent


def in_a_fresh_process(code: str) -> Any:
    """Runs `code` in a Python of its own; what it prints as JSON."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


#: What importing the library must not bring in: each costs every user memory and time, or makes threads and locks.
HEAVY = (
    *(
        "ssl",
        "gevent.ssl",
        "gevent.pywsgi",
        "gevent.threadpool",
        "gevent.monkey",
        "asyncio",
        "threading",
    ),
    *("logging.handlers", "logging.config", "multiprocessing", "concurrent.futures", "subprocess", "wsproto", "h11"),
)


@pytest.mark.parametrize("name", lws_gevent.__all__)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(lws_gevent, name)
    if name != "__version__":
        assert inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value)
        assert (inspect.getdoc(value) or "").strip(), f"{name} has no docstring"
        if inspect.isclass(value):
            # its own, not one that it inherited
            assert value.__doc__, f"{name} has no docstring"


def test_every_public_method_is_documented() -> None:
    for name in lws_gevent.__all__:
        value = getattr(lws_gevent, name)
        if not inspect.isclass(value) or not value.__module__.startswith("lws_gevent"):
            continue
        for method, function in vars(value).items():
            if not method.startswith("_") and callable(function):
                assert inspect.getdoc(getattr(value, method)), f"{name}.{method} has no docstring"


def test_the_public_names_are_sorted_and_unique() -> None:
    assert len(set(lws_gevent.__all__)) == len(lws_gevent.__all__)


def test_the_errors_are_public() -> None:
    from lws_gevent import errors

    for name in errors.__all__:
        assert name in lws_gevent.__all__ and getattr(lws_gevent, name) is getattr(errors, name)


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, Any] = {}
    exec("from lws_gevent import *", names)
    assert set(lws_gevent.__all__) <= set(names)


def test_compat_is_a_part_of_the_package_only() -> None:
    import lws_gevent.compat  # noqa: F401

    # A second copy under another name would have classes that are not the same as the first one's.
    assert "compat" not in sys.modules


def test_importing_is_light() -> None:
    before, after = in_a_fresh_process(
        "import sys, json\nimport gevent\nfrom gevent import server\nbefore = sorted(sys.modules)\n"
        "import lws_gevent\nprint(json.dumps([before, sorted(sys.modules)]))"
    )
    brought = set(after) - set(before)
    assert not brought & set(HEAVY)
    assert not any(name.startswith("lws_gevent.compat") for name in brought)


def test_importing_does_not_load_tls_or_wsgi() -> None:
    modules = in_a_fresh_process("import sys, json, lws_gevent\nprint(json.dumps(sorted(sys.modules)))")
    assert not {"ssl", "_ssl", "gevent.ssl", "gevent.pywsgi", "asyncio", "logging.handlers"} & set(modules)


def test_importing_makes_no_hub_no_thread_and_no_descriptor() -> None:
    code = """
import json, os, sys
from gevent._hub_local import get_hub_if_exists
import gevent
descriptors = lambda: sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []
before = descriptors()
import lws_gevent
import _thread
print(json.dumps([get_hub_if_exists() is None, _thread._count(), before == descriptors()]))
"""
    no_hub, threads, same_descriptors = in_a_fresh_process(code)
    assert no_hub and same_descriptors
    assert threads == 0


def test_importing_does_not_patch_anything() -> None:
    code = """
import json, socket, time
before = (socket.socket, time.sleep)
import lws_gevent
from gevent import monkey
print(json.dumps([before == (socket.socket, time.sleep), bool(monkey.saved)]))
"""
    assert in_a_fresh_process(code) == [True, False]


def test_the_package_is_typed() -> None:
    assert (Path(lws_gevent.__file__).parent / "py.typed").is_file()
