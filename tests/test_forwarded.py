"""Whom a request comes from: the rightmost address that is not trusted, and never what an untrusted peer wrote."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lws_gevent.forwarded import Networks, client_address

PROXY = ("10.0.0.1", 5000)
TRUSTED = Networks(["10.0.0.0/8", "2001:db8::/32"])
CLIENT = ("192.0.2.7", 0)


def x_forwarded_for(*values: str, peer: tuple[str, int] | str = PROXY, trusted: Networks = TRUSTED) -> object:
    return client_address(peer, values, False, trusted)


def forwarded(*values: str, peer: tuple[str, int] | str = PROXY, trusted: Networks = TRUSTED) -> object:
    return client_address(peer, values, True, trusted)


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        (("10.255.255.255", 1), True),
        (("11.0.0.0", 1), False),
        (("2001:db8::1", 1), True),
        (("2001:db9::1", 1), False),
        (("::ffff:10.0.0.1", 1), False),  # a remote_address is never written so
        ("", False),
        ("/run/socket", False),
        (("no address", 1), False),
    ],
)
def test_networks(address: tuple[str, int] | str, trusted: bool) -> None:
    assert (address in TRUSTED) is trusted


def test_the_peers_of_a_unix_socket_are_trusted_by_name() -> None:
    assert "" in Networks(["unix:"]) and "/run/x" in Networks(["unix:"])
    assert ("10.0.0.1", 1) not in Networks(["unix:"])
    assert x_forwarded_for("192.0.2.7", peer="", trusted=Networks(["unix:"])) == CLIENT


@pytest.mark.parametrize("name", ["10.0.0.1/8", "10.0.0", "example.org", "", "10.0.0.0/33", "*", "::/129"])
def test_what_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="."):
        Networks([name])


@pytest.mark.parametrize("parse", [x_forwarded_for, forwarded])
def test_without_a_header_or_trust_the_peer_is_the_client(parse: object) -> None:
    assert callable(parse)
    prefix = "" if parse is x_forwarded_for else "for="
    assert parse() == PROXY
    assert parse(prefix + "192.0.2.7", peer=("192.0.2.9", 1)) == ("192.0.2.9", 1)
    assert parse(prefix + "192.0.2.7", peer="") == ""


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["192.0.2.7"], CLIENT),
        (["192.0.2.7:1234"], ("192.0.2.7", 1234)),
        (["  192.0.2.7\t"], CLIENT),
        (["198.51.100.1, 192.0.2.7"], CLIENT),
        (["198.51.100.1", "192.0.2.7"], CLIENT),
        (["192.0.2.7, 10.0.0.2"], CLIENT),
        (["198.51.100.1,192.0.2.7,10.0.0.2,10.0.0.3"], CLIENT),
        (["10.0.0.3,10.0.0.2"], ("10.0.0.3", 0)),  # nobody but proxies
        (["2001:db8::5"], ("2001:db8::5", 0)),
        (["2001:DB9::0005"], ("2001:db9::5", 0)),
        (["[2001:db9::5]"], ("2001:db9::5", 0)),
        (["[2001:db9::5]:65535"], ("2001:db9::5", 65535)),
        (["::ffff:192.0.2.7"], CLIENT),
        (["unknown"], PROXY),
        (["192.0.2.7, unknown"], PROXY),
        (["192.0.2.7, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        (["192.0.2.7, "], PROXY),
        ([""], PROXY),
        (["192.0.2.7:"], PROXY),
        (["192.0.2.7:65536"], PROXY),
        (["192.0.2.7:x"], PROXY),
        (["192.0.2.007"], PROXY),
        (["192.0.2"], PROXY),
        (["0.0.0.0"], PROXY),
        (["fe80::1%eth0"], PROXY),
        (["[192.0.2.7]:1"], ("192.0.2.7", 1)),
        (["[2001:db9::5"], PROXY),
        (['"192.0.2.7"'], PROXY),
        (["for=192.0.2.7"], PROXY),
        (["\xb2.0.2.7"], PROXY),
    ],
)
def test_x_forwarded_for(values: list[str], client: tuple[str, int]) -> None:
    assert x_forwarded_for(*values) == client


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["for=192.0.2.7"], CLIENT),
        (["For=192.0.2.7;proto=https;by=10.0.0.1"], CLIENT),
        (["proto=https; for = 192.0.2.7"], PROXY),
        (["proto=https; for=192.0.2.7 ;by=_x"], CLIENT),
        (['for="192.0.2.7:1234"'], ("192.0.2.7", 1234)),
        (['for="[2001:db9::5]:1234"'], ("2001:db9::5", 1234)),
        (['for="\\192.0.2.7"'], CLIENT),
        (["for=198.51.100.1, for=192.0.2.7"], CLIENT),
        (["for=198.51.100.1", "for=192.0.2.7", "for=10.0.0.2"], CLIENT),
        (['for="_a,b;c", for=192.0.2.7'], CLIENT),
        (["for=unknown"], PROXY),
        (["for=_hidden"], PROXY),
        (["for=192.0.2.7, for=_hidden"], PROXY),
        (["for=192.0.2.7, proto=https"], PROXY),
        (["for=192.0.2.7;for=192.0.2.8"], PROXY),
        (["for=192.0.2.7,"], PROXY),
        (["for=[2001:db9::5]"], PROXY),  # must be quoted
        (["192.0.2.7"], PROXY),
        ([""], PROXY),
        (["for="], PROXY),
        (['for="192.0.2.7'], PROXY),
        (['for="192.0.2.7"x'], PROXY),
        (['x=", for=192.0.2.7'], PROXY),  # a quotation mark cannot swallow what the proxy adds
        (['for=198.51.100.1;x=", for="[2001:db9::5]"'], PROXY),
    ],
)
def test_forwarded(values: list[str], client: tuple[str, int]) -> None:
    assert forwarded(*values) == client


TEXT = st.text(st.sampled_from('1234567890.:,;="[] forFOR\\abcdef\t\xb2-_'), max_size=60)


@given(left=TEXT, standard=st.booleans())
@example(left='for="', standard=True)
@settings(max_examples=500, deadline=None)
def test_what_a_client_writes_never_changes_more_than_hiding_its_address(left: str, standard: bool) -> None:
    """The proxy adds the client's address on the right, to what the client has sent or behind it."""
    added = 'for="192.0.2.7:80";proto=https' if standard else "192.0.2.7:80"
    for values in ([left + ", " + added], [left, added]):
        found = client_address(PROXY, values, standard, TRUSTED)
        assert found in (("192.0.2.7", 80), PROXY)
        if not standard:
            assert found == ("192.0.2.7", 80)


@given(text=TEXT, standard=st.booleans())
@settings(max_examples=500, deadline=None)
def test_whatever_comes_is_an_address(text: str, standard: bool) -> None:
    host, port = client_address(PROXY, [text], standard, TRUSTED)
    assert str(ipaddress.ip_address(host)) == host and 0 <= int(port) <= 65535
