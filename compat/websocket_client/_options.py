"""What websocket-client's options of `connect` mean in ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from gevent import ssl

from lws_gevent.compat.websocket_client._exceptions import WebSocketException

__all__ = ["connect_options", "tls_context"]

#: Set by the library itself; in the original an application could write over them.
_OURS = frozenset({"connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"})
_NEVER_BY_PROXY = ("localhost", "127.0.0.1")


def connect_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `lws_gevent.Client.connect` for those of websocket-client."""
    if options.get("suppress_host"):
        raise WebSocketException("suppress_host is not supported: HTTP/1.1 needs a Host header")
    pairs, subprotocols = _headers(options.get("header"))
    if options.get("cookie"):
        pairs.append(("Cookie", options["cookie"]))
    if options.get("host"):
        pairs.append(("Host", options["host"]))
    subprotocols += options.get("subprotocols") or ()
    redirects = options.get("redirect_limit", 3)
    return {
        "headers": pairs,
        "subprotocols": list(dict.fromkeys(subprotocols)),
        "origin": None if options.get("suppress_origin") else options.get("origin") or _origin(url),
        "follow_redirects": redirects > 0,
        "max_redirects": min(max(redirects, 1), 10),
        "proxy": _proxy(url, options),
        "socket": options.get("socket"),
    }


def _headers(given: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and value of each header, and the subprotocols among them."""
    if isinstance(given, Mapping):
        pairs = [(str(name), str(value)) for name, value in given.items() if value is not None]
    else:
        split = (line.partition(":") for line in given or ())
        pairs = [(name.strip(), value.strip()) for name, _, value in split]
    subprotocols: list[str] = []
    for name, value in pairs:
        if name.lower() == "sec-websocket-protocol":
            subprotocols += [token.strip() for token in value.split(",")]
    left_out = _OURS | {"sec-websocket-protocol"}
    return [pair for pair in pairs if pair[0].lower() not in left_out], subprotocols


def _origin(url: str) -> str:
    """websocket-client sends one unless it is told otherwise, as a browser would."""
    parts = urlsplit(url)
    scheme = "https" if parts.scheme == "wss" else "http"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    usual = parts.port in (None, 443 if scheme == "https" else 80)
    return f"{scheme}://{host}" if usual else f"{scheme}://{host}:{parts.port}"


def _proxy(url: str, options: Mapping[str, Any]) -> str | bool | None:
    host = urlsplit(url).hostname or ""
    excluded = options.get("http_no_proxy") or ()
    if host in _NEVER_BY_PROXY or host in excluded or any(host.endswith(name) for name in excluded if name[:1] == "."):
        return None
    if not options.get("http_proxy_host"):
        return True if not options.get("http_no_proxy") == ["*"] else None
    if not options.get("http_proxy_port"):
        raise WebSocketException("Cannot use port 0 when proxy_host specified")
    kind = options.get("proxy_type") or "http"
    if kind not in ("http", "socks4", "socks4a", "socks5", "socks5h"):
        raise WebSocketException("Only http, socks4, socks5 proxy protocols are supported")
    credentials = ""
    if options.get("http_proxy_auth"):
        name, password = options["http_proxy_auth"]
        credentials = f"{quote(name, safe='')}:{quote(password or '', safe='')}@"
    proxy_host = options["http_proxy_host"]
    return (
        f"{kind}://{credentials}{f'[{proxy_host}]' if ':' in proxy_host else proxy_host}:{options['http_proxy_port']}"
    )


def tls_context(sslopt: Mapping[str, Any]) -> ssl.SSLContext | None:
    """The context for the dict ``sslopt``; None for an empty one: the system's authorities, and host names checked."""
    context: ssl.SSLContext
    if "context" in sslopt:
        context = sslopt["context"]
        return context
    authorities = sslopt.get("ca_certs") or os.environ.get("WEBSOCKET_CLIENT_CA_BUNDLE")
    if not {name for name in sslopt if name != "server_hostname"} and authorities is None:
        return None
    context = ssl.SSLContext(sslopt.get("ssl_version", ssl.PROTOCOL_TLS_CLIENT))
    verify = sslopt.get("cert_reqs", ssl.CERT_REQUIRED)
    context.check_hostname = bool(sslopt.get("check_hostname", True)) and verify != ssl.CERT_NONE
    context.verify_mode = verify
    if verify != ssl.CERT_NONE:
        if authorities is None and sslopt.get("ca_cert_path") is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(cafile=authorities, capath=sslopt.get("ca_cert_path"))
    if sslopt.get("certfile"):
        context.load_cert_chain(sslopt["certfile"], sslopt.get("keyfile"), sslopt.get("password"))
    if sslopt.get("ciphers"):
        context.set_ciphers(sslopt["ciphers"])
    if sslopt.get("ecdh_curve"):
        context.set_ecdh_curve(sslopt["ecdh_curve"])
    return context
