"""Certificates for tests: an authority that nobody trusts but they, a server's, and clients'."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import trustme
from gevent import ssl


class Certificates:
    """Files in `directory`, in PEM format, and contexts that use them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(self.ca))
        self._write(self.authority.issue_cert("localhost", "127.0.0.1", "::1"), "server")
        self._write(self.authority.issue_cert("client@example.org"), "client")
        self._write(trustme.CA().issue_cert("stranger@example.org"), "stranger")

    def _write(self, certificate: Any, name: str) -> None:
        certificate.private_key_pem.write_to_path(str(self.directory / f"{name}.key"))
        for index, pem in enumerate(certificate.cert_chain_pems):
            pem.write_to_path(str(self.directory / f"{name}.pem"), append=index > 0)

    @property
    def ca(self) -> Path:
        """The certificate of the authority."""
        return self.directory / "ca.pem"

    @property
    def cert(self) -> str:
        """The path of the server's certificate."""
        return str(self.directory / "server.pem")

    @property
    def key(self) -> str:
        """The path of its private key."""
        return str(self.directory / "server.key")

    @property
    def options(self) -> dict[str, Any]:
        """The option ``ssl`` of a server, as a dict."""
        return {"cert": self.cert, "key": self.key}

    def server_context(self, module: Any = ssl) -> Any:
        """The context of a server, made by that module (gevent's ssl, or the standard library's)."""
        context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context

    def client_context(self, name: str | None = None, version: str | None = None, module: Any = ssl) -> Any:
        """The context of a client that trusts the authority and, with `name`, shows a certificate."""
        context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(str(self.ca))
        if name is not None:
            context.load_cert_chain(str(self.directory / f"{name}.pem"), str(self.directory / f"{name}.key"))
        if version is not None:
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        return context


@functools.cache
def certificates() -> Certificates:
    """Those of this test run; made when the first test asks for them."""
    return Certificates(Path(tempfile.mkdtemp(prefix="lws-certificates-")))


def client_hello() -> bytes:
    """With what a client begins to speak TLS."""
    outgoing = ssl.MemoryBIO()
    tls = certificates().client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def remove_certificates() -> None:
    """At the end of the run."""
    if certificates.cache_info().currsize:
        shutil.rmtree(certificates().directory)
        certificates.cache_clear()
