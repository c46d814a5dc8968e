"""Which frames a network answers for at once: a slice, a block, a sequence, the views of a side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import IncompleteStudy
from dicom_node.domain.manifest import ModelInput, View
from dicom_node.routing import holds
from explain.explainer import Inputs
from workers.steps.prepared import Prepared


@dataclass(frozen=True)
class Items:
    """What goes into the network, one item after the other."""

    frames: NDArray[np.intp]
    """(items, planes): the frame of each plane of each item."""
    count: int
    """Of all frames."""
    unit: str

    @classmethod
    def of(cls, plan: ModelInput, prepared: Prepared) -> Self:
        """The items of a series. Raises IncompleteStudy where no side has all its views."""
        count = len(prepared.values)
        planes = plan.shape[0] if plan.unit in ("volume", "sequence") else 1
        units: Mapping[str, Callable[[], ArrayLike]] = {
            "slice": lambda: np.arange(count)[:, None],
            "volume": lambda: _blocks(count, planes),
            "sequence": lambda: np.linspace(0, count - 1, planes).round()[None],
            "views": lambda: _sides(plan.views, prepared),
        }
        return cls(np.asarray(units[plan.unit](), np.intp), count, plan.unit)

    @property
    def together(self) -> tuple[tuple[int, ...], ...]:
        """Frames that have one answer; none where each has its own."""
        if self.unit == "sequence":
            return (tuple(range(self.count)),)
        return tuple(map(tuple, self.frames.tolist())) if self.unit == "views" else ()

    @property
    def unread(self) -> int:
        """Frames that no item shows."""
        return self.count - len(np.unique(self.frames))

    def view(self, frame: int) -> int:
        """Which plane of an item shows a frame that is read."""
        return int(np.argwhere(self.frames == frame)[0, 1])

    def inputs(self, values: FloatArray, chosen: slice) -> Inputs:
        """Of some items, from (frames, rows, columns, channels), as the network takes them."""
        numbers = np.arange(len(self.frames))[chosen]
        return taken(np.ascontiguousarray(self.stacked(values, numbers)), self.unit)

    def stacked(self, values: FloatArray, chosen: NDArray[np.intp]) -> FloatArray:
        """(items, [planes or views,] rows, columns, channels): the same of any items, as one."""
        frames = self.frames[chosen]
        return np.asarray(values[frames[:, 0] if self.unit == "slice" else frames])

    def spread(self, said: FloatArray, *, by_plane: bool) -> FloatArray:
        """(frames, ...): what was said of each frame, or of the read one next to it.

        ``said`` is (items, ...), or (items, planes, ...) ``by_plane``, where a network may have
        pooled planes. Items that share a frame give their mean.
        """
        if self.unit == "slice":
            return said
        if not by_plane:
            said = np.repeat(said[:, None], self.frames.shape[1], axis=1)
        elif said.shape[1] != self.frames.shape[1]:
            said = said[:, _stretched(said.shape[1], self.frames.shape[1])]
        total = np.zeros((self.count, *said.shape[2:]), np.float32)
        np.add.at(total, self.frames.ravel(), said.reshape(-1, *said.shape[2:]))
        shown = np.bincount(self.frames.ravel(), minlength=self.count)
        mean = total / np.maximum(shown, 1).reshape(-1, *[1] * (total.ndim - 1))
        return np.asarray(mean[_nearest(np.flatnonzero(shown), self.count)], np.float32)


def taken(stacked: FloatArray, unit: str) -> Inputs:
    """What ``Items.stacked`` gave as the network takes it: of views one array each."""
    return list(np.moveaxis(stacked, 1, 0)) if unit == "views" else stacked


def _blocks(count: int, planes: int) -> NDArray[np.intp]:
    """Blocks that overlap by half; a series that is too short repeats its last slice."""
    starts = [*range(0, max(count - planes, 0), max(planes // 2, 1)), max(count - planes, 0)]
    blocks = np.array(starts)[:, None] + np.arange(planes)
    return np.minimum(blocks, count - 1)


def _stretched(pooled: int, planes: int) -> NDArray[np.intp]:
    """The pooled plane of each plane."""
    return np.asarray((np.arange(planes) + 0.5) * pooled / planes, np.intp)


def _nearest(known: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    distances = np.abs(np.arange(count)[:, None] - known)
    return np.asarray(known[distances.argmin(axis=1)])


def _sides(views: Sequence[View], prepared: Prepared) -> list[list[int]]:
    """Of each side that has all views, the last image of each."""
    headers = [prepared.header(frame)[0] for frame in range(len(prepared.values))]
    sides = sorted(range(len(headers)), key=lambda frame: _side(headers[frame]))
    found = []
    for _, members in groupby(sides, key=lambda frame: _side(headers[frame])):
        frames = list(members)
        side = [[f for f in frames if shows(headers[f], view)] for view in views]
        if all(side):
            found.append([each[-1] for each in side])
    if not found:
        names = " and ".join(view.name for view in views)
        raise IncompleteStudy(
            f"no side of the study has the views {names} that the model reads together: send the "
            "missing ones"
        )
    return found


def _side(header: Dataset) -> str:
    return str(header.get("ImageLaterality") or header.get("Laterality") or "")


def shows(header: Dataset, view: View) -> bool:
    """Whether an image is of a view."""
    return all(holds(_value(header, r.keyword), r) is not r.negate for r in view.rules)


def _value(header: Dataset, keyword: str) -> Any:
    value = header.get(keyword)
    return list(value) if isinstance(value, MultiValue) else value
