"""The convolution algorithms of the NumPy backend, one tuple for each direction.

The compiler's choice is the `supports`-ed row with an acceptable `relative_error` and the smallest
`seconds`. The last row of each tuple handles every geometry.
"""

from __future__ import annotations

from minigraph.backends.numpy.convolution.algorithm import ConvAlgorithm
from minigraph.backends.numpy.convolution.col2im import COL2IM
from minigraph.backends.numpy.convolution.im2col import IM2COL
from minigraph.backends.numpy.convolution.im2col_flipped import IM2COL_FLIPPED
from minigraph.backends.numpy.convolution.im2col_weight import IM2COL_WEIGHT
from minigraph.backends.numpy.convolution.pointwise import POINTWISE, POINTWISE_INPUT_GRADIENT
from minigraph.backends.numpy.convolution.winograd import WINOGRAD, WINOGRAD_INPUT_GRADIENT
from minigraph.backends.numpy.convolution.winograd_weight import WINOGRAD_WEIGHT

#: (x, w) -> y
FORWARD: tuple[ConvAlgorithm, ...] = (POINTWISE, WINOGRAD, IM2COL)

#: (gy, w) -> gx; also the transposed convolution
INPUT_GRADIENT: tuple[ConvAlgorithm, ...] = (
    POINTWISE_INPUT_GRADIENT,
    WINOGRAD_INPUT_GRADIENT,
    IM2COL_FLIPPED,
    COL2IM,
)

#: (x, gy) -> gw
WEIGHT_GRADIENT: tuple[ConvAlgorithm, ...] = (WINOGRAD_WEIGHT, IM2COL_WEIGHT)
