"""Medians of windows: of small ones by a selection network in registers, of large ones bit by bit.

A sorting network (Batcher's odd-even merge, Knuth volume 3, algorithm 5.2.2M) is cut down to the
comparators that the middle depends on: 20 of 26 for 3x3. The median of many numbers is the largest
number that no more than half of them are below: its bits are found from the highest on, each by
a count over the window, which takes no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap

from minigraph.backends.cupy.call import Binding, Call, Lowering, blocks_for, index_type, simple
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.images import block, pixel_of_thread, step_names, steps
from minigraph.ir.spec import DType
from minigraph.ops.geometry import Pair
from minigraph.ops.median import MedianPool2d
from minigraph.ops.selection_network import selection_network

_MOST_IN_REGISTERS = 25  # elements of a window


@dataclass(frozen=True)
class MedianPool(KernelCode):
    """Medians, and (if wanted) the place of the first element of each window that equals it.

    A window with a NaN gives NaN, at place 0.
    """

    dtype: DType
    positions: DType | None
    kernel: Pair | None  # of a small window; otherwise an argument
    index: str

    comment = "medians of windows: a thread takes one channel of one"

    @property
    def pointers(self) -> list[str]:
        kind = STORED[self.dtype]
        found = [f"const {kind}* x", f"{kind}* y"]
        return found if self.positions is None else [*found, f"{STORED[self.positions]}* position"]

    @property
    def sizes(self) -> list[str]:
        strides = [*step_names("y"), *([] if self.positions is None else step_names("position"))]
        return [
            "images", "channels", "windows_down", "windows_across",
            *(["rows", "columns"] if self.kernel is None else []),
            "x_image", "x_window_down", "x_window_across", "x_place_down", "x_place_across",
            *strides,
        ]  # fmt: skip

    def body(self) -> str:
        index, of = self.index, COMPUTED[self.dtype]
        kernel = self.kernel
        at = "place / columns * x_place_down + place % columns * x_place_across"
        return block(
            f"constexpr int rows = {kernel[0]}, columns = {kernel[1]};" if kernel else "",
            pixel_of_thread(index, 1, "i", "j", ("windows_down", "windows_across")),
            "x += n * x_image + i * x_window_down + j * x_window_across + c;",
            f"const auto element = [=]({index} place) -> {of} {{",
            f"    return {loaded(f'x[{at}]', self.dtype)};",
            "};",
            self._bit_by_bit() if kernel is None else self._in_registers(kernel),
            "const auto pixel = n * y_image + i * y_row + j * y_pixel + c;",
            f"y[pixel] = {stored('median', self.dtype)};",
            "" if self.positions is None else self._position(self.positions),
        )

    def _in_registers(self, kernel: Pair) -> str:
        of, count = COMPUTED[self.dtype], kernel[0] * kernel[1]
        network = " ".join(
            f"order(wire[{low}],\xa0wire[{high}]);" for low, high in selection_network(count)
        )
        return f"""\
{of} wire[{count}];
bool is_nan = false;
#pragma unroll
for (int place = 0; place < {count}; ++place) {{
    wire[place] = element(place);
    is_nan |= wire[place] != wire[place];
}}
const auto order = []({of}& a, {of}& b) {{
    const {of} smaller = b < a ? b : a;
    b = b < a ? a : b;
    a = smaller;
}};
{chr(10).join(wrap(network, 94)).replace(chr(0xA0), " ")}
const {of} median = is_nan ? ({of})NAN : wire[{count // 2}];"""

    def _bit_by_bit(self) -> str:
        """Numbers as unsigned ones of the same order: the sign's bit flipped, or, of negative
        numbers, all bits."""
        of, index = COMPUTED[self.dtype], self.index
        if of == "double":
            bits, high = "unsigned long long", "1ull << 63"
            to_bits, from_bits = "__double_as_longlong", "__longlong_as_double"
        else:
            bits, high = "unsigned", "1u << 31"
            to_bits, from_bits = "__float_as_uint", "__uint_as_float"
        return f"""\
constexpr {bits} sign = {high};
const {index} count = rows * columns;
bool is_nan = false;
for ({index} place = 0; place < count; ++place) is_nan |= element(place) != element(place);
{bits} found = 0;
for ({bits} bit = sign; bit != 0; bit >>= 1) {{
    {index} below = 0;
    for ({index} place = 0; place < count; ++place) {{
        const {bits} key = {to_bits}(element(place));
        below += (key & sign ? ~key : key | sign) < (found | bit);
    }}
    if (below <= count / 2) found |= bit;
}}
const {of} number = {from_bits}(found & sign ? found ^ sign : ~found);
const {of} median = is_nan ? ({of})NAN : number;"""

    def _position(self, dtype: DType) -> str:
        return f"""\
{self.index} where = 0;
for ({self.index} place = rows * columns - 1; place >= 0; --place)
    if (element(place) == median) where = place;
const auto there = n * position_image + i * position_row + j * position_pixel + c;
position[there] = ({STORED[dtype]})where;"""


def _median(binding: Binding) -> list[Call]:
    (x,), (y, positions), op = binding.inputs, binding.outputs, binding.op
    assert y is not None
    if y.spec.size == 0:
        return []
    results = (y,) if positions is None else (y, positions)
    is_small = op.kernel[0] * op.kernel[1] <= _MOST_IN_REGISTERS
    code = MedianPool(
        dtype=x.spec.dtype,
        positions=None if positions is None else positions.spec.dtype,
        kernel=op.kernel if is_small else None,
        index=index_type(x, *results),
    )
    down, across = x.strides[2:]
    sizes = (
        *x.spec.shape[:2],
        *y.spec.shape[2:],
        *(() if is_small else op.kernel),
        *(x.strides[0], down * op.stride[0], across * op.stride[1]),
        *(down * op.dilation[0], across * op.dilation[1]),
        *(step for slot in results for step in steps(slot)),
    )
    return [Call(code, (x,), results, sizes, blocks_for(y.spec.size, code.threads))]


LOWERINGS: Mapping[type, Lowering] = {MedianPool2d: simple(_median)}
