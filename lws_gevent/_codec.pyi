"""The interface of the codec, which `_codec` (C) and `_codec_py` (pure Python) both have. Layer 1: no input, no
output.

A payload given to this module is any bytes-like object of contiguous single octets; anything else is a TypeError
(not bytes-like) or a ValueError (items of more than one octet, not contiguous).
"""

from typing import Literal, final

from lws_gevent.deflate import Deflate
from lws_gevent.errors import ProtocolError
from lws_gevent.frames import Role
from lws_gevent.handshake import Request

__all__ = ["Protocol", "apply_mask", "encode_frame", "parse_request"]

_Octets = bytes | bytearray | memoryview

_Event = (
    tuple[Literal["message"], str | bytes, bool]
    | tuple[Literal["piece"], str | bytes, bool, int]
    | tuple[Literal["ping"], bytes]
    | tuple[Literal["pong"], bytes]
    | tuple[Literal["close"], int, str]
    | tuple[Literal["error"], ProtocolError]
    | tuple[Literal["eof"]]
)

@final
class Protocol:
    """The state of one connection after the opening handshake (RFC 6455 sections 5 to 8), without any input or
    output.

    Not to be used by two threads at once; greenlets may share it, nothing here switches. What the peer sends never
    raises.
    """

    def __init__(
        self,
        role: Role,
        *,
        max_payload: int | None,
        max_fragments: int | None = None,
        auto_pong: bool = True,
        skip_utf8_validation: bool = False,
        deflate: Deflate | None = None,
        buffer_size: int | None = None,
    ) -> None:
        """`role`: which end we are. `max_payload`: octets of one message, all its fragments together (None: no
        limit), else error 1009 as soon as a header says so; `max_fragments`: frames of one message (None or 0: no
        limit), else error 1008; `auto_pong`: pings are answered in `data_to_send`; `skip_utf8_validation`: invalid
        text of the peer is not refused but delivered with U+FFFD; `deflate`: permessage-deflate as it was negotiated
        (RFC 7692), this connection's alone. `max_payload` then counts what a message inflates to; what cannot be
        inflated is error 1007 (1011: memory ran out). It is closed when receiving has ended. `buffer_size`: see the
        property; a connection that is to have one has it from the beginning."""

    buffer_size: int | None
    """A longer message comes in pieces of at most so many octets (at least 4), and no more than about one piece of it
    is kept. None: messages come whole. It may be set to None later, in the middle of a message too."""

    @property
    def buffered(self) -> int:
        """Octets received and not yet given by `next_event`: not decoded, or part of a message that is not complete."""

    @property
    def close_sent(self) -> bool:
        """A close frame, ours or the answer to the peer's, was put into `data_to_send`."""

    @property
    def close_received(self) -> bool:
        """The peer's close frame was given by `next_event`. With `close_sent` the TCP connection is to be ended."""

    @property
    def close_code(self) -> int:
        """Of the peer's close frame (1005: it had none) or of the error; 1006 without either."""

    @property
    def close_reason(self) -> str:
        """Of the peer's close frame; `""` without one."""

    def receive_data(self, data: _Octets) -> None:
        """Queues octets from the peer; nothing is decoded yet. After a close frame, an error or the end they are
        dropped."""

    def receive_eof(self) -> None:
        """The peer will send nothing more."""

    def next_event(self) -> _Event | None:
        """Decodes one event; None when more octets are needed.

        `("message", payload, binary)`: a whole message, str or bytes. With `buffer_size` a longer one comes as
        `("piece", payload, binary, remaining)`, where `remaining` octets, at least one, are known to follow, and its
        last piece as a message. Text is cut between characters. `("ping", payload)`, `("pong", payload)`.
        `("close", code, reason)`: the peer's close frame; our answer is in `data_to_send`, if no close frame was
        sent before. `("error", ProtocolError)`: a violation; the close frame that fails the connection is in
        `data_to_send`. After these two the peer's octets are ignored. `("eof",)`: once, after everything before the
        end; never after an error.
        """

    def send_message(self, payload: _Octets, binary: bool, compress: bool = False) -> None:
        """Appends a whole message; `compress`: compressed, if that was negotiated. ValueError, and nothing appended:
        text that is not UTF-8, inside a fragmented
        message, after the close frame."""

    def send_fragment(self, payload: _Octets, fin: bool, binary: bool, compress: bool = False) -> None:
        """Appends a piece of a message (RFC 6455 section 5.4); the first piece decides whether it is binary, and
        whether it is compressed. A text message is checked to be UTF-8 across its pieces. ValueError as for
        `send_message`."""

    def send_ping(self, payload: _Octets = b"") -> None:
        """Appends a ping. ValueError: more than 125 octets, after the close frame."""

    def send_pong(self, payload: _Octets = b"") -> None:
        """Appends a pong. ValueError: more than 125 octets, after the close frame."""

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Appends the close frame (`code` None: an empty one); nothing when one was appended before. ValueError: a
        code that may not be sent, a reason of more than 123 octets in UTF-8 or without a code."""

    def data_to_send(self) -> list[bytes]:
        """The octets to be sent, in order, whole frames, and forgets them. Pings are answered each, except that of
        those beyond the 128th since the last call only the last is (RFC 6455 section 5.5.3). A server's large payloads
        are in it by reference."""

def encode_frame(
    payload: _Octets, opcode: int, fin: bool = True, rsv1: bool = False, masking_key: _Octets | None = None
) -> bytes:
    """One complete frame (RFC 6455 section 5.2), masked when a key of four octets is given. Judges neither opcode
    nor payload.

    ValueError: an opcode of more than four bits, a key of another length.
    """

def apply_mask(data: _Octets, key: _Octets) -> bytes:
    """`data` with every octet XORed with the octet of `key` at its index mod 4 (RFC 6455 section 5.3). ValueError:
    a key that does not have four octets."""

def parse_request(data: _Octets, max_header_size: int, scanned: int = 0) -> tuple[Request, int] | int:
    """Reads the head of an HTTP/1.1 request (RFC 9112), strictly, in time linear in its length.

    The request and the length of its head, after which the peer may already have sent more; or, when the head is
    not complete, an int to pass as `scanned` with the same octets and more. HandshakeError with the response it
    deserves: 400 malformed, 414 and 431 too long, 417, 501 and 505 for what is not understood. A well-formed
    request that is no good opening handshake is no error: `Request.upgrade_status` says so.
    """
