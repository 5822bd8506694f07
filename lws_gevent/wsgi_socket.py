"""The connection behind a WSGI request (layer 2): how gevent.pywsgi and gunicorn's gevent workers let one find it.

Neither has an official way to take a connection over. What is relied on here is looked for and never assumed: a server
that is made differently gives an error, and nothing is taken from it.
"""

from __future__ import annotations

import _socket
import errno
import io
from typing import Any

from lws_gevent.adopting import is_tls, kill_socket, take_tls_socket
from lws_gevent.foreign_request import RAW_HEAD

__all__ = ["HANDLER", "WsgiSocket", "tell_of_upgrade"]

#: The key of a WSGI environ under which our own handler for gevent.pywsgi stands until it has no connection any more.
HANDLER = "lws_gevent.handler"

_CLOSED = io.BytesIO()
_CLOSED.close()


class WsgiSocket:
    """The socket of a WSGI request, and the octets behind the request that its server has read already.

    `sock` is the server's own socket object. RuntimeError when `environ` leads to none.
    """

    __slots__ = ("_environ", "_handler", "_source", "octets", "sock")

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self._handler: Any = environ.get(HANDLER)
        if self._handler is not None:
            self._source: Any = self._handler.rfile
            self.octets: bytes = self._source.unread()
            self.sock: Any = self._handler.socket
            return
        source: Any = environ.get("wsgi.input")
        source = getattr(source, "rfile", source)  # pywsgi's Input, around the file that it reads from
        unreader: Any = getattr(getattr(source, "reader", None), "unreader", None)
        sock = environ.get("gunicorn.socket")
        if sock is not None and hasattr(unreader, "buf"):
            self._source = unreader
            self.octets = unreader.buf.getvalue()
        else:
            sock = getattr(getattr(source, "raw", None), "_sock", None)
            if sock is None or not hasattr(source, "peek"):
                raise RuntimeError(
                    "this WSGI environment leads to no socket: it must be gevent.pywsgi's or a gunicorn gevent worker's"
                )
            self._source = source
            # Our own handler's file may have more than fits into its buffer.
            self.octets = _peek(source, sock) + getattr(source.raw, "unread", b"")
        self.sock = sock

    def take(self) -> Any:
        """The descriptor, or a TLS transport, whose owner is the caller from now on. What the server has is
        a socket whose peer has left: whatever its server does with it, reading, writing, closing, is in vain and harms
        nothing.

        OSError, before anything has happened, when there are no descriptors left.
        """
        if self._handler is not None:
            self._source.read(len(self.octets))
            del self._environ[HANDLER]
            self._handler.socket = _GONE
            taken: int = self.sock.detach()
            return taken
        dead, there = _socket.socketpair()
        there.close()
        if hasattr(self._source, "peek"):
            self._source.read(len(self.octets))
        else:
            self._source.buf.seek(0)
            self._source.buf.truncate()
        if hasattr(self.sock, "release"):  # of our own handler
            dead.close()
            return self.sock.release()
        if is_tls(self.sock):
            return take_tls_socket(self.sock, dead)
        descriptor: int = self.sock.detach()
        kill_socket(self.sock, dead)
        return descriptor

    def free(self) -> None:
        """Behind a request without a body that nobody reads any more: gives back its file, and what its head was read
        into."""
        self._environ.pop(RAW_HEAD, None)
        if self._handler is not None:
            self._handler.forget_request()
            self._environ["wsgi.input"] = self._handler.rfile = _CLOSED
        if hasattr(self._source, "peek"):
            self._source.close()


class _Gone:
    """The socket of a handler whose connection was taken over: one whose peer has left."""

    def sendall(self, data: bytes) -> None:
        """In vain."""
        raise BrokenPipeError(errno.EPIPE, "this connection is a WebSocket now")

    def fileno(self) -> int:
        """None."""
        return -1

    def close(self) -> None:
        """Nothing to close."""


_GONE = _Gone()


def tell_of_upgrade(start_response: Any) -> None:
    """Tells the WSGI server that its request was answered with 101, for its log. Where it lets itself be told it does
    not even try to write a response, and ends its part of the connection behind the request."""
    start_response("101 Switching Protocols", [])
    response: Any = getattr(start_response, "__self__", None)
    if hasattr(response, "headers_sent"):
        response.headers_sent = True
        if hasattr(response, "force_close"):  # gunicorn
            response.force_close()
        elif hasattr(response, "close_connection"):  # gevent.pywsgi
            response.close_connection = True


def _peek(file: Any, sock: Any) -> bytes:
    """What `file` holds of `sock`, and what has come since, at most its buffer; nothing is waited for."""
    timeout = sock.gettimeout()
    sock.settimeout(0.0)
    try:
        octets: bytes = file.peek()
    except OSError:
        return b""  # TLS's way to say that there is nothing
    finally:
        sock.settimeout(timeout)
    return octets
