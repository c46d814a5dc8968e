"""What the network of ``brain-mr-tumour`` is told: masks, and the type of cells and slices."""

import tensorflow as tf
from keras import ops

from workers.training.brain.network import TYPES

SMOOTHING = 0.05
RARE = 3.0
"""Weight of a mask pixel inside a tumour against one outside."""
WEIGHTS = {"masks": 1.0, "cells": 0.5, "types": 1.0}


def losses(masks: tf.Tensor, answers: tf.Tensor, outputs: list[tf.Tensor]) -> tf.Tensor:
    """Of masks (batch, side, side, 1) and answers (batch,): 0 none, 1 to 3 a type, -1 unsure."""
    mask_logits, cells, types = outputs
    half = ops.average_pool(masks, 2)
    return (
        WEIGHTS["masks"] * _mask_loss(half, mask_logits)
        + WEIGHTS["cells"] * _cell_loss(ops.average_pool(half, 2)[..., 0], answers, cells)
        + WEIGHTS["types"] * _type_loss(answers, types)
    )


def _mask_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross entropy, and Dice of each slice that shows a tumour (Milletari 2016)."""
    entropy = ops.softplus(logits) - logits * truth
    likely, axes = ops.sigmoid(logits), (1, 2, 3)
    overlap, size = ops.sum(likely * truth, axis=axes), ops.sum(likely + truth, axis=axes)
    shown = ops.cast(ops.sum(truth, axis=axes) > 0, "float32")
    dice = shown * (1 - (2 * overlap + 1) / (size + 1))
    return 5 * ops.mean(entropy * (1 + (RARE - 1) * truth)) + ops.sum(dice) / (ops.sum(shown) + 1)


def _cell_loss(cover: tf.Tensor, answers: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Each cell under the mask names the type; slices count alike, whatever their tumour's size."""
    wanted = ops.one_hot(ops.maximum(answers - 1, 0), TYPES)[:, None, None, :]
    entropy = -ops.sum(wanted * ops.log_softmax(cells, axis=-1), axis=-1)
    each = ops.sum(entropy * cover, axis=(1, 2)) / (ops.sum(cover, axis=(1, 2)) + 1e-3)
    return _mean(each, answers > 0)


def _type_loss(answers: tf.Tensor, types: tf.Tensor) -> tf.Tensor:
    """Cross entropy over "none" (logit 0) and the types, labels smoothed."""
    logits = ops.concatenate([ops.zeros_like(types[:, :1]), types], axis=1)
    wanted = ops.one_hot(ops.maximum(answers, 0), TYPES + 1)
    wanted = wanted * (1 - SMOOTHING) + SMOOTHING / (TYPES + 1)
    return _mean(-ops.sum(wanted * ops.log_softmax(logits, axis=-1), axis=-1), answers >= 0)


def _mean(values: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    counted = ops.cast(counted, "float32")
    return ops.sum(values * counted) / ops.maximum(ops.sum(counted), 1.0)
