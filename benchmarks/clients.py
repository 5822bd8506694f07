"""What an echoed message costs a client: ``python -m benchmarks.clients``.

A server of ours in one process, a client in another: CPU time (user + system) of the client's process per message of 20
octets, one in flight on one connection. Clients take turns; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

WARM_UP = 500
MESSAGE = b"x" * 20


def blocking(url: str, count: int) -> float:
    """`lws_gevent.connect`, `send` and `recv`."""
    import lws_gevent

    socket = lws_gevent.connect(url)

    def echo(times: int) -> None:
        for _ in range(times):
            socket.send(MESSAGE)
            socket.recv()

    return _measured(echo, count)


def callbacks(url: str, count: int) -> float:
    """`lws_gevent.Client` and its ``message`` event."""
    from gevent.event import Event

    import lws_gevent

    client = lws_gevent.Client()
    left = 0
    done = Event()

    @client.on("message")
    def message(socket: lws_gevent.Socket) -> None:
        nonlocal left
        left -= 1
        if left:
            client.send(socket, MESSAGE)
        else:
            done.set()

    socket = client.connect(url)

    def echo(times: int) -> None:
        nonlocal left
        left = times
        done.clear()
        client.send(socket, MESSAGE)
        done.wait()

    return _measured(echo, count)


def websocket_client(url: str, count: int) -> float:
    """websocket-client's `create_connection`."""
    import websocket

    socket = websocket.create_connection(url)

    def echo(times: int) -> None:
        for _ in range(times):
            socket.send_binary(MESSAGE)
            socket.recv()

    return _measured(echo, count)


def picows(url: str, count: int) -> float:
    """picows' client, on uvloop where that is installed."""
    import asyncio

    import picows

    began = 0.0

    class Listener(picows.WSListener):  # type: ignore[misc]
        left = WARM_UP + count

        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            transport.send(picows.WSMsgType.BINARY, MESSAGE)

        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            nonlocal began
            self.left -= 1
            if self.left == count:
                began = time.process_time()
            if self.left:
                transport.send(picows.WSMsgType.BINARY, MESSAGE)
            else:
                transport.disconnect()

    async def main() -> float:
        transport, _ = await picows.ws_connect(Listener, url)
        await transport.wait_disconnected()
        return time.process_time() - began

    try:
        import uvloop
    except ImportError:
        return asyncio.run(main())
    return float(uvloop.run(main()))


def _measured(echo: Callable[[int], None], count: int) -> float:
    echo(WARM_UP)
    began = time.process_time()
    echo(count)
    return time.process_time() - began


CLIENTS: dict[str, Callable[[str, int], float]] = {
    "lws_gevent, callbacks": callbacks,
    "lws_gevent, blocking": blocking,
    "picows": picows,
    "websocket-client": websocket_client,
}


def main() -> int:
    """Measure, print the table; or, for a process of its own, measure one client."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        name, url = arguments.one
        print(json.dumps(CLIENTS[name](url, arguments.messages) / arguments.messages * 1e6))
        return 0
    figures: dict[str, list[float]] = {name: [] for name in CLIENTS}
    command = [sys.executable, "-m", "lws_gevent", "echo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().removeprefix("listening on ").strip() + "/"
            one = [sys.executable, "-m", "benchmarks.clients", "--messages", str(arguments.messages), "--one"]
            for _ in range(arguments.rounds):
                for name, values in figures.items():
                    done = subprocess.run([*one, name, url], check=True, capture_output=True, text=True, timeout=300)
                    values.append(json.loads(done.stdout))
        finally:
            server.terminate()
    print("| client | CPU us/message |\n|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {statistics.median(values):.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
