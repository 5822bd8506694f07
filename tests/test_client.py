"""The test client itself: its frames are those of RFC 6455's own examples (section 5.7)."""

from __future__ import annotations

import gevent.socket
import pytest
from client import BINARY, CONTINUATION, PING, PONG, TEXT, Client, Frame, PeerClosed, close_payload, encode


def pair() -> tuple[Client, Client]:
    left, right = gevent.socket.socketpair()
    return Client(left), Client(right)


def test_encodes_the_examples_of_the_rfc() -> None:
    key = bytes.fromhex("37fa213d")
    assert encode(TEXT, "Hello", mask=False).hex() == "810548656c6c6f"
    assert encode(TEXT, "Hello", mask=key).hex() == "818537fa213d7f9f4d5158"
    assert encode(TEXT, "Hel", mask=False, fin=False).hex() == "010348656c"
    assert encode(CONTINUATION, "lo", mask=False).hex() == "80026c6f"
    assert encode(PING, "Hello", mask=False).hex() == "890548656c6c6f"
    assert encode(PONG, "Hello", mask=key).hex() == "8a8537fa213d7f9f4d5158"
    assert encode(BINARY, bytes(256), mask=False)[:4].hex() == "827e0100"
    assert encode(BINARY, bytes(65536), mask=False)[:10].hex() == "827f0000000000010000"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_decodes_what_it_encodes(size: int) -> None:
    left, right = pair()
    with left, right:
        gevent.spawn(left.send_frame, BINARY, b"x" * size, fin=False, rsv=5)
        assert right.recv_frame() == Frame(BINARY, b"x" * size, fin=False, rsv=5, masked=True)


def test_assembles_fragments_and_records_control_frames_between_them() -> None:
    left, right = pair()
    with left, right:
        left.send_frame(TEXT, "Hel", fin=False, mask=False)
        left.send_frame(PING, b"1", mask=False)
        left.send_frame(CONTINUATION, "lo", mask=False)
        left.send_frame(8, close_payload(1001, "bye"), mask=False)
        assert right.recv_message() == "Hello"
        assert right.pings == [b"1"]
        with pytest.raises(PeerClosed) as caught:
            right.recv_message()
        assert (caught.value.code, caught.value.reason) == (1001, "bye")
