"""The commands ``lws-gevent connect`` and ``lws-gevent bench``, as processes of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import pytest
from certificates import certificates
from gevent import subprocess as green_subprocess
from helpers import Stack, eventually
from raw_server import url_of
from tools import need_module

from lws_gevent.cli_bench import Histogram

ROOT = Path(__file__).resolve().parent.parent


def run(stack: Stack, *arguments: str, input: bytes = b"", status: int = 0) -> tuple[str, str]:
    """What the command writes to standard output and standard error."""
    process = green_subprocess.Popen(
        [sys.executable, "-m", "lws_gevent", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, **stack.environment},
    )  # fmt: skip
    output, errors = process.communicate(input, timeout=60)
    assert process.returncode == status, (process.returncode, output, errors)
    return output.decode(), errors.decode()


def test_lines_are_sent_and_messages_are_written(make_server: Any, stack: Stack) -> None:
    server = make_server(echo=True, subprotocols=["v1"])
    seen: list[Any] = []
    server.on("upgrade", lambda sock, headers: seen.append((headers.get("X-Mine"), headers.get("Origin"))))
    output, errors = run(
        stack, "connect", url_of(server), "--engine", stack.engine, "--wait", "0.3", "-H", "X-Mine: 1", "--subprotocol",
        "v1", "--origin", "https://o", input="first\nsecond \u20ac\r\n\nlast".encode(),
    )  # fmt: skip
    assert output == "first\nsecond \u20ac\n\nlast\n"
    assert "connected to" in errors and "subprotocol v1" in errors and "closed: 1000 (normal closure)" in errors
    assert seen == [("1", "https://o")]


def test_binary_messages_and_compression(make_server: Any, stack: Stack) -> None:
    server = make_server(echo=True, per_message_deflate=True)
    kinds: list[bool] = []
    server.on("message", lambda sock, message, binary: kinds.append(binary))
    options = ("--binary", "--compression", "--wait", "0.3")
    output, errors = run(stack, "connect", url_of(server), *options, input=b"ab\ncd\n")
    assert output == "abcd" and kinds == [True, True] and "permessage-deflate" in errors


def test_json_is_indented_on_request(make_server: Any, stack: Stack) -> None:
    server = make_server(echo=True)
    output, _ = run(stack, "connect", url_of(server), "--json", "--wait", "0.3", input=b'{"a":[1]}\nno json\n')
    assert output == '{\n  "a": [\n    1\n  ]\n}\nno json\n'


def test_a_close_is_told_with_its_meaning_and_the_status(make_server: Any, stack: Stack) -> None:
    server = make_server()
    server.on("message", lambda sock, message: sock.close(int(message), "because \x1b[31m"))
    expected = (("1001", "going away", 0), ("1008", "policy violation", 1), ("4000", "application", 1))
    for code, meaning, status in expected:
        _, errors = run(stack, "connect", url_of(server), input=code.encode() + b"\n", status=status)
        assert f"closed: {code} (" in errors and meaning in errors and "because \\x1b[31m" in errors


def test_a_close_ends_it_though_more_may_come_through_the_pipe(make_server: Any, stack: Stack) -> None:
    server = make_server()
    server.on("message", lambda sock, message: sock.close(1008))
    process = green_subprocess.Popen(
        [sys.executable, "-m", "lws_gevent", "connect", url_of(server)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, **stack.environment},
    )  # fmt: skip
    with process:
        process.stdin.write(b"something\n")
        process.stdin.flush()
        assert process.wait(60) == 1
        assert b"closed: 1008" in process.stderr.read()


def test_tls(make_server: Any, stack: Stack) -> None:
    server = make_server(echo=True, ssl=certificates().options)
    url = f"wss://localhost:{server.port}/"
    _, errors = run(stack, "connect", url, status=2)
    assert "certificate" in errors and errors.count("\n") == 1
    for trust in (["--insecure"], ["--ca", str(certificates().ca)]):
        output, _ = run(stack, "connect", url, *trust, "--wait", "0.3", input=b"secret\n")
        assert output == "secret\n"


@pytest.mark.on_one_stack  # no connection comes about
@pytest.mark.parametrize(
    "arguments",
    [
        ["connect", "ws://127.0.0.1:1/"], ["connect", "nonsense"], ["connect"], ["connect", "ws://a", "-H", "nonsense"],
        ["connect", "ws://a", "--text", "--binary"], ["bench", "ws://127.0.0.1:1/"], ["bench", "x"],
        ["bench", "ws://a", "--connections", "0"], ["bench", "ws://a", "--plot", "x.pdf"],
        ["bench", "ws://a", "--size", "-1"], ["connect", "ws://a", "--proxy", "ftp://x"],
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_status_2(stack: Stack, arguments: list[str]) -> None:
    _, errors = run(stack, *arguments, status=2)
    assert errors.startswith("lws-gevent: ") and errors.count("\n") == 1


def test_in_a_terminal(make_server: Any, stack: Stack) -> None:
    server = make_server(echo=True)
    pongs: list[bytes] = []
    server.on("ping", lambda sock, data: pongs.append(data))
    controller, terminal = pty.openpty()
    process = green_subprocess.Popen(
        [sys.executable, "-m", "lws_gevent", "connect", url_of(server)],
        stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, start_new_session=True,
        env={**os.environ, **stack.environment, "HOME": "/nonexistent", "TERM": "dumb"},
    )  # fmt: skip
    os.close(terminal)
    os.set_blocking(controller, False)
    written = bytearray()

    def shows(text: bytes) -> bool:
        try:
            written.extend(os.read(controller, 65536))
        except (BlockingIOError, OSError):
            pass
        return text in written

    try:
        eventually(lambda: shows(b"/ping [data]"))
        gevent.sleep(0.1)
        os.write(controller, b"typed\n")
        eventually(lambda: shows(b"< typed"))
        os.write(controller, b"/ping abc\n")
        eventually(lambda: shows(b"pong abc"))
        os.write(controller, b"//slash\n")
        eventually(lambda: shows(b"< /slash"))
        os.write(controller, b"/binary 00ff\n")
        eventually(lambda: shows(b"(2 octets) 00 ff"))
        os.write(controller, b"/nonsense\n")
        # One line after the other: what is typed while readline changes the terminal's mode may be lost.
        eventually(lambda: shows(b"") and written.count(b"/ping [data]") == 2)
        os.write(controller, b"/close 4000 enough\n")
        eventually(lambda: shows(b"closed: 4000"))
        assert process.wait(30) == 1 and pongs == [b"abc"]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(controller)


def test_bench_prints_and_writes_what_it_has_measured(make_server: Any, stack: Stack, tmp_path: Path) -> None:
    server = make_server(echo=True)
    path = tmp_path / "results.json"
    output, _ = run(
        stack, "bench", url_of(server), "--connections", "5", "--in-flight", "3", "--size", "100", "--duration", "0.5",
        "--warm-up", "0.1", "--json", str(path), "--engine", stack.engine,
    )  # fmt: skip
    results = json.loads(path.read_text())
    assert results["connections"] == 5 and results["messages"] > 0 and results["engine"] == stack.engine
    assert results["lost_connections"] == results["errors"] == 0
    latency = results["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]
    assert sum(count for _, count in results["histogram"]) == results["messages"]
    assert "messages/s" in output and "p99.9" in output
    output, _ = run(
        stack, "bench", url_of(server), "--rate", "200", "--connections", "3", "--duration", "0.5", "--warm-up", "0.1",
        "--text", "--json", "-",
    )  # fmt: skip
    assert 0 < json.loads(output)["messages"] < 1000


def test_bench_tells_of_lost_connections(make_server: Any, stack: Stack) -> None:
    server = make_server()
    server.on("message", lambda sock: sock.close(1011))
    output, _ = run(stack, "bench", url_of(server), "--connections", "2", "--duration", "5", status=1)
    assert "2 connections lost" in output


@pytest.mark.on_one_stack  # what was measured is tested above, how it is drawn here
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_bench_plots(make_server: Any, stack: Stack, tmp_path: Path, suffix: str) -> None:
    need_module("matplotlib")
    server = make_server(echo=True)
    path = tmp_path / f"latency{suffix}"
    run(stack, "bench", url_of(server), "--duration", "0.2", "--warm-up", "0.1", "--plot", str(path))
    assert path.stat().st_size > 1000


def test_a_histogram_knows_percentiles_to_two_percent() -> None:
    histogram = Histogram()
    for number in range(1, 10001):
        histogram.add(number / 10000)
    for percent in (1, 50, 90, 99, 99.9):
        assert histogram.percentile(percent) == pytest.approx(percent / 100, rel=0.02)
    assert histogram.percentile(100) == pytest.approx(1, rel=0.02) and histogram.maximum == 1
    assert Histogram().percentile(50) == 0
