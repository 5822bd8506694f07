"""The parsers and helpers of lws_gevent.compat.ws: extension, subprotocol, validation, limiter, buffer_util."""

from __future__ import annotations

import math

import gevent
import pytest
from parity import Done, case

from lws_gevent.compat.ws import WSSyntaxError, extension, subprotocol
from lws_gevent.compat.ws.buffer_util import concat
from lws_gevent.compat.ws.limiter import Limiter
from lws_gevent.compat.ws.validation import isValidUTF8


def unexpected(parse: object, header: str, index: int) -> None:
    with pytest.raises(WSSyntaxError) as raised:
        parse(header)  # type: ignore[operator]
    assert str(raised.value) == f"Unexpected character at index {index}"
    assert raised.value.name == "SyntaxError"


# extension


@case("extension.test.js", "extension > parse > parses a single extension")
def test_a_single_extension_is_parsed() -> None:
    assert extension.parse("foo") == {"foo": [{}]}


@case("extension.test.js", "extension > parse > parses params")
def test_parameters_of_an_extension_are_parsed() -> None:
    assert extension.parse("foo;bar;baz=1;bar=2") == {"foo": [{"bar": [True, "2"], "baz": ["1"]}]}


@case("extension.test.js", "extension > parse > parses multiple extensions")
def test_several_extensions_are_parsed() -> None:
    assert extension.parse("foo,bar;baz,foo;baz") == {"foo": [{}, {"baz": [True]}], "bar": [{"baz": [True]}]}


@case("extension.test.js", "extension > parse > parses quoted params")
def test_quoted_parameters_are_parsed() -> None:
    assert extension.parse('foo;bar="hi"') == {"foo": [{"bar": ["hi"]}]}
    assert extension.parse('foo;bar="\\0"') == {"foo": [{"bar": ["0"]}]}
    assert extension.parse('foo;bar="b\\a\\z"') == {"foo": [{"bar": ["baz"]}]}
    assert extension.parse('foo;bar="b\\az";bar') == {"foo": [{"bar": ["baz", True]}]}
    unexpected(extension.parse, 'foo;bar="baz"qux', 13)
    unexpected(extension.parse, 'foo;bar="baz" qux', 14)


@case("extension.test.js", "extension > parse > works with names that match `Object.prototype` property names")
def test_names_that_are_attributes_of_every_object_are_names() -> None:
    assert extension.parse("hasOwnProperty, toString") == {"hasOwnProperty": [{}], "toString": [{}]}
    assert extension.parse("foo;constructor") == {"foo": [{"constructor": [True]}]}
    assert extension.parse("__class__;__init__") == {"__class__": [{"__init__": [True]}]}


@case("extension.test.js", "extension > parse > ignores the optional white spaces")
def test_optional_white_space_in_extensions_is_ignored() -> None:
    header = 'foo; bar\t; \tbaz=1\t ;  bar="1"\t\t, \tqux\t ;norf'
    assert extension.parse(header) == {"foo": [{"bar": [True, "1"], "baz": ["1"]}], "qux": [{"norf": [True]}]}


@case("extension.test.js", "extension > parse > throws an error if a name is empty")
@pytest.mark.parametrize(
    ("header", "index"),
    [
        (",", 0),
        ("foo,,", 4),
        ("foo,  ,", 6),
        ("foo;=", 4),
        ("foo; =", 5),
        ("foo;;", 4),
        ("foo; ;", 5),
        ("foo;bar=,", 8),
        ('foo;bar=""', 9),
    ],
)
def test_an_empty_name_in_extensions_is_an_error(header: str, index: int) -> None:
    unexpected(extension.parse, header, index)


@case("extension.test.js", "extension > parse > throws an error if a white space is misplaced")
@pytest.mark.parametrize(
    ("header", "index"),
    [(" foo", 0), ("f oo", 2), ("foo;ba r", 7), ("foo;bar =", 8), ("foo;bar= ", 8), ("foo;bar=ba z", 11)],
)
def test_misplaced_white_space_in_extensions_is_an_error(header: str, index: int) -> None:
    unexpected(extension.parse, header, index)


@case("extension.test.js", "extension > parse > throws an error if a token contains invalid characters")
@pytest.mark.parametrize(
    ("header", "index"),
    [
        ("f@o", 1),
        ("f\\oo", 1),
        ('"foo"', 0),
        ('f"oo"', 1),
        ("foo;b@r", 5),
        ("foo;b\\ar", 5),
        ('foo;"bar"', 4),
        ('foo;b"ar"', 5),
        ("foo;bar=b@z", 9),
        ("foo;bar=b\\az ", 9),
        ('foo;bar="b@z"', 10),
        ('foo;bar="baz;"', 12),
        ('foo;bar=b"az"', 9),
        ('foo;bar="\\\\"', 10),
    ],
)
def test_what_is_no_token_in_extensions_is_an_error(header: str, index: int) -> None:
    unexpected(extension.parse, header, index)


@case("extension.test.js", "extension > parse > throws an error if the header value ends prematurely")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "foo ",
        "foo\t",
        "foo, ",
        "foo;",
        "foo;bar ",
        "foo;bar,",
        "foo;bar; ",
        "foo;bar=",
        'foo;bar="baz',
        'foo;bar="1\\',
        'foo;bar="baz" ',
    ],
)
def test_extensions_that_end_too_early_are_an_error(header: str) -> None:
    with pytest.raises(WSSyntaxError, match="^Unexpected end of input$"):
        extension.parse(header)


@case("extension.test.js", "extension > format > formats a single extension")
def test_a_single_extension_is_formatted() -> None:
    assert extension.format({"foo": {}}) == "foo"


