"""What a network said of all items of a series."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.domain.arrays import FloatArray
from workers.items import Items
from workers.model import Model
from workers.steps.prepared import Prepared


@dataclass(frozen=True)
class Said:
    """The heads of a network, of all items."""

    model: Model
    prepared: Prepared
    items: Items
    heads: Mapping[str, FloatArray]
    """(items, ..., channels) by the head's name."""

    def by_frame(self, head: str) -> FloatArray:
        """(frames of the source, channels) of a head without cells."""
        said = self.items.spread(self.heads[head], by_plane=False)
        return said[self.prepared.nearest]

    def planes(self, head: str) -> FloatArray:
        """(frames, rows, columns, channels) of a head with pixels, on cells of its own."""
        return self.items.spread(self.heads[head], by_plane=True)
