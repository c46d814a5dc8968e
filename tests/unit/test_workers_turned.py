"""A model that reads a volume in another plane and spacing draws on the images that came."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import expit

from dicom_node.domain.errors import UnsupportedGeometry
from dicom_node.domain.images import FrameReference, SourceImages
from workers.model import Output
from workers.prediction import predict
from workers.preprocess import prepare
from workers.training.phantom_text import manifest_text
from workers.training.text import parse

SPACING = (2.0, 1.0, 1.5)
CORONAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)
SHAPE, AT = (40, 60, 48), (22.0, 25.0, 18.0)
STEPS = """
[[preprocess]]
step = "resample"
spacing_mm = [1.5, 1.5]
slice_mm = 1.5

[[preprocess]]
step = "orient"
rows = "P"
columns = "L"
slices = "H"

[[preprocess]]
step = "crop"
rows = 48
columns = 40

[input]
unit = "volume"
shape = [16, 48, 40, 1]
"""


class Echo:
    """Says of each voxel, and of each block, what stands there."""

    versions: Mapping[str, str] = {}

    def __init__(self, manifest) -> None:
        self.manifest = manifest

    def predict(self, batch) -> Output:
        logits = np.repeat(20 * batch - 10, 2, axis=-1)
        return Output({"segmentation": logits, "classification": batch.max(axis=(1, 2, 3))})

    def probabilities(self, logits):
        return expit(logits)

    mask_probabilities = probabilities

    def explainer(self):
        return None


def manifest():
    head, _, rest = manifest_text().partition("[input]")
    return parse(head + STEPS + "\n[[outputs]]" + rest.partition("[[outputs]]")[2])


def coronal() -> SourceImages:
    distance = sum(
        ((i - a) * mm) ** 2 for i, a, mm in zip(np.indices(SHAPE), AT, SPACING, strict=True)
    )
    affine = np.eye(4)
    affine[:3, :3] = CORONAL * SPACING
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(SHAPE[0]))
    return SourceImages((), frames, np.exp(-distance / 100).astype(np.float32), affine)


def test_a_mask_drawn_on_axial_slices_lies_on_the_coronal_ones_that_came():
    source, whole = coronal(), manifest()
    prepared = prepare(source, whole)
    assert prepared.values.shape == (40, 48, 40, 1)
    with_masks = whole.model_copy(update={"outputs": whole.outputs[1:]})
    prediction, _ = predict(Echo(with_masks), prepared)
    mask = prediction.masks[..., 0]
    assert mask.shape == SHAPE
    inside = mask * (mask > 0.5)
    assert ndimage.center_of_mass(inside) == pytest.approx(AT, abs=0.15)
    expected = (source.pixels > 0.5).sum()
    assert (mask > 0.5).sum() == pytest.approx(expected, rel=0.1)


def test_an_answer_to_each_axial_slice_is_none_to_a_coronal_one():
    source, whole = coronal(), manifest()
    with pytest.raises(UnsupportedGeometry, match=r"selection\.orientation"):
        predict(Echo(whole), prepare(source, whole))
