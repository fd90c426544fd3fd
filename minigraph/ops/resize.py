"""Resizing, nearest and bilinear, and adaptive average pooling: one map along each axis.

Where output ``o`` lies between the inputs, with ``scale`` outputs an input (ONNX Resize's names):

    half_pixel          (o + 0.5) / scale - 0.5                 pixels are areas (torch's default)
    pytorch_half_pixel  the same, but 0 where the output has one element
    half_pixel_symmetric  half_pixel + (inputs - outputs / scale) / 2    centres coincide
    align_corners       o * (inputs - 1) / (outputs - 1)        first and last elements coincide
    asymmetric          o / scale                               upper left corners coincide

Linear interpolation weighs the two neighbours; beyond the first and last element it takes that
element. Nearest takes one, as ``rounding`` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real

import numpy as np

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Footprints
from minigraph.ir.tensor import Tensor
from minigraph.ops.axis_map import AxisMap, Taps
from minigraph.ops.geometry import pair

COORDINATES = (
    "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric",
)  # fmt: skip
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
MODES = ("nearest", "bilinear")


@dataclass(frozen=True)
class ResizeAxis(AxisMap):
    """One axis to ``size`` elements, or to ``floor(scale * size)``: one of the two is None.

    With a size, the scale is ``outputs / inputs``. ``rounding`` matters to nearest alone.
    """

    size: int | None = None
    scale: float | None = None
    mode: str = "nearest"
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"

    def __post_init__(self) -> None:
        if (self.size is None) == (self.scale is None):
            raise SpecError(
                f"Expected a size or a scale, got size={self.size} and scale={self.scale}"
            )
        if self.size is not None and self.size < 1:
            raise SpecError(f"Expected a size of one or more, got {self.size}")
        if self.scale is not None:
            object.__setattr__(self, "scale", float(self.scale))
            if not 0 < self.scale < math.inf:
                raise SpecError(f"Expected a positive scale, got {self.scale}")
        for what, value, known in (
            ("a mode", self.mode, MODES),
            ("coordinates", self.coordinates, COORDINATES),
            ("a rounding", self.rounding, ROUNDINGS),
        ):
            if value not in known:
                raise SpecError(f"Expected {what} of {', '.join(known)}, got {value!r}")

    @property
    def absolute_attributes(self) -> tuple[str, ...]:
        return () if self.size is None else ("size",)

    @property
    def absolute_axes(self) -> tuple[int, ...]:
        return (self.axis,)

    @property
    def moves_only(self) -> bool:
        return self.mode == "nearest"

    def output_size(self, size: int) -> int:
        # A scale such as 0.1 * 30 must not lose an element to rounding.
        result = self.size or math.floor(size * self.scale * (1 + 1e-12))  # type: ignore[operator]
        if size < 1 or result < 1:
            raise SpecError(
                f"Expected a size and a scale that leave one element or more along axis "
                f"{self.axis}, got {size} and {self.scale or self.size}"
            )
        return result

    def taps(self, size: int) -> Taps:
        outputs = self.output_size(size)
        place = self._places(size, outputs)
        if self.mode == "nearest":
            return np.clip(self._rounded(place), 0, size - 1).astype(np.intp)[None], None
        place = np.clip(place, 0, size - 1)
        low = np.minimum(np.floor(place), max(size - 2, 0))
        share = place - low
        source = np.stack([low, np.minimum(low + 1, size - 1)])
        return source.astype(np.intp), np.stack([1.0 - share, share])

    def along_axis(self, size: int) -> Footprints:
        # Output o lies at place = stride o + offset, a multiple of the grain.
        step = self._exact_step(size)
        if step is None:
            return None
        half = Fraction(1, 2)
        outputs = self.output_size(size)
        corners = self.coordinates in ("align_corners", "asymmetric")
        alone = self.coordinates == "pytorch_half_pixel" and outputs == 1
        offset = Fraction(0) if corners or alone else step * half - half
        grain = Fraction(1, math.lcm(step.denominator, offset.denominator, 2))
        # What is read lies between (>=) offset + below and (<=) offset + above:
        kind = self.rounding if self.mode == "nearest" else self.mode
        spans: dict[str, tuple[Fraction | int, Fraction | int]] = {
            "bilinear": (grain - 1, 1 - grain),  # floor(place), the next one unless that is it
            "floor": (grain - 1, 0),
            "ceil": (0, 1 - grain),
            "round_prefer_floor": (-half, half - grain),
            "round_prefer_ceil": (grain - half, half),
        }
        below, above = spans[kind]
        return (Footprint(self.axis, step, offset + below, offset + above, border=(1, 1)),)

    def _exact_step(self, size: int) -> Fraction | None:
        """Inputs between neighbouring outputs, where that is the same in a window of the image.

        None for aligned corners that are no whole number of steps apart and for centres that
        coincide, as places then follow from the size, and for scales that floating point rounds,
        as places then differ a little from one part of the image to the next.
        """
        outputs = self.output_size(size)
        if self.coordinates == "align_corners":
            inner, outer = sorted((size - 1, outputs - 1))
            whole = inner > 0 and outer % inner == 0
            return Fraction(size - 1, outputs - 1) if whole else None
        if self.coordinates == "half_pixel_symmetric" and self.scale is not None:
            return None
        scale = Fraction(outputs / size if self.scale is None else self.scale)
        short = max(scale.numerator, scale.denominator) <= 2**16
        return 1 / scale if short else None

    def _places(self, size: int, outputs: int) -> np.ndarray:
        index = np.arange(outputs, dtype=np.float64)
        scale = outputs / size if self.scale is None else self.scale
        if self.coordinates == "align_corners":
            return index * (size - 1) / max(outputs - 1, 1)
        if self.coordinates == "asymmetric":
            return index / scale
        if self.coordinates == "pytorch_half_pixel" and outputs == 1:
            return np.zeros(1)
        moved = (size - outputs / scale) / 2 if self.coordinates == "half_pixel_symmetric" else 0
        return moved + (index + 0.5) / scale - 0.5

    def _rounded(self, place: np.ndarray) -> np.ndarray:
        if self.rounding == "floor":
            return np.floor(place)
        if self.rounding == "ceil":
            return np.ceil(place)
        if self.rounding == "round_prefer_floor":
            return np.ceil(place - 0.5)
        return np.floor(place + 0.5)


@dataclass(frozen=True)
class AdaptiveMeanAxis(AxisMap):
    """Means of ``outputs`` windows that cover the axis: from floor(o n / m) to ceil((o+1) n / m).

    That is torch's rule; windows overlap where ``m`` does not divide ``n``. Works at any size.
    """

    outputs: int

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise SpecError(f"Expected an output size of one or more, got {self.outputs}")

    @property
    def moves_only(self) -> bool:
        return False

    def output_size(self, size: int) -> int:
        if size < 1:
            raise SpecError(f"Expected one element or more along axis {self.axis}, got none")
        return self.outputs

    def taps(self, size: int) -> Taps:
        index = np.arange(self.outputs)
        start = index * size // self.outputs
        count = -(-(index + 1) * size // self.outputs) - start
        tap = np.arange(count.max())[:, None]
        source = np.minimum(start + tap, size - 1)
        return source.astype(np.intp), np.where(tap < count, 1.0 / count, 0.0)


# ---- functions


def resize(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    *,
    scale: float | Sequence[float] | None = None,
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
) -> Tensor:
    """Images (N,C,H,W) of another height and width: torch's ``interpolate``, ONNX's Resize.

    Give the ``size`` (height and width, or one number for both) or the ``scale`` (outputs an
    input; the new size is rounded down). ``mode`` is ``"nearest"`` (any dtype: label maps, too) or
    ``"bilinear"``. ``coordinates`` is ``"half_pixel"``, ``"align_corners"``, ``"asymmetric"``,
    ``"pytorch_half_pixel"`` or ``"half_pixel_symmetric"``; ``rounding``, for nearest, is
    ``"round_prefer_floor"``, ``"round_prefer_ceil"``, ``"floor"`` or ``"ceil"``. No antialiasing.

    torch's ``mode="nearest"`` is ``coordinates="asymmetric", rounding="floor"``, its
    ``"nearest-exact"`` is ``"half_pixel"`` with ``"round_prefer_ceil"``; its ``scale_factor`` is
    this scale with ``recompute_scale_factor=False``. A saved model with scales runs at any
    shape; one with sizes only at its own. Raises SpecError.
    """
    if x.ndim != 4:
        raise SpecError(f"Expected images (N,C,H,W), got {x.spec}")
    sizes = (None, None) if size is None else pair(size)
    scales = (None, None) if scale is None else _scales(scale)
    rows, columns = (
        ResizeAxis(axis, new, factor, mode, coordinates, rounding)
        for axis, new, factor in zip((2, 3), sizes, scales, strict=True)
    )
    # Along a row elements move one by one, across rows by whole rows: the first on fewer of them.
    taller = rows.output_size(x.shape[2]) > x.shape[2]
    for op in (columns, rows) if taller else (rows, columns):
        (x,) = x.builder.emit(op, x)
    return x


def adaptive_avg_pool2d(x: Tensor, size: int | Sequence[int]) -> Tensor:
    """Means of ``size`` windows that cover the image evenly, whatever its size.

    (N,C,H,W) gives (N,C,*size). Window ``o`` of ``m`` over ``n`` elements is
    ``[floor(o n / m), ceil((o + 1) n / m))``, as torch's; where ``m`` divides ``n`` that is
    ``avg_pool2d`` with a kernel of ``n / m``.
    """
    if x.ndim != 4:
        raise SpecError(f"Expected images (N,C,H,W), got {x.spec}")
    for axis, outputs in zip((2, 3), pair(size), strict=True):
        (x,) = x.builder.emit(AdaptiveMeanAxis(axis, outputs), x)
    return x


def _scales(scale: float | Sequence[float]) -> tuple[float, float]:
    values = scale if isinstance(scale, Sequence) else (scale, scale)
    if len(values) != 2 or not all(isinstance(value, Real) for value in values):
        raise SpecError(f"Expected a scale or (height, width), got {scale!r}")
    return (float(values[0]), float(values[1]))
