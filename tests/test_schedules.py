"""Random schedules of peers and handlers against a model of what must happen.

A hypothesis state machine opens connections, sends messages (whole, in fragments, in parts of frames), and scripts by
them what the handlers do: echo, yield, block, raise, be killed, time out, close and send to each other. Peers close,
reset, stall. Some schedules go over TLS, and in some messages are compressed. Nothing is asserted before the end of a
schedule: what is drawn must not depend on what the server does.
The model says what each side must have seen: messages in order, one at a time, none lost or doubled; every ping
answered; the close event exactly once; sends after the end raise; nothing left at the end.

LWS_GEVENT_SCHEDULES is the number of schedules per stack."""

from __future__ import annotations

import contextvars
import functools
import os
from typing import Any

import gevent
import gevent.event
import gevent.local
import gevent.socket
import pytest
from certificates import certificates
from client import CLOSE, CONTINUATION, PING, TEXT, Client, Frame, PeerClosed, close_payload, encode
from deflate_peer import RSV1, TAIL, DeflatePeer, extensions
from helpers import Stack, alive, eventually
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from lws_gevent import ConnectionClosed, Server

SCHEDULES = int(os.environ.get("LWS_GEVENT_SCHEDULES", "40"))
STEPS = int(os.environ.get("LWS_GEVENT_SCHEDULE_STEPS", "40"))
SHRINK = os.environ.get("LWS_GEVENT_SCHEDULE_SHRINK") == "1"
LIMIT = 64 * 1024
PATIENCE = float(os.environ.get("LWS_GEVENT_SCHEDULE_PATIENCE", "5"))  # seconds until a schedule counts as stuck

#: What a message makes its handler do.
ACTIONS = [
    "echo",
    "yield",
    "block",
    "send_then_block",
    "impatient",
    "big",
    "ping",
    "pause",
    "raise",
    "exit",
    "kill",
    "timeout",
    "stray",
    "close",
    "terminate",
    "close_other",
    "terminate_other",
    "send_other",
    "broadcast",
]
FAILING = {"raise", "exit", "kill", "timeout", "stray"}

#: How messages are compressed: not at all, each by itself, or in a context of each connection's own.
COMPRESSION: dict[str, Any] = {
    "none": False,
    "shared": {"threshold": 0},
    "own": {"threshold": 0, "server_no_context_takeover": False, "client_no_context_takeover": False},
}

context_variable: contextvars.ContextVar[Any] = contextvars.ContextVar("context_variable", default=None)
greenlet_local = gevent.local.local()


class Boom(Exception):
    """Raised by handlers that were told to."""


@functools.cache
def contexts() -> tuple[Any, Any]:
    """The server's and the client's context of TLS."""
    return certificates().server_context(), certificates().client_context()


class Peer(Client):
    """A client that may have agreed on compression."""

    deflate: DeflatePeer | None = None

    def recv_frame(self) -> Frame:
        frame = super().recv_frame()
        if not frame.rsv:
            return frame
        assert self.deflate is not None and frame.rsv == RSV1 and frame.fin, frame
        return frame._replace(rsv=0, payload=self.deflate.inflate(frame.payload + TAIL))

    def half_close(self) -> None:
        gevent.socket.socket.shutdown(self.sock, gevent.socket.SHUT_WR)  # and over TLS too it goes on reading


