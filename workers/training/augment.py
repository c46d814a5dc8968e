"""Random changes to training slices, so that the network meets more than the phantom's own look.

Drawn on the model's grid, in windowed units (0..1): bodies with lungs, arms, a large bright organ
and a table under them, moved, turned, scaled and mirrored, with other contrast and noise.
"""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dicom_node.domain.arrays import FloatArray

EDGE_PIXELS, PIXEL_MM = 0.7, 2.25
TISSUE, FREE_RANGE = 0.51, 0.15
"""Muscle in windowed units, and how far a place for a lesion may be from it."""
PLACES_TO_TRY = 10


class Augmenter:
    """Changes batches; the same seed and the same batches give the same results."""

    def __init__(self, seed: int, side: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.side = side

    def __call__(
        self, images: FloatArray, masks: FloatArray, share: float
    ) -> tuple[FloatArray, FloatArray]:
        """New (batch, side, side) images, and their (batch, side, side, 2) masks.

        Each is a window of the slice that was given, at a place drawn at random. About ``share`` of
        the slices are changed before, 0 to 1: a network that meets all changes at once takes long
        to see what a lesion is.
        """
        images, masks = images.copy(), masks.copy()
        chosen = np.flatnonzero(self.rng.random(len(images)) < share)
        if len(chosen):
            images[chosen], masks[chosen] = self._changed(images[chosen], masks[chosen])
        return self._windows(images, masks)

    def _changed(self, images: FloatArray, masks: FloatArray) -> tuple[FloatArray, FloatArray]:
        for image, mask in zip(images, masks, strict=True):
            self._scene(image, mask)
        images, masks = self._moved(images, masks)
        return np.clip(self._contrast(images), 0, 1), masks

    def _windows(self, images: FloatArray, masks: FloatArray) -> tuple[FloatArray, FloatArray]:
        places = self.rng.integers(0, images.shape[1] - self.side + 1, (len(images), 2))
        windows = [
            np.s_[row : row + self.side, column : column + self.side] for row, column in places
        ]
        return (
            np.stack([image[window] for image, window in zip(images, windows, strict=True)]),
            np.stack([mask[window] for mask, window in zip(masks, windows, strict=True)]),
        )

    def _scene(self, image: FloatArray, mask: FloatArray) -> None:
        """Plant more lesions, and add what a patient has and the phantom lacks."""
        if mask[..., 0].max() < 1:
            return
        extent = _Extent(mask[..., 0])
        if self.rng.random() < 0.35:
            self._lesion(image, mask, extent)
        keep = np.clip(4 * mask[..., 1], 0, 1)
        if self.rng.random() < 0.35:
            self._organ(image, mask, extent)
        if self.rng.random() < 0.35:
            self._lungs(image, mask, extent, keep)
        if self.rng.random() < 0.35:
            self._ribs(image, mask, extent, keep)
        if self.rng.random() < 0.2:
            self._arms(image, mask, extent)
        if self.rng.random() < 0.5:
            self._table(image, mask, extent)

    def _lesion(self, image: FloatArray, mask: FloatArray, extent: "_Extent") -> None:
        """A cut through a blurred spheroid such as the phantom's, in tissue that holds nothing.

        One in three lies as close to something else as the places that were tried allow.
        """
        tried = [self._spheroid(image.shape, extent) for _ in range(PLACES_TO_TRY)]
        free = [each for each in tried if _clash(image, each, 1.25) < FREE_RANGE]
        if not free:
            return
        close = self.rng.random() < 0.33
        distance = max(free, key=lambda each: _clash(image, each, 1.9)) if close else free[0]
        weight = 1 / (1 + np.exp(np.clip((distance - 1) * 12, -30, 30)))
        image += self.rng.uniform(0.095, 0.19) * weight
        mask[..., 1] = np.maximum(mask[..., 1], distance <= 1)

    def _spheroid(self, shape: tuple[int, ...], extent: "_Extent") -> FloatArray:
        """Distance from its centre, 1 on its surface, in a slice that cuts it anywhere."""
        height, width = self.rng.uniform(6.5, 21, 2) / PIXEL_MM
        angle, reach = self.rng.uniform(0, 2 * np.pi), np.sqrt(self.rng.uniform(0, 0.7))
        centre = extent.place(reach * np.sin(angle), reach * np.cos(angle))
        in_plane = _distance(shape, centre, (height, width))
        return np.asarray(np.hypot(in_plane, self.rng.uniform(0, 0.85)))

    def _organ(self, image: FloatArray, mask: FloatArray, extent: "_Extent") -> None:
        """A large organ, as bright as a lesion and far wider; a lesion in it still stands out."""
        y, x = extent.place(self.rng.uniform(-0.3, 0.3), self.rng.uniform(-0.5, 0.5))
        radii = (
            extent.height * self.rng.uniform(0.4, 0.7),
            extent.width * self.rng.uniform(0.3, 0.6),
        )
        weight = _ellipse(image.shape, (y, x), radii) * _inside(mask)
        image += weight * self.rng.uniform(0.06, 0.25)

    def _lungs(
        self, image: FloatArray, mask: FloatArray, extent: "_Extent", keep: FloatArray
    ) -> None:
        dots = self.rng.random(image.shape) > 0.985
        air = np.where(dots, self.rng.uniform(0, 0.8), 0)
        for side in (-1, 1):
            y, x = extent.place(self.rng.uniform(-0.2, 0.1), side * self.rng.uniform(0.4, 0.5))
            radii = (
                extent.height * self.rng.uniform(0.45, 0.75),
                extent.width * self.rng.uniform(0.25, 0.4),
            )
            weight = _ellipse(image.shape, (y, x), radii) * _inside(mask) * (1 - keep)
            image += weight * (air - image)

    def _ribs(
        self, image: FloatArray, mask: FloatArray, extent: "_Extent", keep: FloatArray
    ) -> None:
        """Short bright bones along the wall of the body."""
        for angle in self.rng.uniform(0, 2 * np.pi, self.rng.integers(4, 12)):
            reach = self.rng.uniform(0.7, 0.9)
            centre = extent.place(reach * np.sin(angle), reach * np.cos(angle))
            weight = _ellipse(image.shape, centre, tuple(self.rng.uniform(1.5, 5, 2)))
            image += weight * (1 - keep) * (self.rng.uniform(0.7, 1.2) - image)

    def _arms(self, image: FloatArray, mask: FloatArray, extent: "_Extent") -> None:
        radius = self.rng.uniform(12, 24)
        height = self.rng.uniform(-0.8, 0.8)
        for side in (-1, 1):
            y, x = extent.place(height, side)
            centre = y, x + side * (radius + self.rng.uniform(1, 8))
            layers = ((1.0, 0.15), (0.85, 0.52), (0.3, 1.0))
            outside = np.clip(1 - mask[..., 0], 0, 1)
            for part, value in layers:
                weight = _ellipse(image.shape, centre, (radius * part, radius * part)) * outside
                image += weight * (value - image)
            arm = _ellipse(image.shape, centre, (radius, radius))
            mask[..., 0] = np.maximum(mask[..., 0], arm)

    def _table(self, image: FloatArray, mask: FloatArray, extent: "_Extent") -> None:
        rows, columns = _axes(image.shape)
        sag = self.rng.uniform(-0.002, 0.002) * (columns - extent.x) ** 2
        top = extent.bottom + self.rng.uniform(-4, 12) + sag
        outside = np.clip(1 - mask[..., 0], 0, 1)
        for depth in (0.0, self.rng.uniform(6, 20)):
            line = np.exp(-(((rows - top - depth) / self.rng.uniform(0.5, 1.5)) ** 2)) * outside
            image += line * (self.rng.uniform(0.1, 1.0) - image)

    def _moved(self, images: FloatArray, masks: FloatArray) -> tuple[FloatArray, FloatArray]:
        stack = np.concatenate([images[..., None], masks], axis=-1)
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=stack,
            transforms=np.stack([self._transform(stack.shape[1]) for _ in stack]),
            output_shape=stack.shape[1:3],
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
            fill_value=0.0,
        ).numpy()
        return moved[..., 0], moved[..., 1:]

    def _transform(self, side: int) -> FloatArray:
        """Mirror, turn, scale and shift about the centre, as the eight numbers of a homography."""
        angle = self.rng.normal(0, 0.15)
        scale = np.exp(self.rng.normal(0, 0.1))
        mirror = self.rng.choice((-1.0, 1.0), 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn * mirror / scale
        centre = np.full(2, (side - 1) / 2)
        shift = centre - matrix @ (centre + self.rng.uniform(-10, 10, 2))
        (a, b), (c, d) = matrix
        return np.array([a, b, shift[0], c, d, shift[1], 0, 0], dtype=np.float32)

    def _contrast(self, images: FloatArray) -> FloatArray:
        count = (len(images), 1, 1)
        gain = self.rng.normal(1, 0.06, count)
        shift = self.rng.normal(0, 0.03, count)
        noise = self.rng.uniform(0, 0.02, count) * self.rng.normal(0, 1, images.shape)
        air = images < 1e-3
        return np.where(air, images, (images - 0.5) * gain + 0.5 + shift + noise).astype(np.float32)


class _Extent:
    """Where the body lies in its slice, in pixels."""

    def __init__(self, body: FloatArray) -> None:
        rows, columns = (np.flatnonzero(body.max(axis=axis) > 0.5) for axis in (1, 0))
        self.y, self.x = rows.mean(), columns.mean()
        self.height, self.width = np.ptp(rows) / 2, np.ptp(columns) / 2
        self.bottom = float(rows.max())

    def place(self, y: float, x: float) -> tuple[float, float]:
        """(row, column) of a point given in half heights and half widths from the middle."""
        return self.y + y * self.height, self.x + x * self.width


def _ellipse(
    shape: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]
) -> FloatArray:
    """1 inside and 0 outside, with a soft edge."""
    distance = _distance(shape, centre, radii)
    steep = min(radii) / EDGE_PIXELS
    return np.asarray(1 / (1 + np.exp(np.clip((distance - 1) * steep, -30, 30))))


def _distance(
    shape: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]
) -> FloatArray:
    """From the centre, in units of the radii."""
    rows, columns = _axes(shape)
    return np.asarray(np.hypot((rows - centre[0]) / radii[0], (columns - centre[1]) / radii[1]))


def _clash(image: FloatArray, distance: FloatArray, reach: float) -> float:
    """How far from muscle anything is within a reach."""
    return float(np.abs(image[distance < reach] - TISSUE).max(initial=0))


def _axes(shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Row and column numbers, to be broadcast."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return rows.astype(np.float32), columns.astype(np.float32)


def _inside(mask: FloatArray) -> NDArray[np.float32]:
    """The body without its skin and fat."""
    return np.asarray(np.clip(mask[..., 0] * 2 - 1, 0, 1))
