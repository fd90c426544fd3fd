"""Measured accuracy of the algorithms: max|error| / max|result|, normally distributed operands.

In float32, over the layers of a U-Net, ResNet-18, LeNet and single-channel toys: direct algorithms
4e-8 to 9e-7, F(4, 3) along the rows 2e-7 to 3.6e-6. The bounds leave a third on top.
"""

from __future__ import annotations

import numpy as np

from minigraph.ops.geometry import ConvGeometry


def direct_error(geometry: ConvGeometry, dtype: np.dtype) -> float:
    """Of algorithms that add up the products as the definition does."""
    return 10 * float(np.finfo(dtype).eps)


def winograd_error(geometry: ConvGeometry, dtype: np.dtype) -> float:
    """Of F(4, 3) along one axis: its transforms have coefficients up to 8."""
    return 40 * float(np.finfo(dtype).eps)
