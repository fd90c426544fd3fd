"""Along one axis: which inputs a window reads, and in which order its taps lie when packed.

A convolution's output i reads, by tap u, the input ``i * stride + u * dilation - padding``. Its
adjoint, the transposed convolution, reads for each i all j and u with
``j * stride + u * dilation - padding = i``. Outputs i with the same remainder
``q = (i + padding) mod stride`` (a phase) read by the same taps: those with
``u * dilation = q (mod stride)``. With g = gcd(stride, dilation), the taps exist only where g
divides q, and they are ``u = a, a + stride/g, ...`` with
``a = (q / g) * (dilation / g)^-1 mod (stride / g)``. From one such tap to the next, j goes down by
``dilation / g``: a phase is a small convolution of stride 1 that runs backwards.

So packed weights keep taps of one phase together: by remainder ``u mod (stride / g)``, then by u.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index


@dataclass(frozen=True)
class Windows:
    """All windows along one axis: of a convolution, or of one phase of a transposed one.

    Window t makes the output ``first_output + t * output_step``; its tap m reads the input
    ``first_input + t * input_step + m * tap_step``.
    """

    count: Index
    first_output: Index
    output_step: Index
    first_input: Index
    input_step: Index
    taps: Index
    tap_step: Index
    taps_before: Index  # how many taps lie before these when packed


AXIS_SIZES = 7
"""Numbers that describe an axis to a kernel: what ``axis_sizes`` gives."""


def axis_sizes(
    outputs: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool
) -> tuple[int, ...]:
    """An axis as a kernel's sizes: the attributes, then the gcd g and the inverse modulo stride/g."""
    if not transposed:
        return (outputs, kernel, stride, padding, dilation, stride, 0)
    g = math.gcd(stride, dilation)
    inverse = pow(dilation // g, -1, stride // g) if stride > g else 0
    return (outputs, kernel, stride, padding, dilation, g, inverse)


def windows(sizes: Sequence[Value]) -> Windows:
    """The windows of a convolution."""
    outputs, kernel, stride, padding, dilation, _, _ = sizes
    return Windows(outputs, 0, 1, -padding, stride, kernel, dilation, 0)


def phase_windows(k: Kernel, sizes: Sequence[Value], phase: Value) -> Windows:
    """The windows of one phase of a transposed convolution. ``//`` wants no negative numbers."""
    outputs, kernel, stride, padding, dilation, g, inverse = sizes
    cycle = stride // g
    tap = (phase // g * inverse) % cycle
    exists = (phase % g).equals(0)
    taps = exists.select((k.maximum(kernel - tap, 0) + cycle - 1) // cycle, 0)
    first_output = (phase + stride - padding % stride) % stride
    above = kernel * dilation  # enough to keep the dividend from being negative
    first_input = (first_output + padding - tap * dilation + above * stride) // stride - above
    count = (k.maximum(outputs - first_output, 0) + stride - 1) // stride
    before = packed_position(k, kernel, cycle, tap)
    return Windows(
        count, first_output, stride, first_input, k.index(1), taps, -(dilation // g), before
    )


def packed_position(k: Kernel, kernel: Value, cycle: Value, remainder: Value) -> Value:
    """How many taps u < kernel have a smaller ``u mod cycle``."""
    return kernel // cycle * remainder + k.minimum(kernel % cycle, remainder)


def cycle_of(stride: int, dilation: int) -> int:
    """The distance between taps of one phase of a transposed convolution."""
    return stride // math.gcd(stride, dilation)
