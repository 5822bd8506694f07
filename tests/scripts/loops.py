"""Serve on the loop that GEVENT_LOOP names."""

import sys

import gevent
import gevent.event
from client import Client, PeerClosed
from common import address, check, echo_server

engine, loop = sys.argv[1:]
module = type(gevent.get_hub().loop).__module__
check(not loop or loop.split("-")[0] in module, module)
server = echo_server(engine, close_timeout=1, handshake_timeout=0.3, max_backpressure=100000)
server.on("error", lambda error, socket: None)
release = gevent.event.Event()
inside = []


@server.on("message")
def special(socket, message):
    if message == "block":
        inside.append(socket)
        release.wait()
        socket.send("released")
    elif message == "raise":
        raise RuntimeError("raised")
    elif message == "flood":
        for _ in range(100):
            socket.send(b"x" * 50000)


clients = [Client.connect(address(server)) for _ in range(20)]
for client in clients:
    client.echo("hello")
    client.echo(b"x" * 100000)
clients[0].send("block")
check(clients[0].recv_message() == "block")
clients[0].ping(b"while blocked")
check(clients[0].recv_pong() == b"while blocked")
clients[1].send("raise")
check(clients[1].recv_message() == "raise")
try:
    clients[1].recv_message()
except PeerClosed as closed:
    check(closed.code == 1011)
clients[2].send("flood")
check(clients[2].recv_message() == "flood")
check(all(clients[2].recv_message() == b"x" * 50000 for _ in range(100)))
clients[3].send_frame(3, b"bad opcode")
check(clients[3].recv_close()[0] == 1002)
clients[4].reset()
silent = Client.open(address(server))
check(silent.drain_to_eof() is not None)
release.set()
check(clients[0].recv_message() == "released")
check(clients[5].close_handshake() == (1000, ""))
stopping = gevent.spawn(server.stop)
for client in clients[6:]:
    check(client.recv_close()[0] == 1001)
    client.send_close(1001)
for client in (clients[0], clients[2]):
    check(client.recv_close()[0] == 1001)
    client.send_close(1001)
stopping.get()
for client in clients:
    client.disconnect()
check(gevent.wait(timeout=20) is True)
