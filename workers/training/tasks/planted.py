"""Phantoms as recipes plant them, and which of them are for what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.findings import Answer
from dicom_node.domain.images import SourceImages
from dicom_node.domain.provenance import Provenance

TRAINING, CHECKING, TEST = 40_000, 50_000, 60_000
"""First seeds of what is fitted, calibrated and measured; tests of the repository: from 70 000."""
PROVENANCE = Provenance("2.25.1", 1, "", "", "", datetime(2026, 1, 1))


@dataclass(frozen=True)
class Planted:
    """A phantom as the pipeline reads it, and the truth about it."""

    images: SourceImages
    truth: Any


Plant = Callable[[int], Planted]
"""The phantom of a seed."""
Right = Callable[[Planted, Analysis], bool]
"""Whether the pipeline said the truth."""


@dataclass(frozen=True)
class Places:
    """Where a recipe's phantoms have what its model looks for: what a map should name."""

    of: Callable[[Planted, Answer], BoolArray]
    """(frames, rows, columns) of the source: what one answer is of; empty where it is not there."""
    shown: Callable[[Planted], BoolArray]
    """The same of all that any answer may be of."""
    marked: Callable[[BoolArray], Sequence[FloatArray]] | None = None
    """What each output says of an item whose only such thing is (rows, columns) of the model's
    input; none: the same wherever it is."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a recipe is done: parts of its examples and epochs."""

    examples: float = 1.0
    epochs: float = 1.0
    checks: float = 1.0


FULL, TINY = Size(), Size(0.02, 0.05, 0.05)
"""The second to see that a recipe runs; what it makes knows nothing."""


def part(count: int, share: float) -> int:
    """So much of a count, and 1 at least."""
    return max(1, round(count * share))
