"""From one pixel grid to another and back: resampling that knows where each pixel's centre lies.

Index 0 is the centre of the first pixel, so a grid of ``n`` pixels reaches from -0.5 to n - 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import FloatArray

Positions = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels (or voxels) laid on those of another grid: ``outer = offset + step × inner``.

    ``outer`` is the grid that is lain upon (the source image), ``inner`` the one that lies on it
    (the model's input, or a layer's cells). ``step`` and ``offset`` are of each inner axis, along
    the outer axis that ``axes`` names for it; a step below 0 runs backwards. Arrays are (batch,
    *axes of the grid) or (batch, *axes of the grid, channels): (frames, rows, columns) for a grid
    of two axes, (volumes, frames, rows, columns) for one of three.
    """

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    step: tuple[float, ...]
    offset: tuple[float, ...]
    axes: tuple[int, ...] = field(default=())
    """The outer axis that each inner one lies along; left out: the same."""

    def __post_init__(self) -> None:
        if not self.axes:
            object.__setattr__(self, "axes", tuple(range(len(self.outer))))

    @classmethod
    def same(cls, shape: tuple[int, ...]) -> Self:
        """The grid itself."""
        return cls(shape, shape, (1.0,) * len(shape), (0.0,) * len(shape))

    @classmethod
    def centred(
        cls, outer: tuple[int, ...], inner: tuple[int, ...], step: tuple[float, ...]
    ) -> Self:
        """Both grids about one centre; ``step`` is the inner pixel in outer pixels."""
        offset = [(o - 1) / 2 - s * (i - 1) / 2 for o, i, s in zip(outer, inner, step, strict=True)]
        return cls(outer, inner, step, tuple(offset))

    @classmethod
    def covering(cls, outer: tuple[int, ...], inner: tuple[int, ...]) -> Self:
        """Inner cells that share out the whole of the outer grid, as pooling layers do."""
        step = [o / i for o, i in zip(outer, inner, strict=True)]
        return cls.centred(outer, inner, tuple(step))

    def carrying(self, finer: Self) -> Self:
        """The grid that lies on this one's inner pixels, laid on this one's outer pixels."""
        return type(self)(
            outer=self.outer,
            inner=finer.inner,
            step=tuple(self.step[a] * s for a, s in zip(finer.axes, finer.step, strict=True)),
            offset=tuple(
                self.offset[a] + self.step[a] * o
                for a, o in zip(finer.axes, finer.offset, strict=True)
            ),
            axes=tuple(self.axes[a] for a in finer.axes),
        )

    def to_outer(self, index: tuple[float, ...]) -> tuple[float, ...]:
        """The index on the outer grid of an index on the inner one."""
        by_axis = zip(self.axes, self.offset, self.step, index, strict=True)
        places = {axis: offset + step * at for axis, offset, step, at in by_axis}
        return tuple(places[axis] for axis in range(len(self.outer)))

    def sample(self, values: FloatArray, fill: float = 0.0) -> FloatArray:
        """Outer to inner: linear, blurred to the coarser pixel; ``fill`` beyond the outer grid."""
        at = [o + s * np.arange(n) for o, s, n in self._along()]
        turned = _turn(values, self.axes)
        return _resample(turned, at, self.step, fill)

    def project(self, values: FloatArray) -> FloatArray:
        """Inner to outer: linear; zero where the inner grid does not reach."""
        counts = [self.outer[axis] for axis in self.axes]
        at = [(np.arange(n) - o) / s for (o, s, _), n in zip(self._along(), counts, strict=True)]
        found = _resample(values, at, [1 / s for s in self.step], 0.0)
        return np.ascontiguousarray(_turn(found, tuple(np.argsort(self.axes))))

    def shared_out(self, values: FloatArray) -> FloatArray:
        """(..., *inner axes) on as many cells that share out the outer grid, as ``covering`` does.

        Where those reach beyond these, the outermost of these.
        """
        even = type(self).covering(self.outer, self.inner)
        for axis, weights in enumerate(self.onto(even), -len(self.inner)):
            if not np.array_equal(weights, np.eye(len(weights))):
                values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
        return values

    def onto(self, other: Self) -> list[FloatArray]:
        """Linear weights from these cells to another grid's, (its cells, these cells), by axis.

        Both lie on one outer grid; where the other reaches beyond these, the outermost of these.
        """
        pairs = zip(self._along(), other._along(), strict=True)
        return [
            _weights(np.clip((o + s * np.arange(n) - offset) / step, 0, count - 1), count, 1.0)
            for (offset, step, count), (o, s, n) in pairs
        ]

    def _along(self) -> list[tuple[float, float, int]]:
        return list(zip(self.offset, self.step, self.inner, strict=True))


def _turn(values: FloatArray, axes: tuple[int, ...]) -> FloatArray:
    """The grid's axes in another order; batch and channels stay where they are."""
    rest = range(len(axes) + 1, values.ndim)
    return values.transpose(0, *(axis + 1 for axis in axes), *rest)


def _resample(
    values: FloatArray, at: Sequence[Positions], steps: Sequence[float], fill: float
) -> FloatArray:
    """The grid's axes of ``values`` at the positions ``at``."""
    counts = values.shape[1 : len(at) + 1]
    for axis, (where, count, step) in enumerate(zip(at, counts, steps, strict=True), 1):
        if not np.array_equal(where, np.arange(count)):
            weights = _weights(where, count, max(1.0, abs(step)))
            values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    result = np.array(values, dtype=np.float32, order="C")
    for axis, (where, count) in enumerate(zip(at, counts, strict=True), 1):
        np.moveaxis(result, axis, 0)[_beyond(where, count)] = fill
    return result


def _weights(at: Positions, count: int, reach: float) -> FloatArray:
    """(positions, count): a triangle of half-width ``reach`` about each position; rows sum to 1."""
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)) / reach)
    total = weights.sum(axis=1, keepdims=True)
    shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return np.asarray(shares, dtype=np.float32)


def _beyond(at: Positions, count: int) -> NDArray[np.bool_]:
    return (at < -0.5) | (at > count - 0.5)
