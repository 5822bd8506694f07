"""The client: `lws_gevent.connect` and `lws_gevent.Client`, against our server and against servers of raw octets."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from certificates import certificates
from client import BINARY, TEXT, encode
from gevent import socket
from gevent.threadpool import ThreadPool
from helpers import Stack, eventually, turns
from raw_server import accept, drain, header_of, read_head, url_of

import lws_gevent
from lws_gevent.handshake import accept_key

# --- blocking style ---------------------------------------------------------------------------------------------------


def test_messages_go_both_ways(make_server: Any, opened: Any) -> None:
    server = make_server(echo=True)
    sock = opened(url_of(server, "/chat?room=1"))
    assert (sock.path, sock.query, sock.subprotocol, sock.extensions) == ("/chat", "room=1", None, "")
    assert sock.remote_address == ("127.0.0.1", server.port) and sock.ready_state == lws_gevent.ReadyState.OPEN
    for message in ("", "text \u20ac", b"", b"octets", b"x" * 125, b"y" * 126, "z" * 70000, b"\x00\xff" * 300000):
        assert sock.send(message) is True
        assert sock.recv(5) == message
    sock.close()
    eventually(lambda: sock.closed)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 1023, 1024, 2047, 2048, 2049, 16384, 16385, 65535, 65536, 200000])
def test_frames_of_every_size_are_masked(opened: Any, raw_server: Any, length: int) -> None:
    received: list[bytes] = []

    def handle(sock: Any) -> None:
        accept(sock)
        received.append(drain(sock))

    server = raw_server(handle)
    payload = bytes(range(256)) * (length // 256 + 1)
    payload = payload[:length]
    sock = opened(url_of(server), close_timeout=0.1)
    sock.send(payload)
    sock.close(1000)
    eventually(lambda: received)
    data = received[0]
    assert data[0] == 0x82 and data[1] & 0x80
    extended = {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
    shown = int.from_bytes(data[2 : 2 + extended], "big") if extended else data[1] & 0x7F
    assert shown == length
    key = data[2 + extended : 6 + extended]
    body = data[6 + extended : 6 + extended + length]
    assert bytes(octet ^ key[index % 4] for index, octet in enumerate(body)) == payload
    assert len(data) == 6 + extended + length + 8 and data[6 + extended + length] == 0x88


def test_iteration_ends_with_the_connection(make_server: Any, opened: Any) -> None:
    server = make_server()

    @server.on("connection")
    def connection(sock: Any) -> None:
        for number in range(3):
            sock.send(str(number))
        sock.close(1001)

    assert list(opened(url_of(server))) == ["0", "1", "2"]


def test_messages_before_a_close_are_not_lost_when_receiving_begins_late(make_server: Any, opened: Any) -> None:
    server = make_server()

    @server.on("connection")
    def connection(sock: Any) -> None:
        sock.send("first")
        sock.send(b"second")
        sock.close(4000, "done")

    sock = opened(url_of(server))
    eventually(lambda: sock.closed or sock.ready_state > lws_gevent.ReadyState.OPEN)
    turns()
    assert [sock.recv(5), sock.recv(5)] == ["first", b"second"]
    with pytest.raises(lws_gevent.ConnectionClosed) as caught:
        sock.recv(5)
    assert (caught.value.code, caught.value.reason) == (4000, "done")


def test_a_block_closes_and_waits_for_the_end(make_server: Any, opened: Any) -> None:
    server = make_server(echo=True)
    closes: list[Any] = []
    server.on("close", lambda sock, code, reason: closes.append((code, reason)))
    with opened(url_of(server)) as sock:
        sock.send("hello")
        assert sock.recv(5) == "hello"
    assert sock.closed and sock.fd == -1 and closes == [(1000, "")]
    with pytest.raises(ZeroDivisionError), opened(url_of(server)):
        raise ZeroDivisionError
    assert closes[1:] == [(1011, "")]


def test_octets_behind_the_handshake_are_received(opened: Any, raw_server: Any) -> None:
    def handle(sock: Any) -> None:
        head = read_head(sock)
        key = accept_key(header_of(head, "Sec-WebSocket-Key"))
        upgrade = "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        sock.sendall(
            f"{upgrade}Sec-WebSocket-Accept: {key}\r\n\r\n".encode()
            + encode(TEXT, "at once", mask=False)
            + encode(BINARY, b"x" * 300, mask=False)
        )
        drain(sock)

    sock = opened(url_of(raw_server(handle)), close_timeout=0.1)
    assert sock.recv(5) == "at once" and sock.recv(5) == b"x" * 300


def test_pings_are_answered_and_may_be_sent(make_server: Any, opened: Any) -> None:
    server = make_server()
    pongs: list[bytes] = []
    server.on("pong", lambda sock, data: pongs.append(data))
    server.on("connection", lambda sock: sock.ping(b"are you there"))
    sock = opened(url_of(server))
    eventually(lambda: pongs == [b"are you there"])
    sock.ping(b"and you")
    sock.close()


# --- closing ----------------------------------------------------------------------------------------------------------


def test_the_server_ends_the_tcp_connection_first(opened: Any, raw_server: Any) -> None:
    may_end = gevent.event.Event()
    seen: list[Any] = []

    def handle(sock: Any) -> None:
        accept(sock)
        sock.recv(100)  # the close frame
        sock.sendall(encode(8, (1000).to_bytes(2, "big"), mask=False))
        with gevent.Timeout(0.1, False):
            seen.append(sock.recv(100))
        may_end.wait()

    sock = opened(url_of(raw_server(handle)))
    sock.close()
    turns(50)
    assert not seen and sock.ready_state == lws_gevent.ReadyState.CLOSING
    may_end.set()
    eventually(lambda: sock.ready_state == lws_gevent.ReadyState.CLOSED)
    assert not seen


def test_a_server_that_does_not_end_it_is_waited_for_no_longer_than_close_timeout(opened: Any, raw_server: Any) -> None:
    ended: list[bytes] = []

    def handle(sock: Any) -> None:
        accept(sock)
        sock.sendall(encode(8, (4001).to_bytes(2, "big") + b"bye", mask=False))
        ended.append(drain(sock))

    sock = opened(url_of(raw_server(handle)), close_timeout=0.2)
    with pytest.raises(lws_gevent.ConnectionClosed) as caught:
        sock.recv(5)
    assert (caught.value.code, caught.value.reason) == (4001, "bye")
    eventually(lambda: ended)
    assert len(ended[0]) == 6 + 2 + len("bye") and ended[0][0] == 0x88  # its close, echoed


def test_a_server_that_vanishes(opened: Any, raw_server: Any) -> None:
    sock = opened(url_of(raw_server(lambda sock: accept(sock) and None)))
    with pytest.raises(lws_gevent.ConnectionClosed) as caught:
        sock.recv(5)
    assert caught.value.code == 1006


def test_masked_frames_of_a_server_are_a_protocol_error(opened: Any, raw_server: Any) -> None:
    closed: list[bytes] = []

    def handle(sock: Any) -> None:
        accept(sock)
        sock.sendall(encode(TEXT, "masked"))
        closed.append(drain(sock))

    sock = opened(url_of(raw_server(handle)))
    with pytest.raises(lws_gevent.ConnectionClosed) as caught:
        sock.recv(5)
    assert caught.value.code == 1002
    eventually(lambda: closed)
    key = closed[0][2:6]
    assert closed[0][:2] == b"\x88\x82" and bytes((closed[0][6] ^ key[0], closed[0][7] ^ key[1])) == b"\x03\xea"


def test_a_server_that_goes_silent_is_noticed(opened: Any, raw_server: Any) -> None:
    def handle(sock: Any) -> None:
        accept(sock)
        gevent.sleep(60)

    sock = opened(url_of(raw_server(handle)), ping_interval=0.3, ping_timeout=0.3)
    with pytest.raises(lws_gevent.ConnectionClosed) as caught:
        sock.recv(20)
    assert caught.value.code == 1006


# --- callback style ---------------------------------------------------------------------------------------------------


def test_events_come_in_order_with_the_data_of_their_connection(make_server: Any, make_client: Any) -> None:
    server = make_server(subprotocols=["b"])

    @server.on("connection")
    def greet(sock: Any) -> None:
        sock.send("welcome")

    @server.on("message")
    def close(sock: Any, message: Any) -> None:
        sock.close(4000, message)

    events: list[Any] = []
    client = make_client(subprotocols=["a", "b"])
    client.on("upgrade", lambda sock, headers: events.append(("upgrade", sock.data, headers["upgrade"])))
    client.on("connection", lambda sock: events.append(("connection", sock.data, sock.subprotocol)))
    client.on("close", lambda sock, code, reason: events.append(("close", sock.data, code, reason)))

    @client.on("message")
    def message(sock: Any, message: Any, binary: bool) -> None:
        events.append(("message", sock.data, message))
        client.send(sock, "goodbye")

    sock = client.connect(url_of(server), data="mine")
    assert client.connections == [sock]
    eventually(lambda: len(events) == 4)
    assert events == [
        ("upgrade", "mine", "websocket"),
        ("connection", "mine", "b"),
        ("message", "mine", "welcome"),
        ("close", "mine", 4000, "goodbye"),
    ]


def test_nothing_is_delivered_before_a_blocked_connection_handler_returns(make_server: Any, make_client: Any) -> None:
    server = make_server()
    server.on("connection", lambda sock: sock.send("early"))
    client = make_client()
    may_go_on = gevent.event.Event()
    events: list[str] = []

    @client.on("connection")
    def connection(sock: Any) -> None:
        events.append("begun")
        may_go_on.wait()
        events.append("returned")

    client.on("message", lambda sock, message: events.append(message))
    client.connect(url_of(server))
    eventually(lambda: events == ["begun"])
    turns()
    assert events == ["begun"]
    may_go_on.set()
    eventually(lambda: events == ["begun", "returned", "early"])


def test_a_connection_handler_that_claims_its_socket_and_returns_closes_it(make_server: Any, make_client: Any) -> None:
    server = make_server(echo=True)
    closes: list[int] = []
    server.on("close", lambda sock, code: closes.append(code))
    client = make_client()
    received: list[Any] = []

    @client.on("connection")
    def connection(sock: Any) -> None:
        sock.send("hello")
        received.append(sock.recv(5))

    client.connect(url_of(server))
    eventually(lambda: closes == [1000])
    assert received == ["hello"]


def test_many_connections_of_one_client(make_server: Any, make_client: Any, stack: Stack) -> None:
    server = make_server(echo=True)
    client = make_client()
    received: list[Any] = []
    client.on("message", lambda sock, message: received.append((sock.data, message)))
    sockets = [client.connect(url_of(server), data=number) for number in range(200)]
    for sock in sockets:
        client.send(sock, str(sock.data))
    eventually(lambda: len(received) == 200)
    assert sorted(received) == sorted((number, str(number)) for number in range(200))
    assert client.stats()["connections"] == 200


def test_broadcast_and_prepared_messages_are_masked_anew_for_each(make_server: Any, make_client: Any) -> None:
    server = make_server()
    received: list[Any] = []
    server.on("message", lambda sock, message: received.append(message))
    client = make_client()
    sockets = [client.connect(url_of(server)) for _ in range(3)]
    prepared = client.prepare_buffer("all of you" * 300)
    assert client.broadcast(prepared) == 3
    assert client.send_prepared(sockets[0], prepared) is True
    assert client.send_prepared(sockets[0], prepared, True) is True
    client.send_fragment(sockets[1], "one ", False)
    client.send_fragment(sockets[1], "message", True)
    eventually(lambda: len(received) == 6)
    assert received.count("all of you" * 300) == 4 and received.count(b"all of you" * 300) == 1
    assert received.count("one message") == 1


def test_stop_closes_every_connection_and_the_client_can_connect_anew(make_server: Any, make_client: Any) -> None:
    server = make_server(echo=True)
    closes: list[int] = []
    server.on("close", lambda sock, code: closes.append(code))
    client = make_client()
    for _ in range(5):
        client.connect(url_of(server))
    client.stop(code=1001)
    eventually(lambda: closes == [1001] * 5)
    assert client.connections == []
    sock = client.connect(url_of(server))
    sock.send("again")
    assert sock.recv(5) == "again"


def test_a_client_as_a_context_manager_stops(make_server: Any, stack: Stack) -> None:
    server = make_server()
    with lws_gevent.Client(engine=stack.engine) as client:
        sock = client.connect(url_of(server))
    assert sock.closed


def test_errors_of_handlers_are_events(make_server: Any, make_client: Any) -> None:
    server = make_server(echo=True)
    client = make_client()
    errors: list[Any] = []
    client.on("error", lambda error, sock: errors.append((str(error), sock)))

    @client.on("message")
    def message(sock: Any, message: Any) -> None:
        raise ValueError("mine")

    sock = client.connect(url_of(server))
    sock.send("x")
    eventually(lambda: errors)
    assert errors == [("mine", sock)]
    eventually(lambda: sock.closed)


def test_two_clients_and_a_server_in_one_program(make_server: Any, make_client: Any) -> None:
    server = make_server(echo=True)
    first, second = make_client(), make_client()
    for client in (first, second):
        client.on("message", lambda sock, message: sock.data.append(message))
    here: list[Any] = []
    there: list[Any] = []
    first.connect(url_of(server), data=here).send("1")
    second.connect(url_of(server), data=there).send("2")
    eventually(lambda: here == ["1"] and there == ["2"])
    first.stop()
    assert len(second.connections) == 1 and len(server.connections) >= 1


# --- handshakes -------------------------------------------------------------------------------------------------------


def test_what_the_server_sees_of_the_request(make_server: Any, opened: Any) -> None:
    server = make_server(subprotocols=["chat"])
    seen: list[Any] = []
    server.on("upgrade", lambda sock, headers: seen.append(headers))
    sock = opened(
        f"ws://user:secret@127.0.0.1:{server.port}/",
        subprotocols=["chat", "other"],
        headers={"X-Mine": "1", "Cookie": "a=b"},
        origin="https://example.org",
    )
    headers = seen[0]
    assert sock.subprotocol == "chat"
    assert headers["host"] == f"127.0.0.1:{server.port}" and headers["origin"] == "https://example.org"
    assert headers["authorization"] == "Basic dXNlcjpzZWNyZXQ=" and headers["x-mine"] == "1"
    assert headers["sec-websocket-protocol"] == "chat, other" and headers["user-agent"].startswith("lws_gevent/")


def test_options_of_one_connection(make_server: Any, make_client: Any) -> None:
    server = make_server(subprotocols=["a", "b"])
    client = make_client(subprotocols=["a"], headers={"X": "1"})
    seen: list[Any] = []
    server.on("upgrade", lambda sock, headers: seen.append(headers.get("X")))
    assert client.connect(url_of(server)).subprotocol == "a"
    assert client.connect(url_of(server), subprotocols=["b"], headers=[("X", "2")]).subprotocol == "b"
    assert seen == ["1", "2"]
    with pytest.raises(TypeError, match="option of the Client"):
        client.connect(url_of(server), max_payload=5)
    with pytest.raises(TypeError, match="unknown"):
        client.connect(url_of(server), nonsense=5)


def test_a_refusal_carries_the_answer(make_server: Any, opened: Any) -> None:
    server = make_server()
    server.on("upgrade", lambda sock, headers: (401, {"WWW-Authenticate": "Basic"}, "who are you"))
    with pytest.raises(lws_gevent.HandshakeError) as caught:
        opened(url_of(server))
    assert caught.value.status == 401 and caught.value.headers["www-authenticate"] == "Basic"
    assert caught.value.body == b"who are you" and "401" in str(caught.value)


def test_nobody_listens(opened: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{port}"):
        opened(f"ws://127.0.0.1:{port}")


def test_a_name_without_addresses_is_named(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*arguments: Any, **named: Any) -> Any:
        raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(stdlib_socket.gaierror, match="cannot look up example.test: Name or service") as raised:
        opened("ws://example.test:3000")
    assert raised.value.errno == stdlib_socket.EAI_NONAME


def test_unix_sockets(make_server: Any, opened: Any, tmp_path: Any) -> None:
    path = tmp_path / "server.sock"
    make_server(f"unix:{path}", echo=True)
    for url in (f"unix:{path}", f"ws+unix://{path}:/chat?x=1"):
        with opened(url) as sock:
            sock.send("local")
            assert sock.recv(5) == "local"
    assert (sock.path, sock.query) == ("/chat", "x=1")
    with pytest.raises(FileNotFoundError, match="nothing.sock"):
        opened(f"unix:{tmp_path}/nothing.sock")


def test_every_address_of_a_name_is_tried(make_server: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(echo=True)
    # 127.0.0.2 and ::1 refuse at once; 240.0.0.1 cannot be reached, or never answers.
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", server.port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("240.0.0.1", server.port)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", server.port)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: found)
    with opened(f"ws://example.test:{server.port}") as sock:
        sock.send("found")
        assert sock.recv(5) == "found"
    found[:] = found[:1] + found[2:3]
    with pytest.raises(ConnectionRefusedError, match="example.test"):
        opened(f"ws://example.test:{server.port}")


def test_the_timeout_is_for_the_whole_handshake(opened: Any, raw_server: Any) -> None:
    def handle(sock: Any) -> None:
        read_head(sock)
        for octet in b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 1000:
            sock.sendall(bytes((octet,)))
            gevent.sleep(0.02)

    server = raw_server(handle)
    with pytest.raises(TimeoutError, match="0.3 s"):
        opened(url_of(server), timeout=0.3)
    eventually(lambda: all(handler.dead for handler in server.handlers))


def test_a_connected_socket_can_be_given(make_server: Any, opened: Any) -> None:
    server = make_server(echo=True)
    for module in (socket, stdlib_socket):
        ours = module.create_connection(("127.0.0.1", server.port))
        with opened("ws://example.org/given", socket=ours) as sock:
            assert ours.fileno() == -1
            sock.send("x")
            assert sock.recv(5) == "x"


def test_a_killed_connect_leaves_nothing_open(raw_server: Any, make_client: Any, spawn: Any) -> None:
    connected = gevent.event.Event()
    ended = gevent.event.Event()

    def handle(sock: Any) -> None:
        read_head(sock)
        connected.set()
        drain(sock)
        ended.set()

    server = raw_server(handle)
    greenlet = spawn(make_client().connect, url_of(server))
    connected.wait(10)
    greenlet.kill()
    assert ended.wait(10)


TAKEOVER = {"server_no_context_takeover": False, "client_no_context_takeover": False}


@pytest.mark.parametrize("compression", [True, TAKEOVER], ids=["none", "takeover"])
def test_compression(make_server: Any, make_client: Any, compression: Any) -> None:
    server = make_server(echo=True, per_message_deflate=compression)
    client = make_client(per_message_deflate=compression)
    received: list[Any] = []
    client.on("message", lambda sock, message: received.append(message))
    sock = client.connect(url_of(server))
    assert sock.extensions.startswith("permessage-deflate")
    text = "all work and no play makes jack a dull boy " * 500
    sent: list[Any] = [text, text.encode(), "short", b"", text * 20]
    for message in sent:
        client.send(sock, message)
    client.send_prepared(sock, client.prepare_buffer(text))
    client.broadcast(text)
    client.send(sock, text, compress=False)
    client.send_fragment(sock, text, False)
    client.send_fragment(sock, text, True)
    eventually(lambda: len(received) == 9)
    assert received == [*sent, text, text, text, text * 2]
    assert client.stats()["octets_received"] < 3 * len(text)


def test_a_server_that_declines_compression(make_server: Any, opened: Any) -> None:
    sock = opened(url_of(make_server(echo=True)), per_message_deflate=True)
    assert sock.extensions == ""
    sock.send("x" * 5000)
    assert sock.recv(5) == "x" * 5000


def test_tls(make_server: Any, make_client: Any, opened: Any) -> None:
    server = make_server(echo=True, ssl=certificates().options)
    options = {"ssl": {"ca": str(certificates().ca)}}
    url = f"wss://localhost:{server.port}/secret"
    with opened(url, **options) as sock:
        for message in ("text", b"octets" * 100_000, ""):
            sock.send(message)
            assert sock.recv(5) == message
    client = make_client(**options)
    received: list[Any] = []
    client.on("message", lambda sock, message: received.append((sock.data, message)))
    for number in range(20):
        client.connect(url, data=number).send(str(number))
    eventually(lambda: len(received) == 20)
    assert sorted(received) == [(number, str(number)) for number in range(20)]
    client.stop()
    assert client.connections == []


# --- redirects --------------------------------------------------------------------------------------------------------


def redirecting(location: str, status: int = 302) -> Callable[[Any], None]:
    def handle(sock: Any) -> None:
        read_head(sock)
        sock.sendall(f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        drain(sock)

    return handle


def test_redirects_are_refused_unless_they_are_asked_for(opened: Any, raw_server: Any) -> None:
    server = raw_server(redirecting("/elsewhere"))
    with pytest.raises(lws_gevent.HandshakeError) as caught:
        opened(url_of(server))
    assert caught.value.status == 302 and caught.value.headers["location"] == "/elsewhere"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_when_they_are(make_server: Any, opened: Any, raw_server: Any, status: int) -> None:
    server = make_server(echo=True)
    first = raw_server(redirecting(f"http://127.0.0.1:{server.port}/there", status))
    sock = opened(url_of(first), follow_redirects=True)
    assert sock.path == "/there"


# --- forks and threads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgotten", [False, True], ids=["a client", "connect"])
def test_a_forked_child_has_no_connections_and_harms_none(
    make_server: Any, make_client: Any, opened: Any, forgotten: bool
) -> None:
    server = make_server(echo=True)
    client = make_client()
    sock = opened(url_of(server)) if forgotten else client.connect(url_of(server))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if sock.closed and client.connections == [] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    sock.send("still there")
    assert sock.recv(5) == "still there"


def test_another_thread_is_told_to_use_run_threadsafe(make_server: Any, make_client: Any) -> None:
    server = make_server(echo=True)
    client = make_client()
    with pytest.raises(RuntimeError):
        client.run_threadsafe(print)
    sock = client.connect(url_of(server))
    errors: list[Any] = []

    def elsewhere() -> None:
        for function in (lambda: client.connect(url_of(server)), lambda: sock.send("x"), client.stop):
            try:
                function()
            except RuntimeError as error:
                errors.append("run_threadsafe" in str(error))
        client.run_threadsafe(sock.send, "from a thread")

    threads = ThreadPool(1)  # of its own: the hub that its thread has made ends with it
    try:
        threads.apply(elsewhere)
    finally:
        threads.kill()
    assert errors == [True, True, True]
    assert sock.recv(5) == "from a thread"


def test_options_are_checked_at_once() -> None:
    for wrong, kind in (
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": ["a b"]}, ValueError),
        ({"headers": {"X": "a\r\nb"}}, ValueError),
        ({"headers": {"X": 1}}, TypeError),
        ({"origin": "a\nb"}, ValueError),
        ({"proxy": "ftp://x"}, ValueError),
        ({"proxy": 5}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": "10"}, TypeError),
        ({"max_redirects": 11}, ValueError),
        ({"follow_redirects": 1}, TypeError),
        ({"max_payload": 0}, ValueError),
        ({"port": 80}, TypeError),
        ({"ssl": True}, TypeError),
        ({"engine": "other"}, ValueError),
    ):
        with pytest.raises(kind, match=next(iter(wrong))):
            lws_gevent.Client(**wrong)


def test_unknown_events_are_refused(make_client: Any) -> None:
    with pytest.raises(ValueError, match="http"):
        make_client().on("http", print)
