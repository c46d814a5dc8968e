"""From one pixel grid to another and back: resampling that knows where each pixel's centre lies.

Index 0 is the centre of the first pixel, so a grid of ``n`` pixels reaches from -0.5 to n - 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.analysis import FloatArray

Positions = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Grid:
    """A plane's pixels, laid on those of another: ``outer = offset + step × inner`` on each axis.

    ``outer`` is the grid that is lain upon (the source image), ``inner`` the one that lies on it
    (the model's input, or a layer's cells). Arrays are (frames, rows, columns) or (frames, rows,
    columns, channels); only rows and columns change.
    """

    outer: tuple[int, int]
    inner: tuple[int, int]
    step: tuple[float, float]
    offset: tuple[float, float]

    @classmethod
    def same(cls, shape: tuple[int, int]) -> Self:
        """The grid itself."""
        return cls(shape, shape, (1.0, 1.0), (0.0, 0.0))

    @classmethod
    def centred(
        cls, outer: tuple[int, int], inner: tuple[int, int], step: tuple[float, float]
    ) -> Self:
        """Both grids about one centre; ``step`` is the inner pixel in outer pixels."""
        offset = [(o - 1) / 2 - s * (i - 1) / 2 for o, i, s in zip(outer, inner, step, strict=True)]
        return cls(outer, inner, step, (offset[0], offset[1]))

    @classmethod
    def covering(cls, outer: tuple[int, int], inner: tuple[int, int]) -> Self:
        """Inner cells that share out the whole of the outer grid, as pooling layers do."""
        return cls.centred(outer, inner, (outer[0] / inner[0], outer[1] / inner[1]))

    def carrying(self, finer: Self) -> Self:
        """The grid that lies on this one's inner pixels, laid on this one's outer pixels."""
        step = [a * b for a, b in zip(self.step, finer.step, strict=True)]
        offset = [o + s * f for o, s, f in zip(self.offset, self.step, finer.offset, strict=True)]
        return type(self)(self.outer, finer.inner, (step[0], step[1]), (offset[0], offset[1]))

    def to_outer(self, index: tuple[float, float]) -> tuple[float, float]:
        """(row, column) on the outer grid of a (row, column) on the inner one."""
        row, column = (o + s * i for o, s, i in zip(self.offset, self.step, index, strict=True))
        return row, column

    def sample(self, values: FloatArray, fill: float = 0.0) -> FloatArray:
        """Outer to inner: linear, blurred to the coarser pixel; ``fill`` beyond the outer grid."""
        at = [
            o + s * np.arange(n) for o, s, n in zip(self.offset, self.step, self.inner, strict=True)
        ]
        return _resample(values, at, self.step, fill)

    def project(self, values: FloatArray) -> FloatArray:
        """Inner to outer: linear; zero where the inner grid does not reach."""
        at = [
            (np.arange(n) - o) / s
            for o, s, n in zip(self.offset, self.step, self.outer, strict=True)
        ]
        return _resample(values, at, [1 / s for s in self.step], 0.0)


def _resample(
    values: FloatArray, at: Sequence[Positions], steps: Sequence[float], fill: float
) -> FloatArray:
    """Rows and columns of ``values`` at the positions ``at``."""
    counts = values.shape[1:3]
    rows, columns = (
        _weights(where, count, max(1.0, abs(step)))
        for where, count, step in zip(at, counts, steps, strict=True)
    )
    result = np.einsum("fr...,ir->fi...", values, rows, optimize=True)
    result = np.einsum("fic...,jc->fij...", result, columns, optimize=True)
    beyond = _beyond(at[0], counts[0])[:, None] | _beyond(at[1], counts[1])[None, :]
    result[:, beyond] = fill
    return np.ascontiguousarray(result, dtype=np.float32)


def _weights(at: Positions, count: int, reach: float) -> FloatArray:
    """(positions, count): a triangle of half-width ``reach`` about each position; rows sum to 1."""
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)) / reach)
    total = weights.sum(axis=1, keepdims=True)
    shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return np.asarray(shares, dtype=np.float32)


def _beyond(at: Positions, count: int) -> NDArray[np.bool_]:
    return (at < -0.5) | (at > count - 0.5)
