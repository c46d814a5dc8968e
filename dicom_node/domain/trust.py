"""What packaging measured of a model's explanations and certainty, as the manifest says it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dicom_node.domain.part import Part

Number = Literal[
    "inside",
    "overlap",
    "sure",
    "outline_drop",
    "region_drop",
    "shift",
    "expected",
    "beyond",
    "border",
    "spread",
    "outside",
]
"""See ``explain.verdict`` for what each of them means."""


class VerdictNumber(Part):
    """One number of a verdict."""

    name: Number
    weight: float
    """Added to the log-odds that the map hits, for each 1 of the number."""
    limit: float
    """Nineteen of twenty maps that hit are on the good side of it."""


class VerdictPlan(Part):
    """A logistic combination of cheap numbers: the chance that a map names the right place."""

    numbers: tuple[VerdictNumber, ...] = Field(min_length=1)
    bias: float
    reliable: float = Field(default=0.9, gt=0, lt=1)
    """The chance from which on a map is reliable."""
    not_reliable: float = Field(default=0.5, gt=0, lt=1)
    """The chance below which it is not, and is withheld."""

    @property
    def names(self) -> frozenset[Number]:
        """Of the numbers; some need ``reference.npz``, or an outline of the model's own."""
        return frozenset(number.name for number in self.numbers)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        names = [number.name for number in self.numbers]
        if len(set(names)) < len(names):
            raise ValueError("a verdict has each number once")
        if self.not_reliable > self.reliable:
            raise ValueError("not_reliable must not be above reliable")
        return self


class ExplanationCheck(Part):
    """How well the maps of all test cases together did, against maps that know nothing."""

    hits: float = Field(ge=0, le=1)
    """Part of the maps whose region has its centre in what was looked for."""
    centre: float = Field(ge=0, le=1)
    """The same of a map that always names the middle of the image."""
    average: float = Field(ge=0, le=1)
    """The same of the average mask of the training cases."""
    randomised: float = Field(ge=-1, le=1)
    """Similarity (SSIM) to the maps of the same network with random weights in its last block."""
    shuffled: float | None = Field(default=None, ge=-1, le=1)
    """The same, to the maps of a twin that was taught shuffled labels; none where none was."""
    cases: int = Field(ge=1)
    margin: float = 0.3
    """By which the maps must beat the better baseline."""
    similar: float = 0.3
    """Most that the maps may look like those of the random network, or of the twin."""

    @property
    def passed(self) -> bool:
        """Whether maps of this bundle may be evidence at all."""
        best = max(self.centre, self.average)
        alike = max(self.randomised, self.shuffled or 0.0)
        return self.hits >= best + self.margin and alike <= self.similar


class Conformal(Part):
    """Which answers a probability leaves open, with a stated coverage for each of them."""

    coverage: float = Field(gt=0.5, lt=1)
    """Part of the studies with, and of those without, whose answer is among those left open."""
    present: float = Field(ge=0, le=1)
    """Probability at and above which Present is left open."""
    absent: float = Field(ge=0, le=1)
    """Probability at and below which Absent is left open."""
