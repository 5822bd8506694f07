"""The thirteen rules of the parked engine, each shown by what it would look like from outside if it were broken."""

from __future__ import annotations

import contextvars
import gc
import hashlib
import os
import random
import sys
import weakref
from typing import Any

import gevent
import gevent.event
import gevent.local
import gevent.util
import pytest
from client import BINARY, TEXT, Client, encode
from helpers import LoopTurns, ServerProcess, Stack, eventually, open_descriptors, run_script, turns

from lws_gevent import BackpressureExceeded, ConnectionClosed

pytestmark = pytest.mark.only("parked")


class Blocking:
    """A server whose handler blocks on "block" until released, echoes everything else, and remembers."""

    def __init__(self, make_server: Any, **options: Any) -> None:
        self.release = gevent.event.Event()
        self.blocked: dict[Any, Any] = {}
        self.handled: list[Any] = []
        self.closes: list[Any] = []
        self.server = make_server(**options)
        self.server.on("message", self.message)
        self.server.on("close", lambda socket, code: self.closes.append((socket.path, code)))

    def message(self, socket: Any, message: Any, binary: bool) -> None:
        self.handled.append(message)
        if message == "block":
            self.blocked[socket.path] = socket
            self.release.wait()
            if socket.closed:
                return
        self.server.send(socket, message, binary)

    def block(self, client: Client, path: str) -> Any:
        client.send("block")
        eventually(lambda: path in self.blocked)
        return self.blocked[path]


def fill(client: Client, piece: bytes = encode(BINARY, b"x" * 60000)) -> int:
    """Send until the server takes no more; how many octets."""
    client.sock.settimeout(0)
    sent = stuck = 0
    rest = b""
    while stuck < 20:
        rest = rest or piece
        try:
            count = client.send_some(rest)
            rest, sent, stuck = rest[count:], sent + count, 0
        except BlockingIOError:
            stuck += 1
            turns(3)
        assert sent < 64 * 1024 * 1024, "the server reads on and on"
    client.sock.settimeout(client.timeout)
    return sent


def quiet(seconds: float = 0.1) -> None:
    """The loop must not spin: while everybody sleeps it goes round a few times, not thousands."""
    with LoopTurns() as loop:
        gevent.sleep(seconds)
    assert loop.count < 30, f"{loop.count} turns in {seconds} s"


# 1. A blocked handler does not make its connection deaf.


@pytest.mark.also_over_tls
def test_rule_01_a_blocked_connection_answers_pings_and_sees_a_close(make_server: Any, connect: Any) -> None:
    scene = Blocking(make_server)
    client = connect(scene.server, "/a")
    socket = scene.block(client, "/a")
    client.ping(b"1")
    assert client.recv_pong() == b"1"
    client.send("queued")
    client.ping(b"2")
    assert client.recv_pong() == b"2"
    client.send_close(4000)
    assert client.recv_close()[0] == 4000
    client.expect_eof()
    eventually(lambda: socket.closed)
    with pytest.raises(ConnectionClosed):
        socket.send("x")
    assert scene.closes == [] and scene.handled == ["block"]
    scene.release.set()
    eventually(lambda: scene.closes)
    assert scene.closes == [("/a", 4000)]


@pytest.mark.also_over_tls
@pytest.mark.parametrize("data", ["nothing unread", "a little", "more than the bound"])
@pytest.mark.parametrize("end", ["reset", "disconnect", "half_close", "stay"])
def test_rule_01_a_busy_connection_that_ends_or_overflows_uses_no_cpu(
    make_server: Any, connect: Any, data: str, end: str
) -> None:
    scene = Blocking(make_server)
    client = connect(scene.server, "/a")
    socket = scene.block(client, "/a")
    if data == "a little":
        client.send("queued")
    elif data == "more than the bound":
        fill(client)
    if end != "stay":
        getattr(client, end)()
        if end == "reset" or data != "more than the bound":
            eventually(lambda: socket.closed)
    turns()
    quiet()
    scene.release.set()
    if end != "stay":
        eventually(lambda: scene.closes)
        assert scene.closes == [("/a", 1006)]


