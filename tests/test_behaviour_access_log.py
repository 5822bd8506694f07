"""The access log: one line for each connection or request, and nothing in it that could do harm."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import gevent
import pytest
from client import TEXT, close_payload, encode, upgrade_head
from helpers import eventually, turns

from lws_gevent.access_log import access_line

LINE = re.compile(r'127\.0\.0\.1:[0-9]+ "([^"]*)" ([0-9-]+) ([0-9-]+) ([0-9]+) ([0-9]+) ([0-9]+\.[0-9]{3})')


def fields(line: str) -> tuple[str, str, str]:
    """Request line, status and close code."""
    match = LINE.fullmatch(line)
    assert match is not None, line
    return match[1], match[2], match[3]


def test_a_connection_gives_one_line_when_it_has_ended(make_server: Any, connect: Any) -> None:
    lines: list[str] = []
    order: list[str] = []
    server = make_server(echo=True, access_log=lambda line: (lines.append(line), order.append("line")))
    server.on("close", lambda socket: order.append("close"))
    client = connect(server, "/chat?token=secret", headers=[("Authorization", "Bearer secret")])
    client.echo("hidden")
    turns()
    assert lines == []
    client.close_handshake(4001, "hidden")
    eventually(lambda: lines)
    assert fields(lines[0]) == ("GET /chat HTTP/1.1", "101", "4001")
    stats = server.stats()
    match = LINE.fullmatch(lines[0])
    assert match is not None
    assert (int(match[4]), int(match[5])) == (stats["octets_received"], stats["octets_sent"])
    assert "secret" not in lines[0] and "hidden" not in lines[0]
    assert order == ["close", "line"]
    turns()
    assert len(lines) == 1


def test_every_way_to_end_is_told_apart(make_server: Any, connect: Any) -> None:
    lines: list[str] = []
    server = make_server(access_log=lines.append, path="/")
    server.on("message", lambda socket, message: socket.close(4002) if message == "close" else socket.terminate())

    def ended() -> tuple[str, str, str]:
        eventually(lambda: lines)
        return fields(lines.pop())

    client = connect(server)
    client.disconnect()
    assert ended() == ("GET / HTTP/1.1", "101", "1006")
    client = connect(server)
    client.send_raw(encode(TEXT, "unmasked", mask=False))
    client.drain_to_eof()
    client.disconnect()
    assert ended() == ("GET / HTTP/1.1", "101", "1002")
    client = connect(server)
    client.send("close")
    client.expect_close(4002)
    assert ended() == ("GET / HTTP/1.1", "101", "4002")
    client = connect(server)
    client.send("terminate")
    client.drain_to_eof()
    assert ended() == ("GET / HTTP/1.1", "101", "1006")
    client = connect(server)
    client.send_raw(encode(8, close_payload(None)))
    client.drain_to_eof()
    assert ended() == ("GET / HTTP/1.1", "101", "1005")


def test_requests_that_do_not_become_connections(make_server: Any, connect: Any) -> None:
    lines: list[str] = []
    server = make_server(access_log=lines.append, path="/chat")
    for head, request, status in (
        (upgrade_head("/other"), "GET /other HTTP/1.1", "404"),
        (b"GET /?x HTTP/1.0\r\n\r\n", "GET / HTTP/1.0", "426"),
        (b'GET /"quoted" HTTP/1.1\r\nHost: a\r\n\r\n', "GET /\\x22quoted\\x22 HTTP/1.1", "426"),
        (b"GET / HTTP/1.1\r\nHost : a\r\nAuthorization: secret\r\n\r\n", "-", "400"),
        (b"nonsense\r\n\r\n", "-", "400"),
    ):
        client = connect(server, upgrade=False)
        client.send_raw(head)
        assert client.recv_response().status == int(status)
        client.disconnect()
        eventually(lambda: lines)
        assert fields(lines.pop()) == (request, status, "-")
    server.on("http", lambda socket: server.respond(socket, 201))
    client = connect(server, upgrade=False)
    client.send_raw(b"PUT /thing HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    assert client.recv_response().status == 201
    client.disconnect()
    eventually(lambda: lines)
    assert fields(lines.pop()) == ("PUT /thing HTTP/1.1", "201", "-")


def test_half_a_request_and_none_at_all(make_server: Any, connect: Any) -> None:
    lines: list[str] = []
    server = make_server(access_log=lines.append)
    probe = connect(server, upgrade=False)
    eventually(lambda: server._engine.connection_count == 1)
    probe.disconnect()
    half = connect(server, upgrade=False)
    half.send_raw(b"GET / HT")
    turns()
    half.disconnect()
    eventually(lambda: lines and server._engine.connection_count == 0)
    assert [fields(line) for line in lines] == [("-", "-", "-")]  # who has said nothing is no visitor


def test_a_deadline_writes_its_line_outside_the_hub(make_server: Any, connect: Any) -> None:
    lines: list[str] = []
    where: list[Any] = []

    def log(line: str) -> None:
        where.append(gevent.getcurrent())
        gevent.sleep(0.01)  # as any user code it may block
        lines.append(line)

    server = make_server(access_log=log, idle_timeout=0.5)
    connect(server)
    eventually(lambda: lines)
    assert fields(lines[0]) == ("GET / HTTP/1.1", "101", "1006")
    assert where[0] is not gevent.get_hub()


def test_a_log_that_fails_harms_nobody(make_server: Any, connect: Any) -> None:
    def log(line: str) -> None:
        raise LookupError("no log")

    server = make_server(echo=True, access_log=log)
    errors: list[str] = []
    server.on("error", lambda error: errors.append(str(error)))
    connect(server).close_handshake()
    eventually(lambda: errors)
    assert errors == ["no log"]
    connect(server).echo("still served")


def test_true_is_a_logger_of_the_library_and_a_logger_is_itself(
    make_server: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", records.append)
    for logger, option in (
        (logging.getLogger("lws_gevent.access"), True),
        (logging.getLogger("other"), logging.getLogger("other")),
    ):
        logger.addHandler(handler)
        monkeypatch.setattr(logger, "propagate", False)
        server = make_server(access_log=option)
        connect(server, "/50%s").close_handshake()
        eventually(lambda server=server: server.stats()["closed"] == 1)
        turns()
        assert records == []  # it is not wanted at this level
        logger.setLevel(logging.INFO)
        connect(server, "/50%s").close_handshake()
        eventually(lambda: records)
        assert fields(records.pop().getMessage()) == ("GET /50%s HTTP/1.1", "101", "1000")
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)


def test_the_address_is_that_of_the_client_behind_the_proxy(make_server: Any, connect: Any) -> None:
    lines: list[str] = []
    server = make_server(access_log=lines.append, trusted_proxies=["127.0.0.1"])
    connect(server, headers=[("X-Forwarded-For", "2001:db8::7")]).close_handshake()
    eventually(lambda: lines)
    assert lines[0].startswith('[2001:db8::7] "GET / HTTP/1.1" 101 1000 ')


def test_a_unix_socket_and_a_stop(make_server: Any, connect: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    server = make_server(f"unix:{tmp_path}/socket", access_log=lines.append)
    connect(f"{tmp_path}/socket")
    eventually(lambda: server.connections)
    server.stop(timeout=0.1)
    eventually(lambda: lines)
    assert lines[0].startswith('unix: "GET / HTTP/1.1" 101 1001 ')


def test_nothing_is_kept_for_a_log_that_is_off(make_server: Any, connect: Any, stack: Any) -> None:
    server = make_server()
    connect(server)
    eventually(lambda: server.connections)
    assert server._context.access_log is None
    if stack.engine == "greenlet":
        assert server.connections[0]._visit is None


@pytest.mark.parametrize(
    ("address", "method", "target", "line"),
    [
        (("192.0.2.7", 80), "GET", "/a?b", '192.0.2.7:80 "GET /a HTTP/1.1" 101 1000 1 2 3.000'),
        (("2001:db8::7", 80), "GET", "/", '[2001:db8::7]:80 "GET / HTTP/1.1" 101 1000 1 2 3.000'),
        ("", None, "", 'unix: "-" 101 1000 1 2 3.000'),
        ("/run/\n\x1b[0m\u2028\udcff", "GET", "/", None),
        (("192.0.2.7", 0), "GET", '/\r\nforged " line\\\x7f\x85\xff\u2028', None),
    ],
)
def test_whatever_a_peer_chooses_stays_in_its_line(address: Any, method: Any, target: str, line: str | None) -> None:
    written = access_line(address, method, target, 1, 101, 1000, 1, 2, 3.0)
    assert line is None or written == line
    assert written.isascii() and written.isprintable() and written.count('"') == 2
