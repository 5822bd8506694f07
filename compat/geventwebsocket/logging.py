"""Making a logger."""

from __future__ import annotations

import logging

__all__ = ["create_logger"]


def create_logger(name: str, debug: bool = False, format: str | None = None) -> logging.Logger:
    """The logger of that name; with `debug` one that writes everything to standard error, in that format."""
    logger = logging.getLogger(name)
    if debug:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        handler = logging.StreamHandler()
        if format:
            handler.setFormatter(logging.Formatter(format))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    return logger
