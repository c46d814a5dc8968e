"""What a report would say of each case of a data set, beside what is true."""

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.findings import Presence
from dicom_node.domain.images import SourceImages
from dicom_node.domain.manifest import ModelManifest
from workers.asked import Asked
from workers.findings import Answers, Case
from workers.model import Model
from workers.prediction import answer, predict
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.training.dataset import Example
from workers.training.evaluate import PROVENANCE
from workers.training.evaluation.boxes import boxes
from workers.training.evaluation.outlines import measured, outlines
from workers.training.evaluation.pictures import picture
from workers.training.evaluation.places import place
from workers.training.evaluation.quantities import numbers
from workers.training.evaluation.seen import Seen
from workers.training.evaluation.truth import refuse_without
from workers.training.reading import read_case, read_mask, read_parts, read_reference
from workers.training.trying import named


def look(
    model: Model,
    examples: Sequence[Example],
    *,
    spacing_mm: float | None = None,
    progress: Progress = silent,
) -> Iterator[Seen]:
    """Ask the model about each case; see ``read_images`` for ``spacing_mm``.

    Raises what ``refuse_without`` raises, before any case is read, and what reading a case raises.
    """
    refuse_without(model.manifest, examples)
    for done, example in enumerate(examples, 1):
        yield _look(model, example, spacing_mm)
        progress("measuring", done / len(examples))


def _look(model: Model, example: Example, spacing_mm: float | None) -> Seen:
    manifest = model.manifest
    images = read_case(example, manifest.input, spacing_mm)
    mask, wanted = read_mask(example, images), read_reference(example, manifest.input, spacing_mm)
    started = time.perf_counter()
    prepared = prepare(images, manifest)
    prediction, maps = predict(model, prepared)
    case = Case(manifest, PROVENANCE, images, prediction)
    said = answer(case)
    seconds = time.perf_counter() - started
    called, probabilities = reported(model, said)
    detector, segments = manifest.detection, measured(manifest)
    asked = Asked(model, prepared, prediction)
    return Seen(
        name=example.name,
        patient=example.patient,
        truth=named([target.label for target in manifest.targets], example.labels),
        called=called,
        probabilities=probabilities,
        seconds=seconds,
        frames=len(images.frames),
        facts=_facts(example, images, mask),
        place=place(asked, said, maps, mask, example.labels)
        if mask is not None and mask.any() and _explained(manifest, example)
        else None,
        numbers=numbers(manifest.regression, said, example),
        outlines=outlines(manifest, said, read_parts(example, images, len(segments)), images)
        if segments
        else {},
        boxes=boxes(case, detector, read_parts(example, images, len(detector.targets)))
        if detector
        else {},
        picture=picture(example, images.pixels, prediction.derived, wanted),
        unfamiliar=asked.unfamiliar,
    )


def reported(model: Model, said: Answers) -> tuple[BoolArray, FloatArray]:
    """(targets,) each: present by any finding, and the probability of the one that decides."""
    called, likely = [], []
    for target in model.manifest.targets:
        own = [finding for finding in said.findings if finding.target == target]
        present = [finding for finding in own if finding.presence is Presence.PRESENT]
        called.append(bool(present))
        likely.append(max(finding.probability for finding in present or own))
    return np.array(called, bool), np.array(likely, np.float32)


def _explained(manifest: ModelManifest, example: Example) -> bool:
    """Whether a case shows anything that maps are of."""
    plan = manifest.explained
    return plan is not None and bool(named(plan.labels, example.labels).any())


def _facts(example: Example, images: SourceImages, mask: BoolArray | None) -> Mapping[str, str]:
    """What subgroups are made of; the area of the finding in its largest slice among them."""
    facts = dict(example.facts or {})
    if mask is not None and mask.any() and images.affine is not None:
        _, row_mm, column_mm = images.spacing_mm
        area = mask.sum(axis=(1, 2)).max() * row_mm * column_mm
        facts["largest_area"] = f"{area:.1f}"
    return facts
