"""The header Sec-WebSocket-Extensions (RFC 6455 section 9.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lws_gevent.compat.ws.errors import WSSyntaxError
from lws_gevent.compat.ws.validation import tokenChars

__all__ = ["format", "parse"]

_SPACE = frozenset(" \t")

#: What an extension's parameter can be: True when it has no value.
_Parameters = dict[str, list[Any]]


class _Parser:
    """One character after the other, with an index for every complaint; linear time."""

    def __init__(self, header: str) -> None:
        self.header = header
        self.offers: dict[str, list[_Parameters]] = {}
        self.params: _Parameters = {}
        self.extension_name: str | None = None
        self.param_name: str | None = None
        self.must_unescape = False
        self.is_escaping = False
        self.in_quotes = False
        self.start = -1
        self.end = -1

    def parse(self) -> dict[str, list[_Parameters]]:
        header = self.header
        for index, character in enumerate(header):
            if self.extension_name is None:
                self._in_name(index, character)
            elif self.param_name is None:
                self._in_parameter(index, character)
            else:
                self._in_value(index, character)
        if self.start == -1 or self.in_quotes or header[-1] in _SPACE:
            raise WSSyntaxError("Unexpected end of input")
        token = header[self.start : len(header) if self.end == -1 else self.end]
        if self.extension_name is None:
            self.offers.setdefault(token, []).append(self.params)
        else:
            self._finish_parameter(token)
            self.offers.setdefault(self.extension_name, []).append(self.params)
        return self.offers

    def _unexpected(self, index: int) -> WSSyntaxError:
        return WSSyntaxError(f"Unexpected character at index {index}")

    def _token(self, index: int) -> str:
        """What was read until the separator at `index`."""
        if self.start == -1:
            raise self._unexpected(index)
        token = self.header[self.start : index if self.end == -1 else self.end]
        self.start = self.end = -1
        return token

    def _in_name(self, index: int, character: str) -> None:
        if self.end == -1 and character in tokenChars:
            if self.start == -1:
                self.start = index
        elif index != 0 and character in _SPACE:
            if self.end == -1 and self.start != -1:
                self.end = index
        elif character in ";,":
            name = self._token(index)
            if character == ",":
                self.offers.setdefault(name, []).append(self.params)
                self.params = {}
            else:
                self.extension_name = name
        else:
            raise self._unexpected(index)

    def _in_parameter(self, index: int, character: str) -> None:
        if self.end == -1 and character in tokenChars:
            if self.start == -1:
                self.start = index
        elif character in _SPACE:
            if self.end == -1 and self.start != -1:
                self.end = index
        elif character in ";,":
            self._finish_parameter(self._token(index))
            self._finish_offer(character)
        elif character == "=" and self.start != -1 and self.end == -1:
            self.param_name = self._token(index)
        else:
            raise self._unexpected(index)

    def _in_value(self, index: int, character: str) -> None:
        # The value of a quoted string must be a token after unescaping (RFC 6455 section 9.1).
        if self.is_escaping:
            if character not in tokenChars:
                raise self._unexpected(index)
            if self.start == -1:
                self.start = index
            else:
                self.must_unescape = True
            self.is_escaping = False
        elif self.in_quotes:
            if character in tokenChars:
                if self.start == -1:
                    self.start = index
            elif character == '"' and self.start != -1:
                self.in_quotes = False
                self.end = index
            elif character == "\\":
                self.is_escaping = True
            else:
                raise self._unexpected(index)
        elif character == '"' and self.header[index - 1] == "=":
            self.in_quotes = True
        elif self.end == -1 and character in tokenChars:
            if self.start == -1:
                self.start = index
        elif self.start != -1 and character in _SPACE:
            if self.end == -1:
                self.end = index
        elif character in ";,":
            self._finish_parameter(self._token(index))
            self._finish_offer(character)
        else:
            raise self._unexpected(index)

    def _finish_parameter(self, token: str) -> None:
        if self.param_name is None:
            self.params.setdefault(token, []).append(True)
            return
        if self.must_unescape:
            token = token.replace("\\", "")
            self.must_unescape = False
        self.params.setdefault(self.param_name, []).append(token)
        self.param_name = None

    def _finish_offer(self, separator: str) -> None:
        if separator == "," and self.extension_name is not None:
            self.offers.setdefault(self.extension_name, []).append(self.params)
            self.params = {}
            self.extension_name = None


def parse(header: str) -> dict[str, list[dict[str, list[Any]]]]:
    """The offers in a header: for every extension a list of offers, each with a list of values for every parameter
    (True for a parameter without a value). WSSyntaxError, with the index of the character, for a malformed one."""
    return _Parser(header).parse()


def format(extensions: Mapping[str, Any]) -> str:
    """The value of the header for what `parse` gives; a list of one element may be the element itself."""
    offers = []
    for name, configurations in extensions.items():
        for params in configurations if isinstance(configurations, (list, tuple)) else [configurations]:
            parts = [name]
            for key, values in params.items():
                for value in values if isinstance(values, (list, tuple)) else [values]:
                    parts.append(key if value is True else f"{key}={value}")
            offers.append("; ".join(parts))
    return ", ".join(offers)
