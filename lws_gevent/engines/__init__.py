"""The engines (layer 2): they move octets between sockets and the protocol and run handlers in greenlets."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lws_gevent.engines.interface import Engine

__all__ = ["choose"]


def choose(name: str = "auto") -> type[Engine]:
    """The class of the engine `name`; ``"auto"`` is ``"parked"`` where it runs, ``"greenlet"`` elsewhere.

    ImportError, with the reason, when ``"parked"`` is asked for where it cannot run, and when it could but its
    extension is missing although LWS_GEVENT_REQUIRE_C=1; ValueError for an unknown name.
    """
    if name not in ("auto", "parked", "greenlet"):
        raise ValueError(f"unknown engine {name!r}: known are 'auto', 'parked' and 'greenlet'")
    if name != "greenlet":
        try:
            return _load_parked()
        except ImportError:
            if name == "parked" or (_parked_can_be() and os.environ.get("LWS_GEVENT_REQUIRE_C") == "1"):
                raise
    from lws_gevent.engines.greenlet import GreenletEngine

    return GreenletEngine


def _parked_can_be() -> bool:
    """Whether nothing but a missing extension keeps the parked engine from running here."""
    return (
        sys.platform.startswith("linux")
        and sys.implementation.name == "cpython"
        and os.environ.get("LWS_GEVENT_PURE_PYTHON") != "1"
    )


def _load_parked() -> type[Engine]:
    if not sys.platform.startswith("linux"):
        raise ImportError(f"the engine 'parked' needs epoll, which {sys.platform} does not have; use 'greenlet'")
    if os.environ.get("LWS_GEVENT_PURE_PYTHON") == "1":
        raise ImportError("the engine 'parked' is compiled, and LWS_GEVENT_PURE_PYTHON=1 forbids that; use 'greenlet'")
    try:
        from lws_gevent.engines._parked import ParkedEngine
    except ImportError as error:
        raise ImportError(
            f"the engine 'parked' needs the extension lws_gevent.engines._parked, which cannot be imported ({error}); "
            "use 'greenlet', or install lws_gevent where a C compiler is"
        ) from error
    engine: type[Engine] = ParkedEngine
    return engine
