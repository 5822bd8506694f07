"""A raw WebSocket client for tests: a plain gevent socket and hand-made frames.

It shares no code with lws_gevent and checks nothing by itself, so that a test can send whatever a hostile peer may
send and can see every octet that comes back. The encoder and decoder follow RFC 6455 section 5.2 directly."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import gevent
from gevent import socket

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: Everything that waits is bounded by some number of seconds times this factor (sanitizers and valgrind are slow).
FACTOR = float(os.environ.get("LWS_GEVENT_TEST_TIMEOUT_FACTOR", "1"))
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Frame(NamedTuple):
    """One frame as it came off the wire."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False


class Response(NamedTuple):
    """The head (and body) of an HTTP response. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


class PeerClosed(Exception):
    """The server sent a close frame while a message was awaited."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def xor(data: bytes, key: bytes) -> bytes:
    """Mask or unmask `data` (RFC 6455 section 5.3)."""
    if not data:
        return b""
    repeated = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(len(data), "little")


def encode(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bool | bytes = True,
    length: int | None = None,
    length_octets: int | None = None,
) -> bytes:
    """One frame. `rsv` are the three reserved bits (4 is RSV1); `mask` may be a key of four octets or False; `length`
    is announced in place of the payload's own; `length_octets` (0, 2 or 8) forces one of the three length
    encodings."""
    if isinstance(payload, str):
        payload = payload.encode()
    announced = len(payload) if length is None else length
    if length_octets is None:
        length_octets = 0 if announced < 126 else 2 if announced < 65536 else 8
    mask_bit = 0x80 if mask is not False else 0
    head = bytes([(0x80 if fin else 0) | (rsv << 4) | opcode])
    if length_octets == 0:
        head += bytes([mask_bit | announced])
    elif length_octets == 2:
        head += bytes([mask_bit | 126]) + struct.pack("!H", announced)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", announced)
    if mask is False:
        return head + payload
    key = mask if isinstance(mask, bytes) else os.urandom(4)
    return head + key + xor(payload, key)


def close_payload(code: int | None, reason: str | bytes = b"") -> bytes:
    """The payload of a close frame, unchecked."""
    if code is None:
        return b""
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


def decode_close(payload: bytes) -> tuple[int | None, str]:
    """Code and reason of a close frame's payload; (None, "") when it is empty."""
    if not payload:
        return None, ""
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


