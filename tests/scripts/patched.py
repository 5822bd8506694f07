"""Import before, after or without monkey.patch_all(); then serve."""

import sys

engine, when = sys.argv[1:]
if when == "before":
    import lws_gevent  # noqa: F401
import gevent.monkey  # noqa: E402

if when != "never":
    gevent.monkey.patch_all()
import gevent  # noqa: E402, I001
import lws_gevent  # noqa: E402, F401, F811
from client import Client  # noqa: E402
from common import address, check, echo_server  # noqa: E402

check(bool(gevent.monkey.is_module_patched("socket")) == (when != "never"))
server = echo_server(engine)
client = Client.connect(address(server))
client.echo()
check(gevent.monkey.is_module_patched("socket") == (when != "never"), "a library never patches")
client.close_handshake()
server.stop()
