"""What the Python peers share: their arguments and the line that tells where they listen."""

from __future__ import annotations

import argparse
import socket

BACKLOG = 4096
MAX_PAYLOAD = 16 * 1024 * 1024


def parse_arguments(description: str) -> argparse.Namespace:
    """`--port N` (0: any), `--broadcast` (every message to every connection instead of an echo), `--deflate` (compress,
    without context takeover)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--broadcast", action="store_true")
    parser.add_argument("--deflate", action="store_true")
    return parser.parse_args()


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback interface."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def announce(port: int) -> None:
    """Prints the line that the benchmarks wait for."""
    print(f"listening on ws://127.0.0.1:{port}", flush=True)
