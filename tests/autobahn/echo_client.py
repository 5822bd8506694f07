"""Runs the cases of the suite's fuzzing server as a client: ``python -m tests.autobahn.echo_client URL ENGINE``.

It uses public names only, as any program would: what is judged is what users get.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from gevent.event import Event

import lws_gevent

AGENT = "lws_gevent"

#: The largest message of the suite; one case has 65,536 fragments. Some cases of section 12 and 13 take a minute.
OPTIONS: dict[str, Any] = {"max_payload": 16 * 1024 * 1024, "timeout": 60, "ping_interval": None, "close_timeout": 10}


def run_cases(url: str, engine: str) -> int:
    """Echoes whatever each case sends; how many cases there were."""
    client = lws_gevent.Client(engine=engine, per_message_deflate=True, **OPTIONS)
    closed = Event()
    client.on("message", lambda socket, message, binary: client.send(socket, message, binary))
    client.on("close", lambda socket: closed.set())
    client.on("error", lambda error: None)  # what the suite does to us on purpose
    with lws_gevent.connect(f"{url}/getCaseCount", engine=engine, **OPTIONS) as socket:
        count = int(socket.recv(60))
    for case in range(1, count + 1):
        closed.clear()
        client.connect(f"{url}/runCase?case={case}&agent={AGENT}")
        closed.wait()
    return count


def update_reports(url: str, engine: str) -> None:
    """Has the suite write its report, after which it closes the connection."""
    socket = lws_gevent.connect(f"{url}/updateReports?agent={AGENT}", engine=engine, **OPTIONS)
    with contextlib.suppress(lws_gevent.ConnectionClosed):
        socket.recv()


def main() -> int:
    url, engine = sys.argv[1:]
    print(f"{run_cases(url.rstrip('/'), engine)} cases")
    update_reports(url.rstrip("/"), engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
