"""Importing makes no hub, thread or descriptor, and pulls in nothing heavy."""

import os
import sys
import threading

before = set(sys.modules)
descriptors = os.listdir("/proc/self/fd")
had_threading = "threading" in before
import lws_gevent  # noqa: E402, F401

assert hasattr(lws_gevent, "Server")
new = set(sys.modules) - before
if os.environ.get("CHECK_THREADING", "1") == "1":
    heavy = new & {"ssl", "logging.handlers", "asyncio", "email", "http.client", "gevent.pywsgi", "gevent.ssl"}
    assert not heavy, heavy
assert os.listdir("/proc/self/fd") == descriptors
assert threading.active_count() == 1
assert len(os.listdir("/proc/self/task")) == 1
import gevent._hub_local  # noqa: E402

assert gevent._hub_local.get_hub_if_exists() is None, "importing made a hub"

import subprocess  # noqa: E402

program = "import lws_gevent, sys; sys.exit(' '.join({'ssl', 'threading', 'logging.handlers'} & set(sys.modules)) or 0)"
done = subprocess.run(
    [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"], capture_output=True, text=True
)
assert done.returncode == 0, done.stderr
