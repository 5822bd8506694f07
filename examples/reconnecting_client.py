"""A client that stays with its server: when the connection is lost, it connects anew, after a while and not at once."""

import sys

import lws_gevent


def main(url: str, count: int) -> None:
    """Print so many messages, over as many connections as it takes."""
    for socket in lws_gevent.reconnecting(url, initial_delay=0.1, max_delay=5):
        try:
            socket.send("subscribe")
            for message in socket:
                print(message)
                count -= 1
                if not count:
                    return socket.close()
        except lws_gevent.ConnectionClosed as closed:
            print(f"lost: {closed.code}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:3000", 3)
