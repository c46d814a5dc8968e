"""CT phantoms of a trunk with planted lesions of known mask. Seeded; NumPy only.

A phantom is an elliptic body with a ring of fat, muscle texture, a spine, bright vessels, dark
cysts and gas: things that a detector must not take for a lesion. A lesion is a blurred spheroid,
a little denser than what lies around it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AIR_HU, FAT_HU, TISSUE_HU, BONE_HU, VESSEL_HU, CYST_HU = -1000.0, -100.0, 45.0, 550.0, 190.0, 5.0
FIELD_OF_VIEW_MM = 360.0
FREE_MARGIN, FREE_RANGE_HU, PLACES_TO_TRY = 1.25, 60.0, 400


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT volume and the truth about it."""

    hu: NDArray[np.int16]
    """(slices, rows, columns), Hounsfield units; slice 0 is nearest to the feet."""
    lesions: tuple[NDArray[np.bool_], ...]
    """(slices, rows, columns) for each planted lesion."""
    body: NDArray[np.bool_]
    """(slices, rows, columns): inside the skin."""
    spacing_mm: tuple[float, float, float]
    """Between slices, rows and columns."""

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """All lesions together."""
        return np.any(self.lesions, axis=0) if self.lesions else np.zeros_like(self.body)


def phantom(
    seed: int,
    *,
    lesions: int = 1,
    slices: int = 24,
    size: int = 256,
    slice_spacing_mm: float = 5.0,
) -> Phantom:
    """Make the phantom of a seed: the same arguments give the same voxels."""
    return _Builder(seed, slices, size, slice_spacing_mm).build(lesions)


