"""What an explanation costs: each call between two forward passes of the same compiled network.

Random weights, which change no timing. The peer of ours is the forward pass; tf-keras-vis stands
beside it, on the same arrays and at the same layer. Memory is the peak above that of the forward
pass, each in a process of its own.
"""

import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROUNDS, Row, seconds
from scipy.stats import spearmanr

FORWARD = "compiled forward pass"
APPLICATIONS = ("EfficientNetB0", "DenseNet121")
ROUNDS_OF = {1: 2 * ROUNDS + 1, 8: ROUNDS, 32: ROUNDS}
"""By batch."""
STUDIES, SOAKED = 250, 64
"""Pairs of them, and pixels of their sides."""
A_CHANNEL = "a forward pass for each channel"
TKV = "tf-keras-vis"
GRADCAM_TKV = f"gradcam.{TKV}"
AT_MOST = {"gradcam": 1.1, "gradcam++": 1.1, "gradcam_3_targets": 1.2, "layercam3": 1.5}
"""Forward passes."""
EXTRA_MB = 100
SMALL = (64, 64)
"""Pixels of a side, and channels, of the network whose Score-CAM tf-keras-vis can make, too."""


def rows() -> Iterator[Row]:
    """Ratios to the forward pass; methods of many passes to as many of them; memory; a soak."""
    for name in (*APPLICATIONS, *_shipped()):
        network, layer, head = _network(name)
        for batch in ROUNDS_OF:
            yield from _one_pass(f"explain.{name.lower()}.b{batch}", network, layer, head, batch)
        if name == "EfficientNetB0":
            yield from _many_passes(f"explain.{name.lower()}.b1", network)
    yield from _score_cams("explain.small.b1")
    for name in (*APPLICATIONS, *_shipped()):
        yield from _memory(f"explain.{name.lower()}", name)
    yield from _soak("phantom-lesion")


def _shipped() -> dict[str, Path]:
    """Folders of the bundles that are explained in one pass, by name."""
    from dicom_node.catalog import open_bundle, shipped_bundles
    from explain.gradcam import WEIGHTINGS

    bundles = [open_bundle(folder) for folder in shipped_bundles()]
    return {
        each.manifest.name: each.path
        for each in bundles
        if each.manifest.explanation.method in WEIGHTINGS
    }


def _network(name: str) -> tuple[Any, str | None, int]:
    """A network whose outputs are logits, its layer (none: found by itself), and its head."""
    import keras

    from dicom_node.catalog import open_bundle
    from workers.loading import load_model

    if name in APPLICATIONS:
        build = getattr(keras.applications, name)
        return build(weights=None, classifier_activation=None), None, 0
    explainer = load_model(open_bundle(_shipped()[name])).explainer()
    return explainer._network, explainer.layer.split(", ")[0], explainer._head


def _images(network: Any, batch: int) -> np.ndarray:
    return np.random.default_rng(0).random((batch, *network.inputs[0].shape[1:]), np.float32)


def _forward(network: Any, images: np.ndarray) -> Callable[[], object]:
    import tensorflow as tf

    compiled = tf.function(
        lambda values: network(values, training=False),
        input_signature=[tf.TensorSpec((None, *images.shape[1:]), tf.float32)],
    )
    return lambda: [each.numpy() for each in tf.nest.flatten(compiled(tf.constant(images)))]


def _calls(
    network: Any, layer: str | None, head: int, images: np.ndarray
) -> Iterator[tuple[str, Callable[[], object]]]:
    from dicom_node.domain.errors import UnsupportedModel
    from explain.gradcam import GradCam
    from explain.reference import METHODS, reference_map

    (top, *others), ours = _likeliest(network, head, images), GradCam(network, layer, head=head)
    yield "gradcam", lambda: ours.explain(images, [top])
    for method in ("gradcam++", "layercam"):
        other = GradCam(network, layer, head=head, weighting=method)
        yield method, partial(other.explain, images, [top])
    with suppress(UnsupportedModel):  # of a layer without two finer ones before it
        three = GradCam(network, layer, head=head, weighting="layercam", depths=3)
        yield "layercam3", lambda: three.explain(images, [top])
    if len(others) > 1:
        several = GradCam(network, layer, head=head)
        yield "gradcam_3_targets", lambda: several.explain(images, [top, *others[:2]])
    for method in METHODS:
        name = f"{method}.{TKV}"
        yield name, partial(reference_map, network, ours.layer, images, top, head, method)


