"""Regression: a number for each quantity. Of several slices the median is the study's."""

from dataclasses import replace

import numpy as np

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.findings import Estimate, Measurement
from dicom_node.domain.outputs import Quantity, Regression
from dicom_node.domain.prediction import Prediction
from workers.findings import Answers, Case
from workers.notes import out_of_range
from workers.outputs.said import Said


def read(prediction: Prediction, plan: Regression, said: Said) -> Prediction:
    """The numbers of each frame."""
    return replace(prediction, numbers=said.by_frame(plan.kind))


def answer(case: Case, plan: Regression) -> Answers:
    """An estimate for each quantity, with a note where training saw no such number."""
    numbers = case.prediction.numbers
    if numbers is None:
        return Answers()
    estimates = [
        _estimate(case, quantity, numbers[:, column])
        for column, quantity in enumerate(plan.quantities)
    ]
    notes = [
        out_of_range(q)
        for q, estimate in zip(plan.quantities, estimates, strict=True)
        if not q.low <= estimate.measurements[0].value <= q.high
    ]
    return Answers(estimates=tuple(estimates), notes=tuple(notes))


def _estimate(case: Case, quantity: Quantity, values: FloatArray) -> Estimate:
    """The key slice is the one whose number is the median, or next to it."""
    middle = float(np.median(values))
    return Estimate(
        quantity.label,
        quantity.finding.code,
        quantity.category.code,
        int(np.abs(values - middle).argmin()),
        *case.tracking(quantity.label),
        measurements=(Measurement(quantity.concept.code, middle, quantity.unit.code),),
        quantity=quantity,
    )
