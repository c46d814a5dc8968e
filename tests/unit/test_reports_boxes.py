"""Boxes of a detector: each has a number, a score and a map, and the legend says which is which."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import analyses
import numpy as np
import pytest
import validators
from highdicom.color import CIELabColor

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.explanation import Trust
from dicom_node.domain.findings import Finding, Presence
from dicom_node.domain.prediction import Box
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.html import report_html
from reports.key_slices import key_slices
from reports.marks import legend_lines
from reports.outlines import OutlinesWriter
from reports.overlay import BOX_COLOR
from reports.part10 import dataset_bytes
from reports.settings import SHORT_DISCLAIMER

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

FRAME = 3
SIZE = 64


def boxed() -> Analysis:
    """Two boxes in one slice: the map of the first lies in it, that of the second does not."""
    given = analyses.analysis(phantom(7, lesions=1, slices=6, size=SIZE))
    target = replace(given.findings[0], segment=None, frame=FRAME, measurements=())
    first = _finding(given, target, 1, (8.0, 8.0), inside=True)
    second = _finding(given, target, 2, (40.0, 36.0), inside=False)
    return replace(given, findings=(first, second), segments=())


def _finding(
    given: Analysis, base: Finding, number: int, corner: tuple[float, float], *, inside: bool
) -> Finding:
    row, column = corner
    assert base.explanation
    assert base.explanation.region
    peak = (FRAME, row + 6 if inside else row - 8, column + 6)
    values = np.zeros(given.images.pixels.shape, np.float32)
    values[FRAME, round(peak[1]) - 2 : round(peak[1]) + 3, round(peak[2]) - 2 :][:, :5] = 5.0
    saliency = replace(base.explanation.saliency, values=values)
    region = replace(base.explanation.region, frame=FRAME, outline=values[FRAME] > 1, centroid=peak)
    return replace(
        base,
        presence=Presence.PRESENT,
        probability=0.97 - number / 10,
        tracking_uid=f"2.25.{number}",
        box=Box(FRAME, corner, (row + 12, column + 12)),
        explanation=replace(base.explanation, saliency=saliency, region=region),
    )


def test_a_presentation_state_has_each_box_with_its_number_and_name() -> None:
    given = boxed()
    (result,) = OutlinesWriter().write(Case(given), ())
    (annotation,) = result.dataset.GraphicAnnotationSequence
    (image,) = annotation.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == given.images.frames[FRAME].sop_instance_uid
    drawn = [
        (g.TrackingUID, np.reshape(g.GraphicData, (-1, 2)).tolist())
        for g in annotation.GraphicObjectSequence
    ]
    assert drawn == [
        ("2.25.1", [[8.5, 8.5], [8.5, 20.5], [20.5, 20.5], [20.5, 8.5], [8.5, 8.5]]),
        ("2.25.2", [[36.5, 40.5], [36.5, 52.5], [48.5, 52.5], [48.5, 40.5], [36.5, 40.5]]),
    ]
    texts = [t.UnformattedTextValue for t in annotation.TextObjectSequence]
    assert texts == [SHORT_DISCLAIMER, "Lesion 1", "Lesion 2"]
    (layer,) = result.dataset.GraphicLayerSequence
    expected = CIELabColor.from_rgb(*BOX_COLOR).value
    assert list(layer.GraphicLayerRecommendedDisplayCIELabValue) == list(expected)


def test_boxes_and_segments_are_numbered_in_a_row_and_have_layers_of_their_own() -> None:
    outlined = analyses.analysis(phantom(7, lesions=1, slices=6, size=SIZE))
    given = replace(boxed(), segments=outlined.segments)
    (result,) = OutlinesWriter().write(Case(given), ())
    texts = {
        text.UnformattedTextValue
        for annotation in result.dataset.GraphicAnnotationSequence
        for text in annotation.TextObjectSequence
    }
    assert texts == {SHORT_DISCLAIMER, "Lesion 1", "Lesion 2", "Lesion 3"}
    assert [x.GraphicLayer for x in result.dataset.GraphicLayerSequence] == ["AI_1", "AI_2"]


@pytest.mark.validators
def test_the_state_of_boxes_is_valid(tool: validators.Tool, tmp_path: Path) -> None:
    tool("dciodvfy")
    (result,) = OutlinesWriter().write(Case(boxed()), ())
    path = tmp_path / "state.dcm"
    path.write_bytes(dataset_bytes(result.dataset))
    assert validators.dciodvfy(path) == []


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_table_legend_and_places_call_a_box_by_the_same_number() -> None:
    text = words(report_html(Case(boxed())))
    for number, chance in ((1, "87%"), (2, "77%")):
        assert f"Lesion {number} Trunk Present" in text
        assert f"Lesion {number} (box), probability {chance}" in text
    first, second = (text.split(f"Lesion {number}: The map names")[1] for number in (1, 2))
    assert "inside the box." in first.split("Lesion 2")[0]
    assert "outside of the box." in second.split("Lesion")[0]


def test_the_legend_has_the_colour_of_the_boxes_and_of_the_places() -> None:
    given = boxed()
    (key,) = key_slices(given)
    lines = legend_lines(given, key)
    assert [(line.color, line.dashed) for line in lines[:2]] == [(BOX_COLOR, False)] * 2
    assert (len(lines), lines[2].dashed) == (3, True)


def test_the_number_stands_beside_its_box() -> None:
    """Where there were two boxes and one is left, the other loses its frame and its number."""
    both, one = boxed(), boxed()
    one = replace(one, findings=both.findings[:1])
    pictures = [np.asarray(Case(given).pictures[0].outlined).astype(int) for given in (both, one)]
    changed = np.abs(pictures[0] - pictures[1]).sum(axis=2) > 60
    rows, columns = np.nonzero(changed)
    scale = changed.shape[0] / SIZE
    beside = changed[: round(40 * scale), round(49 * scale) :]
    assert beside.any(), "no number at the upper right corner of the second box"
    assert rows.min() > 25 * scale
    assert columns.min() > 30 * scale


def test_the_heat_of_all_boxes_of_a_slice_is_shown() -> None:
    given = boxed()
    (key,) = key_slices(given)
    assert key.heat is not None
    maps = [finding.explanation.saliency.values[FRAME] for finding in given.findings]
    assert (key.heat == np.maximum(*maps)).all()


def test_each_box_of_a_slice_has_its_own_verdict_and_checks() -> None:
    """The page told of the first alone, and a second that is not to be trusted stood beside it."""
    given = boxed()
    first, second = given.findings
    assert first.explanation
    assert second.explanation
    doubted = replace(second.explanation.quality, trust=Trust.CAUTION, reasons=("It is doubted.",))
    explanation = replace(
        second.explanation, quality=doubted, counterfactual="Without it, nothing changes."
    )
    given = replace(given, findings=(first, replace(second, explanation=explanation)))
    page = report_html(Case(given))
    one, other = words(page).split("Lesion 2: ")
    for said in ("Trust in this map: caution.", "It is doubted.", "nothing changes."):
        assert (said in one.split("Key slices")[1], said in other) == (False, True), said
    assert page.count('class="trust ') == 2


def test_the_place_of_a_box_names_each_coordinate_once() -> None:
    text = words(report_html(Case(boxed())))
    where = re.search(r"Lesion 1 Trunk Present.*?(Series .*?) Lesion 2", text)
    assert where
    assert len(re.findall(r"[HF] \d", where[1])) == 1


def test_legend_and_table_call_a_segment_by_the_same_name_and_number() -> None:
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=SIZE))
    text = words(report_html(Case(given)))
    for finding in given.findings:
        assert finding.segment
        assert f"Lesion {finding.segment.number} Trunk Present" in text
        assert f"Lesion {finding.segment.number} (segmented)" in text
    assert not re.search(r"\d \d+ \(segmented\)", text)