def _likeliest(network: Any, head: int, images: np.ndarray) -> list[int]:
    """Outputs of a head, that with the highest logit of the first image first."""
    import tensorflow as tf

    logits = tf.nest.flatten(network(images[:1], training=False))[head].numpy()
    return [int(each) for each in np.argsort(-logits[0])]


def _one_pass(name: str, network: Any, layer: str | None, head: int, batch: int) -> Iterator[Row]:
    images = _images(network, batch)
    forward = _forward(network, images)
    for method, call in _calls(network, layer, head, images):
        ratio = statistics.median(_between(call, forward, ROUNDS_OF[batch]))
        yield Row(f"{name}.{method}", ratio, "x", FORWARD, at_most=AT_MOST.get(method))


def _many_passes(name: str, network: Any) -> Iterator[Row]:
    """Beside as many gradients, or forward passes, in batches of the same size."""
    from dicom_node.domain.manifest import ExplanationPlan
    from explain.gradients import SmoothGrad
    from explain.methods import explainer
    from explain.scored import Scored

    images, eight = _images(network, 1), _images(network, 8)
    scored = Scored(network, at_once=8)
    smooth = SmoothGrad(scored, samples=16)
    ratios = _between(
        lambda: smooth.explain(images, [0]), lambda: scored.gradients(eight, 0), ROUNDS
    )
    ratio = statistics.median(ratios) / 2
    yield Row(f"{name}.smoothgrad16", ratio, "x", "16 input gradients", at_most=1.1)
    forward, maps = _forward(network, eight), {}
    forward()
    for method, at_most in (("scorecam", 1.1), ("scorecam-pruned", 0.1)):
        asked = explainer(network, ExplanationPlan(method=method, full_scale=1), [0], at_once=8)
        asked._scored.logits(eight), asked._activations([images])
        before = [seconds(forward) for _ in range(ROUNDS)]
        took = seconds(lambda m=method, a=asked: maps.update({m: a.explain(images, [0])}))
        after = [seconds(forward) for _ in range(ROUNDS)]
        ratio = took / (statistics.mean((*before, *after)) * _channels(network) / 8)
        yield Row(f"{name}.{method}", ratio, "x", A_CHANNEL, at_most=at_most)
    yield from _theirs(name, network, images, forward)
    one, other = (each.signed.ravel() for each in maps.values())
    rank = float(spearmanr(one, other)[0])
    yield Row(f"{name}.scorecam-pruned.rank", rank, "", "scorecam", at_least=0.95)


def _score_cams(name: str) -> Iterator[Row]:
    """Both of a small network, for tf-keras-vis takes minutes for a large one."""
    import keras
    from tf_keras_vis.scorecam import Scorecam

    from dicom_node.domain.manifest import ExplanationPlan
    from explain.methods import explainer

    side, channels = SMALL
    image = keras.Input((side, side, 1))
    values = keras.layers.Conv2D(channels, 3, strides=4, activation="relu")(image)
    values = keras.layers.GlobalAveragePooling2D()(values)
    network = keras.Model(image, keras.layers.Dense(3)(values))
    images, theirs = _images(network, 1), Scorecam(network, clone=False)
    ours = explainer(network, ExplanationPlan(method="scorecam", full_scale=1), [0], at_once=8)
    forward = _forward(network, _images(network, 8))
    calls: dict[str, Callable[[], object]] = {
        "scorecam": lambda: ours.explain(images, [0]),
        f"scorecam.{TKV}": lambda: theirs(lambda logits: logits[:, 0], images),
    }
    for method, call in calls.items():
        ratio = statistics.median(_between(call, forward, ROUNDS)) * 8 / channels
        yield Row(f"{name}.{method}", ratio, "x", A_CHANNEL)


