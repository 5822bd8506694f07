"""``lws-gevent bench``: load on an echo server, by clients in callback style (layer 4).

Throughput and latency are those that clients see. What a server costs is measured beside it, in its own process (see
`make bench`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool

import lws_gevent
from lws_gevent.cli_client import CommandError, add_client_arguments, client_options, number, seconds

__all__ = ["Histogram", "add_arguments", "run"]

_CONNECTING_AT_ONCE = 100
_TICK = 0.001  # seconds, between the messages of --rate
_PERCENTILES = (50, 90, 95, 99, 99.9)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    add_client_arguments(parser)
    parser.add_argument("--connections", type=number, default=50, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--in-flight", type=number, default=1, metavar="N", help="messages on the way, each connection (default: 1)"
    )
    parser.add_argument("--size", type=int, default=20, metavar="N", help="octets of a message (default: %(default)s)")
    parser.add_argument("--duration", type=seconds, default=10, metavar="SECONDS", help="(default: %(default)g)")
    parser.add_argument("--warm-up", type=seconds, default=1, metavar="SECONDS", help="not counted (default: 1)")
    parser.add_argument(
        "--rate", type=seconds, metavar="N", help="messages a second in all, whatever comes back (default: --in-flight)"
    )
    parser.add_argument("--text", action="store_true", help="text messages (default: binary)")
    parser.add_argument("--json", metavar="FILE", help="the results as JSON; -: on standard output")
    parser.add_argument("--plot", metavar="FILE", help="a histogram of the latencies, .png or .svg (needs matplotlib)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


class Histogram:
    """Counts of latencies in buckets that are 2 % wide, however many there are."""

    _WIDTH = math.log(1.02)
    _FLOOR = 1e-7

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0

    def add(self, seconds: float) -> None:
        """One latency."""
        bucket = int(math.log(max(seconds, self._FLOOR) / self._FLOOR) / self._WIDTH)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.maximum:
            self.maximum = seconds

    def buckets(self) -> list[tuple[float, int]]:
        """The middle of each bucket, in seconds, and its count."""
        middle = self._FLOOR * math.exp(self._WIDTH / 2)
        return [(middle * math.exp(bucket * self._WIDTH), count) for bucket, count in sorted(self.counts.items())]

    def percentile(self, percent: float) -> float:
        """The latency, in seconds, that so many of all do not exceed."""
        wanted = self.count * percent / 100
        seen = 0
        for value, count in self.buckets():
            seen += count
            if seen >= wanted:
                return min(value, self.maximum)
        return 0.0


class _Load:
    """Messages on every connection; what comes back is counted while `counting`."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.message: str | bytes = "x" * arguments.size if arguments.text else b"x" * arguments.size
        self.histogram = Histogram()
        self.counting = False
        self.stopped = False
        self.received = self.errors = self.lost = 0
        try:
            self.client = lws_gevent.Client(max_payload=None, **client_options(arguments))
        except (TypeError, ValueError, ImportError) as error:
            raise CommandError(str(error)) from error
        self.client.on("message", self._closed_loop if arguments.rate is None else self._open_loop)
        self.client.on("close", self._close)
        self.client.on("error", self._error)
        self.sockets: list[lws_gevent.Socket] = []
        self.problem: Exception | None = None

    def connect(self) -> float:
        """All connections; seconds that it took."""
        begun = time.monotonic()
        pool = Pool(_CONNECTING_AT_ONCE)
        for _ in range(self.arguments.connections):
            if self.problem is None:
                pool.spawn(self._connect_one)
        pool.join()
        if self.problem is not None:
            self.client.stop(1)
            raise CommandError(f"cannot connect: {self.problem}")
        return time.monotonic() - begun

    def _connect_one(self) -> None:
        try:
            self.sockets.append(self.client.connect(self.arguments.url, data=deque()))
        except (OSError, ValueError, lws_gevent.LwsError) as error:
            self.problem = self.problem or error

    # --- messages -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Sends the first messages; the others follow by themselves."""
        if self.arguments.rate is not None:
            gevent.spawn(self._send_at_rate, self.arguments.rate)
            return
        for socket in self.sockets:
            for _ in range(self.arguments.in_flight):
                self._send(socket, time.perf_counter())

    def _send(self, socket: lws_gevent.Socket, now: float) -> None:
        socket.data.append(now)
        self.client.send(socket, self.message)

    def _send_at_rate(self, rate: float) -> None:
        """Each message has its time, and its latency counts from there, however late it is sent."""
        begun = time.perf_counter()
        sent = 0
        while not self.stopped:
            due = int((time.perf_counter() - begun) * rate)
            while sent < due and not self.stopped:
                socket = self.sockets[sent % len(self.sockets)]
                if not socket.closed:
                    self._send(socket, begun + sent / rate)
                sent += 1
            gevent.sleep(_TICK)

    def _count(self, socket: lws_gevent.Socket) -> float:
        now = time.perf_counter()
        sent = socket.data.popleft()
        if self.counting:
            self.received += 1
            self.histogram.add(now - sent)
        return now

    def _closed_loop(self, socket: lws_gevent.Socket) -> None:
        now = self._count(socket)
        if not self.stopped:
            self._send(socket, now)

    def _open_loop(self, socket: lws_gevent.Socket) -> None:
        self._count(socket)

    def _close(self) -> None:
        if not self.stopped:
            self.lost += 1

    def _error(self, error: Exception) -> None:
        self.errors += 1

    def stop(self) -> None:
        """Closes everything."""
        self.counting = False
        self.stopped = True
        self.client.stop(5)


