"""ws README, "Use the Node.js streams API": what one types goes to the server, what it answers is printed.

python examples/ported/duplex_stream.py URL
"""

import sys

import gevent
from gevent.fileobject import FileObject

from lws_gevent.compat.ws import WebSocket, createWebSocketStream

ws = WebSocket(sys.argv[1])

duplex = createWebSocketStream(ws, {"encoding": "utf8"})

duplex.on("error", print)


def read_stdin():
    for line in FileObject(sys.stdin.fileno(), "rb"):
        duplex.write(line)
    duplex.end()


gevent.spawn(read_stdin)
for text in duplex:
    print(text, end="", flush=True)
