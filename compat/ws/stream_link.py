"""A WebSocket over a stream: `Receiver` and `Sender` on a `Socket` of this package, or anything that is like one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.receiver import Receiver
from lws_gevent.compat.ws.sender import Sender
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["StreamLink"]


class StreamLink:
    """Carries one WebSocket over `socket`, an open stream; a greenlet of the stream reads it.

    This is how clients are connected, and servers where `handleUpgrade` got something else than a socket.
    """

    #: Deadlines and pongs are left to the WebSocket.
    needs_close_timer = True
    answers_pings = False

    def __init__(self, websocket: Any, socket: Any, head: bytes, options: Mapping[str, Any]) -> None:
        self.websocket = websocket
        self.socket = socket
        self.receiver = Receiver(
            allowSynchronousEvents=options.get("allowSynchronousEvents", True),
            binaryType=websocket.binaryType,
            extensions=websocket._extensions,
            isServer=websocket._isServer,
            maxBufferedChunks=options.get("maxBufferedChunks"),
            maxFragments=options.get("maxFragments"),
            maxPayload=options.get("maxPayload"),
            skipUTF8Validation=options.get("skipUTF8Validation"),
        )
        self.sender = Sender(socket, websocket._extensions, options.get("generateMask"))
        #: Answers to pings that are not written yet, and how many there may be (0: any number).
        self.pending_pongs = 0
        self.max_pending_pongs: int = options.get("maxPendingAutoPongs", 60) or 0
        self._failed = False
        self._receiver_over = False
        self._socket_closed = False
        socket.websocket = websocket
        self.receiver.on("conclude", self._on_conclude)
        self.receiver.on("drain", self._on_drain)
        self.receiver.on("error", self._on_error)
        self.receiver.on("message", websocket._on_message)
        self.receiver.on("ping", websocket._on_ping)
        self.receiver.on("pong", websocket._on_pong)
        for method in ("setTimeout", "setNoDelay"):
            if hasattr(socket, method):  # other streams need not have them
                getattr(socket, method)(*((0,) if method == "setTimeout" else ()))
        if head:
            socket.unshift(head)
        socket.on("close", self._on_socket_close)
        socket.on("error", self._on_socket_error)

    def start(self) -> None:
        """Reads from now on: events come in later turns."""
        self.socket.on("data", self._on_data)
        self.socket.on("end", self._on_end)

    # --- what the WebSocket asks for --------------------------------------------------------------------------------

    @property
    def bufferedAmount(self) -> int:
        """Octets in the stream's buffer, and payload that waits for its compression."""
        return int(self.socket.writableLength) + self.sender._bufferedBytes

    def add_unsent(self, size: int) -> None:
        """Counts what was sent after the close."""
        self.sender._bufferedBytes += size

    def send(self, data: Any, options: Mapping[str, Any], callback: Callable[..., Any] | None) -> None:
        self.sender.send(data, options, callback)

    def ping(self, data: bytes, mask: bool, callback: Callable[..., Any] | None) -> None:
        self.sender.ping(data, mask, callback)

    def pong(self, data: bytes, mask: bool, callback: Callable[..., Any] | None) -> None:
        self.sender.pong(data, mask, callback)

    def close(self, code: Any, reason: Any, mask: bool, sent: Callable[[], None]) -> None:
        self.sender.close(code, reason, mask, lambda error: None if error is not None else sent())

    def end(self) -> None:
        """FIN, when everything is written."""
        self.socket.end()

    @property
    def finished(self) -> bool:
        """Whether everything was written, FIN included."""
        return bool(self.socket.writableFinished)

    def on_finish(self, callback: Callable[[], None]) -> None:
        """Calls `callback` when everything was written."""
        self.socket.once("finish", callback)

    def destroy(self) -> None:
        """Ends the connection at once."""
        self.socket.destroy()

    def pause(self) -> None:
        self.socket.pause()

    def resume(self) -> None:
        if not self.receiver.writableNeedDrain:
            self.socket.resume()

    def set_binary_type(self, kind: str) -> None:
        self.receiver._binaryType = kind

    @property
    def failed(self) -> bool:
        """Whether the peer has broken the protocol."""
        return self._failed

    def pong_sent(self) -> None:
        """An answer to a ping was written."""
        self.pending_pongs -= 1

    # --- what happens -----------------------------------------------------------------------------------------------

    def _on_data(self, chunk: bytes) -> None:
        if not self.receiver.write(chunk) and not self.websocket.isPaused:
            self.socket.pause()

    def _on_drain(self) -> None:
        if not self.websocket.isPaused and not self.socket.destroyed:
            self.socket.resume()

    def _stop_reading(self) -> None:
        """Nothing of what the peer still sends is looked at; it is read on so that its end is seen."""
        self.socket.off("data", self._on_data)
        if not self._socket_closed:
            self.socket.on("data", _ignore)
            nextTick(self.socket.resume)

    def _on_conclude(self, code: int, reason: bytes) -> None:
        self.websocket._closeFrameReceived = True
        self.websocket._closeCode = code
        self.websocket._closeMessage = reason
        if self._socket_closed:
            return
        self._stop_reading()
        if code == 1005:
            self.websocket.close()
        else:
            self.websocket.close(code, reason)

    def _on_error(self, error: Any) -> None:
        self._failed = True
        if not self._socket_closed:
            self._stop_reading()
            self.websocket.close(error.statusCode)
        self.websocket._emit_error(error)
        self._finish_receiver()

    def _on_end(self) -> None:
        websocket = self.websocket
        if websocket._readyState < websocket.CLOSED:
            websocket._readyState = websocket.CLOSING
        self._end_receiver()
        self.socket.end()

    def _on_socket_error(self, _error: Any) -> None:
        self.websocket._readyState = self.websocket.CLOSING
        self.socket.destroy()

    def _end_receiver(self) -> None:
        """What was received is still delivered; then it is over."""
        if not self._receiver_over and not self.receiver._ending:
            self.receiver.on("finish", self._finish_receiver)
            self.receiver.end()

    def _finish_receiver(self) -> None:
        self._receiver_over = True
        if self._socket_closed:
            self._emit_close()

    def _on_socket_close(self, *_: Any) -> None:
        websocket = self.websocket
        websocket._readyState = websocket.CLOSING
        rest = b"".join(getattr(self.socket, "_unshifted", ()))
        if rest and not websocket._closeFrameReceived and not self._failed:
            self.receiver.write(rest)
        self._socket_closed = True
        websocket._clear_close_timer()
        if self.receiver._finished or self._failed:
            self._receiver_over = True
        if self._receiver_over:
            self._emit_close()
        elif self.receiver._ending:
            self.receiver.on("finish", self._finish_receiver)
        else:
            self._end_receiver()

    def _emit_close(self) -> None:
        if self.websocket._readyState == self.websocket.CLOSED:
            return
        deflate = self.websocket._extensions.get(PerMessageDeflate.extensionName)
        if deflate is not None:
            deflate.cleanup()
        self.receiver.removeAllListeners()
        self.websocket._emit_close()


def _ignore(_chunk: bytes) -> None:
    """Octets after a close frame."""
