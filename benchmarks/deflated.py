"""The compressed messages that the load generator sends: JSON of one length, compressed to one length."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections import defaultdict
from pathlib import Path

#: How many there are; the load generator needs one more than are in flight.
COUNT = 65


def document(seed: int, size: int) -> bytes:
    """Records as an interface might give them, padded to `size` octets."""
    chance = random.Random(seed)
    records: list[dict[str, object]] = []
    while True:
        record = {
            "id": chance.randrange(10**6),
            "name": chance.choice(("alpha", "beta", "gamma", "delta")),
            "price": round(chance.random() * 100, 2),
            "active": chance.random() < 0.5,
        }
        text = json.dumps([*records, record])
        if len(text) > size:
            return json.dumps(records).ljust(size).encode()
        records.append(record)


def compress(message: bytes) -> bytes:
    """As a client without context takeover compresses it (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def write(path: Path, size: int) -> None:
    """Writes the file for `load --deflated`, if it is not there yet."""
    if path.exists():
        return
    by_length: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
    seed = 0
    while True:
        message = document(seed, size)
        compressed = compress(message)
        same = by_length[len(compressed)]
        same.append((message, compressed))
        if len(same) == COUNT:
            break
        seed += 1
    octets = b"".join((*(message for message, _ in same), *(compressed for _, compressed in same)))
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_bytes(struct.pack("<3I", COUNT, size, len(compressed)) + octets)
    unfinished.rename(path)
