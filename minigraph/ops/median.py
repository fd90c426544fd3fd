"""Median pooling and the median filter: not linear, so no convolution; good against salt and
pepper.

The gradient goes to the element that was chosen, by its position within the window, as in max
pooling: the same scatter and gather are its derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cotangents, Footprints, Tensors
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.geometry import pair
from minigraph.ops.pad_modes import pad
from minigraph.ops.pool import MaxPool2dScatter, Window


@dataclass(frozen=True)
class MedianPool2d(Window):
    """(N,C,H,W) gives the windows' medians and their positions, the first of equal elements.

    Windows have an odd number of elements and lie inside the image: pad before. A window with a
    NaN gives NaN.
    """

    optional_outputs = (1,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel[0] * self.kernel[1] % 2 == 0:
            raise SpecError(
                f"Expected an odd kernel, whose median is an element, got {self.kernel}"
            )
        if self.padding != ((0, 0), (0, 0)) or self.ceil_mode:
            raise SpecError(
                f"Expected windows inside the image, got padding {self.padding}, "
                f"ceil_mode={self.ceil_mode}: use mg.pad before"
            )

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        shape = self.pooled_shape(x)
        return x.with_shape(shape), TensorSpec(shape, self.position_dtype)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (_, positions), (g, _) = inputs, outputs, grads
        return g.builder.emit(
            MaxPool2dScatter(*self.window, (x.shape[2], x.shape[3])), g, positions
        )

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (self.footprint(axis, x),)


def median_filter2d(
    x: Tensor, kernel: int | Sequence[int] = 3, *, padding: str = "reflect"
) -> Tensor:
    """The median of the window around each pixel of each map: (N,C,H,W) keeps its shape.

    The kernel is odd. What lies beyond the border is the image ``"reflect"``-ed about its outermost
    pixels, ``"replicate"``-d (SciPy's "nearest"), ``"circular"``, or zeros (``"zero"``).
    """
    height, width = pair(kernel)
    if height % 2 == 0 or width % 2 == 0:
        raise SpecError(f"Expected an odd kernel, which has a centre, got {(height, width)}")
    if padding not in ("zero", "reflect", "replicate", "circular"):
        raise SpecError(
            f"Expected a padding of zero, reflect, replicate or circular, got {padding!r}"
        )
    if x.ndim != 4:
        raise SpecError(f"Expected images (N,C,H,W), got {x.spec}")
    rows, columns = height // 2, width // 2
    borders = [(0, 0), (0, 0), (rows, rows), (columns, columns)]
    padded = pad(x, borders, mode="constant" if padding == "zero" else padding)
    return x.builder.emit(MedianPool2d((height, width), (1, 1)), padded)[0]
