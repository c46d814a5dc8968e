"""The network of a recipe: features of an image, and a head for each output of the manifest."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
from keras import KerasTensor, layers

from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Classification, Regression, Segmentation
from workers.training.own import encoders
from workers.training.own.encoders import Levels
from workers.training.own.recipe import Plan
from workers.training.settle import load_network


class Seen(NamedTuple):
    """Of the values of the training images."""

    mean: float = 0.0
    deviation: float = 1.0


def build(plan: Plan, seen: Seen) -> keras.Model:
    """Image -> what each output says, in the order of the manifest; its layers are called as there.

    Heads end in logits; a network that a recipe starts from may end in sigmoid or softmax, too.
    Raises ConfigurationError where the recipe's network does not fit the manifest.
    """
    manifest, wanted = plan.manifest, plan.recipe.network
    image = keras.Input(manifest.input.shape, name="image")
    if wanted.start is not None:
        network = load_network(plan.home / wanted.start)
        if _is_whole(network, manifest):
            return network
        levels = encoders.own(network, image)
    else:
        deviation = max(seen.deviation, 1e-6)
        scaled = layers.Rescaling(1 / deviation, -seen.mean / deviation)(image)
        levels = (
            encoders.small(scaled)
            if wanted.backbone == "small"
            else encoders.of_applications(wanted.backbone, scaled)
        )
    said = [HEADS[each.kind](each, levels, wanted.dropout) for each in manifest.outputs]
    return keras.Model(image, said)


def outputs_of(network: keras.Model, manifest: ModelManifest) -> Mapping[str, KerasTensor]:
    """By the kind of the output."""
    return {each.kind: network.get_layer(each.layer).output for each in manifest.outputs}


def _is_whole(network: keras.Model, manifest: ModelManifest) -> bool:
    """Whether it has all heads, and not just features that heads can be made of."""
    names = {layer.name for layer in network.layers}
    return {output.layer for output in manifest.outputs} <= names


def _classification(plan: Classification, levels: Levels, dropout: float) -> KerasTensor:
    return layers.Dense(len(plan.targets) + plan.extra, name=plan.layer)(_pooled(levels, dropout))


def _regression(plan: Regression, levels: Levels, dropout: float) -> KerasTensor:
    """In units: the network's numbers, from -1 to 1, lie between each quantity's low and high."""
    halves = [(quantity.high - quantity.low) / 2 for quantity in plan.quantities]
    middles = [(quantity.high + quantity.low) / 2 for quantity in plan.quantities]
    parts = layers.Dense(len(halves))(_pooled(levels, dropout))
    return layers.Rescaling(halves, middles, name=plan.layer)(parts)


def _segmentation(plan: Segmentation, levels: Levels, _: float) -> KerasTensor:
    """A U-Net's way back: from the coarsest scale to the finest."""
    *finer, values = levels
    for level in reversed(finer):
        values = layers.UpSampling2D(interpolation="bilinear")(values)
        if values.shape[1:3] != level.shape[1:3]:
            raise ConfigurationError(
                f"a U-Net of this network halves its images to {tuple(levels[-1].shape[1:3])} "
                "cells, which do not double to where they came from: let rows and columns of "
                f"input.shape be multiples of {2 ** len(finer)}"
            )
        values = layers.Concatenate()([values, level])
        values = encoders.conv(encoders.conv(values, level.shape[-1]), level.shape[-1])
    return layers.Conv2D(len(plan.segments), 1, name=plan.layer)(values)


def _pooled(levels: Levels, dropout: float) -> KerasTensor:
    """Mean and maximum of the coarsest features: what is small drowns in a mean alone."""
    pools = [layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D()]
    together = layers.Concatenate()([pool(levels[-1]) for pool in pools])
    return layers.Dropout(dropout)(together)


HEADS: Mapping[str, Callable[[Any, Levels, float], KerasTensor]] = {
    "classification": _classification,
    "regression": _regression,
    "segmentation": _segmentation,
}
