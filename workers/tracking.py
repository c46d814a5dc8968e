"""The same lesion keeps its tracking identifiers when a study is analysed again.

A finding that lies where an earlier run had one of the same target is that one; the nearest first,
each once. Any other is new and is called after its place, so that a run without an earlier one to
look at mostly gives the same names, too.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, product

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.findings import Finding
from dicom_node.domain.images import SourceImages
from dicom_node.domain.place import Place, Point, Tracked
from reports.side import stated_side

Seen = tuple[str, Place]
"""Label of the target, and where it is present."""
LETTERS = ("LR", "PA", "HF")
"""Towards higher and lower coordinates (PS3.3 C.7.6.1.1.1)."""


def named(
    findings: Sequence[Finding], earlier: Sequence[Tracked], uid: Callable[[str], str]
) -> list[Finding]:
    """Findings by target, with the identifiers that they keep from run to run.

    Segments are numbered in one row: what was known keeps its order, what is new comes after it.
    A segment's number is that of its finding in every result.
    """
    placed = [(finding, finding.place) for finding in findings if finding.place is not None]
    seen = [(finding.label, place) for finding, place in placed]
    numbers = count(1)
    called = [_called(placed[i][0], known, numbers) for i, known in follow(seen, earlier, uid)]
    order = list(dict.fromkeys(finding.label for finding in findings))
    return sorted(
        [*called, *(finding for finding in findings if finding.place is None)],
        key=lambda f: (order.index(f.label), f.place is None, f.segment is None),
    )


def _called(finding: Finding, known: Tracked, numbers: Iterator[int]) -> Finding:
    name, uid, segment = known.tracking_id, known.tracking_uid, finding.segment
    if segment is not None:
        segment = replace(segment, number=next(numbers), tracking_id=name, tracking_uid=uid)
        segment = replace(segment, label=f"{finding.label} {segment.number}")
    return replace(finding, segment=segment, tracking_id=name, tracking_uid=uid)


def follow(
    seen: Sequence[Seen], earlier: Sequence[Tracked], uid: Callable[[str], str]
) -> list[tuple[int, Tracked]]:
    """Each of ``seen`` by its index: what was known, in its old order, then what is new."""
    known = _known(seen, earlier)
    taken = {tracked.tracking_id for tracked in earlier}
    old, new = [], []
    for index, (label, place) in enumerate(seen):
        if index in known:
            before = earlier[known[index]]
            old.append((index, Tracked(label, before.tracking_id, before.tracking_uid, place)))
            continue
        name = _free(f"{label} at {place.name}", taken)
        taken.add(name)
        new.append((index, Tracked(label, name, uid(name), place)))
    return [*sorted(old, key=lambda each: known[each[0]]), *new]


def tracked(findings: Iterable[Finding]) -> list[Tracked]:
    """What lies at a place, in the order of its numbers."""
    placed = [(f, f.place) for f in findings if f.place is not None]
    placed.sort(key=lambda each: each[0].segment.number if each[0].segment else len(placed))
    return [Tracked(f.label, f.tracking_id, f.tracking_uid, place) for f, place in placed]


def remembered(runs: Iterable[Iterable[Tracked]]) -> tuple[Tracked, ...]:
    """Of runs, the oldest first: each finding once, in the order of its coming, where last seen."""
    return tuple({each.tracking_uid: each for run in runs for each in run}.values())


def place_of(images: SourceImages, center: Point, low: Point, high: Point) -> Place:
    """Of a box in (frame, row, column) indices, whose edges are those of its outer voxels."""
    if images.affine is None:
        return _in_image(images, center, low, high)
    turn, shift = images.affine[:3, :3], images.affine[:3, 3]
    corners = np.array(list(product(*zip(low, high, strict=True)))) @ turn.T + shift
    header = images.datasets[0] if images.datasets else Dataset()
    middle = _point(turn @ center + shift)
    whole = [round(value) for value in middle]
    said = zip(LETTERS, whole, strict=True)
    name = " ".join(f"{pair[value < 0]}{abs(value)}" for pair, value in said)
    space = str(header.get("FrameOfReferenceUID") or "")
    return Place(
        space, f"{name} mm", middle, _point(corners.min(axis=0)), _point(corners.max(axis=0))
    )


def slices_place(images: SourceImages, run: BoolArray) -> Place:
    """Of a block of whole slices."""
    first, last = np.flatnonzero(run)[[0, -1]]
    rows, columns = images.pixels.shape[1:]
    middle = ((first + last) / 2, (rows - 1) / 2, (columns - 1) / 2)
    high = (last + 0.5, rows - 0.5, columns - 0.5)
    return place_of(images, middle, (first - 0.5, -0.5, -0.5), high)


def side_place(images: SourceImages, frame: int) -> Place:
    """Of all views of a side together, which have one answer: the side that an image states."""
    side = stated_side(images, frame) or images.frames[frame].sop_instance_uid
    nowhere = (0.0, 0.0, 0.0)
    return Place(side, f"side {side}", nowhere, nowhere, nowhere)


def _known(seen: Sequence[Seen], earlier: Sequence[Tracked]) -> dict[int, int]:
    """Of each that is known its index in ``earlier``."""
    pairs = [
        (distance, index, place)
        for index, (label, here) in enumerate(seen)
        for place, before in enumerate(earlier)
        if label == before.label and (distance := here.distance(before.place)) is not None
    ]
    known: dict[int, int] = {}
    gone: set[int] = set()
    for _distance, index, place in sorted(pairs):
        if index not in known and place not in gone:
            known[index] = place
            gone.add(place)
    return known


def _free(name: str, taken: Collection[str]) -> str:
    names = (name if number == 1 else f"{name} ({number})" for number in count(1))
    return next(each for each in names if each not in taken)


def _in_image(images: SourceImages, center: Point, low: Point, high: Point) -> Place:
    """The frame counts within its own image, so that other images never move it."""
    frame = round(center[0])
    reference = images.frames[frame]
    shift = (reference.frame_number or 1) - frame
    moved = [_point((index + shift, row, column)) for index, row, column in (center, low, high)]
    name = f"row {center[1]:.0f}, column {center[2]:.0f} of {reference.sop_instance_uid}"
    frames = f", frame {reference.frame_number}" if reference.frame_number else ""
    return Place(reference.sop_instance_uid, name + frames, *moved)


def _point(values: Iterable[float]) -> Point:
    """To a thousandth, so that the last bits of a sum do not decide what a place is called."""
    x, y, z = (round(float(value), 3) + 0.0 for value in values)
    return x, y, z
