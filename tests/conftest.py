"""Fixtures of the whole suite: the stacks, servers that are checked for leaks, clients, and a bound on the time of
each test."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import Any

import gevent
import pytest

sys.path.insert(0, os.path.dirname(__file__))  # the helpers are importable however pytest was started

from certificates import certificates, remove_certificates  # noqa: E402
from client import FACTOR, Client  # noqa: E402
from helpers import Alive, Stack, alive, ending, eventually, live_greenlets, open_descriptors, turns  # noqa: E402
from raw_server import RawServer  # noqa: E402

TIMEOUT = 30 * FACTOR
EVENTS = ("upgrade", "connection", "message", "close", "error", "http", "drain", "dropped", "ping", "pong")


def _importable(module: str) -> bool:
    """Whether an extension module is there; it must be when LWS_GEVENT_REQUIRE_C is set."""
    try:
        __import__(module)
    except ImportError:
        if os.environ.get("LWS_GEVENT_REQUIRE_C") == "1":
            raise
        return False
    return True


def available_stacks() -> list[Stack]:
    """The combinations that exist in this installation. The parked engine must be there wherever it can be: with
    LWS_GEVENT_REQUIRE_C=1 a missing extension is a failure, not a smaller suite. LWS_GEVENT_TEST_STACKS names those
    to run (separated by commas), for work on one of them."""
    stacks = []
    pure = os.environ.get("LWS_GEVENT_PURE_PYTHON") == "1"
    if not pure and _importable("lws_gevent._codec"):
        if sys.platform == "linux" and _importable("lws_gevent.engines._parked"):
            stacks.append(Stack("parked", "c"))
        stacks.append(Stack("greenlet", "c"))
    stacks.append(Stack("greenlet", "python"))
    wanted = os.environ.get("LWS_GEVENT_TEST_STACKS")
    return stacks if not wanted else [stack for stack in stacks if str(stack) in wanted.split(",")]


STACKS = available_stacks()


def pytest_report_header() -> str:
    loop = f"{gevent.config.loop.__module__}.{gevent.config.loop.__qualname__}"
    names = ", ".join(map(str, STACKS))
    return f"stacks: {names}; gevent {gevent.__version__}, loop {loop}; timeout per test {TIMEOUT:g} s"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(*engines): run this test on these engines alone")
    config.addinivalue_line("markers", "on_one_stack: run this test on one stack; the others would tell the same")
    config.addinivalue_line("markers", "also_over_tls: run this test over plain TCP and over TLS")
    config.addinivalue_line("markers", 'slow: takes some ten seconds (`-m "not slow"` leaves it out)')
    config.addinivalue_line("markers", "timeout_factor(factor): this test may take so many times longer than others")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stack" in metafunc.fixturenames:
        stacks = STACKS
        marker = metafunc.definition.get_closest_marker("only")
        if marker is not None:
            stacks = [stack for stack in STACKS if stack.engine in marker.args]
        if metafunc.definition.get_closest_marker("on_one_stack") is not None:
            stacks = stacks[:1]
        metafunc.parametrize("stack", stacks, ids=str, indirect=True, scope="function")
        if metafunc.definition.get_closest_marker("also_over_tls") and "transport" in metafunc.fixturenames:
            metafunc.parametrize("transport", ["tcp", "tls"], indirect=True, scope="function")


def pytest_unconfigure() -> None:
    remove_certificates()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what exists before the tests cannot leak: keep it out of every later search


# The time of a test


class TestTimeout(gevent.Timeout):
    """The test took too long. Not to be confused with the timeouts that tests themselves use."""

    __test__ = False


def _bounded(item: pytest.Item) -> Generator[None, Any, Any]:
    marker = item.get_closest_marker("timeout_factor")
    seconds = TIMEOUT * (marker.args[0] if marker else 1)
    timeout = TestTimeout(seconds)
    faulthandler.dump_traceback_later(
        seconds + 20 * FACTOR, exit=True, file=sys.__stderr__
    )  # when even the hub does not turn
    timeout.start()
    try:
        return (yield)
    except TestTimeout as caught:
        if caught is not timeout:
            raise
        gc.unfreeze()  # what is frozen would not be shown
        gevent.util.print_run_info(file=sys.stderr)
        location = "".join(traceback.format_tb(caught.__traceback__)[-3:])
        raise AssertionError(f"the test took more than {seconds:g} s; it was here:\n{location}") from None
    finally:
        timeout.close()
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _bounded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _bounded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _bounded(item))


# Stacks, servers, clients


@pytest.fixture(scope="session", autouse=True)
def _runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where gunicorn puts its control socket: otherwise the home directory, one for all that run at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture
def stack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """One of the stacks; the environment chooses its codec for servers made in this test."""
    chosen: Stack = request.param
    for name, value in chosen.environment.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    return chosen


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    """``"tcp"`` or ``"tls"``: what `make_server` and `connect` use in this test. LWS_GEVENT_TEST_TLS=1 makes it TLS
    everywhere."""
    default = "tls" if os.environ.get("LWS_GEVENT_TEST_TLS") == "1" else "tcp"
    return str(getattr(request, "param", default))


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def text(self) -> list[str]:
        formatter = logging.Formatter()
        return [formatter.format(record) for record in self.records]

    def clear(self) -> None:
        self.records.clear()


@pytest.fixture
def logged() -> Iterator[_Records]:
    """What lws_gevent logged (warnings and above). A test that expects something must clear() it; anything else fails
    it."""
    handler = _Records()
    logger = logging.getLogger("lws_gevent")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    assert not handler.records, "logged unexpectedly:\n" + "\n".join(handler.text)


@pytest.fixture
def hub_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """Errors that reached the hub (context, type, value). A test that expects one must clear() the list."""
    errors: list[tuple[Any, ...]] = []
    hub = gevent.get_hub()
    original = hub.handle_error

    def record(context: Any, kind: Any, value: Any, tb: Any) -> None:
        if isinstance(value, gevent.GreenletExit):
            return
        errors.append((context, kind, value))
        if not isinstance(value, (KeyboardInterrupt, SystemExit)):
            original(context, kind, value, tb)

    monkeypatch.setattr(hub, "handle_error", record)
    yield errors
    monkeypatch.undo()
    assert not errors, errors


@pytest.fixture
def spawn() -> Iterator[Callable[..., gevent.Greenlet]]:
    """gevent.spawn whose greenlets end with the test; one that failed fails the test, unless it was asked for its
    exception."""
    spawned: list[gevent.Greenlet] = []

    def start(function: Callable[..., Any], *arguments: Any, **named: Any) -> gevent.Greenlet:
        greenlet = gevent.spawn(function, *arguments, **named)
        spawned.append(greenlet)
        return greenlet

    yield start
    gevent.killall(spawned)


MakeServer = Callable[..., Any]


@pytest.fixture(scope="session")
def _warm() -> Iterator[set[str]]:
    """The stacks that have been used once: what an engine keeps for the life of its hub exists from then on."""
    yield set()


def _warm_up(stack: Stack, warmed: set[str]) -> None:
    if str(stack) in warmed:
        return
    import lws_gevent

    for _ in range(2):
        server = lws_gevent.Server(host="127.0.0.1", port=0, engine=stack.engine)
        server.on("message", lambda socket, message, binary: socket.send(message, binary))
        server.start()
        client = Client.connect(("127.0.0.1", server.port))
        client.echo("warm")
        client.close_handshake()
        server.stop()
        del server, client
        gc.collect()
        gevent.sleep(0.01)
    warmed.add(str(stack))


def _explain(before: Alive, after: Alive, before_greenlets: set[int], before_descriptors: dict[int, str]) -> str:
    lines = [f"before: {before}", f"after:  {after}"]
    for greenlet in live_greenlets():
        if id(greenlet) not in before_greenlets:
            stack = "".join(traceback.format_stack(greenlet.gr_frame)[-4:]) if greenlet.gr_frame else ""
            lines.append(f"left: {greenlet!r}\n{stack}")
    for descriptor, what in open_descriptors().items():
        if descriptor not in before_descriptors:
            lines.append(f"left: descriptor {descriptor}: {what}")
    return "\n".join(lines)


@pytest.fixture
def nothing_leaks(
    request: pytest.FixtureRequest, stack: Stack, _warm: set[str], logged: Any, hub_errors: Any
) -> Iterator[None]:
    """Greenlets, descriptors and connection objects are exactly as many after the test as before."""
    _warm_up(stack, _warm)
    turns(2)  # what the test before has closed ends
    gc.collect()
    gc.freeze()  # what exists now is not looked at again: else each test searches through the reports of all before it
    before = alive()
    before_greenlets = {id(greenlet) for greenlet in live_greenlets()}
    before_descriptors = open_descriptors()
    yield
    request.node.funcargs.clear()  # what the test held, sockets among it, is the test's, not a leak
    try:
        eventually(lambda: alive() == before, "nothing is left", 5)
    except AssertionError:
        raise AssertionError(
            "left behind\n" + _explain(before, alive(), before_greenlets, before_descriptors)
        ) from None


@pytest.fixture
def make_server(stack: Stack, transport: str, nothing_leaks: None) -> Iterator[MakeServer]:
    """Start servers on a free port of the loopback; they are stopped at the end of the test, and nothing may be left
    then.

    `make_server(**options)` takes the options of Server; `listener` replaces host and port, `start=False` leaves it
    unstarted, and `echo=True` gives it a message handler that echoes. `server.address` is where to connect."""
    import lws_gevent

    servers: list[Any] = []

    def make(*listener: Any, start: bool = True, echo: bool = False, **options: Any) -> Any:
        if not listener:
            options.setdefault("port", 0)
            options.setdefault("host", "" if options["port"] is None else "127.0.0.1")
        options.setdefault("engine", stack.engine)
        options.setdefault("close_timeout", 5 * FACTOR)
        if transport == "tls":
            options.setdefault("ssl", certificates().options)
        server = lws_gevent.Server(*listener, **options)
        servers.append(server)
        if echo:

            @server.on("message")
            def message(socket: Any, message: Any, binary: bool) -> None:
                server.send(socket, message, binary)

        if start:
            server.start()
        return server

    yield make
    for server in servers:
        server.stop(timeout=1)
        for event in EVENTS:
            server.off(event)  # handlers are closures of the test that hold sockets
    servers.clear()


@pytest.fixture
def opened(stack: Stack, make_server: Any) -> Iterator[Callable[..., Any]]:
    """`opened(url, **options)` is `lws_gevent.connect` on this stack; what is still open at the end is terminated."""
    import lws_gevent

    def connect(url: str, **options: Any) -> Any:
        return lws_gevent.connect(url, **{"engine": stack.engine, "close_timeout": 5, **options})

    with ending(connect, lambda sock: sock.terminate()) as make:
        yield make


@pytest.fixture
def debug_log() -> Iterator[list[logging.LogRecord]]:
    """What the library's logger is told, at every level."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("lws_gevent")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield records
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.fixture
def raw_server(nothing_leaks: None) -> Iterator[Callable[..., RawServer]]:
    """`raw_server(handle, ...)` is a listening `RawServer`, which stops at the end of the test."""
    with ending(RawServer, RawServer.stop) as make:
        yield make


