"""Zip files that open, and whose members do not."""

LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
HEADER = 30
"""Bytes of a local header before the name."""


def encrypted(data: bytes) -> bytes:
    """Said to be, by a flag of each member."""
    raw = bytearray(data)
    for mark, flags in ((LOCAL, 6), (CENTRAL, 8)):
        place = raw.find(mark)
        while place >= 0:
            raw[place + flags] |= 1
            place = raw.find(mark, place + 1)
    return bytes(raw)


def torn(data: bytes) -> bytes:
    """The first member is no stream of deflate."""
    raw = bytearray(data)
    begin = HEADER + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")
    raw[begin : begin + 4] = b"\xff" * 4
    return bytes(raw)
