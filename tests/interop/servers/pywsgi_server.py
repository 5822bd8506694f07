"""A gevent.pywsgi server: pywsgi_server.py MODULE:NAME plain|handler, where the application is to be found, and whether
it is served by `lws_gevent.wsgi.WebSocketHandler`."""

from __future__ import annotations

import importlib
import sys

from gevent import pywsgi

from lws_gevent.wsgi import WebSocketHandler

module, _, name = sys.argv[1].partition(":")
application = getattr(importlib.import_module(module), name)
handler = WebSocketHandler if sys.argv[2] == "handler" else pywsgi.WSGIHandler
server = pywsgi.WSGIServer(("127.0.0.1", 0), application, handler_class=handler, log=None)
server.start()
print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
