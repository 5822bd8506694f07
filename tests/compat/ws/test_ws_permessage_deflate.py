"""PerMessageDeflate of lws_gevent.compat.ws: negotiation and streams."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from parity import Done, call_back, case

from lws_gevent.compat.ws import PerMessageDeflate, WSError, WSRangeError, WSTypeError, extension

FILE = "permessage-deflate.test.js"
ACCEPT = "PerMessageDeflate > #accept > "
SERVER = ACCEPT + "As server > "
CLIENT = ACCEPT + "As client > "
DATA = "PerMessageDeflate > #compress and #decompress > "

ALL_PARAMETERS = (
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
    "server_max_window_bits=10; client_max_window_bits=11"
)


def offers(header: str) -> list[dict[str, Any]]:
    return extension.parse(header)["permessage-deflate"]


def refused(options: dict[str, Any], header: str, message: str, kind: type[WSError] = WSError) -> None:
    with pytest.raises(WSError) as raised:
        PerMessageDeflate(options).accept(offers(header))
    assert type(raised.value) is kind
    assert str(raised.value) == message


@case(FILE, "PerMessageDeflate > #offer > creates an offer")
def test_the_plain_offer() -> None:
    assert PerMessageDeflate().offer() == {"client_max_window_bits": True}


@case(FILE, "PerMessageDeflate > #offer > uses the configuration options")
def test_an_offer_from_options() -> None:
    deflate = PerMessageDeflate(
        {
            "serverNoContextTakeover": True,
            "clientNoContextTakeover": True,
            "serverMaxWindowBits": 10,
            "clientMaxWindowBits": 11,
        }
    )
    assert deflate.offer() == {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
        "server_max_window_bits": 10,
        "client_max_window_bits": 11,
    }


@case(FILE, ACCEPT + "throws an error if a parameter has multiple values")
def test_a_parameter_with_two_values_is_refused() -> None:
    refused(
        {},
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        'Parameter "server_no_context_takeover" must have only a single value',
    )


@case(FILE, ACCEPT + "throws an error if a parameter has an invalid name")
def test_an_unknown_parameter_is_refused() -> None:
    refused({}, "permessage-deflate;foo", 'Unknown parameter "foo"')


@case(FILE, ACCEPT + "throws an error if client_no_context_takeover has a value")
def test_client_no_context_takeover_has_no_value() -> None:
    refused(
        {},
        "permessage-deflate; client_no_context_takeover=10",
        'Invalid value for parameter "client_no_context_takeover": 10',
        WSTypeError,
    )


@case(FILE, ACCEPT + "throws an error if server_no_context_takeover has a value")
def test_server_no_context_takeover_has_no_value() -> None:
    refused(
        {},
        "permessage-deflate; server_no_context_takeover=10",
        'Invalid value for parameter "server_no_context_takeover": 10',
        WSTypeError,
    )


@case(FILE, ACCEPT + "throws an error if server_max_window_bits has an invalid value")
def test_server_max_window_bits_are_8_to_15() -> None:
    for header, value in (("server_max_window_bits=7", "7"), ("server_max_window_bits", "true")):
        refused(
            {},
            f"permessage-deflate; {header}",
            f'Invalid value for parameter "server_max_window_bits": {value}',
            WSTypeError,
        )


@case(FILE, SERVER + "accepts an offer with no parameters")
def test_a_server_accepts_the_plain_offer() -> None:
    assert PerMessageDeflate({"isServer": True}).accept([{}]) == {}


@case(FILE, SERVER + "accepts an offer with parameters")
def test_a_server_accepts_an_offer_with_parameters() -> None:
    assert PerMessageDeflate({"isServer": True}).accept(offers(ALL_PARAMETERS)) == {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
        "server_max_window_bits": 10,
        "client_max_window_bits": 11,
    }


@case(FILE, SERVER + "prefers the configuration options")
def test_a_server_prefers_its_own_options() -> None:
    deflate = PerMessageDeflate(
        {
            "serverNoContextTakeover": True,
            "clientNoContextTakeover": True,
            "serverMaxWindowBits": 12,
            "clientMaxWindowBits": 11,
            "isServer": True,
        }
    )
    accepted = deflate.accept(offers("permessage-deflate; server_max_window_bits=14; client_max_window_bits=13"))
    assert accepted == deflate.params
    assert accepted == {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
        "server_max_window_bits": 12,
        "client_max_window_bits": 11,
    }


@case(FILE, SERVER + "accepts the first supported offer")
def test_a_server_accepts_the_first_offer_that_suits() -> None:
    deflate = PerMessageDeflate({"isServer": True, "serverMaxWindowBits": 11})
    accepted = deflate.accept(offers("permessage-deflate; server_max_window_bits=10, permessage-deflate"))
    assert accepted == {"server_max_window_bits": 11}


@case(FILE, SERVER + "throws an error if server_no_context_takeover is unsupported")
def test_a_server_refuses_server_no_context_takeover() -> None:
    refused(
        {"isServer": True, "serverNoContextTakeover": False},
        "permessage-deflate; server_no_context_takeover",
        "None of the extension offers can be accepted",
    )


@case(FILE, SERVER + "throws an error if server_max_window_bits is unsupported")
def test_a_server_refuses_server_max_window_bits() -> None:
    refused(
        {"isServer": True, "serverMaxWindowBits": False},
        "permessage-deflate; server_max_window_bits=10",
        "None of the extension offers can be accepted",
    )


@case(FILE, SERVER + "throws an error if server_max_window_bits is less than configuration")
def test_a_server_refuses_a_smaller_window_than_it_wants() -> None:
    refused(
        {"isServer": True, "serverMaxWindowBits": 11},
        "permessage-deflate; server_max_window_bits=10",
        "None of the extension offers can be accepted",
    )


@case(FILE, SERVER + "throws an error if client_max_window_bits is unsupported on client")
def test_a_server_that_wants_a_client_window_refuses_an_offer_without() -> None:
    refused(
        {"isServer": True, "clientMaxWindowBits": 10},
        "permessage-deflate",
        "None of the extension offers can be accepted",
    )


@case(FILE, SERVER + "throws an error if client_max_window_bits has an invalid value")
def test_client_max_window_bits_of_an_offer_are_8_to_15() -> None:
    refused(
        {"isServer": True},
        "permessage-deflate; client_max_window_bits=16",
        'Invalid value for parameter "client_max_window_bits": 16',
        WSTypeError,
    )


def test_a_server_does_not_ask_for_a_larger_client_window_than_offered() -> None:
    """The original's 8.23 refuses it; its 8.21 answered with a number that the client cannot keep to."""
    refused(
        {"isServer": True, "clientMaxWindowBits": 12},
        "permessage-deflate; client_max_window_bits=10",
        "None of the extension offers can be accepted",
    )


