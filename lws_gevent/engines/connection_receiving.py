"""The receiving side of a connection of the greenlet engine (layer 2): reading, decoding ahead, blocking style.

The hub reads, and runs no user code, so that a connection whose handler is blocked still answers pings and learns of
its end. What was decoded waits in `_events` for the greenlet, or, once the connection is read in blocking style, in
its `Inbox`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from gevent import getcurrent

from lws_gevent.engines.connection_base import AHEAD_EVENTS, CONNECTING, OPEN
from lws_gevent.engines.connection_sending import SendingConnection
from lws_gevent.errors import ConnectionClosed, LwsError
from lws_gevent.frames import CloseCode
from lws_gevent.inbox import INBOX_LIMIT, Inbox
from lws_gevent.wording import NOT_OPEN_YET

__all__ = ["LOOK_SECONDS", "ReceivingConnection"]

_READ_SIZE = 64 * 1024

#: While its handler is blocked, so much is read ahead of it (design rule 1).
_AHEAD_OCTETS = 64 * 1024

#: So often is looked whether the peer is still there while nothing is read.
LOOK_SECONDS = 1.0

#: Others have their turn after so many decoded events.
_TURN_EVENTS = 256


class ReceivingConnection(SendingConnection):
    """See the module."""

    __slots__ = ()

    # --- verbs --------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._check_open()
        self._paused = True

    def resume(self) -> None:
        self.check_thread()
        self._paused = False
        self._wake()

    def recv(self, timeout: float | None = None) -> str | bytes:
        inbox = self._inbox
        if inbox is None or self._claimer is None:
            inbox = self._claim()
        return inbox.get(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            try:
                message = self.recv()
            except ConnectionClosed as closed:
                if closed.code in (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY):
                    return
                raise
            yield message

    def _claim(self) -> Inbox:
        """From now on the messages are for recv(), those that wait already first."""
        self.check_thread()
        if self._state == CONNECTING:
            raise LwsError(NOT_OPEN_YET)
        if self._inbox is None:
            self._inbox = Inbox(self._on_low_water)
        inbox = self._inbox
        if self._protocol is None:  # it has ended, and everything is in the inbox
            inbox.end(*self._ended())
            return inbox
        self._claimer = getcurrent()
        self._protocol.buffer_size = None
        others: deque[tuple[Any, ...]] = deque()
        for event in self._events:
            if event[0] not in ("message", "piece"):
                others.append(event)
            elif not self._deaf:
                self._put(event)
        self._events = others
        if self._sock is not None:
            self._decode_ahead()
        if self._state != OPEN:
            inbox.end(*self._ended())
        self._wake()
        return inbox

    def _put(self, event: tuple[Any, ...]) -> None:
        """A message for the inbox, or a piece of one; what a handler has got of it already is not in it."""
        assert self._inbox is not None
        if event[0] == "piece":
            self._begun.append(event[1])
            return
        message = event[1]
        if self._begun:
            self._begun.append(message)
            message = ("" if isinstance(message, str) else b"").join(self._begun)
            self._begun = []
        self._inbox.put(message)

    def _on_low_water(self) -> None:
        if self._sock is not None:
            self._decode_ahead()

    # --- reading ------------------------------------------------------------------------------------------------------

    def _regulate_reading(self) -> None:
        """Reads if and only if there is a bounded place for what comes."""
        if self._sock is None or self._protocol is None:
            return
        if self._eof:
            wanted = False
        elif self._deaf:
            wanted = True
        elif self._inbox is not None:
            wanted = self._inbox.size <= INBOX_LIMIT
        elif self._idle:
            wanted = True
        else:
            wanted = self._ahead < _AHEAD_OCTETS and len(self._events) < AHEAD_EVENTS
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                # Silence counts from now on: before it was us who did not listen.
                self._received_at = time.monotonic()
                self._reader.start(self._on_readable)
            else:
                self._reader.stop()
                self._engine.deadlines.set(self, time.monotonic() + LOOK_SECONDS)

    def _on_readable(self) -> None:
        """In the hub."""
        if self._sock is None:
            return
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            self._after_reading()
            return
        except OSError:
            data = b""
        if data:
            self._count_received(len(data))
            self._received_at = time.monotonic()
            self._protocol.receive_data(data)
            self._ahead += len(data)
        else:
            self._eof = True
            self._protocol.receive_eof()
        self._after_reading()
        if self._idle and self._inbox is None:
            complete = self._fill()
            if self._events or not complete or self._sock is None:
                self._resume()
            else:
                self._ahead = 0
                self._flush()
                self._regulate_reading()
            return
        self._decode_ahead()
        if self._eof and self._sock is not None and not self._protocol.close_received:
            # What was received waits for its handlers, but nothing can be sent any more.
            self._cut()
        if self._idle and self._events:
            self._resume()

    def _fill(self) -> bool:
        """Decodes until there is an event for the greenlet. False: a turn's worth was decoded, and there may be
        more."""
        next_event = self._protocol.next_event
        self._decoded = 0
        for _ in range(_TURN_EVENTS):
            event = next_event()
            if event is None:
                return True
            self._note(event)
            if self._events:
                return True
        return False

    def _decode_ahead(self) -> None:
        """Decodes within bounds what the greenlet is too busy for, or what belongs into the inbox. In the hub too."""
        next_event = self._protocol.next_event
        for _ in range(_TURN_EVENTS):
            if self._deaf:
                pass
            elif self._inbox is not None:
                if self._inbox.size > INBOX_LIMIT:
                    break
            elif len(self._events) >= AHEAD_EVENTS or self._is_far_ahead():
                break
            event = next_event()
            if event is None:
                break
            self._note(event)
        else:
            self._schedule_hub_turn()
        self._flush()
        self._regulate_reading()

    def _is_far_ahead(self) -> bool:
        """Whether messages enough wait already: little that was received may inflate to very much."""
        return self._deflate is not None and self._decoded > _AHEAD_OCTETS

    def _on_hub_turn(self) -> None:
        """In the hub: the greenlet has blocked in a handler (else it would have cancelled this). What was sent before
        goes out, and what was read already is decoded, so that pings are answered and a close is noticed."""
        self._hub_turn = None
        self._flush()
        if self._sock is not None and self._protocol is not None and not (self._idle and self._inbox is None):
            self._decode_ahead()
            if self._idle and self._events:
                self._resume()

    def _note(self, event: tuple[Any, ...]) -> None:
        """What an event means for the connection; it is kept for the greenlet when a handler wants it. No user code."""
        kind = event[0]
        if kind in ("message", "piece"):
            if kind == "message":
                self._engine.messages_received += 1
            if self._deaf:
                return
            if self._inbox is not None:
                self._put(event)
            else:
                self._events.append(event)
                self._decoded += len(event[1])
        elif kind in ("ping", "pong"):
            # Beyond the bound they are answered all the same; only the handler does not hear of them.
            if not self._deaf and len(self._events) < AHEAD_EVENTS and self.context.has_listeners(kind):
                self._events.append(event)
        elif kind == "close":
            self._peer_closed(event[1], event[2])
        elif kind == "error":
            self._peer_erred(event[1])
        elif kind == "eof":
            self._peer_gone()
