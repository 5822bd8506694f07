"""Node's ``net.Socket``, as far as WebSockets and their handshakes need it, over a socket of gevent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket as gsocket

from lws_gevent.compat.ws.buffer_util import toBuffer
from lws_gevent.compat.ws.emitter import EventEmitter, trimmed
from lws_gevent.compat.ws.errors import WSError
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["Socket", "isPeerGone", "socketError"]

_CHUNK = 64 * 1024
_HIGH_WATER_MARK = 16 * 1024

#: Node's codes of the errors that a connection can have.
_CODES = {
    "ConnectionResetError": "ECONNRESET",
    "ConnectionRefusedError": "ECONNREFUSED",
    "BrokenPipeError": "EPIPE",
    "TimeoutError": "ETIMEDOUT",
    "gaierror": "ENOTFOUND",
}


def socketError(error: BaseException) -> BaseException:
    """The same error, with the attribute ``code`` that Node's errors have."""
    if getattr(error, "code", None) is None:
        try:
            error.code = _CODES.get(type(error).__name__, type(error).__name__)  # type: ignore[attr-defined]
        except AttributeError:
            pass
    return error


def isPeerGone(sock: Any) -> bool:
    """Whether the peer of a connected plain socket has sent FIN, or reset it; nothing is read."""
    try:
        timeout = sock.gettimeout()
        sock.settimeout(0.0)
        try:
            return bool(sock.recv(1, gsocket.MSG_PEEK | gsocket.MSG_DONTWAIT) == b"")
        finally:
            sock.settimeout(timeout)
    except (BlockingIOError, ValueError):  # nothing there; TLS has no peeking
        return False
    except OSError:
        return True