@pytest.mark.also_over_tls
def test_rule_01_what_is_read_ahead_is_bounded_and_nothing_is_lost(make_server: Any, connect: Any) -> None:
    scene = Blocking(make_server)
    client = connect(scene.server, "/a")
    scene.block(client, "/a")
    piece = encode(TEXT, "y" * 1000, mask=b"abcd")
    sent = fill(client, piece)
    assert sent < 16 * 1024 * 1024
    reader = gevent.spawn(client.drain_to_eof)
    scene.release.set()
    client.send_raw(piece[sent % len(piece) :])
    whole = sent // len(piece) + 1
    eventually(lambda: len(scene.handled) == 1 + whole)
    assert scene.handled[1:] == ["y" * 1000] * whole
    reader.kill()


def test_rule_01_idle_deadlines_rest_while_we_do_not_read(make_server: Any, connect: Any) -> None:
    scene = Blocking(make_server, idle_timeout=0.4)
    client = connect(scene.server, "/a")
    socket = scene.block(client, "/a")
    fill(client)
    gevent.sleep(1.5)
    assert not socket.closed
    scene.release.set()
    assert client.recv_message() == "block"


# 2. What was sent before blocking goes out before blocking.


@pytest.mark.also_over_tls
@pytest.mark.parametrize("event", ["connection", "message", "ping"])
def test_rule_02_what_was_sent_before_blocking_arrives_before_it_ends(
    make_server: Any, connect: Any, event: str
) -> None:
    server = make_server()
    release = gevent.event.Event()

    @server.on(event)
    def handler(socket: Any) -> None:
        server.send(socket, "a")
        release.wait()
        server.send(socket, "b")

    client = connect(server)
    if event == "message":
        client.send("go")
    elif event == "ping":
        client.ping()
    assert client.recv_message() == "a"
    release.set()
    assert client.recv_message() == "b"


@pytest.mark.also_over_tls
def test_rule_02_what_was_sent_to_others_before_blocking_arrives_too(make_server: Any, connect: Any) -> None:
    server = make_server()
    release = gevent.event.Event()
    sockets: dict[str, Any] = {}
    server.on("connection", lambda socket: sockets.__setitem__(socket.path, socket))

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        server.send(sockets["/other"], "to another")
        server.broadcast("to all")
        if message == "block":
            release.wait()

    blocking, other = connect(server, "/blocking"), connect(server, "/other")
    eventually(lambda: len(sockets) == 2)
    blocking.send("block")
    assert [other.recv_message(), other.recv_message()] == ["to another", "to all"]
    assert blocking.recv_message() == "to all"
    release.set()


def test_rule_02_what_the_batch_sent_goes_out_when_a_later_handler_of_it_blocks(make_server: Any, connect: Any) -> None:
    scene = Blocking(make_server)
    clients = [connect(scene.server, f"/{n}") for n in range(20)]
    for client in clients:
        client.echo()
    for number, client in enumerate(clients):  # no switch in between: one batch
        client.send("block" if number % 3 == 1 else f"{number}")
    for number, client in enumerate(clients):
        if number % 3 != 1:
            assert client.recv_message() == f"{number}"
    scene.release.set()
    for number, client in enumerate(clients):
        if number % 3 == 1:
            assert client.recv_message() == "block"


@pytest.mark.also_over_tls
def test_rule_02_what_a_greenlet_outside_handlers_sends_goes_out(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server)
    eventually(lambda: sockets)

    def send_and_block() -> None:
        server.send(sockets[0], "from a greenlet")
        gevent.event.Event().wait()

    spawn(send_and_block)
    assert client.recv_message() == "from a greenlet"
    gevent.get_hub().loop.run_callback(server.send, sockets[0], "from the hub")
    assert client.recv_message() == "from the hub"


# 3. Pooled greenlets leak nothing from one connection to the next.

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
local = gevent.local.local()


