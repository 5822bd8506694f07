"""Compressing and inflating messages for permessage-deflate (RFC 7692 section 7.2), bounded (layer 1).

Which library does it was measured (docs/performance.md): zlib inflates a small message fastest and holds its window
strictly, so it always inflates; ISA-L compresses two to ten times as fast, and is used when the `isal` package is
installed and the level does not ask for more than it can do.

What is not needed is not kept. Without context takeover one compressor serves all connections of a server, and a
message is inflated by an object that lives no longer than the message. A sender that keeps its context has a compressor
of its own from its first message on; of what a peer sends with context takeover only the window is kept, at most 32 KiB
and no more than there was to inflate.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lws_gevent.errors import PayloadTooBig, ProtocolError
from lws_gevent.frames import Role

if TYPE_CHECKING:
    from lws_gevent.extensions import DeflateParameters, PerMessageDeflate

__all__ = ["Deflate", "Deflaters", "library"]


def _load_isal() -> Any:
    """The module of the extra `isal`; None where it is not installed."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


_isal: Any = _load_isal()

#: Up to here, from 1 on, ISA-L compresses when it is there; 7 to 9 ask for a ratio that only zlib reaches. Its own
#: levels differ by a hundredth or two in size, but for 0, whose output is half as long again.
_ISAL_MAXIMUM = 6
_ISAL_LEVEL = 1

#: The end of every flush: an empty block without compression. It is not sent at the end of a message (section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"

#: A last, empty block. A decompressor that comes to its end right behind it has met whole blocks only.
_LAST_BLOCK = b"\x03\x00"
_ENDING = _TAIL + _LAST_BLOCK

#: Octets that are inflated at a time and taken from the input at a time, so that little of either is ever copied, and
#: little is inflated beyond a limit.
_STEP = 64 * 1024

#: Decompressors are renewed where a peer ends blocks for good (section 7.2.3.4): this often in a part of a message, and
#: once more for as many octets. It costs much more time than the peer's two octets.
_FREE_RENEWALS = 16
_OCTETS_PER_RENEWAL = 64

_MAX_WINDOW_BITS = 15


def library(level: int = 6) -> str:
    """What compresses at `level`, with its version: ``"isal 1.7.1"`` or ``"zlib 1.2.13"``."""
    if not _uses_isal(level):
        return f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    import isal  # only for its version

    return f"isal {isal.__version__}"


def _uses_isal(level: int) -> bool:
    return _isal is not None and 1 <= level <= _ISAL_MAXIMUM


class Deflaters:
    """What the connections of one server (or the connections of one client object) share: how hard to compress, and
    the compressors of those without context takeover, one per window size, made when first needed."""

    __slots__ = ("_idle", "_level", "_mem_level", "_uses_isal")

    def __init__(self, settings: PerMessageDeflate) -> None:
        self._level = settings.level
        self._mem_level = settings.mem_level
        self._uses_isal = _uses_isal(settings.level)
        self._idle: dict[int, Any] = {}

    def new_compressor(self, window_bits: int) -> Any:
        """A zlib-like compressor of raw DEFLATE data with an empty window."""
        if self._uses_isal:
            return _isal.compressobj(_ISAL_LEVEL, zlib.DEFLATED, -window_bits, self._mem_level)
        return zlib.compressobj(self._level, zlib.DEFLATED, -window_bits, self._mem_level)

    def compress(self, data: bytes | bytearray | memoryview, window_bits: int) -> bytes:
        """`data` compressed by itself, up to and including the four octets that end a flush.

        Z_FULL_FLUSH makes the compressor forget what it has seen. It is nobody else's meanwhile and is not used again
        after an error: nothing of a message may ever get into another one.
        """
        compressor = self._idle.pop(window_bits, None)
        if compressor is None:
            compressor = self.new_compressor(window_bits)
        compressed: bytes = compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)
        self._idle[window_bits] = compressor
        return compressed


