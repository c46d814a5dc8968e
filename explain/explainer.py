"""What an explanation method is: arrays in, arrays out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydicom.sr.coding import Code

from dicom_node.domain.analysis import FloatArray
from explain.projection import Grid


@dataclass(frozen=True, slots=True)
class Attribution:
    """Maps of one batch, beside the logits that they explain: both of the same pass."""

    logits: FloatArray
    """(batch, outputs)."""
    maps: FloatArray
    """(batch, targets, rows, columns), at least 0, in logit units: not stretched."""
    grid: Grid
    """The cells of the maps, laid on the pixels of the model's input."""


class Explainer(Protocol):
    """A method bound to one model."""

    @property
    def method(self) -> Code:
        """Of CID 217."""

    @property
    def layer(self) -> str:
        """Where the map is taken from."""

    def explain(self, inputs: FloatArray, targets: Sequence[int]) -> Attribution:
        """Explain the logits of ``targets``.

        ``inputs`` is float32 (batch, rows, columns, channels).
        """