def test_rule_03_locals_context_variables_and_names_are_not_seen_by_others(make_server: Any, connect: Any) -> None:
    server = make_server()
    seen: list[Any] = []
    greenlets: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        greenlet = gevent.getcurrent()
        greenlets.append(weakref.ref(greenlet))
        seen.append(
            (
                variable.get(),
                getattr(local, "value", "unset"),
                getattr(greenlet, "attribute", "unset"),
                "marked" in greenlet.name,
            )
        )
        variable.set(socket.path)
        local.value = socket.path
        greenlet.name = "marked " + socket.path
        try:
            greenlet.attribute = socket.path
        except AttributeError:
            pass
        server.send(socket, message)

    for number in range(10):
        connect(server, f"/{number}").echo("one")
    assert seen == [("unset", "unset", "unset", False)] * 10


def test_rule_03_a_running_timeout_of_one_handler_never_hits_another(make_server: Any, connect: Any) -> None:
    server = make_server()
    hit: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "leave a timeout":
            gevent.Timeout.start_new(0.05)
        else:
            try:
                gevent.sleep(0.2)
            except gevent.Timeout as timeout:
                hit.append(timeout)
        server.send(socket, message)

    first, second = connect(server), connect(server)
    for _ in range(3):
        first.echo("leave a timeout")
        second.send("sleep")
        assert second.recv_message() == "sleep"
    assert hit == []


def test_rule_03_killing_the_greenlet_of_a_handler_that_has_returned_harms_nobody(
    make_server: Any, connect: Any
) -> None:
    scene = Blocking(make_server)
    greenlets: list[Any] = []
    scene.server.on("message", lambda socket: greenlets.append(gevent.getcurrent()))
    first, second = connect(scene.server, "/first"), connect(scene.server, "/second")
    first.echo("done")
    scene.block(second, "/second")
    for greenlet in greenlets[:1]:
        greenlet.kill(block=False)
        greenlet.kill(gevent.Timeout(1), block=False)
    turns()
    first.echo("still served")
    scene.release.set()
    assert second.recv_message() == "block"
    second.echo("still served")
    assert scene.closes == []
    greenlets.clear()


def test_rule_03_links_are_called_and_belong_to_their_greenlet_alone(make_server: Any, connect: Any) -> None:
    server = make_server()
    linked: list[Any] = []

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "link":
            gevent.getcurrent().link(lambda greenlet: linked.append(message))
        server.send(socket, message)

    client, other = connect(server), connect(server)
    client.echo("link")
    eventually(lambda: linked)
    other.echo("other")
    client.echo("once more")
    turns()
    assert linked == ["link"]


def test_rule_03_run_info_shows_connection_and_handler(make_server: Any, connect: Any) -> None:
    scene = Blocking(make_server)
    client = connect(scene.server, "/which-one")
    scene.block(client, "/which-one")
    gc.unfreeze()  # gevent asks the collector for greenlets, which tells nothing of what the leak checks have frozen
    info = "\n".join(gevent.util.format_run_info())
    assert "message" in info
    assert f"{client.sock.getsockname()[1]}" in info or "/which-one" in info
    scene.release.set()
    assert client.recv_message() == "block"


# 4. The handler boundary catches everything; the batch goes on.


def test_rule_04_whatever_handlers_raise_the_batch_goes_on(make_server: Any, connect: Any, hub_errors: Any) -> None:
    server = make_server()
    errors: list[Any] = []
    closes: dict[str, int] = {}
    server.on("error", lambda error: errors.append(type(error).__name__))
    server.on("close", lambda socket, code: closes.__setitem__(socket.path, code))
    kinds = {
        "exception": LookupError("boom"),
        "timeout": gevent.Timeout(1),
        "exit": gevent.GreenletExit(),
        "interrupt": KeyboardInterrupt(),
        "system exit": SystemExit(1),
        "closed": ConnectionClosed(1006, ""),
        "base": BaseException("base"),
        "stop": StopIteration(),
        "generator exit": GeneratorExit(),
        "memory": MemoryError(),
    }

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message in kinds:
            raise kinds[message]
        server.send(socket, message)

    names = list(kinds)
    bad = [connect(server, f"/{name.replace(' ', '-')}") for name in names]
    good = [connect(server, f"/good{number}") for number in range(len(names))]
    for client in bad + good:
        client.ping()
        client.recv_pong()
    for name, one, other in zip(names, bad, good, strict=True):  # no switch in between: one batch, good and bad in turn
        one.send(name)
        other.send(f"good {name}")
    for name, other in zip(names, good, strict=True):
        assert other.recv_message() == f"good {name}"
    for name, one in zip(names, bad, strict=True):
        if name != "closed":
            one.expect_close(1011)
    eventually(lambda: len(closes) == len(names) - 1)
    assert set(closes.values()) == {1011}
    assert sorted(entry[1].__name__ for entry in hub_errors) == ["KeyboardInterrupt", "SystemExit"]
    hub_errors.clear()
    assert {"LookupError", "Timeout", "StopIteration", "MemoryError"} <= set(errors)
    assert not {"GreenletExit", "KeyboardInterrupt", "SystemExit", "ConnectionClosed"} & set(errors)


