"""Pictures show the right side, the right size and evidence in absolute units."""

import math
from dataclasses import replace
from typing import Any

import analyses
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.domain.findings import Presence
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.colormap import INFERNO, colors
from reports.compass import bar_cm, edge_letters, pixel_size_mm, place
from reports.key_slices import key_slices
from reports.outline import outline
from reports.overlay import add_heat, scene
from reports.window import gray

TILT = math.radians(15)
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
OBLIQUE = ((1.0, 0.0, 0.0), (0.0, math.cos(TILT), math.sin(TILT)))
FEET_FIRST_PRONE = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))

RAMP = np.linspace(-100, 200, 301, dtype=np.float32).reshape(1, -1)


def window(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_the_linear_window_is_that_of_the_standard() -> None:
    """PS3.3 C.11.2.1.2.1: black at c - 0.5 - (w-1)/2, white at c - 0.5 + (w-1)/2."""
    levels = gray(RAMP, window(WindowCenter=50, WindowWidth=100))[0]
    assert levels[RAMP[0] == 0] == pytest.approx(0)
    assert levels[RAMP[0] == 99] == pytest.approx(1)
    assert levels[RAMP[0] == 49] == pytest.approx(49 / 99, abs=1e-4)


def test_the_first_of_several_windows_and_monochrome1_are_respected() -> None:
    both = window(WindowCenter=[50, 400], WindowWidth=[100, 2000], VOILUTFunction="LINEAR_EXACT")
    levels = gray(RAMP, both)[0]
    assert levels[RAMP[0] == 50] == pytest.approx(0.5)
    both.PhotometricInterpretation = "MONOCHROME1"
    assert gray(RAMP, both)[0] == pytest.approx(1 - levels)


def test_a_lookup_table_serves_where_there_is_no_window() -> None:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4, 10, 8], [0, 85, 170, 255]
    levels = gray(RAMP, window(VOILUTSequence=[lut]))[0]
    values = {value: levels[RAMP[0] == value][0] for value in (-50, 11, 100)}
    assert values == {-50: pytest.approx(0), 11: pytest.approx(1 / 3), 100: pytest.approx(1)}


def test_without_a_window_the_range_of_the_slice_is_shown() -> None:
    levels = gray(RAMP, Dataset())
    assert levels.min() == 0
    assert levels.max() == 1
    assert gray(np.zeros((4, 4), np.float32), Dataset()).max() == 0


def test_a_multi_frame_image_has_its_window_in_the_functional_groups() -> None:
    voi, frame, header = Dataset(), Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = 50, 100, "LINEAR_EXACT"
    frame.FrameVOILUTSequence = [voi]
    header.PerFrameFunctionalGroupsSequence = [Dataset(), frame]
    assert gray(RAMP, header, 2)[0][RAMP[0] == 50] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("directions", "letters"),
    [
        (((1, 0, 0), (0, 1, 0)), ("R", "L", "A", "P")),
        (CORONAL, ("R", "L", "H", "F")),
        (SAGITTAL, ("A", "P", "H", "F")),
        (OBLIQUE, ("R", "L", "AF", "PH")),
        (FEET_FIRST_PRONE, ("L", "R", "P", "A")),
    ],
)
def test_orientation_letters_follow_the_geometry(directions: Any, letters: Any) -> None:
    source = phantom(1, slices=4, size=64, lesions=0)
    given = analyses.analysis(source, analyses.study(source, directions=directions))
    assert edge_letters(given.images, Dataset()) == letters


def test_a_projection_image_says_itself_where_left_is() -> None:
    images = replace(analyses.analysis().images, affine=None)
    header = window(PatientOrientation=["L", "F"], ImagerPixelSpacing=[0.2, 0.1])
    assert edge_letters(images, header) == ("R", "L", "H", "F")
    assert pixel_size_mm(images, header) == (0.2, 0.1, " at detector")
    assert edge_letters(images, Dataset()) is None
    assert pixel_size_mm(images, Dataset()) == (1.0, 1.0, None)


def test_a_slice_is_named_as_a_viewer_names_it() -> None:
    given = analyses.analysis()
    assert place(given.images, 3, given.images.datasets[3]) == "Series 2, image 4, H 15.0 mm"


@pytest.mark.parametrize(("width_mm", "bar"), [(360, 10), (100, 2), (25, 0.5), (2, None)])
def test_the_scale_bar_is_round_and_fits(width_mm: float, bar: float | None) -> None:
    assert bar_cm(width_mm) == bar


