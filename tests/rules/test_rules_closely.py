"""The thirteen rules of the parked engine once more, one breach at a time: what test_rules.py would not tell apart."""

from __future__ import annotations

import contextvars
import gc
import hashlib
import os
import resource
import socket as sockets_of_python
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.local
import pytest
from client import BINARY, PING, TEXT, Client, close_payload, encode, upgrade_head
from helpers import ServerProcess, Stack, crowd, eventually, run_script, turns

from lws_gevent import BackpressureExceeded

pytestmark = pytest.mark.only("parked")

MASK = b"abcd"


# 1. A blocked handler does not make its connection deaf.


@pytest.mark.parametrize("end", ["close frame", "broken frame"])
def test_rule_01_what_stands_in_the_segment_behind_the_blocking_message_is_looked_at(
    make_server: Any, connect: Any, end: str
) -> None:
    server = make_server()
    release = gevent.event.Event()
    blocked: list[Any] = []
    codes: list[int] = []
    server.on("close", lambda socket, code: codes.append(code))

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        blocked.append(socket)
        release.wait()

    client = connect(server)
    last = encode(8, close_payload(4001), mask=MASK) if end == "close frame" else b"\xf1\x80" + MASK
    client.send_raw(encode(TEXT, "block", mask=MASK) + encode(PING, b"behind", mask=MASK))
    assert client.recv_pong() == b"behind"
    socket = blocked[0]
    client.send_raw(last)
    assert client.recv_close()[0] == (4001 if end == "close frame" else 1002)
    client.expect_eof()
    assert socket.closed and codes == []
    release.set()
    eventually(lambda: codes)
    assert codes == [4001 if end == "close frame" else 1002]


# 2. What was sent before blocking goes out before blocking.


def test_rule_02_a_handler_may_send_and_block_again_and_again(make_server: Any, connect: Any) -> None:
    server = make_server()
    gate = gevent.event.Event()

    @server.on("message")
    def message(socket: Any) -> None:
        for number in range(3):
            server.send(socket, f"{number}")
            gate.wait()
            gate.clear()

    client = connect(server)
    client.send("go")
    for number in range(3):
        assert client.recv_message() == f"{number}"
        gate.set()


# 3. Pooled greenlets leak nothing from one connection to the next.

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
local = gevent.local.local()
kept: list[Any] = []


MARKS: dict[str, tuple[Callable[[Any, str], Any], Callable[[Any], Any]]] = {
    "context variable": (lambda greenlet, what: variable.set(what), lambda greenlet: variable.get()),
    "gevent.local": (
        lambda greenlet, what: setattr(local, "value", what),
        lambda greenlet: getattr(local, "value", ""),
    ),
    "name": (
        lambda greenlet, what: setattr(greenlet, "name", "marked " + what),
        lambda greenlet: "marked" in greenlet.name and greenlet.name,
    ),
    "name, set only": (
        lambda greenlet, what: setattr(greenlet, "name", "marked") if what != "5" else None,
        lambda greenlet: len(kept) == 5 and "marked" in greenlet.name or kept.append(0),
    ),
    "attribute": (
        lambda greenlet, what: setattr(greenlet, "attribute", what),
        lambda greenlet: getattr(greenlet, "attribute", ""),
    ),
    "reference": (lambda greenlet, what: kept.append(greenlet), lambda greenlet: greenlet in kept[:-1]),
    "weak reference": (
        lambda greenlet, what: kept.append(weakref.ref(greenlet)),
        lambda greenlet: greenlet in [reference() for reference in kept[:-1]],
    ),
    "link": (lambda greenlet, what: greenlet.link(lambda _: kept.append(what)), lambda greenlet: greenlet.has_links()),
}


@pytest.mark.parametrize("batch", ["one batch", "one after the other"])
@pytest.mark.parametrize("mark", MARKS)
def test_rule_03_each_mark_alone_retires_its_greenlet(make_server: Any, connect: Any, mark: str, batch: str) -> None:
    server = make_server()
    leave, look = MARKS[mark]
    seen: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        greenlet = gevent.getcurrent()
        seen.append(look(greenlet))
        leave(greenlet, message)
        server.send(socket, message)

    clients = [connect(server) for _ in range(6)]
    for client in clients:
        client.ping()
        client.recv_pong()
    try:
        for number, client in enumerate(clients):
            client.send(f"{number}")  # without a switch
            if batch != "one batch":
                assert client.recv_message() == f"{number}"
        if batch == "one batch":
            assert [client.recv_message() for client in clients] == [f"{number}" for number in range(6)]
        assert not any(seen) and len(seen) == 6, seen
        if mark == "link":
            eventually(lambda: sorted(kept) == [f"{number}" for number in range(6)])
    finally:
        kept.clear()


