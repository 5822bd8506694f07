"""A server in a process of its own, driven by helpers.ServerProcess: one JSON argument, then a line per command on
standard input. It prints its port first. End of file stops it."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
from typing import Any

import gevent
import gevent.event
import gevent.os
from helpers import live_sockets

import lws_gevent

how = json.loads(sys.argv[1])
if how["limit"]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (how["limit"], how["limit"]))

server = lws_gevent.Server(host="127.0.0.1", port=0, engine=how["engine"], **how["options"])
counts = {"message": 0, "close": 0, "ping": 0, "error": 0}
release = gevent.event.Event()


@server.on("error")
def on_error(error: BaseException, socket: Any) -> None:
    counts["error"] += 1


@server.on("close")
def on_close(socket: Any, code: int, reason: str) -> None:
    counts["close"] += 1


if how["kind"] == "echo":

    @server.on("message")
    def echo(socket: Any, message: Any, binary: bool) -> None:
        counts["message"] += 1
        server.send(socket, message, binary)

elif how["kind"] == "sink_others":  # only short messages are echoed

    @server.on("message")
    def sink(socket: Any, message: Any, binary: bool) -> None:
        counts["message"] += 1
        if len(message) <= 100_000:
            server.send(socket, message, binary)

elif how["kind"] == "flood":

    @server.on("message")
    def flood(socket: Any, message: Any, binary: bool) -> None:
        if message != "flood":
            server.send(socket, message, binary)
            return
        piece = b"x" * 65536
        while True:
            server.send(socket, bytes(piece), True)
            counts["message"] += 1

elif how["kind"] == "block":

    @server.on("message")
    def block(socket: Any, message: Any, binary: bool) -> None:
        counts["message"] += 1
        if message == "block":
            release.wait()
        server.send(socket, message, binary)


elif how["kind"] == "soak":  # something goes wrong at every point

    @server.on("upgrade")
    def upgrade(socket: Any) -> bool:
        if socket.path == "/raise":
            raise LookupError("upgrade")
        return bool(socket.path == "/refuse")

    @server.on("connection")
    def connection(socket: Any) -> None:
        if socket.path == "/subscribe":
            socket.subscribe("topic")
        socket.data = [socket]  # a circle, which the end has to break

    server.on("http", lambda socket, request: "page")

    def killed(socket: Any) -> None:
        gevent.getcurrent().kill(block=False)  # type: ignore[attr-defined]
        gevent.sleep(10)

    def flood(socket: Any) -> None:
        while True:
            socket.send(bytes(65536), compress=False)

    def sleep(socket: Any) -> None:
        gevent.sleep(0.02)
        socket.send("awake")

    def fail(socket: Any) -> None:
        raise LookupError("message")

    actions = {
        b"r": fail,
        b"c": lambda socket: socket.close(4000),
        b"t": lambda socket: socket.terminate(),
        b"s": sleep,
        b"w": lambda socket: list(socket),
        b"k": killed,
        b"f": flood,
    }

    @server.on("message")
    def act(socket: Any, message: Any) -> None:
        actions.get(message, lambda socket: socket.send(message))(socket)


def answer(command: str) -> str:
    if command == "trim":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return "ok"
    if command == "release":
        release.set()
        return "ok"
    if command == "connections":
        return str(len(list(server.connections)))
    if command == "descriptors":
        return str(len(os.listdir("/proc/self/fd")) - 1)
    if command == "greenlets":
        gc.collect()
        return str(sum(isinstance(thing, gevent.Greenlet) and not thing.dead for thing in gc.get_objects()))
    if command == "collectable":
        gc.collect()
        return str(len(gc.get_objects()))
    if command == "rest":  # nothing but what stays for ever; then it listens again
        server.stop(timeout=1)
        gevent.sleep(0.01)
        found = answer("descriptors"), answer("greenlets"), live_sockets()
        server.start()
        return " ".join(map(str, (server.port, *found)))
    if command in counts:
        return str(counts[command])
    return f"unknown command {command}"


server.start()
print(server.port, flush=True)
gevent.os.make_nonblocking(0)
unread = b""
while True:
    data = gevent.os.nb_read(0, 4096)
    if not data:
        break
    unread += data
    while b"\n" in unread:
        line, unread = unread.split(b"\n", 1)
        print(answer(line.decode()), flush=True)
release.set()
server.stop(timeout=1)
