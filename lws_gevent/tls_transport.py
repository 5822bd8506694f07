"""TLS over connected sockets (layer 2), for code that moves octets itself and never waits in here.

Both classes look like a non-blocking socket: `recv` and `send` raise BlockingIOError when they have to wait, other
OSErrors when the connection is broken. Nothing in here switches greenlets, unless a callback of the user's context
does. This module is imported when TLS is used, for it imports ssl.
"""

from __future__ import annotations

import contextlib
import errno
import socket as socket_module
import ssl
import weakref
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

__all__ = ["SslSocketTransport", "TlsState", "TlsTransport", "wrap", "whole_records"]

#: Octets that are sealed before the system has taken them. What is sealed is kept beside what it was made of.
_SEAL_SIZE = 64 * 1024

#: The most that one record holds (RFC 8446 section 5.1), so that reading so much never leaves a part of one.
_RECORD_SIZE = 16 * 1024

#: Header; header and longest payload with what protects it (RFC 5246 section 6.2.3, the larger allowance).
_RECORD_HEADER, _RECORD_MAXIMUM = 5, 16 * 1024 + 2048

#: Octets with which TLS itself answers that may wait for the peer to read them.
_ANSWERS_LIMIT = 256 * 1024

_NOTHING = memoryview(b"")


def whole_records(data: bytes | bytearray) -> int:
    """How many octets at the beginning of `data` are whole records. All of them when they are none of TLS at all: what
    is to be said about them, OpenSSL knows."""
    end = 0
    while len(data) - end >= _RECORD_HEADER:
        length = data[end + 3] << 8 | data[end + 4]
        if not 20 <= data[end] <= 24 or length > _RECORD_MAXIMUM:
            return len(data)
        if end + _RECORD_HEADER + length > len(data):
            break
        end += _RECORD_HEADER + length
    return end


def wrap(
    context: ssl.SSLContext,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
    server_side: bool = True,
    server_hostname: str | None = None,
) -> ssl.SSLObject:
    """A new TLS connection over these two. The only thing that is ever done with a user's context."""
    ssl_object = context.wrap_bio(incoming, outgoing, server_side=server_side, server_hostname=server_hostname)
    if context.sni_callback is not None:
        # gevent's contexts expect a socket of gevent's here, and have the callback called with what it refers to.
        ssl_object._sslsock = weakref.ref(ssl_object)  # type: ignore[attr-defined]
    return ssl_object


class TlsState(NamedTuple):
    """An established TLS connection without its socket; see `TlsTransport.release`."""

    ssl_object: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    #: Octets of a record whose rest is still to come.
    received: bytes
    #: Whether the peer has said that nothing more will come.
    ended: bool
    #: What the system has not taken yet.
    sealed: bytes


