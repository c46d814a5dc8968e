"""Pieces of the small networks."""

from keras import KerasTensor, layers


def encoder(image: KerasTensor, widths: tuple[int, ...] = (8, 16, 24, 32)) -> KerasTensor:
    """Two convolutions at each scale, half the size from each to the next."""
    values = image
    for depth, width in enumerate(widths):
        values = convolution(values, width)
        last = depth == len(widths) - 1
        values = convolution(values, width, "features" if last else None)
        values = values if last else layers.MaxPooling2D()(values)
    return values


def convolution(values: KerasTensor, width: int, name: str | None = None) -> KerasTensor:
    """3 × 3, normalised, above 0."""
    values = layers.Conv2D(width, 3, padding="same", use_bias=False)(values)
    return layers.ReLU(name=name)(layers.BatchNormalization()(values))
