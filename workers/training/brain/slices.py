"""What the network of ``brain-mr-tumour`` learns from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from workers.training.brain.augment import Slice
from workers.training.brain.lenders import lenders

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

    @cached_property
    def lenders(self) -> NDArray[np.int64]:
        """(slices, 4): who can lend to each; see ``lenders``."""
        return lenders(self.images, self.masks)

    def one(self, number: int) -> Slice:
        """A slice, 0 to 1."""
        return Slice(*(a[number].astype(np.float32) / 255 for a in (self.images, self.masks)))

    def with_lender(self, number: int, rng: Generator) -> Slice:
        """The slice, and one of those that can lend to it, where there is one."""
        given = self.one(number)
        can = self.lenders[number][self.lenders[number] >= 0]
        if not len(can):
            return given
        mirrored, other = divmod(int(rng.choice(can)), len(self.images))
        lender = self.one(other)
        turn = np.s_[:, :: -1 if mirrored else 1]
        return Slice(given.image, given.mask, Slice(lender.image[turn], lender.mask[turn]))
