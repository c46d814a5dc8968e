"""Pictures as PNG (ISO 15948), in about half of Pillow's time and hardly larger."""

import zlib
from struct import pack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = ">LLBBBBB"
BITS, TRUE_COLOR, UP = 8, 2, 2
LEVEL = 2
"""Of deflate: noisy pictures come out smaller than at the highest, in a fifth of the time."""


def png(image: Image.Image) -> bytes:
    """An RGB picture of 8 bits a channel.

    Each row is stored as its difference from the row above: of pictures of tissue that is as small
    as to try all five filters on each row, which costs Pillow more than to deflate.
    """
    pixels = np.asarray(image, dtype=np.uint8)
    height, width = pixels.shape[:2]
    header = pack(HEADER, width, height, BITS, TRUE_COLOR, 0, 0, 0)
    rows = zlib.compress(_filtered(pixels.reshape(height, -1)), LEVEL)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _filtered(rows: NDArray[np.uint8]) -> bytes:
    """Rows with the number of their filter before each."""
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered.tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return pack(">L", len(data)) + name + data + pack(">L", zlib.crc32(name + data))
