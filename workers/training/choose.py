"""What validation decides: calibration, operating point, colour bar."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.manifest import Target
from workers.findings import Case, find_regions, heard
from workers.model import Model
from workers.prediction import predict
from workers.preprocess import prepare
from workers.progress import Progress
from workers.training.evaluate import PROVENANCE, held_out_phantom
from workers.training.measures import operating_point, temperature
from workers.training.phantom_text import Chosen
from workers.training.slices import label_slices, source_images

TALL_MAPS = 90
"""Percentile of the lesions' map peaks that fills the colour bar."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One phantom under the uncalibrated model."""

    logits: NDArray[np.float64]
    labels: BoolArray
    sure: BoolArray
    """All (slices,); the label is to be insisted on where sure."""
    highest: float
    """Logit that decides about the study: see ``workers.findings``."""
    ill: bool
    peak: float
    """Of its heat map, in logits."""


def choose(model: Model, seeds: Sequence[int], progress: Progress) -> Chosen:
    """From phantoms that neither the fit nor the test sees.

    The operating point is chosen for studies, on the highest logit of each; the temperature is
    fitted on slices, after the shift that takes the operating point to a probability of one half.
    """
    seen = []
    for done, seed in enumerate(seeds):
        seen.append(_see(model, seed))
        progress("validating", (done + 1) / len(seeds))
    logits, labels, sure = (
        np.concatenate([getattr(each, name) for each in seen])
        for name in ("logits", "labels", "sure")
    )
    shift = operating_point(
        np.array([each.highest for each in seen]), np.array([each.ill for each in seen])
    )
    return Chosen(
        shift=shift,
        temperature=round(temperature(logits[sure] - shift, labels[sure]), 3),
        plan=model.manifest.explanation.model_copy(
            update={"full_scale": round(max(0.1, _full_scale(seen)), 1)}
        ),
    )


def _see(model: Model, seed: int) -> _Seen:
    source = held_out_phantom(seed)
    images = source_images(source)
    prepared = prepare(images, model.manifest)
    prediction, maps = predict(model, prepared)
    labels, weights = label_slices(source)
    logits = prediction.logits[:, 0].astype(np.float64)
    regions = find_regions(Case(model.manifest, PROVENANCE, images, prediction), _target(model))
    (saliency,) = maps.values()
    return _Seen(
        logits=logits,
        highest=float(logits[heard(regions)].max()),
        labels=labels > 0,
        sure=weights > 0,
        ill=bool(source.lesions),
        peak=float(saliency.values.max()),
    )


def _target(model: Model) -> Target:
    plan = model.manifest.classification
    return next(iter(plan.targets if plan else ()))


def _full_scale(seen: Sequence[_Seen]) -> float:
    return float(np.percentile([each.peak for each in seen if each.ill], TALL_MAPS))
