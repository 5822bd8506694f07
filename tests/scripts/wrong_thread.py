"""Using a socket from a foreign thread raises an error that names run_threadsafe, and harms nothing."""

import sys
import threading

from client import Client
from common import address, check, echo_server

server = echo_server(sys.argv[1])
sockets = []
server.on("connection", sockets.append)
client = Client.connect(address(server))
client.echo()
messages = []


def foreign():
    for operation in (
        lambda: server.send(sockets[0], "wrong"),
        lambda: sockets[0].send("wrong"),
        lambda: server.close(sockets[0]),
        lambda: server.terminate(sockets[0]),
        lambda: server.ping(sockets[0]),
        lambda: server.broadcast("wrong"),
    ):
        try:
            operation()
        except Exception as error:
            messages.append(str(error))
        else:
            messages.append("nothing raised")


thread = threading.Thread(target=foreign)
thread.start()
thread.join()
check(all("run_threadsafe" in message for message in messages), messages)
client.echo("unharmed")
client.close_handshake()
server.stop()
