"""Connections of a WebSocketServer on the engine of the core: which, and what an idle one costs more."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from helpers import SCRIPTS
from parity import opened, record, until

from lws_gevent.compat.ws import Sender
from lws_gevent.compat.ws.core_link import CoreLink
from lws_gevent.compat.ws.stream_link import StreamLink

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


@pytest.mark.parametrize("deflate", [False, True, {"serverNoContextTakeover": True, "threshold": 10}])
def test_connections_ride_on_the_engine_of_the_core(serve: Any, dial: Any, deflate: Any) -> None:
    wss = serve(perMessageDeflate=deflate)
    connection = until(wss, "connection")
    client = opened(dial(wss))
    websocket, _ = connection()
    assert isinstance(websocket._link, CoreLink)
    assert len(wss._core.server.connections) == 1
    for size in (5, 5000):
        octets, message = until(client._socket, "data"), until(client, "message")
        websocket.send("x" * size)
        assert message() == (b"x" * size, False)
        compressed = octets()[0] & 0x40 != 0
        assert compressed == (deflate is True or (deflate is not False and size == 5000))
        message = until(websocket, "message")
        client.send(b"y" * size)
        assert message() == (b"y" * size, True)


def test_what_is_no_deflate_data_is_an_error_of_zlib(serve: Any, dial: Any) -> None:
    wss = serve(perMessageDeflate=True)
    connection = until(wss, "connection")
    client = opened(dial(wss))
    websocket, _ = connection()
    events = record(websocket, "error", "close")
    closed = until(client, "close")
    options = {"fin": True, "rsv1": True, "opcode": 2, "mask": True}
    client._socket.write(b"".join(Sender.frame(b"\x22\xfa\xec\x78", options)))
    assert closed() == (1007, b"")
    assert (events[0][1].code, events[0][1].errno) == ("Z_DATA_ERROR", -3)
    assert events[1] == ("close", 1006, b"")


@pytest.mark.parametrize(
    "options",
    [
        {"skipUTF8Validation": True},
        {"allowSynchronousEvents": False},
        {"perMessageDeflate": {"zlibDeflateOptions": {"strategy": 2}}},
        {"perMessageDeflate": {"serverMaxWindowBits": 8}},
    ],
    ids=str,
)
def test_what_the_core_has_not_is_done_by_a_stream(serve: Any, dial: Any, options: Any) -> None:
    wss = serve(**options)
    connection = until(wss, "connection")
    client = opened(dial(wss))
    websocket, _ = connection()
    assert isinstance(websocket._link, StreamLink)
    message = until(client, "message")
    websocket.send("x" * 2000)
    assert message() == (b"x" * 2000, False)
