"""Quality-assurance phantoms: a cylinder of water with inserts of known kind and place. NumPy only.

Simpler than the trunk of ``phantom``: a network learns them in seconds, so that each kind of model
can be tried from end to end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.testing.phantom import Phantom

AIR_HU, WATER_HU, INSERT_HU = -1000.0, 0.0, 160.0
FIELD_OF_VIEW_MM = 288.0
LARGE_MM, SMALL_MM = (75.0, 135.0), (35.0, 65.0)
"""Radii of cylinders."""
EDGE_MM = 6.0
"""A large cylinder lies so near the middle of the image, a small one so far inside its edge."""
KINDS = ("disc", "ring", "square", "star", "sphere")
"""Rods of a section, from the first slice to the last; but a sphere lies in some of the slices."""
PLACES_TO_TRY = 200


@dataclass(frozen=True)
class Cylinder:
    """A phantom and the truth about it."""

    phantom: Phantom
    """Its ``lesions`` are the inserts."""
    kinds: tuple[str, ...]
    """Of the inserts, in their order."""
    clean_hu: NDArray[np.float32]
    """(slices, rows, columns): without noise."""
    diameter_mm: float
    """Of the cylinder."""


def cylinder(
    seed: int,
    inserts: tuple[str, ...] = (),
    *,
    slices: int = 1,
    size: int = 96,
    slice_spacing_mm: float = 5.0,
    noise_hu: float = 12.0,
    roaming: bool = False,
) -> Cylinder:
    """Make the phantom of a seed: the same arguments give the same voxels.

    A roaming cylinder is a small one that lies anywhere, in place of a large one in the middle.
    """
    builder = _Builder(np.random.default_rng(seed), slices, size, slice_spacing_mm, roaming)
    return builder.build(inserts, noise_hu)


class _Builder:
    def __init__(
        self, rng: np.random.Generator, slices: int, size: int, spacing: float, roaming: bool
    ) -> None:
        self.rng = rng
        self.pixel = FIELD_OF_VIEW_MM / size
        self.spacing = (spacing, self.pixel, self.pixel)
        self.depth_mm = slices * spacing
        z = (np.arange(slices) + 0.5) * spacing
        side = (np.arange(size) + 0.5) * self.pixel - FIELD_OF_VIEW_MM / 2
        self.z, self.y, self.x = np.meshgrid(z, side, side, indexing="ij", sparse=True)
        self.shape = (slices, size, size)
        self.radius = rng.uniform(*(SMALL_MM if roaming else LARGE_MM))
        reach = FIELD_OF_VIEW_MM / 2 - self.radius - EDGE_MM if roaming else EDGE_MM
        self.centre = rng.uniform(-reach, reach, 2)

    def build(self, inserts: tuple[str, ...], noise_hu: float) -> Cylinder:
        body = np.broadcast_to(self._distance(self.centre) <= self.radius, self.shape)
        hu = np.where(body, WATER_HU, AIR_HU).astype(np.float32)
        places: list[tuple[float, float, float]] = []
        masks = tuple(self._insert(kind, places) for kind in inserts)
        for mask in masks:
            hu[mask] = INSERT_HU + self.rng.uniform(-40, 40)
        noisy = hu + self.rng.normal(0, noise_hu, self.shape)
        source = Phantom(noisy.round().astype(np.int16), masks, body, self.spacing)
        return Cylinder(source, inserts, hu, 2 * self.radius)

    def _distance(self, centre: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(np.hypot(self.y - centre[0], self.x - centre[1]))

    def _insert(self, kind: str, places: list[tuple[float, float, float]]) -> NDArray[np.bool_]:
        y, x, radius = self._place(places)
        distance = self._distance(np.array([y, x]))
        angle = np.arctan2(self.y - y, self.x - x) + self.rng.uniform(0, np.pi)
        if kind == "sphere":
            z = self.rng.uniform(radius, max(self.depth_mm - radius, radius + 1))
            return np.asarray(np.hypot(distance, self.z - z) <= radius)
        sections = {
            "disc": distance <= radius,
            "ring": (distance <= radius) & (distance > 0.55 * radius),
            "square": np.maximum(abs(self.y - y), abs(self.x - x)) <= 0.8 * radius,
            "star": distance <= radius * (0.65 + 0.35 * np.cos(6 * angle)),
        }
        return np.broadcast_to(sections[kind], self.shape).copy()

    def _place(self, places: list[tuple[float, float, float]]) -> tuple[float, float, float]:
        """Row, column and radius in mm, inside the cylinder and away from other inserts."""
        for _ in range(PLACES_TO_TRY):
            radius = self.rng.uniform(15, 24)
            reach = (self.radius - radius - 6) * np.sqrt(self.rng.uniform())
            angle = self.rng.uniform(0, 2 * np.pi)
            y, x = self.centre + reach * np.array([np.sin(angle), np.cos(angle)])
            if all(np.hypot(y - v, x - u) > radius + r + 6 for v, u, r in places):
                places.append((float(y), float(x), float(radius)))
                return places[-1]
        raise ValueError("no free place for another insert: ask for fewer")
