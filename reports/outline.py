"""Smooth outlines of masks, drawn on the outside so that nothing of the mask is hidden."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from dicom_node.domain.arrays import BoolArray, FloatArray

SUPERSAMPLING = 2
SMOOTHING = 0.4
"""Of the staircase, in source pixels: a mask of a single pixel still keeps its outline."""
DASH = 10
"""Pixels of the picture; gaps are as long."""
CASING = 0.75
"""Opacity of the dark line around an outline: it stands out on bright tissue, too."""

Color = tuple[int, int, int]
Window = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the picture."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The outline of a mask, found once, to be drawn into any picture of one size."""

    window: Window
    """The part of the picture that it lies in."""
    casing: FloatArray
    """Opacity of the dark line around it, within the window."""
    line: FloatArray
    color: Color

    def draw(self, picture: NDArray[np.float32]) -> None:
        """Draw it into an RGB picture (height, width, 3), 0 to 255."""
        left, top, right, bottom = self.window
        part = picture[top:bottom, left:right]
        _blend(part, self.casing, (0, 0, 0))
        _blend(part, self.line, self.color)


def outline(
    mask: BoolArray, size: tuple[int, int], color: Color, *, width: int = 2, dashed: bool = False
) -> Outline:
    """Of a mask of any size with at least one pixel, in a picture of so many columns and rows."""
    window = _window(mask, *size, 4 * width + 2)
    inside = _enlarged(mask, window, *size)
    line = _grown(inside, width)
    casing = _grown(line, 1)
    pattern = _dashes(inside) if dashed else np.float32(1)
    return Outline(
        window,
        _between(casing, line) * pattern * np.float32(CASING),
        _between(line, inside) * pattern,
        color,
    )


def _window(mask: BoolArray, across: int, down: int, margin: int) -> Window:
    """The part of the picture that the outline can reach."""
    rows, columns = np.nonzero(mask)
    x, y = across / mask.shape[1], down / mask.shape[0]
    return (
        max(int(columns.min() * x) - margin, 0),
        max(int(rows.min() * y) - margin, 0),
        min(int((columns.max() + 1) * x) + margin, across),
        min(int((rows.max() + 1) * y) + margin, down),
    )


def _enlarged(mask: BoolArray, window: Window, across: int, down: int) -> BoolArray:
    x, y = mask.shape[1] / across, mask.shape[0] / down
    left, top, right, bottom = window
    size = ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING)
    box = (left * x, top * y, right * x, bottom * y)
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    smooth = image.resize(size, Image.Resampling.BICUBIC, box=box)
    blurred = smooth.filter(ImageFilter.GaussianBlur(SMOOTHING * SUPERSAMPLING / x))
    return np.asarray(blurred) >= 128


def _grown(inside: BoolArray, distance: int) -> BoolArray:
    """Grow a region; squares and crosses in turn come close to a circle."""
    for step in range(distance * SUPERSAMPLING):
        down = _either(inside, 0)
        inside = _either(down, 1) if step % 2 else down | _either(inside, 1)
    return inside


def _either(inside: BoolArray, axis: int) -> BoolArray:
    """A region and its neighbours along an axis."""
    along = np.moveaxis(inside, axis, 0)
    grown = along.copy()
    grown[1:] |= along[:-1]
    grown[:-1] |= along[1:]
    return np.moveaxis(grown, 0, axis)


def _between(outer: BoolArray, inner: BoolArray) -> FloatArray:
    return _reduced((outer & ~inner).astype(np.float32))


def _reduced(values: FloatArray) -> FloatArray:
    size = (values.shape[1] // SUPERSAMPLING, values.shape[0] // SUPERSAMPLING)
    image = Image.fromarray(values).resize(size, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _dashes(region: BoolArray) -> FloatArray:
    """1 on dashes and 0 on gaps, by the angle around the middle of the region."""
    rows, columns = np.nonzero(region)
    y, x = np.ogrid[: region.shape[0], : region.shape[1]]
    angle = np.arctan2(y - rows.mean(), x - columns.mean()) / (2 * np.pi)
    around = 2 * np.sqrt(np.pi * len(rows)) / SUPERSAMPLING
    count = max(round(around / (2 * DASH)), 4)
    return _reduced(((angle * count) % 1 < 0.5).astype(np.float32))


def _blend(part: NDArray[np.float32], opacity: FloatArray, color: Color) -> None:
    weight = opacity[..., None]
    part += weight * (np.asarray(color, dtype=np.float32) - part)
