"""Node's ``stream.Duplex``, as far as `createWebSocketStream` needs it."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gevent.event import Event

from lws_gevent.compat.ws.buffer_util import toBuffer
from lws_gevent.compat.ws.emitter import EventEmitter, trimmed
from lws_gevent.compat.ws.errors import WSError
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["Duplex"]

HIGH_WATER_MARK = 16 * 1024

Callback = Callable[..., Any]


class Duplex(EventEmitter):
    """A stream that is read and written: ``'data'`` (chunk), ``'end'``, ``'drain'``, ``'finish'``, ``'error'`` (error),
    ``'close'``. ``for chunk in stream`` reads it too, waiting for what comes; it raises what the stream fails with.

    Chunks are bytes; str with the option ``encoding``; whatever was pushed with ``readableObjectMode``. Further
    options: ``highWaterMark``, ``allowHalfOpen`` (True), ``decodeStrings`` (True: str that is written becomes octets).
    It is fed by `push`, and has the functions `_read`, `_write`, `_final` and `_destroy`, which its maker sets.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        given = options or {}
        self.readableObjectMode = bool(given.get("readableObjectMode"))
        self.allowHalfOpen: bool = given.get("allowHalfOpen", True)
        self._decode_strings: bool = given.get("decodeStrings", True)
        self._mark: int = given.get("highWaterMark") or (16 if self.readableObjectMode else HIGH_WATER_MARK)
        self._write_mark: int = given.get("highWaterMark") or HIGH_WATER_MARK
        encoding = given.get("encoding")
        self._decoder: Any = codecs.getincrementaldecoder(encoding)("replace") if encoding else None
        self.destroyed = False
        self.errored: BaseException | None = None
        self.readableEnded = False
        self.writableFinished = False
        self._buffer: deque[Any] = deque()
        self._size = 0
        self._eof = False
        self._flowing: bool | None = None
        self._scheduled = False
        self._queue: deque[tuple[Any, Callback | None]] = deque()
        self._length = 0
        self._writing = False
        self._ending = False
        self._finalized = False
        self._needs_drain = False
        self._changed = Event()
        self._read: Callable[[], None] = _nothing
        self._write: Callable[[Any, Callback], None] = _nothing
        self._final: Callable[[Callback], None] = _call
        self._destroy: Callable[[BaseException | None, Callback], None] = _pass_on

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether there may be more to read."""
        return not self.destroyed and not self.readableEnded

    @property
    def writable(self) -> bool:
        """Whether it can be written to."""
        return not self.destroyed and not self._ending

    @property
    def writableLength(self) -> int:
        """Octets that were written and not taken yet."""
        return self._length

    def push(self, chunk: Any) -> bool:
        """For the maker: more to read; None: the end. False: better wait for `_read`."""
        if chunk is None:
            self._eof = True
        elif not self._eof and (chunk or self.readableObjectMode):
            if self._decoder is not None and not isinstance(chunk, str):
                chunk = self._decoder.decode(chunk)
            self._buffer.append(chunk)
            self._size += 1 if self.readableObjectMode else len(chunk)
        self._changed.set()
        self._schedule()
        return self._size < self._mark

    def _schedule(self) -> None:
        if not self._scheduled and not self.destroyed and self._flowing:
            self._scheduled = True
            nextTick(self._flow)

    def _flow(self) -> None:
        self._scheduled = False
        while self._flowing and not self.destroyed:
            chunk = self._shift()
            if chunk is None:
                break
            self.emit("data", chunk)
        self._end_maybe()

    def _shift(self) -> Any:
        """The next chunk; None without one. Whoever feeds the stream hears that there is room."""
        if not self._buffer:
            if not self._eof and not self.destroyed:
                self._read()
            return None
        chunk = self._buffer.popleft()
        self._size -= 1 if self.readableObjectMode else len(chunk)
        if not self._eof and self._size < self._mark:
            self._read()
        return chunk

    def _end_maybe(self) -> None:
        if self._eof and not self._buffer and self._flowing and not self.readableEnded and not self.destroyed:
            self.readableEnded = True
            if not self.allowHalfOpen:
                self.end()
            self.emit("end")

    def read(self) -> Any:
        """All that can be read now; None when there is nothing."""
        chunks = []
        while True:
            chunk = self._shift()
            if chunk is None:
                break
            if self.readableObjectMode:
                return chunk
            chunks.append(chunk)
        if not chunks:
            return None
        return "".join(chunks) if isinstance(chunks[0], str) else b"".join(chunks)

    def _add(self, event: str, function: Callback | None, *, once: bool, first: bool) -> Any:
        result = super()._add(event, function, once=once, first=first)
        if event == "data" and function is not None and self._flowing is None:
            self.resume()
        return result

    def resume(self) -> Any:
        """Lets chunks come as ``'data'``, whether or not anybody listens."""
        self._flowing = True
        self._schedule()
        return self

    def pause(self) -> Any:
        """No ``'data'`` until `resume`."""
        self._flowing = False
        return self

    def isPaused(self) -> bool:
        """Whether `pause` was called last."""
        return self._flowing is False

    def pipe(self, destination: Any) -> Any:
        """Writes whatever is read to another stream, ends it at the end, and waits when it is full; returns it."""

        def forward(chunk: Any) -> None:
            if destination.write(chunk) is False:
                self.pause()
                destination.once("drain", self.resume)

        self.on("data", forward)
        self.once("end", lambda: destination.end())
        return destination

    def __iter__(self) -> Iterator[Any]:
        while True:
            chunk = self._shift()
            if chunk is not None:
                yield chunk
            elif self._eof or self.destroyed:
                self._flowing = True
                self._end_maybe()
                if self.errored is not None:
                    raise self.errored
                return
            else:
                self._changed.clear()
                self._changed.wait()

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, chunk: Any, callback: Callback | None = None) -> bool:
        """Writes octets or text; ``callback(error)`` when they were taken. False: better wait for ``'drain'``."""
        if self._ending or self.destroyed:
            error = WSError("write after end", "ERR_STREAM_WRITE_AFTER_END")
            if callback is not None:
                nextTick(trimmed, callback, error)
            return False
        if not isinstance(chunk, str) or self._decode_strings:
            chunk = toBuffer(chunk)
        self._queue.append((chunk, callback))
        self._length += len(chunk)
        self._work()
        if self._length >= self._write_mark:
            self._needs_drain = True
        return not self._needs_drain

    def _work(self) -> None:
        if self._writing or not self._queue or self.destroyed:
            return
        chunk, callback = self._queue.popleft()
        self._writing = True

        def written(error: BaseException | None = None) -> None:
            self._writing = False
            self._length -= len(chunk)
            if error is not None:
                if callback is not None:
                    trimmed(callback, error)
                self.destroy(error)
                return
            if callback is not None:
                trimmed(callback, None)
            if self._needs_drain and not self._length and not self._ending:
                self._needs_drain = False
                self.emit("drain")
            self._work()
            self._finish_maybe()

        self._write(chunk, written)

    def end(self, chunk: Any = None) -> Any:
        """Writes `chunk`; then nothing more follows."""
        if chunk is not None:
            self.write(chunk)
        if not self._ending and not self.destroyed:
            self._ending = True
            nextTick(self._finish_maybe)
        return self

    def _finish_maybe(self) -> None:
        if self._ending and not self._queue and not self._writing and not self._finalized and not self.destroyed:
            self._finalized = True
            self._final(self._finished)

    def _finished(self, error: BaseException | None = None) -> None:
        if error is not None:
            self.destroy(error)
        elif not self.destroyed:
            self.writableFinished = True
            nextTick(self.emit, "finish")

    # --- the end ----------------------------------------------------------------------------------------------------

    def destroy(self, error: BaseException | None = None) -> Any:
        """Ends it at once; ``'error'`` for `error`."""
        if not self.destroyed:
            self.destroyed = True
            self.errored = error
            self._changed.set()
            self._destroy(error, self._destroyed)
        return self

    def _destroyed(self, error: BaseException | None = None) -> None:
        if error is not None:
            self.errored = error
            self._changed.set()
            nextTick(self.emit, "error", error)


def _nothing(*_: Any) -> None:
    pass


def _call(callback: Callback) -> None:
    callback()


def _pass_on(error: BaseException | None, callback: Callback) -> None:
    callback(error)
