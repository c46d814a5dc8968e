"""Watch tensors inside a network while it is traced: at any depth, whatever kind of network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from explain.explainer import Inputs
from explain.layers import Place, refuse_flat
from explain.network import flat, functional, outputs, specs
from explain.replaced import replaced


class Taps:
    """What the places of a network made in one run of it, watched by a gradient tape.

    The tape starts at these tensors, so nothing below them is differentiated.
    """

    def __init__(self, tape: tf.GradientTape, places: Sequence[Place]) -> None:
        self._tape = tape
        self._places = places
        self._made: dict[Place, list[Any]] = {place: [] for place in places}

    @contextmanager
    def open(self) -> Iterator[None]:
        """While open, the places' operations hand over what they make."""
        with ExitStack() as stack:
            for place in self._places:
                stack.enter_context(self._tapped(place))
            yield

    def activations(self) -> list[tf.Tensor]:
        """One for each place. Raises UnsupportedModel where a map cannot be made of one."""
        return [self._only(place) for place in self._places]

    @contextmanager
    def _tapped(self, place: Place) -> Iterator[None]:
        original = place.operation.call

        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            tensor = keras.tree.flatten(result)[place.index]
            self._tape.watch(tensor)
            self._made[place].append(tensor)
            return result

        with replaced(place.operation, "call", call):
            yield

    def _only(self, place: Place) -> tf.Tensor:
        made = self._made[place]
        if len(made) != 1:
            raise UnsupportedModel(
                f"layer {place.name!r} is applied {len(made)} times: name one as "
                "explanation.layer that is applied once"
            )
        refuse_flat(place, made[0].shape)
        return made[0]


def reader(network: keras.Model, place: Place) -> Callable[[Inputs], FloatArray]:
    """What a place of a network makes of inputs, (batch, *cells, channels); compiled once."""
    whole = functional(network)

    def read(*inputs: tf.Tensor) -> tf.Tensor:
        _, made = _watched(whole, place, inputs)
        return tf.cast(made, tf.float32)

    compiled = tf.function(read, input_signature=specs(whole), autograph=False)
    return lambda inputs: np.asarray(compiled(*flat(inputs)))


Beside = Callable[[Inputs], tuple[list[FloatArray], FloatArray]]
"""All that a network says of inputs, and (batch, channels): what one of its places does."""


def beside(network: keras.Model, place: Place) -> Beside:
    """What a network says, and the mean of a place over its cells, of one pass; compiled now.

    For methods whose maps do not come with the prediction: the features then do. Raises
    UnsupportedModel for a place without cells, or one that is applied more than once.
    """
    whole = functional(network)

    def run(*inputs: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        said, made = _watched(whole, place, inputs)
        return [tf.cast(each, tf.float32) for each in said], mean_of_cells(made)

    compiled = tf.function(run, input_signature=specs(whole), autograph=False)
    if specs(whole):
        compiled.get_concrete_function()

    def ask(inputs: Inputs) -> tuple[list[FloatArray], FloatArray]:
        said, features = compiled(*map(tf.constant, flat(inputs)))
        return [each.numpy() for each in said], features.numpy()

    return ask


def mean_of_cells(made: tf.Tensor) -> tf.Tensor:
    """(batch, channels) of (batch, *cells, channels)."""
    return tf.reduce_mean(tf.cast(made, tf.float32), list(range(1, made.shape.rank - 1)))


def _watched(
    network: keras.Model, place: Place, inputs: Sequence[tf.Tensor]
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """All that a network says, and what a place of it makes on the way."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        taps = Taps(tape, [place])
        with taps.open():
            said = outputs(network, inputs)
    return said, taps.activations()[0]
