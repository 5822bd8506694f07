"""Half-open connections: the peer is gone without a word, as when a cable is pulled.

There are two network namespaces with a cable between them, which only root can make; without, these tests are
skipped."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket as stdlib_socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

import gevent.socket
import pytest
from client import Client, upgrade_head
from helpers import eventually
from tools import missing

import lws_gevent

SERVER, CLIENT = "10.203.77.1", "10.203.77.2"
CLONE_NEWNET = 0x40000000


class Cable:
    """Two namespaces, `server` and `client`, and what connects them."""

    def __init__(self) -> None:
        self.server, self.client = (f"lws-gevent-{os.getpid()}-{name}" for name in ("server", "client"))

    def lay(self) -> None:
        self._ip("netns", "add", self.server)
        self._ip("netns", "add", self.client)
        self._ip(
            "link", "add", "cable", "netns", self.server, "type", "veth", "peer", "name", "cable", "netns", self.client
        )
        for namespace, address in ((self.server, SERVER), (self.client, CLIENT)):
            self._ip("-n", namespace, "address", "add", f"{address}/24", "dev", "cable")
            self._ip("-n", namespace, "link", "set", "cable", "up")

    def pull(self) -> None:
        self._ip("-n", self.client, "link", "set", "cable", "down")

    def remove(self) -> None:
        for namespace in (self.server, self.client):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, timeout=20)

    def socket(self, namespace: str) -> Any:
        """A TCP socket of gevent's in that namespace, where it stays."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return gevent.socket.socket()
            finally:
                if libc.setns(home, CLONE_NEWNET) != 0:
                    os._exit(70)  # all that follows would run in the wrong namespace
        finally:
            os.close(home)
            os.close(there)

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def laid() -> Iterator[Cable]:
    """A cable, if this process may lay one."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        missing("there are no network namespaces, or no command ip")
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    cable = Cable()
    try:
        try:
            cable.lay()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        yield cable
    finally:
        cable.remove()


@pytest.fixture
def cable(laid: Cable) -> Iterator[Cable]:
    """The cable, in order."""
    subprocess.run(["ip", "-n", laid.client, "link", "set", "cable", "up"], check=True, timeout=20)
    yield laid


Scene = tuple[Any, Client, dict[str, Any]]


@pytest.fixture
def scene(cable: Cable, make_server: Any) -> Iterator[Callable[..., Scene]]:
    """A server, a client that is connected to it by the cable, and what the server tells of the connection's end."""
    clients: list[Client] = []

    def make(**options: Any) -> Scene:
        listener = cable.socket(cable.server)
        listener.bind((SERVER, 0))
        listener.listen()
        server = make_server(listener, **options)
        told: dict[str, Any] = {}
        server.on("close", lambda socket, code, reason: told.update(code=code, reason=reason))
        server.on("message", lambda socket, message: socket.send(message))
        sock = cable.socket(cable.client)
        eventually(lambda: sock.connect_ex((SERVER, server.port)) == 0, "the cable is up")
        client = Client(sock)
        clients.append(client)
        client.send_raw(upgrade_head("/"))
        assert client.recv_response().status == 101
        client.echo()
        fd = server.connections[0].fd
        eventually(lambda: unacknowledged(fd) == 0, "the client has acknowledged what it got")
        return server, client, told

    yield make
    for client in clients:
        client.reset()


def unacknowledged(descriptor: int) -> int:
    """Octets that were sent and that the peer's system has not confirmed."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def shutdown_is_seen_by_nobody(client: Client) -> None:
    """The client ends, and nothing of that reaches the server."""
    client.sock.shutdown(stdlib_socket.SHUT_WR)


@pytest.mark.parametrize(
    "options",
    [
        {"idle_timeout": 1},
        {"idle_timeout": None, "ping_interval": 0.5, "ping_timeout": 0.5},
        {"idle_timeout": None, "keep_alive_time": 1, "keep_alive_interval": 1, "keep_alive_retry": 1},
    ],
    ids=["idle_timeout", "ping", "keep_alive"],
)
def test_a_peer_whose_cable_is_pulled_is_found(cable: Cable, scene: Any, options: dict[str, Any]) -> None:
    server, client, told = scene(**options)
    cable.pull()
    shutdown_is_seen_by_nobody(client)
    eventually(lambda: told, "the end is noticed", 15)
    assert told["code"] == 1006
    assert server.connections == [] and server.stats()["closed"] == 1


def test_without_any_of_them_it_is_not(cable: Cable, scene: Any) -> None:
    """That the tests above show something: the system by itself says nothing."""
    server, client, told = scene(idle_timeout=None)
    cable.pull()
    shutdown_is_seen_by_nobody(client)
    gevent.sleep(1.5)
    assert not told and len(server.connections) == 1


@pytest.mark.parametrize(
    "options",
    [{"idle_timeout": 1}, {"idle_timeout": None, "ping_interval": 0.5, "ping_timeout": 0.5}],
    ids=["idle", "ping"],
)
def test_it_is_found_while_sent_octets_are_not_acknowledged(cable: Cable, scene: Any, options: dict[str, Any]) -> None:
    """TCP keep-alive waits for that, and the system sends again and again for a quarter of an hour."""
    server, client, told = scene(**options)
    cable.pull()
    server.connections[0].send(b"x" * 100_000)
    eventually(lambda: told, "the end is noticed", 15)
    assert told["code"] == 1006


def test_a_blocked_sender_is_released_when_its_peer_takes_nothing(cable: Cable, scene: Any, spawn: Any) -> None:
    server, client, told = scene(idle_timeout=None, send_timeout=1, max_backpressure=65536)
    cable.pull()
    socket = server.connections[0]

    def send() -> None:
        with pytest.raises(lws_gevent.ConnectionClosed, match="send_timeout"):
            while True:
                socket.send(bytes(65536))

    spawn(send).get(timeout=15)
    eventually(lambda: told)
    assert told["code"] == 1006


def test_a_stop_waits_no_longer_than_it_was_told(cable: Cable, scene: Any) -> None:
    server, client, told = scene(idle_timeout=None)
    cable.pull()
    with gevent.Timeout(10):
        server.stop(timeout=0.5)
    eventually(lambda: told)
    assert server.connections == []
