"""The interface of gevent-websocket (0.10.1 and its last, unreleased state), on lws_gevent.

Either import from here, or call `install` before anything imports ``geventwebsocket``, which then is this package.
What gevent-websocket did wrong is mended: close codes arrive, unmasked frames are refused, messages are bounded,
several greenlets may send at once. WAMP version 1, ``Header``, and reading and writing single octets of a connection,
are not here.
"""

from __future__ import annotations

import sys
from typing import Any

from lws_gevent.compat.geventwebsocket.exceptions import WebSocketError
from lws_gevent.compat.geventwebsocket.resource import Resource, WebSocketApplication
from lws_gevent.compat.geventwebsocket.server import WebSocketServer

__all__ = ["Resource", "WebSocketApplication", "WebSocketError", "WebSocketServer", "get_version", "install"]

#: That of the release whose interface this is.
VERSION = (0, 10, 1, "final", 0)


def get_version(*args: Any, **kwargs: Any) -> str:
    """`VERSION` as text."""
    from lws_gevent.compat.geventwebsocket.utils import get_version

    return get_version(*args, **kwargs)


def install() -> None:
    """From now on ``import geventwebsocket``, and its submodules, find this package, whether gevent-websocket is
    installed or not. RuntimeError when gevent-websocket itself is imported already. Calling it again does nothing."""
    from lws_gevent.compat.geventwebsocket import _installing

    _installing.install(sys.modules[__name__])
