"""What a method asks the network for is what it must, and nothing is compiled twice."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import spearmanr

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.manifest import ExplanationPlan
from dicom_node.testing.phantom import phantom

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow

SIDE, CHANNELS = 48, 480
BOTTLENECK = "conv2d_29"
"""Of ``phantom-lesion``: 48 channels of 12 x 12 cells."""
NOISE = np.random.default_rng(0).random((1, SIDE, SIDE, 1))
IMAGE = ndimage.gaussian_filter(NOISE, (0, 3, 3, 0)).astype(np.float32) * 5


def network():
    keras.utils.set_random_seed(5)
    image = keras.Input((SIDE, SIDE, 1))
    values = keras.layers.Conv2D(16, 5, padding="same", activation="relu")(image)
    values = keras.layers.MaxPooling2D(4)(values)
    values = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(values)
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(values)))


class Counted:
    """A method whose questions to the network are counted: images, not calls."""

    def __init__(self, method: str, **options):
        from explain.methods import explainer

        plan = ExplanationPlan(method=method, full_scale=1)
        self.explainer = explainer(network(), plan, [0], at_once=8)
        self.scored = self.explainer._scored
        self.asked = {"logits": 0, "gradients": 0}
        parts = self.scored._parts

        def counted(images):
            self.asked[self.kind] += len(images)
            return parts(images)

        self.kind = "logits"
        self.scored._parts = counted
        gradients = type(self.scored).gradients

        def of_gradients(images, target):
            self.kind = "gradients"
            try:
                return gradients(self.scored, images, target)
            finally:
                self.kind = "logits"

        self.scored.gradients = of_gradients
        self.scored.about = lambda *_: self.scored


@pytest.mark.parametrize(
    ("method", "logits", "gradients"),
    [
        ("saliency", 1, 1),
        ("smoothgrad", 1, 16),
        ("integrated-gradients", 3, 8),  # the baseline and the image, for completeness
        ("scorecam", CHANNELS + 2, 0),
        ("scorecam-pruned", CHANNELS // 12 + 2, 0),
        ("rise", 401, 0),
    ],
)
def test_a_method_asks_for_no_more_than_it_must(method, logits, gradients):
    counted = Counted(method)
    counted.explainer.explain(IMAGE, [0])
    assert counted.asked == {"logits": logits, "gradients": gradients}


def test_a_tenth_of_the_channels_tells_the_map_of_all():
    full, pruned = (Counted(each).explainer for each in ("scorecam", "scorecam-pruned"))
    for target in range(3):
        maps = (each.explain(IMAGE, [target]).signed.ravel() for each in (full, pruned))
        assert spearmanr(*maps).statistic >= 0.95


def test_few_channels_tell_the_map_of_all_of_a_trained_network():
    """Of its bottleneck, which has most channels; the layer that the head reads has too few."""
    from explain.methods import explainer
    from workers.loading import load_model
    from workers.preprocess import prepare
    from workers.training.slices import source_images

    path = next(path for path in shipped_bundles() if path.name == "phantom-lesion")
    model = load_model(open_bundle(path))
    network, head = model.explainer()._network, model.explainer()._head
    source = phantom(33_002, slices=6, size=128, slice_spacing_mm=7.0)
    ill = source.lesion.sum(axis=(1, 2)).argmax()
    image = prepare(source_images(source), model.manifest).values[[ill]]
    plans = (
        ExplanationPlan(method=method, layer=BOTTLENECK, full_scale=1)
        for method in ("scorecam", "scorecam-pruned")
    )
    asked = [explainer(network, plan, [0], head=head) for plan in plans]
    maps = [each.explain(image, [0]).signed.ravel() for each in asked]
    assert asked[1]._asked < asked[0]._asked
    assert spearmanr(*maps).statistic >= 0.95


@pytest.mark.parametrize(
    "method", ["gradcam", "layercam", "smoothgrad", "scorecam", "occlusion", "rise"]
)
def test_nothing_is_compiled_again_for_another_study(method):
    import tensorflow as tf

    from explain.methods import explainer

    asked = explainer(network(), ExplanationPlan(method=method, full_scale=1), [0], at_once=8)
    traced = []
    asked.explain(IMAGE, [0])
    tracing = tf.function
    tf.function = lambda *args, **options: traced.append(args) or tracing(*args, **options)
    try:
        before = getattr(asked, "traces", None) or asked._scored.traces
        for count in (2, 1, 3):
            asked.explain(IMAGE.repeat(count, axis=0), [0])
    finally:
        tf.function = tracing
    assert (getattr(asked, "traces", None) or asked._scored.traces) == before
    assert traced == []
