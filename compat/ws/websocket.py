"""The class WebSocket: both ends of a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lws_gevent.compat.ws import client
from lws_gevent.compat.ws.buffer_util import numberText, toBuffer
from lws_gevent.compat.ws.constants import (
    BINARY_TYPES,
    CLOSE_TIMEOUT,
    CLOSED,
    CLOSING,
    CONNECTING,
    EMPTY_BUFFER,
    OPEN,
    READY_STATES,
)
from lws_gevent.compat.ws.emitter import trimmed
from lws_gevent.compat.ws.errors import WSError, WSTypeError
from lws_gevent.compat.ws.events import EventTarget
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.sender import closePayload, controlPayload
from lws_gevent.compat.ws.ticks import nextTick
from lws_gevent.compat.ws.timers import Timer

__all__ = ["WebSocket"]

Callback = Callable[..., Any]

_NOT_YET = "WebSocket is not open: readyState 0 (CONNECTING)"
_ABORTED = "WebSocket was closed before the connection was established"


class _Constant:
    """A number that is an attribute of the class and of every object, and that no object can have otherwise."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __get__(self, _instance: Any, _owner: Any = None) -> int:
        return self._value

    def __set__(self, _instance: Any, _value: Any) -> None:
        raise AttributeError("the states of a WebSocket are constants")


