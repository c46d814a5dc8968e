"""Which explanation method of a network points best: measured on masks, not taken on trust."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from workers.model import Model
from workers.training.trying import Tried

Make = Callable[[ModelManifest], Model]
"""Binds the network to a manifest."""
Try = Callable[[Model], Iterable[Tried]]
"""All maps of a model on cases with masks."""

CANDIDATES: Sequence[Mapping[str, object]] = (
    {"method": "gradcam"},
    {"method": "gradcam++"},
    {"method": "hirescam"},
    {"method": "layercam"},
    {"method": "layercam", "depths": 3},
)


@dataclass(frozen=True, slots=True)
class Found:
    """One method, measured."""

    plan: ExplanationPlan
    hits: float
    """Part of the maps whose region has its centre in the mask."""
    precision: float
    """Mean area under precision and recall of the pixels (AUPRC)."""
    cases: int


def compared(manifest: ModelManifest, make: Make, attempt: Try) -> list[Found]:
    """The manifest's own plan and all candidates of one pass, the best first.

    By hits, then by precision; of equals the manifest's own, then the order of the candidates.
    """
    own = manifest.explanation
    plans = [own, *(own.model_copy(update={"depths": 1, **each}) for each in CANDIDATES)]
    distinct = list({plan.model_dump_json(): plan for plan in plans}.values())
    found = [_measured(manifest, plan, make, attempt) for plan in distinct]
    return sorted(found, key=lambda each: (-each.hits, -round(each.precision, 2)))


def _measured(manifest: ModelManifest, plan: ExplanationPlan, make: Make, attempt: Try) -> Found:
    model = make(manifest.model_copy(update={"explanation": plan}))
    tries = list(attempt(model))
    hits = [each.hit for each in tries]
    precision = [each.precision for each in tries]
    return Found(plan, _mean(hits), _mean(precision), len(tries))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
