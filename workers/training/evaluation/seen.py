"""What a bundle said of one case, beside what is true; a part that was not asked for is empty."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Place:
    """Whether the map of an answer lies where a mask is, and two places that no image decides."""

    hit: bool
    """The centre of the region that the map names lies in the mask; false where the report says
    that nothing is there, or its map names no place."""
    inside: float | None
    """Part of the map's evidence that lies in the mask; none where no map is reported."""
    overlap: float | None
    """Intersection over union of the mask and as many of the map's hottest pixels."""
    centre: bool
    """The image's centre lies in the mask."""
    average: bool | None
    """The peak of the average training mask does; none where the bundle brings none along."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a report draws of one segment, beside a mask."""

    dice: float
    """1 where both are empty."""
    hausdorff_mm: float | None
    """95 % Hausdorff distance; none where one of them is empty, or nobody knows the pixels."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """What a detector reports of one target at each of ``boxes.THRESHOLDS``, and at its own."""

    there: int
    """How many there are."""
    hits: NDArray[np.intp]
    """(thresholds,): how many of them are found; the last is the operating point's."""
    false: NDArray[np.intp]
    """(thresholds,): boxes that show none of them, or one that another box shows."""


@dataclass(frozen=True, slots=True)
class Picture:
    """How like a reference an image is, before the model and after it."""

    psnr_before: float
    psnr_after: float
    """Peak signal-to-noise ratio in dB, of the reference's range."""
    ssim_before: float
    ssim_after: float
    """Structural similarity, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One case."""

    name: str
    patient: str | None
    """Who it is of, for cases of one patient are alike; none where the data does not say."""
    truth: BoolArray
    """(targets,)."""
    called: BoolArray
    """(targets,): reported as present."""
    probabilities: FloatArray
    """(targets,): as reported, of the likeliest finding of each."""
    seconds: float
    frames: int
    facts: Mapping[str, str]
    place: Place | None = None
    """None where there is no mask, or no map."""
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """True and said, of each quantity whose true number is known."""
    outlines: Mapping[str, Outline] = field(default_factory=dict)
    """By segment, where there is a mask."""
    boxes: Mapping[str, Boxes] = field(default_factory=dict)
    """By target of a detector, where there is a mask."""
    picture: Picture | None = None
    """Where there is a reference."""
    unfamiliar: FloatArray | None = None
    """(frames,): above 1 is unlike the training images; none where the bundle knows none."""
