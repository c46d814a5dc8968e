"""Radiomic features by pyradiomics (van Griethuysen 2017), where it is installed.

All classes of the unfiltered image, in two dimensions, in pixels: shape, first order, GLCM, GLRLM,
GLSZM, GLDM and NGTDM, with the settings that pyradiomics has by itself but for the bin width, which
the manifest names. ``original_firstorder_Mean`` of pyradiomics is ``firstorder_Mean`` here.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from dicom_node.domain.arrays import BoolArray, FloatArray
from dicom_node.domain.errors import UnsupportedModel
from workers.classical.feature import Feature

CLASSES = ("shape2D", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
SCHEME = "99PYRADIOMICS"
PREFIX = "original_"
REMEDY = (
    "this bundle reads features of pyradiomics, which is not installed here: install it beside the "
    "node, by Python 3.11 and a C compiler: pip install 'dicom-node[radiomics]'"
)


class Reader:
    """Computes the features of one image after another."""

    def __init__(self, bin_width: float) -> None:
        """``bin_width`` in units of the image. Raises UnsupportedModel without the library."""
        try:
            from radiomics import featureextractor
        except ImportError as error:
            raise UnsupportedModel(REMEDY) from error
        logging.getLogger("radiomics").setLevel(logging.ERROR)
        self._extractor: Any = featureextractor.RadiomicsFeatureExtractor(
            binWidth=bin_width, force2D=True, additionalInfo=False
        )
        self._extractor.disableAllFeatures()
        for each in CLASSES:
            self._extractor.enableFeatureClassByName(each)
        self.features: Mapping[str, Feature] = {name: _coded(name) for name in self._names()}
        """By pyradiomics' own names, in its order."""

    def within(self, image: FloatArray, mask: BoolArray) -> NDArray[np.float64]:
        """(features,) of the image within the mask, both (rows, columns).

        Zeros where the mask is empty, a point or a line, of which pyradiomics measures nothing.
        """
        places = np.argwhere(mask)
        if not len(places) or np.ptp(places, axis=0).min() < 1:
            return np.zeros(len(self.features))
        found = self._found(image, mask)
        values = [float(found[f"{PREFIX}{name}"]) for name in self.features]
        return np.nan_to_num(np.array(values, np.float64))

    def _names(self) -> list[str]:
        """Learnt from a square: deprecated features are left out."""
        square = np.pad(np.ones((4, 4), np.float32), 2)
        return [name.removeprefix(PREFIX) for name in self._found(square, square > 0)]

    def _found(self, image: FloatArray, mask: BoolArray) -> Mapping[str, Any]:
        planes = (image.astype(np.float64), mask.astype(np.uint8))
        found: Mapping[str, Any] = self._extractor.execute(
            *(SimpleITK.GetImageFromArray(plane[None]) for plane in planes)
        )
        return found


def _coded(name: str) -> Feature:
    """``glcm_JointEnergy`` is "Joint Energy (GLCM)"."""
    of_class, _, feature = name.partition("_")
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", feature)
    shown = of_class if of_class in ("shape2D", "firstorder") else of_class.upper()
    return Feature(Code(name, SCHEME, f"{words} ({shown})"))
