"""Average pooling and its gradient, which sums what each element's windows have, in order.

What a window's sum is divided by is a product of two numbers, which follow from its row and from
its column: their inverses are tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Binding, Call, Lowering, blocks_for, index_type, simple
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded
from minigraph.backends.cupy.kernels.expressions import literal
from minigraph.backends.cupy.kernels.images import (
    EACH,
    block,
    channel_pack,
    pixel_of_thread,
    step_names,
    steps,
    store_pixel,
)
from minigraph.backends.cupy.kernels.windows import (
    KnownWindow,
    covered_pixels,
    covering_windows,
    declared,
    known_window,
    window_names,
    window_sizes,
)
from minigraph.ir.spec import DType
from minigraph.ops import pool
from minigraph.places import Table


@dataclass(frozen=True)
class AveragePool(KernelCode):
    """Sums over windows, each times the weights of its row and column; or the adjoint of that.

    y[i, j] = row_weight[i] column_weight[j] sum of x[h, w] over the window (i, j), or
    y[h, w] = sum of row_weight[i] column_weight[j] x[i, j] over the windows with (h, w).
    """

    dtype: DType
    is_adjoint: bool
    window: KnownWindow | None
    width: int  # channels of a thread
    index: str

    @property
    def comment(self) -> str:
        what = "the gradient of means of windows" if self.is_adjoint else "means of windows"
        return f"{what}, {self.width} channels of a pixel a thread"

    @property
    def pointers(self) -> list[str]:
        weight = f"const {COMPUTED[self.dtype]}*"
        kind = STORED[self.dtype]
        return [
            f"{weight} row_weight", f"{weight} column_weight", f"const {kind}* x", f"{kind}* y"
        ]  # fmt: skip

    @property
    def sizes(self) -> list[str]:
        strides = [*step_names("x"), *step_names("y")]
        return ["images", "channels", *window_names(self.window), *strides]

    def body(self) -> str:
        index, width, of = self.index, self.width, COMPUTED[self.dtype]
        element = loaded("elements.at[k]", self.dtype)
        weight = f"const {of} weight = row_weight[i] * column_weight[j];"
        if self.is_adjoint:
            row, column, size = "h", "w", ("height", "width")
            load = "const auto elements = load_pack<pack>(x + i * x_row + j * x_pixel);"
            add = f"{EACH} total[k] += weight * {element};"
            loops = covering_windows(index, block(weight, load, add))
            result = "total[k]"
        else:
            row, column, size = "i", "j", ("windows_down", "windows_across")
            load = "const auto elements = load_pack<pack>(x + h * x_row + w * x_pixel);"
            add = f"{EACH} total[k] += {element};"
            loops = block(covered_pixels(index, self.window, block(load, add)), weight)
            result = "total[k] * weight"
        return block(
            declared(self.window),
            pixel_of_thread(index, width, row, column, size),
            "x += n * x_image + c;",
            f"{of} total[pack];",
            f"{EACH} total[k] = {literal(0, self.dtype)};",
            loops,
            store_pixel("y", self.dtype, row, column, result),
        )


def _average(binding: Binding) -> list[Call]:
    return _calls(binding.op, binding.inputs[0], binding.output, is_adjoint=False)


def _average_grad(binding: Binding) -> list[Call]:
    return _calls(binding.op, binding.inputs[0], binding.output, is_adjoint=True)


def _calls(op: Any, x: Slot, y: Slot, *, is_adjoint: bool) -> list[Call]:
    if y.spec.size == 0:
        return []
    image, pooled = (y, x) if is_adjoint else (x, y)
    size, windows = image.spec.shape[2:], pooled.spec.shape[2:]
    dtype = x.spec.dtype
    weights = [
        Table(np.array(_weights(op, axis, size, windows[axis]), dtype.accumulator.numpy))
        for axis in (0, 1)
    ]
    width = channel_pack(x, y)
    code = AveragePool(dtype, is_adjoint, known_window(op), width, index_type(x, y))
    window = window_sizes(op, code.window, size, windows)
    sizes = (*x.spec.shape[:2], *window, *steps(x), *steps(y))
    blocks = blocks_for(y.spec.size // width, code.threads)
    return [Call(code, (*weights, x), (y,), sizes, blocks)]


def _weights(op: Any, axis: int, size: Sequence[int], windows: int) -> np.ndarray:
    """One over the number of elements that count along an axis of each window."""
    if op.divisor is not None:
        return np.full(windows, 1.0 / op.divisor if axis == 0 else 1.0)
    low, high = op.explicit_padding(size)[axis]
    first, end = (-low, size[axis] + high) if op.count_include_pad else (0, size[axis])
    places = np.arange(op.kernel[axis]) * op.dilation[axis]
    elements = np.arange(windows)[:, None] * op.stride[axis] - low + places
    return 1.0 / ((elements >= first) & (elements < end)).sum(axis=1)


LOWERINGS: Mapping[type, Lowering] = {
    pool.AvgPool2d: simple(_average),
    pool.AvgPool2dGrad: simple(_average_grad),
}
