"""Pixels that a header lies about are refused before or by the decoder, each with its code."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from dicom_node.domain.errors import Unusable
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study
from workers.pixels import MAX_FRAMES, MAX_PIXELS, planes


@pytest.fixture
def image() -> Dataset:
    return make_study(phantom(5, lesions=0, slices=2, size=64))[0]


def refused(image: Dataset) -> str:
    with pytest.raises(Unusable) as caught:
        list(planes(image))
    assert image.SOPInstanceUID in str(caught.value)
    return caught.value.code


def compressed(image: Dataset) -> Dataset:
    image.compress(RLELossless, generate_instance_uid=False)
    return image


def test_a_frame_is_rescaled(image):
    (pixels,) = planes(image)
    assert pixels.shape == (64, 64)
    assert pixels.dtype == np.float32
    assert pixels.min() == -1024


@pytest.mark.parametrize("extra", [-2, 2, 4096], ids=["short", "long", "another frame"])
def test_another_length_is_refused(image, extra):
    data = image.PixelData
    image.PixelData = data[:extra] if extra < 0 else data + bytes(extra)
    assert refused(image) == "PIXEL_LENGTH"


def test_a_flood_of_pixels_is_refused_before_it_is_decoded(image):
    image.Rows = image.Columns = 65535
    image.NumberOfFrames = 1 + MAX_PIXELS // 65535**2
    assert refused(image) == "PIXEL_LIMIT"


def test_a_flood_of_frames_without_pixels_is_refused(image):
    image.Rows = image.Columns = 1
    image.NumberOfFrames = MAX_FRAMES + 1
    assert refused(image) == "PIXEL_LIMIT"


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_an_image_of_nothing_is_refused(image, keyword):
    setattr(image, keyword, 0)
    assert refused(image) == "PIXEL_ATTR"


@pytest.mark.parametrize(
    ("keyword", "value"), [("HighBit", 14), ("BitsStored", 17), ("SamplesPerPixel", 3)]
)
def test_contradictory_bits_are_refused(image, keyword, value):
    setattr(image, keyword, value)
    assert refused(image) == "PIXEL_ATTR"


def test_more_frames_than_fragments_are_refused(image):
    compressed(image).NumberOfFrames = 3
    assert refused(image) == "FRAME_COUNT"


def test_a_corrupt_codestream_is_refused(image):
    compressed(image).PixelData = encapsulate([b"\x05" * 700])
    assert refused(image) == "DECODER"


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR", "YBR_FULL"])
def test_colour_is_refused(image, photometric):
    image.PhotometricInterpretation = photometric
    assert refused(image) == "UNSUPPORTED"


def test_no_pixels_are_refused(image):
    del image.PixelData
    assert refused(image) == "UNSUPPORTED"


@pytest.mark.parametrize("slope", ["0", "nan", "inf", "1e300"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:overflow")
def test_a_rescale_that_is_no_number_is_refused(image, slope):
    image.RescaleSlope = slope
    assert refused(image) == "VALUE"


def test_half_a_rescale_is_refused(image):
    """Air of -1024 HU would be read as 0."""
    del image.RescaleSlope
    assert refused(image) == "VALUE"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_number_of_forty_thousand_digits_is_refused(image, tmp_path):
    path = tmp_path / "image.dcm"
    image.NumberOfFrames = 1
    data = file_bytes(image)
    tag = b"\x28\x00\x08\x00IS"
    at = data.index(tag)
    digits = b"9" * 40_000
    path.write_bytes(data[: at + 6] + len(digits).to_bytes(2, "little") + digits + data[at + 10 :])
    assert refused(pydicom.dcmread(path)) == "VALUE"
