"""Which frames a network answers for at once, and how its answers come back to the frames."""

import numpy as np
import pytest

from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelInput
from workers.items import Items
from workers.steps.prepared import Prepared


def prepared(count: int) -> Prepared:
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(count))
    pixels = np.arange(count, dtype=np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)
    return Prepared.start(SourceImages((), frames, pixels))


def items(unit: str, count: int, planes: int = 4) -> Items:
    shape = (8, 8, 1) if unit == "slice" else (planes, 8, 8, 1)
    return Items.of(ModelInput(unit=unit, shape=shape), prepared(count))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9, 30])
def test_blocks_show_every_slice_and_bring_back_what_was_said_of_it(count):
    blocks = items("volume", count)
    shown = blocks.inputs(prepared(count).values, slice(None))
    assert shown.shape[1:] == (4, 8, 8, 1)
    assert set(blocks.frames.ravel()) == set(range(count))
    back = blocks.spread(shown, by_plane=True)
    np.testing.assert_array_equal(back, prepared(count).values)


def test_blocks_that_share_a_slice_give_their_mean():
    blocks = items("volume", 6)
    said = np.arange(len(blocks.frames), dtype=np.float32)[:, None]
    back = blocks.spread(said, by_plane=False)[:, 0]
    assert back.tolist() == [0, 0, 0.5, 0.5, 1, 1]


def test_pooled_planes_go_back_to_the_slices_that_they_come_from():
    blocks = items("volume", 4)
    back = blocks.spread(np.array([[[1.0], [2.0]]], np.float32), by_plane=True)
    assert back[:, 0].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("count", [2, 4, 11])
def test_a_sequence_is_read_from_end_to_end_and_has_one_answer(count):
    sequence = items("sequence", count)
    (frames,) = sequence.frames
    assert (frames[0], frames[-1], len(frames)) == (0, count - 1, 4)
    assert sequence.together == (tuple(range(count)),)
    back = sequence.spread(np.array([[7.0]], np.float32), by_plane=False)
    assert back[:, 0].tolist() == [7.0] * count


def test_slices_stay_as_they_are():
    each = items("slice", 5)
    np.testing.assert_array_equal(each.inputs(prepared(5).values, slice(1, 3))[:, 0, 0, 0], [1, 2])
    assert each.together == ()
