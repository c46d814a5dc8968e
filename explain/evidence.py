"""Numbers about one map that cost next to nothing: of the pass that made it, and three more.

All arrays lie on the pixels of the model's input, of one image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dicom_node.domain.arrays import BoolArray, FloatArray
from explain.body import body
from explain.measures import agreement, evidence_within, overlap

SHIFT_PIXELS = 4
BORDER_PART = 1 / 16
"""Of the image's side."""
FAR = 3.0
"""Farther from the training images is not worse."""

Answer = tuple[FloatArray, FloatArray]
"""Scores of what is asked about, (images,), and its maps, (images, rows, columns)."""
Again = Callable[[FloatArray], Answer]
"""Asks the model about other images, (images, rows, columns, channels)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One image as the model saw it, and what it said of one target, box or quantity.

    Of a volume, a sequence or several views it is the key image: the others are held.
    """

    image: FloatArray
    """(rows, columns, channels)."""
    values: FloatArray
    """(rows, columns): the map, at least 0, in logit units."""
    logit: float
    """The score: of a quantity the number."""
    operating: float
    """The score at and above which the target is present. A number is neither present nor absent:
    its point is as far below it as 0 is away, and what goes of the score is its relative fall."""
    outline: BoolArray | None = None
    """(rows, columns): what the model outlined as the target; none if it outlines no such thing."""
    likely: FloatArray | None = None
    """(rows, columns): the probability that the outline was cut from; none of a box."""
    expected: FloatArray | None = None
    """(rows, columns): where the training cases had it, 0 to 1."""
    outside: float | None = None
    """Score of ``explain.outliers``; none where nothing is known of the training images."""
    padding: BoolArray | None = None
    """(rows, columns): what the header calls padding; none where nothing is."""
    moves: bool = True
    """Whether what is asked about moves with the image: one box of a detector does not."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What is left of the score without a part of the image."""

    logit: float
    share: float
    """Part of what the score has above the operating point that went: 1 and the target is gone."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found out about one map."""

    numbers: Mapping[str, float]
    """By the names of ``explain.verdict``."""
    without_region: Removed | None = None
    """Without all that the map shows strongly: the place that it names, and others like it."""
    without_outline: Removed | None = None
    """Without what the model outlined."""
    moved: FloatArray | None = None
    """The map of the image moved by ``SHIFT_PIXELS``; none of what does not move with it."""


def weigh(seen: Seen, level: float, again: Again) -> Evidence:
    """All cheap numbers; ``again`` is called once, with at most three images.

    ``level``: a map is strong where it exceeds this part of its peak, in one place or in several.
    """
    if not seen.values.any():
        return placeless(seen, again)
    strong = without(seen.image, seen.values >= level * seen.values.max())
    changed = {"region": strong, **_without_outline(seen), **_moved(seen)}
    logits, maps = again(np.stack([*changed.values()]))
    left = {name: float(logit) for name, logit in zip(changed, logits, strict=True)}
    region = _removed(seen, left["region"])
    outlined = _removed(seen, left["outline"]) if "outline" in left else None
    asked = {"region_drop": region.share, **_outline_drop(seen, outlined)}
    moved = maps[[*changed].index("moved")] if seen.moves else None
    if moved is not None:
        asked["shift"] = _moved_back(seen.values, moved)
    return Evidence({**free(seen), **asked}, region, outlined, moved)


def placeless(seen: Seen, again: Again) -> Evidence:
    """The same where the map names no place: the numbers that are not of the map."""
    outlined = None
    if changed := _without_outline(seen):
        logits, _ = again(np.stack([*changed.values()]))
        outlined = _removed(seen, float(logits[0]))
    return Evidence({**_strange(seen), **_outline_drop(seen, outlined)}, None, outlined)


def _without_outline(seen: Seen) -> Mapping[str, FloatArray]:
    if seen.outline is None or not seen.outline.any():
        return {}
    return {"outline": without(seen.image, seen.outline)}


def _moved(seen: Seen) -> Mapping[str, FloatArray]:
    if not seen.moves:
        return {}
    step = (SHIFT_PIXELS, SHIFT_PIXELS, 0)
    return {"moved": ndimage.shift(seen.image, step, order=0, mode="nearest")}


def _outline_drop(seen: Seen, outlined: Removed | None) -> Mapping[str, float]:
    if seen.outline is None:
        return {}
    return {"outline_drop": outlined.share if outlined else 0.0}


def _strange(seen: Seen) -> Mapping[str, float]:
    return {} if seen.outside is None else {"outside": min(seen.outside, FAR)}


def free(seen: Seen) -> Mapping[str, float]:
    """The numbers of the same pass, 0 to 1 each."""
    values = seen.values
    numbers = {
        "beyond": 1 - (evidence_within(values, _patient(seen)) or 0.0),
        "border": evidence_within(values, _border(values.shape)) or 0.0,
        "spread": _spread(values),
    }
    if seen.outline is not None:
        numbers["inside"] = evidence_within(values, seen.outline) or 0.0
        numbers["overlap"] = overlap(values, seen.outline)
    if seen.likely is not None:
        numbers["sure"] = _weighted(seen.values, seen.likely)
    if seen.expected is not None:
        numbers["expected"] = _expected(values, seen.expected)
    return {**numbers, **_strange(seen)}


def _patient(seen: Seen) -> BoolArray:
    found = body(seen.image.mean(axis=-1))
    return found if seen.padding is None else found & ~seen.padding


def without(image: FloatArray, region: BoolArray) -> FloatArray:
    """The image with a region, and two pixels around it, filled from what lies about it."""
    taken = ndimage.binary_dilation(region, iterations=2)
    if taken.all():
        return np.broadcast_to(image.mean(axis=(0, 1)), image.shape).astype(np.float32)
    sigma = max(2.0, float(np.sqrt(taken.sum())) / 4)
    kept = (~taken).astype(np.float32)[..., None]
    weight = ndimage.gaussian_filter(kept, (sigma, sigma, 0), mode="nearest") + 1e-6
    around = ndimage.gaussian_filter(image * kept, (sigma, sigma, 0), mode="nearest") / weight
    return np.where(taken[..., None], around, image).astype(np.float32)


def _removed(seen: Seen, logit: float) -> Removed:
    above = max(seen.logit - seen.operating, 1e-3)
    return Removed(logit, float(np.clip((seen.logit - logit) / above, 0, 1)))


def _moved_back(values: FloatArray, moved: FloatArray) -> float:
    kept = values[:-SHIFT_PIXELS, :-SHIFT_PIXELS]
    return max(0.0, agreement(kept, moved[SHIFT_PIXELS:, SHIFT_PIXELS:]))


def _border(shape: tuple[int, ...]) -> BoolArray:
    rows, columns = (max(1, round(side * BORDER_PART)) for side in shape)
    region = np.ones(shape, bool)
    region[rows:-rows, columns:-columns] = False
    return region


def _spread(values: FloatArray) -> float:
    """Part of the image over which the evidence is spread: 1 for a flat map (participation)."""
    squares = float((values.astype(np.float64) ** 2).sum())
    return float(values.sum(dtype=np.float64) ** 2 / (squares * values.size)) if squares else 1.0


def _expected(values: FloatArray, expected: FloatArray) -> float:
    """How likely the training cases had it where the evidence is, against their likeliest place."""
    top = float(expected.max())
    return _weighted(values, expected) / top if top > 0 else 0.0


def _weighted(values: FloatArray, likely: FloatArray) -> float:
    """The mean of what is likely, where the evidence lies."""
    total = float(values.sum())
    return float((values * likely).sum()) / total if total > 0 else 0.0
