"""The benchmarks measure what they say.

The load generator and the C limit against each other; rubbish is noticed; the echo handler that is measured is the one
that is shown; verdicts are worked out from the figures.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client import FACTOR
from tools import missing, need_module, need_program

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import (  # noqa: E402
    blocked,
    deflated,
    figures,
    measure,
    processes,
    record,
    report,
    rows,
    run,
    servers,
    tables,
)
from benchmarks.processes import BenchmarkError, Cores, Load, running_server  # noqa: E402

SHORT = ("--warm-up", "0.02", "--seconds", "0.05")


@pytest.fixture(scope="module")
def programs() -> None:
    """The C programs, built."""
    if sys.platform != "linux":
        missing("the load generator stands on epoll")
    need_program("cc", "gcc")
    processes.build("load")
    processes.build("limit")


def load(port: int, *arguments: str) -> dict[str, Any]:
    """The load generator's report."""
    with Load(port, arguments) as generator:
        generator.ready()
        return generator.result()


@pytest.fixture
def limit(programs: None) -> Iterator[int]:
    """The port of the C echo server."""
    with running_server(servers.SERVERS["limit"].command(servers.ECHO)) as server:
        yield server.port


# --- load and limit.c ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 20, 125, 126, 65535, 65536, 300_000])
@pytest.mark.parametrize("in_flight", [1, 5])
@pytest.mark.parametrize("opcode", ["binary", "text"])
def test_messages_of_every_length_come_back(limit: int, size: int, in_flight: int, opcode: str) -> None:
    text = ["--text"] if opcode == "text" else []
    result = load(
        limit, "echo", "--connections", "3", "--in-flight", str(in_flight), "--size", str(size), *text, *SHORT
    )
    assert result["operations"] >= 3 * in_flight
    assert (result["size"], result["opcode"]) == (size, opcode)
    latency = result["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_without_a_measuring_time_every_connection_sends_exactly_what_it_keeps_in_flight(limit: int) -> None:
    result = load(limit, "echo", "--connections", "50", "--in-flight", "3", "--warm-up", "0", "--seconds", "0")
    assert result["operations"] == 150


def test_connections_are_opened_and_closed_over_and_over(limit: int) -> None:
    assert load(limit, "connect", "--connections", "4", *SHORT)["operations"] >= 4


def test_a_broadcast_is_counted_when_it_has_reached_everyone(programs: None) -> None:
    with running_server(servers.SERVERS["limit"].command(servers.Mode(broadcast=True))) as server:
        result = load(server.port, "broadcast", "--connections", "40", "--in-flight", "2", *SHORT)
    assert result["broadcasts"] >= 2
    assert result["operations"] == 40 * result["broadcasts"]


@pytest.mark.parametrize(("message", "operations"), [("none", 0), ("echo", 30)])
def test_idle_connections_are_held(limit: int, message: str, operations: int) -> None:
    assert load(limit, "idle", "--connections", "30", "--message", message)["operations"] == operations


def test_the_limit_speaks_the_protocol(limit: int) -> None:
    need_module("websocket")
    import websocket

    client = websocket.create_connection(f"ws://127.0.0.1:{limit}", timeout=10 * FACTOR)
    try:
        for length in (0, 125, 126, 65536):
            client.send_binary(b"x" * length)
            assert client.recv() == b"x" * length
        client.ping("are you there")
        assert client.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"are you there")
        client.send_frame(websocket.ABNF.create_frame("in two ", websocket.ABNF.OPCODE_TEXT, fin=0))
        client.send_frame(websocket.ABNF.create_frame("pieces", websocket.ABNF.OPCODE_CONT, fin=1))
        assert client.recv() == "in two pieces"
        client.send_close(1000)
        opcode, payload = client.recv_data(control_frame=True)
        assert (opcode, payload[:2]) == (websocket.ABNF.OPCODE_CLOSE, (1000).to_bytes(2, "big"))
        assert client.sock.recv(1) == b""
    finally:
        client.shutdown()


# --- rubbish is noticed ----------------------------------------------------------------------------------------------


