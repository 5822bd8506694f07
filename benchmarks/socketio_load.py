"""Load for a Socket.IO server, as the C load generator's `echo`, with the same arguments and the same report.

Each connection sends an event ``message`` and the next one when it is echoed. Socket.IO costs its server so much that a
client in Python keeps up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import gevent
from gevent.event import Event

import lws_gevent


class Load:
    """The connections, and what they have measured."""

    def __init__(self, connections: int, size: int) -> None:
        self._connections = connections
        self._event = "42" + json.dumps(["message", "x" * size], separators=(",", ":"))
        self._sent: dict[Any, float] = {}
        self._joined, self._quiet = Event(), Event()
        self._running = False
        self.sockets: list[Any] = []
        self.latencies: list[float] = []
        self.client = lws_gevent.Client(ping_interval=None)
        self.client.on("message", self._received)

    def open(self, port: int) -> None:
        """Connects, and joins the namespace on each connection."""
        for _ in range(self._connections):
            self.client.connect(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket")
        if not self._joined.wait(60):
            raise SystemExit("not all connections have joined")

    def run(self, seconds: float) -> float:
        """Echoes for so long, until the last answer is there; how long that was."""
        self.latencies.clear()
        self._quiet.clear()
        self._running = True
        begin = time.perf_counter()
        for socket in self.sockets:
            self._send(socket)
        gevent.sleep(seconds)
        self._running = False
        if not self._quiet.wait(60):
            raise SystemExit("not all messages came back")
        return time.perf_counter() - begin

    def _send(self, socket: Any) -> None:
        self._sent[socket] = time.perf_counter()
        socket.send(self._event)

    def _received(self, socket: Any, message: Any, binary: bool) -> None:
        if message == self._event:
            self.latencies.append(time.perf_counter() - self._sent.pop(socket))
            if self._running:
                self._send(socket)
            elif not self._sent:
                self._quiet.set()
        elif message == "2":
            socket.send("3")  # Engine.IO's own ping
        elif message.startswith("0{"):
            socket.send("40")
        elif message.startswith("40{"):
            self.sockets.append(socket)
            if len(self.sockets) == self._connections:
                self._joined.set()
        else:
            raise SystemExit(f"a message that nobody has sent: {message!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind, default in (
        ("port", int, 0),
        ("connections", int, 64),
        ("in-flight", int, 1),
        ("size", int, 20),
        ("seconds", float, 1.0),
        ("warm-up", float, 0.5),
        ("core", int, None),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--wait", action="store_true", help="as the C load generator: between warm-up and measurement")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    load = Load(arguments.connections, arguments.size)
    load.open(arguments.port)
    load.run(arguments.warm_up)
    if arguments.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    seconds = load.run(arguments.seconds)
    latencies = sorted(load.latencies)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    report = {
        "mode": "socketio",
        "connections": arguments.connections,
        "in_flight": 1,
        "size": arguments.size,
        "opcode": "text",
        "seconds": seconds,
        "operations": len(latencies),
        "throughput": len(latencies) / seconds,
        "latency_us": {
            name: 1e6 * latencies[min(int(rank * len(latencies)), len(latencies) - 1)] for name, rank in ranks.items()
        },
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
