"""What is planted on one grid is found at the same place on the other."""

import numpy as np
import pytest
from scipy import ndimage

from explain.projection import Grid

MODEL = (96, 80)


def blob(shape: tuple[int, int], at: tuple[float, float], width: float) -> np.ndarray:
    rows, columns = np.indices(shape, dtype=np.float32)
    plane = np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / (2 * width**2))
    return plane[None].astype(np.float32)


def centre(values: np.ndarray) -> tuple[float, ...]:
    return ndimage.center_of_mass(values[0])


@pytest.mark.parametrize("step", [(0.6, 0.6), (1.0, 1.0), (2.3, 3.1), (-2.3, 3.1)])
def test_a_place_on_the_inner_grid_returns_to_the_outer_one(step):
    grid = Grid.centred((256, 320), MODEL, step)
    inner = blob(MODEL, (20.0, 25.0), 2.0)
    assert centre(grid.project(inner)) == pytest.approx(grid.to_outer((20.0, 25.0)), abs=0.02)


@pytest.mark.parametrize("step", [(1.0, 1.0), (2.3, 3.1), (-2.3, 3.1)])
def test_a_place_on_the_outer_grid_goes_in_and_comes_back(step):
    grid = Grid.centred((256, 320), MODEL, step)
    outer = blob((256, 320), (130.25, 146.5), 5.0)
    inner = grid.sample(outer)
    assert grid.to_outer(centre(inner)) == pytest.approx((130.25, 146.5), abs=0.05)
    assert centre(grid.project(inner)) == pytest.approx((130.25, 146.5), abs=0.05)


def test_one_cell_is_found_half_a_pixel_exactly():
    """Cells of a stride of 2 lie between pixels: cell 10 covers pixels 20 and 21."""
    grid = Grid.covering((64, 64), (32, 32))
    cells = np.zeros((1, 32, 32), np.float32)
    cells[0, 10, 12] = 1
    assert grid.to_outer((10, 12)) == (20.5, 24.5)
    assert centre(grid.project(cells)) == pytest.approx((20.5, 24.5), abs=1e-6)


def test_cells_upon_pixels_upon_the_source_are_one_grid():
    source = Grid.centred((512, 400), (192, 192), (2.25 / 0.7, 2.25 / 0.9))
    cells = source.carrying(Grid.covering((192, 192), (96, 96)))
    assert cells.to_outer((40, 50)) == pytest.approx(source.to_outer((80.5, 100.5)))
    assert (cells.outer, cells.inner) == ((512, 400), (96, 96))


def test_the_grid_itself_changes_nothing():
    values = np.random.default_rng(0).random((2, 9, 7, 3), np.float32)
    grid = Grid.same((9, 7))
    np.testing.assert_array_equal(grid.sample(values), values)
    np.testing.assert_array_equal(grid.project(values), values)


def test_beyond_the_other_grid_there_is_the_fill():
    grid = Grid.centred((10, 10), (20, 20), (1.0, 1.0))
    inner = grid.sample(np.ones((1, 10, 10), np.float32), fill=-3.0)
    assert (inner[0, :5] == -3).all()
    assert (inner[0, 5:15, 5:15] == 1).all()
    small = Grid.centred((20, 20), (10, 10), (1.0, 1.0))
    assert small.project(np.ones((1, 10, 10), np.float32)).sum() == 100


def test_a_constant_stays_constant_up_to_the_border():
    grid = Grid.centred((100, 100), (32, 32), (100 / 32, 100 / 32))
    np.testing.assert_allclose(grid.sample(np.ones((1, 100, 100), np.float32)), 1, rtol=1e-6)
    np.testing.assert_allclose(grid.project(np.ones((1, 32, 32), np.float32)), 1, rtol=1e-6)


def test_shrinking_averages_instead_of_skipping():
    stripes = np.tile(np.float32([0, 1]), 64)[None, None].repeat(128, axis=1)
    inner = Grid.covering((128, 128), (16, 16)).sample(stripes)
    np.testing.assert_allclose(inner, 0.5, atol=0.02)


def blob_in(shape: tuple[int, ...], at: tuple[float, ...], width: float) -> np.ndarray:
    distance = sum((i - a) ** 2 for i, a in zip(np.indices(shape), at, strict=True))
    return np.exp(-distance / (2 * width**2))[None].astype(np.float32)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (1, 0, 2)])
def test_a_place_in_a_volume_goes_in_and_comes_back_however_its_axes_are_turned(axes):
    outer, at = (40, 50, 60), (21.5, 23.0, 33.25)
    counts = [outer[axis] for axis in axes]
    step, offset = (1.5, -1.0, 0.8), (3.0, counts[1] - 1, 1.0)
    grid = Grid(outer, (40, counts[1], 70), step, offset, axes)
    inner = grid.sample(blob_in(outer, at, 3.0))
    assert inner.shape == (1, *grid.inner)
    assert grid.to_outer(centre(inner)) == pytest.approx(at, abs=0.05)
    assert centre(grid.project(inner)) == pytest.approx(at, abs=0.05)


def test_a_grid_on_a_turned_grid_lies_where_both_say():
    turned = Grid((40, 50, 60), (60, 40, 50), (1, -1, 1), (0, 39, 0), (2, 0, 1))
    cells = Grid.covering((60, 40, 50), (30, 20, 25))
    both = turned.carrying(cells)
    place = (4.0, 7.0, 11.0)
    assert both.to_outer(place) == pytest.approx(turned.to_outer(cells.to_outer(place)))


def test_channels_stay_beside_each_other_when_a_volume_is_turned():
    grid = Grid((4, 5, 6), (6, 4, 5), (1, 1, 1), (0, 0, 0), (2, 0, 1))
    values = np.random.default_rng(0).random((1, 4, 5, 6, 3)).astype(np.float32)
    inner = grid.sample(values)
    assert (inner[0, 2, 1, 3] == values[0, 1, 3, 2]).all()
    assert (grid.project(inner) == values).all()
