"""How matrices of a product lie in memory: operands to load tiles from, results to store.

An operand is a matrix whose columns adjoin, if anything does. Its depth (what is summed over) lies
along its columns or along its rows. Each thread takes packs of ``width`` neighbouring columns; for
pack ``e`` it keeps a state (arrays of ``index`` integers, named after the operand), which follows
from the pack's first row and column and advances by one step along the depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Operand(Protocol):
    """Text pieces; ``x`` is the operand's name in the kernel."""

    @property
    def width(self) -> int: ...

    @property
    def depth_in_columns(self) -> bool: ...

    @property
    def state(self) -> Sequence[str]:
        """Names without the operand's."""

    def sizes(self, x: str) -> list[str]:
        """Names of size arguments."""

    def begin(self, x: str) -> list[str]:
        """Statements that set the state of pack e from ``row`` and ``column``."""

    def locate(self, x: str, index: str) -> list[str]:
        """Statements before ``inside`` and ``address``."""

    def inside(self, x: str) -> str:
        """Condition for there to be anything to read; "" where it always holds."""

    def address(self, x: str) -> str: ...

    def advance(self, x: str, step: int) -> list[str]: ...


@dataclass(frozen=True)
class Matrix:
    """Rows at one distance, columns at another, which may be that of neighbours."""

    width: int
    depth_in_columns: bool
    adjacent: bool = True

    @property
    def state(self) -> Sequence[str]:
        return ("at",)

    def sizes(self, x: str) -> list[str]:
        return [f"{x}_row", *([] if self.adjacent else [f"{x}_column"])]

    def begin(self, x: str) -> list[str]:
        return [f"{x}_at[e] = row * {x}_row + column{self._step(x)};"]

    def locate(self, x: str, index: str) -> list[str]:
        return []

    def inside(self, x: str) -> str:
        return ""

    def address(self, x: str) -> str:
        return f"{x}_at[e]"

    def advance(self, x: str, step: int) -> list[str]:
        along = f"{step}{self._step(x)}" if self.depth_in_columns else f"{step} * {x}_row"
        return [f"{x}_at[e] += {along};"]

    def _step(self, x: str) -> str:
        return "" if self.adjacent else f" * {x}_column"


@dataclass(frozen=True)
class Windows:
    """The matrix of a convolution: rows are windows (image n, i, j), columns (tap r, s, channel).

    Never made: element (window, tap, channel) is read where it lies in the image, or is 0 in the
    padding. Windows are along the depth for gradients of weights.
    """

    width: int
    depth_in_columns: bool

    @property
    def state(self) -> Sequence[str]:
        return ("n", "i", "j", "r", "s", "c")

    def sizes(self, x: str) -> list[str]:
        return [
            "height", "width", "step_h", "step_w", "tap_step_h", "tap_step_w",
            f"{x}_image", f"{x}_line", f"{x}_pixel",
        ]  # fmt: skip

    def begin(self, x: str) -> list[str]:
        return [
            f"{x}_j[e] = row % count_w;",
            f"{x}_i[e] = row / count_w % count_h;",
            f"{x}_n[e] = row / count_w / count_h;",
            *_begin_tap(x, "column"),
        ]

    def locate(self, x: str, index: str) -> list[str]:
        return [
            f"const {index} h = first_h + {x}_i[e] * step_h + {x}_r[e] * tap_step_h;",
            f"const {index} w = first_w + {x}_j[e] * step_w + {x}_s[e] * tap_step_w;",
        ]

    def inside(self, x: str) -> str:
        return "0 <= h && h < height && 0 <= w && w < width"

    def address(self, x: str) -> str:
        return f"{x}_n[e] * {x}_image + h * {x}_line + w * {x}_pixel + {x}_c[e]"

    def advance(self, x: str, step: int) -> list[str]:
        if self.depth_in_columns:
            return _advance_tap(x, step)
        return [
            f"for ({x}_j[e] += {step}; {x}_j[e] >= count_w; {x}_j[e] -= count_w)",
            f"    if (++{x}_i[e] == count_h) {{ {x}_i[e] = 0; ++{x}_n[e]; }}",
        ]


@dataclass(frozen=True)
class Taps:
    """Weights of a transposed convolution: rows are (tap r, s, channel k), columns channels c.

    The taps of one phase are ``first_tap``, ``first_tap + cycle``, ... along each axis.
    """

    width: int
    depth_in_columns = False

    @property
    def state(self) -> Sequence[str]:
        return ("r", "s", "c", "column")

    def sizes(self, x: str) -> list[str]:
        return [f"{x}_channel", f"{x}_line", f"{x}_pixel", "cycle_h", "cycle_w"]

    def begin(self, x: str) -> list[str]:
        return [*_begin_tap(x, "row"), f"{x}_column[e] = column;"]

    def locate(self, x: str, index: str) -> list[str]:
        return [
            f"const {index} r = first_tap_h + {x}_r[e] * cycle_h;",
            f"const {index} s = first_tap_w + {x}_s[e] * cycle_w;",
        ]

    def inside(self, x: str) -> str:
        return ""

    def address(self, x: str) -> str:
        return f"{x}_c[e] * {x}_channel + r * {x}_line + s * {x}_pixel + {x}_column[e]"

    def advance(self, x: str, step: int) -> list[str]:
        return _advance_tap(x, step)


def _begin_tap(x: str, position: str) -> list[str]:
    return [
        f"{x}_c[e] = {position} % channels;",
        f"{x}_s[e] = {position} / channels % taps_w;",
        f"{x}_r[e] = {position} / channels / taps_w;",
    ]


def _advance_tap(x: str, step: int) -> list[str]:
    return [
        f"for ({x}_c[e] += {step}; {x}_c[e] >= channels; {x}_c[e] -= channels)",
        f"    if (++{x}_s[e] == taps_w) {{ {x}_s[e] = 0; ++{x}_r[e]; }}",
    ]
