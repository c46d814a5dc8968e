"""Training slices: phantoms of many sizes and spacings, through the steps that serving uses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelManifest
from dicom_node.testing.phantom import Phantom, phantom
from workers.preprocess import prepare
from workers.progress import Progress

SIZES = (128, 160, 192, 224, 256, 256, 320, 512)
SPACINGS_MM = (2.5, 3.0, 4.0, 5.0, 5.0, 6.0, 7.0)
DEPTH_MM = 60.0
FAINT_AREA_MM2 = 80.0
"""A lesion's end in a slice, too small to insist on: between this and nothing, no label."""


@dataclass(frozen=True)
class Slices:
    """Model inputs and the truth about them, all on the model's grid."""

    images: NDArray[np.float16]
    """(slices, rows, columns): after the manifest's steps."""
    masks: NDArray[np.float16]
    """(slices, rows, columns, 2), 0 to 1: body, lesion."""
    labels: FloatArray
    """(slices,): 1 where the slice shows a lesion."""
    weights: FloatArray
    """(slices,): 0 where the label is not to be insisted on."""


def training_phantom(seed: int) -> Phantom:
    """A phantom whose size, spacing and number of lesions are drawn from its seed."""
    rng = np.random.default_rng([seed, 1])
    spacing = float(rng.choice(SPACINGS_MM))
    return phantom(
        seed,
        lesions=int(rng.choice((0, 1, 2, 3), p=(0.25, 0.35, 0.25, 0.15))),
        slices=round(DEPTH_MM / spacing),
        size=int(rng.choice(SIZES)),
        slice_spacing_mm=spacing,
    )


def source_images(source: Phantom) -> SourceImages:
    """What reading a phantom's axial CT series gives, without the files."""
    slices, rows, columns = source.spacing_mm
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = slices, rows, columns, 1
    frames = tuple(
        FrameReference("1.2.840.10008.5.1.4.1.1.2", f"2.25.{number + 1}")
        for number in range(len(source.hu))
    )
    return SourceImages((), frames, source.hu.astype(np.float32), affine)


def collect(seeds: Sequence[int], manifest: ModelManifest, progress: Progress) -> Slices:
    """The slices of all phantoms of the seeds, in their order."""
    parts = []
    for done, seed in enumerate(seeds):
        parts.append(_slices(training_phantom(seed), manifest))
        progress("phantoms", (done + 1) / len(seeds))
    fields = zip(*((p.images, p.masks, p.labels, p.weights) for p in parts), strict=True)
    return Slices(*(np.concatenate(field) for field in fields))


def _slices(source: Phantom, manifest: ModelManifest) -> Slices:
    prepared = prepare(source_images(source), manifest)
    truth = np.stack([source.body, source.lesion], axis=-1).astype(np.float32)
    labels, weights = label_slices(source)
    return Slices(
        images=prepared.values[..., 0].astype(np.float16),
        masks=prepared.grid.sample(truth).astype(np.float16),
        labels=labels,
        weights=weights,
    )


def label_slices(source: Phantom) -> tuple[FloatArray, FloatArray]:
    """Label and weight of each slice, both (slices,).

    Without weight: the ends of a lesion, and the slices beside them, where its blurred edge shows.
    """
    area = source.lesion.sum(axis=(1, 2)) * source.spacing_mm[1] * source.spacing_mm[2]
    shown = area >= FAINT_AREA_MM2
    near = np.convolve(area > 0, (1, 1, 1), mode="same") > 0
    return shown.astype(np.float32), (shown | ~near).astype(np.float32)
