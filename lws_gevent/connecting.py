"""How a client comes to an open connection (layer 3): address, proxy, TLS, opening handshake, redirects.

All of it blocks the calling greenlet and may be given up at any point by whatever is raised there: nothing is left
open then.
"""

from __future__ import annotations

from typing import NamedTuple

from lws_gevent._version import __version__
from lws_gevent.adopting import take_socket
from lws_gevent.client_handshake import (
    Response,
    build_request,
    check_upgrade,
    new_key,
    read_body,
    read_response,
    refused,
)
from lws_gevent.client_options import ConnectSettings
from lws_gevent.errors import HandshakeError
from lws_gevent.extensions import DeflateParameters, PerMessageDeflate, agreed, offer
from lws_gevent.handshake import Headers
from lws_gevent.options import Settings
from lws_gevent.proxies import Proxy, proxy_from_environment, tunnel
from lws_gevent.streams import Stream, TLSStream, open_tcp, open_unix
from lws_gevent.tls import default_client_context
from lws_gevent.url import URL, redirected

__all__ = ["Opened", "open_connection"]

_USER_AGENT = f"lws_gevent/{__version__}"

#: Octets of the body of a response that opens no connection which are kept.
_MAX_BODY = 64 * 1024

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

#: What an application's headers may say about who it is; not for another origin.
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})


class Opened(NamedTuple):
    """An opening handshake that has succeeded. `stream`: still to be taken; `rest`: octets behind the response."""

    stream: Stream
    rest: bytes
    url: URL
    headers: Headers
    subprotocol: str | None
    deflate: DeflateParameters | None


def open_connection(url: URL, connecting: ConnectSettings, settings: Settings) -> Opened:
    """Connects and makes the opening handshake. HandshakeError: the server, or a proxy, refuses or answers wrongly;
    OSError: it cannot be reached, or its certificate is not good."""
    for _ in range(connecting.max_redirects + 1):
        stream = _open_stream(url, connecting, settings)
        try:
            return _shake_hands(stream, url, connecting, settings.per_message_deflate)
        except _Redirect as redirect:
            stream.close()
            target = redirect.target
            if target.origin != url.origin:
                connecting = _without_credentials(connecting)
            elif target.username is None:
                target = target._replace(username=url.username, password=url.password)
            url = target
        except BaseException:
            stream.close()
            raise
    raise HandshakeError(0, None, b"", f"there are more than {connecting.max_redirects} redirects")


class _Redirect(Exception):
    def __init__(self, target: URL) -> None:
        self.target = target


def _without_credentials(connecting: ConnectSettings) -> ConnectSettings:
    headers = tuple(pair for pair in connecting.headers if pair[0].lower() not in _CREDENTIALS)
    return connecting.replaced({"headers": headers})


# --- the way to the server --------------------------------------------------------------------------------------------


def _open_stream(url: URL, connecting: ConnectSettings, settings: Settings) -> Stream:
    """To the server, through a proxy if there is one, and encrypted if the URL says so."""
    stream = None
    try:
        stream = _reach(url, connecting, settings)
        if url.secure:
            stream = _encrypt(stream, connecting, connecting.server_hostname or url.host)
        return stream
    except BaseException:
        if stream is not None:
            stream.close()
        raise


def _reach(url: URL, connecting: ConnectSettings, settings: Settings) -> Stream:
    if connecting.socket is not None:
        return Stream(take_socket(connecting.socket, settings))
    if url.unix_path is not None:
        return open_unix(url.unix_path)
    proxy = connecting.proxy
    if proxy is True:
        proxy = proxy_from_environment(url.secure, url.host, url.port)
    if proxy is None:
        return open_tcp(url.host, url.port, connecting.local_address)
    return _reach_through(proxy, url, connecting)


def _reach_through(proxy: Proxy, url: URL, connecting: ConnectSettings) -> Stream:
    if proxy.scheme == "https" and url.secure:
        raise ValueError("a proxy that is spoken to by TLS can only carry ws, not wss")
    stream = open_tcp(proxy.host, proxy.port, connecting.local_address)
    try:
        if proxy.scheme == "https":
            stream = _encrypt(stream, connecting, proxy.host)
        tunnel(stream, proxy, url.host, url.port)
        return stream
    except BaseException:
        stream.close()
        raise


def _encrypt(stream: Stream, connecting: ConnectSettings, host: str) -> Stream:
    context = default_client_context() if connecting.ssl is None else connecting.ssl
    return TLSStream(stream, context, host)


# --- the opening handshake --------------------------------------------------------------------------------------------


def _shake_hands(
    stream: Stream, url: URL, connecting: ConnectSettings, compression: PerMessageDeflate | None
) -> Opened:
    key = new_key()
    extensions = "" if compression is None else offer(compression)
    stream.write(
        build_request(url, key, connecting.subprotocols, extensions, connecting.origin, connecting.headers, _USER_AGENT)
    )
    response, rest = read_response(stream.read, connecting.max_header_size, "the server")
    if response.status != 101:
        if connecting.follow_redirects and response.status in _REDIRECTS:
            raise _Redirect(_redirect_target(url, response))
        raise refused(response, _body(stream, response, rest))
    subprotocol = check_upgrade(response, key, connecting.subprotocols)
    chosen = response.headers.get_all("Sec-WebSocket-Extensions")
    deflate = None
    try:
        if compression is not None:
            deflate = agreed(chosen, compression)
        elif chosen:
            raise ValueError("the server has chosen an extension that was not offered")
    except ValueError as error:
        raise refused(response, b"", str(error)) from None
    return Opened(stream, rest, url, response.headers, subprotocol, deflate)


def _body(stream: Stream, response: Response, rest: bytes) -> bytes:
    """What is there of it when the time is up is better than an error that does not even know the status."""
    try:
        return read_body(stream.read, response, rest, _MAX_BODY)
    except (OSError, TimeoutError):
        return rest[:_MAX_BODY]


def _redirect_target(url: URL, response: Response) -> URL:
    locations = response.headers.get_all("Location")
    if len(locations) != 1:
        raise refused(response, b"", "a redirect must name one target")
    try:
        return redirected(url, locations[0])
    except ValueError as error:
        raise refused(response, b"", str(error)) from None
