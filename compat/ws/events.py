"""The events of the browser's interface, and how a WebSocket dispatches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lws_gevent.compat.ws.buffer_util import toText
from lws_gevent.compat.ws.emitter import EventEmitter, positional

__all__ = ["CloseEvent", "ErrorEvent", "Event", "EventTarget", "MessageEvent"]

_TYPES = ("open", "message", "close", "error")


class Event:
    """An event: its ``type`` and the WebSocket that it happened to."""

    def __init__(self, type: str) -> None:
        self._target: Any = None
        self._type = type

    @property
    def target(self) -> Any:
        """The WebSocket; None until it is dispatched."""
        return self._target

    @property
    def type(self) -> str:
        """``'open'``, ``'message'``, ``'close'`` or ``'error'``."""
        return self._type


class CloseEvent(Event):
    """The connection has ended."""

    def __init__(self, type: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(type)
        options = options or {}
        self._code: int = options.get("code", 0)
        self._reason: str = options.get("reason", "")
        self._wasClean: bool = options.get("wasClean", False)

    @property
    def code(self) -> int:
        """The close code (RFC 6455 section 7.4)."""
        return self._code

    @property
    def reason(self) -> str:
        """The text that came with it."""
        return self._reason

    @property
    def wasClean(self) -> bool:
        """Whether a close frame was both sent and received."""
        return self._wasClean


class ErrorEvent(Event):
    """Something failed."""

    def __init__(self, type: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(type)
        options = options or {}
        self._error: Any = options.get("error")
        self._message: str = options.get("message", "")

    @property
    def error(self) -> Any:
        """The exception."""
        return self._error

    @property
    def message(self) -> str:
        """Its text."""
        return self._message


class MessageEvent(Event):
    """A message has come."""

    def __init__(self, type: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(type)
        self._data: Any = (options or {}).get("data")

    @property
    def data(self) -> Any:
        """The message: str for text; octets, as ``binaryType`` says, for a binary one."""
        return self._data


class _Handler:
    """The listener of the emitter that stands for one of `addEventListener` or of an ``on...`` attribute."""

    __slots__ = ("attribute", "call", "listener", "target", "type")

    def __init__(self, target: EventTarget, type: str, listener: Any, attribute: bool) -> None:
        self.target = target
        self.type = type
        self.listener = listener
        self.attribute = attribute
        function = listener if callable(listener) else listener.handleEvent
        self.call: Callable[..., Any] = function if positional(function) else lambda _event: function()

    def __call__(self, *args: Any) -> None:
        event = self._event(*args)
        event._target = self.target
        self.call(event)

    def _event(self, *args: Any) -> Event:
        if self.type == "message":
            data, is_binary = args
            return MessageEvent("message", {"data": data if is_binary else toText(data)})
        if self.type == "close":
            code, reason = args
            clean = self.target._closeFrameReceived and self.target._closeFrameSent
            return CloseEvent("close", {"code": code, "reason": toText(reason), "wasClean": clean})
        if self.type == "error":
            return ErrorEvent("error", {"error": args[0], "message": getattr(args[0], "message", str(args[0]))})
        return Event("open")


class EventTarget(EventEmitter):
    """The browser's ways to listen, beside those of the event emitter."""

    __slots__ = ()

    _closeFrameReceived: bool
    _closeFrameSent: bool

    def addEventListener(
        self, type: str, listener: Any, options: Mapping[str, Any] | None = None, *, once: bool = False
    ) -> None:
        """Calls `listener` (a function, or an object with a method ``handleEvent``) with an event object.

        `type` is ``'open'``, ``'message'``, ``'close'`` or ``'error'``; any other is ignored, and so is a listener that
        is there already. ``once`` (also in `options`): for the next event only.
        """
        handlers = self._handlers(type)
        if type not in _TYPES or any(it.listener == listener and not it.attribute for it in handlers):
            return
        self._add(
            type, _Handler(self, type, listener, False), once=bool((options or {}).get("once", once)), first=False
        )

    def removeEventListener(self, type: str, listener: Any) -> None:
        """Undoes `addEventListener`; listeners of ``on`` and of the ``on...`` attributes stay."""
        for handler in self._handlers(type):
            if handler.listener == listener and not handler.attribute:
                self.off(type, handler)
                return

    def _handlers(self, type: str) -> list[_Handler]:
        return [function for function in self.listeners(type) if isinstance(function, _Handler)]

    def _get_attribute(self, type: str) -> Any:
        return next((handler.listener for handler in self._handlers(type) if handler.attribute), None)

    def _set_attribute(self, type: str, listener: Any) -> None:
        for handler in self._handlers(type):
            if handler.attribute:
                self.off(type, handler)
                break
        if callable(listener):
            self._add(type, _Handler(self, type, listener, True), once=False, first=False)

    @property
    def onopen(self) -> Any:
        """The one function for ``'open'`` events; None without. Whatever is no function removes it."""
        return self._get_attribute("open")

    @onopen.setter
    def onopen(self, listener: Any) -> None:
        self._set_attribute("open", listener)

    @property
    def onmessage(self) -> Any:
        """The one function for ``'message'`` events, see `onopen`."""
        return self._get_attribute("message")

    @onmessage.setter
    def onmessage(self, listener: Any) -> None:
        self._set_attribute("message", listener)

    @property
    def onclose(self) -> Any:
        """The one function for ``'close'`` events, see `onopen`."""
        return self._get_attribute("close")

    @onclose.setter
    def onclose(self, listener: Any) -> None:
        self._set_attribute("close", listener)

    @property
    def onerror(self) -> Any:
        """The one function for ``'error'`` events, see `onopen`."""
        return self._get_attribute("error")

    @onerror.setter
    def onerror(self, listener: Any) -> None:
        self._set_attribute("error", listener)