RUBBISH = {
    "other octets": b"\x82\x04xxxx",
    "a wrong length": b"\x82\x03xxx",
    "a wrong opcode": b"\x81\x04xxxx",
    "a masked frame": b"\x82\x84\0\0\0\0xxxx",
    "RSV bits": b"\xc2\x04xxxx",
    "a close frame": b"\x88\x02\x03\xe9",
    "the end of the connection": b"",
}
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
ACCEPTED = ANSWER % b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def rubbish_server(head: bytes, frame: bytes) -> tuple[int, threading.Thread]:
    """Answers one request with `head` and what comes then with `frame`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(head)
            if head in (ACCEPTED, COMPRESSED):
                connection.recv(4096)
                connection.sendall(frame)
                connection.shutdown(socket.SHUT_WR)
            connection.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener.getsockname()[1], thread


def failure_of(port: int, *arguments: str) -> str:
    """What the load generator says when it fails."""
    command = [str(processes.build("load")), *arguments, "--port", str(port), *SHORT]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=20 * FACTOR)
    assert completed.returncode == 1, completed.stdout
    assert completed.stdout == ""
    return completed.stderr


@pytest.mark.parametrize("frame", RUBBISH.values(), ids=RUBBISH.keys())
def test_an_answer_that_is_not_the_message_fails_the_measurement(programs: None, frame: bytes) -> None:
    port, thread = rubbish_server(ACCEPTED, frame)
    assert "connection 0: " in failure_of(port, "echo", "--connections", "1", "--size", "4")
    thread.join(5)


@pytest.mark.parametrize(
    "head", [ANSWER % b"bm90IHRoZSByaWdodCBvbmU=", b"HTTP/1.1 404 Not Found\r\n\r\n"], ids=["wrong key", "404"]
)
def test_a_refused_upgrade_fails_the_measurement(programs: None, head: bytes) -> None:
    port, thread = rubbish_server(head, b"")
    assert "was not accepted" in failure_of(port, "echo", "--connections", "1")
    thread.join(5)


# --- compressed messages ----------------------------------------------------------------------------------------------

COMPRESSED = ACCEPTED.replace(
    b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n"
)


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("messages") / "deflated"
    deflated.write(path, 1000)
    return path


def first_message(messages: Path) -> bytes:
    return messages.read_bytes()[12:1012]


def compressed_frame(payload: bytes) -> bytes:
    return (
        b"\xc2" + (bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload))) + payload
    )


def echo_of(messages: Path, *more: str) -> tuple[str, ...]:
    return ("echo", "--connections", "1", "--deflated", str(messages), *more)


def test_the_file_has_messages_of_one_length_and_can_be_inflated(messages: Path) -> None:
    data = messages.read_bytes()
    count, size, compressed_size = struct.unpack("<3I", data[:12])
    assert (count, size, len(data)) == (deflated.COUNT, 1000, 12 + count * (size + compressed_size))
    for index in range(count):
        begin = 12 + count * size + index * compressed_size
        inflated = zlib.decompressobj(-15).decompress(data[begin : begin + compressed_size] + b"\x00\x00\xff\xff")
        assert inflated == data[12 + index * size : 12 + (index + 1) * size]


def test_an_answer_that_is_not_compressed_fails_the_measurement(programs: None, messages: Path) -> None:
    with running_server(servers.SERVERS[servers.OURS].command(servers.Mode(deflate=True))) as server:
        with pytest.raises(BenchmarkError, match="wrong RSV bits"):  # its messages are shorter than the threshold
            load(server.port, *echo_of(messages), *SHORT)


def test_a_row_with_compression_is_measured(programs: None) -> None:
    result = run.measure(rows.ROWS["deflate-16"], servers.OURS, Cores.available(), 0.05, 0.02)
    assert result["value"] > 0, result
    standard = servers.SERVERS[servers.OURS].command(servers.Mode(deflate=True, fast_deflate=False))
    with running_server(standard) as server:
        assert "deflate zlib" in server.said


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY])
@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH])
def test_whatever_a_server_has_compressed_is_inflated(
    programs: None, messages: Path, level: int, strategy: int, flush: int
) -> None:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
    message = first_message(messages)
    data = compressor.compress(message[:400]) + compressor.flush(flush) + compressor.compress(message[400:])
    port, thread = rubbish_server(COMPRESSED, compressed_frame((data + compressor.flush(flush))[:-4]))
    assert load(port, *echo_of(messages, "--warm-up", "0", "--seconds", "0"))["operations"] == 1
    thread.join(5)


@pytest.mark.parametrize(
    "kind", ["another message", "a longer one", "a shorter one", "no DEFLATE data", "cut", "nothing"]
)
def test_a_compressed_answer_that_is_not_the_message_fails_the_measurement(
    programs: None, messages: Path, kind: str
) -> None:
    message = first_message(messages)
    payload = {
        "another message": deflated.compress(message.swapcase()),
        "a longer one": deflated.compress(message + b"x"),
        "a shorter one": deflated.compress(message[:-1]),
        "no DEFLATE data": b"\xff" * 100,
        "cut": deflated.compress(message)[:-20],
        "nothing": b"",
    }[kind]
    port, thread = rubbish_server(COMPRESSED, compressed_frame(payload))
    assert "something else was compressed" in failure_of(port, *echo_of(messages))
    thread.join(5)


def test_a_server_that_does_not_compress_fails_the_measurement(programs: None, messages: Path, limit: int) -> None:
    assert "compression was not accepted" in failure_of(limit, *echo_of(messages))


def test_a_server_that_does_not_start_is_reported_with_what_it_said() -> None:
    with (
        pytest.raises(BenchmarkError, match="no such thing"),
        running_server([sys.executable, "-c", "exit('no such thing')"]),
    ):
        pass


# --- what is measured ------------------------------------------------------------------------------------------------

REPLACED = """
import sys
from benchmarks import record
from lws_gevent import cli

