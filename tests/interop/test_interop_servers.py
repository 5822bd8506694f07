"""Our client talks to the servers of other projects, and to servers behind proxies of other projects."""

from __future__ import annotations

import json
import os
import socket as stdlib_socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from certificates import certificates
from drive import HERE, NODE_MODULES
from gevent import socket
from gevent.pool import Pool
from helpers import Stack, eventually, live_sockets
from tools import Process, missing, need_module, need_program

import lws_gevent

pytestmark = [pytest.mark.interop, pytest.mark.timeout_factor(3)]

SERVERS = HERE / "servers"


class Server(NamedTuple):
    """Another project's server: its command (missing tools skip the test), and what it does not do."""

    command: Callable[[], list[str]]
    compresses: bool = True
    subprotocols: bool = True


def python_server(name: str, module: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        need_module(module)
        return [sys.executable, str(SERVERS / name)]

    return command


def node_server() -> list[str]:
    node = need_program("node")
    if not (NODE_MODULES / "ws").is_dir():
        missing("the npm package ws is not installed (npm ci in tests/interop)")
    return [node, str(SERVERS / "node_ws.mjs")]


ALL = {
    "node-ws": Server(node_server),
    "websockets": Server(python_server("websockets_server.py", "websockets")),
    "aiohttp": Server(python_server("aiohttp_server.py", "aiohttp")),
    "tornado": Server(python_server("tornado_server.py", "tornado")),
    "socketify": Server(python_server("socketify_server.py", "socketify"), compresses=False, subprotocols=False),
    "gevent-websocket": Server(
        python_server("gevent_websocket_server.py", "geventwebsocket"), compresses=False, subprotocols=False
    ),
}


@pytest.fixture(scope="module", params=ALL)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server's name and its URL; it runs once for all stacks."""
    with Process(ALL[request.param].command()) as process:
        yield request.param, f"ws://127.0.0.1:{process.line()}/"


def converse(url: str, **options: Any) -> Any:
    """What a client has to be able to say and to hear; the socket, after the server has closed it with 4001."""
    options = {"max_payload": None, "close_timeout": 5, "timeout": 20, **options}
    with lws_gevent.connect(url, **options) as sock:
        for message in ("Gr\u00fc\u00dfe \u20ac \U0001d11e", "", bytes(range(256)), b"", "x" * 126, b"y" * 70_000):
            sock.send(message)
            assert sock.recv(20) == message
        large = bytes(range(251)) * 8000
        sock.send(large)
        assert sock.recv(40) == large
        for number in range(200):
            sock.send(f"{number} " + "again and again " * 20)
        assert [int(sock.recv(20).split(maxsplit=1)[0]) for _ in range(200)] == list(range(200))
    assert sock.closed
    sock = lws_gevent.connect(url, **options)
    sock.send("close")
    with pytest.raises(lws_gevent.ConnectionClosed) as caught:
        sock.recv(20)
    assert caught.value.code == 4001 and caught.value.reason == "as you wish"
    eventually(lambda: sock.ready_state == lws_gevent.ReadyState.CLOSED)
    return sock


def test_messages_of_every_kind_and_both_closes(running: tuple[str, str], stack: Stack) -> None:
    converse(running[1], engine=stack.engine)


def test_compression(running: tuple[str, str], stack: Stack) -> None:
    name, url = running
    takeover = {"server_no_context_takeover": False, "client_no_context_takeover": False}
    for settings in (True, takeover, {"client_max_window_bits": 10}):
        sock = converse(url, engine=stack.engine, per_message_deflate=settings)
        assert bool(sock.extensions) is ALL[name].compresses


def test_subprotocols(running: tuple[str, str], stack: Stack) -> None:
    name, url = running
    if not ALL[name].subprotocols:
        pytest.skip(f"{name} is a server without subprotocols here")
    with lws_gevent.connect(url, engine=stack.engine, subprotocols=["v1", "v2"]) as sock:
        assert sock.subprotocol == "v2"


def test_pings_and_fragments_in_callback_style(running: tuple[str, str], stack: Stack) -> None:
    if running[0] == "gevent-websocket":
        pytest.skip("gevent-websocket loses what is around a ping between fragments")
    client = lws_gevent.Client(engine=stack.engine)
    pongs: list[bytes] = []
    messages: list[Any] = []
    closes: list[int] = []
    client.on("pong", lambda sock, data: pongs.append(data))
    client.on("message", lambda sock, message: messages.append(message))
    client.on("close", lambda sock, code: closes.append(code))
    sock = client.connect(running[1])
    client.ping(sock, b"are you there")
    client.send_fragment(sock, "one tw\u00f6 ", False)
    client.ping(sock, b"still")
    client.send_fragment(sock, "thr\u20ac", True)
    eventually(lambda: pongs == [b"are you there", b"still"] and messages == ["one tw\u00f6 thr\u20ac"], "", 20)
    client.send(sock, "close")
    eventually(lambda: closes == [4001], "", 20)


# --- proxies ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with stdlib_socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_it_listens(port: int) -> None:
    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    eventually(listens, f"port {port}", 20)


@pytest.fixture
def target(make_server: Any) -> Any:
    """The server behind the proxies."""

    def make(**options: Any) -> Any:
        server = make_server(per_message_deflate=True, max_payload=None, **options)

        @server.on("message")
        def message(sock: Any, message: Any, binary: bool) -> None:
            if message == "close":
                sock.close(4001, "as you wish")
            else:
                sock.send(message, binary)

        return server

    return make


def test_through_nginx(target: Any, stack: Stack, tmp_path: Path) -> None:
    program, server, port = need_program("nginx"), target(), free_port()
    (tmp_path / "nginx.conf").write_text(
        f"""daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;
        events {{ worker_connections 64; }}
        http {{ access_log off; client_body_temp_path {tmp_path}/a; proxy_temp_path {tmp_path}/b;
            fastcgi_temp_path {tmp_path}/c; uwsgi_temp_path {tmp_path}/d; scgi_temp_path {tmp_path}/e;
            server {{ listen 127.0.0.1:{port};
                location / {{ proxy_pass http://127.0.0.1:{server.port}; proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; }} }} }}"""
    )
    with Process([program, "-e", f"{tmp_path}/error.log", "-c", str(tmp_path / "nginx.conf")]):
        wait_until_it_listens(port)
        converse(f"ws://127.0.0.1:{port}/", engine=stack.engine)
        converse(f"ws://127.0.0.1:{port}/", engine=stack.engine, per_message_deflate=True)


def test_through_haproxy(target: Any, stack: Stack, tmp_path: Path) -> None:
    program, server, port = need_program("haproxy"), target(), free_port()
    (tmp_path / "haproxy.cfg").write_text(
        f"""defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server s 127.0.0.1:{server.port}
"""
    )
    with Process([program, "-db", "-f", str(tmp_path / "haproxy.cfg")]):
        wait_until_it_listens(port)
        converse(f"ws://127.0.0.1:{port}/", engine=stack.engine)
        converse(f"ws://127.0.0.1:{port}/", engine=stack.engine, per_message_deflate=True)


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_through_a_connect_proxy(
    target: Any, stack: Stack, tmp_path: Path, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, port = need_program("tinyproxy"), free_port()
    server = target(**({"ssl": certificates().options} if tls else {}))
    (tmp_path / "tinyproxy.conf").write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\nBasicAuth user pass\n"
        f'LogFile "{tmp_path}/log"\nPidFile "{tmp_path}/pid"\n'
    )
    url = f"{'wss://localhost' if tls else 'ws://127.0.0.1'}:{server.port}/"
    options: dict[str, Any] = {"engine": stack.engine, **({"ssl": {"ca": str(certificates().ca)}} if tls else {})}
    with Process([program, "-d", "-c", str(tmp_path / "tinyproxy.conf")]):
        wait_until_it_listens(port)
        converse(url, proxy=f"http://user:pass@127.0.0.1:{port}", **options)
        with pytest.raises(lws_gevent.HandshakeError) as caught:
            lws_gevent.connect(url, proxy=f"http://user:wrong@127.0.0.1:{port}", **options)
        assert caught.value.status in (401, 407)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("https_proxy" if tls else "http_proxy", f"http://user:pass@127.0.0.1:{port}")
        before = (tmp_path / "log").read_text().count("CONNECT")
        lws_gevent.connect(url, proxy=True, **options).terminate()
        eventually(lambda: (tmp_path / "log").read_text().count("CONNECT") > before)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        before = (tmp_path / "log").read_text().count("CONNECT")
        lws_gevent.connect(url, proxy=True, **options).terminate()
        assert (tmp_path / "log").read_text().count("CONNECT") == before


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_through_a_socks_proxy(target: Any, stack: Stack, tls: bool) -> None:
    program, port = need_program("microsocks"), free_port()
    server = target(**({"ssl": certificates().options} if tls else {}))
    options: dict[str, Any] = {"engine": stack.engine, **({"ssl": {"ca": str(certificates().ca)}} if tls else {})}
    scheme = "wss" if tls else "ws"
    with Process([program, "-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "pass"]):
        wait_until_it_listens(port)
        converse(f"{scheme}://127.0.0.1:{server.port}/", proxy=f"socks5://user:pass@127.0.0.1:{port}", **options)
        converse(f"{scheme}://localhost:{server.port}/", proxy=f"socks5h://user:pass@127.0.0.1:{port}", **options)
        for wrong in ("user:wrong@", ""):
            with pytest.raises(lws_gevent.HandshakeError, match="SOCKS"):
                lws_gevent.connect(
                    f"{scheme}://127.0.0.1:{server.port}/", proxy=f"socks5://{wrong}127.0.0.1:{port}", **options
                )
        with pytest.raises(lws_gevent.HandshakeError, match="refused"):
            lws_gevent.connect("ws://127.0.0.1:1/", proxy=f"socks5://user:pass@127.0.0.1:{port}", engine=stack.engine)


# --- many -------------------------------------------------------------------------------------------------------------

COUNT = 10_000


@pytest.mark.only("parked")
@pytest.mark.timeout_factor(6)
def test_ten_thousand_callback_clients_in_one_process(stack: Stack, logged: Any) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < COUNT + 200:
        missing(f"a process may have {hard} descriptors at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, COUNT + 200), hard))
    before = live_sockets()
    environment = {**os.environ, "LWS_GEVENT_REQUIRE_C": "1"}
    command = [sys.executable, "-m", "lws_gevent", "echo", "--port", "0"]
    try:
        with Process(command, environment) as process:
            url = process.line().removeprefix("listening on ")
            client = lws_gevent.Client(engine=stack.engine, ping_interval=None)
            received = [0] * COUNT

            @client.on("message")
            def message(sock: Any, message: Any) -> None:
                assert json.loads(message) == sock.data
                received[sock.data] += 1

            pool = Pool(50)
            sockets: list[Any] = []
            for number in range(COUNT):
                pool.spawn(lambda number=number: sockets.append(client.connect(url, data=number, timeout=120)))
            pool.join()
            assert len(client.connections) == COUNT
            for sock in sockets:
                client.send(sock, json.dumps(sock.data))
            eventually(lambda: sum(received) == COUNT, "every echo", 60)
            assert set(received) == {1}
            client.stop(60)
            assert client.connections == []
            del sock
            sockets.clear()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    eventually(lambda: live_sockets() == before)
