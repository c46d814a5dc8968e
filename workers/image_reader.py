"""Reads one stored image, in a process of its own with little memory: ``python -m`` this module.

What is not as it was received is not looked at: each file is hashed before it is parsed.

Answers requests of ``reader.ImageReader``. What is large goes into a file in memory that both
processes hold.
"""

import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UndecodablePixels, Unusable
from dicom_node.sandbox import serve
from dicom_node.store import StoredFile
from workers.pixels import planes

LONGEST_TEXT, LONGEST_VALUE, LONGEST_SEQUENCE = 64 << 10, 256 << 10, 32 << 20
"""Bytes. Results cut texts far below this; a LUT of 16 bits is half of the second."""
TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
"""Transfer syntaxes that lose something of every image."""
AT_ONCE = 64 << 20
"""Bytes of pixels that one answer holds, or one frame that is larger."""
UNREADABLE = (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError)
Element = RawDataElement | DataElement


def kept(header: Dataset) -> bytes:
    """What results and models may need of a header, in its own encoding.

    Private attributes are left out, and values that no image needs; long texts are cut.
    """
    implicit, little = header.original_encoding
    charset = header.original_character_set
    charsets = charset if isinstance(charset, str) else list(charset)
    written = bytearray()
    for tag in sorted(header.keys()):
        if not tag.is_private and (element := _shortened(header.get_item(tag))) is not None:
            buffer = DicomBytesIO()
            buffer.is_implicit_VR, buffer.is_little_endian = bool(implicit), bool(little)
            write_data_element(buffer, element, charsets)
            if len(buffer.getvalue()) <= LONGEST_SEQUENCE:
                written += buffer.getvalue()
    return bytes(written)


def _shortened(element: Element) -> Element | None:
    if not isinstance(element, RawDataElement) or element.value is None:
        return element
    size, vr = len(element.value), element.VR or _known_vr(element)
    if vr in TEXT and size > LONGEST_TEXT:
        return element._replace(value=element.value[:LONGEST_TEXT], length=LONGEST_TEXT)
    return element if vr == "SQ" or size <= LONGEST_VALUE else None


def _known_vr(element: RawDataElement) -> str:
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return ""


def _read(file: StoredFile, *, stop_before_pixels: bool) -> Dataset:
    if not file.is_as_expected:
        raise UndecodablePixels("not the bytes that were received", code="ALTERED")
    try:
        with file.open() as content:
            return dcmread(content, stop_before_pixels=stop_before_pixels)
    except UNREADABLE as error:
        raise UndecodablePixels("not a DICOM file", code="UNPARSEABLE") from error


def _header(file: StoredFile, shared: BinaryIO) -> dict[str, Any]:
    header = _read(file, stop_before_pixels=True)
    if header.file_meta.get("TransferSyntaxUID") in LOSSY:
        header.LossyImageCompression = "01"  # whatever it says: results must not hide it
    try:
        implicit, little = header.original_encoding
        return {"size": shared.write(kept(header)), "implicit": implicit, "little": little}
    except UNREADABLE as error:
        raise UndecodablePixels("not a DICOM header", code="UNPARSEABLE") from error


class Frames:
    """Those of the image that is read at present."""

    def __init__(self) -> None:
        self._left: Iterator[FloatArray] = iter(())

    def begin(self, file: StoredFile, shared: BinaryIO) -> dict[str, Any]:
        """The first batch of another image."""
        self._left = iter(())  # lets go of the image before
        self._left = planes(_read(file, stop_before_pixels=False))
        return self.go_on(file, shared)

    def go_on(self, _: StoredFile, shared: BinaryIO) -> dict[str, Any]:
        """The next batch."""
        count = 0
        for count, frame in enumerate(self._left, 1):
            shared.write(np.ascontiguousarray(frame).data)
            if shared.tell() >= AT_ONCE:
                return {"count": count, "last": False}
        return {"count": count, "last": True}


def answer(frames: Frames, request: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for; of what cannot be read, the reason code."""
    asked = {"header": _header, "begin": frames.begin, "go on": frames.go_on}[request["ask"]]
    file = StoredFile(Path(request["path"]), request["offset"], request["size"], request["sha256"])
    try:
        with open(request["into"], "r+b", closefd=False) as shared:
            shared.seek(0)
            return asked(file, shared)
    except Unusable as error:
        return {"refused": error.code}
    except MemoryError:
        return {"refused": "HEADER_LIMIT" if request["ask"] == "header" else "PIXEL_LIMIT"}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(partial(answer, Frames()))