class Connection:
    """One connection: the peer's end, the server's end, and the model of both."""

    def __init__(self, number: int, loop: bool) -> None:
        self.number = number
        self.loop = loop  # its connection handler iterates, instead of message events
        self.socket: Any = None
        self.client: Peer = None  # type: ignore[assignment]
        # The peer's end
        self.sent_messages = 0
        self.received: list[str] = []
        self.last_ping = b""
        self.close_frame: Any = None
        self.ended = False
        self.rest = b""  # of a frame, or of a fragmented message, that has been begun
        self.between_fragments = False  # so that control frames may come before the rest
        self.said_close = self.left = False
        self.flow = gevent.event.Event()
        self.flow.set()
        # The server's end
        self.running = False
        self.handled = 0
        self.sent: list[str] = []
        self.blocked: gevent.event.Event | None = None
        self.greenlet: Any = None
        self.app_closed = self.terminated = self.failed = self.killed = self.paused = False
        self.codes: set[int] = set()
        self.close_events: list[int] = []

    def __repr__(self) -> str:
        state = {key: value for key, value in vars(self).items() if key not in ("received", "sent", "flow")}
        return f"Connection({state}, received {self.received[-3:]}, sent {self.sent[-3:]})"

    @property
    def peer_is_there(self) -> bool:
        return not (self.said_close or self.left or self.ended)

    @property
    def may_have_ended(self) -> bool:
        """Whether there is any reason for the server to find this connection closed."""
        ended = self.said_close or self.left or self.ended or self.close_frame is not None
        return ended or self.app_closed or self.failed or self.killed

    @property
    def should_be_open(self) -> bool:
        """A kill may come when the handler has returned already, and then ends nothing but, perhaps, its greenlet."""
        if self.killed and not (self.failed or self.socket.closed):
            self.killed = False
        return not self.may_have_ended

    @property
    def must_have_ended(self) -> bool:
        return bool(self.app_closed or self.close_events or self.socket.closed)

    def read(self) -> None:
        """The peer's greenlet: reads, answers a close frame, and goes on to the end of the stream."""
        try:
            while True:
                self.flow.wait()
                try:
                    # Pings are not answered: a pong might get into the middle of a frame that was begun.
                    message = self.client.recv_message(answer_pings=False)
                except PeerClosed as closed:
                    self.close_frame = closed.code
                    if not self.said_close:
                        rest, self.rest = self.rest, b""
                        self.client.send_raw(rest + encode(CLOSE, close_payload(closed.code)))
                else:
                    assert isinstance(message, str)
                    self.received.append(message)
        except (EOFError, OSError):
            self.ended = True
            self.client.disconnect()


