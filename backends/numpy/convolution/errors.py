"""Measured accuracy of the algorithms: max|error| / max|result|, normally distributed operands."""

from __future__ import annotations

import numpy as np

from minigraph.ops.geometry import ConvGeometry


def direct_error(geometry: ConvGeometry, dtype: np.dtype) -> float:
    """Of algorithms that add up the products as the definition does."""
    return 8 * float(np.finfo(dtype).eps)


def winograd_error(geometry: ConvGeometry, dtype: np.dtype) -> float:
    """Of F(4, 3) along one axis: its transforms have coefficients up to 8."""
    return 64 * float(np.finfo(dtype).eps)
