"""Close codes and the payload of close frames."""

from __future__ import annotations

from typing import Any

import pytest

from lws_gevent.frames import CloseCode, Opcode, ReadyState, Role, close_code_is_valid, close_payload


def test_the_numbers_are_those_of_the_rfc() -> None:
    assert [(opcode.name, opcode.value) for opcode in Opcode] == [
        ("CONTINUATION", 0),
        ("TEXT", 1),
        ("BINARY", 2),
        ("CLOSE", 8),
        ("PING", 9),
        ("PONG", 10),
    ]
    assert (Role.SERVER, Role.CLIENT) == (0, 1)
    assert [state.name for state in sorted(ReadyState)] == ["CONNECTING", "OPEN", "CLOSING", "CLOSED"]
    assert [int(state) for state in sorted(ReadyState)] == [0, 1, 2, 3]


def test_exactly_the_codes_that_may_be_sent_are_valid() -> None:
    valid = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(-5, 70_000) if close_code_is_valid(code)} == valid


def test_every_named_code_but_the_reported_ones_is_valid() -> None:
    reported_only = {CloseCode.NO_STATUS_RECEIVED, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE}
    assert {code for code in CloseCode if not close_code_is_valid(code)} == reported_only


def test_a_payload_is_the_code_and_the_reason_in_utf8() -> None:
    assert close_payload(1000) == b"\x03\xe8"
    assert close_payload(CloseCode.GOING_AWAY, "grün") == b"\x03\xe9gr\xc3\xbcn"
    assert close_payload(4999, "x" * 123) == b"\x13\x87" + b"x" * 123
    assert close_payload(None) == b""


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 10**30])
def test_a_code_that_may_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        close_payload(code)


@pytest.mark.parametrize("reason", ["x" * 124, "ß" * 62, "🎈" * 31, "\ud800", "x\udfff"])
def test_a_reason_that_a_close_frame_cannot_carry_is_refused(reason: str) -> None:
    with pytest.raises(ValueError):
        close_payload(1000, reason)


def test_a_reason_needs_a_code() -> None:
    with pytest.raises(ValueError):
        close_payload(None, "why")


@pytest.mark.parametrize(
    ("code", "reason"), [("1000", ""), (1000.0, ""), (True, ""), (1000, b"x"), (1000, None), (1000, 5)]
)
def test_other_types_are_refused(code: Any, reason: Any) -> None:
    with pytest.raises(TypeError):
        close_payload(code, reason)
