"""The command lws-gevent, as a process of its own."""

from __future__ import annotations

import json
import re
import signal
import socket
import time

import pytest
from certificates import certificates
from client import Client
from deflate_peer import DeflatePeer, extensions
from helpers import Stack
from tools import listening, lws_gevent

import lws_gevent as package


def get(address: tuple[str, int], request: str = "GET / HTTP/1.1\r\nHost: localhost") -> tuple[str, str]:
    """The head and the body of the response to a plain HTTP request."""
    with socket.create_connection(address, 10) as connection:
        connection.settimeout(10)
        connection.sendall(request.encode() + b"\r\n\r\n")
        data = b""
        while part := connection.recv(65536):
            data += part
    head, _, body = data.decode().partition("\r\n\r\n")
    return head, body


# Serving


def test_echo_sends_text_as_text_and_binary_as_binary(stack: Stack) -> None:
    with lws_gevent("echo", "--port", "0", stack=stack) as server:
        client = Client.connect(listening(server))
        for message in ("h\u00e9llo", "", b"\x00\xff", b""):
            client.echo(message)
        client.disconnect()


def test_compression_is_for_clients_that_offer_it(stack: Stack) -> None:
    with lws_gevent("echo", "--port", "0", "--compression", stack=stack) as server:
        address = listening(server)
        client = DeflatePeer(Client.connect(address, headers=extensions()))
        client.echo("compressed " * 200)
        assert client.was_compressed
        client.client.disconnect()
        with Client.connect(address) as plain:
            plain.echo("plain " * 200)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert re.search(rb"\), deflate (isal|zlib) \S+\n", server.errors)


def test_broadcast_sends_every_message_to_every_connection(stack: Stack) -> None:
    with lws_gevent("broadcast", "--port", "0", stack=stack) as server:
        address = listening(server)
        clients = [Client.connect(address) for _ in range(3)]
        clients[0].send("to all")
        clients[1].send(b"binary")
        for client in clients:
            assert sorted([client.recv_message(), client.recv_message()], key=str) == [b"binary", "to all"]
            client.disconnect()


def test_the_start_up_lines_name_what_is_in_use(stack: Stack) -> None:
    with lws_gevent("echo", "--port", "0", stack=stack) as server:
        listening(server)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        pattern = rf"lws-gevent \S+ echo: engine {stack.engine}, codec {stack.codec}, loop lib\S+ \(gevent \S+\)\n"
        assert re.fullmatch(pattern, server.errors.decode())
        assert re.fullmatch(r"listening on ws://127\.0\.0\.1:[1-9]\d*\n", server.output.decode())


def test_an_ipv6_address_is_written_as_in_a_url() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with lws_gevent("echo", "--host", "::1", "--port", "0") as server:
        assert re.fullmatch(r"listening on ws://\[::1\]:\d+", server.line())


@pytest.mark.parametrize("command", ["echo", "broadcast"])
def test_with_a_certificate_it_speaks_tls(command: str) -> None:
    context = certificates().client_context()
    with lws_gevent(command, "--port", "0", "--cert", certificates().cert, "--key", certificates().key) as server:
        line = server.line()
        found = re.fullmatch(r"listening on wss://127\.0\.0\.1:(\d+)", line)
        assert found, line
        address = "127.0.0.1", int(found[1])
        with Client.connect(address, tls=context) as client:
            client.echo("secret")
            page = Client.open(address, tls=context)
            assert b"new WebSocket(" in page.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").body
            page.disconnect()
            server.signal(signal.SIGTERM)
            client.expect_close(1001)
        assert server.wait() == 0


def test_a_page_is_served_at_the_root_alone() -> None:
    with lws_gevent("echo", "--port", "0") as server:
        address = listening(server)
        head, body = get(address)
        assert head.startswith("HTTP/1.1 200 ") and "text/html; charset=utf-8" in head
        assert '<input id="message"' in body and 'location.host + "/"' in body
        assert get(address, "GET /favicon.ico HTTP/1.1\r\nHost: localhost")[0].startswith("HTTP/1.1 404 ")


