"""Shapley values by permutations: what each feature adds to a model's answer (Castro 2009)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]
PERMUTATIONS = 24
"""Orders that are tried, each of them also backwards, which halves the error."""


def shapley(
    answer: Callable[[Vectors], NDArray[np.float64]], features: Vectors, background: Vectors
) -> NDArray[np.float64]:
    """(features,): they add up to the answer less the mean answer to the background.

    ``answer`` maps (cases, features) to (cases,); ``background`` is (cases, features). A feature
    that is not yet told has the values of the background, case by case.
    """
    count = len(features)
    orders = [np.random.default_rng(n).permutation(count) for n in range(PERMUTATIONS)]
    shares = np.zeros(count)
    for order in (*orders, *(order[::-1] for order in orders)):
        known = np.zeros((count + 1, count), bool)
        for place, feature in enumerate(order, 1):
            known[place:, feature] = True
        cases = np.where(known[:, None], features, background)
        means = answer(cases.reshape(-1, count)).reshape(count + 1, -1).mean(axis=1)
        shares[order] += np.diff(means)
    return shares / (2 * PERMUTATIONS)
