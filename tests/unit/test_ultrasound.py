"""Ultrasound has a size in millimetres where one region of the image gives it, and nowhere else."""

from collections.abc import Sequence
from dataclasses import replace

import analyses
import numpy as np
import pytest
import sources
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.ultrasound import pixel_size_mm
from reports.annotated import marked
from reports.case import Case
from reports.overlay import scene
from reports.ultrasound_scale import calibrated
from workers.measure import measurements

WHOLE = (0, 0, 63, 63)
PLACE = (20, 20, 30, 40)
CM, SECONDS, BRIGHTNESS, TRACE = 3, 4, 1, 2


def region(
    edges: tuple[int, int, int, int] = WHOLE,
    *,
    units: int = CM,
    shows: int = BRIGHTNESS,
    delta: Sequence[object] = (0.02, 0.02),
) -> Dataset:
    """``edges``: first row and column, last row and column; ``delta``: cm down and across."""
    item = Dataset()
    item.RegionLocationMinY0, item.RegionLocationMinX0 = edges[:2]
    item.RegionLocationMaxY1, item.RegionLocationMaxX1 = edges[2:]
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = shows, 1, 0
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaY, item.PhysicalDeltaX = delta
    return item


def size(*regions: Dataset, place: tuple[int, int, int, int] | None = PLACE) -> object:
    header = Dataset()
    header.SequenceOfUltrasoundRegions = regions
    return pixel_size_mm(header, place)


BELOW = (32, 0, 63, 63)


def test_the_region_that_holds_a_place_gives_its_pixels_their_size() -> None:
    assert size(region()) == pytest.approx((0.2, 0.2))
    assert size(region(delta=(-0.03, 0.02))) == pytest.approx((0.3, 0.2))
    assert size(region((10, 10, 31, 50)), region(BELOW, units=SECONDS)) == pytest.approx((0.2, 0.2))
    assert size(region(), place=None) == pytest.approx((0.2, 0.2))


UNSIZED = {
    "no region": [],
    "a trace": [region(shows=TRACE)],
    "seconds": [region(units=SECONDS)],
    "two regions over each other": [region(), region((15, 15, 35, 45))],
    "a place across two regions": [region((0, 0, 25, 63)), region((26, 0, 63, 63))],
    "a place that leaves the region": [region((0, 0, 25, 63))],
    "a place beside the region": [region(BELOW)],
    "no width": [region(delta=(0.02, 0.0))],
    "an endless width": [region(delta=(0.02, float("inf")))],
    "no edges": [Dataset()],
    "another region without edges": [region(), Dataset()],
}


@pytest.mark.parametrize("case", UNSIZED)
def test_everything_else_has_none(case: str) -> None:
    assert size(*UNSIZED[case]) is None


def test_what_lies_in_the_other_region_is_not_known_of_an_image_as_a_whole() -> None:
    assert size(region((0, 0, 31, 63)), region(BELOW, units=SECONDS), place=None) is None


@pytest.fixture
def loop(tmp_path) -> Analysis:
    """A cine loop with one calibrated region, and a finding in it."""
    source = sources.cine(sources.body(lesions=1))
    source.instances[0].SequenceOfUltrasoundRegions = [region()]
    del source.instances[0].ImagerPixelSpacing
    return source.analysis(tmp_path, analyses.manifest())


def test_a_finding_in_it_has_diameters_and_no_volume(loop: Analysis) -> None:
    (finding,) = loop.findings
    assert finding.segment
    mask = finding.segment.mask
    frame = finding.segment.frames[0]
    box = np.zeros_like(mask)
    box[frame, 10:20, 30:50] = True
    values = {m.name: m.value for m in measurements(box, frame, loop.images)}
    assert values[codes.SCT.LongAxis] == pytest.approx(0.2 * np.hypot(10, 20), rel=0.06)
    assert codes.SCT.Volume not in values


def test_without_a_region_it_has_none(tmp_path) -> None:
    source = sources.cine(sources.body(lesions=1))
    given = source.analysis(tmp_path, analyses.manifest())
    frame = given.segments[0].frames[0]
    names = {m.name for m in measurements(given.segments[0].mask, frame, given.images)}
    assert codes.SCT.LongAxis not in names


def test_its_picture_has_a_scale_that_says_where_it_is_true(loop: Analysis) -> None:
    case = Case(loop)
    key = case.key_slices[0]
    view = scene(loop.images, case.header(key.frame), key.frame, 640)
    assert view.mm_per_pixel is None
    places = [mask for _, mask, _ in marked(loop, key)]
    scaled = calibrated(view, case.header(key.frame), places)
    assert scaled.mm_per_pixel == pytest.approx(0.2 * 64 / 640)
    assert scaled.scale_note == " in the scan area"
    plain = case.pictures[0].outlined.tobytes()
    header = case.header(key.frame)
    del header.SequenceOfUltrasoundRegions
    assert calibrated(view, header, places) == view
    bare = replace(loop, images=replace(loop.images, datasets=(without(loop),)))
    assert Case(bare).pictures[0].outlined.tobytes() != plain


def without(given: Analysis) -> Dataset:
    header = Dataset()
    header.update(given.images.datasets[0])
    del header.SequenceOfUltrasoundRegions
    return header


def test_pixels_that_are_not_square_have_no_one_scale(loop: Analysis) -> None:
    case = Case(loop)
    key = case.key_slices[0]
    header = case.header(key.frame)
    header.SequenceOfUltrasoundRegions = [region(delta=(0.02, 0.03))]
    view = scene(loop.images, header, key.frame, 640)
    assert calibrated(view, header, []).mm_per_pixel is None
