"""What an explanation method is: arrays in, arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydicom.sr.coding import Code

from dicom_node.domain.arrays import FloatArray
from explain.projection import Grid

Inputs = FloatArray | Sequence[FloatArray] | Mapping[str, FloatArray]
"""float32 (batch, ..., channels); several of them for a network with several inputs."""

NO_GAP = 1e-6
"""Up to which two scores are the same."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Maps of one batch, beside the logits that they explain: both of the same pass."""

    logits: FloatArray
    """(batch, outputs), or (batch, *cells, outputs) of an output with pixels or boxes."""
    signed: FloatArray
    """(batch, targets, rows, columns), in logit units: below 0 speaks against the target."""
    grid: Grid | None
    """The cells of the maps, laid on the pixels of the model's input; none for other axes."""
    features: FloatArray
    """(batch, channels): the mean of what the layer says; no channels where there is no layer."""
    outputs: tuple[FloatArray, ...] = ()
    """All outputs of the network, in its order."""
    gaps: FloatArray | None = None
    """(batch, targets): what ``signed`` should add up to; NaN, or none, of other methods than
    integrated gradients: the score above that of the baseline."""

    @property
    def maps(self) -> FloatArray:
        """What speaks for the target: ``signed``, at least 0, not stretched.

        On as many cells that share out the input, whichever way the layer's own cells lie.
        """
        return self._shared_out(np.maximum(self.signed, 0))

    @property
    def both(self) -> FloatArray:
        """``signed`` on the cells of ``maps``: what speaks for the target, and against it."""
        return self._shared_out(self.signed)

    def _shared_out(self, values: FloatArray) -> FloatArray:
        return values if self.grid is None else self.grid.shared_out(values)

    @property
    def incomplete(self) -> FloatArray | None:
        """(batch, targets): part of each gap that the signed map does not add up to.

        Completeness (Sundararajan 2017); 0 is complete, and NaN where there is no gap.
        """
        if self.gaps is None:
            return None
        missing = np.abs(self.signed.sum(axis=tuple(range(2, self.signed.ndim))) - self.gaps)
        size = np.abs(self.gaps)
        nothing = np.full_like(size, np.nan)
        return np.asarray(np.divide(missing, size, out=nothing, where=size > NO_GAP), np.float32)


class Explainer(Protocol):
    """A method bound to one model."""

    @property
    def method(self) -> Code:
        """Of CID 217."""

    @property
    def layer(self) -> str:
        """Where the map is taken from; "input" where that is the image itself."""

    @property
    def one_pass(self) -> bool:
        """Whether maps come with the prediction: else each costs many passes of the network."""

    def explain(
        self, inputs: Inputs, targets: Sequence[int], where: FloatArray | None = None
    ) -> Attribution:
        """Explain the logits of ``targets``.

        ``inputs`` is float32 (batch, rows, columns, channels), or several of a network with several
        inputs; volumes and sequences have their own axes before the rows, and maps have them too.
        ``where``, (batch, targets, *cells), says of an output with pixels or boxes which of them
        are asked about; by default each target's own pixels, and the likeliest box. Of a
        number, (batch, targets), it is the sign: -1 asks what lowered it.
        """
