"""``lws-gevent connect``: a client in the terminal (layer 4).

Lines of standard input are sent as messages, messages are written to standard output, everything else to standard
error. In a terminal lines can be edited and there is a history, by readline.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent.monkey import get_original
from gevent.queue import Empty, Queue

import lws_gevent
from lws_gevent.cli_client import CommandError, add_client_arguments, client_options, seconds

__all__ = ["add_arguments", "run"]

_HELP = "/ping [data], /close [code [reason]], /binary HEX; a line that begins with // is sent with one /"
_HISTORY = Path("~/.lws_gevent_history")
_HISTORY_LENGTH = 1000

#: Lines that were read and not sent yet.
_READ_AHEAD = 64

#: What a terminal would take for a command.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    add_client_arguments(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--text", dest="binary", action="store_false", help="lines are sent as text (the default)")
    kind.add_argument("--binary", action="store_true", help="lines are sent as binary messages")
    parser.set_defaults(binary=False)
    parser.add_argument("--json", action="store_true", help="write messages that are JSON with indentation")
    parser.add_argument("--ping-interval", type=seconds, default=20, metavar="SECONDS", help="(default: %(default)g)")
    parser.add_argument(
        "--wait", type=seconds, default=1, metavar="SECONDS",
        help="after the end of piped input, until no message has come for so long (default: %(default)g)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Until the connection or the input has ended; the exit status: 0 after a close with 1000 or 1001, else 1."""
    return _Session(arguments).run()


class _Session:
    """One connection, and the terminal."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.interactive = sys.stdin.isatty()
        self.events: Queue[tuple[str, Any]] = Queue()
        self.editor = _Editor() if self.interactive else None
        self.ended: tuple[int, str] | None = None

    def run(self) -> int:
        options = client_options(self.arguments)
        interval = self.arguments.ping_interval
        try:
            client = lws_gevent.Client(
                ping_interval=interval, ping_timeout=20, own_close_event=True, max_payload=None, **options
            )
            for event in ("message", "close", "pong"):
                client.on(event, self._note(event))
            client.on("error", lambda error: self.tell(f"error: {error}"))
            socket = client.connect(self.arguments.url)
        except (OSError, TypeError, ValueError, ImportError, lws_gevent.LwsError) as error:
            raise CommandError(f"{error}{_body(error)}") from error
        agreed = [f"subprotocol {socket.subprotocol}" if socket.subprotocol else "", socket.extensions]
        self.tell(f"connected to {self.arguments.url}" + "".join(f", {what}" for what in agreed if what))
        with contextlib.ExitStack() as stack:
            if self.editor is not None:
                stack.enter_context(self.editor)
                self.tell(_HELP)
            lines = _Lines(self.events, self.editor.read if self.editor is not None else _piped_lines())
            lines.start()
            try:
                self._go_on(client, socket, lines)
            except KeyboardInterrupt:
                client.close(socket, 1000)
                self._go_on(client, socket, lines, 2)
        code, reason = self.ended or (1006, "")
        self.tell(f"closed: {code} {_meaning(code)}" + (f": {_printable(reason)}" if reason else ""))
        return 0 if code in (1000, 1001) else 1

    def _note(self, event: str) -> Callable[..., None]:
        return lambda socket, *arguments: self.events.put((event, arguments))

    def _go_on(self, client: lws_gevent.Client, socket: Any, lines: _Lines, timeout: float | None = None) -> None:
        while self.ended is None:
            try:
                event, what = self.events.get(timeout=timeout)
            except Empty:
                if socket.ready_state != lws_gevent.ReadyState.OPEN:
                    return
                client.close(socket, 1000)
                timeout = 5
                continue
            if event == "message":
                self.show(what[0])
            elif event == "pong":
                self.tell(f"pong {_printable(what[0].decode('utf-8', 'replace'))}".rstrip())
            elif event == "close":
                self.ended = what
            elif event == "line":
                lines.taken()
                self.send(client, socket, what)
            elif self.interactive:  # the end of the input
                client.close(socket, 1000)
            else:
                timeout = self.arguments.wait

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, client: lws_gevent.Client, socket: Any, line: bytes) -> None:
        """A message, or in a terminal perhaps a command."""
        try:
            if self.interactive and line.startswith(b"/"):
                if not line.startswith(b"//"):
                    return self._command(client, socket, *line[1:].decode("utf-8", "replace").split(" ", 1))
                line = line[1:]
            client.send(socket, line, self.arguments.binary)
        except (ValueError, lws_gevent.LwsError) as error:
            self.tell(str(error))
        return None

    def _command(self, client: lws_gevent.Client, socket: Any, name: str, rest: str = "") -> None:
        if name == "ping":
            client.ping(socket, rest)
        elif name == "close":
            code, _, reason = rest.partition(" ")
            client.close(socket, int(code or 1000), reason)
        elif name == "binary":
            client.send(socket, bytes.fromhex(rest), True)
        else:
            self.tell(_HELP)

    # --- showing ------------------------------------------------------------------------------------------------------

    def show(self, message: str | bytes) -> None:
        """A message on standard output."""
        terminal = sys.stdout.isatty()
        if isinstance(message, bytes):
            if not terminal:
                sys.stdout.buffer.write(message)
                sys.stdout.buffer.flush()
                return
            text = f"({len(message)} octets) {message[:256].hex(' ')}" + (" ..." if len(message) > 256 else "")
        else:
            text = _indented(message) if self.arguments.json else message
            text = _printable(text) if terminal else text
        with self._above_the_prompt():
            print(f"< {text}" if terminal else text, flush=True)

    def tell(self, text: str) -> None:
        """A line on standard error."""
        with self._above_the_prompt():
            print(_printable(text), file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _above_the_prompt(self) -> Iterator[None]:
        if self.editor is not None:
            self.editor.clear()
        yield
        if self.editor is not None:
            self.editor.redraw()


class _Lines:
    """Reads lines in a thread of the system's, which no prompt nor pipe can block the hub by."""

    def __init__(self, events: Queue[tuple[str, Any]], read: Callable[[], bytes]) -> None:
        self._events = events
        self._read = read
        self._loop = gevent.get_hub().loop
        # Of the system's too: it keeps a pipe from being read faster than it can be sent.
        self._room = get_original("_thread", "allocate_lock")()
        self._waiting = 0

    def start(self) -> None:
        """Lines become events from now on."""
        get_original("_thread", "start_new_thread")(self._run, ())

    def _run(self) -> None:
        while True:
            try:
                line = self._read()
            except (EOFError, OSError, ValueError):
                self._put("end", b"")
                return
            self._waiting += 1
            self._put("line", line)
            if self._waiting >= _READ_AHEAD:
                self._room.acquire()

    def _put(self, event: str, line: bytes) -> None:
        self._loop.run_callback_threadsafe(self._events.put, (event, line))

    def taken(self) -> None:
        """A line is sent."""
        self._waiting -= 1
        if self._waiting < _READ_AHEAD // 2 and self._room.locked():
            self._room.release()


