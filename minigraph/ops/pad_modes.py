"""Padding by what is in the tensor: reflected, replicated or circular; and ``pad`` of all modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Footprints
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integers, is_integer
from minigraph.ops.axis_map import AxisMap, Taps
from minigraph.ops.shape import Pad, Slice

_NAMES = {"edge": "replicate", "wrap": "circular"}  # NumPy's and ONNX's names
_MODES = ("reflect", "replicate", "circular")


@dataclass(frozen=True)
class PadAxis(AxisMap):
    """``low`` and ``high`` elements more along one axis, taken from the tensor itself.

    Of ``a b c d``, two on either side: reflect ``c b | a b c d | c b``, replicate
    ``a a | a b c d | d d``, circular ``c d | a b c d | a b``.
    """

    low: int
    high: int
    mode: str

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise SpecError(f"Expected a mode of constant, {', '.join(_MODES)}, got {self.mode!r}")
        if min(self.low, self.high) < 0:
            raise SpecError(
                f"Expected paddings of zero or more with mode {self.mode!r}, "
                f"got {(self.low, self.high)}"
            )

    def output_size(self, size: int) -> int:
        most = {"reflect": size - 1, "replicate": self.low + self.high, "circular": size}[self.mode]
        if max(self.low, self.high) > most or (size == 0 and self.low + self.high):
            raise SpecError(
                f"Expected paddings of at most {max(most, 0) if size else 0} with mode "
                f"{self.mode!r} along axis {self.axis} of {size} elements, "
                f"got {(self.low, self.high)}"
            )
        return self.low + size + self.high

    def taps(self, size: int) -> Taps:
        place = np.arange(-self.low, size + self.high)
        if self.mode == "reflect":
            place = (size - 1) - np.abs((size - 1) - np.abs(place))
        elif self.mode == "replicate":
            place = np.clip(place, 0, size - 1)
        else:
            place %= max(size, 1)
        return place.astype(np.intp)[None], None

    def along_axis(self, size: int) -> Footprints:
        if self.mode == "circular":
            return None  # each end reads the other
        reflects = self.mode == "reflect"
        border = (self.low + 1, self.high + 1) if reflects else (1, 1)
        return (Footprint(self.axis, 1, -self.low, -self.low, border),)


def pad(
    x: Tensor,
    padding: Sequence[tuple[int, int]],
    value: float = 0.0,
    mode: str = "constant",
) -> Tensor:
    """Pad each axis with ``(low, high)`` elements.

    ``mode`` is ``"constant"`` (elements of ``value``; a negative number of them crops),
    ``"reflect"`` (about the outermost elements, fewer than the axis has), ``"replicate"`` or
    ``"edge"`` (the outermost element), ``"circular"`` or ``"wrap"`` (from the other end, at most
    as many as there are). Raises SpecError.
    """
    if is_integer(padding) or not all(isinstance(p, Sequence) and len(p) == 2 for p in padding):
        raise SpecError(f"Expected a pair (low, high) for each axis, got {padding!r}")
    if isinstance(value, str):
        raise SpecError(f"Expected a number to pad with, got {value!r}: write mode={value!r}")
    low, high = (integers((p[side] for p in padding), "paddings") for side in (0, 1))
    if mode == "constant":
        return _constant(x, low, high, value)
    if len(low) != x.ndim:
        raise SpecError(f"Expected {x.ndim} paddings, got {len(low)}")
    for axis, (before, after) in enumerate(zip(low, high, strict=True)):
        op = PadAxis(axis, before, after, _NAMES.get(mode, mode))
        if before or after:
            (x,) = x.builder.emit(op, x)
    return x


def _constant(x: Tensor, low: tuple[int, ...], high: tuple[int, ...], value: float) -> Tensor:
    if min((*low, *high), default=0) < 0 and len(low) == x.ndim:
        for before, size, after in zip(low, x.shape, high, strict=True):
            if min(before, 0) + min(after, 0) + size < 0:
                raise SpecError(f"Expected to crop at most {size} elements, got {(before, after)}")
        kept = tuple(
            (max(-before, 0), size - max(-after, 0), 1)
            for before, size, after in zip(low, x.shape, high, strict=True)
        )
        (x,) = x.builder.emit(Slice(kept), x)
        low, high = (tuple(max(p, 0) for p in side) for side in (low, high))
    return x.builder.emit(Pad(low, high, (0,) * len(low), value), x)[0]
