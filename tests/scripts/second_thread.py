"""Servers in the main thread and in a second one: each with the hub of its thread, both working at the same time."""

import sys
import threading

import gevent
from client import Client
from common import address, check, echo_server

engine = sys.argv[1]
ports = []
ready = threading.Event()
failed = []


def second():
    try:
        server = echo_server(engine)
        ports.append(server.port)
        done = gevent.event.Event()
        server.on("close", lambda socket: done.set())
        own = Client.connect(address(server))
        own.echo("own")
        ready.set()
        done.wait()
        server.stop(timeout=1)
        own.disconnect()
    except BaseException as error:
        failed.append(error)
        ready.set()
        raise
    finally:
        gevent.get_hub().destroy(destroy_loop=True)


import gevent.event  # noqa: E402

mine = echo_server(engine)
thread = threading.Thread(target=second)
thread.start()
ready.wait(20)
check(not failed, failed)
here, there = Client.connect(address(mine)), Client.connect(("127.0.0.1", ports[0]))
for number in range(100):
    here.echo(f"here {number}")
    there.echo(f"there {number}")
there.close_handshake()
thread.join(20)
check(not thread.is_alive())
check(not failed, failed)
here.echo("still here")
here.close_handshake()
mine.stop()
