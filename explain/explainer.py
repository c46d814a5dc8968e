"""What an explanation method is: arrays in, arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import FloatArray
from explain.projection import Grid

Inputs = FloatArray | Sequence[FloatArray] | Mapping[str, FloatArray]
"""float32 (batch, ..., channels); several of them for a network with several inputs."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Maps of one batch, beside the logits that they explain: both of the same pass."""

    logits: FloatArray
    """(batch, outputs)."""
    signed: FloatArray
    """(batch, targets, rows, columns), in logit units: below 0 speaks against the target."""
    grid: Grid | None
    """The cells of the maps, laid on the pixels of the model's input; none for other axes."""
    features: FloatArray
    """(batch, channels): the mean of what the layer says; no channels where there is no layer."""
    outputs: tuple[FloatArray, ...] = ()
    """All outputs of the network, in its order."""

    @property
    def maps(self) -> FloatArray:
        """What speaks for the target: ``signed``, at least 0, not stretched."""
        return np.maximum(self.signed, 0)


class Explainer(Protocol):
    """A method bound to one model."""

    @property
    def method(self) -> Code:
        """Of CID 217."""

    @property
    def layer(self) -> str:
        """Where the map is taken from; "input" where that is the image itself."""

    def explain(self, inputs: FloatArray, targets: Sequence[int]) -> Attribution:
        """Explain the logits of ``targets``.

        ``inputs`` is float32 (batch, rows, columns, channels).
        """
