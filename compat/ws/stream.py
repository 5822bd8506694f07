"""createWebSocketStream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lws_gevent.compat.ws.buffer_util import toText
from lws_gevent.compat.ws.duplex import Duplex
from lws_gevent.compat.ws.ticks import nextTick
from lws_gevent.compat.ws.websocket import WebSocket

__all__ = ["createWebSocketStream"]


def createWebSocketStream(ws: WebSocket, options: Mapping[str, Any] | None = None, **keywords: Any) -> Duplex:
    """A stream over a WebSocket: what is written is sent as binary messages, what is received is read.

    Ending the stream closes the WebSocket, destroying it terminates it; an error of the WebSocket is one of the stream.
    Text is read as str with ``readableObjectMode``, as octets otherwise. A reader that does not keep up stops the peer.
    """
    duplex = Duplex({**(options or {}), **keywords})
    terminate = True

    def message(data: Any, isBinary: bool) -> None:
        if not duplex.push(toText(data) if not isBinary and duplex.readableObjectMode else data):
            ws.pause()

    def error(problem: BaseException) -> None:
        nonlocal terminate
        if not duplex.destroyed:
            # The WebSocket closes itself, and its close frame has to go out.
            terminate = False
            duplex.destroy(problem)

    def close() -> None:
        if not duplex.destroyed:
            duplex.push(None)

    def destroy(problem: BaseException | None, callback: Any) -> None:
        if ws.readyState == ws.CLOSED:
            callback(problem)
            nextTick(duplex.emit, "close")
            return
        called = False

        def failed(other: BaseException) -> None:
            nonlocal called
            called = True
            callback(other)

        def closed() -> None:
            if not called:
                callback(problem)
            nextTick(duplex.emit, "close")

        ws.once("error", failed)
        ws.once("close", closed)
        if terminate:
            ws.terminate()

    def final(callback: Any) -> None:
        if ws.readyState == ws.CONNECTING:
            ws.once("open", lambda: duplex._final(callback))
            return
        link = ws._link
        if link is None:
            return  # the handshake has failed: the 'error' that follows is the end
        if link.finished:
            callback()
            if duplex.readableEnded:
                duplex.destroy()
        else:
            link.on_finish(callback)
            ws.close()

    def read() -> None:
        if ws.isPaused:
            ws.resume()

    def write(chunk: Any, callback: Any) -> None:
        if ws.readyState == ws.CONNECTING:
            ws.once("open", lambda: duplex._write(chunk, callback))
        else:
            ws.send(chunk, callback)

    def end() -> None:
        if not duplex.destroyed and duplex.writableFinished:
            duplex.destroy()

    def unheard(problem: BaseException) -> None:
        duplex.off("error", unheard)
        duplex.destroy()
        if duplex.listenerCount("error") == 0:
            duplex.emit("error", problem)  # without a listener it is raised, as that of every stream

    ws.on("message", message)
    ws.once("error", error)
    ws.once("close", close)
    duplex._destroy, duplex._final, duplex._read, duplex._write = destroy, final, read, write
    duplex.prependListener("end", end)
    duplex.on("finish", lambda: duplex.destroy() if duplex.readableEnded and not duplex.destroyed else None)
    duplex.prependListener("error", unheard)
    return duplex
