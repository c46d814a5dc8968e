"""Where in an image the patient is: what lies beyond is air, padding, or written beside them."""

import numpy as np
from scipy import ndimage

from dicom_node.domain.arrays import BoolArray, FloatArray

DARK = 0.1
"""Part of the image's range up to which a pixel may be background, if the border reaches it."""
HOLE_PIXELS = 2


def body(image: FloatArray) -> BoolArray:
    """(rows, columns) of one image, (rows, columns): its largest part that is not background.

    Background is dark and connected to the border. A projection image that the patient fills has
    none; nor has a flat image: all of it is body.
    """
    low, high = np.quantile(image, (0.01, 0.99))
    dark, count = ndimage.label(image <= low + DARK * (high - low))
    border = np.unique(np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]]))
    background = np.isin(dark, border[border > 0])
    if high <= low or count == 0 or not background.any():
        return np.ones(image.shape, bool)
    parts, count = ndimage.label(ndimage.binary_opening(~background, iterations=HOLE_PIXELS))
    if count == 0:
        return np.ones(image.shape, bool)
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return np.asarray(ndimage.binary_fill_holes(largest))
