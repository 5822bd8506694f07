"""The cases that are measured, and what is to be reached in each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum

from benchmarks.processes import BUILD
from benchmarks.servers import ECHO, LIMIT, OURS, REFERENCE, Mode


class Quantity(Enum):
    """What a row measures; the value is its unit."""

    CPU = "us"
    MEMORY = "bytes"


@dataclass(frozen=True)
class Goal:
    """At most `factor` times what `server` needs; or, without a server, at most `factor` units."""

    factor: float
    server: str | None = LIMIT

    def __str__(self) -> str:
        if self.server is None:
            return f"{self.factor:g}"
        return f"{self.factor:g} x the C limit" if self.server == LIMIT else f"{self.factor:g} x {self.server}"


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        load: the arguments of the load generator.
        must: the ratio to `reference` that must be reached; without a reference, the figure itself.
        goal: what to work towards.
        mode: what the servers do.
        servers: only these; empty: all.
        curve: a point of a curve, not a line of the table: the name of the curve.
        subject: the server that must reach it.
        reference: the server that it is compared with.
    """

    name: str
    title: str
    load: tuple[str, ...]
    quantity: Quantity = Quantity.CPU
    must: float | None = None
    goal: Goal | None = None
    mode: Mode = ECHO
    servers: tuple[str, ...] = ()
    curve: str = ""
    subject: str = OURS
    reference: str | None = REFERENCE

    @property
    def connections(self) -> int:
        return int(self.load[self.load.index("--connections") + 1])

    @property
    def tls(self) -> bool:
        """Whether the server has to speak TLS."""
        return "--tls" in self.load


def _load(mode: str, connections: int, in_flight: int = 1, size: int = 20, *more: str) -> tuple[str, ...]:
    numbers = ("--connections", str(connections), "--in-flight", str(in_flight), "--size", str(size))
    return (mode, *numbers, *more)


# V8 grows its heap in steps: from 4,000 to 15,000 connections ws needs between 7,200 and 5,600 bytes for each.
IDLE_CONNECTIONS = 8_000

# Messages that benchmarks/deflated.py has compressed; their length is that of the row.
DEFLATED = ("--text", "--deflated", str(BUILD / "deflated"))
DEFLATE_SERVERS = (OURS, "lws-gevent-greenlet", REFERENCE, "socketify", "websockets", "aiohttp")


def _deflate(name: str, in_flight: int) -> Row:
    return Row(
        name,
        f"deflate, 1 KiB of JSON, 64 connections, {in_flight} in flight",
        _load("echo", 64, in_flight, 1024, *DEFLATED),
        must=0.12,
        mode=Mode(deflate=True),
        servers=DEFLATE_SERVERS,
    )


TABLE = (
    Row("echo-1", "20 B, 64 connections, 1 in flight", _load("echo", 64), must=0.6, goal=Goal(1.15)),
    Row("echo-64", "20 B, 64 connections, 64 in flight", _load("echo", 64, 64), must=0.04, goal=Goal(2)),
    Row(
        "text-1",
        "text, 20 B, 64 connections, 1 in flight",
        _load("echo", 64, 1, 20, "--text"),
        must=0.6,
        goal=Goal(1.15),
    ),
    Row(
        "text-64",
        "text, 20 B, 64 connections, 64 in flight",
        _load("echo", 64, 64, 20, "--text"),
        must=0.04,
        goal=Goal(2),
    ),
    Row("echo-8000", "20 B, 8,000 connections, 1 in flight", _load("echo", 8000), must=0.5, goal=Goal(1.15)),
    Row("echo-64k", "64 KiB, 16 connections, 4 in flight", _load("echo", 16, 4, 65536), must=0.15, goal=Goal(1.2)),
    Row("echo-1m", "1 MiB, 4 connections, 1 in flight", _load("echo", 4, 1, 1 << 20), must=0.17, goal=Goal(1.05)),
    Row("connect", "connect + upgrade + close", _load("connect", 64), must=0.2, goal=Goal(1.2)),
    Row(
        "idle",
        "idle connection, memory",
        _load("idle", IDLE_CONNECTIONS),
        Quantity.MEMORY,
        must=0.04,
        goal=Goal(256, None),
    ),
    Row(
        "idle-echoed",
        "idle connection that has echoed a message, memory",
        _load("idle", IDLE_CONNECTIONS, 1, 20, "--message", "echo"),
        Quantity.MEMORY,
        must=0.035,
    ),
    Row(
        "broadcast",
        "broadcast of 20 B to 5,000 connections, per delivery",
        _load("broadcast", 5000),
        must=0.65,
        goal=Goal(0.54, REFERENCE),  # where uWebSockets in C++ stands
        mode=Mode(broadcast=True),
    ),
    Row(
        "recv",
        "blocking recv(), 20 B, 64 connections, 1 in flight",
        _load("echo", 64),
        must=1.1,
        goal=Goal(0.35, "gevent-websocket"),
        mode=Mode(blocking=True),
        servers=(OURS, "lws-gevent-greenlet", REFERENCE, "gevent-websocket"),
    ),
    _deflate("deflate", 1),
    _deflate("deflate-16", 16),
    Row(
        "deflate-zlib",
        "deflate with the standard library's zlib, 1 in flight",
        _load("echo", 64, 1, 1024, *DEFLATED),
        must=0.2,
        mode=Mode(deflate=True, fast_deflate=False),
        servers=(OURS, REFERENCE),
    ),
    Row(
        "deflate-zlib-16",
        "deflate with the standard library's zlib, 16 in flight",
        _load("echo", 64, 16, 1024, *DEFLATED),
        must=0.2,
        mode=Mode(deflate=True, fast_deflate=False),
        servers=(OURS, REFERENCE),
    ),
    Row(
        "deflate-idle",
        "deflate, idle connection that has echoed a message, memory",
        _load("idle", IDLE_CONNECTIONS, 1, 1024, "--message", "echo", *DEFLATED),
        Quantity.MEMORY,
        must=0.04,
        goal=Goal(1024, None),
        mode=Mode(deflate=True),
        servers=DEFLATE_SERVERS,
    ),
)

