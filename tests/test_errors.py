"""The exceptions of the library."""

from __future__ import annotations

import copy
import pickle

import pytest

from lws_gevent import errors
from lws_gevent.errors import (
    BackpressureExceeded,
    ConnectionClosed,
    HandshakeError,
    LwsError,
    PayloadTooBig,
    ProtocolError,
)

ALL = [
    LwsError("x"),
    ConnectionClosed(1001, "going"),
    HandshakeError(401, {"A": "b"}, b"body", "no"),
    ProtocolError(1007, "not UTF-8"),
    PayloadTooBig(),
    BackpressureExceeded("full"),
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_every_error_is_an_lws_error_and_can_be_copied_and_pickled(error: LwsError) -> None:
    assert isinstance(error, LwsError)
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert (other.args, str(other), vars(other)) == (error.args, str(error), vars(error))


def test_every_public_error_is_listed() -> None:
    assert {type(error).__name__ for error in ALL} == set(errors.__all__)


def test_connection_closed_carries_code_and_reason() -> None:
    error = ConnectionClosed(1001, "bye")
    assert (error.code, error.reason) == (1001, "bye")
    assert "1001" in str(error) and "bye" in str(error)
    assert (ConnectionClosed().code, ConnectionClosed().reason) == (1006, "")


def test_a_reason_of_the_peer_cannot_forge_lines_in_a_log() -> None:
    assert "\n" not in str(ConnectionClosed(1000, "x\nERROR root: all is lost"))


def test_handshake_error_carries_the_response() -> None:
    error = HandshakeError(403, {"X": "y"}, b"no", "not allowed")
    assert (error.status, error.headers, error.body, error.problem) == (403, {"X": "y"}, b"no", "not allowed")
    assert "403" in str(error) and "not allowed" in str(error)
    assert HandshakeError(400).headers == {} and HandshakeError(400).body == b""


def test_a_handshake_error_does_not_show_the_body_of_the_peer() -> None:
    assert "secret" not in str(HandshakeError(401, {}, b"secret"))


def test_protocol_errors_carry_their_close_code() -> None:
    assert ProtocolError().close_code == 1002
    assert ProtocolError(1008, "too many").close_code == 1008
    assert "too many" in str(ProtocolError(1008, "too many")) and "1008" in str(ProtocolError(1008))


def test_a_payload_too_big_is_a_protocol_error_of_code_1009() -> None:
    assert issubclass(PayloadTooBig, ProtocolError)
    assert PayloadTooBig().close_code == 1009 and "1009" in str(PayloadTooBig())
