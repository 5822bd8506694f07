"""flask-sock: only `install` is new.

python examples/frameworks/flask_sock_app.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker flask_sock_app:app
    gunicorn -k gevent flask_sock_app:application
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed.
Needs ``pip install flask-sock``. No thread is started, and nothing has to be monkey-patched.
"""

import sys

from flask import Flask
from flask_sock import Sock
from gevent import pywsgi

from lws_gevent.compat import simple_websocket
from lws_gevent.compat.simple_websocket import Server
from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware

simple_websocket.install()

app = Flask(__name__)
sock = Sock(app)


@app.route("/")
def index() -> str:
    return "There is a WebSocket at /echo.\n"


@sock.route("/echo")
def echo(ws: Server) -> None:
    while True:
        message = ws.receive()
        if message == "bye":
            ws.close(4000, "bye")
        ws.send(message)


application = WebSocketMiddleware(app)  # where neither a handler nor a worker knows of WebSockets


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
