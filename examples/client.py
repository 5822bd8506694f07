"""A client in blocking style: it says something and prints what comes back."""

import sys

import lws_gevent


def main(url: str) -> None:
    """Talk to an echo server."""
    with lws_gevent.connect(url) as socket:
        socket.send("hello")
        print(socket.recv(timeout=10))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:3000")