def echo(server):
    @server.on("message")
    def message(socket, message, binary):
        server.send(socket, bytes(reversed(message)), binary)

cli.echo = echo
print(record.handler_source(), file=sys.stderr, flush=True)
sys.exit(cli.main(["echo", "--port", "0", *sys.argv[1:]]))
"""


def test_the_source_shown_is_the_handler_of_the_echo_command() -> None:
    source = record.handler_source()
    assert source.startswith("def echo(server")
    assert "socket.send(message, binary)" in source


def test_a_replaced_handler_is_what_is_measured_and_shown(programs: None, tmp_path: Path) -> None:
    script = tmp_path / "replaced.py"
    script.write_text(REPLACED)
    with running_server([sys.executable, str(script)]) as server:
        assert "bytes(reversed(message))" in server.said
        with pytest.raises(BenchmarkError, match="other octets came back"):
            load(server.port, "echo", "--connections", "2", *SHORT)
    with running_server(servers.SERVERS[servers.OURS].command(servers.ECHO)) as server:
        assert load(server.port, "echo", "--connections", "2", *SHORT)["operations"] >= 2


def test_our_broadcast_reaches_everyone(programs: None) -> None:
    with running_server(servers.SERVERS[servers.OURS].command(servers.Mode(broadcast=True))) as server:
        assert load(server.port, "broadcast", "--connections", "20", *SHORT)["operations"] >= 20


@pytest.mark.parametrize("server", ["lws-gevent", "lws-gevent-greenlet"])
def test_our_server_in_blocking_style_answers(programs: None, server: str) -> None:
    with running_server(servers.SERVERS[server].command(servers.Mode(blocking=True))) as running:
        assert load(running.port, "echo", "--connections", "20", "--warm-up", "0", "--seconds", "0")["operations"] == 20


def test_sleeping_handlers_answer_everyone(programs: None) -> None:
    with running_server([sys.executable, blocked.SLEEPING]) as server:
        assert load(server.port, "echo", "--connections", "50", "--warm-up", "0", "--seconds", "0")["operations"] == 50


@pytest.mark.parametrize("row", ["echo-1", "idle-echoed", "connect", "broadcast"])
def test_a_row_is_measured(programs: None, row: str) -> None:
    chosen = rows.ROWS[row]
    load_ = list(chosen.load)
    load_[load_.index("--connections") + 1] = "20"
    small = rows.Row(chosen.name, chosen.title, tuple(load_), chosen.quantity, mode=chosen.mode)
    result = run.measure(small, "limit", Cores.available(), 0.05, 0.02)
    assert "error" not in result
    assert result["value"] > 0 or chosen.quantity is rows.Quantity.MEMORY


@pytest.mark.parametrize("row", [row.name for row in rows.TLS])
def test_a_row_over_tls_is_measured(programs: None, row: str) -> None:
    need_program("openssl")
    chosen = rows.ROWS[row]
    load_ = list(chosen.load)
    load_[load_.index("--connections") + 1] = "20"
    small = rows.Row(chosen.name, chosen.title, tuple(load_), chosen.quantity)
    result = run.measure(small, servers.OURS, Cores.available(), 0.05, 0.02)
    if "without OpenSSL's headers" in result.get("error", ""):
        missing("OpenSSL's headers are needed to compile the load generator with TLS")
    assert "error" not in result, result
    assert result["value"] > 0 or chosen.quantity is rows.Quantity.MEMORY


def test_a_server_without_tls_fails_a_measurement_over_tls(programs: None) -> None:
    with running_server(servers.SERVERS[servers.OURS].command(servers.ECHO)) as server:
        with pytest.raises(BenchmarkError, match="the TLS handshake failed|without OpenSSL's headers"):
            load(server.port, "echo", "--tls", *SHORT)


def test_cpu_time_and_memory_of_descendants_count() -> None:
    code = "import sys; a = bytearray(b'x') * 30_000_000\nprint(sum(range(3_000_000)), flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        assert len(list(measure.process_tree(process.pid))) == 2
        assert measure.private_bytes(process.pid) > 30_000_000
        assert measure.cpu_nanoseconds(process.pid) > 1_000_000
        process.stdin.close()


# --- verdicts --------------------------------------------------------------------------------------------------------


def rounds(**servers_: list[float]) -> dict[str, list[dict[str, Any]]]:
    """Rounds of servers, a dash in a name written as an underscore."""
    return {name.replace("_", "-"): [{"value": value} for value in of_server] for name, of_server in servers_.items()}


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    measured = rounds(lws_gevent=[1, 20, 3], ws=[10, 40, 10])
    assert figures.ratio(measured, servers.OURS, servers.REFERENCE) == pytest.approx(0.3)


def test_a_round_that_failed_is_left_out() -> None:
    measured = rounds(lws_gevent=[1, 2], ws=[10, 10])
    measured[servers.OURS][0] = {"error": "lost"}
    assert figures.ratio(measured, servers.OURS, servers.REFERENCE) == pytest.approx(0.2)
    assert figures.median(measured, servers.OURS) == 2


@pytest.mark.parametrize(("ours", "met"), [(6.0, True), (6.1, False)])
def test_must_is_the_ratio_to_ws(ours: float, met: bool) -> None:
    row = rows.ROWS["echo-1"]
    measured = rounds(lws_gevent=[ours], ws=[10], limit=[5])
    assert figures.meets_must(row, measured) is met
    assert figures.goal_distance(row, measured) == pytest.approx(ours / 5 / 1.15)
    results = {"rows": {"echo-1": measured}}
    assert figures.missed(results) == ([] if met else ["echo-1"])


def test_without_figures_there_is_no_verdict() -> None:
    row = rows.ROWS["idle"]
    assert figures.meets_must(row, rounds(ws=[10])) is None
    assert figures.goal_distance(row, rounds(ws=[10])) is None
    assert figures.goal_distance(row, rounds(lws_gevent=[512])) == 2


@pytest.mark.parametrize(
    ("round_", "verdict"),
    [
        ({"connection_bytes": 11, "greenlet_bytes": 10, "longest_wait": 0.2, "machine_seconds": 0.19}, (True, True)),
        ({"connection_bytes": 13, "greenlet_bytes": 10, "longest_wait": 0.2, "machine_seconds": 0.19}, (False, True)),
        ({"connection_bytes": 11, "greenlet_bytes": 10, "longest_wait": 2.0, "machine_seconds": 0.19}, (True, False)),
    ],
)
def test_blocked_handlers_are_judged_by_memory_and_waiting(
    round_: dict[str, float], verdict: tuple[bool, bool]
) -> None:
    assert figures.blocked_verdict({"rounds": [round_]}) == verdict


def test_blocked_handlers_that_could_not_be_measured_are_a_miss() -> None:
    assert figures.missed({"rows": {}, "blocked": {"error": "lost"}}) == ["blocked"]


def test_the_report_has_every_figure_and_verdict() -> None:
    results = record.new_results(["lws-gevent", "ws", "limit"], Cores(0, 1), 1, 1)
    results["rows"] = {
        "echo-1": rounds(lws_gevent=[7.5], ws=[15], limit=[6.25]),
        "idle": rounds(lws_gevent=[1800], ws=[7200]),
    }
    text = tables.text(results)
    for expected in ("0.500", "0.6", "pass", "1.20", "1.15 x the C limit", "0.250", "MISS", "1,800", "def echo(server"):
        assert expected in text


def test_documentation_is_replaced_between_the_markers_only() -> None:
    other = "<!-- benchmarks: other -->\nkept\n<!-- end -->\n"
    document = "before\n<!-- benchmarks: targets -->\nold\n<!-- end -->\nafter\n" + other
    once = report.replace_section(document, "targets", "new")
    assert once == document.replace("\nold\n", "\n\nnew\n\n")
    assert report.replace_section(once, "targets", "new") == once
    assert report.replace_section(document, "missing", "new") == document


def test_the_documentation_has_the_sections_that_are_published() -> None:
    text = report.DOCUMENT.read_text()
    for name in ("machine", "targets", "servers", "latency", "blocked", "handler"):
        assert f"<!-- benchmarks: {name} -->" in text


def test_the_published_record_names_no_place_of_the_machine_that_measured() -> None:
    for measured in record.load(run.LATEST)["rows"].values():
        for one in (one for rounds_ in measured.values() for one in rounds_):
            assert not re.search(r"(?<![\w:/.])/[\w.@-]+/", one.get("said", "") + one.get("error", ""))


def test_new_figures_are_put_over_old_ones_server_by_server() -> None:
    old = {
        "servers": {"ws": 1},
        "rows": {"idle": rounds(ws=[1], limit=[2]), "echo-1": rounds(ws=[3])},
        "handler": "old",
    }
    new = {"servers": {"limit": 1}, "rows": {"idle": rounds(limit=[5])}, "handler": "new"}
    merged = record.merge(old, new)
    assert merged["rows"] == {"idle": rounds(ws=[1], limit=[5]), "echo-1": rounds(ws=[3])}
    assert merged["servers"] == {"ws": 1, "limit": 1}
    assert merged["handler"] == "new"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.1234, "0.123"), (7.5, "7.50"), (12.34, "12.3"), (342.4, "342"), (29321, "29,321")],
)
def test_figures_are_written_with_three_digits(value: float | None, text: str) -> None:
    assert tables.number(value) == text


def test_an_unknown_row_or_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--rows", "nonsense"], ["--servers", "nonsense"]):
        with pytest.raises(SystemExit):
            run.main(arguments)
        assert "unknown: nonsense" in capsys.readouterr().err


def test_figures_are_published_where_the_markers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, readme = tmp_path / "performance.md", tmp_path / "README.md"
    document.write_text(report.DOCUMENT.read_text())
    readme.write_text("# lws_gevent\n<!-- benchmarks: readme -->\n<!-- end -->\nmore\n")
    monkeypatch.setattr(report, "DOCUMENT", document)
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "IMAGES", tmp_path / "images")
    results = record.new_results(["lws-gevent", "ws", "limit"], Cores(0, 1), 1, 1)
    results["rows"] = {"echo-1": rounds(lws_gevent=[7.5], ws=[15], limit=[6.25])}
    report.publish(results)
    report.publish(results)
    for path in (document, readme):
        assert path.read_text().count("| 20 B, 64 connections, 1 in flight") == (1 if path is readme else 2)
    assert "50.0 %" in readme.read_text() and readme.read_text().endswith("<!-- end -->\nmore\n")
    assert "```python\ndef echo(server" in document.read_text()
