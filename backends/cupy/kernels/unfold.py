"""Windows to columns and back, by way of tiles in shared memory.

Images have channels innermost, columns have positions. A block takes 32 positions of up to 32
channels: threads follow the one order as they read and the other as they write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import indent

from minigraph.backends.cupy.call import Binding, Call, Lowering, blocks_for, index_type, simple
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.expressions import literal
from minigraph.backends.cupy.kernels.images import step_names, steps
from minigraph.backends.cupy.kernels.windows import (
    covering_windows,
    window_names,
    window_sizes,
)
from minigraph.ir.spec import DType
from minigraph.ops import unfold

_TILE = 32  # positions of a tile; channels at most


@dataclass(frozen=True)
class Unfold(KernelCode):
    """``y[n, (c, u, v), (i, j)] = x[n, c, h, w]``, or 0: a block has one place (u, v)."""

    dtype: DType
    index: str

    comment = "windows as columns: a block takes 32 windows, and channels, of one place in them"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* x", f"{STORED[self.dtype]}* y"]

    @property
    def sizes(self) -> list[str]:
        steps_of_y = ["y_image", "y_line", "y_position"]
        return [
            "channels", "tile_channels", *window_names(None), *step_names("x"), *steps_of_y
        ]  # fmt: skip

    def body(self) -> str:
        index, kind = self.index, STORED[self.dtype]
        return f"""
__shared__ {kind} tile[32][33];
const {index} positions = windows_down * windows_across, places = rows * columns;
{_tile_of_block(index, "positions")}
const {index} place = rest % places, n = rest / places;
const {index} u = place / columns, v = place % columns;
for ({index} e = threadIdx.x; e < 32 * tile_channels; e += {self.threads}) {{
    const {index} c = e % tile_channels, p = e / tile_channels;
    const {index} i = (first + p) / windows_across, j = (first + p) % windows_across;
    const {index} h = i * down - top + u * row_dilation;
    const {index} w = j * across - left + v * column_dilation;
    {kind} element{{}};
    if (i < windows_down && first_channel + c < channels
            && h >= 0 && h < height && w >= 0 && w < width)
        element = x[n * x_image + h * x_row + w * x_pixel + first_channel + c];
    tile[c][p] = element;
}}
__syncthreads();
for ({index} e = threadIdx.x; e < 32 * tile_channels; e += {self.threads}) {{
    const {index} c = e / 32, p = e % 32, line = (first_channel + c) * places + place;
    if (first + p < positions && first_channel + c < channels)
        y[n * y_image + line * y_line + (first + p) * y_position] = tile[c][p];
}}
"""


@dataclass(frozen=True)
class Fold(KernelCode):
    """``x[n, c, h, w] = sum of y[n, (c, u, v), (i, j)]`` over the windows with (h, w), in order."""

    dtype: DType
    index: str

    comment = "columns added back to images: a block takes 32 pixels of 32 channels"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* y", f"{STORED[self.dtype]}* x"]

    @property
    def sizes(self) -> list[str]:
        steps_of_y = ["y_image", "y_line", "y_position"]
        return [
            "channels", "tile_channels", *window_names(None), *steps_of_y, *step_names("x")
        ]  # fmt: skip

    def body(self) -> str:
        index, of = self.index, COMPUTED[self.dtype]
        element = "column[(u * columns + v) * y_line + (i * windows_across + j) * y_position]"
        loops = covering_windows(index, f"total += {loaded(element, self.dtype)};")
        return f"""
__shared__ {of} tile[32][33];
const {index} pixels = height * width;
{_tile_of_block(index, "pixels")}
const {index} n = rest;
for ({index} e = threadIdx.x; e < 32 * tile_channels; e += {self.threads}) {{
    const {index} c = e / 32, p = e % 32;
    const {index} h = (first + p) / width, w = (first + p) % width;
    if (h >= height || first_channel + c >= channels) continue;
    const auto* column = y + n * y_image + (first_channel + c) * rows * columns * y_line;
    {of} total = {literal(0, self.dtype)};
{indent(loops, "    ")}
    tile[p][c] = total;
}}
__syncthreads();
for ({index} e = threadIdx.x; e < 32 * tile_channels; e += {self.threads}) {{
    const {index} c = e % tile_channels, p = e / tile_channels;
    const {index} h = (first + p) / width, w = (first + p) % width;
    if (h < height && first_channel + c < channels)
        x[n * x_image + h * x_row + w * x_pixel + first_channel + c] = {
            stored("tile[p][c]", self.dtype)
        };
}}
"""


def _tile_of_block(index: str, positions: str) -> str:
    """Where this block's tile begins; ``rest`` is what else its number tells."""
    return f"""\
const {index} tiles = ({positions} + 31) / 32;
const {index} channel_tiles = (channels + tile_channels - 1) / tile_channels;
{index} rest = blockIdx.x;
const {index} first = rest % tiles * 32;
rest /= tiles;
const {index} first_channel = rest % channel_tiles * tile_channels;
rest /= channel_tiles;"""


# ---- calls


def _unfold(binding: Binding) -> list[Call]:
    (x,), y, op = binding.inputs, binding.output, binding.op
    if y.spec.size == 0:
        return []
    n, channels, *windows = op.pooled_shape(x.spec)
    span = min(channels, _TILE)
    code = Unfold(x.spec.dtype, index_type(x, y))
    window = window_sizes(op, None, x.spec.shape[2:], windows)
    sizes = (channels, span, *window, *steps(x), *y.strides)
    places = op.kernel[0] * op.kernel[1]
    tiles = blocks_for(windows[0] * windows[1], _TILE) * blocks_for(channels, span)
    return [Call(code, (x,), (y,), sizes, n * places * tiles)]


def _fold(binding: Binding) -> list[Call]:
    (columns,), x, op = binding.inputs, binding.output, binding.op
    if x.spec.size == 0:
        return []
    n, channels, *size = x.spec.shape
    span = min(channels, _TILE)
    code = Fold(x.spec.dtype, index_type(columns, x))
    window = window_sizes(op, None, size, op.pooled_shape(x.spec)[2:])
    sizes = (channels, span, *window, *columns.strides, *steps(x))
    tiles = blocks_for(size[0] * size[1], _TILE) * blocks_for(channels, span)
    return [Call(code, (columns,), (x,), sizes, n * tiles)]


LOWERINGS: Mapping[type, Lowering] = {
    unfold.Unfold2d: simple(_unfold),
    unfold.Fold2d: simple(_fold),
}
