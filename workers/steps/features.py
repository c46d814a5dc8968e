"""Steps that put a channel of their own beside the image, computed from its first channel."""

from collections.abc import Callable, Mapping

import numpy as np

from dicom_node.domain import steps
from dicom_node.domain.arrays import FloatArray
from workers.steps.prepared import Prepared, Run

SAMPLE = 20_000
"""Pixels that k-means learns from."""


def sobel(prepared: Prepared, _: steps.Sobel) -> Prepared:
    """The size of the gradient."""
    from skimage import filters

    return _beside(prepared, filters.sobel)


def gabor(prepared: Prepared, step: steps.Gabor) -> Prepared:
    """The size of the complex answer, of the direction where it is largest."""
    from skimage import filters

    angles = np.arange(step.directions) * np.pi / step.directions

    def answer(plane: FloatArray) -> FloatArray:
        parts = [filters.gabor(plane, 1 / step.wavelength, theta=angle) for angle in angles]
        return np.asarray(np.max([np.hypot(*part) for part in parts], axis=0))

    return _beside(prepared, answer)


def hough_circles(prepared: Prepared, step: steps.HoughCircles) -> Prepared:
    """Votes of the edges that Canny's method finds, for circles about each pixel."""
    from skimage import feature, transform

    def votes(plane: FloatArray) -> FloatArray:
        edges = feature.canny(plane, sigma=2.0)
        return np.asarray(transform.hough_circle(edges, list(step.radii)).max(axis=0))

    return _beside(prepared, votes)


def watershed(prepared: Prepared, step: steps.Watershed) -> Prepared:
    """Means of regions that grow from evenly laid seeds to the ridges of the gradient."""
    from skimage import filters, segmentation

    def means(plane: FloatArray) -> FloatArray:
        regions = segmentation.watershed(filters.sobel(plane), step.regions)
        sums = np.bincount(regions.ravel(), plane.ravel())
        counts = np.bincount(regions.ravel())
        return np.asarray((sums / np.maximum(counts, 1))[regions], np.float32)

    return _beside(prepared, means)


def k_means(prepared: Prepared, step: steps.KMeans) -> Prepared:
    """Classes of levels, the same in every run."""
    first, known = prepared.values[..., 0], prepared.known[..., 0]
    if step.over == "series":
        return _join(prepared, _classes(first, known, step.clusters))
    pairs = zip(first, known, strict=True)
    return _join(prepared, np.stack([_classes(*each, step.clusters) for each in pairs]))


def _classes(values: FloatArray, known: FloatArray, count: int) -> FloatArray:
    """0..1, by the nearest of ``count`` means (Lloyd's method, started at even quantiles).

    The means are learnt from ``known``, where that is a number.
    """
    from sklearn.cluster import KMeans

    numbers = known[~np.isnan(known)]
    levels = np.sort(numbers)[:: max(1, numbers.size // SAMPLE), None]
    start = np.quantile(levels, (np.arange(count) + 0.5) / count)[:, None]
    if len(np.unique(start)) < count:
        start = np.linspace(levels[0], levels[-1], count)
    if np.ptp(levels) == 0:
        return np.zeros_like(values)
    centres = np.sort(KMeans(count, init=start, n_init=1).fit(levels).cluster_centers_[:, 0])
    borders = (centres[1:] + centres[:-1]) / 2
    return np.asarray(np.digitize(values, borders) / (count - 1), np.float32)


def _beside(prepared: Prepared, feature: Callable[[FloatArray], FloatArray]) -> Prepared:
    return _join(prepared, np.stack([feature(frame[..., 0]) for frame in prepared.values]))


def _join(prepared: Prepared, feature: FloatArray) -> Prepared:
    return prepared.having(np.concatenate([prepared.values, feature[..., None]], axis=-1))


STEPS: Mapping[type, Run] = {
    steps.Sobel: sobel,
    steps.Gabor: gabor,
    steps.HoughCircles: hough_circles,
    steps.Watershed: watershed,
    steps.KMeans: k_means,
}
