"""A client that connects again and again (layer 3)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import gevent

from lws_gevent.client import Client
from lws_gevent.client_options import ClientOptions
from lws_gevent.engines.interface import Socket
from lws_gevent.errors import HandshakeError
from lws_gevent.options import check_integer, check_seconds
from lws_gevent.url import parse_url

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["is_transient", "reconnecting"]

#: What a server answers that is overloaded, or behind a proxy that does not find it just now.
_TRANSIENT_STATUSES = frozenset({0, 408, 425, 429, 500, 502, 503, 504})


def is_transient(error: BaseException) -> bool:
    """Whether trying again later may help: nobody answers, the connection is lost in the handshake, the time is up, or
    the server, or a proxy, says 408, 425, 429, 500, 502, 503 or 504. A certificate that is not good stays so."""
    if isinstance(error, HandshakeError):
        return error.status in _TRANSIENT_STATUSES
    # ssl need not be imported to know its error by name.
    return isinstance(error, OSError) and type(error).__name__ != "SSLCertVerificationError"


def reconnecting(
    url: str,
    *,
    initial_delay: float = 1,
    max_delay: float = 60,
    max_attempts: int | None = None,
    retry: Callable[[Exception], bool] | None = None,
    on_retry: Callable[[Exception, float], object] | None = None,
    **options: Unpack[ClientOptions],
) -> Iterator[Socket]:
    """An iterator that yields an open connection to `url`, in blocking style, and a fresh one each time it is asked for
    the next, which closes the one before.

    Between attempts it waits a random time up to `initial_delay` seconds, doubled with every attempt up to `max_delay`;
    it begins anew after a connection that has lasted as long as that. An error of `connect` is raised when `retry` says
    False to it (without: when it will not pass by itself), or after `max_attempts` failures in a row; `on_retry` hears
    of the others, with the seconds until the next attempt. The options are those of :func:`~lws_gevent.connect`.

    >>> for socket in lws_gevent.reconnecting("ws://localhost:3000"):        # doctest: +SKIP
    ...     try:
    ...         for message in socket:
    ...             print(message)
    ...     except lws_gevent.ConnectionClosed:
    ...         pass
    """
    parse_url(url)
    check_seconds()("initial_delay", initial_delay)
    check_seconds()("max_delay", max_delay)
    check_integer(1, none=True)("max_attempts", max_attempts)
    client = Client(**options)
    return _connections(client, url, _Delays(initial_delay, max_delay), max_attempts, retry or is_transient, on_retry)


class _Delays:
    """Exponential back-off with full jitter: many clients that have lost one server do not come back all at once."""

    def __init__(self, initial: float, maximum: float) -> None:
        self._initial = min(initial, maximum)
        self._maximum = maximum
        self._ceiling = self._initial

    def after(self, lasted: float) -> None:
        """A connection has ended that has `lasted` so many seconds."""
        if lasted >= self._ceiling:
            self._ceiling = self._initial

    def next(self) -> float:
        """Seconds to wait now."""
        delay = random.uniform(0, self._ceiling)
        self._ceiling = min(self._ceiling * 2, self._maximum)
        return delay


def _connections(
    client: Client,
    url: str,
    delays: _Delays,
    max_attempts: int | None,
    retry: Callable[[Exception], bool],
    on_retry: Callable[[Exception, float], object] | None,
) -> Iterator[Socket]:
    failures = 0
    while True:
        try:
            socket = client.connect(url)
        except Exception as error:
            failures += 1
            if failures == max_attempts or not retry(error):
                raise
            delay = delays.next()
            if on_retry is not None:
                on_retry(error, delay)
        else:
            failures = 0
            opened_at = time.monotonic()
            yield socket
            socket.close()
            delays.after(time.monotonic() - opened_at)
            delay = delays.next()
        gevent.sleep(delay)
