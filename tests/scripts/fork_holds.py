"""A forked child that does nothing but hold copies of the descriptors: closing in the parent still ends connections,
and events of closed connections harm nobody."""

import ctypes
import os
import signal
import sys

import gevent
from client import Client
from common import address, check, echo_server

server = echo_server(sys.argv[1])
closes = []
server.on("close", lambda socket, code: closes.append(code))
server.on("message", lambda socket, message: server.close(socket, 4000) if message == "close" else None)
server.on("message", lambda socket, message: server.terminate(socket) if message == "terminate" else None)
# The clients live in another process, so that the child that holds the server's descriptors holds none of theirs.
read, write = os.pipe()
go_read, go_write = os.pipe()
holder = os.fork()
if holder == 0:
    # Client process, made before any connection exists.
    os.close(write)
    os.close(go_write)
    gevent.reinit()
    status = 1
    try:
        closing, terminating, resetting, staying = (Client.connect(address(server)) for _ in range(4))
        for client in (closing, terminating, resetting, staying):
            client.echo("hello")
        os.write(2, b"")
        os.kill(os.getppid(), signal.SIGUSR1)
        os.read(go_read, 1)
        closing.send("close")
        check(closing.recv_message() == "close")
        closing.expect_close(4000)
        terminating.send("terminate")
        check(terminating.drain_to_eof() is not None)
        resetting.reset()
        for number in range(50):
            staying.echo(f"still served {number}")
            other = Client.connect(address(server))  # descriptors are used again
            other.echo("other")
            other.reset() if number % 2 else other.close_handshake()
        staying.close_handshake()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

import gevent.event  # noqa: E402

connected = gevent.event.Event()
gevent.signal_handler(signal.SIGUSR1, connected.set)
check(connected.wait(20), "the clients connect")
child = ctypes.PyDLL(None).fork()  # not os.fork(): as a library forks, so that nobody in the child closes anything
if child == 0:
    while True:
        signal.pause()
try:
    os.write(go_write, b"g")
    while True:
        done, status = os.waitpid(holder, os.WNOHANG)
        if done:
            break
        gevent.sleep(0.001)
    check(os.waitstatus_to_exitcode(status) == 0, status)
    server.stop(timeout=2)
    check(len(closes) == 2 + 50, closes)
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
