"""Every row of the op table on the CuPy backend, its CUDA C run by the emulator.

The default run takes every row in float32; the rest (marker ``slow``) takes the other dtypes, and
the gradients, with the threads of each block in reverse order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cupy_cases import NO_KERNEL, forward, gradient, needs_compiler, program_of
from op_table import Differentiated, Row, feed, run
from test_ops import assert_close, rows

from minigraph.backends.cupy.kernels.table import LOWERINGS
from minigraph.executable import Executable
from minigraph.ops import ALL_OPS

pytestmark = needs_compiler


def check(row: Row, got: list[np.ndarray], dtype: str, bound: float) -> None:
    for result, reference in zip(got, row.expected(row.draw(dtype)), strict=True):
        if reference.dtype.kind == "f":
            assert_close(result, reference, bound)
        else:
            assert result.dtype == reference.dtype
            np.testing.assert_array_equal(result, reference)


def results(executable: Executable, row: Row, dtype: str) -> list[np.ndarray]:
    """Of a second call too, which replays what the first one recorded: the same bits."""
    arrays = feed(row.draw(dtype))
    first, second = run(executable, arrays), run(executable, arrays)
    for one, other in zip(first.values(), second.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    return list(first.values())


PROGRAMS = {
    "test_float32": forward,
    "test_float64": forward,
    "test_16_bit": forward,
    "test_gradients_equal_those_of_numpy": gradient,
}
"""What builds the programs of a test's rows."""


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Any:
    return program_of(request.node, PROGRAMS)


def test_every_op_has_a_kernel() -> None:
    assert {op.__name__ for op in ALL_OPS if op not in LOWERINGS} == NO_KERNEL


@pytest.mark.parametrize("dtype", ["float32"])
@rows()
def test_float32(row: Row, dtype: str, program: Executable) -> None:
    bound = 0.0 if row.exact and row.floating else row.tolerance32
    check(row, results(program, row, dtype), dtype, bound)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64"])
@rows()
def test_float64(row: Row, dtype: str, program: Executable) -> None:
    check(row, results(program, row, dtype), dtype, 0.0 if row.exact else 2e-13)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@rows("half", "floating")
def test_16_bit(row: Row, dtype: str, program: Executable) -> None:
    step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    check(row, results(program, row, dtype), dtype, row.half_steps * step)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@rows("gradient", "floating")
def test_gradients_equal_those_of_numpy(
    row: Row, dtype: str, program: tuple[Differentiated, Executable]
) -> None:
    differentiated, executable = program
    expected = run(differentiated.first(), differentiated.arrays)
    got = run(executable, differentiated.arrays)
    bound = 2e-13 if dtype == "float64" else 10 * row.tolerance32
    for name, reference in expected.items():
        assert_close(got[name], reference, bound)
