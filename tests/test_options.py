"""Options: what is accepted, and that a wrong one is refused by name."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import pytest

from lws_gevent.extensions import PerMessageDeflate
from lws_gevent.options import ServerOptions, Settings, from_portable


def test_the_defaults_are_those_of_the_public_interface() -> None:
    settings = Settings()
    assert (settings.port, settings.host, settings.path, settings.backlog) == (None, "", None, 4096)
    assert (settings.max_payload, settings.max_header_size, settings.max_body_size) == (16 << 20, 16 << 10, 1 << 20)
    assert (settings.max_backpressure, settings.backpressure, settings.send_timeout) == (1 << 20, "block", 60)
    assert (settings.handshake_timeout, settings.close_timeout, settings.idle_timeout) == (10, 10, 120)
    assert (settings.auto_pong, settings.skip_utf8_validation, settings.own_close_event) == (True, False, False)


def test_type_checkers_are_told_of_every_option() -> None:
    assert set(ServerOptions.__annotations__) == {field.name for field in dataclasses.fields(Settings)}
    assert get_type_hints(ServerOptions)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("prot", 1, TypeError),
        ("workers", 0, ValueError),
        ("buffer_size", 3, ValueError),
        ("buffer_size", "4", TypeError),
        ("port", "80", TypeError),
        ("port", True, TypeError),
        ("port", -1, ValueError),
        ("port", 65536, ValueError),
        ("host", None, TypeError),
        ("path", "ws", ValueError),
        ("path", "/ws?x", ValueError),
        ("path", b"/ws", TypeError),
        ("backlog", 0, ValueError),
        ("engine", "threads", ValueError),
        ("engine", None, TypeError),
        ("max_payload", 0, ValueError),
        ("max_payload", 1.5, TypeError),
        ("max_connections", 2**63, ValueError),
        ("max_header_size", None, TypeError),
        ("max_backpressure", -1, ValueError),
        ("backpressure", "wait", ValueError),
        ("handshake_timeout", 0, ValueError),
        ("handshake_timeout", None, TypeError),
        ("close_timeout", float("nan"), ValueError),
        ("idle_timeout", float("inf"), ValueError),
        ("idle_timeout", "120", TypeError),
        ("ping_timeout", 5, ValueError),
        ("host", "127.0.0.1", ValueError),
        ("origins", "http://example.com", TypeError),
        ("origins", ["example.com"], ValueError),
        ("origins", ["http://example.com/"], ValueError),
        ("origins", [1], TypeError),
        ("subprotocols", "chat", TypeError),
        ("proxy_protocol", None, TypeError),
        ("proxy_protocol", "10.0.0.0/8", TypeError),
        ("proxy_protocol", ["10.0.0.1/8"], ValueError),
        ("trusted_proxies", True, TypeError),
        ("trusted_proxies", "10.0.0.0/8", TypeError),
        ("trusted_proxies", ["localhost"], ValueError),
        ("trusted_proxies", [b"::1"], TypeError),
        ("forwarded_header", "X-Real-IP", ValueError),
        ("forwarded_header", None, TypeError),
        ("access_log", "access.log", TypeError),
        ("access_log", None, TypeError),
        ("subprotocols", ["with space"], ValueError),
        ("per_message_deflate", 1, TypeError),
        ("per_message_deflate", "on", TypeError),
        ("per_message_deflate", {"windowBits": 9}, TypeError),
        ("per_message_deflate", {"level": "9"}, TypeError),
        ("per_message_deflate", {"server_max_window_bits": 8}, ValueError),
        ("auto_pong", 1, TypeError),
    ],
)
def test_a_wrong_option_is_refused_by_name(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        Settings.from_options({name: value})


def test_compression_is_off_on_or_described() -> None:
    assert Settings().per_message_deflate is None
    assert Settings(per_message_deflate=False).per_message_deflate is None  # type: ignore[arg-type]
    assert Settings(per_message_deflate=True).per_message_deflate == PerMessageDeflate()  # type: ignore[arg-type]
    given = PerMessageDeflate(level=1)
    assert Settings(per_message_deflate=given).per_message_deflate is given
    assert Settings(per_message_deflate={"level": 1}).per_message_deflate == given  # type: ignore[arg-type]
    assert Settings.from_options(
        from_portable({"perMessageDeflate": {"serverMaxWindowBits": 9, "memLevel": 1}})
    ).per_message_deflate == PerMessageDeflate(server_max_window_bits=9, mem_level=1)
    with pytest.raises(TypeError, match="per_message_deflate.*server_window"):
        Settings.from_options(from_portable({"perMessageDeflate": {"serverWindow": 9}}))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_silence_is_judged_by_the_stricter_of_idle_timeout_and_pings() -> None:
    assert (Settings().ping_after, Settings().lost_after) == (80, 120)
    assert (Settings(idle_timeout=None).ping_after, Settings(idle_timeout=None).lost_after) == (None, None)
    strict = Settings(ping_interval=20, ping_timeout=5)
    assert (strict.ping_after, strict.lost_after) == (20, 25)
    pings_only = Settings(ping_interval=20, idle_timeout=None)
    assert (pings_only.ping_after, pings_only.lost_after) == (20, None)


def test_a_mapping_has_the_names_of_node_lws() -> None:
    assert from_portable({"port": 1, "keepAliveTime": 2, "maxPayload": 3}) == {
        "port": 1,
        "keep_alive_time": 2,
        "max_payload": 3,
    }
    with pytest.raises(TypeError, match="maxPayload"):
        from_portable({"max_payload": 3})
    with pytest.raises(TypeError, match="prot"):
        from_portable({"prot": 3})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("prot", "'port'"), ("maxPayload", "'max_payload'"), ("idletimeout", "'idle_timeout'"), ("colour", None)],
)
def test_an_unknown_option_names_the_one_that_was_meant(name: str, meant: str | None) -> None:
    with pytest.raises(TypeError) as raised:
        Settings.from_options({name: 1})
    hint = "" if meant is None else f" (did you mean {meant}?)"
    assert str(raised.value).startswith(f"unknown option {name!r}{hint}: known are access_log, ")


def test_an_unknown_option_of_a_mapping_is_named_as_it_is_called_there() -> None:
    with pytest.raises(TypeError, match=r"^unknown option 'max_payload' \(did you mean 'maxPayload'\?\): known are "):
        from_portable({"max_payload": 1})
    with pytest.raises(TypeError, match="^unknown option 1: known are "):
        from_portable({1: 2})  # type: ignore[dict-item]
