"""The first use of the library in a forked child closes the child's copies of connections, without shutting them
down."""

import os
import sys

import gevent
import gevent.os
from client import Client
from common import address, check, echo_server


def sockets_open():
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return {what for what in found if what.startswith("socket:")}


server = echo_server(sys.argv[1])
sockets = []
server.on("connection", sockets.append)
before = sockets_open()
clients = [Client.connect(address(server)) for _ in range(5)]
for client in clients:
    client.echo()
inherited = {os.readlink(f"/proc/self/fd/{socket.fd}") for socket in sockets}
check(len(inherited) == 5)

pid = gevent.fork()
if pid == 0:
    status = 1
    try:
        own = echo_server(sys.argv[1])
        with Client.connect(address(own)) as mine:
            mine.echo("in the child")
            check(not inherited & sockets_open(), "the child keeps copies", inherited & sockets_open())
            check(len(list(own.connections)) == 1)
            mine.close_handshake()
        own.stop()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

while True:
    done, status = gevent.os.waitpid(pid, os.WNOHANG)
    if done:
        break
    gevent.sleep(0.001)
check(os.waitstatus_to_exitcode(status) == 0)
for client in clients:
    client.echo("the connections live")
    client.close_handshake()
server.stop()