class TlsTransport:
    """TLS over `sock`, a connected, non-blocking socket that belongs to this object from here on.

    The handshake is made by the first calls of `recv`, which raise BlockingIOError until something was received
    after it, or by `do_handshake`. What OpenSSL gets are whole records only: parts of one wait here, where they need
    no more memory than they have octets.

    Between two calls the memory BIOs are empty, whatever has happened: those of a connection that the parked engine has
    handed over belong to others as well.
    """

    __slots__ = (
        "_ended",
        "_failure",
        "_incoming",
        "_outgoing",
        "_raw",
        "_received",
        "_sealed",
        "_sealed_from",
        "_sock",
        "established",
        "reading_first",
        "ssl_object",
    )

    def __init__(
        self, sock: Any, context: ssl.SSLContext, *, server_side: bool = True, server_hostname: str | None = None
    ) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = wrap(context, self._incoming, self._outgoing, server_side, server_hostname)
        #: Whether the handshake is done.
        self.established = False
        #: Whether nothing can be sent until something was received: the peer has begun another handshake.
        self.reading_first = False
        self._received = bytearray()
        self._ended = False
        self._failure: OSError | None = None
        self._sealed = _NOTHING
        self._sealed_from = 0  # octets of the user's in `_sealed`, or that were in it
        self._raw = False

    @classmethod
    def resume(cls, sock: Any, state: TlsState) -> TlsTransport:
        """Goes on with what `release` has given up, over `sock`."""
        transport = cls.__new__(cls)
        transport._sock = sock
        transport._incoming, transport._outgoing = state.incoming, state.outgoing
        transport.ssl_object = state.ssl_object
        transport.established, transport.reading_first = True, False
        transport._received = bytearray(state.received)
        transport._ended, transport._failure = state.ended, None
        transport._sealed = memoryview(state.sealed)
        transport._sealed_from = 0
        transport._raw = False
        return transport

    # --- receiving ----------------------------------------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """What has come, empty at the end of the connection. Everything that was received is in it: nothing waits
        here that the system does not know of. It may be a little more than `size`."""
        if self._raw:
            return self._sock.recv(size)  # type: ignore[no-any-return]
        pieces = self._receive(size)
        if pieces:
            if self._ended or self._failure is not None:
                # Makes the socket readable for ever, so that whoever waits for that comes back.
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket_module.SHUT_RD)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._failure is not None:
            raise self._failure
        if self._ended:
            return b""
        raise BlockingIOError

    def do_handshake(self) -> None:
        """Reads what has come and goes on with the handshake. BlockingIOError while it is not done: wait until there is
        something to read, or to write when `wants_write`. What is read after it is for `recv`. ssl.SSLError: it has
        failed; EOFError: the connection has ended."""
        while not self._shake_hands():
            self._push_quietly()
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise EOFError("the connection has ended in the TLS handshake")
            self._fetch(_RECORD_MAXIMUM)
            self._feed()
        self._push_quietly()

    def _receive(self, size: int) -> list[bytes]:
        if self._ended or self._failure is not None:
            return []
        pieces: list[bytes] = []
        try:
            if not self._incoming.pending:
                if not whole_records(self._received):  # else they came with what was handed over
                    self._fetch(size)
                self._feed()
            if not self._failure and (self.established or self._shake_hands()):
                self._open(pieces)
        except OSError:
            raise
        except BaseException:
            self._ended = True  # what was being opened is lost
            raise
        finally:
            if self._ended or self._failure is not None:
                self._incoming.read()  # nobody will open it
            self._collect()
        self._push_quietly()
        if len(self._sealed) > _ANSWERS_LIMIT:
            self._failure = ConnectionAbortedError("the peer asks for answers and does not read them")
        return pieces

    def _fetch(self, size: int) -> None:
        octets = self._sock.recv(size)
        if octets:
            self._received += octets
        else:
            self._ended = True  # without the word that TLS has for it: WebSocket has one of its own

    def _feed(self) -> None:
        whole = whole_records(self._received)
        if whole:
            with memoryview(self._received) as octets:
                self._incoming.write(octets[:whole])
            del self._received[:whole]

    def _shake_hands(self) -> bool:
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except OSError as error:
            self._failure = error
            return False
        self.established = True
        return True

    def _open(self, pieces: list[bytes]) -> None:
        try:
            while self._incoming.pending or not pieces:
                piece = self.ssl_object.read(_RECORD_SIZE)
                if not piece:
                    self._ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except OSError as error:
            self._failure = error
        self.reading_first = False

    # --- sending ------------------------------------------------------------------------------------------------------

    @property
    def wants_write(self) -> bool:
        """Whether something of TLS's own, or the rest of what `send` had begun with, waits for the system."""
        return bool(self._sealed) or self._outgoing.pending > 0

    def flush(self) -> None:
        """Goes on with what `wants_write`."""
        self._push()

    def send(self, data: bytes | memoryview) -> int:
        """How many octets the system has taken, sealed. BlockingIOError: none yet; call again with the same ones at
        the beginning, for they may be sealed already."""
        return self.sendmsg((data,))

    def sendmsg(self, chunks: Iterable[bytes | memoryview]) -> int:
        """As `send`, for several that follow each other."""
        if not self._sealed_from:
            if not self._push():
                raise BlockingIOError
            self._seal(chunks)
        if not self._push():
            raise BlockingIOError
        taken, self._sealed_from = self._sealed_from, 0
        return taken

    def _seal(self, chunks: Iterable[bytes | memoryview]) -> None:
        room = _SEAL_SIZE
        pieces: list[bytes | memoryview] = []
        for chunk in chunks:
            pieces.append(chunk if len(chunk) <= room else memoryview(chunk)[:room])
            room -= len(pieces[-1])
            if not room:
                break
        try:
            self._sealed_from = self.ssl_object.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except ssl.SSLWantReadError:
            self.reading_first = True
            raise BlockingIOError from None
        except ssl.SSLError:  # the same for whoever sends as a connection that is gone
            raise BrokenPipeError(errno.EPIPE, "TLS has failed, so that nothing can be sent any more") from None
        finally:
            self._collect()

    def _collect(self) -> None:
        """Takes what OpenSSL has sealed out of its BIO."""
        if self._outgoing.pending:
            sealed = self._outgoing.read()
            self._sealed = memoryview(bytes(self._sealed) + sealed if self._sealed else sealed)

    def _push(self) -> bool:
        """Whether the system has taken everything that was sealed."""
        self._collect()
        while self._sealed:
            try:
                taken = self._sock.send(self._sealed)
            except (BlockingIOError, InterruptedError):
                return False
            self._sealed = self._sealed[taken:] if taken < len(self._sealed) else _NOTHING
        return True

    def _push_quietly(self) -> None:
        with contextlib.suppress(OSError):  # who reads does not care, and who writes will meet it again
            self._push()

    # --- the socket below ---------------------------------------------------------------------------------------------

    @property
    def family(self) -> Any:
        """That of the socket."""
        return self._sock.family

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._sock.fileno()  # type: ignore[no-any-return]

    def getpeername(self) -> Any:
        """The address of the peer."""
        return self._sock.getpeername()

    def shutdown(self, how: int) -> None:
        """Says that nothing more will come (close_notify, RFC 8446 section 6.1), and closes the sending half (or both)
        of the connection. What comes from then on is not opened any more."""
        if self.established and self._failure is None and not self._raw:
            with contextlib.suppress(OSError):  # the peer's answer to it is not waited for
                self.ssl_object.unwrap()
        self._raw = True
        self._push_quietly()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Closes the socket, without a word."""
        self._sock.close()

    def release(self) -> tuple[Any, TlsState]:
        """Gives up the socket and what is needed to go on with TLS over it. Nothing that `send` was given may wait."""
        sealed = bytes(self._sealed) + self._outgoing.read()
        state = TlsState(self.ssl_object, self._incoming, self._outgoing, bytes(self._received), self._ended, sealed)
        return self._sock, state


class SslSocketTransport:
    """A connected TLS socket that somebody else has made (`ssl.SSLSocket`, or gevent's), handshake included. It
    belongs to this object from here on; nothing of it can be taken apart."""

    __slots__ = ("_hold", "_sock", "_unsent", "reading_first")

    #: As those of `TlsTransport`; what the socket has sealed it keeps itself.
    established, wants_write = True, False

    def __init__(self, sock: ssl.SSLSocket, hold: Any = None) -> None:
        """`hold`: a file of the socket's, which keeps it open whoever closes it; it is closed at the end."""
        sock.setblocking(False)
        self._hold = hold
        self._sock = sock
        self._unsent: bytes | memoryview = b""
        self.reading_first = False

    @property
    def ssl_object(self) -> ssl.SSLSocket:
        """What answers questions about certificates and ciphers."""
        return self._sock

    def recv(self, size: int) -> bytes:
        """As that of `TlsTransport`."""
        try:
            data = self._sock.recv(max(size, _RECORD_SIZE))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        self.reading_first = False
        if data:
            with contextlib.suppress(ssl.SSLWantReadError):
                while self._sock.pending():
                    data += self._sock.recv(self._sock.pending())
        return data

    def flush(self) -> None:
        """Nothing waits here."""

    def send(self, data: bytes | memoryview) -> int:
        """As that of `TlsTransport`."""
        # OpenSSL insists on getting again what it had to leave.
        unsent = self._unsent or data[:_SEAL_SIZE]
        self._unsent = unsent
        try:
            taken = self._sock.send(unsent)
        except ssl.SSLWantReadError:
            self.reading_first = True
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        if not taken:  # gevent's way to say that it would block
            raise BlockingIOError
        self._unsent = b""
        return taken

    def sendmsg(self, chunks: Iterable[bytes | memoryview]) -> int:
        """As that of `TlsTransport`."""
        if self._unsent:
            return self.send(self._unsent)
        few = list(islice(chunks, 64))
        return self.send(few[0] if len(few) == 1 or len(few[0]) >= _RECORD_SIZE else b"".join(few)[:_SEAL_SIZE])

    @property
    def family(self) -> Any:
        """That of the socket."""
        return self._sock.family

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._sock.fileno()

    def getpeername(self) -> Any:
        """The address of the peer."""
        return self._sock.getpeername()

    def shutdown(self, how: int) -> None:
        """As that of `TlsTransport`."""
        with contextlib.suppress(OSError, ValueError):  # the peer's answer is not waited for
            self._sock.unwrap()
        self._sock.shutdown(how)  # from here on it is a plain socket

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()
        if self._hold is not None:
            self._hold.close()