class Deflate:
    """permessage-deflate on one connection: what its two peers agreed on, and the state that this needs.

    `role`: which end we are. For one greenlet at a time in each direction; nothing here switches.
    """

    __slots__ = (
        "compress_bits",
        "_compressor",
        "_history",
        "_inflate_bits",
        "_inflater",
        "keeps_context",
        "_last_octet",
        "_shared",
        "_step",
    )

    def __init__(self, parameters: DeflateParameters, role: Role, shared: Deflaters) -> None:
        server = (parameters.server_no_context_takeover, parameters.server_max_window_bits)
        client = (parameters.client_no_context_takeover, parameters.client_max_window_bits)
        ours, theirs = (client, server) if role == Role.CLIENT else (server, client)
        self._shared = shared
        #: Whether what we send is compressed with what was sent before; if not, any payload of our window will do.
        self.keeps_context = not ours[0]
        #: The window that we compress with, 9 to 15.
        self.compress_bits = ours[1]
        self._inflate_bits = theirs[1]
        # zlib notices a distance that leaves the window where the window lies in what an earlier step has made; hence
        # small steps for small windows.
        self._step = _STEP if theirs[1] == _MAX_WINDOW_BITS else 1 << theirs[1]
        self._compressor: Any = None  # ours alone, and only with context takeover
        self._history: bytes | None = None if theirs[0] else b""  # the peer's window; None: it keeps none
        self._inflater: Any = None  # of the message that is being received
        self._last_octet = 0  # of what was received of it

    def compress(self, data: bytes | bytearray | memoryview, fin: bool = True) -> bytes:
        """The payload for a message that consists of `data`, or for a fragment of it; `fin`: the last one.

        What is returned must be sent before what is compressed later. With MemoryError nothing has happened.
        """
        if not len(data):  # there is nothing to flush; section 7.2.3.6
            return b"\x00" if fin else b""
        if self.keeps_context:
            # A context that has seen what is never sent must not be used again, whatever ends this call.
            compressor, self._compressor = self._compressor, None
            if compressor is None:
                compressor = self._shared.new_compressor(self.compress_bits)
            compressed: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
            self._compressor = compressor
        else:
            compressed = self._shared.compress(data, self.compress_bits)
        return compressed[:-4] if fin else compressed

    def decompress(self, data: bytes, max_length: int | None, fin: bool) -> bytes:
        """What `data`, the next part of a compressed message, inflates to; `fin`: the last part.

        `max_length`: octets that the message may still have, None for any number. PayloadTooBig (1009): there are more;
        no more than 64 KiB of them were inflated. ProtocolError (1007): it is not DEFLATE data, refers to more than the
        agreed window, or ends in the middle. After either the message cannot be continued.
        """
        if fin and 0 < len(data) <= self._step and self._inflater is None and self._history is None:
            message = self._inflate_short(data, max_length)
            if message is not None:
                return message
        pieces = list(self.inflate(data, max_length, fin))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _inflate_short(self, data: bytes, max_length: int | None) -> bytes | None:
        """What a whole message inflates to that is short and as it should be, most of those that come; None for any
        other, of which at most a step was inflated."""
        inflater = zlib.decompressobj(-self._inflate_bits)
        step = self._step
        if max_length is not None and max_length < step:
            step = max_length + 1
        try:
            message = inflater.decompress(data + _ENDING, step)
        except zlib.error:
            return None
        if inflater.eof and not inflater.unused_data and (max_length is None or len(message) <= max_length):
            return message
        return None

    def inflate(self, data: bytes, max_length: int | None, fin: bool, size: int = _STEP) -> Iterator[bytes]:
        """As `decompress`, by and by: pieces of at most `size` octets, none of them empty, each inflated when it is
        asked for. All of them must be taken before the next part of the message; who takes no more of them has done
        with the message."""
        inflater, self._inflater = self._inflater, None
        if inflater is None:
            if not data:
                return  # for a whole message not what section 7.2.3.6 asks for, but clear enough
            inflater = self._new_inflater(self._history)
            self._last_octet = 0
        if data:
            self._last_octet = data[-1]
        ending = b""
        if fin:
            # What ends as section 7.2.1 says ends with the header of an empty block, 000 and padding, so never with
            # 0xFF. This is the end of a flush, which some senders leave in front of an empty last fragment.
            ending = _LAST_BLOCK if self._last_octet == 0xFF else _ENDING
        step = min(size, self._step)
        room = sys.maxsize if max_length is None else max_length
        octets = data + ending
        length = taken = len(octets)  # `taken`: of the octets, `rest` included
        view: Any = None
        rest: Any = octets
        if length > step:
            view = memoryview(octets)
            taken = step
            rest = view[:step]
        if inflater.eof and length:
            inflater = self._new_inflater(None)
        renewals = _FREE_RENEWALS + length // _OCTETS_PER_RENEWAL
        while True:
            wanted = min(step, room + 1)
            try:
                piece = inflater.decompress(rest, wanted)
            except zlib.error as error:
                if str(error).startswith("Error -4 "):  # Z_MEM_ERROR
                    raise MemoryError from None
                raise ProtocolError(1007, "a compressed message is not valid DEFLATE data") from None
            room -= len(piece)
            if room < 0:
                raise PayloadTooBig()
            if piece:
                if self._history is not None:
                    window = 1 << self._inflate_bits
                    self._history = piece[-window:] if len(piece) >= window else (self._history + piece)[-window:]
                yield piece
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            consumed = taken - len(rest)
            if inflater.eof:  # by our last block, or by one of the peer's, who has left out what it should add then
                done = consumed == length or consumed == length - len(ending)
            else:
                done = consumed == length and len(piece) < wanted
            if done:
                break
            if not rest and taken < length:
                rest = view[taken : taken + step]
                taken += len(rest)
            if inflater.eof:  # section 7.2.3.4
                renewals -= 1
                if renewals < 0:
                    raise ProtocolError(1008, "a compressed message has too many final blocks")
                inflater = self._new_inflater(None)
        if not fin:
            self._inflater = inflater
        elif not inflater.eof:
            raise ProtocolError(1007, "a compressed message ends in the middle of a block")

    def _new_inflater(self, history: bytes | None) -> Any:
        if history:
            return zlib.decompressobj(-self._inflate_bits, zdict=history)
        return zlib.decompressobj(-self._inflate_bits)

    def close(self) -> None:
        """Lets go of what is kept between messages and within one."""
        self._compressor = self._inflater = None
        if self._history is not None:
            self._history = b""
