"""The extension modules. Everything else about the distribution stands in setup.cfg and pyproject.toml."""

import glob
import os
import platform
import sys

from setuptools import Extension, setup

CORE = [f"lws_gevent/c_core/{name}.c" for name in ("mask", "utf8", "frame", "protocol", "request_head")]
HEADERS = glob.glob("lws_gevent/c_core/*.h")


def extension(name):
    flags = ["-std=c11", "-fvisibility=hidden"]
    if "CFLAGS" not in os.environ:  # who sets them (sanitizers, distributions) has reasons
        # A blocked handler keeps the stack below it: what is called once is not merged into its caller's frame.
        flags += ["-O2", "-g0", "-fno-inline-functions-called-once"]
    return Extension(
        name,
        [name.replace(".", "/") + ".pyx", *CORE],
        include_dirs=["lws_gevent"],
        depends=HEADERS,
        extra_compile_args=flags if sys.platform != "win32" else [],
    )


names = ["lws_gevent._codec"]
if sys.platform == "linux" and os.path.exists("lws_gevent/engines/_parked.pyx"):
    names.append("lws_gevent.engines._parked")
if platform.python_implementation() != "CPython":
    names = []  # PyPy runs the pure-Python twin faster than it would call an extension

extensions = [extension(name) for name in names]
if extensions:
    from Cython.Build import cythonize

    extensions = cythonize(extensions, language_level=3)
    for one in extensions:  # cythonize makes new objects and forgets this attribute
        one.optional = os.environ.get("LWS_GEVENT_REQUIRE_C") != "1"

setup(ext_modules=extensions)
