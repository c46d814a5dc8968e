"""Boxes keep their names when a study is analysed again, however the probabilities change."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

import workers.bundles
from dicom_node.catalog import open_bundle
from dicom_node.domain.findings import Finding
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.prediction import Box, Boxes, Prediction
from dicom_node.domain.provenance import Provenance
from workers.findings import Case
from workers.outputs.detection import answer
from workers.tracking import remembered, tracked

MANIFEST = open_bundle(Path(workers.bundles.__file__).parent / "tasks" / "qa-boxes").manifest
PROVENANCE = Provenance("2.25.9", 1, "input", "bundle", "config", datetime(2026, 1, 2))
AFFINE = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1.0]])
Seen = tuple[int, float, float, float]
"""Frame, row and column of a corner, probability."""


def found(*seen: Seen, earlier: Sequence[Finding] = ()) -> list[Finding]:
    frames = tuple(FrameReference("1.2", f"2.25.{n}") for n in range(1, 9))
    images = SourceImages((), frames, np.zeros((8, 64, 64), np.float32), AFFINE)
    corners = [(f, float(row), float(column)) for f, row, column, _ in seen]
    places = tuple(Box(f, (row, column), (row + 8, column + 8)) for f, row, column in corners)
    chances = np.array([[chance] for *_, chance in seen], np.float32)
    nothing = np.zeros((8, 1), np.float32)
    masks = np.zeros((8, 64, 64, 0), np.float32)
    prediction = Prediction(nothing, nothing, masks, boxes=Boxes(places, chances, chances))
    known = remembered([tracked(earlier)])
    (plan,) = MANIFEST.outputs
    return list(answer(Case(MANIFEST, PROVENANCE, images, prediction, known), plan).findings)


def test_a_likelier_box_takes_neither_name_nor_number_from_an_old_one() -> None:
    first = found((2, 10, 10, 0.8), (3, 40, 40, 0.7))
    assert [f.tracking_id for f in first] == [
        "Insert at L14 P14 H10 mm",
        "Insert at L44 P44 H15 mm",
    ]
    second = found((3, 41, 38, 0.9), (2, 11, 12, 0.6), (6, 10, 40, 0.99), earlier=first)
    assert [f.tracking_uid for f in second[:2]] == [f.tracking_uid for f in first]
    assert [f.box and f.box.frame for f in second] == [2, 3, 6]
    assert second[2].tracking_uid not in {f.tracking_uid for f in first}


def test_a_box_whose_best_slice_is_a_neighbour_is_the_same() -> None:
    first = found((2, 10, 10, 0.8), (3, 10, 10, 0.7))
    again = found((2, 10, 10, 0.7), (3, 10, 10, 0.8), earlier=first)
    assert [f.tracking_uid for f in again] == [f.tracking_uid for f in first]
    assert (first[0].frame, again[0].frame) == (2, 3)
