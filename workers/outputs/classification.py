"""Classification: a logit for each target, of each item."""

from dataclasses import replace

from dicom_node.domain.outputs import Classification
from dicom_node.domain.prediction import Prediction
from workers.outputs.said import Said


def read(prediction: Prediction, plan: Classification, said: Said) -> Prediction:
    """Logits and calibrated probabilities of the targets; of the rest nothing is asked."""
    logits = said.by_frame(plan.kind)
    probabilities = said.model.probabilities(logits)
    count = len(plan.targets)
    return replace(prediction, logits=logits[:, :count], probabilities=probabilities[:, :count])
