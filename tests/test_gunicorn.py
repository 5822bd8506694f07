"""lws_gevent under real gunicorn: its gevent worker with the middleware, and `lws_gevent.gunicorn.Worker`."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import TEXT, Client, encode, upgrade_head
from helpers import SCRIPTS, Stack, environment
from tools import Process, need_module

WORKERS = {
    "plain": ("gevent", "gunicorn_app:wrapped"),
    "pywsgi": ("gevent_pywsgi", "gunicorn_app:wrapped"),
    "worker": ("gunicorn_app.EngineWorker", "gunicorn_app:application"),
}
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Gunicorn:
    """A gunicorn with one worker process, unless it is told otherwise."""

    def __init__(self, stack: Stack, kind: str, *arguments: str) -> None:
        worker, application = WORKERS[kind]
        variables = environment(stack, {"LWS_GEVENT_TEST_ENGINE": stack.engine})
        variables["PYTHONPATH"] = f"{SCRIPTS}:{variables['PYTHONPATH']}"
        command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", worker]
        command += ["--access-logfile", "-", "--graceful-timeout", "6", *arguments, application]
        self.process = Process(command, variables)
        found = self.wait_for(rb"Listening at: https?://127\.0\.0\.1:(\d+)")
        self.address = ("127.0.0.1", int(found[1]))
        self.wait_for(rb"Booting worker with pid")

    def wait_for(self, pattern: bytes, count: int = 1) -> re.Match[bytes]:
        """Until it has printed this so many times."""

        def printed() -> list[re.Match[bytes]]:
            return list(re.finditer(pattern, self.process.errors + b"\n" + self.process.output))

        self.process._until(lambda: len(printed()) >= count, f"it prints {pattern!r}", 20)
        return printed()[-1]

    def pid_of_worker(self) -> bytes:
        """Asks it over HTTP."""
        with Client.open(self.address) as client:
            return client.request(GET).body


@pytest.fixture(params=sorted(WORKERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gunicorn(stack: Stack) -> Iterator[Callable[..., Gunicorn]]:
    need_module("gunicorn")
    started: list[Gunicorn] = []

    def start(kind: str, *arguments: str) -> Gunicorn:
        started.append(Gunicorn(stack, kind, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.signal(signal.SIGQUIT)
        one.process.wait()
        one.process.kill()
        assert b"Traceback" not in one.process.errors, one.process.printed


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(server: Gunicorn, *arguments: Any, **named: Any) -> Client:
        clients.append(Client.connect(server.address, *arguments, **named))
        return clients[-1]

    yield make
    for client in clients:
        client.disconnect()


STYLES = ("/blocking", "/callback")


def test_both_styles_and_plain_http(gunicorn: Any, connect: Any, kind: str) -> None:
    server = gunicorn(kind)
    for path in STYLES:
        burst = [f"{index} " * 2000 for index in range(20)]
        client = connect(server, path, after=b"".join(encode(TEXT, message) for message in burst))
        assert [client.recv_message() for _ in burst] == burst
        for message in ("text", b"binary", "x" * 100_000):
            client.echo(message)
        assert client.close_handshake(1000) == (1000, "")
        server.wait_for(f'"GET {path} HTTP/1.1" 101 '.encode())
    with Client.open(server.address) as client:
        for _ in range(3):
            assert client.request(GET).status == 200
        assert client.request(upgrade_head("/blocking")).status == 101
        client.echo()
        client.close_handshake()
    with Client.open(server.address) as client:
        client.send_raw(upgrade_head("/") + GET)
        assert client.recv_response().status == 200
        assert b"HTTP" not in client.drain_to_eof()  # behind a refused upgrade nothing is interpreted
    with Client.open(server.address) as client:
        assert client.request(upgrade_head("/blocking", without=["Sec-WebSocket-Key"])).status == 400


def test_over_tls(gunicorn: Any, connect: Any, kind: str) -> None:
    server = gunicorn(kind, "--certfile", certificates().cert, "--keyfile", certificates().key)
    for path in STYLES:
        client = connect(server, path, tls=certificates().client_context(), after=encode(TEXT, "early"))
        assert client.recv_message() == "early"
        client.echo("x" * 100_000)
        client.close_handshake()


def test_callback_style_leaves_worker_connections_free(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("plain", "--worker-connections", "4")
    clients = [connect(server, "/callback") for _ in range(20)]
    for client in clients:
        client.echo()
    assert server.pid_of_worker()


def test_with_our_worker_no_style_counts_against_worker_connections(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker", "--worker-connections", "4")
    clients = [connect(server, path) for path in STYLES * 10]
    for client in clients:
        client.echo()
    assert server.pid_of_worker()


def test_term_closes_with_1001(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker")
    clients = [connect(server, path) for path in STYLES * 5]
    server.process.signal(signal.SIGTERM)
    for client in clients:
        client.expect_close(1001)
    assert server.process.wait() == 0
    assert b"graceful timeout" not in server.process.errors
    assert server.process.output.count(b'"GET /blocking HTTP/1.1" 101 ') == 5  # at the end of each


@pytest.mark.only("parked")
def test_term_in_the_midst_of_clients_that_do_not_answer(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker", "--graceful-timeout", "3")
    clients = [connect(server, path) for path in STYLES]
    server.process.signal(signal.SIGTERM)
    for client in clients:
        assert client.recv_close()[0] == 1001
    assert server.process.wait(10) == 0


@pytest.mark.only("parked")
def test_hup_closes_with_1001_and_a_new_worker_serves(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker")
    before = server.pid_of_worker()
    clients = [connect(server, path) for path in STYLES]
    server.process.signal(signal.SIGHUP)
    for client in clients:
        client.expect_close(1001)
    server.wait_for(b"Booting worker with pid", 2)
    assert server.pid_of_worker() != before
    for path in STYLES:
        connect(server, path).echo()


@pytest.mark.only("parked")
def test_max_requests_closes_with_1001(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker", "--max-requests", "3")
    clients = [connect(server, path) for path in STYLES]
    for client in clients:
        client.echo()
    assert server.pid_of_worker()  # the third
    for client in clients:
        client.expect_close(1001)
    server.wait_for(b"Booting worker with pid", 2)
    connect(server, "/blocking").echo()


@pytest.mark.only("parked")
def test_quit_says_1001_without_waiting(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker")
    clients = [connect(server, path) for path in STYLES]
    server.process.signal(signal.SIGQUIT)
    for client in clients:
        assert client.recv_close()[0] == 1001
    server.process.wait()


@pytest.mark.only("parked")
def test_many_are_closed_in_turns(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker")
    clients = [connect(server, path) for path in STYLES * 60]
    server.process.signal(signal.SIGTERM)
    for client in clients:
        client.expect_close(1001)
    assert server.process.wait() == 0


@pytest.mark.only("parked")
def test_preloaded_with_several_workers(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker", "--preload", "--workers", "2")
    server.wait_for(b"Booting worker with pid", 2)
    clients = [connect(server, path) for path in STYLES * 3]
    for client in clients:
        client.echo()
    server.process.signal(signal.SIGTERM)
    for client in clients:
        client.expect_close(1001)
    assert server.process.wait() == 0
    assert b"MonkeyPatchWarning" not in server.process.errors


@pytest.mark.only("parked")
def test_the_heartbeat_goes_on_while_websockets_are_open(gunicorn: Any, connect: Any) -> None:
    server = gunicorn("worker", "--timeout", "2")
    before = server.pid_of_worker()
    clients = [connect(server, path) for path in STYLES]
    for _ in range(30):
        for client in clients:
            client.echo()
        gevent.sleep(0.1)
    assert server.pid_of_worker() == before
