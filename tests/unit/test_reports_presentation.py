"""Outlines, heat colours and key images: what a viewer applies to images it already has."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import analyses
import numpy as np
import pytest
import sources
import validators
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.delivery import DEFAULT_KINDS, ResultKind
from dicom_node.domain.findings import Presence, SegmentMask
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import save_study
from reports.case import Case
from reports.colormap import INFERNO
from reports.heat_colors import HeatColorsWriter
from reports.key_objects import KeyObjectsWriter
from reports.outlines import OutlinesWriter
from reports.parametric_map import ParametricMapWriter
from reports.part10 import dataset_bytes
from reports.settings import SHORT_DISCLAIMER
from reports.writer import DEFAULT_WRITERS, WRITERS, ResultWriter, write_results
from workers.volume import read_views

WRITTEN = (ParametricMapWriter(), OutlinesWriter(), HeatColorsWriter(), KeyObjectsWriter())


def written(given: Analysis, *kinds: ResultWriter) -> list[Dataset]:
    """What the last writer wrote."""
    results = write_results(Case(given), kinds)
    datasets = [dcmread(BytesIO(dataset_bytes(result.dataset))) for result in results]
    return [d for d, r in zip(datasets, results, strict=True) if r.kind is kinds[-1].kind]


def test_the_site_chooses_these_kinds_and_gets_the_others_unasked() -> None:
    assert {writer.kind for writer in DEFAULT_WRITERS} == set(DEFAULT_KINDS)
    assert {writer.kind for writer in WRITERS} == set(ResultKind) - {ResultKind.REJECTION_NOTE}


def test_outlines_enclose_the_masks_on_their_images() -> None:
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    (state,) = written(given, OutlinesWriter())
    enclosed: dict[str, float] = {}
    for annotation in state.GraphicAnnotationSequence:
        (image,) = annotation.ReferencedImageSequence
        for graphic in annotation.GraphicObjectSequence:
            x, y = np.reshape(graphic.GraphicData, (-1, 2)).T
            area = float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
            key = f"{image.ReferencedSOPInstanceUID} {graphic.TrackingUID}"
            enclosed[key] = enclosed.get(key, 0) + area
    expected = {
        f"{frame.sop_instance_uid} {segment.tracking_uid}": float(plane.sum())
        for segment in given.segments
        for frame, plane in zip(given.images.frames, segment.mask, strict=True)
        if plane.any()
    }
    assert enclosed == expected


def test_outlines_are_shown_as_the_source_is() -> None:
    (state,) = written(analyses.analysis(), OutlinesWriter())
    assert (state.RescaleIntercept, state.RescaleSlope, state.RescaleType) == (-1024, 1, "HU")
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (40, 400)
    assert state.PresentationLUTShape == "IDENTITY"
    texts = state.GraphicAnnotationSequence[0].TextObjectSequence
    assert [text.UnformattedTextValue for text in texts] == [SHORT_DISCLAIMER, "Lesion 1"]


def test_a_monochrome1_source_stays_as_bright_as_it_was() -> None:
    negative = analyses.with_text(analyses.analysis(), {"PhotometricInterpretation": "MONOCHROME1"})
    (state,) = written(negative, OutlinesWriter())
    assert state.PresentationLUTShape == "INVERSE"


def test_pixels_that_are_not_square_are_shown_in_their_proportions() -> None:
    given = analyses.analysis()
    affine = given.images.affine @ np.diag([1, 2, 1, 1])
    (state,) = written(
        replace(given, images=replace(given.images, affine=affine)), OutlinesWriter()
    )
    height, width = state.DisplayedAreaSelectionSequence[0].PresentationPixelSpacing
    assert height == pytest.approx(2 * width)


def test_images_that_are_rescaled_differently_have_outlines_of_their_own() -> None:
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    for number, header in enumerate(given.images.datasets):
        header.RescaleSlope = 1 + number % 2
    states = written(given, OutlinesWriter())
    assert sorted(state.RescaleSlope for state in states) == [1, 2]
    assert len({state.SOPInstanceUID for state in states}) == 2


def test_each_series_has_outlines_of_its_own_in_the_size_of_its_pixels(tmp_path: Path) -> None:
    views = sources.KINDS["MG"](sources.body(lesions=2)).instances
    views[1].SeriesInstanceUID, views[1].ImagerPixelSpacing = "2.25.4711", [0.4, 0.2]
    images = read_views(save_study(views, tmp_path))
    masks = np.zeros((2, *images.pixels.shape), bool)
    masks[0, 0, 20:30, 20:30] = masks[1, 1, 40:50, 30:40] = True
    given = analyses.of_images(images, list(masks), analyses.manifest())
    states = written(given, OutlinesWriter())
    named = {}
    for state in states:
        (series,) = state.ReferencedSeriesSequence
        (image,) = series.ReferencedImageSequence
        named[image.ReferencedSOPInstanceUID] = series.SeriesInstanceUID
        (annotation,) = state.GraphicAnnotationSequence
        assert annotation.ReferencedImageSequence[0] == image
    assert named == {d.SOPInstanceUID: d.SeriesInstanceUID for d in images.datasets}
    ratios = {
        state.ReferencedSeriesSequence[0].SeriesInstanceUID: list(
            state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio
        )
        for state in states
    }
    assert ratios.pop("2.25.4711") == [400, 200]
    assert list(ratios.values()) == [[200, 200]]


def test_a_window_is_made_where_the_source_names_none() -> None:
    given = analyses.analysis()
    for header in given.images.datasets:
        del header.WindowCenter, header.WindowWidth
    (state,) = written(given, OutlinesWriter())
    assert all(window.WindowWidth > 1 for window in state.SoftcopyVOILUTSequence)


def test_a_window_in_which_nothing_lies_is_none() -> None:
    (state,) = written(
        analyses.with_text(analyses.analysis(), {"WindowWidth": "0"}), OutlinesWriter()
    )
    assert all(window.WindowWidth > 1 for window in state.SoftcopyVOILUTSequence)


def test_images_of_small_numbers_are_shown_in_their_range() -> None:
    """Of a diffusion coefficient, in mm2/s: a width of 1 would show all of them black."""
    given = analyses.analysis()
    for header in given.images.datasets:
        del header.WindowCenter, header.WindowWidth
    small = replace(given, images=replace(given.images, pixels=given.images.pixels * 1e-6))
    (state,) = written(small, OutlinesWriter())
    for window in state.SoftcopyVOILUTSequence:
        assert (window.VOILUTFunction, window.WindowWidth < 0.01) == ("LINEAR_EXACT", True)


def lut(vr: str, first: int, **attributes: str) -> Dataset:
    """A table of 4096 entries."""
    item = Dataset()
    item.LUTDescriptor = [4096, first, 16]
    item["LUTDescriptor"].VR = vr
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    item.LUTData = np.linspace(0, 65535, 4096).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


def tabled(folder: Path, **tables: list[Dataset]) -> Analysis:
    """Two radiographs, displayed by tables and neither by a window nor by a slope."""
    views = sources.radiograph(
        sources.body(), ComputedRadiographyImageStorage, "CR", views=2, **tables
    )
    for image in views.instances:
        del image.WindowCenter, image.WindowWidth
    return views.analysis(folder, analyses.manifest())


@pytest.mark.validators
def test_images_that_are_displayed_by_tables_keep_them(
    tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """A Modality LUT, and a VOI LUT whose descriptor is signed and whose data are words."""
    tool("dciodvfy")
    given = tabled(
        tmp_path / "source",
        ModalityLUTSequence=[lut("US", 0, ModalityLUTType="US")],
        VOILUTSequence=[lut("SS", -5, LUTExplanation="bone")],
    )
    (state,) = written(given, OutlinesWriter())
    (table,), (window,) = state.ModalityLUTSequence, state.SoftcopyVOILUTSequence
    assert table.LUTData == lut("US", 0).LUTData
    assert window.VOILUTSequence[0].LUTDescriptor == [4096, -5, 16]
    assert window.VOILUTSequence[0].LUTExplanation == "bone"
    assert Case(given).sources.repairs == ()
    path = tmp_path / "state.dcm"
    path.write_bytes(dataset_bytes(state))
    assert validators.dciodvfy(path) == []


def test_images_with_different_tables_have_outlines_of_their_own(tmp_path: Path) -> None:
    given = tabled(tmp_path, ModalityLUTSequence=[lut("US", 0, ModalityLUTType="US")])
    given.images.datasets[1].ModalityLUTSequence[0].ModalityLUTType = "OD"
    states = written(replace(given, segments=_in_both(given)), OutlinesWriter())
    assert {state.ModalityLUTSequence[0].ModalityLUTType for state in states} == {"US", "OD"}


def _in_both(given: Analysis) -> tuple[SegmentMask, ...]:
    first = given.segments[0]
    there = np.repeat(first.mask.any(axis=0)[None], len(given.images.frames), axis=0)
    return (replace(first, mask=there),)


def test_without_segments_there_is_nothing_to_outline() -> None:
    none = analyses.analysis(phantom(7, lesions=0, slices=12, size=96))
    assert written(none, OutlinesWriter()) == []


def test_heat_colours_are_those_of_the_pictures_over_the_same_scale() -> None:
    results = write_results(Case(analyses.analysis()), (ParametricMapWriter(), HeatColorsWriter()))
    heat, state = (result.dataset for result in results)
    (series,) = state.ReferencedSeriesSequence
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == heat.SOPInstanceUID
    assert series.SeriesInstanceUID == heat.SeriesInstanceUID
    (window,) = state.SoftcopyVOILUTSequence
    assert float(window.WindowWidth) == analyses.FULL_SCALE
    for channel, name in enumerate(("Red", "Green", "Blue")):
        table = np.frombuffer(state[f"{name}PaletteColorLookupTableData"].value, "<u2")
        assert (table >> 8 == INFERNO[:, channel]).all()


def test_key_objects_are_the_slices_of_the_findings_and_their_maps() -> None:
    given = analyses.analysis(phantom(7, lesions=2, slices=24, size=96))
    results = write_results(Case(given), (ParametricMapWriter(), KeyObjectsWriter()))
    *maps, selection = (result.dataset for result in results)
    items = [item for item in selection.ContentSequence if "ReferencedSOPSequence" in item]
    named = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items]
    slices = {given.images.frames[f.frame].sop_instance_uid for f in given.findings}
    assert set(named) == slices | {heat.SOPInstanceUID for heat in maps}
    assert selection.ConceptNameCodeSequence[0].CodeValue == "113000"
    assert not any("ConceptNameCodeSequence" in item for item in items), "TID 2010 forbids it"


def test_an_absence_has_no_key_image() -> None:
    none = analyses.analysis(phantom(7, lesions=0, slices=12, size=96))
    assert written(none, KeyObjectsWriter()) == []


def test_what_is_undetermined_has_one() -> None:
    given = analyses.with_finding(analyses.analysis(), presence=Presence.UNDETERMINED)
    assert len(written(given, KeyObjectsWriter())) == 1


@pytest.mark.validators
@pytest.mark.parametrize("lesions", [1, 2])
def test_no_validator_finds_an_error(
    lesions: int, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    tool("dciodvfy"), tool("dcentvfy")
    given = analyses.analysis(phantom(7, lesions=lesions, slices=24, size=96))
    paths = []
    for number, result in enumerate(write_results(Case(given), WRITTEN)):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(dataset_bytes(result.dataset))
        assert validators.dciodvfy(paths[-1]) == []
    assert validators.dcentvfy(paths) == []
