"""What a sender wrote takes the memory of the reading process at most, never that of the worker."""

import os
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, JPEGLSLossless, JPEGLSNearLossless

from dicom_node.domain.errors import Unusable
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study
from workers import reader
from workers.image_reader import AT_ONCE, LONGEST_TEXT, LONGEST_VALUE
from workers.pixels import planes
from workers.reader import ImageReader, Room

MEMORY_MIB = 1024
MIB = 1 << 20
PIXEL_DATA = b"\xe0\x7f\x10\x00"


@pytest.fixture
def image() -> Dataset:
    return make_study(phantom(5, lesions=0, slices=1, size=64))[0]


@pytest.fixture(scope="module")
def images() -> Iterator[ImageReader]:
    made = ImageReader(memory_mib=MEMORY_MIB)
    yield made
    made.close()


def saved(image: Dataset, folder: Path) -> Path:
    path = folder / "image.dcm"
    path.write_bytes(file_bytes(image))
    return path


def frames(images: ImageReader, path: Path, count: int = 1) -> np.ndarray:
    header = images.header(path, Room())
    pixels = np.empty((count, header.Rows, header.Columns), np.float32)
    images.fill(list(pixels), path, str(header.SOPInstanceUID))
    return pixels


def refused(images: ImageReader, path: Path) -> str:
    """The code, once this process was seen to have taken hardly any memory."""
    before = peak_mib()
    with pytest.raises(Unusable) as caught:
        frames(images, path)
    assert peak_mib() - before < 100
    return caught.value.code


def peak_mib() -> float:
    """The most that this process held since it was asked last."""
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return peak / 1024


def with_hole(image: Dataset, tag: bytes, size: int, path: Path) -> Path:
    """An image with an OB element of zeros before its pixels, which takes no room on the disk."""
    raw = file_bytes(image)
    at = raw.index(PIXEL_DATA)
    with path.open("wb") as file:
        file.write(raw[:at] + tag + b"OB\0\0" + pack("<I", size))
        file.seek(size, os.SEEK_CUR)
        file.write(raw[at:])
    return path


def test_pixels_are_those_that_the_image_holds(images, image, tmp_path):
    (expected,) = planes(image)
    np.testing.assert_array_equal(frames(images, saved(image, tmp_path))[0], expected)


def test_many_frames_come_in_batches(images, image, tmp_path):
    image.Rows = image.Columns = 256
    image.NumberOfFrames = count = 2 * AT_ONCE // (256 * 256 * 4) + 3
    image.PixelData = np.arange(count, dtype="<u2").repeat(256 * 256).tobytes()
    found = frames(images, saved(image, tmp_path), count)
    assert (found == np.arange(count)[:, None, None] - 1024).all()


def test_a_header_comes_without_what_no_result_needs(images, image, tmp_path):
    image.PatientName, image.StudyDescription = "N" * 2 * LONGEST_TEXT, "as it is"
    image.private_block(0x11, "MAKER", create=True).add_new(1, "LO", "private")
    image.add_new(0x00189810, "OB", bytes(LONGEST_VALUE + 2))
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    header = images.header(saved(image, tmp_path), Room())
    assert str(header.PatientName) == "N" * LONGEST_TEXT
    assert header.StudyDescription == "as it is"
    left_out = {element.tag for element in image} - {element.tag for element in header}
    assert {(tag.group, tag.element) for tag in left_out} == {
        (0x11, 0x10), (0x11, 0x1001), (0x18, 0x9810), (0x7FE0, 0x10)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("syntax", "stated", "lossy"),
    [
        (JPEGBaseline8Bit, None, "01"),
        (JPEGLSNearLossless, "00", "01"),
        (JPEGLSLossless, "00", "00"),
    ],
)
def test_what_an_encoding_loses_is_in_the_header(images, image, tmp_path, syntax, stated, lossy):
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = encapsulate([b"\0\0"])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.LossyImageCompression = stated
    assert images.header(saved(image, tmp_path), Room()).LossyImageCompression == lossy


@pytest.mark.parametrize("tag", [b"\x11\x00\x01\x10", b"\x28\x00\x01\x30"], ids=["private", "own"])
def test_a_long_element_is_read_there_and_left_there(images, image, tmp_path, tag):
    path = with_hole(image, tag, 100 * MIB, tmp_path / "long.dcm")
    before = peak_mib()
    assert frames(images, path).shape == (1, 64, 64)
    assert peak_mib() - before < 50


def test_46_a_header_that_no_memory_holds(images, image, tmp_path):
    path = with_hole(image, b"\x11\x00\x01\x10", MEMORY_MIB * MIB, tmp_path / "giant.dcm")
    assert refused(images, path) == "HEADER_LIMIT"
    assert frames(images, saved(image, tmp_path)).shape == (1, 64, 64)


def test_46_pixels_that_no_memory_holds(images, image, tmp_path):
    """Each frame would do, but not the image."""
    well = saved(image, tmp_path)
    image.Rows = image.Columns = 512
    image.NumberOfFrames = MEMORY_MIB * MIB // (512 * 512 * 2)
    raw, path = file_bytes(image), tmp_path / "giant.dcm"
    at = raw.index(PIXEL_DATA)
    path.write_bytes(raw[: at + 8] + pack("<I", MEMORY_MIB * MIB))
    os.truncate(path, at + 12 + MEMORY_MIB * MIB)
    assert refused(images, path) == "PIXEL_LIMIT"
    assert frames(images, well).shape == (1, 64, 64)


def test_headers_have_room_that_ends(images, image, tmp_path):
    path, room = saved(image, tmp_path), Room()
    images.header(path, room)
    taken = reader.ROOM - room.left
    assert len(dcmread(path)) * reader.ELEMENT < taken < 200 * reader.ELEMENT
    with pytest.raises(Unusable, match="may read"):
        images.header(path, Room(taken - 1))


def test_the_room_is_more_than_headers_take(images, image, tmp_path):
    """However they are used: half of the elements in items, all values looked at."""
    items = [Dataset() for _ in range(5_000)]
    for item in items:
        item.CodeValue = item.CodeMeaning = "1"
    image.AnatomicRegionSequence = items
    path, room = saved(image, tmp_path), Room()
    before = held_mib()
    headers = [images.header(path, room) for _ in range(4)]
    assert sum(1 for header in headers for _ in header.iterall()) > 40_000
    assert held_mib() - before < (reader.ROOM - room.left) / MIB


def held_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def test_a_reader_that_lies_is_not_believed(image, tmp_path, monkeypatch):
    """More frames than there is room for, a header longer than it is, bytes that are no header."""
    (tmp_path / "liar.py").write_text(
        "from dicom_node.sandbox import serve\n"
        "said = {'header': {'size': 8, 'implicit': False, 'little': True},"
        " 'begin': {'count': 9, 'last': False}, 'go on': {'count': 0, 'last': False}}\n"
        "serve(lambda request: said[request['ask']])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    liar = ImageReader("liar")
    path = saved(image, tmp_path)
    for call in (
        lambda: liar.header(path, Room()),
        lambda: liar.fill([np.empty((64, 64), np.float32)], path, "1.2"),
    ):
        with pytest.raises(Unusable):
            call()
    liar.close()