class Schedule(RuleBasedStateMachine):
    """See the module's docstring. `stack` is set by the test."""

    stack: Stack

    def __init__(self) -> None:
        super().__init__()
        self.before = alive()
        self.connections: list[Connection] = []
        self.readers: list[gevent.Greenlet] = []
        self.wrong: list[Any] = []
        self.count = 0
        self.stopping = False

    def start(self, tls: bool, compression: str) -> None:
        self.tls, self.compressed = tls, compression != "none"
        self.server = Server(
            host="127.0.0.1",
            port=0,
            engine=self.stack.engine,
            max_backpressure=LIMIT,
            close_timeout=10,
            send_timeout=20,
            ssl=contexts()[0] if tls else None,
            per_message_deflate=COMPRESSION[compression],
        )
        for event in ("connection", "message", "close", "error"):
            self.server.on(event, getattr(self, "on_" + event))
        self.server.on("upgrade", self.on_upgrade)
        self.server.start()

    # --- the server's end -------------------------------------------------------------------------------------------

    def check(self, condition: object, *what: Any) -> None:
        """An assertion that also counts inside handlers, whose exceptions are part of the game."""
        if not condition:
            self.wrong.append(what)
            raise AssertionError(what)

    def on_upgrade(self, socket: Any) -> None:
        connection = self.connections[int(socket.path[1:])]
        connection.socket = socket
        self.server.set_user_data(socket, connection)

    def on_connection(self, socket: Any) -> None:
        connection = self.server.get_user_data(socket)
        self.check(connection.socket is socket or connection.socket == socket)
        if not connection.loop:
            return
        try:
            for message in socket:
                self.handle(connection, message)
        except ConnectionClosed:
            pass  # its own connection, or another one to which it wanted to send
        # Whoever has claimed a socket and returns closes it, if it is still open.
        connection.app_closed = True

    def on_message(self, socket: Any, message: str, binary: bool) -> None:
        connection = self.server.get_user_data(socket)
        self.check(connection is not None and connection.socket == socket, "user data", connection)
        self.check(not connection.app_closed, "a message after our close", connection)
        self.handle(connection, message)

    def handle(self, connection: Connection, message: str) -> None:
        for seen in (context_variable.get(), getattr(greenlet_local, "value", None)):
            self.check(seen is None or seen == connection.number, "sees", seen, "of another connection", connection)
        context_variable.set(connection.number)
        greenlet_local.value = connection.number
        self.check(not connection.running, "handled concurrently", connection)
        self.check(not connection.failed, "handled after a handler failed", connection)
        connection.running = True
        connection.greenlet = gevent.getcurrent()
        try:
            number, action, argument = message.rstrip().split(" ")
            self.check(int(number) == connection.handled, "out of order", message, connection)
            connection.handled += 1
            if action in FAILING:
                connection.failed = True
                connection.codes.add(1011)
            getattr(self, "do_" + action)(connection, f"{connection.number}/{number}", int(argument))
        except gevent.GreenletExit:
            connection.failed = True
            connection.codes.add(1011)
            raise
        finally:
            connection.running = False
            connection.greenlet = None

    def send(self, connection: Connection, text: str) -> None:
        must_raise = connection.must_have_ended
        try:
            accepted = self.server.send(connection.socket, text)
        except ConnectionClosed:
            self.check(connection.may_have_ended or self.stopping, "closed for no reason", connection)
            raise
        self.check(not must_raise, "sent after the end", connection)
        self.check(accepted is True)
        connection.sent.append(text)

    def other(self, connection: Connection, argument: int) -> Connection:
        others = [each for each in self.connections if each.socket is not None]
        return others[argument % len(others)]

    def wait(self, connection: Connection) -> None:
        connection.blocked = gevent.event.Event()
        try:
            connection.blocked.wait()
        finally:
            connection.blocked = None

    def do_echo(self, connection: Connection, text: str, argument: int) -> None:
        self.send(connection, text)

    def do_yield(self, connection: Connection, text: str, argument: int) -> None:
        for _ in range(argument % 3 + 1):
            gevent.sleep(0)
        self.send(connection, text)

    def do_block(self, connection: Connection, text: str, argument: int) -> None:
        self.wait(connection)
        self.send(connection, text)

    def do_send_then_block(self, connection: Connection, text: str, argument: int) -> None:
        self.send(connection, text + " first")
        self.wait(connection)
        self.send(connection, text + " second")

    def do_impatient(self, connection: Connection, text: str, argument: int) -> None:
        try:
            with gevent.Timeout(0.0005):
                self.wait(connection)
        except gevent.Timeout:
            pass
        self.send(connection, text)

    def do_big(self, connection: Connection, text: str, argument: int) -> None:
        for number in range(3):
            self.send(connection, f"{text} {number} " + "x" * 300_000)

    def do_ping(self, connection: Connection, text: str, argument: int) -> None:
        self.server.ping(connection.socket, text)
        self.send(connection, text)

    def do_pause(self, connection: Connection, text: str, argument: int) -> None:
        if not connection.loop:
            connection.socket.pause()
            connection.paused = True
        self.send(connection, text)

    def do_raise(self, connection: Connection, text: str, argument: int) -> None:
        raise Boom

    def do_exit(self, connection: Connection, text: str, argument: int) -> None:
        raise gevent.GreenletExit

    def do_kill(self, connection: Connection, text: str, argument: int) -> None:
        gevent.getcurrent().kill()

    def do_timeout(self, connection: Connection, text: str, argument: int) -> None:
        raise gevent.Timeout(1)

    def do_stray(self, connection: Connection, text: str, argument: int) -> None:
        gevent.Timeout.start_new(0.0005)
        gevent.event.Event().wait()

    def app_close(self, connection: Connection, code: int) -> None:
        try:
            self.server.close(connection.socket, code)
        except ConnectionClosed:
            self.check(connection.may_have_ended)
        connection.app_closed = True
        self.check_closed(connection)

    def app_terminate(self, connection: Connection) -> None:
        try:
            self.server.terminate(connection.socket)
        except ConnectionClosed:
            self.check(connection.may_have_ended)
        connection.app_closed = connection.terminated = True
        self.check_closed(connection)

    def check_closed(self, connection: Connection) -> None:
        try:
            self.server.send(connection.socket, "after the end")
        except ConnectionClosed:
            return
        self.check(False, "sent after our own close", connection)

    def do_close(self, connection: Connection, text: str, argument: int) -> None:
        self.send(connection, text)
        self.app_close(connection, 4000 + argument)

    def do_terminate(self, connection: Connection, text: str, argument: int) -> None:
        self.app_terminate(connection)

    def do_close_other(self, connection: Connection, text: str, argument: int) -> None:
        self.app_close(self.other(connection, argument), 4000 + argument)
        self.send(connection, text)

    def do_terminate_other(self, connection: Connection, text: str, argument: int) -> None:
        self.app_terminate(self.other(connection, argument))
        self.send(connection, text)

    def do_send_other(self, connection: Connection, text: str, argument: int) -> None:
        self.send(self.other(connection, argument), text + " to another")
        self.send(connection, text)

    def do_broadcast(self, connection: Connection, text: str, argument: int) -> None:
        self.broadcast(text + " to all")
        self.send(connection, text)

    def broadcast(self, text: str) -> None:
        queued = 0
        for socket in self.server.connections:
            receiver = self.server.get_user_data(socket)
            if socket.ready_state == 1 and socket.buffered_amount <= LIMIT:
                self.check(not receiver.app_closed, "is closed and listed", receiver)
                receiver.sent.append(text)
                queued += 1
        self.check(self.server.broadcast(text, slow="drop") == queued, "broadcast reached others than it should")

    def on_close(self, socket: Any, code: int, reason: str) -> None:
        connection = self.server.get_user_data(socket)
        self.check(connection is not None, "close without user data", code)
        connection.close_events.append(code)
        self.check(not connection.running, "close during a handler", connection)
        self.check(len(connection.close_events) == 1, "closed twice", connection)
        self.check(code in connection.codes, "closed with", code, connection)
        gevent.sleep(0)
        self.check(self.server.get_user_data(socket) is connection, "user data lives until the handlers return")

    def on_error(self, error: BaseException, socket: Any) -> None:
        if not isinstance(error, (Boom, gevent.Timeout)):
            self.wrong.append((error, socket))

    # --- the peers' end ---------------------------------------------------------------------------------------------

    def pick(self, index: int) -> Connection | None:
        """One of the connections whose peer is still there."""
        there = [connection for connection in self.connections if connection.peer_is_there]
        return there[index % len(there)] if there else None

    def octets(self, connection: Connection, data: bytes) -> None:
        """Send, after whatever was begun has been finished."""
        data, connection.rest = connection.rest + data, b""
        connection.between_fragments = False
        if data:
            try:
                connection.client.send_raw(data)
            except OSError:
                connection.left = True
                connection.codes.add(1006)

    def message(self, connection: Connection, action: str, argument: int) -> tuple[bytes, int]:
        """The payload of a message, and the reserved bits of its first frame."""
        text = f"{connection.sent_messages} {action} {argument}".encode()
        connection.sent_messages += 1
        if connection.client.deflate is None or argument == 0:
            return text, 0
        return connection.client.deflate.compress(text), RSV1

    def frame(self, connection: Connection, action: str, argument: int) -> bytes:
        payload, rsv = self.message(connection, action, argument)
        return encode(TEXT, payload, rsv=rsv)

    @initialize(count=st.integers(1, 3), tls=st.booleans(), compression=st.sampled_from(list(COMPRESSION)))
    def begin(self, count: int, tls: bool, compression: str) -> None:
        self.start(tls, compression)
        for _ in range(count):
            self.open(False)

    @precondition(lambda self: len(self.connections) < 6)
    @rule(loop=st.booleans())
    def open(self, loop: bool) -> None:
        connection = Connection(len(self.connections), loop)
        self.connections.append(connection)
        connection.client = Peer.connect(
            ("127.0.0.1", self.server.port),
            f"/{connection.number}",
            extensions() if self.compressed else (),
            timeout=60,
            tls=contexts()[1] if self.tls else None,
        )
        if self.compressed:
            connection.client.deflate = DeflatePeer(connection.client)
        self.readers.append(gevent.spawn(connection.read))

    @rule(
        index=st.integers(0, 5),
        actions=st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=4),
        argument=st.integers(0, 5),
    )
    def send_messages(self, index: int, actions: list[str], argument: int) -> None:
        connection = self.pick(index)
        if connection:
            self.octets(connection, b"".join(self.frame(connection, action, argument) for action in actions))

    @rule(
        index=st.integers(0, 5), action=st.sampled_from(ACTIONS), cut=st.floats(0.01, 0.99), argument=st.integers(0, 5)
    )
    def send_a_part(self, index: int, action: str, cut: float, argument: int) -> None:
        connection = self.pick(index)
        if connection:
            frame = self.frame(connection, action, argument)
            middle = max(1, int(len(frame) * cut))
            self.octets(connection, frame[:middle])
            connection.rest = frame[middle:]

    @rule(index=st.integers(0, 5), action=st.sampled_from(ACTIONS), cut=st.integers(0, 20), argument=st.integers(0, 5))
    def begin_fragments(self, index: int, action: str, cut: int, argument: int) -> None:
        connection = self.pick(index)
        if connection:
            text, rsv = self.message(connection, action, argument)
            self.octets(connection, encode(TEXT, text[:cut], fin=False, rsv=rsv) + encode(CONTINUATION, b"", fin=False))
            connection.rest = encode(CONTINUATION, text[cut:])
            connection.between_fragments = True

    @rule(index=st.integers(0, 5))
    def finish(self, index: int) -> None:
        connection = self.pick(index)
        if connection:
            self.octets(connection, b"")

    @rule(index=st.integers(0, 5))
    def ping(self, index: int) -> None:
        connection = self.pick(index)
        if connection:
            self.count += 1
            connection.last_ping = b"%d" % self.count
            frame = encode(PING, connection.last_ping)
            if connection.between_fragments:
                rest, connection.rest = connection.rest, b""
                self.octets(connection, frame)
                connection.rest = rest
                connection.between_fragments = True
            else:
                self.octets(connection, frame)

    @rule(index=st.integers(0, 5), code=st.sampled_from([1000, 1001, 4321]))
    def peer_closes(self, index: int, code: int) -> None:
        connection = self.pick(index)
        if connection:
            connection.codes.add(code)
            self.octets(connection, encode(CLOSE, close_payload(code)))
            connection.said_close = True
            connection.flow.set()

    @rule(index=st.integers(0, 5), how=st.sampled_from(["reset", "reset", "disconnect", "half_close"]))
    def peer_leaves(self, index: int, how: str) -> None:
        connection = self.pick(index)
        if connection:
            connection.left = True
            connection.codes.add(1006)
            connection.flow.set()
            if how == "half_close":
                try:
                    connection.client.half_close()
                except OSError:
                    pass
                return
            self.readers[connection.number].kill()
            connection.ended = True
            try:
                getattr(connection.client, how)()
            except OSError:
                pass  # the reader has just seen the end itself

    @rule(index=st.integers(0, 5))
    def stall(self, index: int) -> None:
        connection = self.pick(index)
        if connection:
            connection.flow.clear()

    @rule(index=st.integers(0, 5))
    def flow(self, index: int) -> None:
        connection = self.pick(index)
        if connection:
            connection.flow.set()

    @rule(count=st.integers(1, 4))
    def turn(self, count: int) -> None:
        for _ in range(count):
            gevent.sleep(0)

    @rule()
    def settle(self) -> None:
        gevent.sleep(0.001)

    @rule(index=st.integers(0, 5))
    def release(self, index: int) -> None:
        blocked = [connection for connection in self.connections if connection.blocked is not None]
        if blocked:
            blocked[index % len(blocked)].blocked.set()

    @rule(index=st.integers(0, 5))
    def kill_a_handler(self, index: int) -> None:
        running = [connection for connection in self.connections if connection.greenlet is not None]
        if running:
            connection = running[index % len(running)]
            connection.killed = True
            connection.codes.add(1011)
            connection.greenlet.kill(block=False)

    @rule(index=st.integers(0, 5))
    def resume(self, index: int) -> None:
        paused = [connection for connection in self.connections if connection.paused]
        if paused:
            connection = paused[index % len(paused)]
            self.unpause(connection)

    @rule(index=st.integers(0, 5), what=st.sampled_from(["send", "close", "terminate", "broadcast"]))
    def the_application_acts(self, index: int, what: str) -> None:
        """From a greenlet that is no handler."""
        connected = [connection for connection in self.connections if connection.socket is not None]
        if not connected:
            return
        connection = connected[index % len(connected)]
        self.count += 1
        if what == "send":
            if connection.socket.buffered_amount <= LIMIT:  # else it would block this greenlet, as it should
                try:
                    self.send(connection, f"from outside {self.count}")
                except ConnectionClosed:
                    pass
        elif what == "close":
            self.app_close(connection, 4100)
        elif what == "terminate":
            self.app_terminate(connection)
        else:
            self.broadcast(f"from outside {self.count} to all")

    # --- what must be true ------------------------------------------------------------------------------------------

    def nothing_is_wrong(self) -> None:
        assert not self.wrong, self.wrong
        for connection in self.connections:
            assert connection.received == connection.sent[: len(connection.received)], connection

    def unpause(self, connection: Connection) -> None:
        connection.paused = False
        try:
            connection.socket.resume()
        except ConnectionClosed:
            assert connection.may_have_ended, connection

    def is_settled(self, connection: Connection) -> bool:
        """Whether everything that must happen on this connection has happened, all handlers being released."""
        if connection.socket is None:
            return False
        if connection.blocked is not None:
            connection.blocked.set()
        if connection.paused:
            self.unpause(connection)
        if connection.running:
            return False
        if connection.left or connection.terminated:
            return bool(connection.socket.closed)
        if connection.killed and not connection.failed:
            gevent.sleep(0)  # the kill is under way
        if not connection.should_be_open:
            return bool(connection.socket.closed and connection.ended and connection.received == connection.sent)
        return (
            connection.handled == connection.sent_messages
            and connection.received == connection.sent
            and (not connection.last_ping or connection.client.pongs[-1:] == [connection.last_ping])
        )

    def ended_as_it_should(self, connection: Connection) -> None:
        assert len(connection.close_events) <= 1, connection
        if not connection.app_closed:
            if len(connection.close_events) != 1:
                raise AssertionError(f"{len(connection.close_events)} close events: {connection}")
        graceful = not (connection.left or connection.terminated or connection.app_closed or connection.failed)
        # (A handler that iterates ends itself by the ConnectionClosed of its first send after the close.)
        if graceful and connection.said_close and not connection.loop:
            assert connection.handled == connection.sent_messages, (
                "messages before the peer's close are lost",
                connection,
            )

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.let_go()
        try:
            eventually(lambda: alive() == self.before, within=5)
        except AssertionError:
            raise AssertionError(f"left behind: before {self.before}, after {alive()}") from None

    def let_go(self) -> None:
        gevent.killall(self.readers)
        for connection in self.connections:
            if connection.client is not None:
                connection.client.disconnect()
        self.server.stop(timeout=0.05)
        self.connections.clear()
        self.readers.clear()
        for event in ("upgrade", "connection", "message", "close", "error"):
            self.server.off(event)

    def end(self) -> None:
        for connection in self.connections:
            if connection.peer_is_there:
                self.octets(connection, b"")
            connection.flow.set()
        for connection in self.connections:
            try:
                eventually(lambda connection=connection: self.wrong or self.is_settled(connection), within=PATIENCE)
            except AssertionError:
                raise AssertionError(f"not settled: {connection}") from None
        self.nothing_is_wrong()
        for connection in self.connections:
            connection.codes.add(1001)
        self.stopping = True
        still_open = [connection for connection in self.connections if connection.should_be_open]
        assert len(list(self.server.connections)) == len(still_open), still_open
        self.server.stop()
        for connection in still_open:
            eventually(lambda connection=connection: connection.ended, f"ends: {connection}")
            assert connection.close_frame == 1001, connection
            assert connection.close_events == [1001], connection
        eventually(lambda: not any(connection.running for connection in self.connections))
        for connection in self.connections:
            self.ended_as_it_should(connection)
        self.nothing_is_wrong()


@pytest.mark.timeout_factor(4 + SCHEDULES / 20)
def test_random_schedules(stack: Stack, nothing_leaks: None) -> None:
    machine = type("Machine", (Schedule,), {"stack": stack})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=SCHEDULES,
            stateful_step_count=STEPS,
            deadline=None,
            # Shrinking a schedule that depends on the kernel's timing, too, takes minutes and rarely helps.
            phases=list(Phase) if SHRINK else [Phase.explicit, Phase.reuse, Phase.generate],
            report_multiple_bugs=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
