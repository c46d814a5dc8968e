"""Methods of the gradient at the image: saliency, SmoothGrad, integrated gradients.

Maps are on the pixels of the model's input, signed, summed over the image's channels.
"""

from collections.abc import Callable, Sequence

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from scipy import ndimage

from dicom_node.domain.arrays import FloatArray
from explain.explainer import Attribution, Inputs
from explain.layers import PLANE
from explain.network import flat
from explain.projection import Grid
from explain.scored import Scored

INPUT = "input"


class InputMap:
    """What all methods on the image itself share: one map for each image and target.

    Of a network with several inputs the image is changed, and the others are held.
    """

    method: Code = codes.DCM.Saliency
    layer = INPUT
    one_pass = False

    def __init__(self, scored: Scored) -> None:
        self._scored = scored

    def explain(
        self, inputs: Inputs, targets: Sequence[int], where: FloatArray | None = None
    ) -> Attribution:
        """Maps of the targets and the scores that they explain; see ``Explainer``."""
        images, others = self._scored.split(flat(inputs))
        maps, said, gaps = [], [], []
        for case, image in enumerate(images):
            held = [each[case] for each in others]
            whole = self._scored.about(held, None)
            said.append(whole.logits(image[None])[0])
            places = whole.own(image, targets) if where is None else where[case]
            about = [self._scored.about(held, place) for place in places]
            asked = list(zip(about, targets, strict=True))
            maps.append([self._map(one, image, target) for one, target in asked])
            gaps.append([self._gap(one, image, target) for one, target in asked])
        return Attribution(
            logits=np.asarray(said, np.float32),
            signed=np.asarray(maps, np.float32),
            grid=_same(images),
            features=np.zeros((len(images), 0), np.float32),
            gaps=np.asarray(gaps, np.float32),
        )

    def _gap(self, scored: Scored, image: FloatArray, target: int) -> float:
        """What the map should add up to; NaN where the method does not say."""
        return float("nan")

    def _map(self, scored: Scored, image: FloatArray, target: int) -> FloatArray:
        """(rows, columns), signed; with the image's own axes before them."""
        raise NotImplementedError


class Saliency(InputMap):
    """Gradient of the logit (Simonyan 2013), in logits per unit of input."""

    def _map(self, scored: Scored, image: FloatArray, target: int) -> FloatArray:
        return _flat(scored.gradients(image[None], target)[0])


class SmoothGrad(InputMap):
    """Mean gradient of ``samples`` noisy copies (Smilkov 2017); the same noise in every run.

    ``noise`` is its deviation, as a part of the image's range. Each is added and taken off, so that
    what is odd in it goes, and half of it is drawn.
    """

    def __init__(self, scored: Scored, *, samples: int = 16, noise: float = 0.15) -> None:
        super().__init__(scored)
        self._samples = samples
        self._noise = noise

    def _map(self, scored: Scored, image: FloatArray, target: int) -> FloatArray:
        drawn = (-(-self._samples // 2), *image.shape)
        noise = np.random.default_rng(0).standard_normal(drawn, np.float32)
        noise *= np.float32(self._noise * np.ptp(image))
        noisy = np.concatenate([image + noise, image - noise])[: self._samples]
        return _flat(scored.gradients(noisy, target).mean(axis=0))


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

    def _gap(self, scored: Scored, image: FloatArray, target: int) -> float:
        start, end = scored.logits(np.stack([self._baseline(image), image]))[:, target]
        return float(end - start)

    def _map(self, scored: Scored, image: FloatArray, target: int) -> FloatArray:
        start = self._baseline(image)
        parts = (np.arange(self._steps, dtype=np.float32) + 0.5) / self._steps
        way = start + parts.reshape(-1, *[1] * image.ndim) * (image - start)
        return _flat(scored.gradients(way, target).mean(axis=0) * (image - start))


def blurred(image: FloatArray, part: float = 1 / 12) -> FloatArray:
    """The image (rows, columns, channels) without detail below ``part`` of its side.

    Slices before the rows are blurred one by one: which of them matter can be asked.
    """
    sigma = part * max(image.shape[-3:-1])
    sigmas = (*[0.0] * (image.ndim - 3), sigma, sigma, 0.0)
    return np.asarray(ndimage.gaussian_filter(image, sigmas, mode="nearest"), np.float32)


def _same(images: FloatArray) -> Grid | None:
    return Grid.same((images.shape[1], images.shape[2])) if images.ndim == PLANE else None


def _flat(values: FloatArray) -> FloatArray:
    return np.asarray(values.sum(axis=-1), np.float32)
