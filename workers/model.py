"""What the pipeline asks of a model, and nothing of how it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.findings import Share
from dicom_node.domain.manifest import ModelManifest
from explain.explainer import Attribution, Explainer, Inputs
from workers.arrays import Arrays


@dataclass(frozen=True, slots=True)
class Output:
    """What the heads say of a batch of items."""

    heads: Mapping[str, FloatArray]
    """(batch, ..., channels) by the head's name, see ``Head``; pixels share out the input's."""
    attribution: Attribution | None = None
    """Of all targets, of the same pass; none without a classification head, and none of a method
    that needs many passes."""
    features: FloatArray | None = None
    """(batch, channels): the mean of what the explained layer says, or else of the one that the
    head reads; none of a model without such a layer."""

    @property
    def logits(self) -> FloatArray:
        """(batch, targets), of the classification head."""
        return self.heads["classification"]

    @property
    def mask_logits(self) -> FloatArray:
        """(batch, rows, columns, segments)."""
        return self.heads["segmentation"]


class Model(Protocol):
    """A loaded bundle.

    Inputs are float32 (batch, *input.shape), or one such array for each view.
    """

    @property
    def manifest(self) -> ModelManifest:
        """What the bundle says of it."""

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries and the device that run it."""

    @property
    def reference(self) -> Arrays:
        """What packaging fitted, of ``reference.npz``; empty where there is none."""

    def predict(self, batch: Inputs) -> Output:
        """Logits of all heads, and maps of all targets where the method makes them in one pass.

        Raises UnusableOutput, DeviceOutOfMemory.
        """

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Calibrated, of the shape of the targets' logits of ``predict``."""

    def mask_probabilities(self, mask_logits: FloatArray) -> FloatArray:
        """0 to 1, (batch, rows, columns, segments) from the mask logits of ``predict``."""

    def shares(self, item: FloatArray, target: int) -> tuple[Share, ...]:
        """What the features of one item added to a target's logit; none of a network."""

    def explainer(self) -> Explainer | None:
        """The method that the manifest names; none for a model without a classification head."""
