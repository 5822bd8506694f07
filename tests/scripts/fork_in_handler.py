"""A handler forks when it has been blocked and more messages wait: the child goes on with it, and everything that was
the connection is the parent's alone."""

import os
import sys

import gevent
import gevent.os
from client import TEXT, Client, encode
from common import address, check, echo_server

server = echo_server(sys.argv[1])
pids = []


@server.on("message")
def fork(socket, message):
    if message != "fork":
        return
    gevent.sleep(0.01)  # what has come behind this message is put aside
    pid = gevent.fork()
    pids.append(pid)
    if pid == 0:
        gevent.spawn_later(0.2, os._exit, 0 if socket.closed or sys.argv[1] != "parked" else 1)


client = Client.connect(address(server))
client.send_raw(b"".join(encode(TEXT, text) for text in ("first", "fork", "second", "x" * 1000, "third")))
while not pids:
    gevent.sleep(0.001)
if pids == [0]:
    gevent.sleep(20)  # the child ends before, as the handler has said
    os._exit(2)
for expected in ("first", "fork", "second", "x" * 1000, "third"):
    check(client.recv_message() == expected)
while True:
    done, status = gevent.os.waitpid(pids[0], os.WNOHANG)
    if done:
        break
    gevent.sleep(0.01)
check(status == 0, status)
client.echo("still the parent's")
client.close_handshake()
server.stop()
