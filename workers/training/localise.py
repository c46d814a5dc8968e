"""Which explanation method of a network points best: measured on masks, not taken on trust."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from explain.gradcam import WEIGHTINGS
from workers.model import Model
from workers.training.measures import Figure, Owners, share_of
from workers.training.trying import Tried, owners_of

Make = Callable[[ModelManifest], Model]
"""Binds the network to a manifest."""
Try = Callable[[Model, int], Iterable[Tried]]
"""The maps of a model on so many cases with masks, at most."""

PLAIN: Mapping[str, object] = {"method": "gradcam", "layer": None}
"""Grad-CAM of the layer that the head reads, whatever layer the manifest names."""
CANDIDATES: Sequence[Mapping[str, object]] = (
    {"method": "gradcam"},
    {"method": "gradcam++"},
    {"method": "hirescam"},
    {"method": "layercam"},
    {"method": "layercam", "depths": 2},
    {"method": "layercam", "depths": 3},
    PLAIN,
)
COSTLY: Sequence[Mapping[str, object]] = ({"method": "integrated-gradients", "layer": None},)
"""Of the methods with many passes, the one that points best (it costs ten times as much)."""
OF_LAYERS: Sequence[str] = ("gradcam", "hirescam")
"""Methods that are tried on the finer layers, too, that LayerCAM of several depths takes."""
COMPARED, FEW = 80, 20
"""Cases on which methods of one pass, and costly ones, are compared, at most."""
CLEARLY = 0.15
"""Of the maps, that a costly method must hit more than the best of one pass, on the same cases:
it explains key slices alone, takes the time of many passes for each, and is compared on few cases,
of which three may hit by chance."""
HITS = "Heat map's place in the mask"
TALL_MAPS = 90
"""Percentile of the map peaks that fills the colour bar."""
UNSCALED = 1e-9
"""A colour bar beside which no map is faint: each method has a scale of its own."""


@dataclass(frozen=True, eq=False)
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
    each: BoolArray
    """(cases,): which of the maps hit."""
    owners: Owners

    @property
    def figure(self) -> Figure:
        """Its hits, of at least one case, with their interval."""
        return share_of(self.each, self.owners)

    @property
    def name(self) -> str:
        """Method, layer and depths."""
        named = self.plan.layer or ("the layer that the head reads" if self._on_layer else "")
        depths = f", {self.plan.depths} depths" if self.plan.depths > 1 else ""
        return f"{self.plan.method}{f' of {named}' if named else ''}{depths}"

    @property
    def _on_layer(self) -> bool:
        return self.plan.method in WEIGHTINGS


def compared(manifest: ModelManifest, make: Make, attempt: Try) -> list[Found]:
    """The manifest's own plan and all candidates, the best first.

    By hits, then by precision; of equals the manifest's own, then the order of the candidates.
    Costly ones come last, but for one that hits ``CLEARLY`` more than the best of the others does
    on the same cases. Methods that cannot explain the network are left out.
    """
    own = manifest.explanation
    plain = own.model_copy(update={"depths": 1})
    plans = [own, *(plain.model_copy(update=each) for each in (*CANDIDATES, *COSTLY))]
    plans += _of_layers(manifest, plain, make)
    of_one_pass = [plan for plan in plans if plan.method in WEIGHTINGS]
    cheap = _ranked(_distinct(manifest, of_one_pass, make, attempt, COMPARED))
    others = [plan for plan in plans if plan.method not in WEIGHTINGS]
    costly = _ranked(_distinct(manifest, others, make, attempt, FEW))
    if not costly or not cheap:
        return [*cheap, *costly]
    same = _measured(cheap[0].plan, make(_with(manifest, cheap[0].plan)), attempt, FEW)
    if costly[0].hits > same.hits + CLEARLY:
        return [costly[0], *cheap, *costly[1:]]
    return [*cheap, *costly]


def preferred(own: ExplanationPlan, found: Sequence[Found]) -> ExplanationPlan:
    """The plan that the author has reasons for, unless another hits more often than chance tells:
    all of its interval lies above."""
    mine = next((each for each in found if each.plan == own), None)
    if mine is None or (found[0].cases and found[0].figure.low > mine.hits):
        return with_own_bar(found[0])
    return own


def with_own_bar(found: Found) -> ExplanationPlan:
    """The plan of a method, with the scale of its maps; nothing is known of them yet."""
    bar = float(f"{max(found.peak, 1e-3):.2g}")
    return found.plan.model_copy(update={"full_scale": bar, "verdict": None, "check": None})


def by_method(found: Iterable[Found]) -> Mapping[str, Mapping[str, Figure]]:
    """For the card, as subgroups: how often the maps of each method hit."""
    return {f"method: {each.name}": {HITS: each.figure} for each in found if each.cases}


def _ranked(found: Iterable[Found]) -> list[Found]:
    return sorted(found, key=lambda each: (-each.hits, -round(each.precision, 2)))


def _distinct(
    manifest: ModelManifest,
    plans: Sequence[ExplanationPlan],
    make: Make,
    attempt: Try,
    count: int,
) -> Iterator[Found]:
    """Each method of each layer once, however the layer is named."""
    seen = set()
    for plan in plans:
        with suppress(UnsupportedModel):
            model = make(_with(manifest, plan))
            explainer = model.explainer()
            layer = explainer.layer if explainer else str(plan.layer)
            if (plan.method, plan.depths, layer) not in seen:
                seen.add((plan.method, plan.depths, layer))
                yield _measured(plan, model, attempt, count)


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


def _measured(plan: ExplanationPlan, model: Model, attempt: Try, count: int) -> Found:
    tries = list(attempt(model, count))
    peaks = [each.peak for each in tries] or [plan.full_scale]
    return Found(
        plan=plan,
        hits=_mean([each.hit for each in tries]),
        precision=_mean([each.precision for each in tries]),
        cases=len(tries),
        peak=float(np.percentile(peaks, TALL_MAPS)),
        each=np.array([each.hit for each in tries], bool),
        owners=owners_of(tries),
    )


def _with(manifest: ModelManifest, plan: ExplanationPlan) -> ModelManifest:
    """For measuring: whatever a map's scale, it is not faint."""
    unscaled = plan.model_copy(update={"full_scale": UNSCALED})
    return manifest.model_copy(update={"explanation": unscaled})


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
