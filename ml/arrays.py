"""Names of the array types used throughout, and the check of a series. Any thread; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def finite_series(values: FloatArray) -> FloatArray:
    """Return the values; raises `ValueError` unless they are finite numbers in one dimension."""
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("a series of finite numbers is needed")
    return values