TLS_SERVERS = (OURS, "lws-gevent-greenlet", REFERENCE)

TLS = (
    Row("tls-1", "TLS: 20 B, 64 connections, 1 in flight", _load("echo", 64, 1, 20, "--tls"), must=0.5),
    Row("tls-64", "TLS: 20 B, 64 connections, 64 in flight", _load("echo", 64, 64, 20, "--tls"), must=0.4),
    Row("tls-64k", "TLS: 64 KiB, 16 connections, 4 in flight", _load("echo", 16, 4, 65536, "--tls"), must=0.3),
    Row("tls-connect", "TLS: connect + handshakes + close", _load("connect", 64, 1, 20, "--tls")),
    Row("tls-idle", "TLS: idle connection, memory", _load("idle", 4_000, 1, 20, "--tls"), Quantity.MEMORY, must=0.4),
)
TABLE = (*TABLE, *(dataclasses.replace(row, servers=TLS_SERVERS) for row in TLS))

# Under WSGI servers. A connection in blocking style has the greenlet and the environ of its request.
GEVENT_WEBSOCKET = "gevent-websocket"


def _wsgi(
    name: str, title: str, load: tuple[str, ...], must: float, subject: str, *more: str, absolute: bool = False
) -> Row:
    return Row(
        name,
        title,
        load,
        Quantity.MEMORY if load[0] == "idle" else Quantity.CPU,
        must=must,
        servers=(subject, *more, GEVENT_WEBSOCKET),
        subject=subject,
        reference=None if absolute else GEVENT_WEBSOCKET,
    )


_BLOCKING, _CALLBACK, _COMPAT = "wsgi-blocking", "wsgi-callback", "wsgi-compat"
_IDLE = _load("idle", 4_000)

WSGI = (
    _wsgi("wsgi-idle-callback", "pywsgi, callback style: idle connection", _IDLE, 1024, _CALLBACK, absolute=True),
    _wsgi(
        "gunicorn-idle-callback",
        "gunicorn, callback style: idle connection",
        _IDLE,
        1024,
        "gunicorn-callback",
        absolute=True,
    ),
    _wsgi("wsgi-idle", "pywsgi, wsgi.websocket: idle connection", _IDLE, 0.5, _BLOCKING, _COMPAT, "gunicorn-blocking"),
    _wsgi("wsgi-echo-callback", "pywsgi, callback style: 20 B, 64 connections", _load("echo", 64), 0.4, _CALLBACK),
    _wsgi("wsgi-echo", "pywsgi, wsgi.websocket: 20 B, 64 connections", _load("echo", 64), 0.4, _BLOCKING, _COMPAT),
    _wsgi(
        "wsgi-connect-callback",
        "pywsgi, callback style: connect + upgrade + close",
        _load("connect", 64),
        0.5,
        _CALLBACK,
    ),
    _wsgi(
        "wsgi-connect",
        "pywsgi, wsgi.websocket: connect + upgrade + close",
        _load("connect", 64),
        0.5,
        _BLOCKING,
        _COMPAT,
        "gunicorn-blocking",
    ),
    Row(
        "socketio",
        "Socket.IO: an event of 20 B, 64 connections",
        _load("socketio", 64),
        must=1.0,
        servers=("socketio-lws-gevent", "socketio-gevent-websocket"),
        subject="socketio-lws-gevent",
        reference="socketio-gevent-websocket",
    ),
)

CURVE_SERVERS = (OURS, "lws-gevent-greenlet", REFERENCE, "picows", "socketify", "gevent-websocket", LIMIT)
CURVE_CONNECTIONS = (10, 1_000, 8_000, 15_000)
CURVES = tuple(
    row
    for count in CURVE_CONNECTIONS
    for row in (
        Row(
            f"cpu@{count}",
            f"20 B, {count:,} connections, 1 in flight",
            _load("echo", count),
            servers=CURVE_SERVERS,
            curve="cpu",
        ),
        Row(
            f"memory@{count}",
            f"{count:,} idle connections, memory of each",
            _load("idle", count),
            Quantity.MEMORY,
            servers=CURVE_SERVERS,
            curve="memory",
        ),
    )
)

BLOCKED = "blocked"  # the one case that is not an echo; blocked.py measures it

ROWS: dict[str, Row] = {row.name: row for row in (*TABLE, *WSGI, *CURVES)}
