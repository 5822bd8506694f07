"""The log of websocket-client: logger ``websocket``, silent until `enableTrace`."""

from __future__ import annotations

import logging

__all__ = [
    "debug",
    "dump",
    "enableTrace",
    "error",
    "isEnabledForDebug",
    "isEnabledForError",
    "isEnabledForTrace",
    "trace",
    "warning",
]

_logger = logging.getLogger("websocket")
_logger.addHandler(logging.NullHandler())
_handler: logging.Handler | None = None


def enableTrace(traceable: bool, handler: logging.Handler | None = None, level: str = "DEBUG") -> None:
    """Whether headers, messages and errors are logged, by default to standard error. Payloads are among them."""
    global _handler
    if _handler is not None:
        _logger.removeHandler(_handler)
        _handler = None
    if traceable:
        _handler = logging.StreamHandler() if handler is None else handler
        _logger.addHandler(_handler)
    _logger.setLevel(getattr(logging, level) if traceable else logging.NOTSET)


def dump(title: str, message: str) -> None:
    """Logs several lines under a title, when tracing."""
    if _handler is not None:
        _logger.debug("--- %s ---\n%s\n-----------------------", title, message)


def error(message: str) -> None:
    """Logs an error."""
    _logger.error("%s", message)


def warning(message: str) -> None:
    """Logs a warning."""
    _logger.warning("%s", message)


def info(message: str) -> None:
    """Logs what goes on."""
    _logger.info("%s", message)


def debug(message: str) -> None:
    """Logs a detail."""
    _logger.debug("%s", message)


def trace(message: str) -> None:
    """Logs a detail, when tracing."""
    if _handler is not None:
        _logger.debug("%s", message)


def isEnabledForError() -> bool:
    """Whether errors are logged."""
    return _logger.isEnabledFor(logging.ERROR)


def isEnabledForDebug() -> bool:
    """Whether details are logged."""
    return _logger.isEnabledFor(logging.DEBUG)


def isEnabledForTrace() -> bool:
    """Whether `enableTrace` is on."""
    return _handler is not None
