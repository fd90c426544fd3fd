"""Max pooling with positions, its gradient, and the gradient's gradient.

The gradient does not scatter: each element of the image sums, window by window in a fixed order,
what the windows that chose it have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
from minigraph.ops import pool, unpool
from minigraph.ops.pool import Window


@dataclass(frozen=True)
class MaxPool(KernelCode):
    """Maxima of windows, and where they lie; the first of equals, and the first NaN.

    A position counts the places of the window, or (``flat``) the elements of the image.
    """

    dtype: DType
    positions: DType | None
    flat: bool
    window: KnownWindow | None
    width: int  # channels of a thread
    index: str

    @property
    def comment(self) -> str:
        what = "maxima" if self.positions is None else "maxima and their positions"
        return f"{what} of windows (channels a thread: {self.width})"

    @property
    def pointers(self) -> list[str]:
        kind = STORED[self.dtype]
        found = [f"const {kind}* x", f"{kind}* y"]
        return found if self.positions is None else [*found, f"{STORED[self.positions]}* position"]

    @property
    def sizes(self) -> list[str]:
        names = ["x", "y"] if self.positions is None else ["x", "y", "position"]
        strides = [step for name in names for step in step_names(name)]
        return ["images", "channels", *window_names(self.window), *strides]

    def body(self) -> str:
        width, of = self.width, COMPUTED[self.dtype]
        lowest = literal(float("-inf"), self.dtype)
        counts = self.positions is not None
        return block(
            declared(self.window),
            pixel_of_thread(self.index, width, "i", "j", ("windows_down", "windows_across")),
            "x += n * x_image + c;",
            f"{of} best[pack];",
            f"{EACH} best[k] = {lowest};",
            f"{self.index} where[pack];" if counts else "",
            f"{EACH} where[k] = -1;  // nothing yet" if counts else "",
            covered_pixels(self.index, self.window, self._compare()),
            store_pixel("y", self.dtype, "i", "j", "best[k]"),
            store_pixel("position", self.positions, "i", "j", "where[k]") if self.positions else "",
        )

    def _compare(self) -> str:
        element = loaded("elements.at[k]", self.dtype)
        lines = "const auto elements = load_pack<pack>(x + h * x_row + w * x_pixel);\n"
        if self.positions is None:
            return f"{lines}{EACH} best[k] = maximum(best[k], {element});"
        number = "h * width + w" if self.flat else "u * columns + v"
        return f"""{lines}{EACH} {{
    const {COMPUTED[self.dtype]} value = {element};
    const bool is_first_nan = value != value && best[k] == best[k];
    if (where[k] < 0 || value > best[k] || is_first_nan) {{
        best[k] = value;
        where[k] = {number};
    }}
}}"""


@dataclass(frozen=True)
class ChosenSum(KernelCode):
    """``x[h, w] = sum of y[i, j]`` of the windows that chose (h, w): max pooling's gradient."""

    dtype: DType
    positions: DType
    window: KnownWindow | None
    width: int  # channels of a thread
    index: str

    @property
    def comment(self) -> str:
        return f"sums of the windows that chose a pixel (channels a thread: {self.width})"

    @property
    def pointers(self) -> list[str]:
        kind = STORED[self.dtype]
        return [f"const {kind}* y", f"const {STORED[self.positions]}* position", f"{kind}* x"]

    @property
    def sizes(self) -> list[str]:
        strides = [step for name in ("y", "position", "x") for step in step_names(name)]
        return ["images", "channels", *window_names(self.window), *strides]

    def body(self) -> str:
        width, of = self.width, COMPUTED[self.dtype]
        zero = literal(0, self.dtype)
        element = loaded("elements.at[k]", self.dtype)
        add = f"""\
const auto elements = load_pack<pack>(y + i * y_row + j * y_pixel);
const auto chosen = load_pack<pack>(position + i * position_row + j * position_pixel);
{EACH} total[k] += chosen.at[k] == u * columns + v ? {element} : {zero};"""
        return block(
            declared(self.window),
            pixel_of_thread(self.index, width, "h", "w", ("height", "width")),
            "y += n * y_image + c;",
            "position += n * position_image + c;",
            f"{of} total[pack];",
            f"{EACH} total[k] = {zero};",
            covering_windows(self.index, add),
            store_pixel("x", self.dtype, "h", "w", "total[k]"),
        )