@case("extension.test.js", "extension > format > formats params")
def test_parameters_are_formatted() -> None:
    assert extension.format({"foo": {"bar": [True, 2], "baz": 1}}) == "foo; bar; bar=2; baz=1"


@case("extension.test.js", "extension > format > formats multiple extensions")
def test_several_extensions_are_formatted() -> None:
    assert extension.format({"foo": [{}, {"baz": True}], "bar": {"baz": True}}) == "foo, foo; baz, bar; baz"


# subprotocol


@case("subprotocol.test.js", "subprotocol > parse > parses a single subprotocol")
def test_a_single_subprotocol_is_parsed() -> None:
    assert list(subprotocol.parse("foo")) == ["foo"]


@case("subprotocol.test.js", "subprotocol > parse > parses multiple subprotocols")
def test_several_subprotocols_are_parsed() -> None:
    assert list(subprotocol.parse("foo,bar,baz")) == ["foo", "bar", "baz"]


@case("subprotocol.test.js", "subprotocol > parse > ignores the optional white spaces")
def test_optional_white_space_in_subprotocols_is_ignored() -> None:
    header = "foo , bar\t, \tbaz\t ,  qux\t\t,norf"
    assert list(subprotocol.parse(header)) == ["foo", "bar", "baz", "qux", "norf"]


@case("subprotocol.test.js", "subprotocol > parse > throws an error if a subprotocol is empty")
@pytest.mark.parametrize(("header", "index"), [(",", 0), ("foo,,", 4), ("foo,  ,", 6)])
def test_an_empty_subprotocol_is_an_error(header: str, index: int) -> None:
    unexpected(subprotocol.parse, header, index)


@case("subprotocol.test.js", "subprotocol > parse > throws an error if a subprotocol is duplicated")
@pytest.mark.parametrize("header", ["foo,foo,bar", "foo,bar,foo"])
def test_a_repeated_subprotocol_is_an_error(header: str) -> None:
    with pytest.raises(WSSyntaxError, match='^The "foo" subprotocol is duplicated$'):
        subprotocol.parse(header)


@case("subprotocol.test.js", "subprotocol > parse > throws an error if a white space is misplaced")
@pytest.mark.parametrize(("header", "index"), [("f oo", 2), (" foo", 0)])
def test_misplaced_white_space_in_subprotocols_is_an_error(header: str, index: int) -> None:
    unexpected(subprotocol.parse, header, index)


@case("subprotocol.test.js", "subprotocol > parse > throws an error if a subprotocol contains invalid characters")
@pytest.mark.parametrize(("header", "index"), [("f@o", 1), ("f\\oo", 1), ("foo,b@r", 5)])
def test_a_subprotocol_that_is_no_token_is_an_error(header: str, index: int) -> None:
    unexpected(subprotocol.parse, header, index)


@case("subprotocol.test.js", "subprotocol > parse > throws an error if the header value ends prematurely")
@pytest.mark.parametrize("header", ["foo ", "foo, ", "foo,bar ", "foo,bar,"])
def test_subprotocols_that_end_too_early_are_an_error(header: str) -> None:
    with pytest.raises(WSSyntaxError, match="^Unexpected end of input$"):
        subprotocol.parse(header)


# validation


@case("validation.test.js", "extension > isValidUTF8 > returns false if it finds invalid bytes")
def test_octets_that_never_occur_in_utf8_are_invalid() -> None:
    assert not isValidUTF8(b"\xf8")


@case("validation.test.js", "extension > isValidUTF8 > returns false for overlong encodings")
def test_overlong_encodings_are_invalid() -> None:
    for octets in (b"\xc0\xa0", b"\xe0\x80\xa0", b"\xf0\x80\x80\xa0"):
        assert not isValidUTF8(octets)


@case("validation.test.js", "extension > isValidUTF8 > returns false for code points in the range U+D800 - U+DFFF")
def test_surrogates_are_invalid() -> None:
    for second in range(0xA0, 0xC0):
        for third in range(0x80, 0xC0):
            assert not isValidUTF8(bytes([0xED, second, third]))


@case("validation.test.js", "extension > isValidUTF8 > returns false for code points greater than U+10FFFF")
def test_code_points_above_the_last_are_invalid() -> None:
    for octets in (b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80"):
        assert not isValidUTF8(octets)


@case("validation.test.js", "extension > isValidUTF8 > returns true for a well-formed UTF-8 byte sequence")
def test_well_formed_utf8_is_valid() -> None:
    assert isValidUTF8("\u20ac\U00010308$".encode())


# limiter, buffer_util


@case("limiter.test.js", "Limiter > #ctor > takes a `concurrency` argument")
def test_a_limiter_without_a_limit_runs_everything_at_once() -> None:
    assert Limiter(0).concurrency == math.inf


@case("limiter.test.js", "Limiter > #kRun > limits the number of jobs allowed to run concurrently")
def test_a_limiter_runs_only_so_many_jobs_at_once() -> None:
    limiter = Limiter(1)
    done = Done(2)

    def job(pending: int):  # type: ignore[no-untyped-def]
        def run(callback):  # type: ignore[no-untyped-def]
            def later() -> None:
                callback()
                assert len(limiter.jobs) == 0
                assert limiter.pending == pending

            gevent.spawn(done.last(later))

        return run

    limiter.add(job(1))
    limiter.add(job(0))
    assert len(limiter.jobs) == 1
    done.wait()


@case("buffer-util.test.js", "bufferUtil > concat > never returns uninitialized data")
def test_pieces_are_joined_to_no_more_than_there_is() -> None:
    assert concat([b"\x01\x02", b"\x03\x04"], 6) == b"\x01\x02\x03\x04"
