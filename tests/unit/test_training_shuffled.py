"""Maps that stay the same where the labels meant nothing show nothing that the labels said."""

import numpy as np
import pytest

from workers.training.phantom_text import manifest_text
from workers.training.text import parse

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SIDE, SLICES = 32, 48


def network(**cells) -> "keras.Model":
    image = keras.Input((SIDE, SIDE, 1))
    values = keras.layers.Conv2D(4, 3, padding="same", activation="relu", **cells)(image)
    pooled = keras.layers.GlobalAveragePooling2D()(values)
    return keras.Model(
        image, keras.layers.Dense(1, kernel_initializer="ones", name="lesion")(pooled)
    )


def model_of(net):
    from workers.keras_model import KerasModel

    manifest = parse(manifest_text())
    (head, *_) = manifest.outputs
    given = manifest.input.model_copy(update={"shape": (SIDE, SIDE, 1)})
    head = head.model_copy(update={"layer": "lesion"})
    plan = manifest.explanation.model_copy(update={"method": "gradcam", "layer": None, "depths": 1})
    return KerasModel(
        manifest.model_copy(update={"input": given, "outputs": (head,), "explanation": plan}), net
    )


def lesson():
    from workers.training.shuffled import Lesson

    random = np.random.default_rng(2)
    values = random.normal(0, 0.2, (SLICES, SIDE, SIDE, 1)).astype(np.float32)
    answers = np.arange(SLICES)[:, None] % 2 == 0
    for number in np.flatnonzero(answers):
        row, column = random.integers(4, SIDE - 10, 2)
        values[number, row : row + 6, column : column + 6] += 1
    return Lesson(values, answers)


def likeness(net) -> float:
    from workers.training.shuffled import shuffled

    return shuffled(model_of(net), net, lesson(), lambda done: None)


def test_maps_of_what_no_label_can_change_stay_the_same():
    fixed = network(kernel_initializer="ones", trainable=False)
    assert likeness(fixed) == pytest.approx(1, abs=0.02)


def test_maps_of_what_was_learnt_do_not():
    keras.utils.set_random_seed(11)
    taught = network()
    taught.compile(keras.optimizers.Adam(0.02), keras.losses.BinaryCrossentropy(from_logits=True))
    given = lesson()
    taught.fit(given.values, given.answers.astype(np.float32), epochs=40, verbose=0)
    assert likeness(taught) < 0.7
