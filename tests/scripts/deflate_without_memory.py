"""Receives and sends a compressed message once for every allocation that may fail meanwhile."""

import _testcapi
import zlib

from lws_gevent.codec import load
from lws_gevent.deflate import Deflate, Deflaters
from lws_gevent.errors import ProtocolError
from lws_gevent.extensions import DeflateParameters, PerMessageDeflate
from lws_gevent.frames import Role

Protocol = load("c").Protocol
message = b"words and words " * 1000
compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
payload = (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
assert len(payload) < 126
frame = bytes([0xC2, len(payload)]) + payload  # of a server


def without_memory(count, function):
    """What `function` gives when the allocation of this number fails."""
    _testcapi.set_nomemory(count, count + 1)
    try:
        return function()
    except MemoryError:
        return "raised"
    finally:
        _testcapi.remove_mem_hooks()


received, sent = set(), set()
for takeover in (False, True):
    parameters = DeflateParameters(not takeover, not takeover)
    for count in range(1, 150):
        shared = Deflaters(PerMessageDeflate())
        deflate = Deflate(parameters, Role.CLIENT, shared)
        protocol = Protocol(Role.CLIENT, max_payload=100_000, deflate=deflate)
        protocol.receive_data(frame)
        event = without_memory(count, protocol.next_event)
        if event == "raised":
            received.add("raised")
        elif event[0] == "error":
            assert isinstance(event[1], ProtocolError) and event[1].close_code == 1011, event
            received.add("failed")
        else:
            assert event == ("message", message, True)
            received.add("message")

        deflate = Deflate(parameters, Role.SERVER, shared)
        protocol = Protocol(Role.SERVER, max_payload=100_000, deflate=deflate)
        result = without_memory(count, lambda: protocol.send_message(message, True, True))  # noqa: B023
        sent.add("raised" if result == "raised" else "sent")
        protocol.send_message(b"after it", True, True)
        first, *rest = protocol.data_to_send()
        assert not rest
        inflater = zlib.decompressobj(-15)
        messages = []
        while first:
            assert first[0] == 0xC2 and first[1] < 126
            messages.append(inflater.decompress(first[2 : 2 + first[1]] + b"\x00\x00\xff\xff"))
            first = first[2 + first[1] :]
        assert messages == [b"after it"] if result == "raised" else [message, b"after it"], (count, messages)

print(sorted(received), sorted(sent))