@dataclass(frozen=True)
class Chosen(KernelCode):
    """``y[i, j] = x`` at the window's position; 0 where that is not in the image."""

    dtype: DType
    positions: DType
    index: str

    comment = "elements of windows at given positions: a thread takes one channel"

    @property
    def pointers(self) -> list[str]:
        kind = STORED[self.dtype]
        return [f"const {kind}* x", f"const {STORED[self.positions]}* position", f"{kind}* y"]

    @property
    def sizes(self) -> list[str]:
        strides = [step for name in ("x", "position", "y") for step in step_names(name)]
        return ["images", "channels", *window_names(None), *strides]

    def body(self) -> str:
        index = self.index
        at = "n * position_image + i * position_row + j * position_pixel + c"
        return f"""
{pixel_of_thread(index, 1, "i", "j", ("windows_down", "windows_across"))}
const {index} place = position[{at}];
const {index} h = i * down - top + place / columns * row_dilation;
const {index} w = j * across - left + place % columns * column_dilation;
{STORED[self.dtype]} element{{}};
if (h >= 0 && h < height && w >= 0 && w < width)
    element = x[n * x_image + h * x_row + w * x_pixel + c];
y[n * y_image + i * y_row + j * y_pixel + c] = element;
"""


# ---- calls


def _pool(binding: Binding) -> list[Call]:
    (x,), (y, positions), op = binding.inputs, binding.outputs, binding.op
    assert y is not None
    if y.spec.size == 0:
        return []
    results = (y,) if positions is None else (y, positions)
    width = channel_pack(x, *results)
    code = MaxPool(
        dtype=x.spec.dtype,
        positions=None if positions is None else positions.spec.dtype,
        flat=isinstance(op, unpool.MaxPool2dWithPositions),
        window=known_window(op),
        width=width,
        index=index_type(x, *results),
    )
    sizes = _sizes(op, code.window, x, y, (x, *results))
    return [Call(code, (x,), results, sizes, blocks_for(y.spec.size // width, code.threads))]


def _sizes(
    op: Window, known: KnownWindow | None, image: Slot, pooled: Slot, places: tuple[Slot, ...]
) -> tuple[int, ...]:
    window = window_sizes(op, known, image.spec.shape[2:], pooled.spec.shape[2:])
    return (*image.spec.shape[:2], *window, *(step for place in places for step in steps(place)))


def _scatter(binding: Binding) -> list[Call]:
    (gy, positions), gx, op = binding.inputs, binding.output, binding.op
    if gx.spec.size == 0:
        return []
    slots = (gy, positions, gx)
    width = channel_pack(*slots)
    code = ChosenSum(
        gx.spec.dtype, positions.spec.dtype, known_window(op), width, index_type(*slots)
    )
    blocks = blocks_for(gx.spec.size // width, code.threads)
    return [Call(code, (gy, positions), (gx,), _sizes(op, code.window, gx, gy, slots), blocks)]


def _gather(binding: Binding) -> list[Call]:
    (x, positions), y, op = binding.inputs, binding.output, binding.op
    if y.spec.size == 0:
        return []
    slots = (x, positions, y)
    code = Chosen(y.spec.dtype, positions.spec.dtype, index_type(*slots))
    blocks = blocks_for(y.spec.size, code.threads)
    return [Call(code, (x, positions), (y,), _sizes(op, None, x, y, slots), blocks)]


LOWERINGS: Mapping[type, Lowering] = {
    pool.MaxPool2d: simple(_pool),
    pool.MaxPool2dScatter: simple(_scatter),
    pool.MaxPool2dGather: simple(_gather),
    unpool.MaxPool2dWithPositions: simple(_pool),
}
