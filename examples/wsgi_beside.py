"""WebSockets and a WSGI application (Flask, Django, ... or this plain one) on one port.

python examples/wsgi_beside.py [PORT], then open http://127.0.0.1:3000/
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import lws_gevent

PAGE = b"""<!DOCTYPE html>
<meta charset="utf-8">
<title>Counter</title>
<p>Here now: <span id="count">?</span></p>
<script>
const socket = new WebSocket("ws://" + location.host + "/count");
socket.onmessage = event => document.getElementById("count").textContent = event.data;
</script>
"""


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/":
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [PAGE]
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"There is only one page here: /\n"]


server = lws_gevent.Server(
    host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000, path="/count", wsgi=application
)


@server.on("connection")
@server.on("close")
def tell(socket: lws_gevent.Socket) -> None:
    server.broadcast(str(len(server.connections)))


if __name__ == "__main__":
    server.start()
    print(f"listening on http://127.0.0.1:{server.port}/", flush=True)
    server.serve_forever()
