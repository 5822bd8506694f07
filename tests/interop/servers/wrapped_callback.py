"""The example with callbacks within a middleware, which it does not need."""

from wsgi_callback import app

from lws_gevent.wsgi import WebSocketMiddleware

application = WebSocketMiddleware(app)
