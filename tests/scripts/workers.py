"""A server with workers whose handlers do what they are told. The argument is JSON: `options` of the server, `listener`
("address", "socket" or a unix path), and the switches below. Prints the address, and "returned" at its end."""

import errno
import json
import logging
import os
import signal
import sys

told = json.loads(sys.argv[1])
if told.get("patched"):
    from gevent import monkey

    monkey.patch_all()

import socket  # noqa: E402

import gevent  # noqa: E402
import gevent.os  # noqa: E402

import lws_gevent  # noqa: E402
import lws_gevent.workers  # noqa: E402

logging.basicConfig(level=logging.WARNING, format="%(message)s")
lws_gevent.workers._GRACE_SECONDS = told.get("grace", 5)
listener = told.get("listener", "address")
if listener == "address":
    listener = ("127.0.0.1", 0)
elif listener == "socket":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
server = lws_gevent.Server(listener, **told["options"])
parent = os.getpid()


@server.on("message")
def message(socket, message):
    verb, _, argument = message.partition(" ")
    if verb == "process":
        socket.send(f"{os.getpid()} {os.getppid() == parent} {json.dumps(server.stats())}")
    elif verb == "exit":
        os._exit(int(argument))
    elif verb == "broadcast":
        socket.subscribe("topic")
        socket.send(f"{server.broadcast('to all')} {server.publish('topic', 'to subscribers')}")
    elif verb == "stop":
        server.stop()
    elif verb == "hang":
        print("hanging", flush=True)
        while True:
            pass
    else:
        socket.send(message)


if "dies_while" in told:  # as long as this file exists, a worker dies as soon as it is made

    def die():
        if os.path.exists(told["dies_while"]):
            os._exit(3)

    os.register_at_fork(after_in_child=die)

if told.get("ignores_children"):  # as a program may have inherited it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)

if "no_fork_while" in told:  # as long as this file exists, there can be no more processes
    fork_gevent = gevent.os.fork_gevent

    def fork():
        if os.path.exists(told["no_fork_while"]):
            raise BlockingIOError(errno.EAGAIN, "no more processes")
        return fork_gevent()

    gevent.os.fork_gevent = fork

server.init_socket()
print(json.dumps(server.address), flush=True)
try:
    server.serve_forever(told.get("stop_timeout"))
    assert gevent.getcurrent().parent is None
finally:
    print("returned", flush=True)