@case(FILE, CLIENT + "accepts a response with no parameters")
def test_a_client_accepts_the_plain_response() -> None:
    assert PerMessageDeflate({}).accept([{}]) == {}


@case(FILE, CLIENT + "accepts a response with parameters")
def test_a_client_accepts_a_response_with_parameters() -> None:
    assert PerMessageDeflate({}).accept(offers(ALL_PARAMETERS)) == {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
        "server_max_window_bits": 10,
        "client_max_window_bits": 11,
    }


@case(FILE, CLIENT + "throws an error if client_no_context_takeover is unsupported")
def test_a_client_refuses_client_no_context_takeover() -> None:
    refused(
        {"clientNoContextTakeover": False},
        "permessage-deflate; client_no_context_takeover",
        'Unexpected parameter "client_no_context_takeover"',
    )


@case(FILE, CLIENT + "throws an error if client_max_window_bits is unsupported")
def test_a_client_refuses_client_max_window_bits() -> None:
    refused(
        {"clientMaxWindowBits": False},
        "permessage-deflate; client_max_window_bits=10",
        'Unexpected or invalid parameter "client_max_window_bits"',
    )


@case(FILE, CLIENT + "throws an error if client_max_window_bits is greater than configuration")
def test_a_client_refuses_a_larger_window_than_it_offered() -> None:
    refused(
        {"clientMaxWindowBits": 10},
        "permessage-deflate; client_max_window_bits=11",
        'Unexpected or invalid parameter "client_max_window_bits"',
    )


@case(FILE, CLIENT + "throws an error if client_max_window_bits has an invalid value")
def test_client_max_window_bits_of_a_response_are_8_to_15() -> None:
    for header, value in (("client_max_window_bits=16", "16"), ("client_max_window_bits", "true")):
        refused(
            {},
            f"permessage-deflate; {header}",
            f'Invalid value for parameter "client_max_window_bits": {value}',
            WSTypeError,
        )


@case(FILE, CLIENT + "uses the config value if client_max_window_bits is not specified")
def test_a_client_uses_its_own_window_when_the_response_names_none() -> None:
    assert PerMessageDeflate({"clientMaxWindowBits": 10}).accept([{}]) == {"client_max_window_bits": 10}


TEXT = b"Some compressible data, it's compressible."


def accepted(options: dict[str, Any] | None, header: str = "permessage-deflate") -> PerMessageDeflate:
    deflate = PerMessageDeflate(options)
    deflate.accept(offers(header))
    return deflate


def there_and_back(deflate: PerMessageDeflate, data: bytes) -> bytes:
    """What `data` is compressed to, when inflating that gives it back."""
    compressed: bytes = call_back(deflate.compress, data, True)
    assert call_back(deflate.decompress, compressed, True) == data
    return compressed


