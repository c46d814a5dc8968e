"""PNG pictures of a page on their way into a PDF: taken as they are, neither parsed nor packed."""

import re
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from typing import Any

from PIL import Image
from weasyprint.images import RasterImage

PICTURE = re.compile(r'(?<= src=")data:image/png;base64,([A-Za-z0-9+/=]+)(?=")')
"""Of an attribute: in text, quotes are escaped."""
SIGNATURE_LENGTH, LENGTH, NAME, CHECKSUM = 8, 4, 4, 4
"""Of the parts of a PNG, in bytes (ISO 15948, section 5)."""


def pictures_apart(page: str) -> tuple[str, dict[str, Any]]:
    """A page whose pictures have short names, and the pictures by name, as WeasyPrint keeps them.

    Megabytes of base64 would take the HTML parser longer than all other words.
    """
    found: dict[str, Any] = {}

    def named(match: re.Match[str]) -> str:
        data = b64decode(match[1])
        name = f"data:{sha256(data).hexdigest()}"
        found[name] = _Taken(Image.open(BytesIO(data)), name, data, cache=found)
        return name

    words = PICTURE.sub(named, page)
    return words, found


class _Taken(RasterImage):  # type: ignore[misc]
    """A grey or RGB picture of 8 bits, whose deflated rows the PDF takes over from the PNG.

    WeasyPrint would inflate and deflate them again, which costs most of the time of a report.
    """

    def get_x_object(self, interpolate: bool, dpi_ratio: float) -> Any:
        """Never interpolated: PDF/A forbids it (ISO 19005-3, 6.2.8.1)."""
        return super().get_x_object(False, dpi_ratio)

    @staticmethod
    def _get_png_data(picture: Any) -> bytes:
        return b"".join(_rows(picture.fp.getvalue()))


def _rows(png: bytes) -> Iterator[bytes]:
    """The content of the IDAT chunks."""
    at = SIGNATURE_LENGTH
    while at < len(png):
        length = int.from_bytes(png[at : at + LENGTH], "big")
        start = at + LENGTH + NAME
        if png[at + LENGTH : start] == b"IDAT":
            yield png[start : start + length]
        at = start + length + CHECKSUM
