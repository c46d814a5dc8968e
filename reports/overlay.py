"""A slice as a radiologist knows it, with outlines and heat laid over it in absolute units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.findings import SegmentMask
from dicom_node.domain.images import SourceImages
from dicom_node.domain.prediction import Box
from reports.colormap import colors
from reports.compass import edge_letters, pixel_size_mm, place
from reports.outline import Color, outline
from reports.window import gray

OPACITY, CLEAR_BELOW, FULL_FROM = 0.68, 0.04, 0.40
"""Heat is invisible below the first part of full scale and reaches its opacity at the second."""
REGION_COLOR: Color = (64, 224, 255)
"""Of the place that the map names: far from every colour of the map."""
BOX_COLOR: Color = (120, 255, 120)
"""Of the boxes of a detector."""

Rgb = NDArray[np.float32]
"""(height, width, 3), 0 to 255."""


@dataclass(frozen=True)
class Scene:
    """One slice, windowed and enlarged to true proportions."""

    gray: FloatArray
    """(height, width), 0 to 255."""
    mm_per_pixel: float | None
    """None where nobody knows."""
    scale_note: str
    """Where the scale is true: empty for the patient."""
    letters: tuple[str, str, str, str] | None
    """Orientation at the left, right, top and bottom edge."""
    place: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.gray.shape[1], self.gray.shape[0]

    def rgb(self) -> Rgb:
        """A fresh picture to draw on."""
        picture = np.empty((*self.gray.shape, 3), np.float32)
        picture[:] = self.gray[..., None]
        return picture

    def enlarged(self, plane: FloatArray) -> FloatArray:
        """A plane of the source grid, (rows, columns), on the grid of the picture."""
        return resized(plane, self.size, Image.Resampling.BILINEAR)


def scene(images: SourceImages, header: Dataset, frame: int, longest: int) -> Scene:
    """Prepare one frame as a picture whose longer side has ``longest`` pixels."""
    height_mm, width_mm, where = pixel_size_mm(images, header)
    rows, columns = images.pixels.shape[1:]
    scale = longest / max(rows * height_mm, columns * width_mm)
    size = (max(round(columns * width_mm * scale), 1), max(round(rows * height_mm * scale), 1))
    source = images.pixels[frame]
    plane = resized(source, size, Image.Resampling.BICUBIC)
    levels = gray(plane, header, images.frames[frame].frame_number, like=source)
    return Scene(
        gray=levels * 255,
        mm_per_pixel=None if where is None else 1 / scale,
        scale_note=where or "",
        letters=edge_letters(images, header),
        place=place(images, frame, header),
    )


def resized(plane: FloatArray, size: tuple[int, int], how: Image.Resampling) -> FloatArray:
    """A plane of so many columns and rows."""
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize(size, how), dtype=np.float32)


def add_heat(picture: Rgb, values: NDArray[np.floating]) -> None:
    """Lay the colours of values, 0 to 1 of full scale, over a picture of the same size.

    Nothing is stretched: a weak map stays faint, and the same colour means the same evidence in
    every picture of a model.
    """
    level = np.clip((values - CLEAR_BELOW) / (FULL_FROM - CLEAR_BELOW), 0, 1)
    difference = colors(values).astype(np.float32)
    difference -= picture
    difference *= (OPACITY * level)[..., None].astype(np.float32)
    picture += difference


def add_outlines(
    picture: Rgb, segments: Sequence[SegmentMask], frame: int, region: BoolArray | None
) -> None:
    """Draw segments as full lines and the region that the map names as a dashed one."""
    size = (picture.shape[1], picture.shape[0])
    if region is not None and region.any():
        outline(region, size, REGION_COLOR, dashed=True).draw(picture)
    for segment in segments:
        outline(segment.mask[frame], size, segment.color).draw(picture)


def box_mask(box: Box, images: SourceImages) -> BoolArray:
    """(rows, columns): the pixels of a box."""
    mask = np.zeros(images.pixels.shape[1:], bool)
    first, last = (np.rint(np.array(corner) + 0.5).astype(int) for corner in (box.first, box.last))
    mask[first[0] : max(last[0], first[0] + 1), first[1] : max(last[1], first[1] + 1)] = True
    return mask


def to_image(picture: Rgb) -> Image.Image:
    """8 bits a channel."""
    levels = np.clip(picture, 0, 255)
    return Image.fromarray(np.rint(levels, out=levels).astype(np.uint8))
