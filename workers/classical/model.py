"""A bundle with estimators of scikit-learn: features of each image in, logits out."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray

from dicom_node.catalog import CLASSICAL, REFERENCE, BundleFolder
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import CorruptBundle, UnsupportedModel, UnusableOutput
from dicom_node.domain.findings import Measurement, Share
from dicom_node.domain.manifest import ModelManifest, RegionPlan
from explain.explainer import Inputs
from workers.arrays import NO_ZIP, Arrays, read_arrays
from workers.classical.extractor import Extractor
from workers.classical.features import region
from workers.classical.shapley import shapley
from workers.model import Output

TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
"""Types beyond those that skops trusts by itself: parts of estimators, without code of a file."""
MAX_BYTES = 256 * 2**20
"""Of all members of a file together, unpacked."""
CERTAIN = 1e-6
"""Probabilities are kept so far from 0 and 1 that they have logits."""
MOST_SHARES = 6
"""The strongest, which a reader can take in."""


class ClassicalModel:
    """Serves one estimator; see the protocol ``Model``. It has no map, but shares of features."""

    def __init__(self, manifest: ModelManifest, estimator: Any, reference: Arrays) -> None:
        self.manifest = manifest
        self.reference = reference
        self._estimator = estimator
        self._extractor = Extractor.of(self._region)
        self._check()

    @classmethod
    def load(cls, bundle: BundleFolder) -> Self:
        """Load the estimator of a verified bundle.

        Raises CorruptBundle, UnsupportedModel (also without probabilities) and UnusableOutput.
        """
        estimator = load_estimator(bundle.path / CLASSICAL)
        return cls(bundle.manifest, estimator, read_arrays(bundle.path / REFERENCE))

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries that run it."""
        return {"scikit-learn": sklearn.__version__, "skops": skops.__version__, "device": "CPU"}

    def predict(self, batch: Inputs) -> Output:
        """Log of the probabilities: a softmax of it gives them back."""
        vectors = self.vectors(np.asarray(batch, np.float32))
        likely = np.clip(self._estimator.predict_proba(vectors), CERTAIN, 1)
        if not np.isfinite(likely).all():
            raise UnusableOutput(f"{self.manifest.id} answered with numbers that are not finite")
        return Output({"classification": np.log(likely).astype(np.float32)})

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """What the estimator said, for it is the one that calibrates."""
        return np.exp(logits)

    def mask_probabilities(self, mask_logits: FloatArray) -> FloatArray:
        """There are no masks."""
        return mask_logits

    def explainer(self) -> None:
        """There is no map."""

    def shares(self, item: FloatArray, target: int) -> tuple[Share, ...]:
        """What the features of one image, (rows, columns, channels), added to a target's logit."""
        (vector,) = self.vectors(item[None])

        def answer(cases: NDArray[np.float64]) -> NDArray[np.float64]:
            likely = self._estimator.predict_proba(cases)[:, target]
            return np.asarray(np.log(likely + CERTAIN) - np.log(1 - likely + CERTAIN))

        values = shapley(answer, vector, self.reference["features"])
        told = zip(self._extractor.features.values(), vector, values, strict=True)
        shares = [
            Share(Measurement(each.name, round(float(number), 4), each.unit), float(share))
            for each, number, share in told
        ]
        return tuple(sorted(shares, key=lambda share: -abs(share.logit))[:MOST_SHARES])

    def vectors(self, images: FloatArray) -> NDArray[np.float64]:
        """(images, features) of (images, rows, columns, channels)."""
        plan = self._region
        parts = ((plane, region(plane, plan.low, plan.high)) for plane in images[..., 0])
        return np.stack([self._extractor.within(*part) for part in parts])

    @property
    def _region(self) -> RegionPlan:
        if self.manifest.region is None:
            raise UnsupportedModel(
                f"{self.manifest.id} reads features and its manifest names no region: add [region]"
            )
        return self.manifest.region

    def _check(self) -> None:
        if not hasattr(self._estimator, "predict_proba"):
            raise UnsupportedModel(
                f"the estimator of {self.manifest.id} gives no probabilities (predict_proba): put "
                "it into sklearn.calibration.CalibratedClassifierCV, or take another one"
            )
        plan = self.manifest.classification
        wanted = plan.heads[0].channels if plan and plan.exclusive else 0
        if not wanted or len(getattr(self._estimator, "classes_", ())) != wanted:
            raise UnusableOutput(
                f"the estimator of {self.manifest.id} must be a classifier of {wanted} classes, in "
                "the order of its exclusive targets (and the rest)"
            )
        rows, columns, channels = self.manifest.input.plane
        blank = np.zeros((1, rows, columns, channels), np.float32)
        background = self.reference.get("features", np.zeros((0, 0)))
        if background.shape[1:] != self.vectors(blank).shape[1:]:
            raise UnsupportedModel(
                f"{REFERENCE} of {self.manifest.id} has other features than this version computes"
            )


def load_estimator(path: Path) -> Any:
    """The estimator of a skops file, if it is made of types that are trusted.

    Raises CorruptBundle: BUNDLE_SIZE, BUNDLE_CODE (pickles, other files and other types).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise CorruptBundle(f"{path.name} is too large unpacked", code="BUNDLE_SIZE")
        foreign = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        if not foreign:
            return skops.io.load(path, trusted=list(TRUSTED))
    except (*NO_ZIP, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise CorruptBundle(
            f"{path.name} is no file of skops: pickles are not loaded; save the estimator with "
            "skops.io.dump(estimator, 'model.skops')",
            code="BUNDLE_CODE",
        ) from error
    raise CorruptBundle(
        f"{path.name} uses {', '.join(foreign)}: build it of scikit-learn's own estimators only",
        code="BUNDLE_CODE",
    )