# 5. The receive buffer is shared.


@pytest.mark.also_over_tls
def test_rule_05_whoever_switches_finds_its_own_octets_afterwards(make_server: Any, connect: Any, spawn: Any) -> None:
    """Random messages, whole, split and pipelined, on many connections whose handlers switch in different places."""
    server = make_server()
    pick = random.Random(5)

    @server.on("message")
    def message(socket: Any, message: bytes) -> None:
        digest = hashlib.sha256(message).digest()
        for _ in range(pick.randrange(3)):
            gevent.sleep(0)
        assert hashlib.sha256(message).digest() == digest
        server.send(socket, message)

    def talk(number: int) -> None:
        chance = random.Random(number)
        client = connect(server, f"/{number}")
        for _ in range(10):
            messages = [
                chance.randbytes(chance.choice([0, 10, 200, 5000, 70000])) for _ in range(chance.randrange(1, 6))
            ]
            stream = b"".join(encode(BINARY, message) for message in messages)
            sending = gevent.spawn(send, client, stream, chance)
            for message in messages:
                assert client.recv_message() == message
            sending.get()

    def send(client: Client, stream: bytes, chance: random.Random) -> None:
        while stream:
            count = chance.choice([1, 7, 1000, 20000, 100000])
            client.send_raw(stream[:count])
            stream = stream[count:]
            if chance.random() < 0.5:
                gevent.sleep(0)

    gevent.joinall([spawn(talk, number) for number in range(20)], raise_error=True)


@pytest.mark.also_over_tls
def test_rule_05_pipelined_messages_behind_a_blocked_one_survive_other_traffic(make_server: Any, connect: Any) -> None:
    scene = Blocking(make_server)
    client, noisy = connect(scene.server, "/a"), connect(scene.server, "/noisy")
    behind = [random.Random(n).randbytes(500) for n in range(40)]
    client.send_raw(
        encode(TEXT, "block") + b"".join(encode(BINARY, message) for message in behind) + encode(BINARY, b"cut")[:-1]
    )
    eventually(lambda: "/a" in scene.blocked)
    for number in range(20):
        noisy.echo(bytes([number]) * 50000)
    scene.release.set()
    assert client.recv_message() == "block"
    assert [client.recv_message() for _ in behind] == behind


def test_rule_05_data_whose_destructor_switches_is_no_danger(make_server: Any, connect: Any) -> None:
    class Switching:
        def __del__(self) -> None:
            gevent.sleep(0)

    server = make_server()

    @server.on("message")
    def message(socket: Any, message: Any, binary: bool) -> None:
        server.set_user_data(socket, Switching())  # drops the one before
        server.send(socket, message, binary)

    server.on("close", lambda socket: server.set_user_data(socket, Switching()))
    clients = [connect(server) for _ in range(10)]
    for client in clients:
        client.send_raw(b"".join(encode(BINARY, bytes([n]) * 300) for n in range(20)))
    for client in clients:
        assert [client.recv_message() for _ in range(20)] == [bytes([n]) * 300 for n in range(20)]
    for number, client in enumerate(clients):
        client.reset() if number % 2 else client.close_handshake()
    eventually(lambda: not list(server.connections))


# 6. Closing.


