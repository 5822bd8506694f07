"""The option ``ssl`` of servers and clients (layer 2): the `ssl.SSLContext` for what the user gave.

The module ssl is imported only when it is used, and in the form of `gevent.ssl`, whose contexts work whether and
whenever gevent's monkey-patching has taken place: one that was made before it cannot be changed any more after it
without a RecursionError, if it is the standard library's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import ssl

__all__ = ["TlsOptions", "client_context", "default_client_context", "server_context"]


class TlsOptions(TypedDict, total=False):
    """The option ``ssl`` as a dict: paths of files in PEM format, and how to deal with clients.

    ``cert`` is the certificate and those that lead from it to its authority, ``key`` its private key when it is not in
    the same file; ``ciphers`` a list as OpenSSL knows it. With ``ca``, clients must show a certificate that one of
    these authorities has signed; with ``reject_unauthorized=False`` they may come without one.

    For a client ``ca`` is who signs servers, in place of the system's authorities, ``cert`` and ``key`` what it shows
    when a server asks, and ``reject_unauthorized=False`` takes any certificate of anybody, which protects from nobody
    who can change what is on its way.
    """

    key: str
    cert: str
    ca: str
    ciphers: str
    reject_unauthorized: bool


_names = frozenset(TlsOptions.__annotations__)


def server_context(name: str, value: Any) -> ssl.SSLContext | None:
    """The context for the value of the option `name`: None, an `ssl.SSLContext`, or a mapping (see `TlsOptions`).

    TypeError for anything else; ValueError, in one line, when a file cannot be read or is not what it should be, and
    for the context of a client.
    """
    return _context(name, value, _server_context_of, "servers", server_side=True)


def client_context(name: str, value: Any) -> ssl.SSLContext | None:
    """As `server_context`, for a client. Certificates and host names are verified unless a mapping or a context of the
    user's says otherwise. None stays None, see `default_client_context`."""
    return _context(name, value, _client_context_of, "clients", server_hostname="localhost")


def _context(name: str, value: Any, of: Callable[..., ssl.SSLContext], whose: str, **how: Any) -> ssl.SSLContext | None:
    """The context for `value`, which `of` makes from a mapping; `how` a connection of theirs begins."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        context = of(name, value)
    elif _is_context(value):
        context = value
    else:
        raise TypeError(f"option {name!r} must be an ssl.SSLContext, a dict or None, not {type(value).__name__}")
    from gevent import ssl

    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), **how)
    except ssl.SSLError as error:
        raise ValueError(f"option {name!r}: this context is not one for {whose} ({_reason(error)})") from None
    return context


def default_client_context() -> ssl.SSLContext:
    """The context of clients that were given none, with the authorities of the system. One per process: to load them
    takes time."""
    global _default
    if _default is None:
        _default = _client_context_of("ssl", {})
    return _default


_default: ssl.SSLContext | None = None


def _client_context_of(name: str, options: Mapping[str, Any]) -> ssl.SSLContext:
    _check_names(name, options)
    from gevent import ssl

    context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and host names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if not options.get("reject_unauthorized", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.get("key") is not None and options.get("cert") is None:
        raise ValueError(f"option {name!r}: a 'key' needs a 'cert'")
    for key in ("cert", "key", "ca"):
        _check_readable(name, key, options.get(key))
    if options.get("cert") is not None:
        _load_certificate(name, options, context)
    _load_authorities(name, options, context)
    _set_ciphers(name, options, context)
    if options.get("ca") is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _is_context(value: Any) -> bool:
    # The class that all contexts inherit from; monkey-patching replaces ssl.SSLContext, but not this one.
    module = sys.modules.get("_ssl")
    return module is not None and isinstance(value, module._SSLContext)


def _check_names(name: str, options: Mapping[str, Any]) -> None:
    for key, value in options.items():
        if key not in _names:
            raise TypeError(f"option {name!r} has no {key!r}: known are {', '.join(sorted(_names))}")
        if key == "reject_unauthorized":
            if not isinstance(value, bool):
                raise TypeError(f"option {name!r}: {key!r} must be a bool, not {type(value).__name__}")
        elif value is not None and not isinstance(value, (str, os.PathLike)):
            raise TypeError(f"option {name!r}: {key!r} must be a str, not {type(value).__name__}")


def _server_context_of(name: str, options: Mapping[str, Any]) -> ssl.SSLContext:
    _check_names(name, options)
    if options.get("cert") is None:
        raise ValueError(f"option {name!r} needs a 'cert': the path of the server's certificate")
    from gevent import ssl

    context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Each is a handshake that a peer could ask for at will, and a write that has to wait for reading.
    context.options |= ssl.OP_NO_RENEGOTIATION
    for key in ("cert", "key", "ca"):
        _check_readable(name, key, options.get(key))
    _load_certificate(name, options, context)
    if _load_authorities(name, options, context):
        reject = options.get("reject_unauthorized", True)
        context.verify_mode = ssl.CERT_REQUIRED if reject else ssl.CERT_OPTIONAL
    _set_ciphers(name, options, context)
    return context


def _load_certificate(name: str, options: Mapping[str, Any], context: ssl.SSLContext) -> None:
    from gevent import ssl

    try:
        context.load_cert_chain(options["cert"], options.get("key"), password=_no_password)
    except _EncryptedKey:
        raise ValueError(
            f"option {name!r}: the private key is encrypted; give an ssl.SSLContext that has loaded it"
        ) from None
    except ssl.SSLError as error:
        files = " and ".join(f"{key} {options[key]!r}" for key in ("cert", "key") if options.get(key) is not None)
        hint = "" if options.get("key") is not None else "; without 'key' its private key must be in it too"
        raise ValueError(f"option {name!r}: cannot use {files} ({_reason(error)}){hint}") from None


def _load_authorities(name: str, options: Mapping[str, Any], context: ssl.SSLContext) -> bool:
    """Whether there were any."""
    from gevent import ssl

    ca = options.get("ca")
    if ca is None:
        return False
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ValueError(f"option {name!r}: cannot use ca {ca!r} ({_reason(error)})") from None
    return True


def _set_ciphers(name: str, options: Mapping[str, Any], context: ssl.SSLContext) -> None:
    from gevent import ssl

    ciphers = options.get("ciphers")
    if ciphers is not None:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as error:
            raise ValueError(f"option {name!r}: 'ciphers' {ciphers!r}: {_reason(error)}") from None


class _EncryptedKey(Exception):
    pass


def _no_password() -> str:
    """Else OpenSSL would ask for one on the terminal, and wait."""
    raise _EncryptedKey


def _check_readable(name: str, key: str, path: Any) -> None:
    """What OpenSSL says of a file that it cannot open does not name it."""
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"option {name!r}: cannot read {key} {os.fspath(path)!r}: {reason}") from None


def _reason(error: ssl.SSLError) -> str:
    reason = getattr(error, "reason", None) or str(error.args[-1])
    return reason.lower().replace("_", " ").rstrip(".")
