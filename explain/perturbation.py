"""Methods that change the image and ask again: occlusion, RISE, Score-CAM.

They need no gradient, so they hold for any network; they cost one forward pass for each mask.
Masks are (masks, rows, columns), with the image's own axes (slices) before the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy.linalg import qr

from dicom_node.domain.arrays import FloatArray
from explain.gradients import InputMap, blurred
from explain.projection import Grid
from explain.scored import Scored

Activations = Callable[[Sequence[FloatArray]], FloatArray]
"""(images, *cells, channels) of a layer, from all inputs of its network."""
PLANE_AXES = 2
RIDGE = 0.01
"""Of the mean likeness of a mask to itself: how far single rises are smoothed."""


class Occlusion(InputMap):
    """Fall of the logit when a patch is blurred away (Zeiler 2014), mean over the patches.

    Patches are ``patch`` pixels square, of one slice at a time, ``stride`` apart.
    """

    def __init__(self, scored: Scored, *, patch: int = 16, stride: int = 8) -> None:
        super().__init__(scored)
        self._patch = patch
        self._stride = stride

    def _map(self, scored: Scored, image: FloatArray, target: int) -> FloatArray:
        patches = self._patches(image.shape[:-1])
        total, share = np.zeros((2, *image.shape[:-1]), np.float32)
        while part := list(islice(patches, scored.at_once)):
            masks = np.zeros((len(part), *image.shape[:-1]), np.float32)
            for mask, patch in zip(masks, part, strict=True):
                mask[patch] = 1
            total += np.tensordot(falls(scored, image, masks, target), masks, 1)
            share += masks.sum(axis=0)
        return np.asarray(total / np.maximum(share, 1), np.float32)

    def _patches(self, size: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
        """Together they cover the image."""
        slices = [[slice(n, n + 1) for n in range(side)] for side in size[:-PLANE_AXES]]
        yield from product(*slices, *(self._along(side) for side in size[-PLANE_AXES:]))

    def _along(self, side: int) -> list[slice]:
        last = max(side - self._patch, 0)
        return [slice(n, n + self._patch) for n in (*range(0, last, self._stride), last)]


class Rise(InputMap):
    """Random masks weighted by the logit of what they leave (Petsiuk 2018); one seed.

    Centred: the masks' mean logit is taken off, so that the map is signed and empty where the
    masks make no difference. The masks are the same, however many are asked about at once.
    """

    def __init__(
        self, scored: Scored, *, masks: int = 400, cells: int = 8, shown: float = 0.5
    ) -> None:
        super().__init__(scored)
        self._count = masks
        self._cells = cells
        self._shown = shown

    def _map(self, scored: Scored, image: FloatArray, target: int) -> FloatArray:
        random = np.random.default_rng(0)
        away, size = blurred(image), image.shape[:-1]
        weighted, covered = np.zeros((2, *size))
        logits: list[float] = []
        while len(logits) < self._count:
            count = min(scored.at_once, self._count - len(logits))
            masks = np.concatenate([self._draw(random, size) for _ in range(count)])
            score = scored.logits(_shown(image, away, masks))[:, target]
            weighted += np.tensordot(score, masks, 1)
            covered += masks.sum(axis=0)
            logits += score.tolist()
        variance = self._shown * (1 - self._shown)
        signed = (weighted - np.mean(logits) * covered) / (len(logits) * variance)
        return np.asarray(signed, np.float32)

    def _draw(self, random: np.random.Generator, size: tuple[int, ...]) -> FloatArray:
        """One mask: coarse random cells, smoothly enlarged and shifted; as many parts of slices."""
        *slices, rows, columns = size
        coarse = [min(side, self._cells) for side in slices]
        cells = (self._cells + 2, self._cells + 2)  # beyond both borders, however it is shifted
        drawn = random.random((1, *coarse, *cells)) < self._shown
        step = (rows / self._cells, columns / self._cells)
        shift = random.random(2)
        grid = Grid(
            outer=(rows, columns),
            inner=cells,
            step=step,
            offset=(-shift[0] * step[0], -shift[1] * step[1]),
        )
        return _spread(drawn.astype(np.float32), size, grid)


class ScoreCam(InputMap):
    """Channels weighted by the logit that each leaves when it masks the image (Wang 2020).

    On logits, as rises above the blurred image's: through a softmax or a sigmoid all channels of
    a sure model would weigh the same. ``asked`` limits how many channels are asked about: those of
    which the others are made, as far as can be; the rise of the others is told from theirs, for
    channels with like masks leave like logits.
    """

    method: Code = codes.DCM.ClassActivation

    def __init__(
        self, scored: Scored, activations: Activations, layer: str, *, asked: int | None = None
    ) -> None:
        super().__init__(scored)
        self._activations = activations
        self._asked = asked
        self.layer = layer

    def _map(self, scored: Scored, image: FloatArray, target: int) -> FloatArray:
        values = self._activations(scored.inputs(image[None]))[0]
        cells = np.moveaxis(values, -1, 0)
        masks = _stretched(cells)
        chosen = _varied(cells, self._asked or len(cells))
        rises = self._rises(scored, image, masks[chosen], target)
        told = _told(masks, chosen, rises)
        size = image.shape[:-1]
        total = np.tensordot(told, cells, 1)[None].astype(np.float32)
        return np.asarray(_spread(total, size, _covering(size, total.shape[1:]))[0], np.float32)

    def _rises(
        self, scored: Scored, image: FloatArray, cells: FloatArray, target: int
    ) -> FloatArray:
        """(channels,): above the logit of the blurred image."""
        away, size = blurred(image), image.shape[:-1]
        grid = _covering(size, cells.shape[1:])
        rises = []
        for start in range(0, len(cells), scored.at_once):
            masks = _spread(cells[start : start + scored.at_once], size, grid)
            rises.append(scored.logits(_shown(image, away, masks))[:, target])
        return np.asarray(np.concatenate(rises) - scored.logits(away[None])[0, target], np.float32)


def falls(scored: Scored, image: FloatArray, masks: FloatArray, target: int) -> FloatArray:
    """(masks,): how far the logit falls when what a mask covers is blurred away."""
    away, whole = blurred(image), scored.logits(image[None])[0, target]
    parts = []
    for start in range(0, len(masks), scored.at_once):
        shown = _shown(image, away, 1 - masks[start : start + scored.at_once])
        parts.append(scored.logits(shown)[:, target])
    return np.asarray(whole - np.concatenate(parts), np.float32)


def _shown(image: FloatArray, away: FloatArray, masks: FloatArray) -> FloatArray:
    """(masks, *image): the image where a mask is 1, and what is away where it is 0."""
    shown = masks[..., None] * (image - away)
    shown += away
    return np.asarray(shown, np.float32)


def _covering(size: Sequence[int], cells: Sequence[int]) -> Grid:
    """Cells on the plane of an image; one cell where a layer has slices alone."""
    inner = (cells[-2], cells[-1]) if len(cells) >= PLANE_AXES else (1, 1)
    return Grid.covering((size[-2], size[-1]), inner)


def _spread(cells: FloatArray, size: Sequence[int], grid: Grid) -> FloatArray:
    """(masks, *cells) on the pixels of an image, (*slices, rows, columns): smoothly in a plane."""
    slices = size[:-PLANE_AXES]
    coarse = cells.shape[1 : 1 + len(slices)]
    rows, columns = grid.onto(Grid.same(grid.outer))
    planes = rows @ cells.reshape(-1, *grid.inner) @ columns.T
    spread = planes.reshape(len(cells), *coarse, *grid.outer)
    for axis, (side, count) in enumerate(zip(slices, coarse, strict=True), 1):
        spread = spread.take(np.arange(side) * count // side, axis)
    return np.asarray(spread, np.float32)


def _varied(cells: FloatArray, count: int) -> NDArray[np.intp]:
    """Which channels to ask about: of each next one most is not in those before (pivoted QR).

    By what they say, not by their masks: a faint channel adds little to the map.
    """
    if count >= len(cells):
        return np.arange(len(cells))
    _, order = qr(cells.reshape(len(cells), -1).T, mode="r", pivoting=True)
    return np.asarray(order[:count])


def _told(masks: FloatArray, chosen: NDArray[np.intp], rises: FloatArray) -> FloatArray:
    """(masks,): the rises of all masks, from those of the chosen ones, by ridge regression."""
    told = np.empty(len(masks), np.float32)
    if len(chosen) < len(masks):
        flat = masks.reshape(len(masks), -1)
        known, middle = flat[chosen], flat[chosen].mean(axis=0)
        like = (known - middle) @ (known - middle).T
        like[np.diag_indices_from(like)] += RIDGE * like.trace() / len(like) + 1e-9
        weights = np.linalg.solve(like, rises - rises.mean())
        told[:] = (flat - middle) @ ((known - middle).T @ weights) + rises.mean()
    told[chosen] = rises
    return told


def _stretched(cells: FloatArray) -> FloatArray:
    """Each channel to 0..1; a flat one to 0."""
    axes = tuple(range(1, cells.ndim))
    low = cells.min(axis=axes, keepdims=True)
    spread = np.ptp(cells, axis=axes, keepdims=True)
    return np.asarray(
        np.divide(cells - low, spread, out=np.zeros_like(cells), where=spread > 0), np.float32
    )
