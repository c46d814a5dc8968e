"""Image to image: the network's picture, back in the units of the source."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.concepts import DERIVED_IMAGE, MEAN_CHANGE
from dicom_node.domain.errors import UnsupportedGeometry, UnsupportedModel
from dicom_node.domain.findings import Estimate, Measurement
from dicom_node.domain.outputs import Image
from dicom_node.domain.prediction import DerivedImages, Prediction
from dicom_node.domain.steps import Standardize, Step, Window
from explain.projection import Grid
from workers.findings import Answers, Case
from workers.outputs.said import Said
from workers.units import unit_of

IN_PLANE = frozenset({"fit", "resize", "crop", "pad"})
"""Steps that move pixels and leave their values."""


def read(prediction: Prediction, plan: Image, said: Said) -> Prediction:
    """On the network's own grid; what its window cut off is put back as the source has it.

    Raises UnsupportedGeometry for multi-frame sources: each derived image is one of an image.
    """
    if any(frame.frame_number is not None for frame in said.prepared.source.frames):
        raise UnsupportedGeometry(
            "a derived series is made of single-frame images: name their SOP classes in the "
            "manifest's selection.sop_classes"
        )
    planes, steps = said.planes(plan.kind)[..., 0], said.model.manifest.preprocess
    cells = Grid.covering(said.prepared.grid.inner, planes.shape[1:3])
    grid = said.prepared.grid.carrying(cells)
    shown = cells.sample(undo(said.prepared.values[..., 0], steps))
    derived = undo(planes, steps) + grid.sample(said.prepared.source.pixels) - shown
    return replace(prediction, derived=DerivedImages(derived, pair(grid.step), pair(grid.offset)))


def undo(values: FloatArray, steps: Sequence[Step]) -> FloatArray:
    """Values after the steps, in the units before them.

    Raises UnsupportedModel for a step that cannot be turned back.
    """
    for step in reversed(steps):
        match step:
            case Window():
                values = values * step.width + step.center - step.width / 2
            case Standardize():
                values = values * step.deviation + step.mean
            case _ if step.step not in IN_PLANE:
                raise UnsupportedModel(
                    f"an image cannot be turned back into the source's units after {step.step!r}: "
                    "let the network do this step, and name window, standardize or fit"
                )
    return np.asarray(values, np.float32)


def answer(case: Case, plan: Image) -> Answers:
    """How much the network changed; its picture is written by the reports."""
    derived = case.prediction.derived
    if derived is None:
        return Answers()
    frame = len(derived.pixels) // 2
    source = case.images.pixels
    grid = Grid(source.shape[1:], derived.pixels.shape[1:], derived.step, derived.offset)
    change = derived.pixels - grid.sample(source)
    value = float(np.sqrt(np.mean(change**2)))
    estimate = Estimate(
        plan.description,
        plan.derivation.code,
        DERIVED_IMAGE,
        frame,
        *case.tracking(plan.kind),
        measurements=(Measurement(MEAN_CHANGE, value, unit_of(case.images)),),
    )
    return Answers(estimates=(estimate,))


def pair(values: Sequence[float]) -> tuple[float, float]:
    """Of the rows and columns."""
    rows, columns = values
    return rows, columns
