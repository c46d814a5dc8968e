"""What the pipeline asks of a model, and nothing of how it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dicom_node.catalog import BundleFolder
from dicom_node.domain.analysis import FloatArray
from dicom_node.domain.manifest import ModelManifest
from explain.explainer import Attribution, Explainer


@dataclass(frozen=True, slots=True)
class Output:
    """What the heads say of a batch; an output that the model lacks has no channels."""

    logits: FloatArray
    """(batch, targets)."""
    mask_logits: FloatArray
    """(batch, rows, columns, segments), on a grid that shares out the input's."""
    attribution: Attribution | None = None
    """Of all targets, of the same pass; none for a model without a classification head."""


class Model(Protocol):
    """A loaded bundle. Inputs are float32 (batch, rows, columns, channels)."""

    @property
    def manifest(self) -> ModelManifest:
        """What the bundle says of it."""

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries and the device that run it."""

    def predict(self, batch: FloatArray) -> Output:
        """Logits of all heads and maps of all targets, of one pass.

        Raises UnsupportedModel (MODEL_OUTPUT), DeviceOutOfMemory.
        """

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Calibrated, (batch, targets) from the logits of ``predict``."""

    def mask_probabilities(self, mask_logits: FloatArray) -> FloatArray:
        """0 to 1, (batch, rows, columns, segments) from the mask logits of ``predict``."""

    def explainer(self) -> Explainer | None:
        """The method that the manifest names; none for a model without a classification head."""


def load_model(bundle: BundleFolder) -> Model:
    """Load a verified bundle; imports TensorFlow, so call it after the fork.

    Raises CorruptBundle (BUNDLE_CODE, BUNDLE_SIZE) and UnsupportedModel (MODEL).
    """
    from workers.keras_model import KerasModel

    return KerasModel.load(bundle)
