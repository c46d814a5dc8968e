"""Prediction: what a network said of a series, on the grid of its source images."""

from dataclasses import dataclass

from dicom_node.domain.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on one frame; (row, column), where 0 is the centre of the first pixel."""

    frame: int
    first: tuple[float, float]
    """Its upper left corner."""
    last: tuple[float, float]
    """Its lower right corner."""

    @property
    def center(self) -> tuple[float, float, float]:
        """(frame, row, column)."""
        row, column = ((a + b) / 2 for a, b in zip(self.first, self.last, strict=True))
        return float(self.frame), row, column

    def holds(self, place: tuple[float, float, float]) -> bool:
        """Whether a (frame, row, column) lies in it."""
        frame, row, column = place
        (top, left), (bottom, right) = self.first, self.last
        return frame == self.frame and top <= row <= bottom and left <= column <= right


@dataclass(frozen=True)
class Boxes:
    """All boxes of a detector, with what it says of each."""

    places: tuple[Box, ...]
    logits: FloatArray
    """(boxes, targets)."""
    probabilities: FloatArray
    """(boxes, targets), 0 to 1: calibrated."""


@dataclass(frozen=True)
class DerivedImages:
    """An image for each source frame, on a grid of its own that lies in the source's planes."""

    pixels: FloatArray
    """(frames, rows, columns), in the units of the source."""
    step: tuple[float, float]
    """Size of a pixel in rows and columns of the source."""
    offset: tuple[float, float]
    """Where the centre of its first pixel lies: (row, column) of the source."""


@dataclass(frozen=True)
class Prediction:
    """What the network said, slice by slice; an output that it lacks has no channels, or is none.

    What a network says of several frames at once (a block, a sequence, the views of a side) is
    said of each of them; where several blocks hold a frame, their mean.
    """

    logits: FloatArray
    """(frames, targets): of the classification head; the numbers that are explained."""
    probabilities: FloatArray
    """(frames, targets), 0 to 1: calibrated."""
    masks: FloatArray
    """(frames, rows, columns, segments), 0 to 1: on the source grid."""
    numbers: FloatArray | None = None
    """(frames, quantities), in their units."""
    boxes: Boxes | None = None
    derived: DerivedImages | None = None
    together: tuple[tuple[int, ...], ...] = ()
    """Frames that have one answer: a sequence, the views of a side. Else each has its own."""
    evidence: FloatArray | None = None
    """(frames, targets): sum of the map in each frame, of those that have one answer."""
    features: FloatArray | None = None
    """(frames, channels): what the explained layer says of each frame, on average."""
