"""The preprocessing steps that a manifest may name: one module a family, one function a step."""

from collections.abc import Sequence

from dicom_node.domain.steps import Step
from workers.steps import denoising, features, geometry, intensity
from workers.steps.prepared import Prepared

STEPS = {**intensity.STEPS, **geometry.STEPS, **denoising.STEPS, **features.STEPS}


def apply(prepared: Prepared, steps: Sequence[Step]) -> Prepared:
    """Each step in turn."""
    for step in steps:
        prepared = STEPS[type(step)](prepared, step)
    return prepared
