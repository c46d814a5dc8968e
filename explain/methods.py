"""Which explainer serves a manifest: chosen, checked and compiled before any study."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.manifest import ExplanationPlan
from explain.explainer import Explainer
from explain.footprint import LIMIT_BYTES, fitting
from explain.gradcam import WEIGHTINGS, GradCam, place_of
from explain.gradients import InputMap, IntegratedGradients, Saliency, SmoothGrad
from explain.layers import PLANE, Place
from explain.network import Own, above_zero, image_of, specs
from explain.perturbation import PLANE_AXES, Activations, Occlusion, Rise, ScoreCam
from explain.receptive import grid_of
from explain.scored import Scored
from explain.tap import reader

BY_GRADIENT: Mapping[str, Callable[[Scored], InputMap]] = {
    "saliency": Saliency,
    "smoothgrad": SmoothGrad,
    "integrated-gradients": IntegratedGradients,
}
BY_ASKING: Mapping[str, Callable[[Scored], InputMap]] = {"occlusion": Occlusion, "rise": Rise}
SCORECAM: Mapping[str, int] = {"scorecam": 1, "scorecam-pruned": 12}
"""One channel in how many is asked about, of layers with many."""
FEWEST = 32
METHODS = (*WEIGHTINGS, *SCORECAM, *BY_GRADIENT, *BY_ASKING)


def explainer(
    network: keras.Model,
    plan: ExplanationPlan,
    targets: Sequence[int],
    *,
    head: int = 0,
    at_once: int = 8,
    limit_bytes: float = LIMIT_BYTES,
    own: Own = above_zero,
) -> Explainer:
    """The manifest's method, bound to one head of a network whose outputs are logits.

    At most ``at_once`` images are in memory at a time, and no more than fit into ``limit_bytes``.
    ``own`` says of a head with pixels which of them are each channel's.
    Raises UnsupportedModel, in one sentence, for a model that the method cannot explain.
    """
    if plan.method not in METHODS:
        raise UnsupportedModel(f"{plan.method} is no method for a network: {', '.join(METHODS)}")
    if plan.method in WEIGHTINGS:
        return _class_activation(network, plan, targets, head, (at_once, limit_bytes), own)
    if plan.depths > 1:
        raise UnsupportedModel(f"explanation.depths is of class activation maps, not {plan.method}")
    kept = network.inputs[0].name if plan.method in BY_GRADIENT and specs(network) else None
    fit = fitting(network, limit_bytes, kept)
    scored = Scored(network, head=head, at_once=min(at_once, fit), own=own)
    if plan.method in SCORECAM:
        return _scorecam(network, plan, scored, head)
    if plan.method in BY_GRADIENT:
        scored.refuse_flat()
        return BY_GRADIENT[plan.method](scored)
    return BY_ASKING[plan.method](scored)


def _class_activation(
    network: keras.Model,
    plan: ExplanationPlan,
    targets: Sequence[int],
    head: int,
    limits: tuple[int, float],
    own: Own,
) -> GradCam:
    method = GradCam(
        network, plan.layer, weighting=plan.method, head=head, depths=plan.depths, own=own
    )
    at_once, limit_bytes = limits
    method.at_once = min(at_once, fitting(network, limit_bytes, method.layer.split(", ")[-1]))
    method.prepare(targets)
    return method


def _scorecam(network: keras.Model, plan: ExplanationPlan, scored: Scored, head: int) -> ScoreCam:
    place = place_of(network, plan.layer, head)
    image = network.inputs[image_of(network.inputs)].shape if specs(network) else ()
    *_, channels = place.shape or (None,)
    if len(place.shape) not in (len(image), len(image) - PLANE_AXES) or channels is None:
        raise UnsupportedModel(
            f"scorecam needs a layer whose cells lie on the image, and {place.name!r} has the "
            f"shape {place.shape[1:]} for {tuple(image[1:])}: name another as explanation.layer, "
            "or explain this model by occlusion"
        )
    asked = max(channels // SCORECAM[plan.method], FEWEST)
    return ScoreCam(scored, _evenly(network, place), place.name, asked=asked)


def _evenly(network: keras.Model, place: Place) -> Activations:
    """A layer's activations on cells that share out the image."""
    read, image = reader(network, place), image_of(network.inputs) if specs(network) else 0

    def evened(inputs: Sequence[FloatArray]) -> FloatArray:
        values, size = read(inputs), inputs[image].shape
        if values.ndim != PLANE or len(size) != PLANE:
            return values
        grid = grid_of(network, place, size[1:3], values.shape[1:3])
        return np.moveaxis(grid.shared_out(np.moveaxis(values, -1, 1)), 1, -1)

    return evened
