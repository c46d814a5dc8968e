"""Preprocessing: the steps that a manifest may name, in the order in which they are to run.

Values start as the modality means them (HU for CT; PS3.3 C.11.1). ``image`` is one frame,
``series`` all frames together. Steps of the feature family add a channel beside the image.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from dicom_node.domain.part import Part

Extent = Literal["image", "series"]
Letter = Literal["L", "R", "A", "P", "H", "F"]
"""Towards the patient's left, right, front, back, head, feet (PS3.3 C.7.6.1.1.1)."""
Count = Annotated[int, Field(ge=1, le=4096)]
OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


class Window(Part):
    """Clip to a window and scale it to 0..1 (PS3.3 C.11.2.1.3.2, LINEAR_EXACT)."""

    step: Literal["window"]
    center: float
    width: float = Field(gt=0)


class Voi(Part):
    """The image's own window or VOI LUT, to 0..1 (PS3.3 C.11.2); names none: its 1 to 99 %."""

    step: Literal["voi"]


class Monochrome1(Part):
    """After a window: 1 - value where the image shows low values bright (PS3.3 C.7.6.3.1.2)."""

    step: Literal["monochrome1"]


class Rescale(Part):
    """Value × slope + intercept."""

    step: Literal["rescale"]
    slope: float = 1.0
    intercept: float = 0.0


class Standardize(Part):
    """Subtract the mean and divide by the deviation that training saw."""

    step: Literal["standardize"]
    mean: float
    deviation: float = Field(gt=0)


class ZScore(Part):
    """Subtract the images' own mean and divide by their own deviation."""

    step: Literal["z_score"]
    over: Extent = "image"


class ClipPercentiles(Part):
    """Clip to two percentiles of the values and scale to 0..1."""

    step: Literal["clip_percentiles"]
    low: float = Field(default=0.5, ge=0, lt=100)
    high: float = Field(default=99.5, gt=0, le=100)
    over: Extent = "image"

    @model_validator(mode="after")
    def _ordered(self) -> "ClipPercentiles":
        if self.low >= self.high:
            raise ValueError("low must be less than high")
        return self


class HistogramEqualization(Part):
    """As many pixels of each level, 0..1."""

    step: Literal["histogram_equalization"]
    bins: int = Field(default=256, ge=2, le=65536)
    over: Extent = "image"


class Clahe(Part):
    """Contrast limited adaptive histogram equalization of each image, 0..1 (Zuiderveld 1994)."""

    step: Literal["clahe"]
    tiles: int = Field(default=8, ge=1, le=64)
    """Of each axis of the image."""
    limit: float = Field(default=0.01, gt=0, le=1)


class Log(Part):
    """The natural logarithm of 1 + value; values below 0 count as 0."""

    step: Literal["log"]


class Gamma(Part):
    """The value to the power of gamma; values below 0 count as 0."""

    step: Literal["gamma"]
    gamma: float = Field(gt=0)


class Fit(Part):
    """Resample in plane to square pixels, and crop or pad about the centre, all in one."""

    step: Literal["fit"]
    rows: int = Field(ge=8, le=4096)
    columns: int = Field(ge=8, le=4096)
    spacing_mm: float = Field(gt=0)
    fill: float = 0.0


class Resample(Part):
    """Resample to a spacing; the images go on covering what they cover."""

    step: Literal["resample"]
    spacing_mm: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    """Of rows and columns."""
    slice_mm: float | None = Field(default=None, gt=0)
    """Between slices; left out: as they are."""


class Orient(Part):
    """Turn and mirror by whole axes, so that they run as near as can be to where it is said."""

    step: Literal["orient"]
    rows: Letter
    """Where the row index grows to: P in an axial image as it is usually shown."""
    columns: Letter
    """Where the column index grows to: L in an axial image as it is usually shown."""
    slices: Letter | None = None
    """Where the slice index grows to; left out: the slices stay what they are."""

    @model_validator(mode="after")
    def _different_axes(self) -> "Orient":
        letters = [letter for letter in (self.rows, self.columns, self.slices) if letter]
        if len({min(letter, OPPOSITE[letter]) for letter in letters}) < len(letters):
            raise ValueError("rows, columns and slices run along different axes of the patient")
        return self


