"""What lies far from the training features is outside, in whatever direction, and nothing else."""

import numpy as np
import pytest

from dicom_node.domain.errors import UnsupportedModel
from explain.outliers import Known, fit, score

RANDOM = np.random.default_rng(4)
MIXED = RANDOM.standard_normal((6, 24))
"""Training features of 24 channels lie on a plane of six directions."""


def drawn(count: int) -> np.ndarray:
    hidden = RANDOM.standard_normal((count, 6))
    noise = 0.01 * RANDOM.standard_normal((count, 24))
    return (hidden @ MIXED + noise + 100).astype(np.float32)


@pytest.fixture(scope="module")
def known() -> Known:
    return fit(drawn(600), drawn(400))


def test_one_in_a_hundred_of_what_is_known_is_called_outside(known):
    assert (score(known, drawn(2000)) > 1).mean() == pytest.approx(0.015, abs=0.015)


def test_what_lies_far_along_the_plane_or_off_the_plane_is_outside(known):
    far = drawn(50) + 12 * MIXED[3].astype(np.float32)
    off = drawn(50) + RANDOM.standard_normal((50, 24)).astype(np.float32)
    for features in (far, off):
        assert (score(known, features) > 1).all()


def test_a_channel_that_never_changed_in_training_tells_when_it_does():
    features, held_out = drawn(300), drawn(300)
    features[:, 5] = held_out[:, 5] = 7.0
    known = fit(features, held_out)
    changed = drawn(20)
    changed[:, 5] = 9.0
    assert (score(known, changed) > 1).all()


def test_it_is_the_same_after_it_was_kept_in_a_bundle(known, tmp_path):
    np.savez(tmp_path / "reference.npz", **known.arrays())
    with np.load(tmp_path / "reference.npz", allow_pickle=False) as arrays:
        again = Known.of(arrays)
    features = drawn(20)
    np.testing.assert_array_equal(score(again, features), score(known, features))


def test_a_bundle_without_them_has_none():
    assert Known.of({"something": np.zeros(3, np.float32)}) is None


def test_features_of_another_layer_are_refused_in_one_sentence(known):
    with pytest.raises(UnsupportedModel, match="package the model again"):
        score(known, drawn(2)[:, :16])
