"""What computes the features of an image: the library that a bundle names, and no other.

The same feature has other values in other libraries (see ``features``): an estimator that learnt
those of one must never be served those of another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.manifest import RegionPlan
from workers.classical import features, radiomics
from workers.classical.feature import Feature


@dataclass(frozen=True, slots=True)
class Extractor:
    """Reads vectors of features."""

    features: Mapping[str, Feature]
    """What the numbers of a vector are, in their order."""
    within: Callable[[FloatArray, BoolArray], NDArray[np.float64]]
    """(features,) of an image within a mask, both (rows, columns); zeros where there is nothing to
    measure."""

    @classmethod
    def of(cls, plan: RegionPlan) -> "Extractor":
        """The one that a manifest names. Raises UnsupportedModel where it is not installed."""
        if plan.extractor == "pyradiomics":
            reader = radiomics.Reader(plan.bin_width)
            return cls(reader.features, reader.within)
        return cls(features.FEATURES, features.features)
