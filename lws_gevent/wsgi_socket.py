"""The connection behind a WSGI request (layer 2): how gevent.pywsgi and gunicorn's gevent workers let one find it.

Neither has an official way to take a connection over. What is relied on here is looked for and never assumed: a server
that is made differently gives an error, and nothing is taken from it.
"""

from __future__ import annotations

import _socket
from typing import Any

from lws_gevent.adopting import is_tls, kill_socket, take_tls_socket

__all__ = ["WsgiSocket", "tell_of_upgrade"]


class WsgiSocket:
    """The socket of a WSGI request, and the octets behind the request that its server has read already.

    `sock` is the server's own socket object. RuntimeError when `environ` leads to none.
    """

    __slots__ = ("_source", "octets", "sock")

    def __init__(self, environ: dict[str, Any]) -> None:
        source: Any = environ.get("wsgi.input")
        source = getattr(source, "rfile", source)  # pywsgi's Input, around the file that it reads from
        unreader: Any = getattr(getattr(source, "reader", None), "unreader", None)
        sock = environ.get("gunicorn.socket")
        if sock is not None and hasattr(unreader, "buf"):
            self._source: Any = unreader
            self.octets: bytes = unreader.buf.getvalue()
        else:
            sock = getattr(getattr(source, "raw", None), "_sock", None)
            if sock is None or not hasattr(source, "peek"):
                raise RuntimeError(
                    "this WSGI environment leads to no socket: it must be gevent.pywsgi's or a gunicorn gevent worker's"
                )
            self._source = source
            # Our own handler's file may have more than fits into its buffer.
            self.octets = _peek(source, sock) + getattr(source.raw, "unread", b"")
        self.sock: Any = sock

    def take(self) -> Any:
        """The descriptor, or a TLS transport, whose owner is the caller from now on. The server's socket object is one
        whose peer has left: whatever its server does with it, reading, writing, closing, is in vain and harms nothing.

        OSError, before anything has happened, when there are no descriptors left.
        """
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
        """Behind a request without a body that nobody reads any more: gives the buffer of its file back."""
        if hasattr(self._source, "peek"):
            self._source.close()


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
