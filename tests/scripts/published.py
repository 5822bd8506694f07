"""Runs a program that was written for gevent-websocket, unchanged, on lws_gevent's interface of it.

`published.py FILE`: on a free port, which is printed, whatever the program says.
"""

import runpy
import sys
from typing import Any

from lws_gevent.compat import geventwebsocket

geventwebsocket.install()

from gevent import pywsgi  # noqa: E402

WSGIServer: Any = pywsgi.WSGIServer
begin, serve_forever = WSGIServer.__init__, WSGIServer.serve_forever


def on_a_free_port(self: Any, listener: Any, *args: Any, **kwargs: Any) -> None:
    begin(self, ("127.0.0.1", 0), *args, **kwargs)


def announce(self: Any, *args: Any, **kwargs: Any) -> None:
    self.start()
    print("port", self.server_port, flush=True)
    serve_forever(self, *args, **kwargs)


WSGIServer.__init__, WSGIServer.serve_forever = on_a_free_port, announce
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
