"""Methods of the gradient at the image: saliency, SmoothGrad, integrated gradients.

Maps are on the pixels of the model's input, signed, summed over the image's channels.
"""

from collections.abc import Callable, Sequence

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy import ndimage

from dicom_node.domain.analysis import FloatArray
from explain.explainer import Attribution
from explain.projection import Grid
from explain.scored import Scored

INPUT = "input"


class InputMap:
    """What all methods on the image itself share: one map for each image and target."""

    method: Code = codes.DCM.Saliency
    layer = INPUT

    def __init__(self, scored: Scored) -> None:
        self._scored = scored

    def explain(self, inputs: FloatArray, targets: Sequence[int]) -> Attribution:
        """Maps of the targets and the logits that they explain; see ``Explainer``."""
        maps = [[self._map(image, target) for target in targets] for image in inputs]
        size = (int(inputs.shape[1]), int(inputs.shape[2]))
        logits = self._scored.logits(inputs)
        nothing = np.zeros((len(inputs), 0), np.float32)
        return Attribution(logits, np.asarray(maps, np.float32), Grid.same(size), nothing)

    def _map(self, image: FloatArray, target: int) -> FloatArray:
        """(rows, columns), signed."""
        raise NotImplementedError


class Saliency(InputMap):
    """Gradient of the logit (Simonyan 2013), in logits per unit of input."""

    def _map(self, image: FloatArray, target: int) -> FloatArray:
        return _flat(self._scored.gradients(image[None], target)[0])


class SmoothGrad(InputMap):
    """Mean gradient of ``samples`` noisy copies (Smilkov 2017); the same noise in every run.

    ``noise`` is its deviation, as a part of the image's range.
    """

    def __init__(self, scored: Scored, *, samples: int = 16, noise: float = 0.15) -> None:
        super().__init__(scored)
        self._samples = samples
        self._noise = noise

    def _map(self, image: FloatArray, target: int) -> FloatArray:
        noise = np.random.default_rng(0).standard_normal((self._samples, *image.shape), np.float32)
        copies = image + noise * self._noise * np.ptp(image)
        return _flat(self._scored.gradients(copies, target).mean(axis=0))


class IntegratedGradients(InputMap):
    """Gradients along the way from a baseline to the image (Sundararajan 2017).

    The map's sum is the difference between the logits of both (completeness), as far as ``steps``
    mid-points can tell. ``baseline`` makes the image without what is looked for; by default the
    image itself, heavily blurred.
    """

    def __init__(
        self,
        scored: Scored,
        *,
        steps: int = 8,
        baseline: Callable[[FloatArray], FloatArray] | None = None,
    ) -> None:
        super().__init__(scored)
        self._steps = steps
        self._baseline = baseline or blurred

    def completeness(self, image: FloatArray, target: int) -> float:
        """Part of the logits' difference that the map does not explain; 0 is complete."""
        ends = self._scored.logits(np.stack([self._baseline(image), image]))[:, target]
        gap = float(ends[1] - ends[0])
        return abs(float(self._map(image, target).sum()) - gap) / max(abs(gap), 1e-6)

    def _map(self, image: FloatArray, target: int) -> FloatArray:
        start = self._baseline(image)
        parts = (np.arange(self._steps, dtype=np.float32) + 0.5) / self._steps
        way = start + parts[:, None, None, None] * (image - start)
        return _flat(self._scored.gradients(way, target).mean(axis=0) * (image - start))


def blurred(image: FloatArray, part: float = 1 / 12) -> FloatArray:
    """The image (rows, columns, channels) without detail below ``part`` of its side."""
    sigma = part * max(image.shape[:2])
    return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest"), np.float32)


def _flat(values: FloatArray) -> FloatArray:
    return np.asarray(values.sum(axis=-1), np.float32)
