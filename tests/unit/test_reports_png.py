"""Pictures of the page are PNG files that others read, pixel for pixel, and no larger."""

from io import BytesIO

import analyses
import pytest
from PIL import Image

from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.png import LEVEL, png


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    (drawn,) = Case(analyses.analysis(phantom(7, slices=3, size=128))).pictures
    assert drawn.heated is not None
    return [drawn.outlined, drawn.heated, Image.new("RGB", (1, 1), (9, 8, 7))]


def test_pillow_reads_the_same_pixels(pictures: list[Image.Image]) -> None:
    for picture in pictures:
        read = Image.open(BytesIO(png(picture)))
        read.verify()
        read = Image.open(BytesIO(png(picture)))
        assert (read.format, read.mode, read.size) == ("PNG", "RGB", picture.size)
        assert read.tobytes() == picture.tobytes()


def test_they_are_hardly_larger_than_pillow_makes_them(pictures: list[Image.Image]) -> None:
    for picture in pictures[:2]:
        theirs = BytesIO()
        picture.save(theirs, "PNG", compress_level=LEVEL)
        assert len(png(picture)) < 1.1 * len(theirs.getvalue())
