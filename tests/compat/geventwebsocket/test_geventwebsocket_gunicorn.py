"""`lws_gevent.compat.geventwebsocket` under real gunicorn: its worker, and its middleware in the gevent worker."""

from __future__ import annotations

import re
import signal
import sys

import pytest
from client import Client, upgrade_head
from helpers import SCRIPTS, environment
from tools import Process, need_module

WORKER = "lws_gevent.compat.geventwebsocket.gunicorn.workers.GeventWebSocketWorker"


@pytest.mark.parametrize(("worker", "name"), [(WORKER, "application"), ("gevent", "wrapped")])
def test_everybody_hears_everybody(worker: str, name: str) -> None:
    need_module("gunicorn")
    variables = environment()
    variables["PYTHONPATH"] = f"{SCRIPTS}:{variables['PYTHONPATH']}"
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", worker]
    with Process([*command, "--graceful-timeout", "6", f"geventwebsocket_app:{name}"], variables) as gunicorn:
        gunicorn._until(lambda: b"Booting worker with pid" in gunicorn.errors, "it starts", 20)
        found = re.search(rb"Listening at: http://127\.0\.0\.1:(\d+)", gunicorn.errors)
        assert found
        address = ("127.0.0.1", int(found[1]))
        with Client.connect(address, "/all") as one, Client.connect(address, "/all") as two:
            one.echo("hello")
            assert two.recv_message() == "hello"
            two.echo(b"binary")
            assert one.recv_message() == b"binary"
            two.close_handshake()
            with Client.open(address) as refused:
                assert refused.request(upgrade_head("/nowhere")).status == 404
            if worker == WORKER:
                gunicorn.signal(signal.SIGTERM)
                one.expect_close(1001)
        gunicorn.signal(signal.SIGTERM)
        gunicorn.wait()
        assert b"Traceback" not in gunicorn.errors and b"Warning" not in gunicorn.errors, gunicorn.printed