def _theirs(
    name: str, network: Any, images: np.ndarray, forward: Callable[[], object]
) -> Iterator[Row]:
    """SmoothGrad of tf-keras-vis, in forward passes of eight images."""
    from tf_keras_vis.saliency import Saliency

    smooth = Saliency(network, clone=False)
    call = partial(smooth, lambda logits: logits[:, 0], images, smooth_samples=16)
    ratio = statistics.median(_between(call, forward, 1))
    yield Row(f"{name}.smoothgrad16.{TKV}", ratio, "x", "a forward pass of 8")


def _channels(network: Any) -> int:
    from explain.gradcam import place_of

    return int(place_of(network, None, 0).shape[-1])


def _between(call: Callable[[], object], forward: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of the call over the mean of the forward passes before and after it."""
    call(), forward()
    ratios = []
    for _ in range(rounds):
        before, middle, after = seconds(forward), seconds(call), seconds(forward)
        ratios.append(middle / statistics.mean((before, after)))
    return ratios


def _memory(name: str, network: str) -> Iterator[Row]:
    """Peaks in processes of their own: ours at the largest batch, tf-keras-vis at 8."""
    ours = ("gradcam", "layercam3") if network in APPLICATIONS else ("gradcam",)
    for method, batch in (*((method, max(ROUNDS_OF)) for method in ours), (GRADCAM_TKV, 8)):
        done = subprocess.run(
            [sys.executable, __file__, network, method, str(batch)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        extra = json.loads(done.stdout.splitlines()[-1])
        at_most = EXTRA_MB if method in ours else None
        yield Row(f"{name}.b{batch}.{method}.extra_peak", extra, "MB", FORWARD, at_most=at_most)


def extra_peak_mb(network_name: str, method: str, batch: int) -> float:
    """How far a call's peak lies above that of the forward pass, both warm, in MB."""
    network, layer, head = _network(network_name)
    images = _images(network, batch)
    forward = _forward(network, images)
    call = dict(_calls(network, layer, head, images))[method]
    forward(), forward()
    floor = _peak_of(forward)
    call()
    return _peak_of(call) - floor


def _peak_of(call: Callable[[], object]) -> float:
    """Highest resident size while it runs, in MB (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    call()
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1000


def _soak(name: str) -> Iterator[Row]:
    """Small studies of changing length, each analysed and explained as a worker does it.

    The time is that of the same study each time, the memory that after it.
    """
    from dicom_node.catalog import open_bundle
    from dicom_node.testing.phantom import phantom
    from workers.analysis import analyse_images
    from workers.loading import load_model
    from workers.training.evaluate import PROVENANCE
    from workers.training.slices import source_images

    model = load_model(open_bundle(_shipped()[name]))
    same, *others = (
        source_images(phantom(seed, slices=slices, size=SOAKED))
        for seed, slices in ((1, 6), (2, 4), (3, 9))
    )
    took, size = [], []
    for study in range(STUDIES):
        analyse_images(others[study % len(others)], model, PROVENANCE)
        took.append(seconds(lambda: analyse_images(same, model, PROVENANCE)))
        size.append(_resident_mb())
    last, fifth = (statistics.median(part) for part in (took[-9:], took[4:13]))
    yield Row(f"explain.{name}.study{2 * STUDIES}", last * 1000, "ms", "5th study", last / fifth)
    yield Row(f"explain.{name}.study{2 * STUDIES}.larger", size[-1] - size[4], "MB", "5th study")
    yield Row(f"explain.{name}.compilations", model.explainer().traces, "", at_most=1)


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = [each for each in status.splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.stdout.write(json.dumps(extra_peak_mb(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