class _Builder:
    def __init__(self, seed: int, slices: int, size: int, slice_spacing_mm: float) -> None:
        self.rng = np.random.default_rng(seed)
        pixel = FIELD_OF_VIEW_MM / size
        self.spacing = (slice_spacing_mm, pixel, pixel)
        self.depth_mm = slices * slice_spacing_mm
        z = (np.arange(slices) + 0.5) * slice_spacing_mm
        side = (np.arange(size) + 0.5) * pixel - FIELD_OF_VIEW_MM / 2
        self.z, self.y, self.x = np.meshgrid(z, side, side, indexing="ij", sparse=True)
        self.shape = (slices, size, size)
        self.half_width = self.rng.uniform(130, 165)
        self.half_height = self.rng.uniform(85, 115)
        self.center = self.rng.uniform(-8, 8, 2)

    def build(self, lesions: int) -> Phantom:
        body = self._ellipse(1.0) <= 1
        hu = np.where(body, FAT_HU, AIR_HU).astype(np.float32)
        fat_mm = self.rng.uniform(10, 22)
        inside = self._ellipse(1 - fat_mm / self.half_height) <= 1
        hu[inside] = TISSUE_HU + self.rng.uniform(-12, 12)
        hu += np.where(inside, self._texture(9.0), 0)
        self._organs(hu, inside)
        masks = tuple(self._lesion(hu) for _ in range(lesions))
        hu += self.rng.normal(0, self.rng.uniform(7, 14), self.shape)
        return Phantom(np.clip(hu, -1024, 3071).astype(np.int16), masks, body, self.spacing)

    def _ellipse(self, scale: float) -> NDArray[np.floating]:
        y = (self.y - self.center[0]) / (self.half_height * scale)
        x = (self.x - self.center[1]) / (self.half_width * scale)
        return np.broadcast_to(y**2 + x**2, self.shape)

    def _place(self, margin_mm: float) -> tuple[float, float, float]:
        """A point at least a margin inside the muscle, in mm."""
        angle = self.rng.uniform(0, 2 * np.pi)
        radius = np.sqrt(self.rng.uniform(0.05, 1))
        reach = 24 + margin_mm
        y = self.center[0] + radius * np.sin(angle) * (self.half_height - reach)
        x = self.center[1] + radius * np.cos(angle) * (self.half_width - reach)
        low = min(margin_mm, self.depth_mm / 2)
        return self.rng.uniform(low, self.depth_mm - low), y, x

    def _distance(
        self, center: tuple[float, float, float], axes: tuple[float, float, float]
    ) -> NDArray[np.floating]:
        """Distance from a centre in units of the half axes: 1 on the surface."""
        z, y, x = (
            (g - c) / a for g, c, a in zip((self.z, self.y, self.x), center, axes, strict=True)
        )
        return np.asarray(np.sqrt(z**2 + y**2 + x**2))

    def _tube(
        self, center: tuple[float, float, float], tilt: tuple[float, float], radius: float
    ) -> NDArray[np.bool_]:
        """A cylinder along the patient, leaning by ``tilt`` mm a mm."""
        along = self.z - center[0]
        y, x = self.y - center[1] - along * tilt[0], self.x - center[2] - along * tilt[1]
        return np.asarray(y**2 + x**2 <= radius**2)

    def _organs(self, hu: NDArray[np.float32], inside: NDArray[np.bool_]) -> None:
        spine = (0.0, self.center[0] + self.half_height * 0.62, self.center[1])
        hu[self._tube(spine, (0, 0), 19) & inside] = BONE_HU * 0.55
        hu[self._tube(spine, (0, 0), 15) & inside] = BONE_HU
        hu[self._tube((0.0, spine[1] - 32, spine[2] + 12), (0, 0), 11) & inside] = VESSEL_HU
        for _ in range(self.rng.integers(3, 8)):
            tilt = self.rng.uniform(-0.5, 0.5, 2)
            tube = self._tube(self._place(6), (tilt[0], tilt[1]), self.rng.uniform(2, 5))
            hu[tube & inside] = VESSEL_HU + self.rng.uniform(-30, 40)
        for _ in range(self.rng.integers(0, 4)):
            self._blend(hu, self._distance(self._place(14), self._axes(5, 14)), CYST_HU)
        for _ in range(self.rng.integers(0, 4)):
            self._blend(hu, self._distance(self._place(14), self._axes(4, 15)), AIR_HU * 0.9)

    def _axes(self, low: float, high: float) -> tuple[float, float, float]:
        base = self.rng.uniform(low, high)
        z, y, x = base * self.rng.uniform(0.8, 1.2, 3)
        return max(z, self.spacing[0] * 0.9), y, x

    def _blend(self, hu: NDArray[np.float32], distance: NDArray[np.floating], value: float) -> None:
        weight = 1 / (1 + np.exp(np.clip((distance - 1) * 12, -30, 30)))
        hu += weight * (value - hu)

    def _lesion(self, hu: NDArray[np.float32]) -> NDArray[np.bool_]:
        axes = self._axes(8, 18)
        distance = self._free_place(hu, axes)
        around = float(np.median(hu[distance < FREE_MARGIN]))
        self._blend(hu, distance, around + self.rng.uniform(38, 75))
        return distance <= 1

    def _free_place(
        self, hu: NDArray[np.float32], axes: tuple[float, float, float]
    ) -> NDArray[np.floating]:
        """Distances from a place in the muscle that holds no bone, vessel, gas or other lesion."""
        for _ in range(PLACES_TO_TRY):
            distance = self._distance(self._place(max(axes) + 4), axes)
            around = hu[distance < FREE_MARGIN]
            if np.abs(around - TISSUE_HU).max() < FREE_RANGE_HU:
                return distance
        raise ValueError("no free place for another lesion: ask for fewer lesions or more slices")

    def _texture(self, deviation: float) -> NDArray[np.float32]:
        """Smooth noise of about 12 mm, as perfusion makes it."""
        coarse = self.rng.normal(0, 1, (self.shape[0], 32, 32)).astype(np.float32)
        for axis, count in ((1, self.shape[1]), (2, self.shape[2])):
            coarse = _stretch(coarse, axis, count)
        return coarse * (deviation / max(float(coarse.std()), 1e-6))


def _stretch(values: NDArray[np.float32], axis: int, count: int) -> NDArray[np.float32]:
    """Linear interpolation of one axis to ``count`` samples."""
    at = np.linspace(0, values.shape[axis] - 1, count)
    low = np.clip(np.floor(at).astype(int), 0, values.shape[axis] - 2)
    weight = (at - low).astype(np.float32)
    weight = weight.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    below, above = np.take(values, low, axis), np.take(values, low + 1, axis)
    return np.asarray(below + weight * (above - below), dtype=np.float32)
