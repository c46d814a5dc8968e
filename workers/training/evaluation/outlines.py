"""Segmentation: how the outlines of a report lie on those of the masks."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from scipy import ndimage

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from workers.findings import Answers
from workers.training.evaluation import drawing
from workers.training.evaluation.figures import Cases, Values
from workers.training.evaluation.seen import Outline
from workers.training.measures import Figure, dice

HAUSDORFF = 95
"""Percentile of the distances."""
BARS = 20


def measured(manifest: ModelManifest) -> Sequence[int]:
    """Channels of the segments that masks are of: those that locate targets, else all."""
    plan = manifest.segmentation
    segments = plan.segments if plan else ()
    targets = manifest.classification.targets if manifest.classification else ()
    located = {target.located_by for target in targets} - {None}
    return [n for n, segment in enumerate(segments) if segment.label in located or not located]


def outlines(
    manifest: ModelManifest, answers: Answers, truth: BoolArray | None, images: SourceImages
) -> Mapping[str, Outline]:
    """By segment; ``truth`` is (segments, frames, rows, columns) of those that are measured."""
    plan = manifest.segmentation
    if plan is None or truth is None:
        return {}
    mm = None if images.affine is None else images.spacing_mm
    return {
        plan.segments[channel].label: outline(_drawn(answers, channel, there.shape), there, mm)
        for channel, there in zip(measured(manifest), truth, strict=True)
    }


def outline(drawn: BoolArray, truth: BoolArray, mm: tuple[float, ...] | None) -> Outline:
    """``mm`` is the size of a pixel; without it no distance is measured."""
    both = drawn.any() and truth.any() and mm is not None
    return Outline(dice(truth, drawn), hausdorff(drawn, truth, mm or ()) if both else None)


def hausdorff(one: BoolArray, other: BoolArray, mm: tuple[float, ...]) -> float:
    """The larger of both 95th percentiles of the distances from one surface to the other."""
    surfaces = [mask & ~_eroded(mask) for mask in (one, other)]
    far = [ndimage.distance_transform_edt(~surface, sampling=mm) for surface in surfaces]
    return float(max(np.percentile(far[1 - n][surfaces[n]], HAUSDORFF) for n in (0, 1)))


def figures(cases: Cases) -> Mapping[str, Figure]:
    """Dice, and distances in mm."""
    found: dict[str, Values] = {}
    for label, name in _named(cases).items():
        each = [seen.outlines.get(label) for seen in cases.seen]
        found[f"Dice of the outlines{name}"] = [None if o is None else o.dice for o in each]
        found[f"95 % Hausdorff distance of the outlines{name} (mm)"] = _distances(each)
    return cases.means(found)


def scores(cases: Cases) -> Mapping[str, Values]:
    """For subgroups."""
    return {
        f"Dice of the outlines{name}": [
            seen.outlines[label].dice if label in seen.outlines else None for seen in cases.seen
        ]
        for label, name in _named(cases).items()
    }


def charts(cases: Cases, label: str) -> Sequence[Markup]:
    """How both are distributed over the cases; none where no case has a mask."""
    each = [seen.outlines[label] for seen in cases.seen if label in seen.outlines]
    far = [distance for distance in _distances(each) if distance is not None]
    found = []
    if each:
        values = np.array([outline.dice for outline in each])
        found.append(_distribution(f"{label}: Dice", "Dice", values, drawing.UNIT))
    if far:
        title, across = f"{label}: 95 % Hausdorff distance", "distance (mm)"
        scale = drawing.Scale.holding([0.0, *far])
        found.append(_distribution(title, across, np.array(far), scale))
    return found


def _distribution(title: str, across: str, values: FloatArray, scale: drawing.Scale) -> Markup:
    """Bars from 0 to the tallest; the line is the median."""
    counts, edges = np.histogram([scale(value) for value in values], BARS, (0, 1))
    up = drawing.Scale.holding([0, counts.max()])
    bars = [
        drawing.bar(float(left), float(right), up(count), "count")
        for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    middle = scale(float(np.median(values)))
    line = drawing.line([(middle, 0), (middle, 1)], "limit")
    return drawing.chart(title, across, "cases", [*bars, line], (scale, up))


def _named(cases: Cases) -> Mapping[str, str]:
    """Labels of the segments that are measured; of several, what tells their figures apart."""
    plan, channels = cases.manifest.segmentation, measured(cases.manifest)
    labels = [plan.segments[channel].label for channel in channels] if plan else []
    return {label: f": {label}" if len(labels) > 1 else "" for label in labels}


def _distances(outlines: Sequence[Outline | None]) -> Values:
    return [None if outline is None else outline.hausdorff_mm for outline in outlines]


def _drawn(answers: Answers, channel: int, shape: tuple[int, ...]) -> BoolArray:
    """All that the report draws of a segment."""
    drawn = np.zeros(shape, bool)
    for segment in answers.segments:
        if segment.channel == channel:
            drawn |= segment.mask
    return drawn


def _eroded(mask: BoolArray) -> BoolArray:
    """Without its surface; an image that is alone has its surface in the plane."""
    cross = ndimage.generate_binary_structure(mask.ndim, 1)
    if len(mask) == 1:
        cross[[0, 2]] = False
    return np.asarray(ndimage.binary_erosion(mask, cross))
