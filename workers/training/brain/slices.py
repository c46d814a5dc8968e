"""What the network of ``brain-mr-tumour`` learns from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.training.brain.augment import Slice

BATCH = 16


@dataclass(frozen=True)
class Slices:
    """What is learnt from."""

    images: NDArray[np.uint8]
    """(slices, 256, 256)."""
    masks: NDArray[np.uint8]
    """(slices, 256, 256), 0 to 255: share of the pixel that is tumour."""
    types: NDArray[np.int64]
    """(slices,): 0 meningioma, 1 glioma, 2 pituitary tumour."""

    def one(self, number: int) -> Slice:
        """A slice, 0 to 1."""
        return Slice(*(a[number].astype(np.float32) / 255 for a in (self.images, self.masks)))
