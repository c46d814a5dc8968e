"""Which explainer serves a manifest: chosen, checked and compiled before any study."""

from collections.abc import Callable, Mapping, Sequence

import keras

from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.manifest import ExplanationPlan
from explain.explainer import Explainer
from explain.gradcam import WEIGHTINGS, GradCam, place_of
from explain.gradients import InputMap, IntegratedGradients, Saliency, SmoothGrad
from explain.network import image_of, specs
from explain.perturbation import PLANE_AXES, Occlusion, Rise, ScoreCam
from explain.scored import Scored
from explain.tap import reader

BY_GRADIENT: Mapping[str, Callable[[Scored], InputMap]] = {
    "saliency": Saliency,
    "smoothgrad": SmoothGrad,
    "integrated-gradients": IntegratedGradients,
}
BY_ASKING: Mapping[str, Callable[[Scored], InputMap]] = {"occlusion": Occlusion, "rise": Rise}
SCORECAM: Mapping[str, int] = {"scorecam": 1, "scorecam-pruned": 12}
"""One channel in how many is asked about."""
METHODS = (*WEIGHTINGS, *SCORECAM, *BY_GRADIENT, *BY_ASKING)


def explainer(
    network: keras.Model,
    plan: ExplanationPlan,
    targets: Sequence[int],
    *,
    head: int = 0,
    at_once: int = 8,
) -> Explainer:
    """The manifest's method, bound to one head of a network whose outputs are logits.

    ``at_once`` images are in memory at a time. Raises UnsupportedModel, in one sentence, for a
    model that the method cannot explain.
    """
    if plan.method in WEIGHTINGS:
        return _class_activation(network, plan, targets, head, at_once)
    if plan.depths > 1:
        raise UnsupportedModel(f"explanation.depths is of class activation maps, not {plan.method}")
    scored = Scored(network, head=head, at_once=at_once)
    if plan.method in SCORECAM:
        return _scorecam(network, plan, scored, head)
    if plan.method in BY_GRADIENT:
        scored.refuse_flat()
        return BY_GRADIENT[plan.method](scored)
    return BY_ASKING[plan.method](scored)


def _class_activation(
    network: keras.Model, plan: ExplanationPlan, targets: Sequence[int], head: int, at_once: int
) -> GradCam:
    method = GradCam(
        network,
        plan.layer,
        weighting=plan.method,
        head=head,
        depths=plan.depths,
        at_once=at_once,
    )
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
    asked = max(channels // SCORECAM[plan.method], 1)
    return ScoreCam(scored, reader(network, place), place.name, asked=asked)