@pytest.mark.parametrize("verb", ["terminate", "close"])
def test_rule_06_a_handler_may_end_others_of_the_same_batch_and_descriptors_are_reused(
    make_server: Any, connect: Any, verb: str
) -> None:
    server = make_server()
    sockets: list[Any] = []
    wrong: list[Any] = []
    ended: set[Any] = set()
    server.on("connection", sockets.append)

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if socket in ended:
            wrong.append(message)
        if message == "end all others":
            for other in sockets:
                if other is not socket:
                    ended.add(other)
                    getattr(other, verb)()
        server.send(socket, message)

    for _ in range(5):
        sockets.clear()
        ended.clear()
        clients = [connect(server) for _ in range(20)]
        for client in clients:
            client.ping()
            client.recv_pong()
        eventually(lambda: len(sockets) == 20)
        for client in clients:  # no switch in between: one batch
            client.send("end all others")
        fresh = [connect(server) for _ in range(10)]  # these get descriptors of those
        for number, client in enumerate(fresh):
            client.echo(f"fresh {number}")
        survivors = 0
        for client in clients:
            try:
                survivors += client.recv_message() == "end all others"
            except Exception:
                pass
            client.disconnect()
        assert survivors == 1
        for client in fresh:
            client.close_handshake()
        eventually(lambda: not list(server.connections))
    assert wrong == []


def test_rule_06_every_descriptor_is_close_on_exec(make_server: Any, connect: Any) -> None:
    before = set(open_descriptors())
    server = make_server(echo=True)
    clients = [connect(server) for _ in range(5)]
    for client in clients:
        client.echo()
    descriptors = open_descriptors()
    sets = {descriptor for descriptor, what in descriptors.items() if "eventpoll" in what}  # older than this test
    for descriptor in (set(descriptors) - before) | sets:
        assert not os.get_inheritable(descriptor), descriptors[descriptor]


def test_rule_06_a_forked_child_that_holds_the_descriptors_keeps_nothing_alive(stack: Stack) -> None:
    run_script("fork_holds.py", stack.engine, stack=stack)


def test_rule_06_a_handle_used_after_the_close_raises_even_when_its_descriptor_is_in_use_again(
    make_server: Any, connect: Any
) -> None:
    server = make_server(echo=True)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server)
    client.echo()
    descriptor = sockets[0].fd
    client.close_handshake()
    eventually(lambda: sockets[0].closed)
    fresh = [connect(server) for _ in range(5)]
    for each in fresh:
        each.echo()
    assert descriptor in {socket.fd for socket in sockets[1:]}
    for operation in (
        lambda: server.send(sockets[0], "stale"),
        lambda: server.ping(sockets[0]),
        lambda: server.send_fragment(sockets[0], "x", True),
    ):
        with pytest.raises(ConnectionClosed):
            operation()
    assert server.broadcast("only to the living") == 5
    for each in fresh:
        assert each.recv_message() == "only to the living"


# 7. Fork.


@pytest.mark.parametrize("when", ["idle", "connected", "blocked"])
def test_rule_07_a_forked_child_starts_empty(stack: Stack, when: str) -> None:
    run_script("fork.py", stack.engine, when, stack=stack)


def test_rule_07_a_forked_child_closes_its_copies_without_shutdown(stack: Stack) -> None:
    run_script("fork_empty.py", stack.engine, stack=stack)


# 8. Bounds.


@pytest.mark.also_over_tls
def test_rule_08_a_connection_with_much_to_do_goes_to_the_back_of_the_list(make_server: Any, connect: Any) -> None:
    server = make_server()
    count = 0
    at: list[int] = []
    total = 20_000

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        nonlocal count
        if message == "x":
            count += 1
        else:
            at.append(count)

    busy, other = connect(server), connect(server)
    for client in (busy, other):
        client.ping()
        client.recv_pong()
    segment = encode(TEXT, "x", mask=b"abcd") * total
    assert busy.sock.send(segment[:100_000]) == 100_000  # all of it is with the kernel before the server looks
    other.send("my turn")
    eventually(lambda: at)
    assert at[0] < 100_000 // 7, "it waited until the busy one was done"
    busy.send_raw(segment[100_000:])
    eventually(lambda: count == total)


