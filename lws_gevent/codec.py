"""Picks the codec: the compiled one, or its pure-Python twin (layer 1). Both have the same interface.

`LWS_GEVENT_PURE_PYTHON=1` forces the twin; `LWS_GEVENT_REQUIRE_C=1` makes a missing extension an error instead of a
silent fall-back. Both are looked at when `load` is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Codec", "load"]


class Codec(NamedTuple):
    """One implementation of the codec: ``name`` is ``"c"`` or ``"python"``, the rest is its interface (_codec.pyi)."""

    name: str
    Protocol: Callable[..., Any]
    parse_request: Callable[..., Any]
    encode_frame: Callable[..., bytes]
    apply_mask: Callable[[bytes, bytes], bytes]


_loaded: dict[str, Codec] = {}


def load(name: str | None = None) -> Codec:
    """The codec `name` (``"c"`` or ``"python"``), or with None the one that the environment asks for, C by preference.

    ImportError: the extension was asked for by name or by the environment, and is not there. ValueError: an unknown
    name, or an environment that both forces the twin and requires the extension.
    """
    if name is None:
        force_python = os.environ.get("LWS_GEVENT_PURE_PYTHON") == "1"
        require_c = os.environ.get("LWS_GEVENT_REQUIRE_C") == "1"
        if force_python and require_c:
            raise ValueError("LWS_GEVENT_PURE_PYTHON=1 and LWS_GEVENT_REQUIRE_C=1 contradict each other")
        if not force_python:
            try:
                return _load_c()
            except ImportError:
                if require_c:
                    raise
        name = "python"
    if name == "c":
        return _load_c()
    if name == "python":
        return _load_python()
    raise ValueError(f"unknown codec {name!r}: known are 'c' and 'python'")


def _load_c() -> Codec:
    codec = _loaded.get("c")
    if codec is None:
        try:
            from lws_gevent import _codec
        except ImportError as error:
            raise ImportError(
                "the compiled codec lws_gevent._codec cannot be imported; install lws_gevent where a C compiler is, "
                f"or set LWS_GEVENT_PURE_PYTHON=1 to use its pure-Python twin ({error})"
            ) from error
        codec = _loaded["c"] = _codec_of("c", _codec)
    return codec


def _load_python() -> Codec:
    codec = _loaded.get("python")
    if codec is None:
        from lws_gevent import _codec_py

        codec = _loaded["python"] = _codec_of("python", _codec_py)
    return codec


def _codec_of(name: str, module: Any) -> Codec:
    return Codec(name, module.Protocol, module.parse_request, module.encode_frame, module.apply_mask)