def run(arguments: argparse.Namespace) -> int:
    """The measurement; the exit status: 1 when a connection was lost."""
    if arguments.size < 0:
        raise CommandError("--size must not be negative")
    plot = _plotter(arguments.plot) if arguments.plot else None
    load = _Load(arguments)
    connecting = load.connect()
    load.start()
    gevent.sleep(arguments.warm_up)
    begun, cpu = time.monotonic(), time.process_time()
    load.counting = True
    _watch(load, arguments.duration, quiet=arguments.quiet or not sys.stderr.isatty())
    results = _results(load, time.monotonic() - begun, time.process_time() - cpu, connecting)
    load.stop()
    if arguments.json == "-":
        print(json.dumps(results, indent=2))
    else:
        _print(results)
        if arguments.json:
            _write(arguments.json, json.dumps(results, indent=2) + "\n")
    if plot is not None:
        plot(load.histogram, results)
    return 1 if load.lost or load.errors else 0


def _results(load: _Load, elapsed: float, cpu: float, connecting: float) -> dict[str, Any]:
    arguments, histogram = load.arguments, load.histogram
    latency = {"mean": histogram.total / max(histogram.count, 1), "max": histogram.maximum}
    latency.update({f"p{percent:g}": histogram.percentile(percent) for percent in _PERCENTILES})
    return {
        "url": arguments.url,
        "engine": load.client.engine_name,
        "connections": arguments.connections,
        "in_flight": None if arguments.rate is not None else arguments.in_flight,
        "rate": arguments.rate,
        "size": arguments.size,
        "compression": bool(load.sockets and load.sockets[0].extensions),
        "connect_seconds": connecting,
        "seconds": elapsed,
        "messages": load.received,
        "messages_per_second": load.received / elapsed,
        "octets_per_second": load.received * arguments.size / elapsed,
        "client_cpu_seconds": cpu,
        "lost_connections": load.lost,
        "errors": load.errors,
        "latency_seconds": latency,
        "histogram": histogram.buckets(),
    }