def _piped_lines() -> Callable[[], bytes]:
    # Not through sys.stdin: a thread that waits in there has its lock, without which the interpreter cannot end.
    def lines() -> Iterator[bytes]:
        parts: list[bytes] = []
        while chunk := os.read(sys.stdin.fileno(), 65536):
            first, *others = chunk.split(b"\n")
            parts.append(first)
            for other in others:
                yield b"".join(parts)
                parts = [other]
        if any(parts):
            yield b"".join(parts)

    every = lines()

    def read() -> bytes:
        for line in every:
            return line.removesuffix(b"\r")
        raise EOFError

    return read


class _Editor:
    """The prompt: lines that can be edited, and those of earlier times, where readline is there."""

    _PROMPT = "> "

    def __init__(self) -> None:
        try:
            import readline
        except ImportError:
            self.readline: Any = None
        else:
            self.readline = readline
        self.reading = False

    def __enter__(self) -> _Editor:
        import termios

        self._terminal = termios.tcgetattr(sys.stdin)
        if self.readline is not None:
            self.readline.set_history_length(_HISTORY_LENGTH)
            with contextlib.suppress(OSError):
                self.readline.read_history_file(_HISTORY.expanduser())
        return self

    def __exit__(self, *_: object) -> None:
        import termios

        if self.readline is not None:
            with contextlib.suppress(OSError):
                self.readline.write_history_file(_HISTORY.expanduser())
        self.clear()
        self.reading = False
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._terminal)

    def read(self) -> bytes:
        """In the reading thread. EOFError at the end."""
        self.reading = True
        try:
            return input(self._PROMPT).encode("utf-8", "surrogateescape")
        finally:
            self.reading = False

    def clear(self) -> None:
        """Before something is written."""
        if self.reading:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def redraw(self) -> None:
        """After it: the prompt, and what was typed already."""
        if self.reading:
            typed = self.readline.get_line_buffer() if self.readline is not None else ""
            print(self._PROMPT + typed, end="", file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """Without anything that a terminal would obey: who sends it is a stranger."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _indented(message: str) -> str:
    try:
        return json.dumps(json.loads(message), indent=2, ensure_ascii=False)
    except ValueError:
        return message


def _meaning(code: int) -> str:
    try:
        return f"({lws_gevent.CloseCode(code).name.lower().replace('_', ' ')})"
    except ValueError:
        return "(of the application)" if code >= 3000 else "(unknown)"


def _body(error: Exception) -> str:
    """What a server says about its refusal."""
    body = getattr(error, "body", b"")[:200].decode("utf-8", "replace").strip()
    return f" ({_printable(body)})" if body else ""