class WebSocket(EventTarget):
    """A WebSocket.

    ``WebSocket(address, protocols, options)`` connects to a server, without waiting for it; the options are those of
    ws's client, in a dict, as keywords, or both. A server makes its own with an address of None.

    Events: ``'open'``, ``'message'`` (data, isBinary), ``'ping'`` and ``'pong'`` (data), ``'close'`` (code, reason),
    ``'error'`` (error); on a client also ``'upgrade'`` (response), ``'unexpected-response'`` (request, response) and
    ``'redirect'`` (url, request). A text message comes as its octets, as in ws: ``data.decode()``. All of it is for
    greenlets of the thread in which it was made.
    """

    __slots__ = (
        "__dict__",  # programs put attributes of their own on it; made when they do
        "_autoPong",
        "_binaryType",
        "_bufferedAmount",
        "_client",
        "_closeCode",
        "_closeFrameReceived",
        "_closeFrameSent",
        "_closeMessage",
        "_closeTimeout",
        "_closeTimer",
        "_errorEmitted",
        "_extensions",
        "_isServer",
        "_link",
        "_paused",
        "_owner",
        "_protocol",
        "_readyState",
    )

    CONNECTING = _Constant(CONNECTING)
    OPEN = _Constant(OPEN)
    CLOSING = _Constant(CLOSING)
    CLOSED = _Constant(CLOSED)

    def __init__(
        self, address: Any, protocols: Any = None, options: Mapping[str, Any] | None = None, **keywords: Any
    ) -> None:
        super().__init__()
        self._binaryType = BINARY_TYPES[0]
        self._bufferedAmount = 0
        self._closeCode = 1006
        self._closeFrameReceived = False
        self._closeFrameSent = False
        self._closeMessage = EMPTY_BUFFER
        self._closeTimer: Timer | None = None
        self._errorEmitted = False
        self._extensions: Mapping[str, Any] = _NO_EXTENSIONS
        self._paused = False
        self._owner: Any = None  # the server that tracks it
        self._protocol = ""
        self._readyState = CONNECTING
        self._link: Any = None
        self._client: client.Handshake | None = None
        self._isServer = address is None
        if self._isServer:
            given: Mapping[str, Any] = options or {}
        else:
            protocols, given = client.arguments(protocols, options, keywords)
        self._autoPong: bool = bool(given.get("autoPong", True))
        self._closeTimeout: float = given.get("closeTimeout", CLOSE_TIMEOUT)
        if not self._isServer:
            self._client = client.Handshake(self, address, protocols, dict(given))
            self._client.start()

    # --- attributes -------------------------------------------------------------------------------------------------

    @property
    def binaryType(self) -> str:
        """What binary messages are: ``'nodebuffer'`` bytes, ``'arraybuffer'`` a bytearray, ``'fragments'`` a list of
        bytes. Setting anything else does nothing."""
        return self._binaryType

    @binaryType.setter
    def binaryType(self, kind: Any) -> None:
        if kind in BINARY_TYPES:
            self._binaryType = kind
            if self._link is not None:
                self._link.set_binary_type(kind)

    @property
    def bufferedAmount(self) -> int:
        """Octets that were sent and that the system has not taken."""
        return self._bufferedAmount if self._link is None else self._link.bufferedAmount

    @property
    def extensions(self) -> str:
        """The names of the extensions that were agreed on, ``''`` for none."""
        return ",".join(self._extensions)

    @property
    def isPaused(self) -> bool:
        """Whether `pause` was called."""
        return self._paused

    @property
    def protocol(self) -> str:
        """The subprotocol that the server has chosen, ``''`` for none."""
        return self._protocol

    @property
    def readyState(self) -> int:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        return self._readyState

    @property
    def url(self) -> str | None:
        """The address of the server, normalized; None on a server."""
        return None if self._client is None else self._client.url

    @property
    def _socket(self) -> Any:
        """The stream below; None before there is one."""
        return None if self._link is None else self._link.socket

    @property
    def _receiver(self) -> Any:
        return getattr(self._link, "receiver", None)

    @property
    def _sender(self) -> Any:
        return getattr(self._link, "sender", None)

    @property
    def _req(self) -> Any:
        return None if self._client is None else self._client.request

    @property
    def _redirects(self) -> int:
        return 0 if self._client is None else self._client.redirects

    # --- sending ----------------------------------------------------------------------------------------------------

    def send(self, data: Any = None, options: Any = None, cb: Callback | None = None, **keywords: Any) -> None:
        """Sends a message: str and numbers as text, everything that is octets as binary.

        `options`, also as keywords: ``binary``, ``compress`` (True where it was agreed on), ``fin`` (False: more
        fragments follow), ``mask``. ``cb(error)`` is called when the system has taken it (error None), or cannot. Never
        blocks; what a slow peer does not take waits in memory, see `bufferedAmount`.
        WSError before the connection is open; after its end only `cb` tells.
        """
        if self._readyState == CONNECTING:
            raise WSError(_NOT_YET)
        if callable(options):
            options, cb = None, options
        if isinstance(data, (int, float)):
            data = _number(data)
        if self._readyState != OPEN:
            self._send_after_close(data, cb)
            return
        given = {
            "binary": not isinstance(data, str),
            "mask": not self._isServer,
            "compress": True,
            "fin": True,
            **(options or {}),
            **keywords,
        }
        if not self._extensions:
            given["compress"] = False
        self._link.send(EMPTY_BUFFER if data is None else data, given, cb)

    def ping(self, data: Any = None, mask: Any = None, cb: Callback | None = None) -> None:
        """Sends a ping of at most 125 octets; WSRangeError for more. The rest is as with `send`."""
        self._control("ping", data, mask, cb)

    def pong(self, data: Any = None, mask: Any = None, cb: Callback | None = None) -> None:
        """Sends a pong of at most 125 octets; WSRangeError for more. The rest is as with `send`."""
        self._control("pong", data, mask, cb)

    def _control(self, verb: str, data: Any, mask: Any, cb: Callback | None) -> None:
        if self._readyState == CONNECTING:
            raise WSError(_NOT_YET)
        if callable(data):
            data, mask, cb = None, None, data
        elif callable(mask):
            mask, cb = None, mask
        if isinstance(data, (int, float)):
            data = _number(data)
        if self._readyState != OPEN:
            self._send_after_close(data, cb)
            return
        payload = controlPayload(data)
        getattr(self._link, verb)(payload, not self._isServer if mask is None else bool(mask), cb)

    def _send_after_close(self, data: Any, cb: Callback | None) -> None:
        if data:
            size = len(toBuffer(data))
            if self._link is None:
                self._bufferedAmount += size
            else:
                self._link.add_unsent(size)
        if cb is not None:
            state = self._readyState
            error = WSError(f"WebSocket is not open: readyState {state} ({READY_STATES[state]})")
            nextTick(trimmed, cb, error)

    # --- receiving --------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """No messages until `resume`; nothing when it is not connected."""
        if self._readyState not in (CONNECTING, CLOSED):
            self._paused = True
            self._link.pause()

    def resume(self) -> None:
        """Ends a `pause`."""
        if self._readyState not in (CONNECTING, CLOSED):
            self._paused = False
            self._link.resume()

    # --- closing ----------------------------------------------------------------------------------------------------

    def close(self, code: Any = None, data: Any = None) -> None:
        """Begins the closing handshake: what was sent goes out first, then a close frame with `code` and the reason
        `data`; without a code an empty one. At most ``closeTimeout`` milliseconds for the peer's answer.

        WSTypeError for a code that may not be sent, or a reason that is neither text nor octets; WSRangeError for a
        reason of more than 123 octets.
        """
        if self._readyState == CLOSED:
            return
        if self._readyState == CONNECTING:
            self._abort(_ABORTED)
            return
        if self._readyState == CLOSING:
            if self._closeFrameSent and (self._closeFrameReceived or self._link.failed):
                self._link.end()
            return
        closePayload(code, data)
        self._readyState = CLOSING
        self._link.close(code, data, not self._isServer, self._close_frame_sent)
        self._set_close_timer()

    def _close_frame_sent(self) -> None:
        self._closeFrameSent = True
        if self._closeFrameReceived or self._link.failed:
            self._link.end()

    def terminate(self) -> None:
        """Ends the connection at once."""
        if self._readyState == CLOSED:
            return
        if self._readyState == CONNECTING:
            self._abort(_ABORTED)
            return
        if self._link is not None:
            self._readyState = CLOSING
            self._link.destroy()

    def _abort(self, message: str) -> None:
        if self._client is None:
            self._readyState = CLOSED
        else:
            self._client.abort(WSError(message))

    def _set_close_timer(self) -> None:
        if self._closeTimer is None and self._link.needs_close_timer:
            self._closeTimer = Timer(self._closeTimeout, self._link.destroy)

    def _clear_close_timer(self) -> None:
        if self._closeTimer is not None:
            self._closeTimer.cancel()

    # --- what the link tells ----------------------------------------------------------------------------------------

    def _set_link(self, link: Any) -> None:
        """The connection is open."""
        self._link = link
        self._readyState = OPEN
        self.emit("open")
        link.start()

    def _on_message(self, data: Any, isBinary: bool) -> None:
        self.emit("message", data, isBinary)

    def _on_ping(self, data: bytes) -> None:
        link = self._link
        if self._autoPong and self._readyState == OPEN and not link.answers_pings:
            if 0 < link.max_pending_pongs <= link.pending_pongs:
                self.terminate()  # the peer asks and does not listen
            else:
                link.pending_pongs += 1
                self.pong(data, None, link.pong_sent)
        self.emit("ping", data)

    def _on_pong(self, data: bytes) -> None:
        self.emit("pong", data)

    def _emit_error(self, error: BaseException) -> None:
        """``'error'``, once; without a listener it is logged, as no program shall end of what a peer sends."""
        if self._errorEmitted:
            return
        self._errorEmitted = True
        if self.listenerCount("error"):
            self.emit("error", error)
        else:
            import logging  # costs time and memory that most programs never need

            logging.getLogger("lws_gevent").error("a WebSocket failed, and nobody listens to its 'error': %s", error)

    def _emit_close(self) -> None:
        self._readyState = CLOSED
        if self._owner is not None:
            self._owner._client_closed(self)
            self._owner = None
        self.emit("close", self._closeCode, self._closeMessage)


#: Of every connection without extensions.
_NO_EXTENSIONS: dict[str, PerMessageDeflate] = {}


def _number(value: Any) -> str:
    if isinstance(value, bool):
        raise WSTypeError("The data must be a string, a number or octets, not bool")
    return numberText(value)
