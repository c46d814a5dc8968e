"""Which explanation method of a network points best: measured on masks, not taken on trust."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from dicom_node.domain.errors import UnsupportedModel
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
    {"method": "layercam", "depths": 2},
    {"method": "layercam", "depths": 3},
)
OF_LAYERS: Sequence[str] = ("gradcam", "hirescam")
"""Methods that are tried on the finer layers, too, that LayerCAM of several depths takes."""
TALL_MAPS = 90
"""Percentile of the map peaks that fills the colour bar."""
UNSCALED = 1e-9
"""A colour bar beside which no map is faint: each method has a scale of its own."""


@dataclass(frozen=True, slots=True)
class Found:
    """One method, measured."""

    plan: ExplanationPlan
    hits: float
    """Part of the maps whose region has its centre in the mask."""
    precision: float
    """Mean area under precision and recall of the pixels (AUPRC)."""
    cases: int
    peak: float
    """Logits at the peaks of tall maps."""

    @property
    def name(self) -> str:
        """Method, layer and depths."""
        layer = f" of {self.plan.layer}" if self.plan.layer else ""
        depths = f", {self.plan.depths} depths" if self.plan.depths > 1 else ""
        return f"{self.plan.method}{layer}{depths}"


def compared(manifest: ModelManifest, make: Make, attempt: Try) -> list[Found]:
    """The manifest's own plan and all candidates of one pass, the best first.

    By hits, then by precision; of equals the manifest's own, then the order of the candidates.
    Methods that cannot explain the network are left out.
    """
    own = manifest.explanation
    plain = own.model_copy(update={"depths": 1})
    plans = [own, *(plain.model_copy(update=each) for each in CANDIDATES)]
    plans += _of_layers(manifest, plain, make)
    distinct = list({plan.model_dump_json(): plan for plan in plans}.values())
    found = []
    for plan in distinct:
        with suppress(UnsupportedModel):
            found.append(_measured(manifest, plan, make, attempt))
    return sorted(found, key=lambda each: (-each.hits, -round(each.precision, 2)))


def _of_layers(
    manifest: ModelManifest, plain: ExplanationPlan, make: Make
) -> Iterator[ExplanationPlan]:
    for layer in _finer(manifest, plain, make):
        for method in OF_LAYERS:
            yield plain.model_copy(update={"method": method, "layer": layer})


def _finer(manifest: ModelManifest, plain: ExplanationPlan, make: Make) -> Sequence[str]:
    """The layers before the one that the head reads, as many as there are."""
    for depths in (3, 2):
        deep = plain.model_copy(update={"method": "layercam", "depths": depths})
        with suppress(UnsupportedModel):
            explainer = make(_with(manifest, deep)).explainer()
            return explainer.layer.split(", ")[1:] if explainer else ()
    return ()


def _measured(manifest: ModelManifest, plan: ExplanationPlan, make: Make, attempt: Try) -> Found:
    candidate = plan.model_copy(update={"full_scale": UNSCALED})
    tries = list(attempt(make(_with(manifest, candidate))))
    peaks = [each.peak for each in tries] or [plan.full_scale]
    return Found(
        plan=plan,
        hits=_mean([each.hit for each in tries]),
        precision=_mean([each.precision for each in tries]),
        cases=len(tries),
        peak=float(np.percentile(peaks, TALL_MAPS)),
    )


def _with(manifest: ModelManifest, plan: ExplanationPlan) -> ModelManifest:
    return manifest.model_copy(update={"explanation": plan})


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