@pytest.fixture
def make_client(stack: Stack, nothing_leaks: None) -> Iterator[Callable[..., Any]]:
    """`make_client(**options)` makes a `lws_gevent.Client` of this stack, which is stopped at the end of the test. The
    fixtures that it should outlive its connections to (`make_server`) come before it among a test's arguments."""
    import lws_gevent

    clients: list[Any] = []

    def make(**options: Any) -> Any:
        options.setdefault("engine", stack.engine)
        options.setdefault("close_timeout", 5)
        client = lws_gevent.Client(**options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.stop(timeout=1)
        for event in EVENTS:
            if event != "http":
                client.off(event)
    clients.clear()


@pytest.fixture
def connect(make_server: MakeServer, transport: str) -> Iterator[Callable[..., Client]]:
    """`connect(server, path, headers, ...)` as Client.connect; `connect(server, upgrade=False)` only opens the TCP
    connection. Whatever is still open at the end of the test is closed before the servers stop."""
    clients: list[Client] = []

    def make(server: Any, *arguments: Any, upgrade: bool = True, **named: Any) -> Client:
        address = server if isinstance(server, (tuple, str)) else ("127.0.0.1", server.port)
        if transport == "tls":
            named.setdefault("tls", certificates().client_context())
        client = Client.connect(address, *arguments, **named) if upgrade else Client.open(address, **named)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.disconnect()
    clients.clear()