def upgrade_head(
    path: str = "/",
    headers: Iterable[tuple[str, str]] = (),
    *,
    host: str = "localhost",
    key: str | None = None,
    method: str = "GET",
    version: str = "HTTP/1.1",
    without: Iterable[str] = (),
) -> bytes:
    """A request head that asks for a WebSocket. `without` leaves out default headers by name; `headers` come after
    them."""
    absent = {name.lower() for name in without}
    defaults = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key or base64.b64encode(os.urandom(16)).decode()),
        ("Sec-WebSocket-Version", "13"),
    ]
    lines = [f"{method} {path} {version}"]
    lines += [f"{name}: {value}" for name, value in defaults if name.lower() not in absent]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class Client:
    """One connection. Every read gives up after `timeout` seconds with TimeoutError."""

    def __init__(self, sock: Any, timeout: float = 10) -> None:
        self.sock = sock
        self.timeout = timeout * FACTOR
        self.sock.settimeout(self.timeout)
        self.buffer = bytearray()
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.response: Response | None = None

    # Opening

    @classmethod
    def open(cls, address: Any, *, timeout: float = 10, receive_buffer: int | None = None, tls: Any = None) -> Client:
        """A TCP connection (IPv6 when the host has colons; Unix when `address` is a str) on which nothing has been sent
        but, with the ssl.SSLContext `tls`, the handshake of TLS."""
        ip = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        family = socket.AF_UNIX if isinstance(address, str) else ip
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if family == ip:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(timeout * FACTOR)
            sock.connect(address)
            if tls is not None:
                sock = tls.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise
        return cls(sock, timeout)

    @classmethod
    def connect(
        cls,
        address: Any,
        path: str = "/",
        headers: Iterable[tuple[str, str]] = (),
        *,
        head: bytes | None = None,
        after: bytes = b"",
        timeout: float = 10,
        receive_buffer: int | None = None,
        tls: Any = None,
    ) -> Client:
        """Open, send the upgrade request (or `head` as it is) and `after` in the same segment, and insist on a
        correct 101."""
        client = cls.open(address, timeout=timeout, receive_buffer=receive_buffer, tls=tls)
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            client.send_raw((head if head is not None else upgrade_head(path, headers, key=key)) + after)
            response = client.recv_response()
            if response.status != 101:
                raise AssertionError(f"expected 101, got {response.raw!r} {response.body!r}")
            if head is None:
                expected = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
                assert response.headers["sec-websocket-accept"] == expected
        except BaseException:
            client.disconnect()
            raise
        return client

    # Octets

    def send_raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_some(self, data: bytes) -> int:
        """As send() of a non-blocking socket; over TLS too, where gevent says 0 instead of raising BlockingIOError."""
        count: int = self.sock.send(data)
        if not count and data:
            raise BlockingIOError
        return count

    def dribble(self, data: bytes, chunk: int = 1) -> None:
        """Send `data` in segments of `chunk` octets, letting the server run after each."""
        for start in range(0, len(data), chunk):
            self.sock.sendall(data[start : start + chunk])
            gevent.sleep(0)

    def _read(self) -> bool:
        """Read once; False at the end of the stream."""
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def recv_exactly(self, count: int) -> bytes:
        """EOFError when the stream ends before."""
        while len(self.buffer) < count:
            if not self._read():
                raise EOFError(
                    f"the stream ended; {len(self.buffer)} of {count} octets are there: {bytes(self.buffer[:200])!r}"
                )
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def recv_response(self) -> Response:
        """An HTTP response; the body (by Content-Length) is read for every status but 101."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._read():
                raise EOFError(f"no complete response head: {bytes(self.buffer)!r}")
        end = self.buffer.index(b"\r\n\r\n") + 4
        raw = self.recv_exactly(end)
        lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1", raw
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            assert name.lower() not in headers, f"duplicate header in {raw!r}"
            headers[name.lower()] = value.strip()
        body = b""
        if int(status) != 101 and "content-length" in headers:
            body = self.recv_exactly(int(headers["content-length"]))
        self.response = Response(int(status), headers, body, raw)
        return self.response

    def request(self, head: bytes) -> Response:
        """Send a request head and read the response."""
        self.send_raw(head)
        return self.recv_response()

    # Frames

    def send_frame(self, opcode: int, payload: bytes | str = b"", **how: Any) -> None:
        """`how` as for encode()."""
        self.send_raw(encode(opcode, payload, **how))

    def send(self, message: bytes | str) -> None:
        """One whole message, text when it is a str."""
        self.send_frame(TEXT if isinstance(message, str) else BINARY, message)

    def ping(self, payload: bytes | str = b"") -> None:
        self.send_frame(PING, payload)

    def send_close(self, code: int | None = 1000, reason: str | bytes = b"") -> None:
        self.send_frame(CLOSE, close_payload(code, reason))

    def recv_frame(self) -> Frame:
        """The next frame; EOFError at the end of the stream."""
        first, second = self.recv_exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.recv_exactly(2))
            assert length > 125, "length encoding is not minimal"
        elif length == 127:
            (length,) = struct.unpack("!Q", self.recv_exactly(8))
            assert length > 65535, "length encoding is not minimal"
        key = self.recv_exactly(4) if second & 0x80 else None
        payload = self.recv_exactly(length)
        if key is not None:
            payload = xor(payload, key)
        return Frame(first & 0x0F, payload, bool(first & 0x80), (first >> 4) & 7, key is not None)

    def recv_message(self, *, answer_pings: bool = True) -> bytes | str:
        """The next whole message; pings and pongs on the way are recorded (`pings`, `pongs`). PeerClosed at a close
        frame."""
        opcode = None
        pieces: list[bytes] = []
        while True:
            frame = self.recv_frame()
            assert not frame.masked, "a server must not mask"
            assert frame.rsv == 0, frame
            if frame.opcode == PING:
                self.pings.append(frame.payload)
                if answer_pings:
                    self.send_frame(PONG, frame.payload)
            elif frame.opcode == PONG:
                self.pongs.append(frame.payload)
            elif frame.opcode == CLOSE:
                raise PeerClosed(*decode_close(frame.payload))
            else:
                if opcode is None:
                    assert frame.opcode in (TEXT, BINARY), frame
                    opcode = frame.opcode
                else:
                    assert frame.opcode == CONTINUATION, frame
                pieces.append(frame.payload)
                if frame.fin:
                    whole = b"".join(pieces)
                    return whole.decode() if opcode == TEXT else whole

    def messages(self) -> Iterator[bytes | str]:
        """Messages until the server's close frame or the end of the stream."""
        while True:
            try:
                yield self.recv_message()
            except (PeerClosed, EOFError, ConnectionResetError):
                return

    def recv_pong(self) -> bytes:
        """The payload of the next frame, which must be a pong."""
        frame = self.recv_frame()
        assert frame.opcode == PONG, frame
        return frame.payload

    def echo(self, message: bytes | str = "are you there", within: float | None = None) -> None:
        """Insist that the server echoes `message`, within so many seconds when that is given."""
        with gevent.Timeout(None if within is None else within * FACTOR, TimeoutError(f"no echo within {within} s")):
            self.send(message)
            answer = self.recv_message()
        assert answer == message, (answer, message)

    # Ends

    def recv_close(self) -> tuple[int | None, str]:
        """Code and reason of the server's close frame; messages and pongs before it are passed over."""
        while True:
            try:
                self.recv_message()
            except PeerClosed as closed:
                return closed.code, closed.reason

    def expect_close(self, code: int | None, *, answer: bool = True) -> str:
        """The server's close frame with `code`, our answer, and the end of the stream, which the server makes first.
        Returns the reason."""
        got, reason = self.recv_close()
        assert got == code, (got, reason)
        if answer:
            try:
                self.send_close(got)
            except OSError:
                pass
        self.expect_eof()
        return reason

    def close_handshake(self, code: int | None = 1000, reason: str = "") -> tuple[int | None, str]:
        """Send a close frame, read the server's, see it end the TCP connection; its code and reason."""
        self.send_close(code, reason)
        answer = self.recv_close()
        self.expect_eof()
        self.disconnect()
        return answer

    def expect_eof(self, *, reset: bool = True) -> None:
        """Nothing more may come but the end of the stream (or a reset, unless `reset` is False)."""
        assert not self.buffer, bytes(self.buffer[:200])
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            if not reset:
                raise
            return
        assert data == b"", data[:200]

    def drain_to_eof(self) -> bytes:
        """Everything that still comes, up to the end of the stream or a reset."""
        try:
            while self._read():
                pass
        except ConnectionResetError:
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def half_close(self) -> None:
        """Say that we send no more (FIN), and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def disconnect(self) -> None:
        """Close the descriptor without a word."""
        self.sock.close()

    @property
    def closed(self) -> bool:
        return bool(self.sock.fileno() == -1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()


def unread_octets(sock: Any) -> int:
    """How many octets wait in the kernel's receive buffer of `sock`."""
    import array
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
    return count[0]
