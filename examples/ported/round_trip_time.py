"""ws README, "Round-trip time".

python examples/ported/round_trip_time.py URL
"""

import sys
import time

import gevent

from lws_gevent.compat.ws import WebSocket

ws = WebSocket(sys.argv[1])

ws.on("error", print)


@ws.on("open")
def open():
    print("connected", flush=True)
    ws.send(time.time())


@ws.on("close")
def close():
    print("disconnected", flush=True)


@ws.on("message")
def message(data):
    print(f"Round-trip time: {(time.time() - float(data)) * 1000:.3f} ms", flush=True)

    gevent.spawn_later(0.5, lambda: ws.send(time.time()))


gevent.wait()
