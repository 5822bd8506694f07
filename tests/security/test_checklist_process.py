"""The server process as a whole: cycles of every failure, exhausted descriptors, python -O, logs. S1 to S6 of the
checklist."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from client import BINARY, TEXT, Client, encode, upgrade_head
from helpers import ServerProcess, Stack, eventually, process_ticks
from soak.cycles import COMPILERS, run_cycles
from tools import need_program


def test_s01_cycles_of_every_failure_leave_nothing_behind(stack: Stack) -> None:
    """`make soak` does the same with a hundred thousand connections."""
    need_program(*COMPILERS)
    outcome = run_cycles(stack, 3000)
    assert len(outcome.ends) > 40 and all(outcome.ends.values()), outcome.ends
    assert outcome.before[:3] == outcome.first[:3] == outcome.second[:3], outcome
    assert outcome.growth < 0.01, outcome


def test_s02_without_asserts_violations_are_noticed_all_the_same(stack: Stack) -> None:
    with ServerProcess(stack, options_of_python=("-O",)) as server:
        for octets, code in [
            (encode(TEXT, b"\xff"), 1007),
            (encode(3, b""), 1002),
            (encode(TEXT, "x", mask=False), 1002),
            (encode(TEXT, "x", rsv=1), 1002),
            (encode(BINARY, b"", length=2**40), 1009),
            (encode(9, b"", length=126), 1002),
            (encode(0, b""), 1002),
            (encode(8, b"\3"), 1002),
        ]:
            with Client.connect(server.address) as client:
                client.send_raw(octets)
                client.expect_close(code)
        with Client.open(server.address) as client:
            assert client.request(upgrade_head(method="POST")).status == 405
        server.stop()


def test_s03_stop_sends_1001_and_ends_within_the_close_timeout(stack: Stack) -> None:
    with ServerProcess(stack, close_timeout=0.3) as server:
        clients = [Client.connect(server.address) for _ in range(10)]
        for client in clients:
            client.echo()
        server.stop()
        for client in clients:
            assert client.recv_close()[0] == 1001
            client.disconnect()


def test_s04_exhausted_descriptors_stop_accepting_and_nothing_else(stack: Stack) -> None:
    with ServerProcess(stack, limit=64) as server:
        good = Client.connect(server.address)
        good.echo()
        waiting = []
        for _ in range(100):
            client = Client.open(server.address)
            client.send_raw(upgrade_head())
            waiting.append(client)
        eventually(lambda: server.descriptors() >= 60, "the descriptors are used up")
        good.echo("served meanwhile", within=2)
        # It must not spin while it cannot accept: two seconds of spinning would be 200 ticks.
        before = process_ticks(server.pid)
        for _ in range(10):
            gevent.sleep(0.1)
            good.echo("served meanwhile", within=2)
        assert process_ticks(server.pid) - before < 50
        served = 0
        while waiting:  # everybody is served in the end, as descriptors come free
            client = waiting.pop(0)
            assert client.recv_response().status == 101
            client.echo(f"number {served}")
            client.disconnect()
            served += 1
        assert served == 100
        good.echo("served afterwards", within=2)
        good.close_handshake()
        eventually(lambda: server.descriptors() < 30)
        server.stop()


def test_s05_an_exception_in_a_handler_closes_with_1011_and_is_logged_once(
    make_server: Any, connect: Any, logged: Any
) -> None:
    server = make_server()

    @server.on("message")
    def message(socket: Any, message: str) -> None:
        raise LookupError("of the handler")

    client = connect(server)
    client.send("one")
    client.send("two")
    client.expect_close(1011)
    eventually(lambda: not list(server.connections))
    assert len(logged.records) == 1
    assert "LookupError: of the handler" in logged.text[0]
    logged.clear()


@pytest.mark.parametrize("secret", ["SECRET", "SECRET\r\nFAKE LINE"])
def test_s06_logs_contain_neither_payload_nor_credentials_nor_foreign_lines(
    make_server: Any, connect: Any, logged: Any, secret: str
) -> None:
    import logging

    records: list[logging.LogRecord] = []

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("lws_gevent")
    everything = Everything(logging.DEBUG)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(everything)
    try:
        server = make_server(echo=True, access_log=True)
        single = secret.split("\r")[0]
        headers = [("Authorization", f"Basic {single}"), ("Cookie", f"session={single}")]
        for octets in (
            encode(TEXT, secret.encode() + b"\xff"),
            encode(3, secret),
            encode(8, b"\x03\xe8\xff" + secret.encode()),
            encode(BINARY, secret, rsv=3),
        ):
            client = connect(server, f"/?token={single}", headers)
            client.send_raw(octets)
            client.recv_close()
            client.disconnect()
        client = connect(server, "/", headers)
        client.close_handshake(1000, secret)
        client = connect(server, upgrade=False)
        client.request(upgrade_head("/", [*headers, ("Bad Name", secret.replace("\r\n", "\n"))]))
        eventually(lambda: sum(record.name == "lws_gevent.access" for record in records) == 6)
    finally:
        logger.removeHandler(everything)
        logger.setLevel(level)
    for record in records:
        message = logging.Formatter().format(record)
        assert "SECRET" not in message and "FAKE LINE" not in message, message
        assert "\n" not in record.getMessage()
    logged.clear()
