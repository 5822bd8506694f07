"""The interface of websocket-client (1.9), on gevent: ``from lws_gevent.compat import websocket_client as websocket``.

`create_connection` and `WebSocket` in blocking style, `WebSocketApp` with callbacks, the exceptions and constants of
the original. Blocking operations block their greenlet; nothing needs monkey-patching.
"""

from lws_gevent.compat.websocket_client._abnf import *  # noqa: F403
from lws_gevent.compat.websocket_client._abnf import ABNF
from lws_gevent.compat.websocket_client._app import WebSocketApp, set_reconnect, setReconnect
from lws_gevent.compat.websocket_client._core import (
    WebSocket,
    create_connection,
    getdefaulttimeout,
    setdefaulttimeout,
)
from lws_gevent.compat.websocket_client._exceptions import (
    WebSocketAddressException,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketPayloadException,
    WebSocketProtocolException,
    WebSocketProxyException,
    WebSocketTimeoutException,
)
from lws_gevent.compat.websocket_client._logging import (
    debug,
    dump,
    enableTrace,
    error,
    isEnabledForDebug,
    isEnabledForError,
    isEnabledForTrace,
    trace,
    warning,
)

__all__ = [
    "ABNF",
    "WebSocket",
    "WebSocketAddressException",
    "WebSocketApp",
    "WebSocketBadStatusException",
    "WebSocketConnectionClosedException",
    "WebSocketException",
    "WebSocketPayloadException",
    "WebSocketProtocolException",
    "WebSocketProxyException",
    "WebSocketTimeoutException",
    "create_connection",
    "debug",
    "dump",
    "enableTrace",
    "error",
    "getdefaulttimeout",
    "isEnabledForDebug",
    "isEnabledForError",
    "isEnabledForTrace",
    "setReconnect",
    "set_reconnect",
    "setdefaulttimeout",
    "trace",
    "warning",
]
