"""Planes in the patient -> the order of a stack and its affine, or the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from highdicom.spatial import get_volume_positions
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.domain.errors import UnsupportedGeometry, Unusable
from workers.pixels import functional_group

ORIENTATION_TOLERANCE = 1e-3
"""Between direction cosines."""
SAME_PLACE_MM = 1e-2
SPACING_TOLERANCE = 0.05
"""Part of the distance between slices: scanners round positions to a tenth of a millimetre."""
TILT_TOLERANCE = 1e-3
"""1 minus the cosine between the stack and the normal of its images: 2.6 degrees."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Where one frame lies in the patient (PS3.3 C.7.6.2)."""

    position_mm: NDArray[np.float64]
    """(3,): centre of the first pixel."""
    cosines: NDArray[np.float64]
    """(6,): direction of a row, then of a column."""
    spacing_mm: NDArray[np.float64]
    """(2,): between rows, between columns."""
    depth_mm: float
    """What a slice that stands alone reaches: spacing between slices, else slice thickness."""


def plane_of(dataset: Dataset, frame: int) -> Plane | None:
    """The plane of a frame (from 0); none where position, orientation or spacing is missing."""
    position, orientation, measures = (
        functional_group(dataset, frame, f"{name}Sequence") or dataset
        for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures")
    )
    values = (
        position.get("ImagePositionPatient"),
        orientation.get("ImageOrientationPatient"),
        measures.get("PixelSpacing"),
    )
    if not all(values):
        return None
    depth = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0
    where, facing, pixel = (np.array([float(v) for v in value]) for value in values)
    return _checked(Plane(where, facing, pixel, abs(float(depth))))


def stack(planes: Sequence[Plane]) -> tuple[list[int], NDArray[np.float64]]:
    """Indices of the planes in geometric order, and the 4 × 4 affine of the sorted stack.

    Frames follow the normal of the images (row direction × column direction: from feet to head for
    axial images). The affine maps (frame, row, column) to patient coordinates in mm (PS3.3
    C.7.6.2.1.1, with the slices as a third axis). A single plane is as deep as its header says.

    Raises UnsupportedGeometry: SLICE_SET for mixed orientations or pixel sizes, repeated or missing
    positions; GEOMETRY for a stack that leans, such as that of a tilted gantry.
    """
    first = planes[0]
    if any(np.abs(p.cosines - first.cosines).max() > ORIENTATION_TOLERANCE for p in planes):
        _refuse("SLICE_SET", "the images do not all face the same way")
    if any(not np.allclose(p.spacing_mm, first.spacing_mm, rtol=1e-3) for p in planes):
        _refuse("SLICE_SET", "the images do not all have the same pixel spacing")
    spacing, order = (first.depth_mm, [0]) if len(planes) == 1 else _line_up(planes)
    affine = np.eye(4)
    affine[:3, 0] = spacing * _normal(first)
    affine[:3, 1] = first.spacing_mm[0] * first.cosines[3:]
    affine[:3, 2] = first.spacing_mm[1] * first.cosines[:3]
    affine[:3, 3] = planes[order[0]].position_mm
    return order, affine


def _line_up(planes: Sequence[Plane]) -> tuple[float, list[int]]:
    """Distance between neighbours in mm, and the indices of the planes along their normal."""
    positions = np.stack([plane.position_mm for plane in planes])
    along = positions @ _normal(planes[0])
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    if (steps < SAME_PLACE_MM).any():
        places = 1 + int((steps >= SAME_PLACE_MM).sum())
        _refuse(
            "SLICE_SET",
            f"there are {len(planes)} images at {places} positions: several"
            " volumes (time points, echoes) or repeated images; select one volume",
        )
    _refuse_tilt(positions[order], along[order])
    spacing, _ = get_volume_positions(
        positions.tolist(),
        planes[0].cosines.tolist(),
        rtol=SPACING_TOLERANCE,
        perpendicular_tol=TILT_TOLERANCE,
    )
    if spacing is None:
        _refuse("SLICE_SET", "the slices are not evenly spaced: one or more is missing")
    return spacing, order.tolist()


def _refuse_tilt(positions: NDArray[np.float64], along: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm(positions[1:] - positions[0], axis=1)
    if (1 - (along[1:] - along[0]) / lengths > TILT_TOLERANCE).any():
        _refuse(
            "GEOMETRY",
            "the stack leans against the normal of its images (a tilted gantry): "
            "resample it at the scanner or send the untilted reconstruction",
        )


def _normal(plane: Plane) -> NDArray[np.float64]:
    return np.cross(plane.cosines[:3], plane.cosines[3:])


def _checked(plane: Plane) -> Plane:
    lengths = (len(plane.position_mm), len(plane.cosines), len(plane.spacing_mm))
    numbers = (*plane.position_mm, *plane.cosines, *plane.spacing_mm, plane.depth_mm)
    if lengths != (3, 6, 2) or not np.isfinite(numbers).all() or (plane.spacing_mm <= 0).any():
        raise Unusable(
            "an image's position, orientation or spacing is no usable number: correct it at the "
            "sender",
            code="VALUE",
        )
    row, column = plane.cosines[:3], plane.cosines[3:]
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-2):
        _refuse("GEOMETRY", "an image's direction cosines are not of unit length and square")
    return plane


def _refuse(code: str, what: str) -> NoReturn:
    raise UnsupportedGeometry(what, code=code)
