"""The class interface of Node's ``ws`` (8.23) on gevent: camelCase names, milliseconds, the same events and errors."""

from lws_gevent.compat.ws import extension, subprotocol
from lws_gevent.compat.ws.constants import CLOSED, CLOSING, CONNECTING, OPEN
from lws_gevent.compat.ws.emitter import EventEmitter
from lws_gevent.compat.ws.errors import WSError, WSRangeError, WSSyntaxError, WSTypeError
from lws_gevent.compat.ws.events import CloseEvent, ErrorEvent, Event, EventTarget, MessageEvent
from lws_gevent.compat.ws.foreign_servers import upgrades
from lws_gevent.compat.ws.http_server import HttpServer, createServer
from lws_gevent.compat.ws.message import IncomingMessage
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.receiver import Receiver
from lws_gevent.compat.ws.sender import Sender
from lws_gevent.compat.ws.stream import createWebSocketStream
from lws_gevent.compat.ws.websocket import WebSocket
from lws_gevent.compat.ws.websocket_server import WebSocketServer

#: The name of the server's class in CommonJS programs.
Server = WebSocketServer

# In CommonJS the module is the class: WebSocket.Server, WebSocket.createWebSocketStream.
for _name, _thing in {
    "Receiver": Receiver,
    "Sender": Sender,
    "Server": WebSocketServer,
    "WebSocket": WebSocket,
    "WebSocketServer": WebSocketServer,
    "PerMessageDeflate": PerMessageDeflate,
    "createWebSocketStream": staticmethod(createWebSocketStream),
    "extension": extension,
    "subprotocol": subprotocol,
}.items():
    setattr(WebSocket, _name, _thing)

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
    "HttpServer",
    "IncomingMessage",
    "MessageEvent",
    "PerMessageDeflate",
    "Receiver",
    "Sender",
    "Server",
    "WSError",
    "WSRangeError",
    "WSSyntaxError",
    "WSTypeError",
    "WebSocket",
    "WebSocketServer",
    "createServer",
    "createWebSocketStream",
    "extension",
    "subprotocol",
    "upgrades",
]
