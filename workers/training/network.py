"""The reference network: a small U-Net whose decoder features feed both heads.

Explainable by design. The classification head is a 1 × 1 convolution without bias on the decoder
features, so that each tile has a logit of its own, pooled over tiles by log-sum-exp (Pinheiro and
Collobert 2015). Grad-CAM on ``features`` is then the map of those tile logits.
"""

import keras
from keras import KerasTensor, layers, ops

WIDTHS = (8, 24, 40, 48)
BOTTOM = 48
TISSUE, DEVIATION = 0.5, 0.15
"""Of windowed input: soft tissue becomes 0, and a lesion's contrast about 1."""
FEATURES, TILES, LOGIT, MASKS = "features", "tiles", "lesion_logit", "mask_logits"


def build(side: int, segments: int) -> tuple[keras.Model, keras.Model]:
    """The network to serve (logit, mask logits), and the same with its tile logits, for training.

    Input float32 (batch, side, side, 1); outputs (batch, 1) and (batch, side, side, segments).
    """
    image = keras.Input((side, side, 1), name="image")
    skips, bottom = _encoder(layers.Rescaling(1 / DEVIATION, -TISSUE / DEVIATION)(image))
    features = _decoder(skips[1:], bottom)
    tiles = layers.Conv2D(1, 1, use_bias=False, name=TILES)(features)
    logit = _pooled(tiles)
    masks = _masks(skips[0], features, segments)
    served = keras.Model(image, [logit, masks], name="phantom_lesion")
    return served, keras.Model(image, [logit, masks, tiles], name="training")


def _encoder(image: KerasTensor) -> tuple[list[KerasTensor], KerasTensor]:
    """The last activation at each scale, finest first, and the coarsest one."""
    skips, values = [], image
    for width in WIDTHS:
        values = _conv(_conv(values, width), width)
        skips.append(values)
        values = layers.MaxPooling2D()(values)
    return skips, _conv(_conv(values, BOTTOM), BOTTOM)


def _decoder(skips: list[KerasTensor], values: KerasTensor) -> KerasTensor:
    """From the coarsest scale to half of the input's resolution."""
    for depth, skip in reversed(list(enumerate(skips))):
        width = skip.shape[-1]
        values = _merge(values, skip, width)
        values = _conv(values, width, FEATURES if depth == 0 else None)
    return values


def _masks(skip: KerasTensor, features: KerasTensor, segments: int) -> KerasTensor:
    values = _merge(features, skip, WIDTHS[0])
    return layers.Conv2D(segments, 1, name=MASKS)(values)


def _pooled(tiles: KerasTensor) -> KerasTensor:
    """The logit of the slice: log-sum-exp of the tiles, scaled and shifted."""
    flat = layers.Flatten()(tiles)
    return layers.Dense(1, kernel_initializer="ones", name=LOGIT)(
        ops.logsumexp(flat, axis=1, keepdims=True)
    )


def _merge(coarse: KerasTensor, skip: KerasTensor, width: int) -> KerasTensor:
    finer = layers.UpSampling2D(interpolation="bilinear")(layers.Conv2D(width, 1)(coarse))
    return _conv(layers.Concatenate()([finer, skip]), width)


def _conv(values: KerasTensor, width: int, name: str | None = None) -> KerasTensor:
    layer = layers.Conv2D(
        width, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name
    )
    return layer(values)