@pytest.mark.parametrize("mark", ["overlay.edge_letters", "marks.bar_cm"])
@pytest.mark.parametrize("picture", ["outlined", "heated", "panel"])
def test_every_picture_has_its_letters_and_its_scale(
    picture: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = analyses.analysis(phantom(7, slices=3, size=64))
    marked = getattr(Case(given).pictures[0], picture).tobytes()
    monkeypatch.setattr(f"reports.{mark}", lambda *_args: None)
    assert getattr(Case(given).pictures[0], picture).tobytes() != marked


def test_pictures_keep_true_proportions() -> None:
    given = analyses.analysis()
    affine = given.images.affine.copy()
    affine[:3, 1] *= 2
    images = replace(given.images, affine=affine)
    view = scene(images, given.images.datasets[0], 0, 400)
    assert view.size == (200, 400)
    assert view.mm_per_pixel == pytest.approx(720 / 400)


def test_equal_evidence_has_equal_colour_and_weak_evidence_stays_faint() -> None:
    """Never stretched: half of full scale looks the same whatever else is in the slice."""
    alone, beside = (np.full((1, 3, 3), 90, np.float32) for _ in range(2))
    add_heat(alone, np.array([[0.0, 0.5, 0.0]]))
    add_heat(beside, np.array([[0.02, 0.5, 1.7]]))
    assert (alone[0, 1] == beside[0, 1]).all()
    assert (alone[0, 0] == 90).all()
    assert (beside[0, 0] == 90).all()


def test_the_colour_map_gets_evenly_brighter() -> None:
    luminance = INFERNO.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.5).all()
    assert (colors(np.array([-1.0, 2.0])) == INFERNO[[0, -1]]).all()


@pytest.mark.parametrize("dashed", [False, True])
def test_an_outline_encloses_its_mask_and_hides_nothing_of_it(dashed: bool) -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:30, 40:50] = True
    picture = np.zeros((256, 256, 3), np.float32)
    outline(mask, (256, 256), (255, 180, 0), dashed=dashed).draw(picture)
    rows, columns = np.nonzero(picture[..., 0] > 128)
    assert 74 <= rows.min() <= 80
    assert 118 <= rows.max() <= 125
    assert 154 <= columns.min() <= 160
    assert 198 <= columns.max() <= 205
    assert picture[84:116, 164:196].max() == 0


def test_a_single_pixel_and_a_mask_at_the_border_have_outlines() -> None:
    for row, column in ((10, 10), (0, 63), (63, 0)):
        mask = np.zeros((64, 64), bool)
        mask[row, column] = True
        picture = np.zeros((256, 256, 3), np.float32)
        outline(mask, (256, 256), (255, 180, 0)).draw(picture)
        assert picture.max() > 200


def test_heat_lies_on_the_lesion_and_nowhere_else() -> None:
    """The place in the picture is the place in the mask: nothing is flipped or shifted."""
    given = analyses.analysis()
    picture = Case(given).pictures[0]
    bare = np.asarray(picture.outlined, float)
    warm = np.asarray(picture.heated, float)[:, : bare.shape[1]]
    changed = np.abs(warm - bare).sum(axis=2)
    rows, columns = np.nonzero(changed > 60)
    mask = given.segments[0].mask[picture.key.frame]
    expected = np.mean(np.nonzero(mask), axis=1) / mask.shape[0] * bare.shape[0]
    assert np.abs([rows.mean(), columns.mean()] - expected).max() < bare.shape[0] * 0.03


def test_without_a_place_there_is_no_heat() -> None:
    picture = Case(analyses.analysis(localised=False)).pictures[0]
    assert picture.heated is None
    assert picture.key.regions == ()


def test_the_panel_warns_in_its_pixels() -> None:
    panel = Case(analyses.analysis()).pictures[0].panel
    assert isinstance(panel, Image.Image)
    band = np.asarray(panel)[:40].reshape(-1, 3)
    assert (band == (255, 191, 0)).all(axis=1).mean() > 0.5
    assert 700 <= panel.width <= 1024
    assert panel.height <= 1100


def test_many_findings_do_not_flood_and_the_reader_is_told() -> None:
    given = analyses.analysis(phantom(7, slices=24, size=64))
    finding = given.findings[0]
    many = [replace(finding, frame=frame, probability=0.5 + frame / 100) for frame in range(20)]
    case = Case(replace(given, findings=tuple(many)))
    assert [key.frame for key in case.key_slices] == list(range(19, 3, -1))
    assert "Only 16 of 20 key slices are shown; the table lists all findings." in case.notes


def test_key_slices_are_of_what_is_there_else_of_what_was_searched() -> None:
    two = analyses.analysis(phantom(7, lesions=2, size=128))
    assert [key.number for key in key_slices(two)] == [1, 2]
    one_absent = analyses.with_finding(two, 1, presence=Presence.ABSENT)
    assert [k.frame for k in key_slices(one_absent)] == [two.findings[0].frame]
    none = analyses.analysis(phantom(7, lesions=0, slices=12, size=128))
    assert [k.findings for k in key_slices(none)] == [none.findings]
