"""Smooth outlines of masks, drawn on the outside so that nothing of the mask is hidden."""

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


def draw_outline(
    picture: NDArray[np.float32],
    mask: BoolArray,
    color: Color,
    *,
    width: int = 2,
    dashed: bool = False,
) -> None:
    """Draw the outline of a mask of any size into an RGB picture (height, width, 3), 0 to 255."""
    if not mask.any():
        return
    window = _window(mask, picture.shape[1], picture.shape[0], 4 * width + 2)
    inside = _enlarged(mask, window, picture.shape[1], picture.shape[0])
    line = _grown(inside, width)
    casing = _grown(line, 1)
    pattern = _dashes(inside) if dashed else np.float32(1)
    part = picture[window[1] : window[3], window[0] : window[2]]
    _blend(part, _between(casing, line) * pattern * CASING, (0, 0, 0))
    _blend(part, _between(line, inside) * pattern, color)


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


def _enlarged(mask: BoolArray, window: Window, across: int, down: int) -> Image.Image:
    x, y = mask.shape[1] / across, mask.shape[0] / down
    left, top, right, bottom = window
    size = ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING)
    box = (left * x, top * y, right * x, bottom * y)
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    smooth = image.resize(size, Image.Resampling.BICUBIC, box=box)
    blurred = smooth.filter(ImageFilter.GaussianBlur(SMOOTHING * SUPERSAMPLING / x))
    return blurred.point([0] * 128 + [255] * 128)


def _grown(inside: Image.Image, distance: int) -> Image.Image:
    """Grow a region; squares and crosses in turn come close to a circle."""
    for step in range(distance * SUPERSAMPLING):
        inside = inside.filter(ImageFilter.MaxFilter(3)) if step % 2 else _cross(inside)
    return inside


def _cross(inside: Image.Image) -> Image.Image:
    array = np.asarray(inside)
    grown = array.copy()
    grown[1:] |= array[:-1]
    grown[:-1] |= array[1:]
    grown[:, 1:] |= array[:, :-1]
    grown[:, :-1] |= array[:, 1:]
    return Image.fromarray(grown)


def _between(outer: Image.Image, inner: Image.Image) -> FloatArray:
    ring = np.asarray(outer, dtype=np.float32) - np.asarray(inner, dtype=np.float32)
    return _reduced(ring / np.float32(255))


def _reduced(values: FloatArray) -> FloatArray:
    size = (values.shape[1] // SUPERSAMPLING, values.shape[0] // SUPERSAMPLING)
    image = Image.fromarray(values).resize(size, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _dashes(inside: Image.Image) -> FloatArray:
    """1 on dashes and 0 on gaps, by the angle around the middle of the region."""
    region = np.asarray(inside)
    rows, columns = np.nonzero(region)
    y, x = np.ogrid[: region.shape[0], : region.shape[1]]
    angle = np.arctan2(y - rows.mean(), x - columns.mean()) / (2 * np.pi)
    around = 2 * np.sqrt(np.pi * len(rows)) / SUPERSAMPLING
    count = max(round(around / (2 * DASH)), 4)
    return _reduced(((angle * count) % 1 < 0.5).astype(np.float32))


def _blend(part: NDArray[np.float32], opacity: FloatArray, color: Color) -> None:
    weight = opacity[..., None]
    part += weight * (np.asarray(color, dtype=np.float32) - part)
