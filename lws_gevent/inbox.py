"""The messages of one connection that is read in blocking style (layer 2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gevent import get_hub, getcurrent
from gevent.hub import Waiter

from lws_gevent.errors import ConnectionClosed

__all__ = ["INBOX_LIMIT", "Inbox"]

#: Engines stop reading for a connection while more than this waits in its inbox.
INBOX_LIMIT = 64 * 1024

#: What a message counts beside its length, so that empty messages are bounded too.
_OVERHEAD = 64


class Inbox:
    """A queue with one reader. `put` and `end` are for the engine, in the hub too; `get` blocks its greenlet.

    `low_water` is called, from within `get`, when `size` has fallen to half of INBOX_LIMIT or less.
    """

    __slots__ = ("_end", "_low_water", "_messages", "_reader", "size")

    def __init__(self, low_water: Callable[[], None]) -> None:
        self._low_water = low_water
        self._messages: deque[str | bytes] = deque()
        self._reader: Waiter[None] | None = None
        self._end: tuple[int, str] | None = None
        #: What waits: octets (of text: characters) plus something for each message.
        self.size = 0

    def put(self, message: str | bytes) -> None:
        """Adds a message behind the others and wakes the reader."""
        self._messages.append(message)
        self.size += len(message) + _OVERHEAD
        self._wake()

    def end(self, code: int, reason: str) -> None:
        """No more messages will come: the reader gets those that are there, and ConnectionClosed from then on."""
        if self._end is None:
            self._end = (code, reason)
            self._wake()

    def get(self, timeout: float | None = None) -> str | bytes:
        """The next message. Blocks the calling greenlet, at most `timeout` seconds (None: for ever; 0: not at all).

        TimeoutError: there was none; nothing is lost. ConnectionClosed: there will be none. RuntimeError: another
        greenlet is reading, or this is the hub, which must not block.
        """
        if self._reader is not None:
            raise RuntimeError("another greenlet is already receiving from this connection")
        if not self._messages:
            if self._end is not None:
                raise ConnectionClosed(*self._end)
            self._wait(timeout)
        message = self._messages.popleft()
        before = self.size
        self.size = before - len(message) - _OVERHEAD
        if before > INBOX_LIMIT // 2 >= self.size:
            self._low_water()
        return message

    def _wait(self, timeout: float | None) -> None:
        hub = get_hub()
        if getcurrent() is hub:
            raise RuntimeError("recv() would block the hub: call it in a greenlet")
        reader: Waiter[None] = Waiter(hub)
        self._reader = reader
        timer = None
        try:
            if timeout is not None:
                # Not gevent.Timeout: nothing may be thrown into this greenlet once it goes on.
                timer = hub.loop.timer(max(timeout, 0))
                timer.start(reader.switch, None, update=True)
            reader.get()
        finally:
            self._reader = None
            if timer is not None:
                timer.stop()
                timer.close()
        if not self._messages:
            if self._end is not None:
                raise ConnectionClosed(*self._end)
            raise TimeoutError("no message within the timeout")

    def _wake(self) -> None:
        reader = self._reader
        if reader is not None:
            # Waking it twice does no harm: a Waiter that nobody waits on any more keeps the value and is dropped.
            get_hub().loop.run_callback(reader.switch, None)