def _print(results: dict[str, Any]) -> None:
    connections, latency = results["connections"], results["latency_seconds"]
    print(f"{connections} connections in {results['connect_seconds']:.2f} s, engine {results['engine']}")
    print(f"{results['messages']:,} messages of {results['size']} octets in {results['seconds']:.1f} s")
    rate, octets = results["messages_per_second"], results["octets_per_second"]
    print(f"{rate:,.0f} messages/s, {octets / 1e6:,.1f} MB/s each way")
    print("latency: " + ", ".join(f"{name} {_duration(value)}" for name, value in latency.items()))
    if results["lost_connections"] or results["errors"]:
        print(f"{results['lost_connections']} connections lost, {results['errors']} errors")


def _duration(value: float) -> str:
    return f"{value * 1e6:.0f} us" if value < 1e-3 else f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


# --- progress ---------------------------------------------------------------------------------------------------------


def _watch(load: _Load, duration: float, quiet: bool) -> None:
    """Waits for the end, with a progress bar: rich's, where that is installed."""
    end = time.monotonic() + duration
    if quiet:
        while time.monotonic() < end and load.lost < load.arguments.connections:
            gevent.sleep(min(0.1, max(0, end - time.monotonic())))
        return
    with _progress_bar(duration) as update:
        while time.monotonic() < end and load.lost < load.arguments.connections:
            gevent.sleep(min(0.1, max(0, end - time.monotonic())))
            elapsed = duration - max(0, end - time.monotonic())
            update(elapsed, f"{load.received / max(elapsed, 0.001):,.0f} messages/s")


class _PlainBar:
    """A line that is written over and over."""

    def __init__(self, duration: float) -> None:
        self._duration = duration

    def __enter__(self) -> Callable[[float, str], None]:
        return self._update

    def __exit__(self, *_: object) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _update(self, elapsed: float, text: str) -> None:
        done = int(40 * min(1, elapsed / self._duration))
        print(f"\r[{'#' * done}{' ' * (40 - done)}] {text}\x1b[K", end="", file=sys.stderr, flush=True)


class _RichBar:
    def __init__(self, duration: float, progress: Any) -> None:
        self._progress = progress
        self._task = progress.add_task("measuring", total=duration)

    def __enter__(self) -> Callable[[float, str], None]:
        self._progress.__enter__()
        return self._update

    def __exit__(self, *arguments: Any) -> None:
        self._progress.__exit__(*arguments)

    def _update(self, elapsed: float, text: str) -> None:
        self._progress.update(self._task, completed=elapsed, description=text)


def _progress_bar(duration: float) -> Any:
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        return _PlainBar(duration)
    # Without a thread of its own for refreshing: this one does it.
    return _RichBar(duration, Progress(console=Console(stderr=True), auto_refresh=False, transient=True))


# --- files ------------------------------------------------------------------------------------------------------------


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error


def _plotter(path: str) -> Callable[[Histogram, dict[str, Any]], None]:
    """Looked for before anything is measured."""
    if Path(path).suffix not in (".png", ".svg"):
        raise CommandError("--plot needs a file that ends in .png or .svg")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CommandError("--plot needs matplotlib, which is not installed") from None

    def plot(histogram: Histogram, results: dict[str, Any]) -> None:
        figure = Figure(figsize=(8, 4))
        axes = figure.subplots()
        values = histogram.buckets()
        axes.bar(
            [value * 1e3 for value, _ in values],
            [count for _, count in values],
            width=[value * 1e3 * 0.02 for value, _ in values],
        )
        for percent in (50, 99):
            at = histogram.percentile(percent) * 1e3
            axes.axvline(at, color="black", linewidth=0.8)
            axes.text(at, axes.get_ylim()[1], f" p{percent}", verticalalignment="top")
        axes.set_xscale("log")
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("messages")
        axes.set_title(
            f"{results['connections']} connections, {results['size']} octets, "
            f"{results['messages_per_second']:,.0f} messages/s"
        )
        figure.tight_layout()
        try:
            figure.savefig(path)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from error

    return plot
