"""A server with TLS, and monkey.patch_all() at different times."""

import sys

engine, when, kind, cert, key, ca = sys.argv[1:]
if when == "before":
    import gevent.monkey

    gevent.monkey.patch_all()
import lws_gevent  # noqa: E402

assert "ssl" not in sys.modules or when == "before"
if when == "between":
    import gevent.monkey

    gevent.monkey.patch_all()
options: object = {"cert": cert, "key": key, "ca": ca, "reject_unauthorized": False}
if kind != "dict":
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if kind == "sni":
        names = []
        context.sni_callback = lambda ssl_object, name, context: names.append(name)
    options = context
server = lws_gevent.Server(host="127.0.0.1", port=0, engine=engine, ssl=options)
if when == "after":
    import gevent.monkey

    gevent.monkey.patch_all()

from client import Client  # noqa: E402
from common import address, check  # noqa: E402
from gevent import ssl as gevent_ssl  # noqa: E402

server.on("message", lambda socket, message, binary: socket.send(message, binary))
server.start()
theirs = gevent_ssl.SSLContext(gevent_ssl.PROTOCOL_TLS_CLIENT)
theirs.load_verify_locations(ca)
client = Client.connect(address(server), tls=theirs)
client.echo()
client.close_handshake()
server.stop()
check(kind != "sni" or names == ["localhost"])
