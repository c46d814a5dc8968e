"""What a model gives: the kinds of output that a manifest may name."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydicom.sr.coding import Code

from dicom_node.domain.part import CodedConcept, Part
from dicom_node.domain.trust import Conformal

FEWEST_SHARED = 2
"""Channels, to share one probability."""


def refuse_repeated(labels: tuple[str, ...]) -> None:
    """Raise ValueError for a label of two answers of one output, which would be taken for one."""
    folded = [label.casefold() for label in labels]
    twice = sorted({label for label in labels if folded.count(label.casefold()) > 1})
    if twice:
        raise ValueError(f"{' and '.join(twice)} is the label of two of them: give each its own")


@dataclass(frozen=True, slots=True)
class Head:
    """A tensor of the network that an output is read from."""

    name: str
    """By which the output knows it."""
    layer: str
    channels: int
    """Size of its last axis."""
    cells: int
    """Number of axes between the batch and the channels, for a slice as input."""
    logits: bool = True
    """Taken before its sigmoid or softmax; else as the layer gives it."""


class Target(Part):
    """One thing that the model is asked about."""

    label: str
    finding: CodedConcept
    category: CodedConcept
    site: CodedConcept | None = None
    laterality: CodedConcept | None = None
    """Of the site: Right, Left, Unilateral, Bilateral (CID 244)."""
    threshold: float = Field(gt=0, lt=1)
    """Operating point: a probability at or above it means Present."""
    temperature: float = Field(default=1.0, gt=0)
    """Calibration: the logit is divided by it (Guo 2017)."""
    isotonic: tuple[tuple[float, float], ...] = ()
    """Calibration, after the temperature: (stated, observed) probabilities, straight between."""
    conformal: Conformal | None = None
    """Which answers a probability leaves open."""
    located_by: str | None = None
    """The segment whose connected parts are the single findings."""


class Segment(Part):
    """One class of the segmentation output."""

    label: str
    category: CodedConcept
    type: CodedConcept
    site: CodedConcept | None = None
    laterality: CodedConcept | None = None
    """Of the site: Right, Left, Unilateral, Bilateral (CID 244)."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    color: tuple[int, int, int] = (255, 180, 0)
    """Recommended display colour, sRGB."""
    min_volume_ml: float = Field(default=0.0, ge=0)
    """Connected parts below it are noise and dropped."""


class Quantity(Part):
    """One number that the model measures."""

    label: str
    concept: CodedConcept
    """What is measured: the name of the NUM in the SR."""
    unit: CodedConcept
    """UCUM."""
    finding: CodedConcept
    """What it is measured of."""
    category: CodedConcept
    site: CodedConcept | None = None
    laterality: CodedConcept | None = None
    low: float
    """The range that training saw: a number outside of it comes with a note."""
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"quantity {self.label!r}: low must be less than high")
        return self


class Classification(Part):
    """A head that gives one logit a target."""

    kind: Literal["classification"]
    layer: str
    targets: tuple[Target, ...] = Field(min_length=1)
    exclusive: bool = False
    """Multi-class: the targets share one probability (softmax), and only the most probable may be
    present. Else multi-label: each has its own (sigmoid)."""
    rest: str | None = None
    """Of exclusive targets: what the last channel, after those of the targets, means."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        refuse_repeated((*self.labels, *([self.rest] if self.rest else [])))
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Of what may be explained, in the order of the channels."""
        return tuple(target.label for target in self.targets)

    @property
    def units(self) -> tuple[Code | None, ...]:
        """Of the channels' numbers; none: a logit."""
        return (None,) * len(self.targets)

    @property
    def extra(self) -> int:
        """Channels after those of the targets."""
        return int(self.rest is not None)

    @property
    def heads(self) -> tuple[Head, ...]:
        """One logit a target, and one for the rest."""
        return (Head(self.kind, self.layer, len(self.targets) + self.extra, 0),)

    @model_validator(mode="after")
    def _exclusive_targets_agree(self) -> Self:
        if self.rest is not None and not self.exclusive:
            raise ValueError("rest is for exclusive targets: say exclusive = true, or remove it")
        if self.exclusive and len(self.targets) + self.extra < FEWEST_SHARED:
            raise ValueError(
                "one channel cannot exclude another, and would always have a probability of 1: "
                "leave exclusive out, or name the channel of the rest"
            )
        if self.exclusive and len({target.temperature for target in self.targets}) > 1:
            raise ValueError("exclusive targets share one probability: give one temperature to all")
        if self.exclusive and any(target.isotonic for target in self.targets):
            raise ValueError("exclusive targets share one probability: leave isotonic out")
        return self


