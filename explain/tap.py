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
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            taps = Taps(tape, [place])
            with taps.open():
                outputs(whole, inputs)
        return tf.cast(taps.activations()[0], tf.float32)

    compiled = tf.function(read, input_signature=specs(whole), autograph=False)
    return lambda inputs: np.asarray(compiled(*flat(inputs)))
