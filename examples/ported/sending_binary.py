"""ws README, "Sending binary data".

python examples/ported/sending_binary.py URL
"""

import sys
from array import array

import gevent

from lws_gevent.compat.ws import WebSocket

ws = WebSocket(sys.argv[1])

ws.on("error", print)


@ws.on("open")
def open():
    numbers = array("f", [i / 2 for i in range(5)])

    ws.send(numbers)


gevent.wait()
