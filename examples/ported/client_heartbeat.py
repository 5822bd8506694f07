"""ws README, "How to detect and close broken connections?", on a client.

python examples/ported/client_heartbeat.py URL [SECONDS]
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocket

seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30

client = WebSocket(sys.argv[1])
ping_timeout = None


def heartbeat():
    global ping_timeout
    clear()
    # terminate(), which ends the connection at once, and not close(), which waits for the close timer.
    # The delay is the interval at which your server sends pings, and a conservative assumption of the latency.
    ping_timeout = gevent.spawn_later(seconds + 1, client.terminate)


def clear():
    if ping_timeout is not None:
        ping_timeout.kill(block=False)


client.on("error", print)
client.on("open", heartbeat)
client.on("ping", heartbeat)
client.on("close", lambda code: (clear(), print(f"closed {code}", flush=True)))

gevent.wait()