def test_only_the_given_path_upgrades_and_the_page_connects_to_it() -> None:
    with lws_gevent("echo", "--port", "0", "--path", "/chat</script>") as server:
        address = listening(server)
        body = get(address)[1]
        path = re.search(r"location\.host \+ (\".*?\")\);", body)
        assert path is not None and json.loads(path[1]) == "/chat</script>" and "chat</script>" not in body
    with lws_gevent("echo", "--port", "0", "--path", "/chat") as server:
        address = listening(server)
        client = Client.connect(address, "/chat")
        client.echo("here")
        client.disconnect()
        head, _ = get(
            address,
            "GET /elsewhere HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert head.startswith("HTTP/1.1 404 ")


def test_a_message_over_max_payload_closes_with_1009(stack: Stack) -> None:
    with lws_gevent("echo", "--port", "0", "--max-payload", "10", stack=stack) as server:
        client = Client.connect(listening(server))
        client.echo("x" * 10)
        client.send("x" * 11)
        client.expect_close(1009)
        client.disconnect()


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_every_client_with_1001_and_exits_with_0(stack: Stack, number: signal.Signals) -> None:
    with lws_gevent("echo", "--port", "0", stack=stack) as server:
        address = listening(server)
        clients = [Client.connect(address) for _ in range(3)]
        server.signal(number)
        for client in clients:
            assert client.recv_close()[0] == 1001
        with pytest.raises(OSError):
            socket.create_connection(address, 10).close()
        for client in clients:
            client.send_close(1001)
        assert server.wait() == 0
        for client in clients:
            client.disconnect()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    with lws_gevent("echo", "--port", "0") as server:
        client = Client.connect(listening(server))
        server.signal(number)
        assert client.recv_close()[0] == 1001  # which stays unanswered, so that the server waits
        server.signal(number)
        begun = time.monotonic()
        assert server.wait() == -number
        assert time.monotonic() - begun < 9  # without the second signal: close_timeout, 10 s
        client.disconnect()


# What the user can mend


def fails(*arguments: str, extra: dict[str, str] | None = None) -> str:
    """The one line on standard error of a command that exits with 2 and prints nothing else."""
    with lws_gevent(*arguments, extra=extra) as process:
        assert process.wait() == 2, process.printed
        assert process.output == b""
        errors = process.errors.decode()
        assert re.fullmatch(r"lws-gevent: [^\n]+\n", errors), errors
        return errors


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in fails("echo", "--port", str(port))


def test_an_address_that_is_not_ours_is_said_in_one_line() -> None:
    assert "cannot listen on 192.0.2.1:" in fails("echo", "--host", "192.0.2.1", "--port", "0")
    assert "cannot listen on no.such.host.invalid:" in fails("echo", "--host", "no.such.host.invalid", "--port", "0")


def test_a_certificate_that_cannot_be_used_is_said_in_one_line() -> None:
    assert "cannot read cert 'nowhere.pem': No such file" in fails("echo", "--cert", "nowhere.pem")
    assert "cannot use cert " in fails("echo", "--cert", certificates().cert)
    assert "--key needs --cert" in fails("echo", "--key", certificates().key)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "COMMAND"),
        (("ecko",), "ecko"),
        (("echo", "--nonsense"), "--nonsense"),
        (("echo", "surplus"), "surplus"),
        (("echo", "--po", "1"), "--po"),
        (("echo", "--engine", "steam"), "steam"),
        (("echo", "--codec", "rust"), "rust"),
        (("echo", "--port", "http"), "--port"),
        (("echo", "--port", "65536"), "65536"),
        (("echo", "--port", "-1"), "--port"),
        (("echo", "--max-payload", "0"), "--max-payload"),
        (("echo", "--max-payload", "big"), "--max-payload"),
        (("echo", "--path", "chat"), "--path"),
    ],
)
def test_a_bad_argument_is_named_in_one_line(arguments: tuple[str, ...], named: str) -> None:
    assert named in fails(*arguments)


# Help and version


def test_version_names_engine_codec_loop_and_deflate_library() -> None:
    with lws_gevent("--version", extra={"LWS_GEVENT_PURE_PYTHON": "1"}) as process:
        assert process.wait() == 0
        pattern = (
            rf"lws-gevent {re.escape(package.__version__)}: engine (parked|greenlet), codec python, "
            r"loop \S+ \(gevent \S+\), deflate (isal|zlib) \S+\n"
        )
        assert re.fullmatch(pattern, process.output.decode())


def test_help_names_every_command_and_option() -> None:
    with lws_gevent("--help") as process:
        assert process.wait() == 0
        assert b"echo" in process.output and b"broadcast" in process.output
    with lws_gevent("echo", "--help") as process:
        assert process.wait() == 0
        for option in (
            "--host",
            "--port",
            "--path",
            "--engine",
            "--codec",
            "--compression",
            "--max-payload",
            "--cert",
            "--key",
            "--workers",
        ):
            assert option.encode() in process.output
