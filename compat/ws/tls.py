"""TLS from the options of Node's ``tls`` module."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["clientContext", "serverContext"]


def serverContext(options: Mapping[str, Any]) -> Any:
    """The context of a server: ``context`` (a ready one, of gevent.ssl), or ``cert``, ``key``, ``ca``, ``ciphers``,
    ``requestCert``, ``rejectUnauthorized``. None without a certificate: no TLS."""
    from gevent import ssl as gssl

    if options.get("context") is not None:
        return options["context"]
    if not options.get("cert"):
        return None
    context = gssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, options)
    if options.get("requestCert"):
        strict = options.get("rejectUnauthorized", True)
        context.verify_mode = ssl.CERT_REQUIRED if strict else ssl.CERT_OPTIONAL
    return context


def clientContext(options: Mapping[str, Any]) -> Any:
    """The context of a client: ``context``, or ``ca``, ``cert``, ``key``, ``ciphers``, ``rejectUnauthorized`` (True:
    the certificate and the name of the server are verified), ``minVersion``, ``maxVersion``."""
    from gevent import ssl as gssl

    if options.get("context") is not None:
        return options["context"]
    context = gssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.get("rejectUnauthorized", True) is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not options.get("ca"):
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    _load(context, options)
    for name, attribute in (("minVersion", "minimum_version"), ("maxVersion", "maximum_version")):
        if options.get(name):
            setattr(context, attribute, getattr(ssl.TLSVersion, options[name].replace(".", "_")))
    return context


def _load(context: Any, options: Mapping[str, Any]) -> None:
    if options.get("cert"):
        with _file(options["cert"]) as cert, _file(options.get("key") or options["cert"]) as key:
            context.load_cert_chain(cert, key, options.get("passphrase"))
    authorities = options.get("ca")
    for authority in authorities if isinstance(authorities, (list, tuple)) else [authorities] if authorities else []:
        with _file(authority) as path:
            context.load_verify_locations(path)
    if options.get("ciphers"):
        context.set_ciphers(options["ciphers"])


@contextmanager
def _file(pem: Any) -> Iterator[str]:
    """The path of a file with what may be a path or, as in Node, the PEM text itself."""
    octets = pem.encode() if isinstance(pem, str) else bytes(pem) if isinstance(pem, (bytes, bytearray)) else None
    if octets is None or b"-----BEGIN" not in octets:
        yield os.fspath(pem)
        return
    descriptor, path = tempfile.mkstemp()  # nobody else may read it
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
        yield path
    finally:
        os.unlink(path)