@pytest.mark.parametrize("what", ["exit", "timeout", "exception"])
def test_rule_03_what_arrives_in_an_idle_greenlet_only_retires_it(
    make_server: Any, connect: Any, what: str, hub_errors: Any
) -> None:
    server = make_server(echo=True)
    client = connect(server)
    client.echo()
    idle = [thing for thing in gc.get_objects() if type(thing).__name__ == "HandlerGreenlet" and not thing.dead]
    assert idle
    for greenlet in idle:
        greenlet.kill(
            {"exit": gevent.GreenletExit(), "timeout": gevent.Timeout(1), "exception": LookupError()}[what], timeout=5
        )
        assert greenlet.dead
    del greenlet
    idle.clear()
    for number in range(3):
        client.echo(f"{number}")
    assert hub_errors == []


def test_rule_03_who_kills_the_greenlet_of_a_running_handler_sees_it_end(make_server: Any, connect: Any) -> None:
    server = make_server()
    greenlets: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "block":
            greenlets.append(gevent.getcurrent())
            gevent.event.Event().wait()
        server.send(socket, message)

    client, other = connect(server), connect(server)
    client.send("block")
    eventually(lambda: greenlets)
    greenlets[0].kill(timeout=5)
    assert greenlets[0].dead
    greenlets.clear()
    client.expect_close(1011)
    other.echo()


# 4. The handler boundary catches everything.


@pytest.mark.parametrize("event", ["connection", "message", "ping", "pong", "close", "drain", "dropped"])
@pytest.mark.parametrize("listeners", [1, 2])
def test_rule_04_the_boundary_is_around_each_event(
    make_server: Any, connect: Any, event: str, listeners: int, hub_errors: Any
) -> None:
    server = make_server(max_backpressure=50_000, backpressure="drop")
    errors: list[Any] = []
    ran: list[Any] = []
    server.on("error", lambda error: errors.append(error))

    def fails(socket: Any) -> None:
        ran.append(event)
        raise (LookupError(event), gevent.Timeout(1))[len(ran) % 2]

    if event != "message":

        @server.on("message")
        def message(socket: Any, message: str) -> None:
            if message == "flood":
                while server.send(socket, b"x" * 40_000):
                    pass
            else:
                server.send(socket, message)

    for _ in range(listeners):
        server.on(event, lambda socket: fails(socket))
    client = connect(server, receive_buffer=4096)
    if event in ("drain", "dropped"):
        client.send("flood")
    elif event == "close":
        client.disconnect()
    elif event == "message":
        client.send("go")
    elif event != "connection":
        client.send_frame(9 if event == "ping" else 10)
    if event != "close":
        client.expect_close(1011)
    eventually(lambda: len(errors) == len(ran) == listeners)
    assert {str(error) for error in errors} <= {event, str(gevent.Timeout(1))}
    server.off(event)
    if event != "message":
        connect(server).echo("still served")
    assert hub_errors == []


# 5. The receive buffer is shared.


def test_rule_05_a_large_message_that_a_handler_keeps_stays_what_it_is(make_server: Any, connect: Any) -> None:
    server = make_server()
    messages: list[bytes] = []

    @server.on("message")
    def message(socket: Any, message: bytes) -> None:
        if message[0] % 2:
            messages.append(message)
        server.send(socket, hashlib.sha256(message).digest())

    client = connect(server)
    for number in range(12):
        data = bytes([number]) * 200_000
        client.send(data)
        assert client.recv_message() == hashlib.sha256(data).digest()
    assert messages == [bytes([number]) * 200_000 for number in range(12) if number % 2]


