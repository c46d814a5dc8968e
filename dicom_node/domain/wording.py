"""How numbers are said to people, the same in the report, the pictures and the pages."""

import numpy as np

LIKELY, UNLIKELY = 0.99, 0.01
"""Beyond these a probability is said to be beyond them: no model is certain."""
MOST_DIGITS = 9
"""After the point of a percentage: more than single precision tells apart."""


def percent(probability: float, threshold: float | None = None) -> str:
    """A probability in whole percent; never 0% or 100%, for no model is certain.

    Beside an operating point it has as many digits as it takes to lie on its own side of it.
    """
    top, bottom = LIKELY, UNLIKELY
    if threshold is not None:
        top, bottom = max(top, threshold), min(bottom, threshold)
    if np.float32(probability) > np.float32(top):
        return f">{operating_point(top)}"
    if np.float32(probability) < np.float32(bottom):
        return f"<{operating_point(bottom)}"
    digits = 0 if threshold is None else digits_beside(probability, threshold)
    return f"{100 * probability:.{digits}f}%"


def operating_point(threshold: float) -> str:
    """A number that somebody set, in percent, with all its digits."""
    return f"{100 * threshold:.10g}%"


def digits_beside(probability: float, threshold: float, least: int = 0) -> int:
    """Digits after the point with which a percentage is on the side of the threshold that it is.

    At least so many; more where it would be 0 or 100, too. A probability is of single precision:
    as such it is compared where the answer is given.
    """
    present = bool(np.float32(probability) >= np.float32(threshold))
    exact, limit = 100 * probability, round(100 * threshold, MOST_DIGITS)
    for digits in range(least, MOST_DIGITS):
        said = round(exact, digits)
        if said not in (0, 100) and (said >= limit) == present:
            return digits
    return MOST_DIGITS
