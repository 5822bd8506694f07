"""A message that is encoded once and sent to many connections (layer 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lws_gevent.codec import load
from lws_gevent.frames import Opcode
from lws_gevent.wording import NOT_UTF8

if TYPE_CHECKING:
    from lws_gevent.deflate import Deflate

__all__ = ["Prepared", "check_text", "message_payload"]


def message_payload(message: str | bytes | bytearray | memoryview) -> bytes:
    """The octets of a message as immutable bytes; `str` in UTF-8.

    ValueError: a lone surrogate, or a memoryview whose items are not single contiguous octets (its length would be
    counted in another unit than octets). TypeError: anything else than str and bytes-like.
    """
    if type(message) is bytes:  # and of no class derived from it, which could change what its octets are
        return message
    if isinstance(message, str):
        return message.encode("utf-8")
    try:
        view = memoryview(message)
    except TypeError:
        raise TypeError(f"a message must be str or bytes-like, not {type(message).__name__}") from None
    if view.itemsize != 1 or not view.c_contiguous:
        raise ValueError("a message must be contiguous octets (itemsize 1)")
    return view.tobytes()


def check_text(payload: bytes) -> None:
    """ValueError when it is not UTF-8, as a text message must be (RFC 6455 section 5.6)."""
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(NOT_UTF8) from None


class Prepared:
    """One message, immutable, and its complete server frame, encoded (and compressed) at most once per kind.

    `payload`: the octets; `binary`: the kind that it is sent as unless the sender says otherwise. May be sent any
    number of times, to any connection, from any greenlet. It is compressed once for all connections whose window has
    the same size; one that keeps its context compresses every message for itself. Clients must mask each frame with a
    fresh key (RFC 6455 section 5.3), so on a client connection it saves only the encoding of text.
    """

    __slots__ = ("_compressed", "_encode_frame", "_frames", "_text_is_valid", "binary", "payload")

    payload: bytes
    binary: bool

    def __init__(
        self,
        message: str | bytes | bytearray | memoryview,
        binary: bool | None = None,
        encode_frame: Callable[..., bytes] | None = None,
    ) -> None:
        """`binary` None: by the type of `message`, `str` is text. ValueError: text that is not UTF-8. `encode_frame`:
        of the codec in use (the default: that of `codec.load()`)."""
        is_text = isinstance(message, str)
        self._set("payload", message_payload(message))
        self._set("binary", not is_text if binary is None else bool(binary))
        self._set("_encode_frame", load().encode_frame if encode_frame is None else encode_frame)
        self._set("_frames", [None, None])
        self._set("_compressed", {})
        self._set("_text_is_valid", [is_text])
        if not self.binary:
            self.check_text()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Prepared is immutable, {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Prepared is immutable, {name} cannot be deleted")

    def frame(self, binary: bool | None = None) -> bytes:
        """The unmasked frame, as text or binary (None: as prepared). ValueError: as text, when it is not UTF-8."""
        binary = self.binary if binary is None else bool(binary)
        frames: list[bytes | None] = self._frames  # type: ignore[attr-defined]
        frame = frames[binary]
        if frame is None:
            if not binary:
                self.check_text()
            opcode = Opcode.BINARY if binary else Opcode.TEXT
            frame = frames[binary] = self._encode_frame(self.payload, opcode)  # type: ignore[attr-defined]
        return frame

    def compressed_frame(self, deflate: Deflate, binary: bool | None = None) -> bytes:
        """As `frame`, compressed for a connection that keeps no context (RFC 7692 section 7.2.1), and for every other
        one with the same window."""
        binary = self.binary if binary is None else bool(binary)
        frames: dict[tuple[int, bool], bytes] = self._compressed  # type: ignore[attr-defined]
        frame = frames.get((deflate.compress_bits, binary))
        if frame is None:
            if not binary:
                self.check_text()
            opcode = Opcode.BINARY if binary else Opcode.TEXT
            payload = deflate.compress(self.payload)
            frame = self._encode_frame(payload, opcode, True, True)  # type: ignore[attr-defined]
            frames[deflate.compress_bits, binary] = frame
        return frame

    def check_text(self) -> None:
        """ValueError when the payload is not UTF-8, as a text message must be (RFC 6455 section 5.6). Checked once."""
        valid: list[bool] = self._text_is_valid  # type: ignore[attr-defined]
        if not valid[0]:
            check_text(self.payload)
            valid[0] = True

    def __len__(self) -> int:
        return len(self.payload)

    def __repr__(self) -> str:
        return f"<Prepared {'binary' if self.binary else 'text'}, {len(self.payload)} octets>"
