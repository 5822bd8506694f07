"""Opens WebSocket connections and leaves them alone: HOST PORT COUNT SOURCE-ADDRESS. Says "open" when they are there
and ends with its standard input."""

import socket
import struct
import sys

from client import upgrade_head

host, port, count, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
FIRST_PORT = 10_000  # of our own choice: the system looks for a free one ever longer, above these
head = upgrade_head()
connections = []
for number in range(count):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves nothing in TIME_WAIT
    sock.bind((source, FIRST_PORT + number))
    sock.settimeout(30)
    sock.connect((host, port))
    sock.sendall(head)
    connections.append(sock)
    if len(connections) % 64 == 0 or len(connections) == count:
        for sock in connections[-64:]:
            if sock.gettimeout() is not None:
                answer = sock.recv(4096)
                assert answer.startswith(b"HTTP/1.1 101 "), answer
                sock.settimeout(None)
print("open", flush=True)
sys.stdin.read()
