"""gevent.wait() returns once the server has stopped: nothing keeps the loop alive. And it can be used again
afterwards."""

import sys

import gevent
import gevent.socket
from client import Client
from common import address, check, echo_server

for _ in range(3):
    server = echo_server(sys.argv[1])
    client = Client.connect(address(server))
    client.echo()
    left = Client.connect(address(server))
    left.disconnect()
    gevent.spawn(server.stop)
    client.expect_close(1001)
    client.disconnect()
    check(gevent.wait(timeout=20) is True, "something keeps the loop alive")
