"""A page and its WebSocket from one port: requests that are no upgrade arrive as `http` events.

python examples/http_page.py [PORT], then open http://127.0.0.1:3000/
"""

import sys

import lws_gevent

server = lws_gevent.Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000, path="/greeting")

PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<title>Greeting</title>
<p id="greeting">waiting</p>
<script>
const socket = new WebSocket("ws://" + location.host + "/greeting");
socket.onmessage = event => document.getElementById("greeting").textContent = event.data;
</script>
"""


@server.on("http")
def http(socket: lws_gevent.Socket, request: lws_gevent.Request) -> tuple[int, dict[str, str], str]:
    if request.path == "/":
        return 200, {"Content-Type": "text/html; charset=utf-8"}, PAGE
    return 404, {"Content-Type": "text/plain"}, "There is only one page here: /\n"


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    socket.send("hello from the same port")


if __name__ == "__main__":
    server.start()
    print(f"listening on http://127.0.0.1:{server.port}/", flush=True)
    server.serve_forever()
