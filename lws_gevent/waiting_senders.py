"""Greenlets that are blocked in send because the peer does not take what was sent before (layer 2)."""

from __future__ import annotations

from collections import deque

from gevent import get_hub
from gevent.hub import Waiter

__all__ = ["WaitingSenders"]


class _Sender:
    __slots__ = ("waiter", "woken")

    def __init__(self, waiter: Waiter[None]) -> None:
        self.waiter = waiter
        self.woken = False


class WaitingSenders:
    """A queue of blocked greenlets, first come, first served. One at a time is let go: there may be room for one only.

    True as long as somebody waits, or was woken and has not run yet: who comes then must queue up behind.
    """

    __slots__ = ("_error", "_queue")

    def __init__(self) -> None:
        self._queue: deque[_Sender] = deque()
        self._error: BaseException | None = None

    def __bool__(self) -> bool:
        return bool(self._queue)

    def wait(self, timeout: float | None = None) -> None:
        """Blocks the calling greenlet, which is not the hub, until `wake` lets it go.

        The caller then looks for itself whether there is room, and calls `wake` for the next one when there still is
        when it has queued its message. The error of `end`, when that was called; TimeoutError after `timeout` seconds.
        A waiter that was woken and then killed passes its turn on.
        """
        self._check()
        hub = get_hub()
        sender = _Sender(Waiter(hub))
        self._queue.append(sender)
        timer = None
        completed = False
        try:
            if timeout is not None:
                timer = hub.loop.timer(max(timeout, 0))
                timer.start(sender.waiter.switch, None, update=True)
            sender.waiter.get()
            completed = sender.woken
        finally:
            self._queue.remove(sender)
            if timer is not None:
                timer.stop()
                timer.close()
            if sender.woken and not completed:
                self.wake()
        self._check()
        if not completed:
            raise TimeoutError("no room within the timeout")

    def wake(self) -> None:
        """Lets the first one go. Does nothing while one that was let go has not run yet."""
        if self._queue and not self._queue[0].woken:
            self._let_go(self._queue[0])

    def end(self, error: BaseException) -> None:
        """From now on `wait` raises an error equal to this one, in all who wait already and all who come later."""
        self._error = error
        for sender in self._queue:
            if not sender.woken:
                self._let_go(sender)

    def _let_go(self, sender: _Sender) -> None:
        sender.woken = True
        get_hub().loop.run_callback(sender.waiter.switch, None)

    def _check(self) -> None:
        error = self._error
        if error is not None:
            # Each gets its own: an exception collects the frames through which it passes.
            raise type(error)(*error.args)
