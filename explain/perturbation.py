"""Methods that change the image and ask again: occlusion, RISE, Score-CAM.

They need no gradient, so they hold for any network; they cost one forward pass for each mask.
"""

from collections.abc import Callable

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import FloatArray
from explain.gradients import InputMap, blurred
from explain.projection import Grid
from explain.scored import Scored

Activations = Callable[[FloatArray], FloatArray]
"""(images, rows, columns, channels) of a layer, from images."""


class Occlusion(InputMap):
    """Fall of the logit when a patch is blurred away (Zeiler 2014), mean over the patches."""

    method: Code = codes.DCM.Saliency

    def __init__(self, scored: Scored, *, patch: int = 16, stride: int = 8) -> None:
        super().__init__(scored)
        self._patch = patch
        self._stride = stride

    def _map(self, image: FloatArray, target: int) -> FloatArray:
        masks = self._masks(image.shape[:2])
        fall = falls(self._scored, image, masks, target)
        share = masks.sum(axis=0)
        total = np.einsum("m,mrc->rc", fall, masks)
        return np.asarray(total / np.maximum(share, 1), np.float32)

    def _masks(self, size: tuple[int, ...]) -> FloatArray:
        """(patches, rows, columns): 1 in the patch; together they cover the image."""
        tops, lefts = (
            [*range(0, max(side - self._patch, 0), self._stride), max(side - self._patch, 0)]
            for side in size
        )
        masks = np.zeros((len(tops) * len(lefts), *size), np.float32)
        corners = ((top, left) for top in tops for left in lefts)
        for mask, (top, left) in zip(masks, corners, strict=True):
            mask[top : top + self._patch, left : left + self._patch] = 1
        return masks


class Rise(InputMap):
    """Random masks weighted by the logit of what they leave (Petsiuk 2018); one seed.

    Centred: the masks' mean logit is taken off, so that the map is signed and empty where the
    masks make no difference.
    """

    def __init__(
        self, scored: Scored, *, masks: int = 400, cells: int = 8, shown: float = 0.5
    ) -> None:
        super().__init__(scored)
        self._count = masks
        self._cells = cells
        self._shown = shown

    def _map(self, image: FloatArray, target: int) -> FloatArray:
        random = np.random.default_rng(0)
        away, size = blurred(image), image.shape[:2]
        weighted, covered = np.zeros(size), np.zeros(size)
        logits: list[float] = []
        while len(logits) < self._count:
            masks = self._draw(random, self._scored.at_once, size)
            shown = masks[..., None] * image + (1 - masks[..., None]) * away
            score = self._scored.logits(shown)[:, target]
            weighted += np.einsum("m,mrc->rc", score, masks)
            covered += masks.sum(axis=0)
            logits += score.tolist()
        variance = self._shown * (1 - self._shown)
        signed = (weighted - np.mean(logits) * covered) / (len(logits) * variance)
        return np.asarray(signed, np.float32)

    def _draw(self, random: np.random.Generator, count: int, size: tuple[int, ...]) -> FloatArray:
        """(count, rows, columns): coarse random cells, smoothly enlarged and shifted."""
        rows, columns = size
        cells = (random.random((count, self._cells + 1, self._cells + 1)) < self._shown).astype(
            np.float32
        )
        step = (rows / self._cells, columns / self._cells)
        shift = random.random(2)
        grid = Grid(
            outer=(rows, columns),
            inner=cells.shape[1:3],
            step=step,
            offset=(-shift[0] * step[0], -shift[1] * step[1]),
        )
        return np.asarray(grid.project(cells), np.float32)


class ScoreCam(InputMap):
    """Channels weighted by the logit that each leaves when it masks the image (Wang 2020).

    On logits, as rises above the blurred image's: through a softmax or a sigmoid all channels of
    a sure model would weigh the same.
    """

    method: Code = codes.DCM.ClassActivation

    def __init__(self, scored: Scored, activations: Activations, layer: str) -> None:
        super().__init__(scored)
        self._activations = activations
        self.layer = layer

    def _map(self, image: FloatArray, target: int) -> FloatArray:
        cells = np.moveaxis(self._activations(image[None])[0], -1, 0)
        size = (image.shape[0], image.shape[1])
        grid = Grid.covering(size, (cells.shape[1], cells.shape[2]))
        away = blurred(image)
        base = self._scored.logits(away[None])[0, target]
        total = np.zeros(cells.shape[1:], np.float64)
        for start in range(0, len(cells), self._scored.at_once):
            part = cells[start : start + self._scored.at_once]
            masks = grid.project(_stretched(part))[..., None]
            rise = self._scored.logits(masks * image + (1 - masks) * away)[:, target] - base
            total += np.einsum("m,mrc->rc", rise, part)
        return np.asarray(grid.project(np.asarray(total[None], np.float32))[0], np.float32)


def falls(scored: Scored, image: FloatArray, masks: FloatArray, target: int) -> FloatArray:
    """(masks,): how far the logit falls when what a mask covers is blurred away."""
    away, whole = blurred(image), scored.logits(image[None])[0, target]
    parts = []
    for start in range(0, len(masks), scored.at_once):
        mask = masks[start : start + scored.at_once, ..., None]
        parts.append(scored.logits((1 - mask) * image + mask * away)[:, target])
    return np.asarray(whole - np.concatenate(parts), np.float32)


def _stretched(cells: FloatArray) -> FloatArray:
    """Each channel to 0..1; a flat one to 0."""
    low = cells.min(axis=(1, 2), keepdims=True)
    spread = np.ptp(cells, axis=(1, 2), keepdims=True)
    return np.asarray(
        np.divide(cells - low, spread, out=np.zeros_like(cells), where=spread > 0), np.float32
    )
