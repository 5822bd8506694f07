"""A thousand connections of one program, by callbacks and without a greenlet each."""

import sys

from gevent.event import Event
from gevent.pool import Pool

import lws_gevent

COUNT = 1000


def main(url: str) -> None:
    """Each connection says its number and counts the answer."""
    client = lws_gevent.Client()
    answers: set[int] = set()
    everything = Event()

    @client.on("connection")
    def connection(socket: lws_gevent.Socket) -> None:
        client.send(socket, str(socket.data))

    @client.on("message")
    def message(socket: lws_gevent.Socket, message: str) -> None:
        answers.add(int(message))
        if len(answers) == COUNT:
            everything.set()

    pool = Pool(50)  # so many handshakes at a time
    for number in range(COUNT):
        pool.spawn(client.connect, url, data=number)
    pool.join(raise_error=True)
    everything.wait(30)
    print(f"{len(answers)} answers on {len(client.connections)} connections")
    client.stop()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:3000")
