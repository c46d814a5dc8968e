"""What a network is told of its answers; nan in the truth is not known, and counts for nothing."""

from collections.abc import Callable

import keras
from keras import KerasTensor, ops

from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Classification, Output, Regression, Segmentation

Loss = Callable[[KerasTensor, KerasTensor], KerasTensor]
"""(batch,), of truth and what was said, (batch, ..., channels) each."""


def losses(network: keras.Model, manifest: ModelManifest) -> dict[str, Loss]:
    """By the kind of each output."""
    return {each.kind: _loss(network.get_layer(each.layer), each) for each in manifest.outputs}


def _loss(layer: keras.Layer, plan: Output) -> Loss:
    if isinstance(plan, Regression):
        return _numbers([(quantity.high - quantity.low) / 2 for quantity in plan.quantities])
    if isinstance(plan, Classification) and plan.exclusive:
        return _one_of(logits=_gives_logits(layer))
    binary = _each(logits=_gives_logits(layer))
    return _outlines(binary, _gives_logits(layer)) if isinstance(plan, Segmentation) else binary


def _gives_logits(layer: keras.Layer) -> bool:
    activation = getattr(layer, "activation", None) or keras.activations.linear
    return activation is keras.activations.linear and not isinstance(layer, keras.layers.Softmax)


def _each(*, logits: bool) -> Loss:
    """Cross entropy, of each channel by itself."""

    def loss(truth: KerasTensor, said: KerasTensor) -> KerasTensor:
        known, truth = _split(truth)
        return _mean(ops.binary_crossentropy(truth, said, from_logits=logits), known)

    return loss


def _one_of(*, logits: bool) -> Loss:
    """Cross entropy, of channels that exclude each other."""

    def loss(truth: KerasTensor, said: KerasTensor) -> KerasTensor:
        return ops.categorical_crossentropy(_split(truth)[1], said, from_logits=logits)

    return loss


def _outlines(binary: Loss, logits: bool) -> Loss:
    """Cross entropy of the pixels, and Dice of each segment (Milletari 2016)."""

    def loss(truth: KerasTensor, said: KerasTensor) -> KerasTensor:
        pixels = binary(truth, said)
        known, truth = _split(truth)
        likely = (ops.sigmoid(said) if logits else said) * known
        overlap = ops.sum(likely * truth, axis=(1, 2))
        dice = 1 - (2 * overlap + 1) / (ops.sum(likely + truth, axis=(1, 2)) + 1)
        return pixels + _mean(dice, ops.max(known, axis=(1, 2)))

    return loss


def _numbers(halves: list[float]) -> Loss:
    """Absolute error, in halves of the range that each quantity has in the manifest."""

    def loss(truth: KerasTensor, said: KerasTensor) -> KerasTensor:
        known, truth = _split(truth)
        return _mean(ops.abs(truth - said) / ops.convert_to_tensor(halves, said.dtype), known)

    return loss


def _split(truth: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """1 where it is known, and the truth with 0 elsewhere."""
    unknown = ops.isnan(truth)
    return ops.cast(ops.logical_not(unknown), truth.dtype), ops.where(unknown, 0.0, truth)


def _mean(each: KerasTensor, known: KerasTensor) -> KerasTensor:
    """(batch,): over all that is known of an item."""
    axes = tuple(range(1, len(each.shape)))
    return ops.sum(each * known, axis=axes) / ops.maximum(ops.sum(known, axis=axes), 1)
