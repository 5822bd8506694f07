"""Flask-SocketIO, python-socketio, python-engineio in gevent's mode: only `install` is new.

python examples/frameworks/flask_socketio_app.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker flask_socketio_app:app
    gunicorn -k gevent flask_socketio_app:application
then connect a Socket.IO client to http://127.0.0.1:3000/. Messages come back; the event "bye" disconnects.
Needs ``pip install flask-socketio``. Without worker, handler and middleware it would run as well.
"""

import sys

from flask import Flask
from flask_socketio import SocketIO, disconnect, send
from gevent import pywsgi

from lws_gevent.compat import engineio
from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware

engineio.install()

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent")


@app.route("/")
def index() -> str:
    return "There is a Socket.IO server here.\n"


@socketio.on("message")
def message(data: str | bytes) -> None:
    send(data)


@socketio.on("bye")
def bye() -> None:
    disconnect()


application = WebSocketMiddleware(app)  # where neither a handler nor a worker knows of WebSockets


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
