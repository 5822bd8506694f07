"""Several processes that serve one port (layer 3): the parent, which starts them, restarts them and stops them.

The parent opens no event loop: it sleeps in select() until a worker ends or a signal comes. Each worker is a fork of it
that starts the server as a single process would, with a listening socket of its own on the same port (SO_REUSEPORT), so
that the system shares out the connections; where that cannot be, all accept from one inherited socket.

Parent and worker are joined by a socket pair. Whoever sees its end knows that the other one is gone, however it died.
"""

from __future__ import annotations

import _socket
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from lws_gevent.server import Server

__all__ = ["Supervisor"]

#: What a worker tells its parent: it accepts connections; `server.stop()` was called in it; it has broadcast.
_READY, _STOPPED, _PARTIAL = b"r", b"s", b"p"

#: A worker that has lived for less than so many seconds died at once: the next one waits, each time twice as long.
_SHORT_LIFE = 5.0
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0

#: How often workers are looked after when nothing is heard of them: a process that one of them has started may hold
#: the worker's end of the pair open.
_LOOK_SECONDS = 1.0
_ENDING_SECONDS = 0.02

#: So much longer than a stop may take, workers are killed: something keeps their hubs from running.
_GRACE_SECONDS = 5.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Worker:
    __slots__ = ("channel", "pid", "ready", "since")

    def __init__(self, pid: int, channel: Any) -> None:
        self.pid = pid
        self.channel = channel  # None: it has ended, or is about to
        self.ready = False
        self.since = time.monotonic()


