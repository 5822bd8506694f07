"""Behind a proxy on this machine: who its clients are, and an access log on standard output.

A peer on the loopback is believed what it says in X-Forwarded-For; anybody else is who he is.

python examples/behind_a_proxy.py [PORT]
"""

import sys

import lws_gevent

server = lws_gevent.Server(
    host="127.0.0.1",
    port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000,
    trusted_proxies=["127.0.0.0/8", "::1"],
    access_log=lambda line: print(line, flush=True),
    ping_interval=25,  # proxies cut connections on which nothing passes for a minute
)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    address = socket.remote_address
    socket.send(f"You come from {address[0] if isinstance(address, tuple) else 'this machine'}")


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
