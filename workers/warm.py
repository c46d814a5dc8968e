"""Before the first study: load each model, and run it once for each size of batch.

A model compiles and reserves its memory at its first run, which the first study would wait for.
"""

import numpy as np

from dicom_node.domain.errors import DicomNodeError
from dicom_node.domain.manifest import ModelInput
from dicom_node.observe import log
from explain.explainer import Inputs
from workers.bootstrap import Worker


def warm_up(worker: Worker) -> None:
    """Every model of the catalogue; one that fails will fail, with its reason, with its study."""
    for bundle in worker.catalog.bundles:
        try:
            model = worker.model(bundle)
            for size in sorted({1, bundle.manifest.input.batch}):
                model.predict(blank(bundle.manifest.input, size))
        except Exception as error:  # noqa: BLE001 - no model keeps the others from their studies
            reason = error.code if isinstance(error, DicomNodeError) else "INTERNAL"
            log("worker").warning("model.cold", model=bundle.id, reason=reason, exc_info=error)
        else:
            log("worker").info("model.warm", model=bundle.id)


def blank(plan: ModelInput, size: int) -> Inputs:
    """A batch of inputs without an image in them."""
    nothing = np.zeros((size, *plan.shape), np.float32)
    return [nothing] * len(plan.views) if plan.views else nothing