def test_rule_08_between_two_rounds_the_hub_has_its_turn(make_server: Any, connect: Any) -> None:
    server = make_server()
    total = 30_000
    per_turn: dict[int, int] = {}
    count = 0
    with LoopTurns() as loop:

        @server.on("message")
        def message(socket: Any) -> None:
            nonlocal count
            count += 1
            per_turn[loop.count] = per_turn.get(loop.count, 0) + 1

        client = connect(server)
        client.send_raw(encode(TEXT, "x", mask=b"abcd") * total)
        eventually(lambda: count == total)
    assert max(per_turn.values()) <= 8192, "handler calls without a turn of the hub"


@pytest.mark.also_over_tls
def test_rule_08_two_busy_connections_never_starve_a_third(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(echo=True)
    stop = False

    def keep_busy() -> None:
        client = connect(server)
        while not stop:
            client.send_raw(encode(TEXT, "x", mask=b"abcd") * 3000)
            got = 0
            while got < 9000:
                got += len(client.sock.recv(65536))

    greenlets = [spawn(keep_busy) for _ in range(2)]
    third = connect(server)
    for number in range(30):
        third.echo(f"{number}", within=2)
    stop = True
    gevent.joinall(greenlets, raise_error=True)


# 9. Order.


def test_rule_09_drain_and_close_queue_behind_the_running_handler(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=50_000)
    order: list[Any] = []
    release = gevent.event.Event()

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        order.append(message)
        if message == "one":
            while socket.buffered_amount <= 50_000:
                socket.send(b"x" * 40_000)
            release.wait()
            order.append("one returns")

    server.on("drain", lambda socket: order.append("drain"))
    server.on("close", lambda socket: order.append("close"))
    client = connect(server, receive_buffer=4096)
    client.send("one")
    eventually(lambda: order)
    client.send("two")
    client.send_close(1000)
    client.recv_close()
    client.expect_eof()
    turns()
    assert order == ["one"]
    release.set()
    eventually(lambda: "close" in order)
    assert [entry for entry in order if entry != "drain"] == ["one", "one returns", "two", "close"]
    assert order[-1] == "close"


@pytest.mark.also_over_tls
def test_rule_09_blocked_senders_wake_in_order(make_server: Any, connect: Any, spawn: Any) -> None:
    server = make_server(max_backpressure=50_000)
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server, receive_buffer=4096)
    eventually(lambda: sockets)
    while sockets[0].buffered_amount <= 50_000:
        sockets[0].send(b"fill" * 10_000)
    senders = [spawn(server.send, sockets[0], b"%d" % number + b" " * 40_000) for number in range(20)]
    turns(3)
    # The system takes some more when it asks a receiver that is full again: the first may have got through.
    waiting = [number for number, sender in enumerate(senders) if not sender.dead]
    killed = waiting[2], waiting[3], waiting[7]
    gevent.killall([senders[number] for number in killed])
    expected = [number for number in range(20) if number not in killed]
    got = []
    while len(got) < len(expected):
        message = client.recv_message()
        if not message.startswith(b"fill"):
            got.append(int(message))
    assert got == expected


# 10. User code never runs in the hub.


def test_rule_10_handlers_run_in_greenlets_and_may_block(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=50_000, backpressure="drop")
    where: dict[str, Any] = {}
    hub = gevent.get_hub()

    def note(event: str) -> Any:
        def handler(*arguments: Any) -> None:
            current = gevent.getcurrent()
            where[event] = isinstance(current, gevent.Greenlet) and current is not hub
            gevent.sleep(0)  # raises in the hub

        return handler

    events = ["upgrade", "connection", "message", "ping", "pong", "close", "http", "error", "drain", "dropped"]
    for event in events:
        server.on(event, note(event))

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        if message == "flood":
            while server.send(socket, b"x" * 40_000):
                pass
        elif message == "raise":
            raise LookupError

    with connect(server, upgrade=False) as plain:
        plain.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        turns()
    client = connect(server, receive_buffer=4096)
    client.ping()
    client.send_frame(10)
    client.send("flood")
    eventually(lambda: "dropped" in where)
    reader = gevent.spawn(client.expect_close, 1011)
    eventually(lambda: "drain" in where)
    client.send("raise")
    eventually(lambda: "error" in where)
    reader.get()
    eventually(lambda: len(where) == len(events))
    assert where == dict.fromkeys(events, True)


