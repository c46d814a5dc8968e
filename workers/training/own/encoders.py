"""What makes features of an image: a plain network, one of keras.applications, or a group's own."""

import math

import keras
from keras import KerasTensor, layers

from dicom_node.domain.errors import ConfigurationError

WIDTH, WIDEST = 16, 128
CELLS = 8
"""Rows or columns, about so many, of the coarsest features of the plain network."""
FEWEST, MOST = 2, 6
"""Halvings of the plain network."""
MOMENTUM = 0.9
"""Of the moving statistics that serve: those of keras.applications take a million images."""
PLANE = 4

Levels = list[KerasTensor]
"""The last activation at each scale, the finest first."""


def small(image: KerasTensor) -> Levels:
    """Two convolutions at each scale, as many scales as leave some cells."""
    halvings = round(math.log2(min(image.shape[1:3]) / CELLS))
    levels, values = [], image
    for depth in range(min(max(halvings, FEWEST), MOST) + 1):
        values = layers.MaxPooling2D()(values) if depth else values
        width = min(WIDTH * 2**depth, WIDEST)
        values = conv(conv(values, width), width)
        levels.append(values)
    return levels


def of_applications(name: str, image: KerasTensor) -> Levels:
    """One of keras.applications, without its head; its own scaling is left out."""
    if name == "DenseNet121":
        made = keras.applications.DenseNet121(False, weights=None, input_tensor=image)
    else:
        build = getattr(keras.applications, name)
        made = build(
            include_top=False, weights=None, input_tensor=image, include_preprocessing=False
        )
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return levels_of(made)


def own(network: keras.Model, image: KerasTensor) -> Levels:
    """A group's features, of an image.

    Raises ConfigurationError for a network that takes another input, or gives no features.
    """
    taken, given = network.inputs, network.outputs
    if len(taken) != 1 or len(given) != 1 or len(given[0].shape) != PLANE:
        raise ConfigurationError(
            "network.start gives no features (rows, columns, channels) of one image, and has not "
            "all layers that the manifest's outputs name: save it without its head, or name them"
        )
    wanted, shape = taken[0].shape[1:], image.shape[1:]
    if any(size not in (None, there) for size, there in zip(wanted, shape, strict=True)):
        raise ConfigurationError(
            f"network.start takes {tuple(wanted)}, and the manifest says {tuple(shape)}: correct "
            "input.shape (its last number 3 gives the image three times)"
        )
    fixed = keras.Input(shape)
    clone = keras.models.clone_model(network, input_tensors=fixed)
    clone.set_weights(network.get_weights())
    together: Levels = keras.Model(fixed, levels_of(clone), name="start")(image)
    return together if isinstance(together, list) else [together]


def levels_of(network: keras.Model) -> Levels:
    """The last activation at each scale that halves the input's, down to what the network gives."""
    rows, least = network.inputs[0].shape[1], network.outputs[0].shape[1]
    found: dict[int, KerasTensor] = {}
    for layer in network.layers:
        shape = tuple(getattr(layer.output, "shape", ()))
        if not isinstance(layer, layers.InputLayer) and len(shape) == PLANE and shape[1] >= least:
            found[shape[1]] = layer.output
    scales = {rows >> halving for halving in range(MOST) if rows % (1 << halving) == 0}
    finer = [found[size] for size in sorted(found, reverse=True) if size in scales - {least}]
    return [*finer, network.outputs[0]]


def conv(values: KerasTensor, width: int) -> KerasTensor:
    """A convolution, normalised."""
    linear = layers.Conv2D(width, 3, padding="same", use_bias=False)(values)
    return layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(linear))
