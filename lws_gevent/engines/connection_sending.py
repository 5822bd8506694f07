"""The sending side of a connection of the greenlet engine (layer 2): gathering, writing, back-pressure.

Frames are appended whole to one queue, so those of several greenlets never interleave, and a killed sender harms
nothing. What a handler of the connection sends is written when its turn ends or it blocks; everything else at once.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Collection
from typing import Any

from gevent import getcurrent

from lws_gevent.engines.connection_base import AHEAD_EVENTS, CLOSING, OPEN, ConnectionBase
from lws_gevent.engines.interface import Socket
from lws_gevent.errors import BackpressureExceeded, ConnectionClosed
from lws_gevent.frames import Role
from lws_gevent.prepared import Prepared, check_text, message_payload
from lws_gevent.wording import FRAGMENTS_ENDED, FRAGMENTS_OPEN, NOT_UTF8, OTHER_KIND, not_prepared

__all__ = ["SendingConnection"]

#: What handlers send is gathered up to here.
_GATHER = 64 * 1024

_UTF8_DECODER = codecs.getincrementaldecoder("utf-8")


class SendingConnection(ConnectionBase):
    """See the module."""

    __slots__ = ()

    # --- verbs --------------------------------------------------------------------------------------------------------

    def send(self, message: str | bytes, binary: bool | None = None, compress: bool | None = None) -> bool:
        self._check_open()
        is_text = isinstance(message, str)
        binary = not is_text if binary is None else bool(binary)
        payload = message_payload(message)
        self._check_no_fragments()
        if not binary and not is_text:
            check_text(payload)
        if not self._has_room() and not self._make_room(message, binary):
            return False
        self._protocol.send_message(payload, binary, self._is_compressed(len(payload), compress))
        self._sent()
        return True

    def send_prepared(self, prepared: Prepared, binary: bool | None = None) -> bool:
        """See `Server.send_prepared`."""
        self._check_open()
        if not isinstance(prepared, Prepared):
            raise TypeError(not_prepared(prepared))
        binary = prepared.binary if binary is None else bool(binary)
        if not binary:
            prepared.check_text()
        self._check_no_fragments()
        if not self._has_room() and not self._make_room(prepared.payload, binary):
            return False
        self._queue_prepared(prepared, binary)
        self._sent()
        return True

    def _queue_prepared(self, prepared: Prepared, binary: bool) -> None:
        deflate = self._deflate
        compressed = deflate is not None and self._is_compressed(len(prepared), None)
        if self._role is Role.CLIENT or (deflate is not None and compressed and deflate.keeps_context):
            # A client may not use a masking key twice (RFC 6455 section 5.3).
            self._protocol.send_message(prepared.payload, binary, compressed)
            return
        if deflate is None or not compressed:
            frame = prepared.frame(binary)
        else:
            frame = prepared.compressed_frame(deflate, binary)
        self._collect()
        self._out.extend((frame,))

    def _is_compressed(self, length: int, compress: bool | None) -> bool:
        """Whether a message of so many octets is to be compressed; `compress`: what the sender says to that."""
        if self._deflate is None:
            return False
        settings = self.context.settings.per_message_deflate
        return bool(compress) if compress is not None or settings is None else length >= settings.threshold

    def broadcast(self, prepared: Prepared, slow: str) -> bool:
        """One message to many, never blocking; whether it was queued. Connections that cannot take it are passed
        over."""
        if self._state != OPEN or self._fragment_binary is not None:
            return False
        if not self._has_room():
            self._flush()
            limit = self.context.settings.max_backpressure
            if self._state != OPEN:
                return False
            if limit is not None and self._out.size > limit:
                if slow == "drop" or self.context.settings.backpressure == "drop":
                    self._dropped(prepared.payload, prepared.binary)
                else:
                    self._cut("back-pressure")
                return False
        self._queue_prepared(prepared, prepared.binary)
        self._sent()
        return True

    def subscribe(self, topic: str) -> bool:
        self._check_open()
        return self.context.subscriptions().add(self, topic)

    def unsubscribe(self, topic: str) -> bool:
        self.check_thread()
        return self.context.subscriptions().discard(self, topic)

    def publish(
        self,
        topic: str,
        message: str | bytes | Prepared,
        binary: bool | None = None,
        exclude: Collection[Socket] = (),
        slow: str = "close",
    ) -> int:
        if self._greenlet is None:
            raise ConnectionClosed(*self._ended())
        return self.context.subscriptions().publish(topic, message, binary, (*exclude, self), slow)

    def send_fragment(self, piece: str | bytes, fin: bool, binary: bool | None = None) -> bool:
        """See `Server.send_fragment`."""
        self._check_open()
        first = self._fragment_binary is None
        if not first and not self._fragment_dropped and not self._has_room():
            # A message is dropped whole or not at all.
            self._make_room(piece, bool(self._fragment_binary), may_drop=False, in_message=True)
        if first:
            binary = not isinstance(piece, str) if binary is None else bool(binary)
        elif binary is not None and bool(binary) is not self._fragment_binary:
            raise ValueError(OTHER_KIND)
        else:
            binary = bool(self._fragment_binary)
        payload = message_payload(piece)
        check = None if binary else self._checked_fragment(payload, fin, first)
        dropped = not first and self._fragment_dropped
        if first and not self._has_room():
            dropped = not self._make_room(piece, binary)
        # From here on nothing waits, and what is noted now is done.
        self._fragment_binary = None if fin else binary
        self._fragment_check = None if fin else check
        self._fragment_dropped = dropped
        if dropped:
            return False
        compressed = first and self._is_compressed(len(payload), None)  # the first piece decides for all
        self._protocol.send_fragment(payload, bool(fin), binary, compressed)
        self._sent(whole=bool(fin))
        return True

    def _checked_fragment(self, payload: bytes, fin: bool, first: bool) -> codecs.IncrementalDecoder:
        """Pieces may be cut within a character, the whole must be UTF-8 (RFC 6455 section 5.6): the check with this
        piece in it, for the next one; that of the piece before stays as it is."""
        check = _UTF8_DECODER()
        if not first:
            check.setstate(self._fragment_check.getstate())
        try:
            check.decode(payload, final=bool(fin))
        except UnicodeDecodeError:
            raise ValueError(NOT_UTF8) from None
        return check

    def _check_no_fragments(self) -> None:
        if self._fragment_binary is not None:
            raise ValueError(FRAGMENTS_OPEN)

    def _sent(self, whole: bool = True) -> None:
        if whole:
            self._engine.messages_sent += 1
        self._written()
        limit = self.context.settings.max_backpressure
        if limit is not None and self._state == OPEN:
            if self._out.size <= limit:
                self._pass_on()
            elif self._writing:
                self._over = True

    def _pass_on(self) -> None:
        """There is room: the next one who waits for it may go."""
        if self._senders:
            self._senders.wake()

    def ping(self, data: str | bytes = b"") -> None:
        self._check_open()
        self._protocol.send_ping(message_payload(data))
        self._written()

    def pong(self, data: str | bytes = b"") -> None:
        """See `Server.pong`."""
        self._check_open()
        self._protocol.send_pong(message_payload(data))
        self._written()

    def cork(self) -> None:
        """Frames are gathered until as many `uncork`."""
        self.check_thread()
        self._corks += 1

    def uncork(self) -> None:
        """Writes what was gathered, unless somebody else still gathers."""
        self._corks -= 1
        if not self._corks:
            self._flush()

    # --- back-pressure ------------------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        limit = self.context.settings.max_backpressure
        return limit is None or (self._out.size <= limit and not self._senders)

    def _make_room(self, message: Any, binary: bool, may_drop: bool = True, in_message: bool = False) -> bool:
        """What the policy says about a message for which there is no room; whether to queue it. `in_message`: it is a
        fragment, and not the first one. ValueError: while it waited, others have begun a fragmented message, or ended
        this one."""
        self._flush()
        if self._state != OPEN:
            raise ConnectionClosed(*self._ended())
        if self._has_room():
            return True
        limit = self.context.settings.max_backpressure
        policy = self.context.settings.backpressure
        if policy == "block":
            if getcurrent() is self._hub:
                if self._out.size <= (limit or 0):
                    return True
                raise BackpressureExceeded("the send buffer is over max_backpressure, and the hub must not block")
            self._wait_for_room(limit or 0)
            if in_message != (self._fragment_binary is not None):
                self._pass_on()
                raise ValueError(FRAGMENTS_ENDED if in_message else FRAGMENTS_OPEN)
            return True
        if policy == "close":
            self._cut("back-pressure")
            raise ConnectionClosed(*self._ended())
        if not may_drop:
            return True
        self._dropped(message, binary)
        return False

    def _wait_for_room(self, limit: int) -> None:
        if not self._senders and self.context.settings.send_timeout is not None:
            self._progress_at = time.monotonic()
            self._engine.deadlines.set(self, self._progress_at + self.context.settings.send_timeout)
        while True:
            self._senders.wait()
            if self._state != OPEN:
                raise ConnectionClosed(*self._ended())
            if self._out.size <= limit:
                return

    def _dropped(self, message: Any, binary: bool) -> None:
        self._engine.dropped += 1
        self._over = True
        # Handlers that do not keep up with the news of dropped messages must not make them pile up here instead.
        if len(self._events) < AHEAD_EVENTS and self.context.has_listeners("dropped"):
            self._events.append(("dropped", message, binary))
            self._wake()

    def _made_room(self) -> None:
        limit = self.context.settings.max_backpressure
        if limit is not None:
            size = self._out.size
            if size > limit:
                self._over = True
            else:
                if self._senders:
                    self._senders.wake()
                if self._over and size <= limit // 2:
                    self._over = False
                    if self._state == OPEN and self.context.has_listeners("drain"):
                        self._events.append(("drain",))
                        self._wake()
        if self._state == CLOSING:
            self._finish_when_written()

    # --- writing ------------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        if self._protocol is not None:
            self._out.extend(self._protocol.data_to_send())

    def _written(self) -> None:
        """Frames were added: written now, or with what follows when a handler of this connection is at work."""
        self._collect()
        if (self._corks or getcurrent() is self._greenlet) and self._out.size < _GATHER:
            self._schedule_hub_turn()
        else:
            self._flush()

    def _schedule_hub_turn(self) -> None:
        if self._hub_turn is None and self._sock is not None:
            self._hub_turn = self._loop.run_callback(self._on_hub_turn)

    def _flush(self) -> None:
        """Writes what the system takes. While it takes nothing, answers to pings stay in the protocol, which keeps
        so many and no more."""
        if self._sock is None or self._writing or self._output_dead:
            return
        self._collect()
        self._write()

    def _on_writable(self) -> None:
        """In the hub."""
        if self._sock is not None:
            if not self._out:
                self._collect()
            self._write()

    def _after_reading(self) -> None:
        """TLS may have something to say by itself, or may have had to read before it could write."""
        if self._tls is not None and self._sock is not None and (self._writing or self._tls.wants_write):
            self._write()

    def _is_written(self) -> bool:
        return not self._out and (self._tls is None or not self._tls.wants_write)

    def _write(self) -> None:
        if not self._is_written():
            try:
                taken = self._out.write_to(self._sock)
                if self._tls is not None and not self._out:
                    self._tls.flush()
            except OSError:
                self._vanished()
                return
            self._count_sent(taken)
            if not self._is_written():
                if taken or not self._writing:
                    self._progress_at = time.monotonic()
                self._writing = True
                self._wait_for_room_in_system()
        if self._writing and self._is_written():
            self._writing = False
            self._writer.stop()
            self._collect()
            if self._out:
                self._write()
                return
        self._made_room()

    def _wait_for_room_in_system(self) -> None:
        if self._writer is None:
            self._writer = self._loop.io(self.fd, 2)
        if self._tls is not None and self._tls.reading_first and not self._tls.wants_write:
            self._writer.stop()  # there is room
        elif not self._writer.active:
            self._writer.start(self._on_writable)
