"""The options of a client (layer 2): how connections are made, beside what it shares with a server.

What concerns an open connection (bounds, back-pressure, deadlines) is a `Settings` of the same names, checks and
meaning as a server's; only some defaults differ. What concerns the opening handshake is a `ConnectSettings`, and may be
given to each `connect` anew. A wrong option raises at once an error that names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from lws_gevent.client_handshake import check_subprotocols
from lws_gevent.extensions import PerMessageDeflate
from lws_gevent.handshake import header_lines, header_pairs
from lws_gevent.options import Settings, check_integer, check_seconds, unknown_option
from lws_gevent.proxies import Proxy, parse_proxy
from lws_gevent.tls import TlsOptions, client_context

if TYPE_CHECKING:
    from ssl import SSLContext
else:  # it is not imported before somebody uses TLS, and type hints can be looked at all the same
    SSLContext = Any

__all__ = ["ClientOptions", "ConnectOptions", "ConnectSettings", "split_options"]

#: What a client takes over from the options of a server.
_SHARED = frozenset(
    {
        "engine",
        "per_message_deflate",
        "max_payload",
        "max_fragments",
        "max_backpressure",
        "backpressure",
        "send_timeout",
        "close_timeout",
        "idle_timeout",
        "ping_interval",
        "ping_timeout",
        "max_lifetime",
        "keep_alive_time",
        "keep_alive_interval",
        "keep_alive_retry",
        "auto_pong",
        "skip_utf8_validation",
        "own_close_event",
    }
)

#: A client looks after its connection itself: proxies cut tunnels in which nothing moves, many after 60 seconds.
_DEFAULTS = {"idle_timeout": None, "ping_interval": 20, "ping_timeout": 20}


class ConnectOptions(TypedDict, total=False):
    """The keyword arguments of :meth:`lws_gevent.Client.connect`, for type checkers."""

    subprotocols: Sequence[str] | None
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None
    origin: str | None
    ssl: SSLContext | TlsOptions | None
    server_hostname: str | None
    proxy: str | Literal[True] | None
    timeout: float | None
    follow_redirects: bool
    max_redirects: int
    local_address: tuple[str, int] | None
    socket: Any
    max_header_size: int


class ClientOptions(ConnectOptions, total=False):
    """The keyword arguments of :class:`lws_gevent.Client` and :func:`lws_gevent.connect`, for type checkers."""

    engine: Literal["auto", "parked", "greenlet"]
    per_message_deflate: bool | Mapping[str, Any] | PerMessageDeflate | None
    max_payload: int | None
    max_fragments: int | None
    max_backpressure: int | None
    backpressure: Literal["block", "drop", "close"]
    send_timeout: float | None
    close_timeout: float
    idle_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    max_lifetime: float | None
    keep_alive_time: int | None
    keep_alive_interval: int | None
    keep_alive_retry: int | None
    auto_pong: bool
    skip_utf8_validation: bool
    own_close_event: bool


def _headers(name: str, value: Any) -> Any:
    pairs = header_pairs(() if value is None else value)
    try:
        header_lines(pairs)
    except (TypeError, ValueError) as error:
        raise type(error)(f"option {name!r}: {error}") from None
    return tuple(pairs)


def _text(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"option {name!r} must be a str or None, not {type(value).__name__}")
    return value


def _origin(name: str, value: Any) -> Any:
    if _text(name, value) is not None:
        _headers(name, {"Origin": value})
    return value


def _proxy(name: str, value: Any) -> Any:
    if value is None or value is True or isinstance(value, Proxy):
        return value
    if not isinstance(value, str):
        raise TypeError(f"option {name!r} must be a URL, True or None, not {type(value).__name__}")
    return parse_proxy(value)


def _flag(name: str, value: Any) -> Any:
    if not isinstance(value, bool):
        raise TypeError(f"option {name!r} must be a bool, not {type(value).__name__}")
    return value


def _address(name: str, value: Any) -> Any:
    if value is not None and not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)):
        raise TypeError(f"option {name!r} must be (host, port) or None")
    return value


def _subprotocols(name: str, value: Any) -> Any:
    try:
        return check_subprotocols(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"option {name!r}: {error}") from None


def _anything(name: str, value: Any) -> Any:
    return value


def _option(default: Any, check: Any) -> Any:
    return dataclasses.field(default=default, metadata={"check": check})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ConnectSettings:
    """The validated options of the opening handshake, under the names of the public interface. Times in seconds."""

    subprotocols: tuple[str, ...] = _option(None, _subprotocols)
    headers: tuple[tuple[str, str], ...] = _option(None, _headers)
    origin: str | None = _option(None, _origin)
    ssl: SSLContext | None = _option(None, client_context)
    server_hostname: str | None = _option(None, _text)
    proxy: Proxy | Literal[True] | None = _option(None, _proxy)
    timeout: float | None = _option(10, check_seconds(none=True))
    follow_redirects: bool = _option(False, _flag)
    max_redirects: int = _option(10, check_integer(1, 10))
    local_address: tuple[str, int] | None = _option(None, _address)
    socket: Any = _option(None, _anything)
    max_header_size: int = _option(64 * 1024, check_integer(128, 2**24))

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = field.metadata["check"](field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    def replaced(self, options: Mapping[str, Any]) -> ConnectSettings:
        """These settings with some of them given anew. TypeError for a name that is no option of `connect`."""
        for name in options:
            if name not in _connect_names:
                known = ", ".join(sorted(_connect_names))
                hint = "is an option of the Client" if name in _SHARED else f"is unknown: known are {known}"
                raise TypeError(f"option {name!r} {hint}")
        return dataclasses.replace(self, **options)


_connect_names = frozenset(field.name for field in dataclasses.fields(ConnectSettings))


def split_options(options: Mapping[str, Any]) -> tuple[Settings, ConnectSettings]:
    """The settings of the connections and those of making them. TypeError for a name that is no option."""
    shared: dict[str, Any] = dict(_DEFAULTS)
    if options.get("ping_interval", 20) is None:
        shared["ping_timeout"] = None
    connecting = {}
    for name, value in options.items():
        if name in _connect_names:
            connecting[name] = value
        elif name in _SHARED:
            shared[name] = value
        else:
            raise unknown_option(name, _SHARED | _connect_names)
    return Settings.from_options(shared), ConnectSettings(**connecting)
