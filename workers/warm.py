"""Before the first study: load each model, run it once for each size of batch, and explain once.

A model compiles and reserves its memory at its first run, which the first study would wait for.
"""

import numpy as np

from dicom_node.domain.errors import DicomNodeError
from dicom_node.domain.manifest import ModelInput
from dicom_node.domain.outputs import Detection
from dicom_node.observe import log
from explain.explainer import Inputs
from workers.bootstrap import Worker
from workers.model import Model


def warm_up(worker: Worker) -> None:
    """Every model of the catalogue; one that fails will fail, with its reason, with its study."""
    for bundle in worker.catalog.bundles:
        try:
            model = worker.model(bundle)
            for size in sorted({1, bundle.manifest.input.batch}):
                model.predict(blank(bundle.manifest.input, size))
            explain(model)
        except Exception as error:  # noqa: BLE001 - no model keeps the others from their studies
            reason = error.code if isinstance(error, DicomNodeError) else "INTERNAL"
            log("worker").warning("model.cold", model=bundle.id, reason=reason, exc_info=error)
        else:
            log("worker").info("model.warm", model=bundle.id)


def explain(model: Model) -> None:
    """Ask for maps as studies do, where they do not come with the prediction.

    Those of boxes are asked for one by one, and each target's is compiled by itself; a method of
    many passes compiles once for all targets.
    """
    explainer, plan = model.explainer(), model.manifest.explained
    if explainer is None or plan is None:
        return
    boxes = isinstance(plan, Detection)
    if explainer.one_pass and not boxes:
        return
    batch, where = blank(model.manifest.input, 1), None
    if boxes:
        cells = model.predict(batch).heads[plan.kind].shape[1:-1]
        where = np.zeros((1, 1, *cells), np.float32)
    for column in range(len(plan.labels) if explainer.one_pass else 1):
        explainer.explain(batch, [column], where)


def blank(plan: ModelInput, size: int) -> Inputs:
    """A batch of inputs without an image in them."""
    nothing = np.zeros((size, *plan.shape), np.float32)
    return [nothing] * len(plan.views) if plan.views else nothing
