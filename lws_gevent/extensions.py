"""Sec-WebSocket-Extensions (RFC 6455 section 9.1) and the negotiation of permessage-deflate (RFC 7692 section 7.1), for
both roles (layer 1).

It is about headers only: what is compressed, and by what, is not known here. Everything is linear in the length of its
input.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["DeflateParameters", "Extension", "PerMessageDeflate", "agreed", "negotiate", "offer", "parse_extensions"]

#: The registered name of the one extension that is known here.
PERMESSAGE_DEFLATE = "permessage-deflate"

#: The largest LZ77 sliding window, and the one that counts when nobody speaks of windows: 32 KiB.
MAX_WINDOW_BITS = 15

#: The smallest window that is compressed with. RFC 7692 knows 8 too, but zlib cannot compress with so little: it takes
#: 9, and what a peer with a window of 8 bits then gets may point farther back than it can see.
MIN_WINDOW_BITS = 9

_TOKEN_CHARACTER = r"[-!#$%&'*+.^_`|~0-9A-Za-z]"
_SPACE = re.compile(r"[ \t]*")
_EXTENSION_NAME = re.compile(rf"{_TOKEN_CHARACTER}+")
# A name, and perhaps a value. What a quoted string says must be a token too, so that nothing but characters of tokens
# may stand in it, escaped or not. There is one way only to match any text, hence no backtracking.
_PARAMETER = re.compile(
    rf'({_TOKEN_CHARACTER}+)(?:[ \t]*=[ \t]*(?:({_TOKEN_CHARACTER}+)|"((?:\\?{_TOKEN_CHARACTER})+)"))?'
)
_WINDOW_BITS = re.compile(r"[89]|1[0-5]")

_SERVER_TAKEOVER, _CLIENT_TAKEOVER = "server_no_context_takeover", "client_no_context_takeover"
_SERVER_BITS, _CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"


class Extension(NamedTuple):
    """One element of Sec-WebSocket-Extensions: its name, and its parameters in their order, repetitions included; the
    value of a parameter without one is None."""

    name: str
    parameters: list[tuple[str, str | None]]


def parse_extensions(values: str | Iterable[str]) -> list[Extension]:
    """The elements of a Sec-WebSocket-Extensions header, or of several that belong together, in order.

    ValueError: it does not conform to RFC 6455 section 9.1, which asks that the connection fails then. Empty elements
    of the list are left out (RFC 9110 section 5.6.1.2). Linear time whatever the characters.
    """
    extensions: list[Extension] = []
    for value in (values,) if isinstance(values, str) else values:
        _parse_value(value, extensions)
    return extensions


def _parse_value(value: str, extensions: list[Extension]) -> None:
    position = _skip_space(value, 0)
    while True:
        name = _EXTENSION_NAME.match(value, position)
        if name is not None:
            extension = Extension(name.group(), [])
            extensions.append(extension)
            position = _skip_space(value, name.end())
            while value.startswith(";", position):
                parameter = _PARAMETER.match(value, _skip_space(value, position + 1))
                if parameter is None:
                    raise ValueError("Sec-WebSocket-Extensions has a malformed parameter")
                key, token, quoted = parameter.groups()
                extension.parameters.append((key, token if quoted is None else quoted.replace("\\", "")))
                position = _skip_space(value, parameter.end())
        if position == len(value):
            return
        if value[position] != ",":
            raise ValueError("Sec-WebSocket-Extensions is malformed")
        position = _skip_space(value, position + 1)


def _skip_space(value: str, position: int) -> int:
    match = _SPACE.match(value, position)
    assert match is not None  # it matches nothing too
    return match.end()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PerMessageDeflate:
    """How messages are compressed, where the peer agrees (permessage-deflate, RFC 7692). The same for both roles.

    - `server_no_context_takeover`, `client_no_context_takeover`: what the server, or the client, sends is compressed
      message by message, so that nothing is kept between two messages. With False a side may keep its window from
      message to message; this compresses small, similar messages better, and costs memory for every connection (see
      the guide on compression).
    - `server_max_window_bits`, `client_max_window_bits`: the largest window, 9 to 15, that the server, or the client,
      compresses with. That of the client can only be limited where the client allows it.
    - `mem_level`: 1 to 9, the memory of the compressor, for speed and ratio.
    - `level`: 0 (do not compress) to 9 (slowest).
    - `threshold`: octets; shorter messages are sent as they are unless the sender asks otherwise.

    TypeError and ValueError, naming the setting, for a wrong type and a value out of range.
    """

    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int = MAX_WINDOW_BITS
    client_max_window_bits: int = MAX_WINDOW_BITS
    mem_level: int = 8
    level: int = 6
    threshold: int = 1024

    def __post_init__(self) -> None:
        for name in (_SERVER_TAKEOVER, _CLIENT_TAKEOVER):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
        self._check_int(_SERVER_BITS, MIN_WINDOW_BITS, MAX_WINDOW_BITS)
        self._check_int(_CLIENT_BITS, MIN_WINDOW_BITS, MAX_WINDOW_BITS)
        self._check_int("mem_level", 1, 9)
        self._check_int("level", 0, 9)
        self._check_int("threshold", 0, None)

    def _check_int(self, name: str, minimum: int, maximum: int | None) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        if value < minimum or (maximum is not None and value > maximum):
            allowed = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
            raise ValueError(f"{name} must be {allowed}, not {value}")


class DeflateParameters(NamedTuple):
    """What two peers have agreed on for one connection (RFC 7692 section 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = MAX_WINDOW_BITS
    client_max_window_bits: int = MAX_WINDOW_BITS
    #: For the server's answer: it must name a limit of the server's window, because the client asks for one (section
    #: 7.1.2.1).
    name_server_window: bool = False

    def header(self) -> str:
        """The server's answer, as the value of Sec-WebSocket-Extensions."""
        parts = [PERMESSAGE_DEFLATE]
        if self.server_no_context_takeover:
            parts.append(_SERVER_TAKEOVER)
        if self.client_no_context_takeover:
            parts.append(_CLIENT_TAKEOVER)
        if self.name_server_window or self.server_max_window_bits < MAX_WINDOW_BITS:
            parts.append(f"{_SERVER_BITS}={self.server_max_window_bits}")
        if self.client_max_window_bits < MAX_WINDOW_BITS:
            parts.append(f"{_CLIENT_BITS}={self.client_max_window_bits}")
        return "; ".join(parts)


class _Asked(NamedTuple):
    """The parameters of one offer or answer. Windows: None when absent, 0 for one without a value."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int | None
    client_max_window_bits: int | None


def _read_parameters(parameters: list[tuple[str, str | None]]) -> _Asked:
    """ValueError for whatever makes an offer one to decline (RFC 7692 section 7.1): a parameter that is unknown, comes
    twice or has an invalid value."""
    found: dict[str, int] = {}
    for name, value in parameters:
        if name in found:
            raise ValueError("a parameter of permessage-deflate is repeated")
        if name in (_SERVER_TAKEOVER, _CLIENT_TAKEOVER):
            if value is not None:
                raise ValueError(f"{name} has a value")
            found[name] = 1
        elif name == _CLIENT_BITS and value is None:
            found[name] = 0
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            if value is None or _WINDOW_BITS.fullmatch(value) is None:
                raise ValueError(f"{name} is no number of bits between 8 and 15")
            found[name] = int(value)
        else:
            raise ValueError("permessage-deflate has an unknown parameter")
    return _Asked(
        _SERVER_TAKEOVER in found, _CLIENT_TAKEOVER in found, found.get(_SERVER_BITS), found.get(_CLIENT_BITS)
    )


def negotiate(header_values: str | Iterable[str], settings: PerMessageDeflate) -> DeflateParameters | None:
    """The server's side: the first of the client's offers that can be accepted; None when there is none, which leaves
    the connection uncompressed. Other extensions are passed over.

    ValueError: the header is malformed (see `parse_extensions`), the request deserves status 400.
    """
    for extension in parse_extensions(header_values):
        if extension.name == PERMESSAGE_DEFLATE:
            try:
                asked = _read_parameters(extension.parameters)
            except ValueError:
                continue
            server_bits = asked.server_max_window_bits
            if server_bits is not None and server_bits < MIN_WINDOW_BITS:
                continue
            # To a client that does not say that it understands client_max_window_bits it must not be sent (section
            # 7.1.2.2), and its window may be any.
            client_bits = MAX_WINDOW_BITS
            if asked.client_max_window_bits is not None:
                client_bits = min(asked.client_max_window_bits or MAX_WINDOW_BITS, settings.client_max_window_bits)
            return DeflateParameters(
                asked.server_no_context_takeover or settings.server_no_context_takeover,
                asked.client_no_context_takeover or settings.client_no_context_takeover,
                min(server_bits or MAX_WINDOW_BITS, settings.server_max_window_bits),
                client_bits,
                server_bits is not None,
            )
    return None


def offer(settings: PerMessageDeflate) -> str:
    """The client's side: its offer, as the value of Sec-WebSocket-Extensions."""
    parts = [PERMESSAGE_DEFLATE]
    if settings.server_no_context_takeover:
        parts.append(_SERVER_TAKEOVER)
    if settings.client_no_context_takeover:
        parts.append(_CLIENT_TAKEOVER)
    if settings.server_max_window_bits < MAX_WINDOW_BITS:
        parts.append(f"{_SERVER_BITS}={settings.server_max_window_bits}")
    parts.append(
        _CLIENT_BITS
        if settings.client_max_window_bits == MAX_WINDOW_BITS
        else f"{_CLIENT_BITS}={settings.client_max_window_bits}"
    )
    return "; ".join(parts)


def agreed(header_values: str | Iterable[str], settings: PerMessageDeflate) -> DeflateParameters | None:
    """The client's side: what the server's answer to `offer` of the same settings means; None when the server declines.

    ValueError: the answer is malformed, or not one to our offer: another extension, a second one, a parameter that is
    invalid or less than what was asked for, but for server_no_context_takeover, which some do not know. The handshake
    fails then (RFC 7692 section 7.1, RFC 6455 section 4.1).
    """
    extensions = parse_extensions(header_values)
    if not extensions:
        return None
    if len(extensions) > 1 or extensions[0].name != PERMESSAGE_DEFLATE:
        raise ValueError("the server has chosen an extension that was not offered")
    answer = _read_parameters(extensions[0].parameters)
    # A server that ignores server_no_context_takeover, as tornado does, breaks section 7.1.1.1, and costs this
    # connection a window of its own; to talk to it is better than not to.
    server_bits = answer.server_max_window_bits or MAX_WINDOW_BITS
    if server_bits > settings.server_max_window_bits:
        raise ValueError(f"the server has not agreed to {_SERVER_BITS}={settings.server_max_window_bits}")
    client_bits = answer.client_max_window_bits
    if client_bits is None:
        client_bits = settings.client_max_window_bits
    elif not client_bits or client_bits > settings.client_max_window_bits:
        raise ValueError(f"the server's {_CLIENT_BITS} is not what was offered")
    elif client_bits < MIN_WINDOW_BITS:
        raise ValueError(f"the server asks for a window of {client_bits} bits, too small to compress with")
    return DeflateParameters(
        answer.server_no_context_takeover,
        # What is our own to decide: we may always keep less than the server allows.
        answer.client_no_context_takeover or settings.client_no_context_takeover,
        server_bits,
        client_bits,
    )
