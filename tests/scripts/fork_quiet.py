"""A forked child holds copies of connections that the parent has closed: no event of theirs wakes the parent."""

import ctypes
import os
import signal
import sys

import gevent
from client import Client
from common import address, check, echo_server
from helpers import LoopTurns, turns

server = echo_server(sys.argv[1])
sockets = []
server.on("connection", sockets.append)
clients = [Client.connect(address(server)) for _ in range(4)]
for client in clients:
    client.echo()
child = ctypes.PyDLL(None).fork()  # not os.fork(): as a library forks, so that nobody in the child closes anything
if child == 0:
    while True:
        signal.pause()
try:
    server.terminate(sockets[0])
    server.close(sockets[1])
    clients[1].expect_close(1000)
    clients[2].close_handshake()
    clients[3].half_close()
    turns()
    check(not list(server.connections), list(server.connections))
    with LoopTurns() as loop:
        gevent.sleep(0.2)
    check(loop.count < 30, f"{loop.count} turns of the loop while nothing happens")
    server.stop(timeout=2)
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