class Supervisor:
    """Runs the workers of one server. `run` is for the main greenlet of the main thread."""

    def __init__(
        self, server: Server, stop_timeout: float | None = None, on_ready: Callable[[], None] | None = None
    ) -> None:
        """`stop_timeout`: for `Server.stop` in the workers. `on_ready` is called in the parent once all accept."""
        self._server = server
        self._stop_timeout = stop_timeout
        self._on_ready = on_ready
        self._workers: list[_Worker] = []
        self._due: list[float] = []  # when to start workers that are missing
        self._delay = 0.0
        self._stopping = False
        self._kill_at: float | None = None
        self._told_partial = False
        self._select: Any = None
        self._waitpid: Any = None

    def run(self) -> None:
        """Serves until a signal comes or a worker's server is stopped. OSError when the address cannot be had."""
        from gevent import getcurrent
        from gevent.monkey import get_original

        if getcurrent().parent is not None:
            raise RuntimeError("serve_forever() with workers blocks the whole process: call it from the main greenlet")
        # The parent must sleep, not switch to a hub.
        self._select = get_original("select", "select")
        self._waitpid = get_original("os", "waitpid")
        self._server.init_socket()
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            self._due = [0.0] * self._server.settings.workers
            while self._workers or self._due:
                self._start_due()
                self._listen()
                self._reap()
        finally:
            for worker in self._workers:  # only after an error of ours
                with contextlib.suppress(OSError):
                    os.kill(worker.pid, signal.SIGKILL)
                    self._waitpid(worker.pid, 0)
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            self._server.close()

    # --- in the parent ----------------------------------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: Any) -> None:
        if self._stopping:  # the second one
            self._signal_all(signal.SIGKILL)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._due = []
        timeout = self._server.settings.close_timeout if self._stop_timeout is None else self._stop_timeout
        self._kill_at = time.monotonic() + timeout + _GRACE_SECONDS
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    def _start_due(self) -> None:
        now = time.monotonic()
        while not self._stopping and self._due and self._due[0] <= now:
            # A signal between the fork and the handler of its own that the child makes would run the parent's there.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            try:
                if not self._stopping:
                    self._start_worker(self._due.pop(0) > 0)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _start_worker(self, again: bool) -> None:
        """`again`: it replaces another one, without which the others can go on for a while."""
        try:
            self._fork()
        except OSError as error:
            if not again:
                raise
            self._lengthen_delay()
            self._plan()
            _logger().error("cannot start a worker (%s); the next attempt is in %g s", error, self._delay)

    def _fork(self) -> None:
        from gevent.os import fork_gevent

        here, there = _socket.socketpair()
        for stream in (sys.stdout, sys.stderr):  # or the child would print it again
            with contextlib.suppress(Exception):
                stream.flush()
        gc.freeze()  # else the collector of each worker would write to, and so copy, every page of objects
        try:
            pid = fork_gevent()
        except OSError:
            here.close()
            there.close()
            raise
        if pid == 0:
            here.close()
            self._become_worker(there)
        there.close()
        here.setblocking(False)
        self._workers.append(_Worker(pid, here))

    def _listen(self) -> None:
        """Sleeps until something has happened, or is to be done."""
        now = time.monotonic()
        ending = any(worker.channel is None for worker in self._workers)
        timeout = _ENDING_SECONDS if ending else _LOOK_SECONDS
        if self._due:
            timeout = min(timeout, max(self._due[0] - now, 0))
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            _logger().warning("workers that do not stop are killed")
            self._signal_all(signal.SIGKILL)
        by_channel = {worker.channel: worker for worker in self._workers if worker.channel is not None}
        for channel in self._select(list(by_channel), [], [], timeout)[0]:
            self._hear(by_channel[channel])

    def _hear(self, worker: _Worker) -> None:
        try:
            said = worker.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            worker.channel.close()
            worker.channel = None
        if _READY in said:
            worker.ready = True
            if self._on_ready is not None and sum(worker.ready for worker in self._workers) == len(self._workers):
                if not self._due:
                    self._on_ready()
                    self._on_ready = None
        if _PARTIAL in said and not self._told_partial:
            self._told_partial = True
            _logger().warning(
                "broadcast and publish reach the connections of one process only, and there are %d (option 'workers')",
                self._server.settings.workers,
            )
        if _STOPPED in said and not self._stopping:
            self._stop()

    def _reap(self) -> None:
        for worker in list(self._workers):
            try:
                pid, status = self._waitpid(worker.pid, os.WNOHANG)
            except ChildProcessError:  # somebody has waited for it; or nobody need to: SIGCHLD is ignored
                pid, status = worker.pid, None
            if pid == 0:
                continue
            self._workers.remove(worker)
            if worker.channel is not None:
                self._hear(worker)  # its last words
            if worker.channel is not None:
                worker.channel.close()
            if not self._stopping:
                self._replace(worker, None if status is None else os.waitstatus_to_exitcode(status))

    def _replace(self, worker: _Worker, status: int | None) -> None:
        if time.monotonic() - worker.since < _SHORT_LIFE:
            self._lengthen_delay()
        else:
            self._delay = 0.0
        self._plan()
        if status is None:
            how = "has ended"
        else:
            how = f"was ended by signal {-status}" if status < 0 else f"has ended with status {status}"
        when = f" in {self._delay:g} s" if self._delay else ""
        level = _logger().info if status == 0 else _logger().error
        level("worker %d %s; another one starts%s", worker.pid, how, when)

    def _lengthen_delay(self) -> None:
        self._delay = min(max(self._delay * 2, _FIRST_DELAY), _LONGEST_DELAY)

    def _plan(self) -> None:
        """Another worker, when it is its time."""
        self._due.append(time.monotonic() + self._delay)
        self._due.sort()

    # --- in a worker ------------------------------------------------------------------------------------------------

    def _become_worker(self, channel: Any) -> NoReturn:
        """The whole life of a worker. It never returns to what the parent's caller has on its stack, whose ``finally``
        clauses and exit handlers are the parent's."""
        status = 1
        try:
            for worker in self._workers:
                if worker.channel is not None:
                    worker.channel.close()
            self._workers = []
            self._serve(channel)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            _logger().exception("a worker has failed")
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)

    def _serve(self, channel: Any) -> None:
        import gevent

        server = self._server
        told = False
        ended = False

        def tell_partial() -> None:
            nonlocal told
            if not told:
                told = True
                self._tell(channel, _PARTIAL)

        def stop() -> None:
            nonlocal ended
            ended = True
            server.stop(self._stop_timeout)

        server.become_worker(tell_partial)
        for number in _SIGNALS:
            signal.signal(number, _ignore)  # SIGINT: a terminal sends it to all, and the parent passes it on
        handler = gevent.signal_handler(signal.SIGTERM, stop)
        server.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        orphaned = gevent.get_hub().loop.io(channel.fileno(), 1)
        orphaned.start(gevent.spawn, stop)  # the parent says nothing, so it is gone
        self._tell(channel, _READY)
        try:
            server.serve_forever(self._stop_timeout)
        finally:
            orphaned.stop()
            orphaned.close()
            handler.cancel()
        if not ended:
            self._tell(channel, _STOPPED)

    @staticmethod
    def _tell(channel: Any, what: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            channel.send(what)


def _ignore(_number: int, _frame: Any) -> None:
    """Instead of SIG_IGN, which programs that the worker starts would inherit."""


def _logger() -> Any:
    import logging  # costs time and memory that a server which never logs does not pay

    return logging.getLogger("lws_gevent")
