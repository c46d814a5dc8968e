"""From a score to a probability that holds, and to the answers that it leaves open."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.findings import Presence
from dicom_node.domain.outputs import Target
from dicom_node.domain.trust import Conformal

Knots = Sequence[tuple[float, float]]
"""(stated, observed) probabilities, in rising order; straight lines between them."""


def isotonic(probabilities: NDArray[np.float64], labels: BoolArray) -> Knots:
    """The rising curve that fits best what was observed (Zadrozny and Elkan 2002).

    At most 20 knots: means of the flat parts of the curve, merged from ten cases on. None is nearer
    to 0 and 1 than so many cases can tell (Laplace: one more of each might have come). Cases of one
    probability count as one of their weight, for their order says nothing.
    """
    each, place, weights = np.unique(probabilities, return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=labels) / weights
    count, surest = len(probabilities), 1 / (len(probabilities) + 2)
    curve = np.clip(isotonic_regression(shares, weights=weights).x, surest, 1 - surest)
    stated, observed = np.repeat(each, weights), np.repeat(curve, weights)
    groups = np.array_split(np.arange(count), max(1, min(20, count // 10)))
    knots = [(float(stated[g].mean()), float(observed[g].mean())) for g in groups]
    return tuple((round(a, 5), round(b, 5)) for a, b in _rising(knots))


def calibrated(knots: Knots, probabilities: FloatArray) -> FloatArray:
    """Read the curve off; beyond its ends it is flat."""
    stated, observed = zip(*knots, strict=True)
    return np.asarray(np.interp(probabilities, stated, observed), np.float32)


def by_curves(curves: Sequence[Knots], probabilities: FloatArray) -> FloatArray:
    """(..., targets or more): each of the first channels by its curve, where it has one."""
    if not any(curves):
        return probabilities
    result = probabilities.copy()
    for column, knots in enumerate(curves):
        if knots:
            result[..., column] = calibrated(knots, probabilities[..., column])
    return result


def probabilities(
    targets: Sequence[Target], logits: FloatArray, likely: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """(..., targets or more), of logits: by each target's temperature (Guo 2017), then its curve.

    ``likely`` is what the head does with logits: softmax or sigmoid. A channel after those of the
    targets shares the temperature of the last.
    """
    temperatures = [target.temperature for target in targets]
    extra = logits.shape[-1] - len(targets)
    every = np.array(temperatures + temperatures[-1:] * extra, np.float32)
    return by_curves([target.isotonic for target in targets], likely(logits / every))


def conformal(probabilities: NDArray[np.float64], present: BoolArray, coverage: float) -> Conformal:
    """Thresholds that hold for each class by itself (Vovk 2012), from studies not trained on.

    In the mean over such draws, of the studies with (and of those without) what is looked for at
    least ``coverage`` keep their answer open. Few studies leave more open, never less.
    """
    ill, well = np.sort(probabilities[present]), np.sort(probabilities[~present])[::-1]
    return Conformal(
        coverage=coverage,
        present=_threshold(ill, coverage, 0.0),
        absent=_threshold(well, coverage, 1.0),
    )


def open_answers(plan: Conformal, probability: float) -> tuple[Presence, ...]:
    """The answers that a study's probability leaves open: one, both, or none where it is odd."""
    said = {
        Presence.PRESENT: probability >= plan.present,
        Presence.ABSENT: probability <= plan.absent,
    }
    return tuple(answer for answer, is_open in said.items() if is_open)


def _threshold(worst_first: NDArray[np.float64], coverage: float, without: float) -> float:
    rank = int(np.floor(round((len(worst_first) + 1) * (1 - coverage), 9)))
    return float(worst_first[rank - 1]) if rank >= 1 else without


def _rising(knots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without those that repeat a stated probability."""
    return [k for n, k in enumerate(knots) if n == 0 or k[0] > knots[n - 1][0]]
