"""Fork after use: the child serves on its own, the parent's connections live on and are the parent's alone."""

import os
import sys

import gevent
import gevent.event
import gevent.os
from client import Client
from common import address, check, echo_server

engine, when = sys.argv[1:]
server = echo_server(engine)
release = gevent.event.Event()
inside = []


@server.on("message")
def block(socket, message):
    if message == "block":
        inside.append(socket)
        release.wait()


client = Client.connect(address(server))
client.echo("before the fork")
if when == "idle":
    client.close_handshake()
elif when == "blocked":
    client.send("block")
    check(client.recv_message() == "block")
    while not inside:
        gevent.sleep(0)

pid = gevent.fork()
if pid == 0:
    status = 1
    try:
        own = echo_server(engine)
        mine = Client.connect(address(own))
        for number in range(20):
            mine.echo(f"in the child {number}")
        mine.close_handshake()
        own.stop()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

if when == "idle":
    client = Client.connect(address(server))
release.set()
for number in range(50):
    client.echo(f"in the parent {number}")
while True:
    done, status = gevent.os.waitpid(pid, os.WNOHANG)
    if done:
        break
    client.echo("while the child runs")
    gevent.sleep(0.001)
check(os.waitstatus_to_exitcode(status) == 0, status)
client.echo("after the child")
client.close_handshake()
server.stop()
