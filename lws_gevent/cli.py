"""The command ``lws-gevent``: servers to try out, measure and test with.

Each server command is a function that registers handlers on a :class:`lws_gevent.Server` by public names only, so that
what it shows is what every program gets. Errors that the user can mend are one line on standard error and status 2.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import gevent
from gevent.event import Event

import lws_gevent
from lws_gevent import cli_bench, cli_connect, codec, deflate, engines
from lws_gevent._version import __version__
from lws_gevent.cli_client import CommandError, number
from lws_gevent.cli_page import page
from lws_gevent.workers import Supervisor

PROGRAM = "lws-gevent"
EXIT_USAGE = 2


# --- the servers -----------------------------------------------------------------------------------------------------


def echo(server: lws_gevent.Server) -> None:
    """Every message goes back to where it came from, text as text and binary as binary."""

    @server.on("message")
    def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
        socket.send(message, binary)


def broadcast(server: lws_gevent.Server) -> None:
    """Every message goes to every connection, its sender included."""

    @server.on("message")
    def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
        server.broadcast(message, binary)


def serve(name: str, register: Callable[[lws_gevent.Server], None], arguments: argparse.Namespace) -> int:
    """Run a server until SIGTERM or SIGINT; the exit status."""
    _choose_codec(arguments.codec)
    options: dict[str, Any] = {"engine": arguments.engine, "workers": arguments.workers}
    if arguments.path is not None:
        options["path"] = arguments.path
    if arguments.max_payload is not None:
        options["max_payload"] = arguments.max_payload
    if arguments.compression:
        options["per_message_deflate"] = True
    if arguments.key is not None and arguments.cert is None:
        raise CommandError("--key needs --cert: the certificate that it belongs to")
    if arguments.cert is not None:
        options["ssl"] = {"cert": arguments.cert, "key": arguments.key}
    try:
        server = lws_gevent.Server(host=arguments.host, port=arguments.port, **options)
    except (ImportError, TypeError, ValueError, lws_gevent.LwsError) as error:
        raise CommandError(str(error)) from error

    register(server)
    html = page(name, arguments.path or "/")

    @server.on("http")
    def http(socket: lws_gevent.Socket, request: lws_gevent.Request) -> tuple[int, dict[str, str], str]:
        if request.path != "/":
            return 404, {"Content-Type": "text/plain"}, "Not found\n"
        if request.method != "GET":
            return 405, {"Content-Type": "text/plain", "Allow": "GET"}, "Method not allowed\n"
        return 200, {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}, html

    def started() -> None:
        in_use = _in_use(server.engine_name, arguments.compression)
        if arguments.workers > 1:
            in_use += f", {arguments.workers} workers"
        print(f"{PROGRAM} {__version__} {name}: {in_use}", file=sys.stderr, flush=True)
        scheme = "ws" if arguments.cert is None else "wss"
        print(f"listening on {scheme}://{_address(arguments.host, server.port)}", flush=True)

    try:
        server.init_socket()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CommandError(f"cannot listen on {_address(arguments.host, arguments.port)}: {reason}") from error
    if arguments.workers > 1:
        Supervisor(server, on_ready=started).run()
    else:
        _serve_here(server, started)
    return 0


def _serve_here(server: lws_gevent.Server, started: Callable[[], None]) -> None:
    stopping = _stop_on_signals()
    server.start()
    started()
    stopping.wait()
    server.stop()


def _choose_codec(name: str | None) -> None:
    """Hold the choice of the codec in the environment, where everything that picks one looks for it."""
    if name == "python":
        os.environ.pop("LWS_GEVENT_REQUIRE_C", None)
        os.environ["LWS_GEVENT_PURE_PYTHON"] = "1"
    elif name == "c":
        os.environ.pop("LWS_GEVENT_PURE_PYTHON", None)
        os.environ["LWS_GEVENT_REQUIRE_C"] = "1"


def _stop_on_signals() -> Event:
    """An event that the first SIGTERM or SIGINT sets; a second one ends the process at once, as the system does it."""
    stopping = Event()

    def stop() -> None:
        for handler in handlers:
            handler.cancel()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        stopping.set()

    handlers = [gevent.signal_handler(number, stop) for number in (signal.SIGTERM, signal.SIGINT)]
    return stopping


def _address(host: str, port: int | None) -> str:
    """HOST:PORT as in a URL."""
    host = host or "0.0.0.0"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- what is in use --------------------------------------------------------------------------------------------------


def _in_use(engine: str, compression: bool) -> str:
    """One line that names the parts which were chosen, for nothing falls back silently."""
    in_use = f"engine {engine}, codec {codec.load().name}, loop {_loop_name()} (gevent {gevent.__version__})"
    return f"{in_use}, deflate {deflate.library()}" if compression else in_use


def _loop_name() -> str:
    """gevent's event loop by the name that GEVENT_LOOP takes."""
    module = gevent.config.loop.__module__
    names = {
        "gevent.libev.corecext": "libev-cext",
        "gevent.libev.corecffi": "libev-cffi",
        "gevent.libuv.loop": "libuv-cffi",
    }
    return names.get(module, module)


class _Version(argparse.Action):
    """``--version``: worked out when it is asked for, not at every start."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"{PROGRAM} {__version__}: {_in_use(engines.choose('auto').name, True)}")
        parser.exit(0)


# --- arguments -------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage around it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{PROGRAM}: {message} (see {self.prog} --help)\n")


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return value


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with /")
    return text


_port.__name__ = "port"  # argparse names the type in "invalid ... value"


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s; 0.0.0.0: every one)"
    )
    parser.add_argument(
        "--port", type=_port, default=3000, help="port to listen on (default: %(default)s; 0: any free one)"
    )
    parser.add_argument("--path", type=_path, help="the only URL path that is a WebSocket (default: every one)")
    parser.add_argument(
        "--engine", choices=("auto", "parked", "greenlet"), default="auto", help="(default: %(default)s)"
    )
    parser.add_argument("--codec", choices=("c", "python"), help="(default: c where it is built)")
    parser.add_argument("--compression", action="store_true", help="compress for clients that offer it (RFC 7692)")
    parser.add_argument("--cert", metavar="FILE", help="speak TLS with this certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", help="its private key (default: it is in the same file)")
    parser.add_argument(
        "--workers", type=number, default=1, metavar="N", help="processes that share the port (default: %(default)s)"
    )
    parser.add_argument("--max-payload", type=number, metavar="N", help="largest message in bytes (default: 16 MiB)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Lightweight WebSockets for gevent.", allow_abbrev=False)
    parser.add_argument(
        "--version", action=_Version, help="the version, and the engine, codec, loop and deflate library in use"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    servers: tuple[tuple[str, Callable[[lws_gevent.Server], None], str], ...] = (
        ("echo", echo, "an echo server"),
        ("broadcast", broadcast, "every message goes to every connection"),
    )
    for name, register, summary in servers:
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        _add_server_arguments(command)
        command.set_defaults(run=lambda arguments, name=name, register=register: serve(name, register, arguments))
    clients = (
        ("connect", cli_connect, "a client in the terminal: lines are sent, messages are shown"),
        ("bench", cli_bench, "load on an echo server: throughput and latencies"),
    )
    for name, module, summary in clients:
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with these arguments (default: the process's); its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except CommandError as error:
        print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    return status
