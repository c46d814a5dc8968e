"""What a model that never errs says of a phantom, whatever its manifest asks.

Answers are made of its prediction by the worker's own rules; a map is a hill over what is there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import analyses
import numpy as np
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.findings import Estimate, Finding, Measurement, Presence, Share
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import (
    Classification,
    Detection,
    Image,
    Regression,
    Segmentation,
)
from dicom_node.domain.prediction import Box, Boxes, DerivedImages, Prediction
from workers.findings import Case, explained
from workers.prediction import answer

SURE, UNSURE = 0.9234, 0.0081
METHOD = Code("130403", "DCM", "Gradient-weighted class activation")
SHARES = (
    Share(Measurement(Code("Q3CK", "IBSI", "Elongation"), 0.94, analyses.NO_UNITS), 2.4),
    Share(Measurement(Code("Q4LE", "IBSI", "Mean intensity"), 151.2, analyses.NO_UNITS), -0.7),
)


@dataclass(frozen=True)
class Truth:
    """Images, and what there is in them."""

    model: ModelManifest
    images: SourceImages
    lesions: Sequence[BoolArray]
    """(frames, rows, columns) each; of several targets they are of one after the other."""
    body: BoolArray
    """(frames, rows, columns)."""

    @property
    def lesion(self) -> BoolArray:
        """All lesions together."""
        return np.any([np.zeros_like(self.body), *self.lesions], axis=0)

    @property
    def together(self) -> tuple[tuple[int, ...], ...]:
        """Frames that have one answer."""
        unit, frames = self.model.input.unit, range(len(self.images.frames))
        if unit == "views":
            sides = [str(d.get("ImageLaterality", "")) for d in self.images.datasets]
            each = sides if len(sides) == len(frames) else [""] * len(frames)
            return tuple(tuple(n for n in frames if each[n] == side) for side in sorted(set(each)))
        return (tuple(frames),) if unit == "sequence" else ()

    def of_target(self, column: int, count: int) -> list[BoolArray]:
        """The lesions of one target."""
        return [mask for number, mask in enumerate(self.lesions) if number % count == column]


def analysis(truth: Truth, state: Presence, input_sha256: str) -> Analysis:
    """All answers; of an undetermined finding nobody knows where it is."""
    provenance = analyses.provenance_of(truth.images, input_sha256)
    prediction = _prediction(truth)
    answers = answer(Case(truth.model, provenance, truth.images, prediction))
    maps = _maps(truth)
    given = Analysis(
        manifest=truth.model,
        provenance=provenance,
        images=truth.images,
        prediction=prediction,
        segments=answers.segments,
        findings=tuple(_explained(each, truth, maps) for each in answers.findings),
        estimates=tuple(_explained(each, truth, maps) for each in answers.estimates),
        selection=analyses.selection(truth.images.datasets),
        notes=("The series holds 12 images; the model was trained on 24.", *answers.notes),
        facts={"tensorflow": "2.21.0", "keras": "3.15.1", "device": "CPU", "seconds": "3.1"},
    )
    return _undetermined(given) if state is Presence.UNDETERMINED else given


def _undetermined(given: Analysis) -> Analysis:
    places = {id(finding.segment) for finding in given.findings}
    unknown = {"presence": Presence.UNDETERMINED, "segment": None, "measurements": (), "box": None}
    findings = {f.label: replace(f, **unknown) for f in reversed(given.findings)}
    around = [segment for segment in given.segments if id(segment) not in places]
    segments = tuple(replace(segment, number=n) for n, segment in enumerate(around, 1))
    return replace(given, findings=tuple(findings.values())[::-1], segments=segments)


def _prediction(truth: Truth) -> Prediction:
    shape = truth.images.pixels.shape
    nothing = np.zeros((shape[0], 0), np.float32)
    said = Prediction(nothing, nothing, np.zeros((*shape, 0), np.float32), together=truth.together)
    for plan in truth.model.outputs:
        said = replace(said, **SAID[plan.kind](truth, plan))
    return said


def _classified(truth: Truth, plan: Classification) -> dict[str, Any]:
    """One answer for frames that have one; of exclusive targets the first of a frame."""
    count = len(plan.targets)
    there = [_frames(truth, truth.of_target(column, count)) for column in range(count)]
    shown = np.stack(there, axis=-1)
    for frames in truth.together:
        shown[list(frames)] = shown[list(frames)].any(axis=0)
    if plan.exclusive:
        shown &= np.cumsum(shown, axis=1) == 1
    evidence = shown.astype(np.float32) if truth.together else None
    return {**_likely(shown), "evidence": evidence}


def _frames(truth: Truth, masks: Sequence[BoolArray]) -> BoolArray:
    return np.any([np.zeros_like(truth.body), *masks], axis=(0, 2, 3))


def _likely(shown: BoolArray) -> dict[str, FloatArray]:
    chances = np.where(shown, SURE, UNSURE).astype(np.float32)
    return {"logits": np.log(chances / (1 - chances)), "probabilities": chances}


def _segmented(truth: Truth, plan: Segmentation) -> dict[str, Any]:
    """Surer to the right; what no target is located by is the body around the lesions."""
    heads = truth.model.classification
    located = {t.located_by for t in heads.targets} if heads else {s.label for s in plan.segments}
    around = truth.body & ~truth.lesion
    masks = [truth.lesion if s.label in located else around for s in plan.segments]
    sure = np.linspace(0.7, 1, truth.body.shape[2])
    return {"masks": np.stack([mask * sure for mask in masks], axis=-1).astype(np.float32)}


def _measured(truth: Truth, plan: Regression) -> dict[str, Any]:
    middles = [(quantity.low + quantity.high) / 2 for quantity in plan.quantities]
    return {"numbers": np.tile(np.float32(middles), (len(truth.body), 1))}


def _detected(truth: Truth, plan: Detection) -> dict[str, Any]:
    """A box around the largest section of each lesion."""
    count = len(plan.targets)
    places = tuple(box(mask) for mask in truth.lesions)
    of_boxes = np.array([[n % count == t for t in range(count)] for n in range(len(places))], bool)
    likely = _likely(of_boxes.reshape(len(places), count))
    shown = np.zeros((len(truth.body), count), bool)
    for place, each in zip(places, of_boxes, strict=True):
        shown[place.frame] |= each
    return {**_likely(shown), "boxes": Boxes(places, likely["logits"], likely["probabilities"])}


def box(mask: BoolArray) -> Box:
    """Around the largest section of a lesion."""
    frame = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(mask[frame])
    first, last = (rows.min() - 0.5, columns.min() - 0.5), (rows.max() + 0.5, columns.max() + 0.5)
    return Box(frame, tuple(map(float, first)), tuple(map(float, last)))


def _derived(truth: Truth, plan: Image) -> dict[str, Any]:
    """Means of two by two pixels."""
    count, rows, columns = truth.images.pixels.shape
    blocks = truth.images.pixels.reshape(count, rows // 2, 2, columns // 2, 2)
    pixels = blocks.mean(axis=(2, 4), dtype=np.float32)
    return {"derived": DerivedImages(pixels, (2.0, 2.0), (0.5, 0.5))}


SAID: Mapping[str, Callable[[Truth, Any], dict[str, Any]]] = {
    "classification": _classified,
    "segmentation": _segmented,
    "regression": _measured,
    "detection": _detected,
    "image": _derived,
}


def _maps(truth: Truth) -> dict[str, SaliencyMap]:
    """By label, of what is explained by maps."""
    plan, how = truth.model.explained, truth.model.explanation
    if plan is None or how.method == "shapley":
        return {}
    count, maps = len(plan.labels), {}
    for column, (label, unit) in enumerate(zip(plan.labels, plan.units, strict=True)):
        hills = [analyses.heat(mask) for mask in truth.of_target(column, count)]
        values = np.max([np.zeros(truth.body.shape, np.float32), *hills], axis=0)
        scaled = values * np.float32(how.full_scale / analyses.FULL_SCALE)
        maps[label] = SaliencyMap(label, METHOD, "last", scaled, how.full_scale, unit)
    return maps


def _explained(
    given: Finding | Estimate, truth: Truth, maps: Mapping[str, SaliencyMap]
) -> Finding | Estimate:
    """With a map of its target, of a box with one of its own; or with what features added."""
    if isinstance(given, Finding) and truth.model.explanation.method == "shapley":
        return replace(given, shares=SHARES)
    saliency = maps.get(given.label)
    if saliency is None or (isinstance(given, Estimate) and given.missing):
        return given
    if given.box is not None:
        saliency = replace(saliency, values=_only(saliency.values, given.frame))
    level = truth.model.explanation.region_level
    known = explained(given, saliency, truth.images, level)
    quality = analyses.quality(known.explanation.region is not None)
    return replace(known, explanation=replace(known.explanation, quality=quality))


def _only(values: FloatArray, frame: int) -> FloatArray:
    kept = np.zeros_like(values)
    kept[frame] = values[frame]
    return kept
