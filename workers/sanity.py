"""Do the maps depend on what the network learnt? Its layers lose their weights, from the last on.

Adebayo 2018: a map that stays the same shows edges of the image, and nothing of the model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dicom_node.catalog import WEIGHTS, BundleFolder
from dicom_node.doctor import Check, Health
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.images import SourceImages
from dicom_node.domain.trust import ExplanationCheck
from explain.measures import agreement, similarity
from workers.items import Items, taken
from workers.model import Model
from workers.planted import planted
from workers.preprocess import prepare

STEPS = (0.25, 0.5, 0.75, 1.0)
"""Parts of the layers with weights that are random, counted from the output."""
LAST_BLOCK = STEPS[0]
MOST = 0.3
"""Structural similarity that a map may keep once the last block is random."""
IMAGES = 6
FEW_IMAGES = 2
"""For a method of several gradients an image."""
SEEDS = 3
OF_VIEWS = 5
"""Axes of maps with a plane for each view: (items, targets, views, rows, columns)."""
WEIGHTS_TEST = "explanations, weights"


@dataclass(frozen=True, slots=True)
class Randomised:
    """How like a map stays to itself, mean over images."""

    part: float
    """Of the layers that are random."""
    similarity: float
    """Structural (SSIM), of maps scaled to their own peaks."""
    rank: float
    """Rank correlation."""


def cascade(model: Model, network: Any, images: FloatArray) -> list[Randomised]:
    """One step after the other; ``network`` is that of the model, and gets its weights back.

    ``images`` as ``Items.stacked`` gives them; their maps are of the first target or quantity.
    """
    before = maps_of(model, images, [0])[:, 0]
    layers = [layer for layer in _innermost(network) if layer.get_weights()]
    kept = [layer.get_weights() for layer in layers]
    try:
        drawn = [
            [_step(model, layers, part, images, before, seed) for part in STEPS]
            for seed in range(SEEDS)
        ]
    finally:
        for layer, weights in zip(layers, kept, strict=True):
            layer.set_weights(weights)
    return [_together(each) for each in zip(*drawn, strict=True)]


def maps_of(model: Model, images: FloatArray, targets: Sequence[int]) -> FloatArray:
    """(maps, targets, *cells): one of each item, or of each view of it, in their order.

    What overflows in a random network is no evidence.
    """
    explainer, unit = model.explainer(), model.manifest.input.unit
    if explainer is None:
        raise ValueError(f"{model.manifest.id} has nothing to explain")
    maps = np.nan_to_num(explainer.explain(taken(images, unit), targets).maps, posinf=0.0)
    if unit != "views" or maps.ndim < OF_VIEWS:
        return maps
    return np.concatenate(np.moveaxis(maps, 2, 1))


def sanity(bundle: BundleFolder, images: SourceImages) -> Iterator[Check]:
    """For ``dicom-worker check``: what packaging measured, the cascade, and a planted lesion."""
    manifest = bundle.manifest
    if manifest.explained is None or not (bundle.path / WEIGHTS).is_file():
        return
    yield _measured(bundle)
    from workers.bundle import reference_of
    from workers.keras_model import KerasModel, read_network

    network = read_network(bundle.path / WEIGHTS)
    model = KerasModel(manifest, network, reference_of(bundle))
    yield _cascade(model, network, images)
    yield planted(model, images)


def words_of(check: ExplanationCheck) -> str:
    """How the maps of test cases did, against those that know nothing."""
    found = (
        f"{check.hits:.0%} of {check.cases} hit; the centre {check.centre:.0%}, the average mask "
        f"{check.average:.0%}; likeness (SSIM) to maps of random weights {check.randomised:.2f}"
    )
    return found if check.shuffled is None else f"{found}, of shuffled labels {check.shuffled:.2f}"


def _measured(bundle: BundleFolder) -> Check:
    check = bundle.manifest.explanation.check
    name = "explanations, baselines"
    if check is None:
        advice = "package it with cases of known place: its maps are not judged until then"
        return Check(name, Health.NOTE, "the bundle was not tested", advice)
    found = f"when it was packaged: {words_of(check)}"
    if check.passed:
        return Check(name, Health.OK, found)
    return Check(name, Health.BAD, found, "its maps are withheld as evidence: try another method")


def _cascade(model: Model, network: Any, images: SourceImages) -> Check:
    """On the images of the check: of slices, blocks, sequences or views."""
    count = _images(model)
    if not count:
        found = "not tested: each map of this method costs many passes; packaging with cases does"
        return Check(WEIGHTS_TEST, Health.NOTE, found)
    prepared = prepare(images, model.manifest)
    items = Items.of(model.manifest.input, prepared)
    chosen = np.unique((np.arange(count) + 0.5) * len(items.frames) // count).astype(int)
    given = items.stacked(prepared.values, chosen)
    if not maps_of(model, given, [0]).any():
        found = "not tested: the maps of these images are empty"
        return Check(WEIGHTS_TEST, Health.NOTE, found, "give --study, with what the model finds")
    tested = model.manifest.explanation.check is not None and len(chosen) == IMAGES
    return _cascaded(cascade(model, network, given), tested=tested)


def _images(model: Model) -> int:
    """How many the check can afford; none where a map costs many forward passes."""
    from explain.methods import BY_GRADIENT

    explainer = model.explainer()
    if explainer is not None and explainer.one_pass:
        return IMAGES
    return FEW_IMAGES if model.manifest.explanation.method in BY_GRADIENT else 0


def _cascaded(steps: Sequence[Randomised], *, tested: bool) -> Check:
    """Bad where the bundle says that its maps were tested, and the images are as many as it takes
    to say otherwise; other maps are never called reliable.
    """
    found = ", ".join(f"{s.part:.0%} random: {s.similarity:.2f}" for s in steps)
    passed = steps[0].similarity <= MOST
    return Check(
        WEIGHTS_TEST,
        Health.OK if passed else Health.BAD if tested else Health.NOTE,
        "likeness (SSIM) to the maps of the network with random layers, mean of "
        f"{SEEDS} seeds: {found}",
        "" if passed else "the maps hardly depend on what was learnt: take another method or layer",
    )


def _innermost(layer: Any) -> Iterator[Any]:
    """In the order of the network, of nested networks and wrappers those within."""
    inner = layer._layers
    if not inner:
        yield layer
    for each in inner:
        yield from _innermost(each)


def _step(
    model: Model,
    layers: Sequence[Any],
    part: float,
    images: FloatArray,
    before: FloatArray,
    seed: int,
) -> Randomised:
    count = max(1, round(part * len(layers)))
    for number, layer in enumerate(layers[-count:]):
        layer.set_weights(_random(layer.get_weights(), [seed, number]))
    after = maps_of(model, images, [0])[:, 0]
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.any()]
    alike = [similarity(a, b) for a, b in pairs]
    ranks = [agreement(a, b) for a, b in pairs]
    return Randomised(part, _mean(alike), _mean(ranks))


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3) if values else 1.0


def _together(steps: Sequence[Randomised]) -> Randomised:
    """Mean over seeds."""
    return Randomised(
        steps[0].part, _mean([s.similarity for s in steps]), _mean([s.rank for s in steps])
    )


def _random(weights: Sequence[FloatArray], seed: Sequence[int]) -> list[FloatArray]:
    """The same numbers at other places: variances of a normalisation stay above 0."""
    random = np.random.default_rng(seed)
    return [random.permutation(each.ravel()).reshape(each.shape) for each in weights]
