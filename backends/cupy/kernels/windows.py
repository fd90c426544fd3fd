"""Windows that slide over images, in CUDA C: what a window covers, and which windows cover a pixel.

Place u of window i lies on element ``i * stride - padding + u * dilation`` of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent

from minigraph.ops.geometry import Pair
from minigraph.ops.pool import Window

_NAMES = ("rows", "columns", "down", "across", "row_dilation", "column_dilation")
_LARGEST_KNOWN = 3  # kernel


@dataclass(frozen=True)
class KnownWindow:
    """A window that is written into the text: loops over it are unrolled, divisions are cheap."""

    kernel: Pair
    stride: Pair


def known_window(op: Window) -> KnownWindow | None:
    """The usual windows: square, and up to 3x3; all others are arguments of one kernel."""
    square = op.kernel[0] == op.kernel[1] and op.stride[0] == op.stride[1]
    if not square or op.dilation != (1, 1) or max(*op.kernel, *op.stride) > _LARGEST_KNOWN:
        return None
    return KnownWindow(op.kernel, op.stride)


def window_names(known: KnownWindow | None) -> list[str]:
    """The arguments for ``window_sizes``."""
    own = _NAMES if known is None else ()
    return ["height", "width", "windows_down", "windows_across", "top", "left", *own]


def window_sizes(
    op: Window, known: KnownWindow | None, size: Sequence[int], windows: Sequence[int]
) -> tuple[int, ...]:
    """For an image of this height and width, and so many windows down and across."""
    (top, _), (left, _) = op.explicit_padding(size)
    own = (*op.kernel, *op.stride, *op.dilation) if known is None else ()
    return (*size, *windows, top, left, *own)


def declared(known: KnownWindow | None) -> str:
    """A known window's numbers under the names that the arguments have."""
    if known is None:
        return ""
    numbers = (*known.kernel, *known.stride, 1, 1)
    named = ", ".join(f"{name} = {n}" for name, n in zip(_NAMES, numbers, strict=True))
    return f"constexpr int {named};"


def covered_pixels(index: str, known: KnownWindow | None, body: str) -> str:
    """Runs ``body`` for every place (u, v) of window (i, j) whose pixel (h, w) is in the image."""
    unroll = "" if known is None else "#pragma unroll\n"
    columns = f"""\
const {index} w = j * across - left + v * column_dilation;
if (w < 0 || w >= width) continue;
{body}"""
    rows = f"""\
const {index} h = i * down - top + u * row_dilation;
if (h < 0 || h >= height) continue;
{unroll}for ({index} v = 0; v < columns; ++v) {{
{indent(columns, "    ")}
}}"""
    return f"{unroll}for ({index} u = 0; u < rows; ++u) {{\n{indent(rows, '    ')}\n}}"


def covering_windows(index: str, body: str) -> str:
    """Runs ``body`` for every window (i, j) whose place (u, v) lies on pixel (h, w), in order."""
    columns = f"""\
const {index} v = (w + left - j * across) / column_dilation;
if (j * across - left + v * column_dilation != w) continue;
{body}"""
    rows = f"""\
const {index} u = (h + top - i * down) / row_dilation;
if (i * down - top + u * row_dilation != h) continue;
for ({index} j = first_across; j <= last_across; ++j) {{
{indent(columns, "    ")}
}}"""
    return "\n".join(
        [
            _range(index, "down", "h + top", "(rows - 1) * row_dilation + 1"),
            _range(index, "across", "w + left", "(columns - 1) * column_dilation + 1"),
            f"for ({index} i = first_down; i <= last_down; ++i) {{\n{indent(rows, '    ')}\n}}",
        ]
    )


def _range(index: str, stride: str, element: str, reach: str) -> str:
    """The first and the last window along an axis that may cover an element.

    They start at ``element - (reach - 1)``, or at the next multiple of the stride, or later, and at
    ``element``, or earlier.
    """
    return f"""\
const {index} past_{stride} = {element} - ({reach});
const {index} first_{stride} = past_{stride} < 0 ? 0 : past_{stride} / {stride} + 1;
const {index} last_{stride} = minimum<{index}>(({element}) / {stride}, windows_{stride} - 1);"""
