"""ws README, "Sending and receiving text data".

python examples/ported/sending_text.py URL
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocket

ws = WebSocket(sys.argv[1])

ws.on("error", print)


@ws.on("open")
def open():
    ws.send("something")


@ws.on("message")
def message(data):
    print(f"received: {data.decode()}", flush=True)


gevent.wait()
