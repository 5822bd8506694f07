"""What an idle connection of a WebSocketServer costs more than one of the core."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers import SCRIPTS
from parity import opened, until

from lws_gevent.compat.ws.core_link import CoreLink

#: Octets.
BOUND = 1536


def memory(kind: str) -> float:
    script = SCRIPTS / "ws_memory.py"
    output = subprocess.run([sys.executable, str(script), kind], check=True, capture_output=True, timeout=120).stdout
    return float(output)


@pytest.mark.skipif(sys.platform != "linux", reason="private memory is read from /proc")
@pytest.mark.skipif(os.environ.get("LWS_GEVENT_TEST_MEMORY") == "0", reason="the allocator is not the system's")
def test_an_idle_connection_costs_little_more_than_one_of_the_core() -> None:
    assert memory("compat") - memory("core") <= BOUND


def test_plain_connections_ride_on_the_engine_of_the_core(serve, dial) -> None:  # type: ignore[no-untyped-def]
    wss = serve()
    connection = until(wss, "connection")
    opened(dial(wss))
    websocket, _ = connection()
    assert isinstance(websocket._link, CoreLink)
    assert len(wss._core.server.connections) == 1