def test_rule_05_frames_that_come_octet_by_octet_amid_other_traffic_are_whole(make_server: Any, connect: Any) -> None:
    server = make_server(echo=True)
    client, noisy = connect(server), connect(server)
    for length in (5, 200, 70_000):
        data = bytes(range(256)) * (length // 256 + 1)
        data = data[:length]
        frame = encode(BINARY, data, mask=MASK)
        for position in range(14):
            client.send_raw(frame[position : position + 1])
            noisy.echo(bytes([position]) * 3000)
        client.send_raw(frame[14:])
        assert client.recv_message() == data


# 6. Closing.


def occupy_free_descriptors() -> list[int]:
    """Takes every descriptor number below the highest one in use: the next that is closed is the next that is used."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # valgrind has descriptors of its own above it
    highest = max(number for number in map(int, os.listdir("/proc/self/fd")) if number < limit)
    taken = [os.dup(0)]
    while taken[-1] <= highest:
        taken.append(os.dup(0))
    return taken


def test_rule_06_the_event_of_a_closed_connection_is_not_taken_for_one_of_its_successor(
    make_server: Any, connect: Any
) -> None:
    """In one batch: a message whose handler terminates another connection, a new connection, which gets the descriptor
    of that and whose handler blocks, and the reset of the terminated one."""
    server = make_server()
    release = gevent.event.Event()
    by_path: dict[str, Any] = {}
    descriptors: dict[str, int] = {}
    codes: dict[str, int] = {}
    server.on("close", lambda socket, code: codes.__setitem__(socket.path, code))

    @server.on("connection")
    def connection(socket: Any) -> None:
        by_path[socket.path] = socket
        descriptors[socket.path] = socket.fd
        if socket.path == "/successor":
            release.wait()
            server.send(socket, "unharmed")

    @server.on("message")
    def message(socket: Any) -> None:
        by_path["/victim"].terminate()

    killer, victim = connect(server, "/killer"), connect(server, "/victim")
    eventually(lambda: len(by_path) == 2)
    successor = sockets_of_python.socket()
    successor.setblocking(False)
    taken: list[int] = []
    try:
        killer.send("kill it")
        successor.connect_ex(("127.0.0.1", server.port))
        successor.send(upgrade_head("/successor"))
        victim.reset()
        taken = occupy_free_descriptors()
        eventually(lambda: "/successor" in by_path)
        assert descriptors["/successor"] == descriptors["/victim"], "the test does not test what it says"
        turns()
        assert not by_path["/successor"].closed
        release.set()
        client = Client(gevent.socket.socket(fileno=successor.detach()))
        assert client.recv_response().status == 101
        assert client.recv_message() == "unharmed"
        client.disconnect()
        eventually(lambda: "/successor" in codes)
    finally:
        successor.close()
        for descriptor in taken:
            os.close(descriptor)


def test_rule_06_a_forked_child_that_holds_closed_descriptors_keeps_nothing_ready(stack: Stack) -> None:
    run_script("fork_quiet.py", stack.engine, stack=stack)


# 8. Bounds.


def test_rule_08_large_messages_are_bounded_in_octets(make_server: Any, connect: Any) -> None:
    listener = gevent.socket.socket()
    listener.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_RCVBUF, 4_000_000)  # each read is a full one
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = make_server(listener, max_payload=None)
    count = 0
    at: list[int] = []

    @server.on("message")
    def message(socket: Any, message: Any, binary: bool) -> None:
        nonlocal count
        if binary:
            count += 1
        else:
            at.append(count)

    busy, other = connect(server), connect(server)
    for client in (busy, other):
        client.ping()
        client.recv_pong()
    piece = encode(BINARY, b"x" * 60_000, mask=MASK)
    busy.sock.settimeout(0)
    sent = 0
    data = piece * 100
    try:
        while sent < len(data):  # as much as the kernel takes before the server looks
            sent += busy.send_some(data[sent:])
    except BlockingIOError:
        pass
    other.send("my turn")
    assert sent > 2_000_000
    eventually(lambda: at)
    assert at[0] * len(piece) < 1_500_000, "it waited until the busy one was done"
    busy.sock.settimeout(busy.timeout)
    busy.send_raw(data[sent:])
    eventually(lambda: count == 100)


def test_rule_08_many_new_connections_do_not_keep_others_waiting(make_server: Any, connect: Any) -> None:
    server = make_server(backlog=500)
    opened = 0
    at: list[int] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        nonlocal opened
        opened += 1

    server.on("message", lambda socket: at.append(opened))
    client = connect(server)
    eventually(lambda: opened == 1)
    with crowd(server, [upgrade_head("/")] * 300):
        client.send("my turn")
        eventually(lambda: at)
        assert at[0] < 200
        eventually(lambda: opened == 301)


# 9. Order.


def test_rule_09_one_handler_of_a_connection_runs_at_a_time_and_in_order(make_server: Any, connect: Any) -> None:
    server = make_server(idle_timeout=30)
    running = 0
    order: list[str] = []

    def enter(name: str) -> None:
        nonlocal running
        running += 1
        assert running == 1, name
        order.append(name)
        gevent.sleep(0.002)
        running -= 1

    server.on("connection", lambda socket: enter("connection"))
    server.on("message", lambda socket, message: enter(message))
    server.on("pong", lambda socket, data: enter("pong"))
    server.on("close", lambda socket: enter("close"))
    client = connect(server)
    for number in range(20):
        client.send(f"{number}")
        client.send_frame(10)
        if number % 3 == 0:
            gevent.sleep(0.001)
    client.send_close(1000)
    eventually(lambda: "close" in order)
    assert [name for name in order if name != "pong"] == ["connection", *map(str, range(20)), "close"]
    assert order[-1] == "close"


def test_rule_09_drain_waits_for_the_running_handler(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=50_000)
    release = gevent.event.Event()
    order: list[str] = []
    filled: list[Any] = []

    @server.on("message")
    def message(socket: Any) -> None:
        while socket.buffered_amount <= 50_000:
            server.send(socket, b"x" * 40_000)
        filled.append(socket)
        release.wait()
        order.append("handler returns")

    server.on("drain", lambda socket: order.append("drain"))
    client = connect(server, receive_buffer=4096)
    client.send("fill")
    eventually(lambda: filled)
    reader = gevent.spawn(client.drain_to_eof)
    eventually(lambda: filled[0].buffered_amount == 0)
    turns()
    assert order == []
    release.set()
    eventually(lambda: len(order) == 2)
    assert order == ["handler returns", "drain"]
    reader.kill()


def test_rule_09_who_sends_later_queues_behind_those_who_wait(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(max_backpressure=50_000)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, receive_buffer=4096)
    eventually(lambda: sockets)
    socket = sockets[0]
    while socket.buffered_amount <= 50_000:
        socket.send(b"fill" * 10_000)
    waiting = spawn(server.send, socket, b"first")
    turns(3)
    late: list[gevent.Greenlet] = []

    def send_as_soon_as_there_is_room() -> None:
        while socket.buffered_amount > 50_000:
            gevent.get_hub().loop.run_callback(gevent.getcurrent().switch)
            gevent.get_hub().switch()
        server.send(socket, b"second")

    late.append(spawn(send_as_soon_as_there_is_room))
    got: list[Any] = []
    while len(got) < 2:
        message = client.recv_message()
        if not message.startswith(b"fill"):
            got.append(message)
    assert got == [b"first", b"second"]
    gevent.joinall([waiting, *late], raise_error=True)


# 10. User code never runs in the hub.


def test_rule_10_what_a_send_from_the_hub_leads_to_is_delivered_elsewhere(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=50_000, backpressure="drop")
    sockets: list[Any] = []
    where: list[Any] = []
    hub = gevent.get_hub()
    server.on("connection", sockets.append)
    server.on("dropped", lambda socket: where.append(gevent.getcurrent()))
    connect(server, receive_buffer=4096)
    eventually(lambda: sockets)

    def in_the_hub() -> None:
        while server.send(sockets[0], b"x" * 40_000):
            pass

    hub.loop.run_callback(in_the_hub)
    eventually(lambda: where)
    assert hub not in where
    where.clear()


def test_rule_10_a_blocking_send_from_the_hub_names_the_error_and_changes_nothing(
    make_server: Any, connect: Any
) -> None:
    server = make_server(max_backpressure=50_000)
    sockets: list[Any] = []
    outcome: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, receive_buffer=4096)
    eventually(lambda: sockets)
    count = 0
    while sockets[0].buffered_amount <= 50_000:
        server.send(sockets[0], b"x" * 40_000)
        count += 1

    def in_the_hub() -> None:
        try:
            server.send(sockets[0], "never")
        except BackpressureExceeded as error:
            outcome.append(error)

    gevent.get_hub().loop.run_callback(in_the_hub)
    eventually(lambda: outcome)
    for _ in range(count):
        assert client.recv_message() == b"x" * 40_000
    eventually(lambda: sockets[0].buffered_amount == 0)
    server.send(sockets[0], "after")
    assert client.recv_message() == "after"


# 11. Stopping.


@pytest.mark.parametrize("options", ["{}", '{"idle_timeout": 60}', '{"ping_interval": 20, "ping_timeout": 20}'])
def test_rule_11_nothing_of_the_engine_is_active_when_the_server_has_stopped(stack: Stack, options: str) -> None:
    run_script("wait_idle.py", stack.engine, options, stack=stack)


# 12. The memory budget.


def test_rule_12_what_was_needed_for_a_while_is_given_back(stack: Stack) -> None:
    """Connections that have had a partial frame, which needs memory of their own, cost as little as before."""
    count = 1500
    frame = encode(BINARY, b"x" * 3000, mask=MASK)
    with ServerProcess(stack) as server:
        clients: list[Client] = []

        def use(some: list[Client]) -> None:
            for client in some:  # one by one: memory that is given back serves the next
                client.send_raw(frame[:2000])
                server.ask("connections")  # a turn of its hub: it has read the part
                client.send_raw(frame[2000:])
                assert client.recv_message() == b"x" * 3000

        try:
            for _ in range(count):
                clients.append(Client.connect(server.address))
            eventually(lambda: server.ask("connections") == str(count))
            use(clients[:300])  # whatever is allocated once is there
            before = server.memory()
            use(clients[300:])
            each = (server.memory() - before) / (count - 300)
        finally:
            for client in clients:
                client.disconnect()
        assert each < 100, f"{each:.0f} octets more for each connection"
        eventually(lambda: server.ask("connections") == "0")
        server.stop()
