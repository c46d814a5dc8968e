"""A bundle with estimators of scikit-learn: features of each image in, logits out."""

import zipfile
from collections.abc import Mapping, Sequence
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
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
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
        self._columns = self._check()

    @classmethod
    def load(cls, bundle: BundleFolder) -> Self:
        """Load the estimator of a verified bundle.

        Raises CorruptBundle, UnsupportedModel (also without probabilities) and UnusableOutput.
        """
        if not (bundle.path / REFERENCE).exists():
            raise UnsupportedModel(
                f"{bundle.id} has no {REFERENCE} with features of some cases, against which those "
                "of an image are told: package it with dicom-worker package"
            )
        estimator = load_estimator(bundle.path / CLASSICAL)
        return cls(bundle.manifest, estimator, read_arrays(bundle.path / REFERENCE))

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries that run it."""
        return {"scikit-learn": sklearn.__version__, "skops": skops.__version__, "device": "CPU"}

    def predict(self, batch: Inputs) -> Output:
        """Log of the probabilities: a softmax of it gives them back."""
        vectors = self.vectors(np.asarray(batch, np.float32))
        likely = np.clip(self._likely(vectors), CERTAIN, 1)
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
            likely = self._likely(cases)[:, target]
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

    def _likely(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """(cases, classes), in the order of the manifest."""
        return np.asarray(self._estimator.predict_proba(vectors))[:, self._columns]

    def _check(self) -> Sequence[int]:
        """The estimator's columns in the order of the manifest."""
        if not hasattr(self._estimator, "predict_proba"):
            raise UnsupportedModel(
                f"the estimator of {self.manifest.id} gives no probabilities (predict_proba): put "
                "it into sklearn.calibration.CalibratedClassifierCV, or take another one"
            )
        plan = self.manifest.classification
        targets, rest = (plan.labels, plan.rest) if plan and plan.exclusive else ((), None)
        classes = getattr(self._estimator, "classes_", ())
        columns = columns_of(classes, targets, rest, self.manifest.id)
        rows, width, channels = self.manifest.input.plane
        blank = self.vectors(np.zeros((1, rows, width, channels), np.float32))
        if self.reference.get("features", np.zeros((0, 0))).shape[1:] != blank.shape[1:]:
            raise UnsupportedModel(
                f"{REFERENCE} of {self.manifest.id} has other features than this version computes"
            )
        self._try(blank, len(columns))
        return columns

    def _try(self, blank: NDArray[np.float64], wanted: int) -> None:
        """Whatever an estimator cannot do, it says so before any study."""
        try:
            said = np.shape(self._estimator.predict_proba(blank))
        except Exception as error:
            raise UnsupportedModel(
                f"the estimator of {self.manifest.id} cannot answer to {blank.shape[1]} features "
                f"with scikit-learn {sklearn.__version__} ({str(error).partition(chr(10))[0]}): "
                "teach it what region.extractor computes, and save it with this version"
            ) from error
        if said != (1, wanted):
            raise UnusableOutput(
                f"the estimator of {self.manifest.id} gives {said} to one image, and its manifest "
                f"names {wanted} classes"
            )


def columns_of(
    classes: Sequence[object], targets: Sequence[str], rest: str | None, model: str
) -> Sequence[int]:
    """Which of an estimator's ``classes_`` each target is, and the rest.

    By its name; by its number, from 0; of one target and a rest, ``True`` is the target. Raises
    UnusableOutput for others, for then nobody knows which is which.
    """
    labels = [*targets, *([rest] if rest else [])]
    found = list(classes)
    texts, known = ([str(each).casefold() for each in names] for names in (found, labels))
    if known and sorted(texts) == sorted(known):
        return [texts.index(label) for label in known]
    if texts == ["false", "true"] and rest and len(targets) == 1:
        return [1, 0]
    numbers = all(isinstance(each, int | float | np.number) for each in found)
    if known and numbers and found == list(range(len(labels))):
        return range(len(labels))
    raise UnusableOutput(
        f"the estimator of {model} must be a classifier of {len(labels)} classes, called as the "
        f"exclusive targets of its manifest and the rest ({', '.join(labels)}), or numbered so "
        f"from 0; its classes are {', '.join(map(str, found)) or 'none'}"
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
    except (
        *NO_ZIP,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        OSError,
    ) as error:
        raise CorruptBundle(
            f"{path.name} is no file of skops that scikit-learn {sklearn.__version__} can load: "
            "pickles are not loaded, nor what other versions saved; save the estimator with "
            "skops.io.dump(estimator, 'model.skops')",
            code="BUNDLE_CODE",
        ) from error
    raise CorruptBundle(
        f"{path.name} uses {', '.join(foreign)}: build it of the estimators that scikit-learn "
        f"{sklearn.__version__} has itself; of a search take best_estimator_",
        code="BUNDLE_CODE",
    )
