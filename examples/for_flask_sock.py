"""flask-sock on lws_gevent: only `install` is new. Needs ``pip install flask-sock``.

python examples/for_flask_sock.py [PORT], then connect to ws://127.0.0.1:3000/reverse; every message comes back in
reverse. Nothing is monkey-patched.
"""

import sys

from flask import Flask
from flask_sock import Sock
from gevent import pywsgi

from lws_gevent.compat import simple_websocket
from lws_gevent.compat.simple_websocket import Server
from lws_gevent.wsgi import WebSocketHandler

simple_websocket.install()

app = Flask(__name__)
sock = Sock(app)


@sock.route("/reverse")  # type: ignore
def reverse(ws: Server) -> None:
    while True:
        ws.send(str(ws.receive())[::-1])


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
