"""Statements that find a thread's place in a space of several axes."""

from __future__ import annotations


def decoded(axes: int, index: str, number: str = "rest", size: str = "n") -> list[str]:
    """Indices ``i0``, ``i1``, ... of a number, which counts through axes of sizes ``n0``, ...

    The last axis runs fastest. The number itself, a variable, is used up; one beyond the space has
    an ``i0`` that is not below ``n0``.
    """
    lines = []
    for axis in range(axes - 1, 0, -1):
        lines.append(f"const {index} i{axis} = {number} % {size}{axis};")
        lines.append(f"{number} /= {size}{axis};")
    return [*lines, f"const {index} i0 = {number};"]


def position(name: str, axes: int) -> str:
    """How far an operand lies at these indices: ``i0 * x_step0 + i1 * x_step1``."""
    return " + ".join(f"i{axis} * {name}_step{axis}" for axis in range(axes))


def steps(name: str, axes: int) -> list[str]:
    """The names of an operand's strides, as ``position`` wants them."""
    return [f"{name}_step{axis}" for axis in range(axes)]
