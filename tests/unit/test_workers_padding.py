"""What a header calls padding is no pixel: no statistic counts it, no evidence belongs there."""

import numpy as np
import pytest
from pydantic import TypeAdapter
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_node.domain import steps
from dicom_node.domain.images import FrameReference, SourceImages
from explain.evidence import Seen, free
from workers.padding import padding
from workers.steps import apply
from workers.steps.prepared import Prepared

ROWS = COLUMNS = 16
STEP = TypeAdapter(steps.Step)
AXIAL = np.array([[0, 0, 3, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)


def images(pixels, **attributes) -> SourceImages:
    headers = []
    for number in range(len(pixels)):
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"2.25.{number + 1}"
        for keyword, value in attributes.items():
            setattr(header, keyword, value)
        headers.append(header)
    frames = tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers)
    return SourceImages(tuple(headers), frames, np.asarray(pixels, np.float32), AXIAL)


def run(source: SourceImages, *tables: dict) -> Prepared:
    return apply(Prepared.start(source), [STEP.validate_python(table) for table in tables])


def padded(value: float = -2000.0, **attributes):
    """Two noisy planes, at -1000 to 400, with padding; and which pixels are padding."""
    pixels = np.random.default_rng(0).integers(-1000, 400, (2, ROWS, COLUMNS)).astype(np.float32)
    none = np.zeros(pixels.shape, bool)
    none[:, :6] = True
    given = {"RescaleSlope": 2, "RescaleIntercept": -1024, "BitsAllocated": 16,
             "PixelRepresentation": 1, "PixelPaddingValue": (value + 1024) / 2}  # fmt: skip
    given = {k: int(v) for k, v in given.items()} | attributes
    return images(np.where(none, value, pixels), **given), none


def test_what_is_padding_stands_in_the_header_in_stored_values():
    source, none = padded()
    assert (padding(source) == none).all()
    assert padding(images(source.pixels)) is None
    ranged, none = padded(PixelPaddingRangeLimit=-600)  # -2224 in HU
    ranged.pixels[0, 0] = -2200
    assert (padding(ranged) == none).all()
    other, none = padded(PixelPaddingValue=2**16 - 488)  # -488, by a writer without signs
    assert (padding(other) == none).all()


@pytest.mark.parametrize(
    "table",
    [
        {"step": "z_score"},
        {"step": "z_score", "over": "series"},
        {"step": "clip_percentiles", "low": 2, "high": 98},
        {"step": "clip_percentiles", "low": 2, "high": 98, "over": "series"},
        {"step": "histogram_equalization"},
        {"step": "histogram_equalization", "over": "series"},
        {"step": "voi"},
        {"step": "k_means"},
        {"step": "k_means", "over": "series"},
    ],
    ids=str,
)
def test_a_statistic_is_that_of_the_image_without_its_padding(table):
    source, none = padded()
    alone = images(source.pixels[:, 6:])
    values, expected = run(source, table).values, run(alone, table).values
    np.testing.assert_allclose(values[:, 6:], expected, rtol=1e-4, atol=1e-5)
    for plane, mask, known in zip(values, none, expected, strict=True):
        assert plane[mask][:, -1] == pytest.approx(known[..., -1].min(), abs=1e-5)


def test_padding_is_dark_however_the_image_is_shown_and_moves_along():
    source, _ = padded(3000.0, PhotometricInterpretation="MONOCHROME1")
    window = {"step": "window", "center": -300, "width": 1400}
    shown = run(source, window, {"step": "monochrome1"}).values[..., 0]
    assert shown[:, :6].max() <= shown[:, 6:].min()
    moved = run(source, {"step": "resize", "rows": 32, "columns": 8}, {"step": "orient",
                "rows": "A", "columns": "L"})  # fmt: skip
    assert moved.padding.shape == (2, 32, 8)
    assert moved.padding[:, 20:].all()
    assert not moved.padding[:, :20].any()


def test_an_image_of_nothing_else_goes_through_and_others_lose_nothing():
    source, _ = padded()
    source.pixels[0] = -2000
    for step in ("z_score", "clip_percentiles", "histogram_equalization", "clahe", "k_means"):
        assert np.isfinite(run(source, {"step": step}).values).all()


def test_evidence_in_padding_is_evidence_beyond_the_patient():
    image = np.random.default_rng(0).uniform(0.5, 1, (32, 32, 1)).astype(np.float32)
    values = np.zeros((32, 32), np.float32)
    values[4:8, 4:8] = values[20:24, 20:24] = 1
    none = np.zeros((32, 32), bool)
    none[:12] = True
    inside, beyond = (Seen(image, values, 1.0, 0.0, padding=mask) for mask in (None, none))
    assert free(inside)["beyond"] == 0
    assert free(beyond)["beyond"] == pytest.approx(0.5)
