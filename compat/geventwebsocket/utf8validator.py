"""UTF-8 that comes in pieces."""

from __future__ import annotations

import codecs

__all__ = ["Utf8Validator"]


class Utf8Validator:
    """Checks octets that come in pieces."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets what came."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._total = 0

    def validate(self, ba: bytes | bytearray) -> tuple[bool, bool, int, int]:
        """Whether all is valid so far, whether it ends between two characters, how many octets of `ba`, and of all,
        are valid."""
        before = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(bytes(ba))
        except UnicodeDecodeError as error:
            good = max(error.start - before, 0)
            return False, False, good, self._total + good
        self._total += len(ba)
        return True, not self._decoder.getstate()[0], len(ba), self._total
