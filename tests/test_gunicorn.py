"""lws_gevent under real gunicorn: its gevent worker with the middleware, and `lws_gevent.gunicorn.Worker`."""

from __future__ import annotations

import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import TEXT, Client, encode, upgrade_head
from helpers import SCRIPTS, Stack, environment, eventually
from tools import Process, missing, need_module

import lws_gevent

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


# At scale

QUIET = ("--access-logfile", "/dev/null")  # nobody reads while the crowd is served


def set_descriptors(number: int) -> None:
    """So many for this process and those that it starts."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (resource.RLIM_INFINITY, -1) and hard < number:
        missing(f"a process may have {hard} descriptors here, {number} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(number, soft), hard))


class Crowd:
    """Many clients in this process, without a greenlet each; how each has ended."""

    def __init__(self, server: Gunicorn, count: int, path: str) -> None:
        self.ends: Counter[int] = Counter()
        self.received = 0
        self.client = lws_gevent.Client(ping_interval=None, timeout=60)
        self.client.on("message", self._message)
        self.client.on("close", self._close)
        host, port = server.address
        self.sockets = []
        for begin in range(0, count, 250):  # not more at a time than the server lets wait
            part = [self.client.connect(f"ws://{host}:{port}{path}") for _ in range(min(250, count - begin))]
            eventually(lambda part=part: all(s.ready_state == lws_gevent.ReadyState.OPEN for s in part), within=60)
            self.sockets += part

    def _message(self, socket: Any, message: Any, binary: bool) -> None:
        self.received += 1

    def _close(self, socket: Any, code: int, reason: str) -> None:
        self.ends[code] += 1

    def echo(self) -> None:
        """A message of each comes back."""
        before = self.received
        for socket in self.sockets:
            socket.send("hello")
        eventually(lambda: self.received == before + len(self.sockets), within=60)

    def has_ended(self) -> bool:
        return sum(self.ends.values()) == len(self.sockets)


@pytest.mark.only("parked")
@pytest.mark.timeout_factor(4)
@pytest.mark.parametrize("path", STYLES)
def test_five_thousand_connections_on_a_hundred_worker_connections(gunicorn: Any, path: str) -> None:
    set_descriptors(5_500)
    options = ("--worker-connections", "100", "--graceful-timeout", "20", "--backlog", "1024")
    server = gunicorn("worker", *QUIET, *options)
    crowd = Crowd(server, 5_000, path)
    crowd.echo()
    assert server.pid_of_worker()  # there is room for HTTP
    server.process.signal(signal.SIGTERM)
    eventually(crowd.has_ended, within=60)
    assert crowd.ends == {1001: 5_000}  # nobody saw a bare end
    assert server.process.wait(60) == 0
    assert b"graceful timeout" not in server.process.errors


@pytest.mark.only("parked")
@pytest.mark.timeout_factor(2)
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_four_workers_end_and_are_followed(gunicorn: Any, preload: tuple[str, ...]) -> None:
    server = gunicorn("worker", *QUIET, "--workers", "4", *preload)
    server.wait_for(b"Booting worker with pid", 4)
    crowds = [Crowd(server, 100, path) for path in STYLES]
    for crowd in crowds:
        crowd.echo()
    server.process.signal(signal.SIGHUP)
    for crowd in crowds:
        eventually(crowd.has_ended, within=30)
        assert crowd.ends == {1001: 100}
    server.wait_for(b"Booting worker with pid", 8)
    after = [Crowd(server, 100, path) for path in STYLES]
    for crowd in after:
        crowd.echo()
    server.process.signal(signal.SIGTERM)
    for crowd in after:
        eventually(crowd.has_ended, within=30)
        assert crowd.ends == {1001: 100}
    assert server.process.wait(30) == 0
    assert b"MonkeyPatchWarning" not in server.process.errors


@pytest.mark.only("parked")
def test_max_requests_among_four_workers(gunicorn: Any) -> None:
    server = gunicorn("worker", *QUIET, "--workers", "4", "--max-requests", "20", "--max-requests-jitter", "10")
    server.wait_for(b"Booting worker with pid", 4)
    crowd = Crowd(server, 60, "/callback")
    for _ in range(100):  # no request is lost meanwhile
        assert server.pid_of_worker()
    eventually(lambda: sum(crowd.ends.values()) > 0, within=30)
    gevent.sleep(0.5)  # in which the rest of those clients answers: the next line lets nobody turn
    server.wait_for(b"Booting worker with pid", 5)
    assert set(crowd.ends) == {1001}
    server.process.signal(signal.SIGTERM)
    eventually(crowd.has_ended, within=30)
    assert set(crowd.ends) == {1001}
    assert server.process.wait(30) == 0
