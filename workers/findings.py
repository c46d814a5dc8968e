"""Prediction -> segments and findings.

Who decides when the two heads disagree: the classification head says, slice by slice, whether a
target is there, and the segmentation head says where.

- A connected region of at least ``min_volume_ml`` is a finding when the probability of one of its
  slices reaches the operating point; a note counts the regions whose slices do not.
- A smaller region is noise. Slices in or beside which there is nothing but such regions have no
  say: what the model saw there is too small to be what it looks for. A note counts them where
  those slices are positive.
- A run of other positive slices, with no finding in it or beside it, is a finding of the whole
  image: the model says yes, and does not say where.
- A target without any finding is absent, with the highest probability of the slices that have a
  say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.explanation import (
    Explanation,
    ExplanationQuality,
    Region,
    SaliencyMap,
    Trust,
)
from dicom_node.domain.findings import Answer, Estimate, Finding, Presence, SegmentMask
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest, Segment, Target
from dicom_node.domain.place import Tracked
from dicom_node.domain.prediction import Prediction
from dicom_node.domain.provenance import Provenance
from explain.region import find_region
from workers.measure import longest_slice, measurements
from workers.notes import too_small, unlikely
from workers.regions import Regions, beside, runs
from workers.tracking import named, place_of, side_place, slices_place

Explained = TypeVar("Explained", Finding, Estimate)


@dataclass(frozen=True)
class Case:
    """What findings are made of."""

    manifest: ModelManifest
    provenance: Provenance
    images: SourceImages
    prediction: Prediction
    earlier: tuple[Tracked, ...] = ()
    """What runs of the model on this study found before, in the order of its coming."""

    def tracking(self, name: str) -> tuple[str, str]:
        """Tracking identifier and UID of what has no place: the same in every run of the model."""
        return name, self.tracking_uid(name)

    def tracking_uid(self, name: str) -> str:
        """Of the model, in whatever version, and the study."""
        return self.provenance.tracking_uid(self.manifest.name, name)


@dataclass(frozen=True)
class Answers:
    """Segments, findings and estimates of a case, before explanation."""

    segments: tuple[SegmentMask, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    estimates: tuple[Estimate, ...] = ()


def answer(case: Case) -> Answers:
    """Segments (one for each region found, then context), findings, and notes."""
    targets = case.manifest.classification.targets if case.manifest.classification else ()
    findings: list[Finding] = []
    notes: list[str] = []
    taken_of: dict[str, set[int]] = {}
    likely = _likely(case)
    chances = _chances(case, likely)
    for column, target in enumerate(targets):
        probability = chances[:, column]
        regions = find_regions(case, target)
        taken = [n for n in regions.large if _reaches(probability, regions.frames([n]), target)]
        found = [_located(case, target, probability, regions, n) for n in taken]
        found += _whole_image(case, target, probability, regions, taken)
        found += _other_sides(case, target, probability)
        findings += found or [_absent(case, target, likely[:, column], regions)]
        near = (beside(regions.frames([n])) for n in regions.small)
        notes += too_small(target.label, sum(_reaches(probability, f, target) for f in near))
        if target.located_by is not None:
            taken_of.setdefault(target.located_by, set()).update(taken)
    for label, taken_ones in taken_of.items():
        notes += unlikely(label, len(regions_of(case, label).large) - len(taken_ones))
    findings = named(findings, case.earlier, case.tracking_uid)
    segments = sorted((f.segment for f in findings if f.segment), key=lambda s: s.number)
    segments += context(case, {target.located_by for target in targets}, len(segments))
    return Answers(tuple(segments), tuple(findings), tuple(notes))


def _likely(case: Case) -> FloatArray:
    """(frames, targets): probabilities; of exclusive ones their mean in the slices that one region
    reaches, for one region is of one kind."""
    plan, said = case.manifest.classification, case.prediction.probabilities
    if plan is None or not plan.exclusive:
        return said
    means = said.copy()
    for target in {target.located_by: target for target in plan.targets}.values():
        regions = find_regions(case, target)
        for frames in (regions.frames([number]) for number in reversed(regions.large)):
            means[frames] = said[frames].mean(axis=0)
    return means


def _chances(case: Case, likely: FloatArray) -> FloatArray:
    """The same; of exclusive ones 0 for all but the likeliest of a slice."""
    plan = case.manifest.classification
    if plan is None or not plan.exclusive:
        return likely
    rest = 1 - likely.sum(axis=1, keepdims=True) if plan.rest else 0
    return np.where(likely >= np.maximum(likely.max(axis=1, keepdims=True), rest), likely, 0)


def find_regions(case: Case, target: Target) -> Regions:
    """Connected regions of the segment that locates a target."""
    return regions_of(case, target.located_by)


def regions_of(case: Case, label: str | None) -> Regions:
    """Connected regions of the segment with this label."""
    for segment, mask in _masks(case):
        if segment.label == label:
            return Regions.of(mask, case.images, segment.min_volume_ml)
    return Regions.of(np.zeros(case.images.pixels.shape, bool), case.images, 0.0)


def heard(regions: Regions) -> BoolArray:
    """(frames,): the slices that have a say; see above."""
    noise = beside(regions.frames(regions.small)) & ~regions.frames(regions.large)
    return np.ones_like(noise) if noise.all() else ~noise


def explained(
    answer: Explained, saliency: SaliencyMap, images: SourceImages, level: float
) -> Explained:
    """The answer with its explanation: the map, and the place it names on the key slice."""
    region = place_named(answer, saliency, images, level)
    unknown = ExplanationQuality(Trust.NOT_MEASURED)
    return replace(answer, explanation=Explanation(saliency, region, unknown))


def place_named(
    answer: Answer, saliency: SaliencyMap, images: SourceImages, level: float
) -> Region | None:
    """The place that a map names on the key slice; none where it holds no evidence."""
    outline = answer.segment.mask[answer.frame] if answer.segment else None
    return find_region(saliency, answer.frame, images, level=level, outline=outline)


def context(case: Case, located: set[str | None], number: int = 0) -> Iterator[SegmentMask]:
    """Segments that no target is located by: one each, where there is any of it but noise."""
    for segment, mask in _masks(case):
        if segment.label in located:
            continue
        kept = regions_of(case, segment.label).kept if segment.min_volume_ml else mask
        if kept.any():
            number += 1
            yield _segment_mask(case, segment, kept, segment.label, number)


def _reaches(probability: FloatArray, frames: BoolArray, target: Target) -> bool:
    return bool((probability[frames] >= target.threshold).any())


def _located(
    case: Case, target: Target, probability: FloatArray, regions: Regions, region: int
) -> Finding:
    """As yet without a number."""
    plan = next(s for s, _ in _masks(case) if s.label == target.located_by)
    mask = _segment_mask(case, plan, regions.mask(region), target.label, 0)
    frame = longest_slice(mask.mask, case.images)
    return Finding(
        target=target,
        presence=Presence.PRESENT,
        probability=float(probability[regions.frames([region])].max()),
        frame=frame,
        tracking_id=mask.tracking_id,
        tracking_uid=mask.tracking_uid,
        segment=mask,
        measurements=measurements(mask.mask, frame, case.images),
        place=place_of(case.images, mask.centroid, *regions.edges(region)),
    )


def _whole_image(
    case: Case, target: Target, probability: FloatArray, regions: Regions, taken: Sequence[int]
) -> list[Finding]:
    """One for each run of positive slices with neither a finding nor noise in it or beside it."""
    near = beside(regions.frames((*taken, *regions.small)))
    each = runs(probability >= target.threshold, case.prediction.together)
    lonely = [run for run in each if not (near & run).any()]
    return [_unlocated(case, target, probability, run) for run in lonely]


def _other_sides(case: Case, target: Target, probability: FloatArray) -> Iterator[Finding]:
    """Of several sides, those that have nothing of the target: each has its own answer."""
    sides = case.prediction.together
    if len(sides) < 2:
        return
    for side in sides:
        frames = np.zeros(len(probability), bool)
        frames[list(side)] = True
        if not (probability[frames] >= target.threshold).any():
            frame = _key_frame(case, target, probability, frames)
            name = f"{target.label} absent, {side_place(case.images, frame).name}"
            tracking = case.tracking(name)
            yield Finding(target, Presence.ABSENT, float(probability[frame]), frame, *tracking)


def _unlocated(case: Case, target: Target, probability: FloatArray, run: BoolArray) -> Finding:
    frame = _key_frame(case, target, probability, run)
    sided = bool(case.prediction.together) and case.images.affine is None
    place = side_place(case.images, frame) if sided else slices_place(case.images, run)
    tracking = case.tracking(target.label)
    return Finding(
        target, Presence.PRESENT, float(probability[frame]), frame, *tracking, place=place
    )


def _key_frame(case: Case, target: Target, probability: FloatArray, frames: BoolArray) -> int:
    """The likeliest; of those with one answer the one that the map speaks of most."""
    evidence = case.prediction.evidence
    if evidence is None or case.manifest.classification is None:
        return int(np.where(frames, probability, -1).argmax())
    column = case.manifest.classification.targets.index(target)
    best = frames & (probability >= probability[frames].max())
    return int(np.where(best, evidence[:, column], -1).argmax())


def _absent(case: Case, target: Target, probability: FloatArray, regions: Regions) -> Finding:
    frame = _key_frame(case, target, probability, heard(regions))
    return Finding(
        target, Presence.ABSENT, float(probability[frame]), frame, *case.tracking(target.label)
    )


def _masks(case: Case) -> Iterator[tuple[Segment, BoolArray]]:
    for channel, segment in enumerate(_planned(case)):
        yield segment, case.prediction.masks[..., channel] >= segment.threshold


def _planned(case: Case) -> Sequence[Segment]:
    return case.manifest.segmentation.segments if case.manifest.segmentation else ()


def _segment_mask(
    case: Case, segment: Segment, mask: BoolArray, name: str, number: int
) -> SegmentMask:
    tracking_id, tracking_uid = case.tracking(name)
    return SegmentMask(
        number=number,
        label=name,
        category=segment.category.code,
        type=segment.type.code,
        color=segment.color,
        mask=mask,
        threshold=segment.threshold,
        tracking_id=tracking_id,
        tracking_uid=tracking_uid,
        channel=_planned(case).index(segment),
    )
