"""Topics: connections subscribe to what they want to hear of, and get what others publish there.

The URL path names the room that a connection enters. What it sends goes to the others in the room; "/join NAME" and
"/leave NAME" make it a member of further ones.

python examples/topics.py [PORT]
"""

import sys

import lws_gevent

server = lws_gevent.Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    room = socket.path.strip("/") or "lobby"
    socket.subscribe(room)
    socket.publish(room, f"somebody entered {room}")
    socket.send(f"{len(server.subscribers(room))} in {room}")


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    if isinstance(message, str) and message.startswith("/"):
        verb, _, room = message.partition(" ")
        if verb == "/join":
            socket.subscribe(room)
        elif verb == "/leave":
            socket.unsubscribe(room)
        socket.send("now in " + ", ".join(server.topics(socket)))
    else:
        for room in server.topics(socket):
            socket.publish(room, message, binary)


@server.on("close")
def close(socket: lws_gevent.Socket) -> None:
    for room in server.topics(socket):
        socket.publish(room, f"somebody left {room}")


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
