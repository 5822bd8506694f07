"""The opening handshake of a client (RFC 6455 section 4.1), redirects included."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from lws_gevent.compat.ws import extension
from lws_gevent.compat.ws import url as urls
from lws_gevent.compat.ws.client_request import ClientRequest
from lws_gevent.compat.ws.constants import CLOSING, CONNECTING, GUID
from lws_gevent.compat.ws.errors import WSError, WSRangeError, WSSyntaxError, WSTypeError
from lws_gevent.compat.ws.message import IncomingMessage
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.stream_link import StreamLink
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["Handshake", "arguments"]

_PROTOCOL_VERSIONS = (8, 13)

_SUBPROTOCOL = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`|a-z~]+")

_DEFAULTS: dict[str, Any] = {
    "allowSynchronousEvents": True,
    "protocolVersion": 13,
    "maxBufferedChunks": 256 * 1024,
    "maxFragments": 16 * 1024,
    "maxPayload": 100 * 1024 * 1024,
    "maxPendingAutoPongs": 60,
    "skipUTF8Validation": False,
    "perMessageDeflate": True,
    "followRedirects": False,
    "maxRedirects": 10,
}

_UNSET = object()


def arguments(
    protocols: Any, options: Mapping[str, Any] | None, keywords: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The subprotocols and the options of ``WebSocket(address, protocols, options, **keywords)``."""
    if isinstance(protocols, Mapping):
        protocols, options = None, protocols
    given = {**(options or {}), **keywords}
    if given.get("agent"):
        raise WSTypeError("There are no agents here: use the option 'createConnection', which gives a connected socket")
    if protocols is None:
        protocols = given.get("protocols", ())
    return (list(protocols) if isinstance(protocols, (list, tuple)) else [protocols]), given


