"""What becomes of running servers in a forked child (layer 2): they are stopped there, without a word to anybody.

Parent and child share every connection. The child gives up its copies of the descriptors; it must neither shut them
down nor touch the event loop's registrations, which may be the parent's until gevent has made the child's loop anew.
"""

from __future__ import annotations

import _socket
import os
import weakref
from typing import Any

__all__ = ["call_in_child", "replace_descriptors"]

_callbacks: weakref.WeakSet[Any] = weakref.WeakSet()
_registered = False


def call_in_child(owner: Any) -> None:
    """From now on ``owner.after_fork_in_child()`` is called in each child that this process forks."""
    global _registered
    _callbacks.add(owner)
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    for owner in list(_callbacks):
        owner.after_fork_in_child()


def replace_descriptors(sockets: list[Any], watchers: list[Any], loop: Any) -> None:
    """Closes this process's copies of `sockets`; their `watchers` are stopped when `loop` turns, if it ever does.

    In the place of each is put one end of a dead socket pair until then, because the event loop would not survive a
    watched descriptor that is not open.
    """
    here, there = _socket.socketpair()
    there.close()
    for sock in sockets:
        os.dup2(here.fileno(), sock.fileno(), inheritable=False)
    here.close()

    def close() -> None:
        for watcher in watchers:
            watcher.stop()
            watcher.close()
        for sock in sockets:
            sock.close()

    loop.run_callback(close)
