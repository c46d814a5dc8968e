"""The steps that a manifest may name, each one function that carries the geometry with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dicom_node.domain.analysis import FloatArray, SourceImages
from dicom_node.domain.errors import UnsupportedGeometry, UnsupportedModel
from dicom_node.domain.manifest import Fit, ModelManifest, Standardize, Step, Window
from explain.projection import Grid


@dataclass(frozen=True, slots=True)
class Prepared:
    """Slices on their way into the network."""

    values: FloatArray
    """(frames, rows, columns) between steps; (frames, rows, columns, channels) at the end."""
    grid: Grid
    """The rows and columns of ``values``, laid on those of the source."""
    spacing_mm: tuple[float, float] | None
    """Of the rows and columns of ``values``; none where the source has no geometry."""


def prepare(images: SourceImages, manifest: ModelManifest) -> Prepared:
    """Model input of all frames: float32 (frames, rows, columns, channels), and its grid.

    Raises UnsupportedGeometry where a step needs millimetres and the images have none, and
    UnsupportedModel where the steps do not end in the shape that the manifest promises.
    """
    prepared = apply(_start(images), manifest.preprocess)
    rows, columns, channels = manifest.input.plane
    if prepared.values.shape[1:] != (rows, columns):
        raise UnsupportedModel(
            f"the steps of {manifest.id} end in {prepared.grid.inner} pixels and its input takes "
            f"{(rows, columns)}: add or correct its fit step"
        )
    return replace(prepared, values=np.repeat(prepared.values[..., None], channels, axis=-1))


def apply(prepared: Prepared, steps: Sequence[Step]) -> Prepared:
    """Each step in turn."""
    for step in steps:
        match step:
            case Window():
                prepared = window(prepared, step)
            case Fit():
                prepared = fit(prepared, step)
            case Standardize():
                prepared = standardize(prepared, step)
    return prepared


def window(prepared: Prepared, step: Window) -> Prepared:
    """Clip to the window and scale to 0..1 (PS3.3 C.11.2.1.3.2, LINEAR_EXACT)."""
    low = step.center - step.width / 2
    values = np.clip((prepared.values - low) / step.width, 0, 1)
    return replace(prepared, values=values.astype(np.float32))


def fit(prepared: Prepared, step: Fit) -> Prepared:
    """Square pixels of ``spacing_mm``, ``rows`` × ``columns`` of them about the image's centre."""
    if prepared.spacing_mm is None:
        raise UnsupportedGeometry(
            "the model needs pixels of a known size, and these images carry no position and "
            "orientation in the patient"
        )
    row_mm, column_mm = prepared.spacing_mm
    grid = Grid.centred(
        prepared.grid.inner,
        (step.rows, step.columns),
        (step.spacing_mm / row_mm, step.spacing_mm / column_mm),
    )
    return Prepared(
        values=grid.sample(prepared.values, step.fill),
        grid=prepared.grid.carrying(grid),
        spacing_mm=(step.spacing_mm, step.spacing_mm),
    )


def standardize(prepared: Prepared, step: Standardize) -> Prepared:
    """Subtract the mean and divide by the deviation of the training data."""
    values = (prepared.values - step.mean) / step.deviation
    return replace(prepared, values=values.astype(np.float32))


def _start(images: SourceImages) -> Prepared:
    rows, columns = images.pixels.shape[1:]
    spacing = None if images.affine is None else images.spacing_mm[1:]
    return Prepared(images.pixels, Grid.same((rows, columns)), spacing)
