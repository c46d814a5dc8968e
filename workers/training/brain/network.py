"""The network of ``brain-mr-tumour``: a U-Net that names the type from where it sees the tumour.

Explainable by design. The type is read from the feature cells under the predicted mask, and from
nowhere else: ``logit = presence + Σ attention · W · features``; and both the presence and the
attention are made of the mask, which reads the layer ``evidence``. HiResCAM on ``evidence`` says
where what was seen there raises the logit of a type.

Four answers exclude each other: one for each type, and no tumour, whose logit is 0.
"""

from dataclasses import dataclass

import keras
from keras import KerasTensor, layers, ops

SIDE = 160
TYPES = 3
WIDTHS = (16, 24, 48, 96, 128)
BOTTOM = 128
EVIDENCE, TYPE_LOGITS, MASKS = "evidence", "type_logits", "mask_logits"
READ = 96
FAINT_CELLS = 0.5
"""Mask cells below which the attention fades: no mask, no evidence for a type."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The same weights, asked in two ways."""

    served: keras.Model
    """Image -> logits of the types and of none (batch, 4), mask logits (batch, 80, 80, 1)."""
    training: keras.Model
    """Image -> mask logits, cell logits (batch, 40, 40, 3), and the pooled logits of each type
    against none, whose gradient does not reach the mask."""


def build(side: int = SIDE) -> Networks:
    """Input float32 (batch, side, side, 1), in any units: each slice is brought to z-scores."""
    image = keras.Input((side, side, 1), name="image")
    skips, bottom = _encoder(
        layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False)(image)
    )
    fine, middle = _decoder(skips, bottom)
    masks = layers.Conv2D(1, 1, name=MASKS, bias_initializer=keras.initializers.Constant(-3))(fine)
    features = _conv(layers.SpatialDropout2D(0.2)(middle), READ)
    cells = layers.Conv2D(TYPES, 1, use_bias=False, name="cells")(features)
    presence = layers.Dense(1, kernel_initializer="ones", name="presence")
    served = _with_none(_pooled(masks, cells, presence))
    pooled = _pooled(ops.stop_gradient(masks), cells, presence)
    return Networks(
        served=keras.Model(image, [served, masks], name="brain_mr_tumour"),
        training=keras.Model(image, [masks, cells, pooled], name="training"),
    )


def _encoder(values: KerasTensor) -> tuple[list[KerasTensor], KerasTensor]:
    """The last activation at each scale from half resolution on, and the coarsest one."""
    values = layers.MaxPooling2D()(_conv(values, WIDTHS[0]))
    skips = []
    for width in WIDTHS[1:]:
        values = _conv(_conv(values, width), width)
        skips.append(values)
        values = layers.MaxPooling2D()(values)
    return skips, layers.SpatialDropout2D(0.2)(_conv(_conv(values, BOTTOM), BOTTOM))


def _decoder(skips: list[KerasTensor], values: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Decoder activations at a half and at a quarter of the input's resolution."""
    scales = []
    for skip in reversed(skips):
        width = skip.shape[-1]
        finer = layers.UpSampling2D(interpolation="bilinear")(layers.Conv2D(width, 1)(values))
        name = EVIDENCE if skip is skips[0] else None
        values = _conv(_conv(layers.Concatenate()([finer, skip]), width), width, name)
        scales.append(values)
    wide = layers.UpSampling2D(interpolation="bilinear")(scales[-3])
    return scales[-1], layers.Concatenate()([scales[-2], wide])


def _pooled(masks: KerasTensor, cells: KerasTensor, presence: layers.Dense) -> KerasTensor:
    """Logits of each type against none: mean of the cells under the mask, and the presence."""
    cover = layers.AveragePooling2D(2)(ops.sigmoid(masks))
    share = cover / (ops.sum(cover, axis=(1, 2), keepdims=True) + FAINT_CELLS)
    evidence = layers.Flatten()(layers.AveragePooling2D(2)(masks))
    return presence(ops.logsumexp(evidence, axis=1, keepdims=True)) + ops.sum(
        share * cells, axis=(1, 2)
    )


def _with_none(types: KerasTensor) -> KerasTensor:
    """The logits of the types, and 0 for no tumour."""
    every = layers.Concatenate()([types, ops.zeros_like(types[:, :1])])
    return layers.Activation("linear", name=TYPE_LOGITS)(every)


def _conv(values: KerasTensor, width: int, name: str | None = None) -> KerasTensor:
    linear = layers.Conv2D(
        width, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(values)
    return layers.ReLU(name=name)(layers.BatchNormalization()(linear))
