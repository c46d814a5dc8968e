"""What packaging with cases settles in a manifest: how the model is explained, and how far to
believe it.

On every other patient the methods and layers are compared, and the verdict is fitted; the rest say
how well both do.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tomlkit
from tomlkit.items import Table

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ModelManifest
from explain import outliers
from workers.arrays import Arrays
from workers.asked import AVERAGE_MASK
from workers.bundle import refuse_code
from workers.items import Items, taken
from workers.keras_model import KerasModel
from workers.model import Model
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.training.localise import Found, compared
from workers.training.masked import Cases, Trusted, showing, trust
from workers.training.measures import Figure
from workers.training.trying import named

FEWEST_PATIENTS = 4
COMPARED = 80
"""Cases on which methods are compared, at most."""


@dataclass(frozen=True)
class Settled:
    """A manifest that says what was measured, and what goes into the bundle beside it."""

    manifest: str
    reference: Arrays
    compared: Sequence[Found]
    """The methods, the best first: it is the one in the manifest."""
    figures: Mapping[str, Figure]


def settle(
    manifest: str, network: keras.Model, cases: Cases, data: str, progress: Progress = silent
) -> Settled:
    """``manifest`` is the text of ``manifest.toml``; ``data`` is what the cases are called.

    What the text says of method, layer, colour bar, verdict and check is written anew; the rest,
    comments too, stays. Raises ConfigurationError for a model whose answers no map explains, for
    masks of fewer than four patients, and for labels that are none of the model's.
    """
    draft = ModelManifest.model_validate(tomllib.loads(manifest))
    cases = fit_for_it(draft, cases)
    to_fit, to_test = cases.halves()
    found = compared(
        draft,
        lambda candidate: KerasModel(candidate, network),
        lambda model: to_fit.thinned(COMPARED).tries(model, partial(progress, "methods compared")),
    )
    best = found[0].plan.model_copy(
        update={
            "full_scale": float(f"{max(found[0].peak, 1e-3):.2g}"),
            "verdict": None,
            "check": None,
        }
    )
    chosen = draft.model_copy(update={"explanation": best})
    reference = _reference(KerasModel(chosen, network), to_fit, to_test, progress)
    measured = trust(KerasModel(chosen, network, reference), network, cases, progress)
    text = written(manifest, chosen, measured, data)
    return Settled(text, reference, found, measured.figures)


def fit_for_it(manifest: ModelManifest, cases: Cases) -> Cases:
    """Those with masks. Raises ConfigurationError as ``settle`` does."""
    plan = manifest.explained
    if plan is None:
        raise ConfigurationError(
            f"{manifest.id} names no finding and measures no number that a map explains, and cases "
            "say where those are: package it without cases"
        )
    with_masks = replace(cases, examples=[e for e in cases.examples if e.mask is not None])
    patients = len(with_masks.patients)
    if patients < FEWEST_PATIENTS:
        raise ConfigurationError(
            f"there are masks of {patients} patients: maps are measured on at least "
            f"{FEWEST_PATIENTS}; add a column mask to the table, or package without cases"
        )
    if not any(named(plan.labels, example.labels).any() for example in with_masks.examples):
        raise ConfigurationError(
            f"no case with a mask is labelled {' or '.join(plan.labels)}, as {manifest.id} calls "
            "it: correct the table, or give --rename"
        )
    return with_masks


def load_network(weights: Path) -> keras.Model:
    """A ``.keras`` file, in safe mode.

    Raises ConfigurationError for another file, and CorruptBundle for one that brings code along.
    """
    if weights.suffix != ".keras" or not weights.is_file():
        raise ConfigurationError("cases settle the maps of a .keras file: other models have none")
    refuse_code(weights)
    return keras.saving.load_model(weights, compile=False, safe_mode=True)


def written(manifest: str, chosen: ModelManifest, measured: Trusted, data: str) -> str:
    """The text of a manifest, with what was chosen and measured in it."""
    document = tomlkit.parse(manifest)
    plan = document["explanation"]
    if not isinstance(plan, Table):
        raise ConfigurationError("the manifest needs a table [explanation]")
    for key in ("layer", "depths", "verdict", "check"):
        plan.pop(key, None)
    said = chosen.explanation.model_dump(exclude_none=True, exclude_defaults=True)
    for key in ("method", "full_scale", "layer", "depths"):
        if key in said:
            plan[key] = said[key]
    for name, part in (("verdict", measured.verdict), ("check", measured.check)):
        if part is not None:
            plan[name] = tomlkit.item(part.model_dump(exclude_none=True))
    card = document.get("card")
    if isinstance(card, Table) and measured.figures:
        rows = card.setdefault("performance", tomlkit.aot())
        for name, figure in measured.figures.items():
            rows.append(tomlkit.item({"name": name, "data": data, **_rounded(figure)}))
    return tomlkit.dumps(document)


def _reference(model: Model, to_fit: Cases, to_test: Cases, progress: Progress) -> Arrays:
    """Where the masks lie, and what the images look like."""
    show = partial(progress, "what is known")
    known, masks = _learnt(model, to_fit, show)
    held_out, _ = _learnt(model, to_test, show)
    return {AVERAGE_MASK: masks.mean(axis=0), **outliers.fit(known, held_out).arrays()}


def _learnt(
    model: Model, cases: Cases, show: Callable[[float], None]
) -> tuple[FloatArray, FloatArray]:
    """(items, channels), and the masks of those that show something.

    Masks are (slices, rows, columns), or (items, views, rows, columns).
    """
    plan = model.manifest.input
    features, masks = [], []
    for each in cases.read(plan, show):
        prepared = prepare(each.images, model.manifest)
        items = Items.of(plan, prepared)
        chosen = np.flatnonzero(showing(items, prepared, each.mask))
        batch = taken(items.stacked(prepared.values, chosen), plan.unit)
        attribution = model.predict(batch).attribution if len(chosen) else None
        if attribution is not None:
            features.append(attribution.features)
            on_model = prepared.grid.sample(each.mask.astype(np.float32))
            drawn = on_model[on_model.max(axis=(1, 2)) >= 0.5]
            masks.append(on_model[items.frames[chosen]] if plan.unit == "views" else drawn)
    return np.concatenate(features), np.concatenate(masks)


def _rounded(figure: Figure) -> Mapping[str, float]:
    return {name: round(value, 4) for name, value in asdict(figure).items()}
