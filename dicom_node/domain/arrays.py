"""Arrays by the type of their elements; who holds one says its axes, range and units."""

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
