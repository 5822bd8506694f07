"""The header Sec-WebSocket-Extensions, and the negotiation of permessage-deflate as server and as client."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest

from lws_gevent.extensions import (
    DeflateParameters,
    PerMessageDeflate,
    agreed,
    negotiate,
    offer,
    parse_extensions,
)

DEFAULTS = PerMessageDeflate()
LENIENT = PerMessageDeflate(server_no_context_takeover=False, client_no_context_takeover=False)


class TestParsing:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("foo", [("foo", [])]),
            ("foo, bar", [("foo", []), ("bar", [])]),
            ("foo;a", [("foo", [("a", None)])]),
            ("foo; a=1; b", [("foo", [("a", "1"), ("b", None)])]),
            ('foo; a="1"', [("foo", [("a", "1")])]),
            ('foo; a="x\\yz"', [("foo", [("a", "xyz")])]),
            ("\tfoo \t; a\t= 1 ,bar", [("foo", [("a", "1")]), ("bar", [])]),
            ("foo; a; a=2", [("foo", [("a", None), ("a", "2")])]),
            ("foo, foo; a", [("foo", []), ("foo", [("a", None)])]),
            ("", []),
            (" , ,\t", []),
            (",foo,,", [("foo", [])]),
            ("x-webkit.deflate_frame!#$%&'*+^`|~", [("x-webkit.deflate_frame!#$%&'*+^`|~", [])]),
        ],
    )
    def test_what_the_grammar_allows(self, value: str, expected: list[Any]) -> None:
        assert parse_extensions(value) == expected

    def test_several_headers_belong_together(self) -> None:
        assert parse_extensions(["foo; a", "", "bar"]) == [("foo", [("a", None)]), ("bar", [])]
        assert parse_extensions(()) == []

    @pytest.mark.parametrize(
        "value",
        [
            ";",
            "foo;",
            "foo;;a",
            "foo; a=",
            "foo; =1",
            "foo=1",
            "foo bar",
            "foo; a b",
            "foo; a=1 2",
            'foo; a="1',
            'foo; a=""',
            'foo; a="1"2',
            'foo; a="1 2"',
            'foo; a="1,2"',
            'foo; a="\\',
            'foo; a="\\"',
            'foo; a="\\""',
            'foo; a="\\\\"',
            "foo; a='1'; b=(",
            '"foo"',
            'foo; "a"',
            "foo; a, ;b",
            "foo\x00",
            "f\xf6\xf6",
            "foo; a=\xe9",
            "foo\r\nbar",
            "foo\x0b",
            "foo\xa0",
        ],
    )
    def test_what_the_grammar_forbids(self, value: str) -> None:
        with pytest.raises(ValueError, match="Sec-WebSocket-Extensions") as raised:
            parse_extensions(value)
        assert "foo" not in str(raised.value), "what the peer sent does not belong into a message"

    @pytest.mark.parametrize(
        "value",
        [
            'x; y="' + "\\x" * 1_000_000,
            'x; y="' + "\\x" * 1_000_000 + '"',
            'x; y="' + "z" * 2_000_000,
            "x" + " " * 2_000_000 + "y",
            "x" + "; a=1" * 400_000,
            "x" + "; a" * 700_000 + ";",
            "x; a" + " " * 2_000_000 + "=",
            "permessage-deflate; x, " * 100_000,
            "," * 2_000_000,
            "," + " " * 2_000_000,
            "x" * 2_000_000 + "(",
            "permessage-deflate" + "; client_max_window_bits" * 100_000,
        ],
        ids=lambda value: value[:10] + value[-10:],
    )
    def test_the_time_is_linear(self, value: str) -> None:
        # Each takes the blink of an eye. Quadratic time would be that of some 10 ** 12 steps.
        with contextlib.suppress(ValueError):
            negotiate(value, DEFAULTS)
        with contextlib.suppress(ValueError):
            agreed(value, DEFAULTS)


class TestSettings:
    def test_the_defaults(self) -> None:
        assert DEFAULTS.server_no_context_takeover and DEFAULTS.client_no_context_takeover
        assert (DEFAULTS.server_max_window_bits, DEFAULTS.client_max_window_bits) == (15, 15)
        assert DEFAULTS.threshold == 1024

    def test_they_are_immutable_and_hashable(self) -> None:
        assert hash(PerMessageDeflate()) == hash(DEFAULTS) and PerMessageDeflate() == DEFAULTS
        with pytest.raises(AttributeError):
            DEFAULTS.level = 1  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("server_max_window_bits", 8),
            ("server_max_window_bits", 16),
            ("client_max_window_bits", 8),
            ("client_max_window_bits", 16),
            ("mem_level", 0),
            ("mem_level", 10),
            ("level", -1),
            ("level", 10),
            ("threshold", -1),
        ],
    )
    def test_a_value_out_of_range_is_named(self, name: str, value: int) -> None:
        with pytest.raises(ValueError, match=f"{name} must be .*, not {value}"):
            PerMessageDeflate(**{name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("server_no_context_takeover", 1),
            ("client_no_context_takeover", None),
            ("server_max_window_bits", True),
            ("client_max_window_bits", "15"),
            ("mem_level", 8.0),
            ("level", None),
            ("threshold", "1"),
        ],
    )
    def test_a_wrong_type_is_named(self, name: str, value: object) -> None:
        with pytest.raises(TypeError, match=f"{name} must be "):
            PerMessageDeflate(**{name: value})  # type: ignore[arg-type]

    def test_the_ends_of_the_ranges_are_allowed(self) -> None:
        for bits, level in ((9, 0), (15, 9)):
            PerMessageDeflate(
                server_max_window_bits=bits, client_max_window_bits=bits, mem_level=level or 1, level=level, threshold=0
            )


class TestServer:
    @pytest.mark.parametrize(
        ("offered", "answered"),
        [
            ("permessage-deflate", ""),
            ("permessage-deflate; client_max_window_bits", ""),
            ("permessage-deflate; client_max_window_bits=15", ""),
            ("permessage-deflate; client_max_window_bits=10", "; client_max_window_bits=10"),
            ("permessage-deflate; client_max_window_bits=8", "; client_max_window_bits=8"),
            ("permessage-deflate; server_max_window_bits=15", "; server_max_window_bits=15"),
            ("permessage-deflate; server_max_window_bits=9", "; server_max_window_bits=9"),
            ('permessage-deflate; server_max_window_bits="1\\0"', "; server_max_window_bits=10"),
            ("permessage-deflate; server_no_context_takeover", "; server_no_context_takeover"),
            ("permessage-deflate; client_no_context_takeover", "; client_no_context_takeover"),
            (
                "permessage-deflate; client_max_window_bits=9; client_no_context_takeover; server_max_window_bits=11; "
                "server_no_context_takeover",
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; "
                "client_max_window_bits=9",
            ),
        ],
    )
    def test_an_offer_is_accepted_as_it_is(self, offered: str, answered: str) -> None:
        parameters = negotiate(offered, LENIENT)
        assert parameters is not None and parameters.header() == "permessage-deflate" + answered

    def test_what_the_settings_say_is_asked_of_every_client(self) -> None:
        parameters = negotiate("permessage-deflate", DEFAULTS)
        assert parameters == DeflateParameters(True, True, 15, 15)
        expected = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        assert parameters is not None and parameters.header() == expected

    def test_the_smaller_window_counts(self) -> None:
        settings = PerMessageDeflate(server_max_window_bits=11, client_max_window_bits=12)
        for theirs in (9, 11, 15):
            parameters = negotiate(
                f"permessage-deflate; server_max_window_bits={theirs}; client_max_window_bits={theirs}", settings
            )
            assert parameters is not None
            assert (parameters.server_max_window_bits, parameters.client_max_window_bits) == (
                min(theirs, 11),
                min(theirs, 12),
            )
        parameters = negotiate("permessage-deflate; client_max_window_bits", settings)
        assert parameters is not None and parameters.header().endswith(
            "server_max_window_bits=11; client_max_window_bits=12"
        )

    def test_a_client_that_cannot_limit_its_window_is_not_asked_to(self) -> None:
        parameters = negotiate("permessage-deflate", PerMessageDeflate(client_max_window_bits=9))
        assert parameters is not None and parameters.client_max_window_bits == 15
        assert "client_max_window_bits" not in parameters.header()

    @pytest.mark.parametrize(
        "parameters",
        [
            "unknown",
            "Server_no_context_takeover",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits; client_max_window_bits=10",
            "client_max_window_bits=10; client_max_window_bits=10",
            "server_max_window_bits",
            *(f"server_max_window_bits={value}" for value in ("0", "7", "8", "16", "08", "010", "+10", "1e1", "abc")),
            *(f"client_max_window_bits={value}" for value in ("0", "7", "16", "08", "010", "-9", "15.0", '"\\1\\6"')),
            "server_no_context_takeover=true",
            "client_no_context_takeover=1",
            'client_no_context_takeover="x"',
            f"server_max_window_bits={'9' * 5000}",
        ],
    )
    def test_an_offer_that_is_wrong_is_declined_and_the_next_one_counts(self, parameters: str) -> None:
        wrong = f"permessage-deflate; {parameters}"
        assert negotiate(wrong, DEFAULTS) is None
        assert negotiate([wrong, wrong], DEFAULTS) is None
        assert negotiate(f"{wrong}, permessage-deflate", DEFAULTS) == DeflateParameters(True, True, 15, 15)

    def test_the_first_good_offer_counts(self) -> None:
        parameters = negotiate("foo, permessage-deflate; server_max_window_bits=10, permessage-deflate", LENIENT)
        assert parameters is not None and parameters.server_max_window_bits == 10

    @pytest.mark.parametrize(
        "value", ["", "foo", "permessage-deflate-x", "Permessage-Deflate", "x-webkit-deflate-frame"]
    )
    def test_nothing_that_is_known_is_nothing_agreed(self, value: str) -> None:
        assert negotiate(value, DEFAULTS) is None
        assert negotiate((), DEFAULTS) is None

    def test_a_malformed_header_is_an_error_wherever_it_is_wrong(self) -> None:
        with pytest.raises(ValueError, match="malformed"):
            negotiate("permessage-deflate, ;", DEFAULTS)
        with pytest.raises(ValueError, match="malformed"):
            negotiate(["permessage-deflate", 'foo; a="'], DEFAULTS)


class TestClient:
    def test_the_offers(self) -> None:
        assert offer(LENIENT) == "permessage-deflate; client_max_window_bits"
        assert offer(DEFAULTS) == (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"
        )
        narrow = PerMessageDeflate(
            server_no_context_takeover=False,
            client_no_context_takeover=False,
            server_max_window_bits=9,
            client_max_window_bits=14,
        )
        assert offer(narrow) == "permessage-deflate; server_max_window_bits=9; client_max_window_bits=14"

    def test_a_server_may_decline(self) -> None:
        assert agreed((), DEFAULTS) is None
        assert agreed("", DEFAULTS) is None

    def test_the_plain_answer(self) -> None:
        assert agreed("permessage-deflate", LENIENT) == DeflateParameters(False, False, 15, 15)

    def test_a_server_may_limit_itself_and_us_further(self) -> None:
        answer = (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8; "
            "client_max_window_bits=9"
        )
        assert agreed(answer, LENIENT) == DeflateParameters(True, True, 8, 9)

    def test_we_keep_to_our_own_limits_even_if_the_server_does_not_ask_for_them(self) -> None:
        settings = PerMessageDeflate(server_no_context_takeover=False, client_max_window_bits=10)
        assert agreed("permessage-deflate", settings) == DeflateParameters(False, True, 15, 10)

    @pytest.mark.parametrize(
        "answer",
        [
            "foo",
            "permessage-deflate, foo",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            *(f"permessage-deflate; server_max_window_bits={value}" for value in ("7", "16", "abc", "08", '"1,"')),
            *(f"permessage-deflate; client_max_window_bits={value}" for value in ("7", "8", "16", "abc", "09")),
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate;",
            'permessage-deflate; a="',
        ],
    )
    def test_an_answer_that_answers_no_offer_of_ours_is_an_error(self, answer: str) -> None:
        with pytest.raises(ValueError):
            agreed(answer, LENIENT)

    @pytest.mark.parametrize(
        ("settings", "answer"),
        [
            ({"server_max_window_bits": 10}, ""),
            ({"server_max_window_bits": 10}, "; server_max_window_bits=11"),
            ({"client_max_window_bits": 10}, "; client_max_window_bits=11"),
        ],
    )
    def test_a_server_must_agree_to_what_was_asked(self, settings: dict[str, Any], answer: str) -> None:
        asked: dict[str, Any] = {"server_no_context_takeover": False, "client_no_context_takeover": False, **settings}
        with pytest.raises(ValueError):
            agreed("permessage-deflate" + answer, PerMessageDeflate(**asked))

    def test_a_server_that_keeps_its_context_all_the_same_is_understood(self) -> None:
        parameters = agreed("permessage-deflate", PerMessageDeflate())
        assert parameters is not None and not parameters.server_no_context_takeover


def test_both_sides_understand_each_other_whatever_their_settings() -> None:
    choices = list(itertools.product((False, True), (False, True), (9, 12, 15), (9, 12, 15)))
    names = (
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
    )
    settings = [PerMessageDeflate(**dict(zip(names, choice, strict=True))) for choice in choices]  # type: ignore[arg-type]
    for client, server in itertools.product(settings, settings):
        chosen = negotiate(offer(client), server)
        assert chosen is not None
        assert agreed(chosen.header(), client) == chosen._replace(name_server_window=False)
