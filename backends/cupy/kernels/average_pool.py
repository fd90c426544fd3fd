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
class _Averaging(KernelCode):
    """What average pooling and its gradient share: ``row_weight[i] column_weight[j]`` of windows.

    x is read with the strides of what comes, y is written with those of what is made.
    """

    dtype: DType
    window: KnownWindow | None
    width: int  # channels of a thread
    index: str

    @property
    def pointers(self) -> list[str]:
        kind, weight = STORED[self.dtype], f"const {COMPUTED[self.dtype]}*"
        return [
            f"{weight} row_weight", f"{weight} column_weight", f"const {kind}* x", f"{kind}* y"
        ]  # fmt: skip

    @property
    def sizes(self) -> list[str]:
        strides = [*step_names("x"), *step_names("y")]
        return ["images", "channels", *window_names(self.window), *strides]

    def _summed(self, row: str, column: str, size: tuple[str, str], sums: str, result: str) -> str:
        return block(
            declared(self.window),
            pixel_of_thread(self.index, self.width, row, column, size),
            "x += n * x_image + c;",
            f"{COMPUTED[self.dtype]} total[pack];",
            f"{EACH} total[k] = {literal(0, self.dtype)};",
            sums,
            store_pixel("y", self.dtype, row, column, result),
        )

    @property
    def _weight(self) -> str:
        return f"const {COMPUTED[self.dtype]} weight = row_weight[i] * column_weight[j];"

    @property
    def _element(self) -> str:
        return loaded("elements.at[k]", self.dtype)


@dataclass(frozen=True)
class AveragePool(_Averaging):
    """``y[i, j] = weight[i, j] sum of x[h, w]`` over the window (i, j)."""

    @property
    def comment(self) -> str:
        return f"means of windows (channels a thread: {self.width})"

    def body(self) -> str:
        add = block(
            "const auto elements = load_pack<pack>(x + h * x_row + w * x_pixel);",
            f"{EACH} total[k] += {self._element};",
        )
        sums = block(covered_pixels(self.index, self.window, add), self._weight)
        return self._summed("i", "j", ("windows_down", "windows_across"), sums, "total[k] * weight")


@dataclass(frozen=True)
class AveragePoolGradient(_Averaging):
    """``y[h, w] = sum of weight[i, j] x[i, j]`` over the windows with (h, w)."""

    @property
    def comment(self) -> str:
        return f"the gradient of means of windows (channels a thread: {self.width})"

    def body(self) -> str:
        add = block(
            self._weight,
            "const auto elements = load_pack<pack>(x + i * x_row + j * x_pixel);",
            f"{EACH} total[k] += weight * {self._element};",
        )
        sums = covering_windows(self.index, add)
        return self._summed("h", "w", ("height", "width"), sums, "total[k]")


# ---- calls


def _average(binding: Binding) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    return _calls(AveragePool, binding, x, y)


def _average_grad(binding: Binding) -> list[Call]:
    (gy,), gx = binding.inputs, binding.output
    return _calls(AveragePoolGradient, binding, gx, gy)


def _calls(kernel: type[_Averaging], binding: Binding, image: Slot, pooled: Slot) -> list[Call]:
    (x,), y, op = binding.inputs, binding.output, binding.op
    if y.spec.size == 0:
        return []
    size, windows = image.spec.shape[2:], pooled.spec.shape[2:]
    dtype = x.spec.dtype
    weights = [
        Table(_weights(op, axis, size, windows[axis]).astype(dtype.accumulator.numpy))
        for axis in (0, 1)
    ]
    width, known = channel_pack(x, y), known_window(op)
    code = kernel(dtype, known, width, index_type(x, y))
    window = window_sizes(op, known, size, windows)
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
