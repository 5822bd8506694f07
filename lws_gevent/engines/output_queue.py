"""What a connection has sent and the operating system has not taken yet (layer 2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

__all__ = ["OutputQueue"]

#: Chunks that one system call gets at most; the smallest IOV_MAX that POSIX allows is 16, Linux and macOS have 1024.
_CHUNKS = 64


class OutputQueue:
    """Chunks of octets in order, by reference. Frames are appended whole, so frames of two senders never interleave."""

    __slots__ = ("_chunks", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytes | memoryview] = deque()
        #: Octets in it.
        self.size = 0

    def __bool__(self) -> bool:
        return self.size > 0

    def extend(self, chunks: Iterable[bytes]) -> None:
        """Adds chunks behind the others; no empty ones."""
        for chunk in chunks:
            self._chunks.append(chunk)
            self.size += len(chunk)

    def clear(self) -> None:
        """Forgets everything."""
        self._chunks.clear()
        self.size = 0

    def write_to(self, sock: Any) -> int:
        """Writes to the non-blocking `sock` until it takes no more; how many octets it took. OSError when it is
        broken."""
        before = self.size
        chunks = self._chunks
        while chunks:
            try:
                if len(chunks) == 1:
                    taken = sock.send(chunks[0])
                elif hasattr(sock, "sendmsg"):
                    taken = sock.sendmsg(list(islice(chunks, _CHUNKS)))
                else:  # Windows
                    taken = sock.send(b"".join(islice(chunks, _CHUNKS)))
            except (BlockingIOError, InterruptedError):
                break
            self._forget(taken)
        return before - self.size

    def _forget(self, count: int) -> None:
        chunks = self._chunks
        self.size -= count
        while count:
            first = chunks[0]
            if count < len(first):
                chunks[0] = memoryview(first)[count:]
                return
            count -= len(first)
            chunks.popleft()
