"""A verdict without twins says the chance that maps as often right as its own have."""

import numpy as np
import pytest

from explain.verdict import judge
from workers.training.trying import Tried, natural


def attempts(count: int, *, hit: bool) -> list[Tried]:
    values = np.random.default_rng(4).uniform(0, 1, count)
    return [Tried({"inside": v}, hit, 0.5, False, False, 1.0) for v in values]


def test_where_numbers_tell_nothing_the_chance_is_how_often_maps_hit():
    plan = natural(attempts(900, hit=True) + attempts(100, hit=False))
    assert judge(plan, {"inside": 0.5}).chance == pytest.approx(0.9, abs=0.02)


def test_there_is_no_verdict_where_all_maps_hit():
    assert natural(attempts(9, hit=True)) is None
