"""One plain number about a map that nothing judges: of models that answer for many slices."""

import numpy as np
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import (
    BoolArray,
    ExplanationQuality,
    FloatArray,
    QualityMeasure,
    Trust,
)
from dicom_node.domain.concepts import ENERGY_INSIDE

UNTESTED = "the faithfulness of this map was not tested"


def measure(values: FloatArray, outline: BoolArray | None) -> ExplanationQuality:
    """Quality of one frame's map, (rows, columns), beside the model's own outline of the finding.

    The energy inside the outline (Wang 2020, Score-CAM) says whether the two heads of the model
    point at one place; it does not say that the place is right, so there is no verdict.
    """
    total = float(values.sum())
    if outline is None or total <= 0:
        return ExplanationQuality(Trust.NOT_MEASURED, (UNTESTED,))
    inside = float(values[outline].sum()) / total
    return ExplanationQuality(
        Trust.NOT_MEASURED,
        (UNTESTED,),
        (
            QualityMeasure(
                name=ENERGY_INSIDE,
                value=round(float(np.clip(100 * inside, 0, 100)), 1),
                unit=codes.UCUM.Percent,
                meaning="part of the heat map's evidence on the key slice that lies inside the "
                "outlined finding",
            ),
        ),
    )