class Segmentation(Part):
    """A head that gives one logit a pixel and a segment."""

    kind: Literal["segmentation"]
    layer: str
    segments: tuple[Segment, ...] = Field(min_length=1)
    background: bool = False
    """Whether all channels share one probability (softmax), and the first is of what belongs to no
    segment, as nnU-Net has it."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        refuse_repeated(self.labels)
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Of what may be explained, in the order of the channels."""
        return tuple(segment.label for segment in self.segments)

    @property
    def units(self) -> tuple[Code | None, ...]:
        """Of the channels' numbers; none: a logit."""
        return (None,) * len(self.segments)

    @property
    def heads(self) -> tuple[Head, ...]:
        """One logit a pixel and a segment."""
        return (Head(self.kind, self.layer, len(self.segments) + self.background, 2),)


class Regression(Part):
    """A head that gives one number a quantity, in its unit."""

    kind: Literal["regression"]
    layer: str
    quantities: tuple[Quantity, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        refuse_repeated(self.labels)
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Of what may be explained, in the order of the channels."""
        return tuple(quantity.label for quantity in self.quantities)

    @property
    def units(self) -> tuple[Code | None, ...]:
        """Of the channels' numbers; none: a logit."""
        return tuple(quantity.unit.code for quantity in self.quantities)

    @property
    def heads(self) -> tuple[Head, ...]:
        """One number a quantity."""
        return (Head(self.kind, self.layer, len(self.quantities), 0, logits=False),)


class Detection(Part):
    """Two heads that give a number of boxes, each with a logit a target."""

    kind: Literal["detection"]
    layer: str
    """(boxes, targets): logits."""
    boxes: str
    """(boxes, 4): first row, first column, last row, last column, in pixels of the input; an edge
    of 0 is the outer edge of the first pixel."""
    targets: tuple[Target, ...] = Field(min_length=1)
    overlap: float = Field(default=0.3, gt=0, lt=1)
    """Boxes of one target that share more than this (intersection over union) are one finding."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        refuse_repeated(self.labels)
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Of what may be explained, in the order of the channels."""
        return tuple(target.label for target in self.targets)

    @property
    def units(self) -> tuple[Code | None, ...]:
        """Of the channels' numbers; none: a logit."""
        return (None,) * len(self.targets)

    @property
    def heads(self) -> tuple[Head, ...]:
        """Logits of the boxes, and their edges."""
        return (
            Head(self.kind, self.layer, len(self.targets), 1),
            Head("boxes", self.boxes, len(EDGES), 1, logits=False),
        )


class Image(Part):
    """A head that gives an image of the same units as the input: it becomes a derived series."""

    kind: Literal["image"]
    layer: str
    derivation: CodedConcept
    """How it was derived (CID 7203)."""
    description: str = Field(max_length=64)
    """Of the series."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """One grey value a pixel; more pixels than the input has, for super-resolution."""
        return (Head(self.kind, self.layer, 1, 2, logits=False),)


Explained = Classification | Detection | Regression | Segmentation
"""What maps may be of."""
EDGES = ("first row", "first column", "last row", "last column")
Output = Annotated[
    Classification | Segmentation | Regression | Detection | Image, Field(discriminator="kind")
]
