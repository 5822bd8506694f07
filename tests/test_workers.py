"""Several processes on one port: real ones, looked at from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from client import FACTOR, Client
from helpers import SCRIPTS, Stack, environment
from tools import Process, listening, lws_gevent

import lws_gevent as package

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


class Workers(Process):
    """tests/scripts/workers.py; `address` is where it serves."""

    def __init__(self, stack: Stack, count: int = 3, **told: Any) -> None:
        told["options"] = {"workers": count, "engine": stack.engine, "close_timeout": 5, **told.get("options", {})}
        super().__init__([sys.executable, str(SCRIPTS / "workers.py"), json.dumps(told)], environment(stack))
        address = json.loads(self.line())
        self.address = address if isinstance(address, str) else tuple(address)
        self.seen: set[int] = set()

    def connect(self) -> tuple[Client, int]:
        """A client, and the process that serves it."""
        client = Client.connect(self.address)
        client.send("process")
        pid, is_child, _ = str(client.recv_message()).split(" ", 2)
        assert is_child == "True"
        self.seen.add(int(pid))
        return client, int(pid)

    def each(self, count: int, besides: frozenset[int] = frozenset()) -> dict[int, Client]:
        """A client of each of `count` processes that are not among `besides`. The system decides which one serves a
        connection, so as many are made as it takes."""
        found: dict[int, Client] = {}
        deadline = time.monotonic() + 15 * FACTOR
        while len(found) < count:
            assert time.monotonic() < deadline, (found, self.printed)
            try:
                client, pid = self.connect()
            except (OSError, EOFError):
                continue  # by one that was about to die
            if pid in found or pid in besides:
                client.disconnect()
            else:
                found[pid] = client
        return found

    def says(self, text: str) -> None:
        """Waits until this stands on its standard error."""
        self._until(lambda: text.encode() in self.errors, text, 20)

    def kill(self) -> None:
        super().kill()
        for pid in self.seen:  # those that are left have failed the test already, or the test has killed the parent
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """It ends by itself, with status 0, and no worker is left."""
        assert self.wait() == 0, self.printed
        assert self.output.endswith(b"returned\n") and self.output.count(b"returned") == 1
        assert [pid for pid in self.seen if is_alive(pid)] == []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pids: Any) -> None:
    deadline = time.monotonic() + 15 * FACTOR
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def workers(stack: Stack, count: int = 3, **told: Any) -> Iterator[Workers]:
    with Workers(stack, count, **told) as process:
        yield process


def test_several_processes_serve_one_port(stack: Stack) -> None:
    with workers(stack) as process:
        clients = process.each(3)
        assert len(process.seen) == 3 and process.pid not in process.seen
        for client in clients.values():
            client.echo()
        deadline = time.monotonic() + 10 * FACTOR
        connections = 0
        while connections != 1:  # those of this process alone, once it has noticed that the others are gone
            assert time.monotonic() < deadline
            client.send("process")
            connections = json.loads(str(client.recv_message()).split(" ", 2)[2])["connections"]
        process.signal(signal.SIGTERM)
        for client in clients.values():
            client.expect_close(1001)
        process.end()
        with pytest.raises(OSError):
            Client.open(process.address)
        assert process.errors == b""


@pytest.mark.parametrize("listener", ["socket", "unix"])
def test_what_cannot_be_shared_is_inherited(stack: Stack, listener: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with workers(stack, 2, listener=f"unix:{path}" if listener == "unix" else listener) as process:
        clients = [process.connect()[0] for _ in range(20)]
        for client in clients:
            client.echo()
        process.signal(signal.SIGTERM)
        for client in clients:
            client.expect_close(1001)
        process.end()
        assert not path.exists()


def test_a_patched_program_has_workers_too(stack: Stack) -> None:
    with workers(stack, 2, patched=True) as process:
        clients = process.each(2)
        process.signal(signal.SIGTERM)
        for client in clients.values():
            client.expect_close(1001)
        process.end()


def test_control_c_in_a_terminal_reaches_all_and_stops_them_politely(stack: Stack) -> None:
    with workers(stack) as process:
        clients = process.each(3)
        for pid in process.seen:
            os.kill(pid, signal.SIGINT)
        process.signal(signal.SIGINT)
        for client in clients.values():
            client.expect_close(1001)
        process.end()


def test_a_second_signal_ends_all_at_once(stack: Stack) -> None:
    with workers(stack, 2, options={"close_timeout": 100}) as process:
        clients = process.each(2)
        process.signal(signal.SIGTERM)
        for client in clients.values():
            assert client.recv_close()[0] == 1001  # which stays unanswered, so that all wait
        process.signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        wait_until_dead(process.seen)


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(stack: Stack) -> None:
    with workers(stack, 2) as process:
        clients = process.each(2)
        victim, other = clients
        os.kill(victim, signal.SIGKILL)
        clients[victim].drain_to_eof()
        replacement = process.each(1, frozenset(clients))
        clients[other].echo("still here")
        (successor,) = replacement
        replacement[successor].send("exit 0")  # which nobody has asked for: it is replaced as well
        third = process.each(1, frozenset((victim, other, successor)))
        process.says(f"worker {victim} was ended by signal 9; another one starts")
        clients[other].echo("and here")
        process.signal(signal.SIGTERM)
        for client in (clients[other], *third.values()):
            client.expect_close(1001)
        process.end()


def test_a_worker_that_is_told_to_end_ends_politely_and_is_replaced(stack: Stack) -> None:
    with workers(stack, 2) as process:
        clients = process.each(2)
        first, other = clients
        os.kill(first, signal.SIGTERM)
        clients[first].expect_close(1001)
        replacement = process.each(1, frozenset(clients))
        clients[other].echo("still here")
        process.signal(signal.SIGTERM)
        for client in (clients[other], *replacement.values()):
            client.expect_close(1001)
        process.end()


def test_workers_that_die_at_once_are_restarted_later_and_later(stack: Stack, tmp_path: Path) -> None:
    marker = tmp_path / "die"
    marker.touch()
    with workers(stack, 2, dies_while=str(marker)) as process:
        process.says("starts in 1 s")
        marker.unlink()
        assert b"has ended with status 3; another one starts in 0.5 s" in process.errors
        clients = process.each(2)
        assert process.errors.count(b"\n") <= 6
        process.signal(signal.SIGTERM)
        for client in clients.values():
            client.expect_close(1001)
        process.end()


def test_a_signal_while_dead_workers_wait_for_their_time_ends_it(stack: Stack, tmp_path: Path) -> None:
    marker = tmp_path / "die"
    marker.touch()
    with workers(stack, 2, dies_while=str(marker)) as process:
        process.says("starts in 0.5 s")
        process.signal(signal.SIGTERM)
        process.end()


def test_a_worker_that_cannot_be_replaced_at_once_is_replaced_later(stack: Stack, tmp_path: Path) -> None:
    marker = tmp_path / "no fork"
    with workers(stack, 2, no_fork_while=str(marker)) as process:
        clients = process.each(2)
        victim, other = clients
        marker.touch()
        os.kill(victim, signal.SIGKILL)
        process.says("cannot start a worker ([Errno 11] no more processes); the next attempt is in 1 s")
        clients[other].echo("still here")
        marker.unlink()
        replacement = process.each(1, frozenset(clients))
        process.signal(signal.SIGTERM)
        for client in (clients[other], *replacement.values()):
            client.expect_close(1001)
        process.end()


def test_workers_that_cannot_be_started_at_first_are_an_error(stack: Stack, tmp_path: Path) -> None:
    with Workers(stack, 2, no_fork_while=str(tmp_path)) as process:
        assert process.wait() == 1
        assert process.errors.endswith(b"BlockingIOError: [Errno 11] no more processes\n")


def test_a_program_that_ignores_its_children_has_workers_too(stack: Stack) -> None:
    with workers(stack, 2, ignores_children=True) as process:
        clients = process.each(2)
        victim, other = clients
        os.kill(victim, signal.SIGKILL)
        process.says(f"worker {victim} has ended; another one starts")
        replacement = process.each(1, frozenset(clients))
        process.signal(signal.SIGTERM)
        for client in (clients[other], *replacement.values()):
            client.expect_close(1001)
        process.end()


def test_stopping_the_server_in_one_worker_stops_all(stack: Stack) -> None:
    with workers(stack) as process:
        clients = process.each(3)
        next(iter(clients.values())).send("stop")
        for client in clients.values():
            client.expect_close(1001)
        process.end()


def test_when_the_parent_is_killed_the_workers_stop(stack: Stack) -> None:
    with workers(stack, 2) as process:
        clients = process.each(2)
        process.signal(signal.SIGKILL)
        for client in clients.values():
            client.expect_close(1001)
        wait_until_dead(process.seen)


def test_a_worker_whose_hub_does_not_run_is_killed(stack: Stack) -> None:
    with workers(stack, 2, stop_timeout=0.1, grace=0.3) as process:
        clients = process.each(2)
        hanging, polite = clients.values()
        hanging.send("hang")
        assert process.line() == "hanging"
        process.signal(signal.SIGTERM)
        polite.expect_close(1001)
        process.end()
        assert b"workers that do not stop are killed" in process.errors


def test_that_a_broadcast_reaches_one_process_only_is_said_once(stack: Stack) -> None:
    with workers(stack, 2) as process:
        clients = process.each(2)
        for _ in range(3):
            for client in clients.values():
                client.send("broadcast")
                assert {"to all", "to subscribers"} <= {client.recv_message() for _ in range(3)}
        process.signal(signal.SIGTERM)
        for client in clients.values():
            client.expect_close(1001)
        process.end()
        assert process.errors.count(b"reach the connections of one process only") == 1


def test_a_port_in_use_is_an_error_before_anything_is_forked(stack: Stack) -> None:
    with workers(stack, 2) as process:
        clients = process.each(2)
        with pytest.raises(OSError, match="cannot listen on"):
            package.Server(process.address, workers=2, engine=stack.engine).serve_forever()
        process.signal(signal.SIGTERM)
        for client in clients.values():
            client.expect_close(1001)
        process.end()


def test_only_serve_forever_makes_workers(stack: Stack) -> None:
    server = package.Server(port=0, host="127.0.0.1", workers=2, engine=stack.engine)
    with pytest.raises(RuntimeError, match="serve_forever"):
        server.start()
    with pytest.raises(RuntimeError, match="serve_forever"), server:
        pass
    server.stop()


@pytest.mark.parametrize(
    ("options", "error"),
    [({"workers": 0}, ValueError), ({"workers": "2"}, TypeError), ({"workers": 2, "port": None}, ValueError)],
)
def test_wrong_options_are_named(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="workers"):
        package.Server(**{"port": 0, **options})


# The command


@pytest.mark.parametrize("command", ["echo", "broadcast"])
def test_the_command_says_that_it_listens_once_all_workers_do(stack: Stack, command: str) -> None:
    with lws_gevent(command, "--port", "0", "--workers", "3", stack=stack) as process:
        address = listening(process)
        clients = [Client.connect(address) for _ in range(12)]
        for client in clients:
            client.echo()
        process.signal(signal.SIGTERM)
        for client in clients:
            client.expect_close(1001)
        assert process.wait() == 0
        assert process.output.count(b"\n") == 1
        assert process.errors.decode().splitlines()[0].endswith(", 3 workers")


def test_the_command_says_that_the_port_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with lws_gevent("echo", "--port", str(port), "--workers", "2") as process:
            assert process.wait() == 2
            assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in process.errors.decode()
            assert process.output == b""
