"""An echo server over TLS that greets by name whoever shows a certificate.

python examples/secure.py CERT KEY [CA [PORT]]: the server's certificate and its private key, and the authority whose
certificates clients may show, as files in PEM format. See docs/howto/tls.md for certificates to try it with.
"""

import ssl
import sys

import lws_gevent

if len(sys.argv) < 3:
    sys.exit(__doc__)
cert, key, *more = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=more[0] if more else None)
context.load_cert_chain(cert, key)
context.verify_mode = ssl.CERT_OPTIONAL if more else ssl.CERT_NONE
server = lws_gevent.Server(host="127.0.0.1", port=int(more[1]) if len(more) > 1 else 3443, ssl=context)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    certificate = socket.ssl_object.getpeercert() or {}
    names = [name for kind, name in certificate.get("subjectAltName", ())]
    socket.send(f"hello {names[0] if names else 'stranger'}, over {socket.ssl_object.version()}")


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    socket.send(message, binary)


if __name__ == "__main__":
    server.start()
    print(f"listening on wss://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
