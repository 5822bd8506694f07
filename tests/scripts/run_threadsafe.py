"""run_threadsafe from another thread spawns the function in the server's hub, and wakes a sleeping hub."""

import sys
import threading

import gevent
from client import Client
from common import address, check, echo_server

server = echo_server(sys.argv[1])
client = Client.connect(address(server))
client.echo()
hub = gevent.get_hub()
seen = []


def in_the_hub(text, *more):
    seen.append((gevent.get_hub() is hub, isinstance(gevent.getcurrent(), gevent.Greenlet), threading.get_ident()))
    gevent.sleep(0)  # it may block
    for socket in server.connections:
        socket.send(text)


thread = threading.Thread(target=lambda: server.run_threadsafe(in_the_hub, "from a thread", 1))
thread.start()
check(client.recv_message() == "from a thread")
thread.join()
check(seen == [(True, True, threading.get_ident())], seen)
client.close_handshake()
server.stop()
