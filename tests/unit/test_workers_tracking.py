"""Findings keep their names from run to run: by where they lie, the nearest first, each once."""

import json
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.place import Place, Tracked
from workers.tracking import follow, place_of, remembered, side_place, slices_place


def place(x: float, *, radius: float = 4.0, space: str = "2.25.1") -> Place:
    center, low, high = ((x + d, 0.0, 0.0) for d in (0, -radius, radius))
    return Place(space, f"L{round(x)}", center, low, high)


def run(*places: Place, earlier: list[Tracked] | None = None) -> list[Tracked]:
    """In the order of their numbers."""
    seen = [("Lesion", each) for each in places]
    return [tracked for _, tracked in follow(seen, earlier or [], lambda name: f"uid of {name}")]


def test_each_finding_is_known_once_and_the_nearest_goes_first():
    first = run(place(0), place(12))
    second = run(place(10), place(6), place(1), earlier=first)
    assert [t.place.center[0] for t in second] == [1, 10, 6]
    assert [t.tracking_uid for t in second[:2]] == [t.tracking_uid for t in first]
    assert second[2].tracking_uid not in {t.tracking_uid for t in first}


def test_another_target_and_another_frame_of_reference_are_other_findings():
    first = run(place(0))
    cyst = [replace(each, label="Cyst") for each in first]
    for earlier, here in ((cyst, place(0)), (first, place(0, space="2.25.2"))):
        (new,) = run(here, earlier=earlier)
        assert new.tracking_uid != first[0].tracking_uid


def test_names_differ_even_where_places_have_the_same_name():
    first = run(place(0.2, radius=1), place(-0.2, radius=1))
    assert [t.tracking_id for t in first] == ["Lesion at L0", "Lesion at L0 (2)"]
    assert len({t.tracking_uid for t in first}) == 2


def test_what_one_run_misses_is_known_again_by_the_next():
    first = run(place(0), place(50))
    second = run(place(2), earlier=first)
    known = remembered([first, second])
    assert [t.place.center[0] for t in known] == [2, 50]
    third = run(place(50), place(4), earlier=list(known))
    assert [t.tracking_uid for t in third] == [t.tracking_uid for t in first]


def test_a_ledger_keeps_them_as_json():
    (tracked,) = run(place(3))
    assert Tracked.of(json.loads(json.dumps(tracked.plain()))) == tracked


def images(affine: np.ndarray | None, **attributes: str) -> SourceImages:
    headers = []
    for number in range(4):
        header = Dataset()
        header.SOPInstanceUID = f"2.25.{number + 1}"
        header.FrameOfReferenceUID = "2.25.9"
        for keyword, value in attributes.items():
            setattr(header, keyword, value)
        headers.append(header)
    frames = tuple(FrameReference("1.2", header.SOPInstanceUID) for header in headers)
    return SourceImages(tuple(headers), frames, np.zeros((4, 10, 10), np.float32), affine)


SLICES = np.array([[0, 0, 1, -5], [0, 1, 0, -5], [5, 0, 0, 100], [0, 0, 0, 1.0]])


def test_a_place_is_in_millimetres_of_the_patient_whatever_slices_come_before_it():
    here = place_of(images(SLICES), (2, 4, 1), (1.5, 3.5, 0.5), (2.5, 5.5, 2.5))
    assert (here.space, here.name) == ("2.25.9", "R4 A1 H110 mm")
    assert (here.low, here.high) == ((-4.5, -1.5, 107.5), (-2.5, 0.5, 112.5))
    more = SLICES.copy()
    more[2, 3] = 90  # two more slices below
    assert place_of(images(more), (4, 4, 1), (3.5, 3.5, 0.5), (4.5, 5.5, 2.5)) == here


def test_a_place_without_geometry_is_of_its_image():
    flat = images(None)
    here = place_of(flat, (2, 4, 1), (1.5, 3.5, 0.5), (2.5, 5.5, 2.5))
    assert here.space == "2.25.3"
    other = replace(flat, frames=flat.frames[1:])
    assert place_of(other, (1, 4, 1), (0.5, 3.5, 0.5), (1.5, 5.5, 2.5)) == here
    assert here.distance(place_of(flat, (1, 4, 1), (0.5, 3.5, 0.5), (1.5, 5.5, 2.5))) is None


def test_a_block_of_slices_that_grows_is_the_same_block():
    few, more = (np.isin(np.arange(4), run) for run in ([2], [1, 2, 3]))
    one, other = (slices_place(images(SLICES), run) for run in (few, more))
    assert one.distance(other) is not None


def test_the_views_of_a_side_are_one_place_whichever_shows_it_best():
    left, right = (images(None, ImageLaterality=side) for side in "LR")
    assert side_place(left, 0) == side_place(left, 3)
    assert side_place(left, 0).distance(side_place(right, 0)) is None
