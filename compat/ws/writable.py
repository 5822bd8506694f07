"""As much of Node's ``stream.Writable`` as `Receiver` needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from lws_gevent.compat.ws.emitter import EventEmitter
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["Writable"]

_HIGH_WATER_MARK = 16 * 1024

WriteCallback = Callable[..., Any]


class Writable(EventEmitter):
    """Takes chunks one after the other: the next one when the callback of the one before was called.

    Emits ``'drain'``, ``'finish'``, ``'error'`` and ``'close'``, all in a later turn. A subclass implements
    ``_write(chunk, callback)`` and calls ``callback(error)``.
    """

    __slots__ = ("_errored_with", "_ending", "_finished", "_length", "_needs_drain", "_waiting", "_writing")

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[tuple[bytes, WriteCallback | None]] = deque()
        self._writing = False
        self._ending = False
        self._finished = False
        self._needs_drain = False
        self._errored_with: BaseException | None = None
        self._length = 0

    @property
    def writableLength(self) -> int:
        """Octets that were written and not consumed yet."""
        return self._length

    @property
    def writableNeedDrain(self) -> bool:
        """Whether ``'drain'`` is going to be emitted."""
        return self._needs_drain

    def write(self, chunk: bytes, callback: WriteCallback | None = None) -> bool:
        """Hands over `chunk`; False: better wait for ``'drain'``."""
        if self._ending or self._errored_with is not None:
            return False
        self._length += len(chunk)
        self._waiting.append((bytes(chunk), callback))
        self._work()
        if self._length >= _HIGH_WATER_MARK:
            self._needs_drain = True
        return not self._needs_drain

    def end(self) -> None:
        """Nothing more will be written: ``'finish'`` when everything is consumed."""
        if not self._ending:
            self._ending = True
            self._finish_maybe()

    def _write(self, chunk: bytes, callback: WriteCallback) -> None:
        raise NotImplementedError

    def _work(self) -> None:
        while self._waiting and not self._writing and self._errored_with is None:
            chunk, callback = self._waiting.popleft()
            self._writing = True

            def consumed(error: BaseException | None = None, size: int = len(chunk), tell: Any = callback) -> None:
                self._writing = False
                self._length -= size
                if error is not None:
                    self._errored_with = error
                    self._waiting.clear()
                    nextTick(self.emit, "error", error)
                    return
                if tell is not None:
                    nextTick(tell)
                if self._needs_drain and self._length == 0 and not self._ending:
                    self._needs_drain = False
                    nextTick(self.emit, "drain")
                self._work()
                self._finish_maybe()

            self._write(chunk, consumed)

    def _finish_maybe(self) -> None:
        idle = not self._waiting and not self._writing
        if self._ending and idle and self._errored_with is None and not self._finished:
            self._finished = True
            nextTick(self.emit, "finish")