class Handshake:
    """Makes the connection of a client's WebSocket; tells it by `_set_link`, or by ``'error'`` and ``'close'``."""

    def __init__(self, websocket: Any, address: Any, protocols: list[Any], options: dict[str, Any]) -> None:
        self.websocket = websocket
        self.options = options
        self.protocols = protocols
        self.redirects = 0
        self.url = ""
        self.request: ClientRequest | None = None
        self._address = address
        self._aborted = False
        self._original: tuple[bool, bool, str] = (False, False, "")
        self._deflate: PerMessageDeflate | None = None
        self._key = ""
        self._settings: dict[str, Any] = {}

    def start(self) -> None:
        """Sends the first request. What is wrong with the arguments is raised here: WSSyntaxError for the address or a
        subprotocol, WSRangeError for the version."""
        self._connect(urls.parse(self._address))

    def _connect(self, url: urls.Url) -> None:
        settings = {**_DEFAULTS, **self.options}
        self._settings = settings
        version = settings["protocolVersion"]
        if version not in _PROTOCOL_VERSIONS:
            raise WSRangeError(f"Unsupported protocol version: {version} (supported versions: 8, 13)")
        if url.scheme in ("http", "https"):
            url = url._replace(scheme="ws" if url.scheme == "http" else "wss")
        self.url = url.href
        problem = _problem(url)
        if problem is not None:
            error = WSSyntaxError(problem)
            if self.redirects == 0:
                raise error
            self._fail(error)
            return
        secure, ipc = url.scheme == "wss", url.scheme == "ws+unix"
        self._key = base64.b64encode(os.urandom(16)).decode("ascii")
        default_port = 443 if secure else 80
        request = {
            **self.options,
            "secure": secure,
            "defaultPort": default_port,
            "port": url.port or default_port,
            "host": url.hostname.strip("[]"),
            "path": url.pathname + url.search,
            "socketPath": None,
            "timeout": settings.get("handshakeTimeout"),
            "headers": self._headers(settings, version),
        }
        if url.username or url.password:
            request["auth"] = f"{unquote(url.username)}:{unquote(url.password)}"
        if ipc:
            request["socketPath"], _, request["path"] = request["path"].partition(":")
        if settings["followRedirects"]:
            self._mind_redirects(request, url, secure, ipc)
        self._send(request)

    def _headers(self, settings: Mapping[str, Any], version: int) -> dict[str, Any]:
        headers = {
            **(settings.get("headers") or {}),
            "Sec-WebSocket-Version": version,
            "Sec-WebSocket-Key": self._key,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
        }
        deflate = settings["perMessageDeflate"]
        self._deflate = None
        if deflate:
            own = deflate if isinstance(deflate, Mapping) else {}
            self._deflate = PerMessageDeflate({**own, "isServer": False, "maxPayload": settings["maxPayload"]})
            offer = extension.format({PerMessageDeflate.extensionName: self._deflate.offer()})
            headers["Sec-WebSocket-Extensions"] = offer
        if self.protocols:
            for index, protocol in enumerate(self.protocols):
                token = isinstance(protocol, str) and _SUBPROTOCOL.fullmatch(protocol)
                if not token or protocol in self.protocols[:index]:
                    raise WSSyntaxError("An invalid or duplicated subprotocol was specified")
            headers["Sec-WebSocket-Protocol"] = ",".join(self.protocols)
        if settings.get("origin"):
            headers["Origin" if version == 13 else "Sec-WebSocket-Origin"] = settings["origin"]
        return headers

    def _mind_redirects(self, request: dict[str, Any], url: urls.Url, secure: bool, ipc: bool) -> None:
        """What a redirect may lead elsewhere is not told there, as curl does it: credentials, cookies, the host."""
        where = request["socketPath"] if ipc else url.host
        if self.redirects == 0:
            self._original = (ipc, secure, where)
            headers = {name.lower(): value for name, value in (self.options.get("headers") or {}).items()}
            self.options = {**self.options, "headers": headers}
        elif self.websocket.listenerCount("redirect") == 0:
            same_host = self._original[0] == ipc and where == self._original[2]
            if not same_host or (self._original[1] and not secure):
                for name in ("authorization", "cookie", *(() if same_host else ("host",))):
                    request["headers"].pop(name, None)
                request["auth"] = None
        # The first credentials count for all requests.
        if request.get("auth") and not self.options["headers"].get("authorization"):
            credentials = base64.b64encode(request["auth"].encode("utf-8")).decode("ascii")
            self.options["headers"]["authorization"] = f"Basic {credentials}"

    def _send(self, options: dict[str, Any]) -> None:
        websocket = self.websocket
        request = self.request = ClientRequest(options)
        if self.redirects:
            websocket.emit("redirect", self.url, request)
        request.on("timeout", lambda: self.abort(WSError("Opening handshake has timed out")))
        request.on("error", self._on_error)
        request.on("response", self._on_response)
        request.on("upgrade", self._on_upgrade)
        finish = self._settings.get("finishRequest")
        if finish is not None:
            finish(request, websocket)
        else:
            request.end()

    # --- what comes back --------------------------------------------------------------------------------------------

    def _on_error(self, error: BaseException) -> None:
        if not self._aborted and self.request is not None:
            self.request = None
            self._fail(error)

    def _on_response(self, response: IncomingMessage) -> None:
        request = self.request
        location, status = response.headers.get("location"), response.statusCode or 0
        if location and self._settings["followRedirects"] and 300 <= status < 400:
            self.redirects += 1
            if self.redirects > self._settings["maxRedirects"]:
                self.abort(WSError("Maximum redirects exceeded"))
                return
            if request is not None:
                request.abort()
            try:
                url = urls.resolve(location, self.url)
            except WSSyntaxError as error:
                self._fail(error)
                return
            self._connect(url)
        elif not self.websocket.emit("unexpected-response", request, response):
            self.abort(WSError(f"Unexpected server response: {status}"))

    def _on_upgrade(self, response: IncomingMessage, socket: Any, head: bytes) -> None:
        websocket = self.websocket
        websocket.emit("upgrade", response)
        if websocket.readyState != CONNECTING:
            return  # a listener has closed it
        try:
            self._check(response)
        except WSError as error:
            self.abort(error)
            return
        self.request = None
        websocket._set_link(StreamLink(websocket, socket, head, self._settings))

    def _check(self, response: IncomingMessage) -> None:
        """RFC 6455 section 4.1, from "Once the client's opening handshake has been sent". WSError when it fails."""
        headers = response.headers
        if headers.get("upgrade", "").lower() != "websocket":
            raise WSError("Invalid Upgrade header")
        digest = base64.b64encode(hashlib.sha1((self._key + GUID).encode("ascii")).digest()).decode("ascii")
        if headers.get("sec-websocket-accept") != digest:
            raise WSError("Invalid Sec-WebSocket-Accept header")
        protocol = headers.get("sec-websocket-protocol")
        if protocol is not None:
            if not self.protocols:
                raise WSError("Server sent a subprotocol but none was requested")
            if protocol not in self.protocols:
                raise WSError("Server sent an invalid subprotocol")
            self.websocket._protocol = protocol
        elif self.protocols:
            raise WSError("Server sent no subprotocol")
        if "sec-websocket-extensions" in headers:
            self._check_extensions(headers["sec-websocket-extensions"])

    def _check_extensions(self, value: str) -> None:
        if self._deflate is None:
            raise WSError("Server sent a Sec-WebSocket-Extensions header but no extension was requested")
        try:
            answered = extension.parse(value)
        except WSSyntaxError:
            raise WSError("Invalid Sec-WebSocket-Extensions header") from None
        name = PerMessageDeflate.extensionName
        if list(answered) != [name]:
            raise WSError("Server indicated an extension that was not requested")
        try:
            self._deflate.accept(answered[name])
        except WSError:
            raise WSError("Invalid Sec-WebSocket-Extensions header") from None
        self.websocket._extensions = {name: self._deflate}

    # --- failure ----------------------------------------------------------------------------------------------------

    def abort(self, error: WSError) -> None:
        """Gives up: ``'error'`` and ``'close'`` in a later turn."""
        self.websocket._readyState = CLOSING
        self._aborted = True
        if self.request is not None:
            self.request.abort()
        nextTick(self._fail, error)

    def _fail(self, error: BaseException) -> None:
        websocket = self.websocket
        websocket._readyState = CLOSING
        websocket._emit_error(error)
        websocket._emit_close()


def _problem(url: urls.Url) -> str | None:
    if url.scheme not in ("ws", "wss", "ws+unix"):
        return 'The URL\'s protocol must be one of "ws:", "wss:", "http:", "https:", or "ws+unix:"'
    if url.scheme == "ws+unix" and not url.pathname:
        return "The URL's pathname is empty"
    if url.fragment:
        return "The URL contains a fragment identifier"
    return None