class Crop(Part):
    """Cut about the centre; what is smaller stays as it is."""

    step: Literal["crop"]
    rows: Count
    columns: Count
    slices: Count | None = None


class Pad(Part):
    """Surround with a value; what is larger stays as it is."""

    step: Literal["pad"]
    rows: Count
    columns: Count
    slices: Count | None = None
    fill: float = 0.0


class Resize(Part):
    """As many pixels over the same area, however large they become."""

    step: Literal["resize"]
    rows: Count
    columns: Count
    slices: Count | None = None


class WaveletDenoise(Part):
    """Shrink the wavelet coefficients of each image (BayesShrink, Chang 2000)."""

    step: Literal["wavelet_denoise"]
    wavelet: Literal["haar", "db2", "db4", "sym4", "coif1"] = "db2"


class NonLocalMeans(Part):
    """Average alike patches of each image (Buades 2005)."""

    step: Literal["non_local_means"]
    strength: float = Field(default=0.8, gt=0, le=10)
    """Times the noise's own deviation, which is estimated."""
    patch: int = Field(default=5, ge=3, le=15)
    distance: int = Field(default=6, ge=1, le=30)
    """Pixels; how far alike patches are searched."""


class BiasField(Part):
    """Divide by the slow variation of a coil's sensitivity (N4, Tustison 2010)."""

    step: Literal["bias_field"]
    shrink: int = Field(default=4, ge=1, le=16)
    """The field is fitted on images so many times smaller."""
    iterations: int = Field(default=50, ge=1, le=500)
    """Of each of three levels."""
    over: Extent = "image"


class Sobel(Part):
    """A channel: the size of the gradient."""

    step: Literal["sobel"]
    features: ClassVar[int] = 1


class Gabor(Part):
    """A channel: the strongest answer to stripes of one width in several directions."""

    step: Literal["gabor"]
    wavelength: float = Field(default=8.0, ge=2, le=256)
    """Pixels."""
    directions: int = Field(default=4, ge=1, le=16)
    features: ClassVar[int] = 1


class HoughCircles(Part):
    """A channel: the part of a circle's edge that is there about each pixel, 0..1."""

    step: Literal["hough_circles"]
    radii: tuple[Annotated[int, Field(ge=2, le=512)], ...] = Field(min_length=1, max_length=16)
    """Pixels; the best of them counts."""
    features: ClassVar[int] = 1


class Watershed(Part):
    """A channel: each pixel has the mean of the region that flooding the gradient puts it in."""

    step: Literal["watershed"]
    regions: int = Field(default=256, ge=2, le=65536)
    features: ClassVar[int] = 1


class KMeans(Part):
    """A channel: the class of each pixel's level among so many, darkest 0 to brightest 1."""

    step: Literal["k_means"]
    clusters: int = Field(default=3, ge=2, le=16)
    over: Extent = "image"
    features: ClassVar[int] = 1


Intensity = (
    Window
    | Voi
    | Monochrome1
    | Rescale
    | Standardize
    | ZScore
    | ClipPercentiles
    | HistogramEqualization
    | Clahe
    | Log
    | Gamma
)
Geometry = Fit | Resample | Orient | Crop | Pad | Resize
Denoising = WaveletDenoise | NonLocalMeans | BiasField
Feature = Sobel | Gabor | HoughCircles | Watershed | KMeans
Step = Annotated[Intensity | Geometry | Denoising | Feature, Field(discriminator="step")]


def channels(steps: tuple[Step, ...]) -> int:
    """Of what the steps end in: the image, and one for each feature."""
    return 1 + sum(getattr(step, "features", 0) for step in steps)


def moves_slices(step: Step) -> bool:
    """Whether slices come out that are not those of the source."""
    return getattr(step, "slices", None) is not None or getattr(step, "slice_mm", None) is not None
