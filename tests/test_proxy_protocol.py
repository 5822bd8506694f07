"""The parser of the PROXY protocol: strict, bounded, and the same for every way in which the octets arrive."""

from __future__ import annotations

import ipaddress
import random
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lws_gevent.proxy_protocol import MAX_HEADER, ProxyHeader, parse_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_2(command: int = 0x21, family: int = 0x11, body: bytes = b"", size: int | None = None) -> bytes:
    return SIGNATURE + bytes((command, family)) + (len(body) if size is None else size).to_bytes(2, "big") + body


def tcp4(source: str, port: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + port.to_bytes(2, "big") + b"\0\x50"


def tcp6(source: str, port: int) -> bytes:
    return socket.inet_pton(socket.AF_INET6, source) + bytes(15) + b"\1" + port.to_bytes(2, "big") + b"\0\x50"


GOOD: list[tuple[bytes, tuple[str, int] | None]] = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", ("192.0.2.7", 56324)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 0 0\r\n", ("192.0.2.7", 0)),
    (b"PROXY TCP4 0.0.0.0 10.0.0.1 0 0\r\n", None),
    (b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n", ("2001:db8::7", 56324)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 443\r\n", ("192.0.2.7", 56324)),
    (
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
    (version_2(body=tcp4("192.0.2.7", 56324)), ("192.0.2.7", 56324)),
    (version_2(family=0x21, body=tcp6("2001:db8::7", 56324)), ("2001:db8::7", 56324)),
    (version_2(family=0x21, body=tcp6("::ffff:192.0.2.7", 1)), ("192.0.2.7", 1)),
    (version_2(family=0x21, body=tcp6("::", 1)), None),
    (version_2(body=tcp4("192.0.2.7", 1) + b"\x04\0\1x"), ("192.0.2.7", 1)),  # an extension, which is passed over
    (version_2(family=0x12, body=tcp4("192.0.2.7", 1)), None),  # datagrams
    (version_2(family=0x31, body=bytes(216)), None),  # unix sockets
    (version_2(family=0), None),
    (version_2(family=0, body=b"whatever"), None),
    (version_2(command=0x20, family=0), None),
    (version_2(command=0x20, family=0x11), None),  # the addresses of LOCAL are to be ignored
    (version_2(body=tcp4("192.0.2.7", 1) + bytes(MAX_HEADER - 28)), ("192.0.2.7", 1)),
]

BAD = [
    b"GET / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"\x16\x03\x01",  # TLS
    b"P" * 4,
    b"PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 1\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 2\r\n",
    b"PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 ::1 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    b"PROXY TCP7 192.0.2.7 10.0.0.1 1 2\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY unknown\r\n",
    b"proxy UNKNOWN\r\n",
    b"PROXY TCP4 192.0.2.\xb2 10.0.0.1 1 2\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 100,
    SIGNATURE + b"\x11",
    SIGNATURE + b"\x22",
    SIGNATURE + b"\x21\x13",
    SIGNATURE + b"\x21\x41",
    version_2(body=tcp4("192.0.2.7", 1)[:-1]),
    version_2(family=0x21, body=tcp6("::1", 1)[:-1]),
    version_2(family=0x31, body=bytes(215)),
    version_2(size=MAX_HEADER - 15),
    version_2(size=65535),
    version_2(command=0x20, family=0, size=65535),
]


@pytest.mark.parametrize(("data", "address"), GOOD)
def test_a_header_gives_the_address_of_the_client(data: bytes, address: tuple[str, int] | None) -> None:
    assert parse_proxy_header(data) == ProxyHeader(address, len(data))
    assert parse_proxy_header(data + b"GET / HTTP/1.1\r\n") == ProxyHeader(address, len(data))


@pytest.mark.parametrize(("data", "address"), GOOD)
def test_every_beginning_of_a_header_asks_for_more(data: bytes, address: tuple[str, int] | None) -> None:
    assert [end for end in range(len(data)) if parse_proxy_header(data[:end]) is not None] == []


@pytest.mark.parametrize("data", BAD)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY"):
        parse_proxy_header(data)


@pytest.mark.parametrize("data", BAD)
def test_an_error_is_final(data: bytes) -> None:
    """What was refused is not accepted with more octets behind it, so that it does not matter how they arrive."""
    for more in (b"\r\n", b"\n", bytes(20000)):
        with pytest.raises(ValueError, match="PROXY"):
            parse_proxy_header(data + more)


def judged(data: bytes) -> object:
    try:
        return parse_proxy_header(data)
    except ValueError:
        return ValueError


SEEDS = st.sampled_from([data for data, _ in GOOD] + BAD)
OCTETS = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda rest: SIGNATURE + rest, st.binary(max_size=300)),
    st.builds(lambda rest: b"PROXY " + rest, st.binary(max_size=120)),
    st.builds(
        lambda data, at, new, rest: data[: at % len(data)] + new + data[at % len(data) + 1 :] + rest,
        SEEDS,
        st.integers(0, 4096),
        st.binary(max_size=2),
        st.binary(max_size=20),
    ),
)


@given(data=OCTETS)
@example(data=b"")
@settings(max_examples=500, deadline=None)
def test_whatever_comes_is_judged_the_same_octet_by_octet(data: bytes) -> None:
    whole = judged(data)
    assert whole is None or whole is ValueError or isinstance(whole, ProxyHeader)
    if isinstance(whole, ProxyHeader):
        assert 0 < whole.length <= min(len(data), MAX_HEADER)
        if whole.address is not None:
            host, port = whole.address
            assert str(ipaddress.ip_address(host)) == host and 0 <= port <= 65535
    first = next((result for end in range(len(data) + 1) if (result := judged(data[:end])) is not None), None)
    assert first == whole


@given(seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_never_is_more_wanted_than_the_bound(seed: int) -> None:
    data = random.Random(seed).randbytes(MAX_HEADER)
    for begin in (b"", b"PROXY ", b"PROXY UNKNOWN ", SIGNATURE, SIGNATURE + b"\x21\x11", SIGNATURE + b"\x20\0"):
        assert judged(begin + data) is not None