class Socket(EventEmitter):
    """A connected stream: ``'data'`` (octets), ``'end'``, ``'drain'``, ``'finish'``, ``'error'`` (error), ``'close'``,
    each emitted in a greenlet of this object.

    Reading begins with the first listener for ``'data'`` or ``'end'``, or with `resume`. `raw` is the socket of gevent.
    """

    def __init__(self, raw: Any = None) -> None:
        super().__init__()
        self.raw = raw
        self.connecting = raw is None
        self.destroyed = False
        self.readable = True
        self.writable = True
        self.writableFinished = False
        #: Set by whoever opens a WebSocket on this stream.
        self.websocket: Any = None
        self._flowing: bool | None = None
        self._unshifted: deque[bytes] = deque()
        self._queue: deque[tuple[bytes, Callable[..., Any] | None]] = deque()
        self._length = 0
        self._ending = False
        self._needs_drain = False
        self._end_emitted = False
        self._reader: Any = None
        self._writer: Any = None
        #: Its addresses, when somebody else has the socket.
        self._names: dict[str, Any] = {}
        #: Called once when the connection has ended, by whoever has it then.
        self._ended: Callable[[], object] | None = None

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def encrypted(self) -> bool:
        """Whether it speaks TLS."""
        return hasattr(self.raw, "getpeercert")

    @property
    def authorized(self) -> bool:
        """Whether the peer has shown a certificate that was verified."""
        try:
            return self.encrypted and bool(self.raw.getpeercert())
        except (OSError, ValueError):
            return False

    def getPeerCertificate(self) -> dict[str, Any]:
        """The certificate of the peer as Python's ssl module gives it; empty without one."""
        return (self.raw.getpeercert() or {}) if self.encrypted else {}

    def _name(self, which: str) -> Any:
        if self.raw is None:
            return self._names.get(which)
        try:
            return getattr(self.raw, which)()
        except (OSError, AttributeError):
            return None

    @property
    def remoteAddress(self) -> str | None:
        """The peer's address; None without one."""
        name = self._name("getpeername")
        return name[0] if isinstance(name, tuple) else None

    @property
    def remotePort(self) -> int | None:
        """The peer's port; None without one."""
        name = self._name("getpeername")
        return name[1] if isinstance(name, tuple) else None

    @property
    def localPort(self) -> int | None:
        """Our own port; None without one."""
        name = self._name("getsockname")
        return name[1] if isinstance(name, tuple) else None

    @property
    def writableLength(self) -> int:
        """Octets that were written and that the operating system has not taken."""
        return self._length

    def setTimeout(self, _milliseconds: float) -> None:
        """There is no idle timer; for programs that switch it off."""

    def setNoDelay(self, on: bool = True) -> None:
        """Nagle's algorithm off, or on."""
        try:
            self.raw.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, int(on))
        except (OSError, AttributeError):
            pass  # a unix socket has no such thing

    # --- reading ----------------------------------------------------------------------------------------------------

    def _add(self, event: str, function: Callable[..., Any] | None, *, once: bool, first: bool) -> Any:
        result = super()._add(event, function, once=once, first=first)
        if function is not None and event in ("data", "end") and self._flowing is None:
            self.resume()
        return result

    @property
    def reading(self) -> bool:
        """Whether somebody listens to what comes."""
        return self._flowing is not None

    def isPaused(self) -> bool:
        """Whether `pause` was called last."""
        return self._flowing is False

    def pause(self) -> Any:
        """No ``'data'`` until `resume`; what the peer sends waits in the buffers of the system."""
        if self._flowing is not False:
            self._flowing = False
            self.emit("pause")
        return self

    def resume(self) -> Any:
        """Reads on."""
        self._flowing = True
        if self._reader is None and not self.destroyed and self.readable:
            self._reader = gevent.spawn(self._read)
        return self

    def unshift(self, chunk: bytes) -> None:
        """Puts octets in front of what is read next."""
        if chunk:
            self._unshifted.appendleft(bytes(chunk))

    def push(self, chunk: bytes) -> None:
        """Lets octets be read as if they had come from the peer."""
        self._unshifted.append(bytes(chunk))

    def _read(self) -> None:
        """The greenlet that reads, until the end, a pause or the destruction."""
        try:
            while self._flowing and not self.destroyed:
                if self._unshifted:
                    chunk = self._unshifted.popleft()
                elif self.raw is None:
                    return
                else:
                    chunk = self.raw.recv(_CHUNK)
                    if self._is_destroyed():
                        return
                    if self.isPaused() and chunk:
                        self._unshifted.append(chunk)  # paused while this was on its way
                        return
                if not chunk:
                    self._read_end()
                    return
                self.emit("data", chunk)
        except (OSError, ValueError) as error:  # ValueError: TLS that has ended
            if not self._is_destroyed():
                self.destroy(socketError(error))
        finally:
            self._reader = None
            if self._flowing and self.readable and not self.destroyed and self.raw is not None:
                self._reader = gevent.spawn(self._read)

    def _read_end(self) -> None:
        self.readable = False
        self._end_emitted = True
        self.emit("end")
        self._destroy_when_done()

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, data: Any, callback: Callable[..., Any] | None = None) -> bool:
        """Queues octets; ``callback(error)`` when the system has taken them. False: better wait for ``'drain'``."""
        octets = toBuffer(data)
        if self.destroyed or self._ending:
            error = WSError("write after end", "ERR_STREAM_WRITE_AFTER_END")
            if self.destroyed:
                error = WSError("Cannot call write after a stream was destroyed", "ERR_STREAM_DESTROYED")
            if callback is not None:
                nextTick(trimmed, callback, error)
            return False
        taken = self._send_now(octets)
        if taken == len(octets):
            if callback is not None:
                nextTick(trimmed, callback, None)
            return True
        self._queue.append((octets[taken:], callback))
        self._length += len(octets) - taken
        self._start_writing()
        if self._length >= _HIGH_WATER_MARK:
            self._needs_drain = True
        return not self._needs_drain

    def _send_now(self, octets: bytes) -> int:
        """How many octets the system takes at once, if nothing waits already. An error is left to the writer."""
        if self._queue or self._writer is not None or self.raw is None:
            return 0
        timeout = self.raw.gettimeout()
        self.raw.settimeout(0.0)
        try:
            return int(self.raw.send(octets))
        except OSError:
            return 0
        finally:
            self.raw.settimeout(timeout)

    def _start_writing(self) -> None:
        if self._writer is None and self.raw is not None:
            self._writer = gevent.spawn(self._write)

    def cork(self) -> None:
        """What is written in one turn goes out together anyhow."""

    def uncork(self) -> None:
        """Undoes `cork`."""

    def _write(self) -> None:
        """The greenlet that writes, until there is nothing more."""
        try:
            while self._queue and not self.destroyed:
                batch = list(self._queue)
                self._queue.clear()
                octets = b"".join(chunk for chunk, _ in batch)
                try:
                    self.raw.sendall(octets)
                except OSError as error:
                    self._fail_writes(socketError(error), batch)
                    self.destroy(socketError(error))
                    return
                if self._is_destroyed():
                    self._fail_writes(WSError("The socket was closed", "ERR_STREAM_DESTROYED"), batch)
                    return
                self._length -= len(octets)
                for _, callback in batch:
                    if callback is not None:
                        trimmed(callback, None)
                if self._needs_drain and not self._length:
                    self._needs_drain = False
                    self.emit("drain")
            if self._ending and not self.destroyed and not self.writableFinished:
                self._finish()
        finally:
            self._writer = None
            if self._queue and not self.destroyed:
                self._start_writing()

    def _fail_writes(self, error: BaseException, batch: list[tuple[bytes, Callable[..., Any] | None]]) -> None:
        waiting = [*batch, *self._queue]
        self._queue.clear()
        self._length = 0
        for _, callback in waiting:
            if callback is not None:
                nextTick(trimmed, callback, error)

    def end(self, data: Any = None) -> Any:
        """Writes `data` and what waits, then FIN; ``'finish'`` tells."""
        if data is not None and not self._ending:
            self.write(data)
        if not self._ending and not self.destroyed:
            self._ending = True
            self.writable = False
            self._start_writing()
        return self

    def _finish(self) -> None:
        self.writableFinished = True
        try:
            if self.encrypted:
                self._notify_close()
            # That of a TLS socket would drop its TLS, and nothing more could be read.
            gsocket.socket.shutdown(self.raw, gsocket.SHUT_WR)
        except OSError:
            pass  # it has gone already
        self.emit("finish")
        self._destroy_when_done()

    def _notify_close(self) -> None:
        """Sends TLS's close_notify; the peer's is not waited for."""
        tls = getattr(self.raw, "_sslobj", None)
        timeout = self.raw.gettimeout()
        self.raw.settimeout(0.0)
        try:
            if tls is not None:
                tls.shutdown()
        except (OSError, ValueError):
            pass  # it was sent, or cannot be: what follows is FIN
        finally:
            self.raw.settimeout(timeout)

    def _destroy_when_done(self) -> None:
        if self._end_emitted and self.writableFinished:
            self.destroy()

    # --- the end ----------------------------------------------------------------------------------------------------

    def destroy(self, error: BaseException | None = None) -> Any:
        """Ends the connection at once: ``'error'`` if there is one, then ``'close'``, in a later turn."""
        if self.destroyed:
            return self
        self.destroyed = True
        self.readable = self.writable = False
        self._fail_writes(error or WSError("The socket was closed", "ERR_STREAM_DESTROYED"), [])
        nextTick(self._close, error)
        return self

    def _is_destroyed(self) -> bool:
        """As `destroyed`, which may have changed while the caller waited."""
        return self.destroyed

    def resetAndDestroy(self) -> Any:
        """As `destroy`, but the peer gets a reset."""
        try:
            self.raw.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except (OSError, AttributeError):
            pass
        return self.destroy()

    def _close(self, error: BaseException | None) -> None:
        raw, reader, writer = self.raw, self._reader, self._writer
        for greenlet in (reader, writer):
            if greenlet is not None and greenlet is not gevent.getcurrent():
                greenlet.kill(block=False)
        if raw is not None:
            raw.close()
        if error is not None and self.listenerCount("error"):
            self.emit("error", error)
        if self._ended is not None:
            self._ended()
        self.emit("close", error is not None)

    def _detach(self) -> tuple[Any, bytes]:
        """The socket of gevent and octets that were put back, for somebody else, who calls `_ended` at the end: this
        object is dead from here on."""
        octets = b"".join(self._unshifted)
        self._names = {which: self._name(which) for which in ("getpeername", "getsockname")}
        raw, self.raw = self.raw, None
        self._unshifted.clear()
        self.destroyed = True
        self.readable = self.writable = False
        return raw, octets
