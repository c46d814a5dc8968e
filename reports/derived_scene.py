"""What a model made of a slice, beside that slice: the same place, scale and window."""

from dataclasses import replace

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.images import SourceImages
from dicom_node.domain.prediction import DerivedImages
from reports.compass import slice_position
from reports.fonts import drawable
from reports.key_slices import KeySlice
from reports.language import _
from reports.overlay import Scene, resized
from reports.terms import term
from reports.window import gray

MOST_LETTERS = 40
"""Of its name, within the picture."""


def derived_scene(analysis: Analysis, key: KeySlice, view: Scene, header: Dataset) -> Scene | None:
    """The scene ``view`` of a source image with the derived one in its place, black around it.

    ``header`` is the repaired header of the source image. None where the key slice is not of a
    derived image.
    """
    images, derived, frame = analysis.images, analysis.prediction.derived, key.frame
    if derived is None or key.derived is None:
        return None
    plane = _laid(derived, frame, images.pixels.shape[1:], view.size)
    beyond, source = np.isnan(plane), images.pixels[frame]
    number = images.frames[frame].frame_number
    levels = gray(np.where(beyond, 0, plane), header, number, like=source)
    place = _place(images, frame, key.derived.label)
    return replace(view, gray=np.where(beyond, 0, levels) * 255, place=place)


def _laid(
    derived: DerivedImages, frame: int, source: tuple[int, ...], size: tuple[int, int]
) -> FloatArray:
    """(height, width) of the source's picture; nan where the derived image does not reach."""
    scale = np.array(size[::-1]) / source
    step, offset = np.array(derived.step), np.array(derived.offset)
    first = np.rint((offset + 0.5 - step / 2) * scale).astype(int)
    across = np.maximum(np.rint(derived.pixels.shape[1:] * step * scale), 1).astype(int)
    plane = resized(derived.pixels[frame], (across[1], across[0]), Image.Resampling.BICUBIC)
    canvas = Image.new("F", size, float("nan"))
    canvas.paste(Image.fromarray(plane), (first[1], first[0]))
    return np.asarray(canvas, np.float32)


def _place(images: SourceImages, frame: int, name: str) -> str:
    """As ``compass.place``, of the derived series."""
    parts = (drawable(term(name), MOST_LETTERS), _("image {}").format(frame + 1))
    return _(", ").join(filter(None, (*parts, slice_position(images, frame))))