def test_rule_10_send_from_the_hub_never_blocks(make_server: Any, connect: Any) -> None:
    server = make_server(max_backpressure=50_000)
    sockets: list[Any] = []
    outcome: list[Any] = []
    server.on("connection", sockets.append)
    connect(server, receive_buffer=4096)
    eventually(lambda: sockets)

    def in_the_hub() -> None:
        try:
            while True:
                server.send(sockets[0], b"x" * 40_000)
        except BaseException as error:
            outcome.append(error)

    gevent.get_hub().loop.run_callback(in_the_hub)
    eventually(lambda: outcome)
    assert isinstance(outcome[0], BackpressureExceeded)


def test_rule_10_other_threads_are_told_to_use_run_threadsafe(stack: Stack) -> None:
    run_script("wrong_thread.py", stack.engine, stack=stack)


# 11. Stopping.


def test_rule_11_with_nothing_to_do_gevent_wait_returns(stack: Stack) -> None:
    run_script("wait.py", stack.engine, stack=stack)


def test_rule_11_two_servers_on_one_hub_share_the_engine(make_server: Any, connect: Any) -> None:
    def sets() -> int:
        return sum("eventpoll" in what for what in open_descriptors().values())

    first = make_server(echo=True)
    connect(first).echo()
    one = sets()
    second = make_server(echo=True)
    connect(second).echo()
    assert sets() == one


# 12. The memory budget.


def test_rule_12_an_idle_connection_costs_next_to_nothing(stack: Stack) -> None:
    count = 4000
    path = "/" + "p" * 150  # one that all share
    with ServerProcess(stack) as server:
        clients = []
        try:
            for _ in range(500):  # whatever is allocated once, or grows by doubling, is there
                clients.append(Client.connect(server.address, path))
            eventually(lambda: server.ask("connections") == "500")
            before, collectable = server.memory(), int(server.ask("collectable"))
            for _ in range(count):
                clients.append(Client.connect(server.address, path))
            eventually(lambda: int(server.ask("connections")) == 500 + count)
            each = (server.memory() - before) / count
            objects = (int(server.ask("collectable")) - collectable) / count
        finally:
            for client in clients:
                client.disconnect()
        assert each < 250, f"{each:.0f} octets for each connection"
        assert objects < 0.05, f"{objects} collectable objects for each connection"
        eventually(lambda: server.ask("connections") == "0")
        server.stop()


@pytest.mark.also_over_tls
def test_rule_12_what_a_connection_refers_to_is_dropped_at_its_close(make_server: Any, connect: Any) -> None:
    class Data:
        pass

    server = make_server(echo=True)
    watched: list[Any] = []
    kept: list[Any] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        data = Data()
        data.cycle = data  # type: ignore[attr-defined]
        data.socket = socket  # type: ignore[attr-defined]
        watched.append(weakref.ref(data))
        server.set_user_data(socket, data)
        if socket.path == "/kept":
            kept.append(socket)

    for path in ("/", "/kept"):
        client = connect(server, path)
        client.echo()
        client.disconnect()
    eventually(lambda: not list(server.connections))

    def dropped() -> bool:
        gc.collect()
        return all(reference() is None for reference in watched)

    eventually(dropped)


# 13. The hot path.


@pytest.mark.also_over_tls
def test_rule_13_the_methods_of_the_hot_path_run_no_python(make_server: Any, connect: Any) -> None:
    server = make_server()
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    client = connect(server)
    eventually(lambda: sockets)
    socket = sockets[0]
    prepared = server.prepare_buffer("prepared")
    server.send_prepared(socket, prepared)  # is encoded now
    assert client.recv_message() == "prepared"
    calls: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name)

    send, send_prepared, get, put, fd = (
        server.send,
        server.send_prepared,
        server.get_user_data,
        server.set_user_data,
        server.get_fd,
    )
    sys.setprofile(profile)
    try:
        send(socket, "text", False)
        send(socket, b"binary", True)
        send(socket, "by type")
        send_prepared(socket, prepared)
        put(socket, 1)
        get(socket)
        fd(socket)
    finally:
        sys.setprofile(None)
    assert [name for name in calls if "profile" not in name] == []
    assert [client.recv_message() for _ in range(4)] == ["text", b"binary", "by type", "prepared"]