@case(FILE, DATA + "works with unfragmented messages")
def test_a_message_is_compressed_and_inflated() -> None:
    there_and_back(accepted(None), b"\x01\x02\x03")


@case(FILE, DATA + "works with fragmented messages")
def test_fragments_are_compressed_and_inflated() -> None:
    deflate = accepted(None)
    first = call_back(deflate.compress, b"\x01\x02", False)
    second = call_back(deflate.compress, b"\x03\x04", True)
    assert call_back(deflate.decompress, first, False) + call_back(deflate.decompress, second, True) == b"\1\2\3\4"


@case(FILE, DATA + "works with the negotiated parameters")
def test_data_with_all_parameters() -> None:
    there_and_back(accepted({"zlibDeflateOptions": {"memLevel": 5, "level": 9}}, ALL_PARAMETERS), TEXT)


@case(FILE, DATA + "honors the `level` option")
def test_the_level_of_compression() -> None:
    level_0 = accepted({"zlibDeflateOptions": {"level": 0}}, ALL_PARAMETERS)
    level_9 = accepted({"zlibDeflateOptions": {"level": 9}}, ALL_PARAMETERS)
    assert len(there_and_back(level_0, TEXT)) > len(TEXT)
    assert len(there_and_back(level_9, TEXT)) < len(TEXT)


@case(FILE, DATA + "honors the `zlib{Deflate,Inflate}Options` option")
def test_the_options_of_zlib() -> None:
    header = "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11"
    options = {"zlibDeflateOptions": {"level": 0, "chunkSize": 256}, "zlibInflateOptions": {"chunkSize": 2048}}
    level_0 = accepted(options, header)
    options = {"zlibDeflateOptions": {"level": 9, "chunkSize": 128}, "zlibInflateOptions": {"chunkSize": 1024}}
    level_9 = accepted(options, header)
    assert len(there_and_back(level_0, TEXT)) > len(TEXT)
    assert len(there_and_back(level_9, TEXT)) < len(TEXT)
    for deflate, level, chunk, inflate_chunk in ((level_0, 0, 256, 2048), (level_9, 9, 128, 1024)):
        assert deflate._deflate is not None and deflate._inflate is not None
        assert deflate._deflate._level == level
        assert deflate._deflate._chunkSize == chunk
        assert deflate._inflate._chunkSize == inflate_chunk


@case(FILE, DATA + "doesn't use contex takeover if not allowed")
def test_without_context_takeover_every_message_is_compressed_alone() -> None:
    deflate = accepted({"isServer": True}, "permessage-deflate;server_no_context_takeover")
    assert len(there_and_back(deflate, b"foofoo")) == len(there_and_back(deflate, b"foofoo"))


@case(FILE, DATA + "uses contex takeover if allowed")
def test_with_context_takeover_a_repeated_message_is_shorter() -> None:
    deflate = accepted({"isServer": True})
    first = there_and_back(deflate, b"foofoo")
    assert len(there_and_back(deflate, b"foofoo")) < len(first)


@case(FILE, DATA + "calls the callback when an error occurs (inflate)")
def test_what_is_no_deflate_data_is_an_error() -> None:
    with pytest.raises(WSError) as raised:
        call_back(accepted(None).decompress, b"something invalid", True)
    assert (raised.value.code, raised.value.errno) == ("Z_DATA_ERROR", -3)


@case(FILE, DATA + "calls the callback when `maxPayload` is exceeded (1/2)")
@case(FILE, DATA + "calls the callback when `maxPayload` is exceeded (2/2)")
@pytest.mark.parametrize("size", [50, 1024 * 1024])
def test_more_than_max_payload_is_an_error(size: int) -> None:
    deflate = accepted({"isServer": False, "maxPayload": 25})
    compressed = call_back(deflate.compress, b"A" * size, True)
    with pytest.raises(WSRangeError, match="^Max payload size exceeded$"):
        call_back(deflate.decompress, compressed, True)


@case(FILE, DATA + "calls the callback if the deflate stream is closed prematurely")
def test_a_compression_that_is_cut_short_is_an_error() -> None:
    deflate = accepted(None)
    done = Done()

    @done.last
    def compressed(error: Any) -> None:
        assert isinstance(error, WSError)
        assert str(error) == "The deflate stream was closed while data was being processed"

    deflate.compress(b"A" * 50, True, compressed)
    deflate.cleanup()
    done.wait()
    gevent.sleep(0)  # the compression itself finds that nobody wants it any more


@case(FILE, DATA + "recreates the inflate stream if it ends")
def test_a_stream_that_the_peer_has_ended_begins_anew() -> None:
    deflate = accepted(None, "permessage-deflate; client_no_context_takeover; server_no_context_takeover")
    for _ in range(2):
        assert call_back(deflate.decompress, bytes.fromhex("33343236313533b7000000"), True) == b"12345678"
