"""Training images, changed at random: mirrored, turned, scaled, shifted and relit."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from dicom_node.domain.arrays import FloatArray
from workers.training.own.recipe import Augment

AXES = ("rows", "columns")


def changed(
    image: FloatArray, masks: FloatArray | None, plan: Augment, scale: float, rng: Generator
) -> tuple[FloatArray, FloatArray | None]:
    """An image (rows, columns, channels), and its masks (rows, columns, segments) with it.

    What comes in from beyond the image has its lowest value; masks that are not known stay so.
    """
    if rng.random() >= plan.share:
        return image, masks
    matrix, offset = _placed(image.shape[:2], plan, scale, rng)
    image = _relit(_moved(image, matrix, offset, image.min(axis=(0, 1))), plan, rng)
    if masks is None or np.isnan(masks).any():
        return image, masks
    beyond = np.zeros(masks.shape[-1], np.float32)
    return image, _moved(masks.astype(np.float32), matrix, offset, beyond)


def _placed(
    shape: tuple[int, ...], plan: Augment, scale: float, rng: Generator
) -> tuple[FloatArray, FloatArray]:
    """Where each pixel comes from: a matrix and an offset, about the image's centre."""
    angle = np.deg2rad(rng.normal(0, plan.turn_degrees))
    size = np.exp(rng.normal(0, scale))
    signs = [-1.0 if axis in plan.mirror and rng.random() < 0.5 else 1.0 for axis in AXES]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag(signs) / size
    middle = (np.array(shape) - 1) / 2
    shift = rng.normal(0, plan.shift, 2) * shape
    return matrix, middle - matrix @ (middle + shift)


def _moved(
    values: FloatArray, matrix: FloatArray, offset: FloatArray, beyond: FloatArray
) -> FloatArray:
    planes = [
        ndimage.affine_transform(values[..., n], matrix, offset, order=1, cval=float(outside))
        for n, outside in enumerate(beyond)
    ]
    return np.stack(planes, axis=-1)


def _relit(image: FloatArray, plan: Augment, rng: Generator) -> FloatArray:
    """Another contrast about each channel's mean, and another brightness."""
    gain, shift = np.exp(rng.normal(0, plan.intensity)), rng.normal(0, plan.intensity)
    mean, deviation = image.mean(axis=(0, 1)), image.std(axis=(0, 1))
    return np.asarray((image - mean) * gain + mean + shift * deviation, np.float32)
