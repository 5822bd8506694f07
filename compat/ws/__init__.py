"""The class interface of Node's ``ws`` (8.23) on gevent: camelCase names, milliseconds, the same events and errors."""

from lws_gevent.compat.ws import extension, subprotocol
from lws_gevent.compat.ws.constants import CLOSED, CLOSING, CONNECTING, OPEN
from lws_gevent.compat.ws.emitter import EventEmitter
from lws_gevent.compat.ws.errors import WSError, WSRangeError, WSSyntaxError, WSTypeError
from lws_gevent.compat.ws.events import CloseEvent, ErrorEvent, Event, EventTarget, MessageEvent
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.receiver import Receiver
from lws_gevent.compat.ws.sender import Sender

__all__ = [
    "CLOSED",
    "CLOSING",
    "CONNECTING",
    "OPEN",
    "CloseEvent",
    "ErrorEvent",
    "Event",
    "EventEmitter",
    "EventTarget",
    "MessageEvent",
    "PerMessageDeflate",
    "Receiver",
    "Sender",
    "WSError",
    "WSRangeError",
    "WSSyntaxError",
    "WSTypeError",
    "extension",
    "subprotocol",
]
