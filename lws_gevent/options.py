"""The options of a server (layer 2): one table of names, defaults and checks, one immutable object per server.

A new option is one line in `Settings`, where its value lives, and one in `ServerOptions`, which tells type checkers and
editors of it. A wrong option raises at construction an error that names it: TypeError for an unknown name or a wrong
type, ValueError for a value out of range.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from lws_gevent.access_log import Logger
from lws_gevent.extensions import PerMessageDeflate
from lws_gevent.handshake import is_token
from lws_gevent.tls import TlsOptions, server_context

if TYPE_CHECKING:
    from ssl import SSLContext

    from lws_gevent.forwarded import Networks
else:  # it is not imported before somebody uses TLS, and type hints can be looked at all the same
    SSLContext = Any

__all__ = [
    "Origins",
    "ServerOptions",
    "Settings",
    "Subprotocols",
    "check_integer",
    "check_seconds",
    "from_portable",
    "unknown_option",
]

Origins = Literal["same"] | Sequence[str] | Callable[..., object]
Subprotocols = Sequence[str] | Callable[..., str | None]

#: Gives the value to keep for the value that was given, or raises an error that begins with the option's name.
_Check = Callable[[str, Any], Any]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")


def _wrong_type(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"option {name!r} must be {expected}, not {type(value).__name__}")


def check_integer(minimum: int, maximum: int | None = None, *, none: bool = False) -> _Check:
    """The check of an option that is an int between these bounds, or None if `none`."""
    expected = "an int or None" if none else "an int"
    allowed = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"

    def check(name: str, value: Any) -> Any:
        if value is None and none:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(name, expected, value)
        if value < minimum or (maximum is not None and value > maximum):
            raise ValueError(f"option {name!r} must be {allowed}, not {value}")
        return value

    return check


def check_seconds(*, none: bool = False) -> _Check:
    """The check of an option that is a time, or None if `none`."""
    expected = "a number of seconds or None" if none else "a number of seconds"

    def check(name: str, value: Any) -> Any:
        if value is None and none:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _wrong_type(name, expected, value)
        if not math.isfinite(value) or value <= 0:
            raise ValueError(f"option {name!r} must be a finite number of seconds above 0, not {value}")
        return value

    return check


def _flag(name: str, value: Any) -> Any:
    if not isinstance(value, bool):
        raise _wrong_type(name, "a bool", value)
    return value


def _callable(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise _wrong_type(name, "a callable or None", value)
    return value


def _text(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise _wrong_type(name, "a str", value)
    return value


def _one_of(*choices: str) -> _Check:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            raise _wrong_type(name, "a str", value)
        if value not in choices:
            raise ValueError(f"option {name!r} must be one of {', '.join(map(repr, choices))}, not {value!r}")
        return value

    return check


def _url_path(name: str, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong_type(name, "a str or None", value)
    if not value.startswith("/") or "?" in value or "#" in value:
        raise ValueError(f"option {name!r} must be a URL path that begins with / and has no query, not {value!r}")
    return value


def _strings(name: str, value: Any, expected: str) -> tuple[str, ...]:
    # A str is a sequence of str too: "chat" would silently mean four subprotocols.
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, set, frozenset)):
        raise _wrong_type(name, expected, value)
    for element in value:
        if not isinstance(element, str):
            raise TypeError(f"option {name!r} must be {expected}; it contains {type(element).__name__}")
    return tuple(value)


def _origins(name: str, value: Any) -> Any:
    expected = "None, 'same', a list of str or a callable"
    if value is None or value == "same" or callable(value):
        return value
    origins = _strings(name, value, expected)
    for origin in origins:
        if origin != "null" and _ORIGIN.fullmatch(origin) is None:
            raise ValueError(f"option {name!r}: an origin is scheme://host or scheme://host:port, not {origin!r}")
    return origins


def _subprotocols(name: str, value: Any) -> Any:
    if value is None or callable(value):
        return value
    names = _strings(name, value, "None, a list of str or a callable")
    for subprotocol in names:
        if not is_token(subprotocol):
            raise ValueError(
                f"option {name!r}: a subprotocol must be a token (RFC 6455 section 4.1), not {subprotocol!r}"
            )
    return names


def _networks(name: str, value: Any) -> Any:
    if value is None:
        return None
    return _make_networks(name, value, "None or a list of str")


def _true_or_networks(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    return _make_networks(name, value, "a bool or a list of str")


def _make_networks(name: str, value: Any, expected: str) -> Networks:
    from lws_gevent.forwarded import Networks  # what it needs is for those alone who use it

    if isinstance(value, Networks):
        return value
    try:
        return Networks(_strings(name, value, expected))
    except ValueError as error:
        raise ValueError(f"option {name!r}: {error}") from None


def _access_log(name: str, value: Any) -> Any:
    if isinstance(value, bool) or callable(value) or hasattr(value, "isEnabledFor"):
        return value
    raise _wrong_type(name, "a bool, a logger or a callable", value)


def _deflate(name: str, value: Any) -> Any:
    """None for no compression."""
    if value is False or value is None:
        return None
    if value is True:
        return PerMessageDeflate()
    if isinstance(value, PerMessageDeflate):
        return value
    if not isinstance(value, Mapping):
        raise _wrong_type(name, "a bool, a PerMessageDeflate or a mapping of its settings", value)
    for setting in value:
        if setting not in _deflate_names:
            known = ", ".join(sorted(_deflate_names))
            raise TypeError(f"option {name!r} has an unknown setting {setting!r}: known are {known}")
    try:
        return PerMessageDeflate(**value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"option {name!r}: {error}") from None


_deflate_names = frozenset(field.name for field in dataclasses.fields(PerMessageDeflate))


def _option(default: Any, check: _Check) -> Any:
    return dataclasses.field(default=default, metadata={"check": check})


def unknown_option(name: object, known: Collection[str]) -> TypeError:
    """The error for a name that is none of the `known`; it names the one that was probably meant."""
    import difflib  # for those alone who have made a mistake

    spellings = [str(name), _python_name(str(name)), _portable_name(str(name))]
    near = [option for spelling in spellings for option in difflib.get_close_matches(spelling, known, 1, 0.7)]
    exact = [spelling for spelling in spellings if spelling in known]
    meant = f" (did you mean {(exact + near)[0]!r}?)" if exact or near else ""
    return TypeError(f"unknown option {name!r}{meant}: known are {', '.join(sorted(known))}")


class ServerOptions(TypedDict, total=False):
    """The keyword arguments of :class:`lws_gevent.Server`, for type checkers."""

    port: int | None
    host: str
    path: str | None
    backlog: int
    engine: Literal["auto", "parked", "greenlet"]
    workers: int
    wsgi: Callable[..., Any] | None
    max_connections: int | None
    max_header_size: int
    max_body_size: int
    max_payload: int | None
    buffer_size: int | None
    max_fragments: int | None
    max_backpressure: int | None
    backpressure: Literal["block", "drop", "close"]
    send_timeout: float | None
    handshake_timeout: float
    close_timeout: float
    idle_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    max_lifetime: float | None
    keep_alive_time: int | None
    keep_alive_interval: int | None
    keep_alive_retry: int | None
    origins: Origins | None
    subprotocols: Subprotocols | None
    proxy_protocol: bool | Sequence[str]
    trusted_proxies: Sequence[str] | None
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"]
    access_log: bool | Logger | Callable[[str], object]
    ssl: SSLContext | TlsOptions | None
    per_message_deflate: bool | Mapping[str, Any] | PerMessageDeflate | None
    auto_pong: bool
    skip_utf8_validation: bool
    own_close_event: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The validated options of one server, under the names of the public interface. Sizes in octets, times in
    seconds."""

    # Where the server listens.
    port: int | None = _option(None, check_integer(0, 65535, none=True))
    host: str = _option("", _text)
    path: str | None = _option(None, _url_path)
    backlog: int = _option(4096, check_integer(1, 2**31 - 1))
    engine: str = _option("auto", _one_of("auto", "parked", "greenlet"))
    workers: int = _option(1, check_integer(1))
    wsgi: Callable[..., Any] | None = _option(None, _callable)
    # Bounds on what peers may ask for.
    max_connections: int | None = _option(None, check_integer(1, 2**63 - 1, none=True))
    # A head is judged in one piece, in a buffer that all connections share.
    max_header_size: int = _option(16 * 1024, check_integer(128, 2**18 - 1))
    max_body_size: int = _option(1024 * 1024, check_integer(0))
    max_payload: int | None = _option(16 * 1024 * 1024, check_integer(1, 2**63 - 1, none=True))
    # A character has up to four octets, and is never cut.
    buffer_size: int | None = _option(None, check_integer(4, 2**62, none=True))
    max_fragments: int | None = _option(None, check_integer(1, 2**31 - 1, none=True))
    # Back-pressure.
    max_backpressure: int | None = _option(1024 * 1024, check_integer(0, 2**63 - 1, none=True))
    backpressure: str = _option("block", _one_of("block", "drop", "close"))
    send_timeout: float | None = _option(60, check_seconds(none=True))
    # Deadlines.
    handshake_timeout: float = _option(10, check_seconds())
    close_timeout: float = _option(10, check_seconds())
    idle_timeout: float | None = _option(120, check_seconds(none=True))
    ping_interval: float | None = _option(None, check_seconds(none=True))
    ping_timeout: float | None = _option(None, check_seconds(none=True))
    max_lifetime: float | None = _option(None, check_seconds(none=True))
    # TCP keep-alive: seconds, seconds, number of probes.
    keep_alive_time: int | None = _option(None, check_integer(1, 32767, none=True))
    keep_alive_interval: int | None = _option(None, check_integer(1, 32767, none=True))
    keep_alive_retry: int | None = _option(None, check_integer(1, 127, none=True))
    # Whom to let in, and what to speak.
    origins: Origins | None = _option(None, _origins)
    subprotocols: Subprotocols | None = _option(None, _subprotocols)
    per_message_deflate: PerMessageDeflate | None = _option(False, _deflate)
    # Whom connections come from, behind proxies.
    proxy_protocol: bool | Networks = _option(False, _true_or_networks)
    trusted_proxies: Networks | None = _option(None, _networks)
    forwarded_header: str = _option("X-Forwarded-For", _one_of("X-Forwarded-For", "Forwarded"))
    # True, a logger, or a function of one line.
    access_log: Any = _option(False, _access_log)
    # The option is a context or a dict; this is the context for it.
    ssl: SSLContext | None = _option(None, server_context)
    # Finer control.
    auto_pong: bool = _option(True, _flag)
    skip_utf8_validation: bool = _option(False, _flag)
    own_close_event: bool = _option(False, _flag)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = field.metadata["check"](field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        if self.host and self.port is None:
            raise ValueError("option 'host' needs 'port': without one there is no listener (0: any free port)")
        if self.workers > 1 and not hasattr(os, "fork"):
            raise ValueError("option 'workers' needs a system that can fork processes")
        if self.ping_timeout is not None and self.ping_interval is None:
            raise ValueError("option 'ping_timeout' needs 'ping_interval': without pings there is nothing to wait for")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Settings:
        """The settings for keyword arguments in snake_case. TypeError for a name that is no option."""
        for name in options:
            if name not in _names:
                raise unknown_option(name, _names)
        return cls(**options)

    @property
    def ping_after(self) -> float | None:
        """Seconds of silence after which the peer is pinged: ``ping_interval``, or two thirds of ``idle_timeout``."""
        intervals = [] if self.ping_interval is None else [self.ping_interval]
        if self.idle_timeout is not None:
            intervals.append(self.idle_timeout * 2 / 3)
        return min(intervals, default=None)

    @property
    def lost_after(self) -> float | None:
        """Seconds of silence after which the connection counts as lost."""
        limits = [] if self.idle_timeout is None else [self.idle_timeout]
        if self.ping_interval is not None and self.ping_timeout is not None:
            limits.append(self.ping_interval + self.ping_timeout)
        return min(limits, default=None)


_names = frozenset(field.name for field in dataclasses.fields(Settings))


def _portable_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _python_name(name: str) -> str:
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


_portable = {_portable_name(name): name for name in _names}


def from_portable(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options under their Python names, from a mapping with the camelCase names of node-lws; the settings in
    ``perMessageDeflate`` have such names too.

    TypeError for a name that is no option.
    """
    translated = {}
    for name, value in options.items():
        if name not in _portable:
            raise unknown_option(name, _portable)
        translated[_portable[name]] = _with_python_names(value) if isinstance(value, Mapping) else value
    return translated


def _with_python_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping within the mapping; whoever takes it knows which names there are."""
    return {_python_name(name): options[name] for name in options}
