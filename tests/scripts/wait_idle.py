"""When the server has stopped, no watcher, no timer and no greenlet of the engine is left that keeps gevent.wait() from
returning at once: also with deadlines, and with handlers that were idle in their pool."""

import gc
import json
import sys
import time

import gevent
from client import Client
from common import address, check, echo_server

for _ in range(2):
    server = echo_server(sys.argv[1], **json.loads(sys.argv[2]))
    clients = [Client.connect(address(server)) for _ in range(3)]
    for client in clients:
        client.echo()
        client.send(b"x" * 300_000)  # large enough for its memory to be kept for the next one
        check(client.recv_message() == b"x" * 300_000)
    clients[0].disconnect()
    clients[1].close_handshake()
    gevent.spawn(server.stop)
    clients[2].expect_close(1001)
    clients[2].disconnect()
    begin = time.monotonic()
    check(gevent.wait(timeout=20) is True, "something keeps the loop alive")
    check(time.monotonic() - begin < 10, "something kept the loop alive")
    gc.collect()
    left = [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet) and not thing.dead]
    check(not left, left)
