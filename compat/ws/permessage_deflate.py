"""The extension permessage-deflate (RFC 7692) as ws offers it to programs: negotiation, and streams with callbacks.

Connections that the core carries are compressed there; the streams of this module are for the others, all clients'
among them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from lws_gevent.compat.ws.buffer_util import toBuffer
from lws_gevent.compat.ws.emitter import trimmed
from lws_gevent.compat.ws.errors import WSError, WSRangeError, WSTypeError
from lws_gevent.compat.ws.limiter import Limiter
from lws_gevent.compat.ws.ticks import nextTick

__all__ = ["PerMessageDeflate"]

_TRAILER = b"\x00\x00\xff\xff"

_WINDOW_BITS = ("client_max_window_bits", "server_max_window_bits")
_NO_CONTEXT_TAKEOVER = ("client_no_context_takeover", "server_no_context_takeover")

_ZLIB_ERRORS = {
    -2: "Z_STREAM_ERROR",
    -3: "Z_DATA_ERROR",
    -4: "Z_MEM_ERROR",
    -5: "Z_BUF_ERROR",
    2: "Z_NEED_DICT",
}

Callback = Callable[..., Any]


class _Deflate:
    """One compressor. `window_bits` 8 is 9 inside: zlib has no raw stream with 8, and never looks back further than
    that window allows."""

    def __init__(self, options: Mapping[str, Any], window_bits: int) -> None:
        self._level: int = options.get("level", zlib.Z_DEFAULT_COMPRESSION)
        self._chunkSize: int = options.get("chunkSize", 16 * 1024)
        self._arguments = (
            self._level,
            zlib.DEFLATED,
            -max(9, window_bits),
            options.get("memLevel", 8),
            options.get("strategy", zlib.Z_DEFAULT_STRATEGY),
        )
        self._stream = zlib.compressobj(*self._arguments)
        #: Who waits for octets that are not compressed yet.
        self.callback: Callback | None = None

    def reset(self) -> None:
        self._stream = zlib.compressobj(*self._arguments)

    def write(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class _Inflate:
    """One decompressor."""

    def __init__(self, options: Mapping[str, Any], window_bits: int) -> None:
        self._chunkSize: int = options.get("chunkSize", 16 * 1024)
        self._window_bits = -window_bits
        self.reset()

    def reset(self) -> None:
        self._stream = zlib.decompressobj(self._window_bits)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    def write(self, data: bytes, limit: int) -> bytes:
        """At most one octet more than `limit` (0: no limit), so that a bomb is never unpacked."""
        return self._stream.decompress(data, limit + 1 if limit > 0 else 0)


class PerMessageDeflate:
    """One side of the extension for one connection.

    `options`: ``serverNoContextTakeover``, ``clientNoContextTakeover`` (True, False or None),
    ``serverMaxWindowBits``, ``clientMaxWindowBits`` (8 to 15, True, False or None), ``zlibDeflateOptions``,
    ``zlibInflateOptions`` (``level``, ``memLevel``, ``strategy``, ``chunkSize``), ``threshold`` (octets, 1024),
    ``concurrencyLimit`` (10, that of the first instance counts for all), ``isServer``, ``maxPayload`` (0: none).
    """

    extensionName = "permessage-deflate"

    _limiter: Limiter | None = None

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options: Mapping[str, Any] = options or {}
        self._threshold: int = self._option("threshold", 1024)
        self._maxPayload: int = self._options.get("maxPayload") or 0
        self._isServer = bool(self._options.get("isServer"))
        self._deflate: _Deflate | None = None
        self._inflate: _Inflate | None = None
        #: What was agreed on, after `accept`.
        self.params: dict[str, Any] = {}
        if PerMessageDeflate._limiter is None:
            PerMessageDeflate._limiter = Limiter(self._option("concurrencyLimit", 10))

    def _option(self, name: str, default: Any) -> Any:
        value = self._options.get(name)
        return default if value is None else value

    # --- negotiation ------------------------------------------------------------------------------------------------

    def offer(self) -> dict[str, Any]:
        """The parameters that a client offers."""
        params: dict[str, Any] = {}
        if self._options.get("serverNoContextTakeover"):
            params["server_no_context_takeover"] = True
        if self._options.get("clientNoContextTakeover"):
            params["client_no_context_takeover"] = True
        if self._options.get("serverMaxWindowBits"):
            params["server_max_window_bits"] = self._options["serverMaxWindowBits"]
        if self._options.get("clientMaxWindowBits"):
            params["client_max_window_bits"] = self._options["clientMaxWindowBits"]
        elif self._options.get("clientMaxWindowBits") is None:
            params["client_max_window_bits"] = True
        return params

    def accept(self, configurations: list[dict[str, Any]]) -> dict[str, Any]:
        """Agrees on one of the client's offers (as a server), or on the server's answer (as a client), as
        `extension.parse` gives them; the result is kept in `params`. WSError when that cannot be."""
        normalized = [self._normalize(params) for params in configurations]
        self.params = self._accept_as_server(normalized) if self._isServer else self._accept_as_client(normalized)
        return self.params

    def _normalize(self, params: Mapping[str, Any]) -> dict[str, Any]:
        normalized: dict[str, Any] = {}
        for key, values in params.items():
            if len(values) > 1:
                raise WSError(f'Parameter "{key}" must have only a single value')
            value = values[0]
            shown = "true" if value is True else value
            invalid = WSTypeError(f'Invalid value for parameter "{key}": {shown}')
            if key in _WINDOW_BITS:
                if value is True:
                    if key == "server_max_window_bits" or not self._isServer:
                        raise invalid
                else:
                    if re.fullmatch(r"0*(?:[89]|1[0-5])", str(value)) is None:
                        raise invalid
                    value = int(value)
            elif key in _NO_CONTEXT_TAKEOVER:
                if value is not True:
                    raise invalid
            else:
                raise WSError(f'Unknown parameter "{key}"')
            normalized[key] = value
        return normalized

    def _acceptable(self, params: Mapping[str, Any]) -> bool:
        """Whether an offer leaves room for our options."""
        server_bits = self._options.get("serverMaxWindowBits")
        client_bits = self._options.get("clientMaxWindowBits")
        offered = params.get("server_max_window_bits")
        if self._options.get("serverNoContextTakeover") is False and params.get("server_no_context_takeover"):
            return False
        if offered and (server_bits is False or (_is_number(server_bits) and server_bits > offered)):
            return False
        if _is_number(client_bits):
            limit = params.get("client_max_window_bits")
            return client_bits <= limit if _is_number(limit) else bool(limit)
        return True

    def _accept_as_server(self, offers: list[dict[str, Any]]) -> dict[str, Any]:
        accepted = next(filter(self._acceptable, offers), None)
        if accepted is None:
            raise WSError("None of the extension offers can be accepted")
        if self._options.get("serverNoContextTakeover"):
            accepted["server_no_context_takeover"] = True
        if self._options.get("clientNoContextTakeover"):
            accepted["client_no_context_takeover"] = True
        if _is_number(self._options.get("serverMaxWindowBits")):
            accepted["server_max_window_bits"] = self._options["serverMaxWindowBits"]
        client_bits = self._options.get("clientMaxWindowBits")
        if _is_number(client_bits):
            accepted["client_max_window_bits"] = client_bits
        elif accepted.get("client_max_window_bits") is True or client_bits is False:
            accepted.pop("client_max_window_bits", None)
        return accepted

    def _accept_as_client(self, response: list[dict[str, Any]]) -> dict[str, Any]:
        params = response[0]
        if self._options.get("clientNoContextTakeover") is False and params.get("client_no_context_takeover"):
            raise WSError('Unexpected parameter "client_no_context_takeover"')
        bits = self._options.get("clientMaxWindowBits")
        if not params.get("client_max_window_bits"):
            if _is_number(bits):
                params["client_max_window_bits"] = bits
        elif bits is False or (_is_number(bits) and params["client_max_window_bits"] > bits):
            raise WSError('Unexpected or invalid parameter "client_max_window_bits"')
        return params

    # --- data -------------------------------------------------------------------------------------------------------

    def cleanup(self) -> None:
        """Drops both streams. Whoever waits for a compression gets an error."""
        self._inflate = None
        deflate, self._deflate = self._deflate, None
        if deflate is not None and deflate.callback is not None:
            deflate.callback(WSError("The deflate stream was closed while data was being processed"))

    def decompress(self, data: bytes, fin: bool, callback: Callback) -> None:
        """Calls ``callback(error, octets)`` in a later turn; `fin`: this is the last fragment of its message."""
        self._limited(lambda done: self._decompress(data, fin, done), callback)

    def compress(self, data: bytes | str, fin: bool, callback: Callback) -> None:
        """Calls ``callback(error, octets)`` in a later turn; `fin`: this is the last fragment of its message."""
        self._limited(lambda done: self._compress(toBuffer(data), fin, done), callback)

    @staticmethod
    def _limited(work: Callable[[Callback], None], callback: Callback) -> None:
        def job(done: Callable[[], None]) -> None:
            def finished(error: Exception | None, result: bytes = b"") -> None:
                done()
                trimmed(callback, error, result)

            work(finished)

        assert PerMessageDeflate._limiter is not None
        PerMessageDeflate._limiter.add(job)

    def _window_bits(self, endpoint: str) -> int:
        bits = self.params.get(f"{endpoint}_max_window_bits")
        return bits if _is_number(bits) else zlib.MAX_WBITS

    def _decompress(self, data: bytes, fin: bool, callback: Callback) -> None:
        endpoint = "client" if self._isServer else "server"
        if self._inflate is None:
            self._inflate = _Inflate(self._options.get("zlibInflateOptions") or {}, self._window_bits(endpoint))
        nextTick(self._inflate_now, self._inflate, data, fin, endpoint, callback)

    def _inflate_now(self, inflate: _Inflate, data: bytes, fin: bool, endpoint: str, callback: Callback) -> None:
        try:
            result = inflate.write(data + _TRAILER if fin else data, self._maxPayload)
        except zlib.error as error:
            self._inflate = None
            callback(_zlib_error(error))
            return
        if 0 < self._maxPayload < len(result):
            self._inflate = None
            callback(WSRangeError("Max payload size exceeded", "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH", 1009))
            return
        if inflate.ended:
            self._inflate = None  # RFC 7692 section 7.2.3.4: the peer may end its stream; the next message is a new one
        elif fin and self.params.get(f"{endpoint}_no_context_takeover"):
            inflate.reset()
        callback(None, result)

    def _compress(self, data: bytes, fin: bool, callback: Callback) -> None:
        endpoint = "server" if self._isServer else "client"
        if self._deflate is None:
            self._deflate = _Deflate(self._options.get("zlibDeflateOptions") or {}, self._window_bits(endpoint))
        self._deflate.callback = callback
        nextTick(self._deflate_now, self._deflate, data, fin, endpoint, callback)

    def _deflate_now(self, deflate: _Deflate, data: bytes, fin: bool, endpoint: str, callback: Callback) -> None:
        if self._deflate is not deflate:
            return  # `cleanup` has told the callback
        result = deflate.write(data)
        deflate.callback = None
        if fin:
            result = result[: -len(_TRAILER)]
            if self.params.get(f"{endpoint}_no_context_takeover"):
                deflate.reset()
        callback(None, result)


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _zlib_error(error: zlib.error) -> WSError:
    """Node's error for what Python's zlib raises: ``Error -3 while decompressing data: invalid block type``."""
    text = str(error)
    number = re.match(r"Error (-?\d+)", text)
    failure = WSError(text.partition(": ")[2] or text, statusCode=1007)
    failure.errno = int(number[1]) if number else -3
    failure.code = _ZLIB_ERRORS.get(failure.errno, "Z_DATA_ERROR")
    return failure
