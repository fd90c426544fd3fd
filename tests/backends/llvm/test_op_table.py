"""Every row of the op table on the LLVM backend: values, gradients, threads, older processors.

The default run takes every row in float32 at two numbers of threads; the rest (marker ``slow``, a
step of its own in continuous integration) takes the other dtypes, processors and the gradients.
"""

from __future__ import annotations

import numpy as np
import pytest
from op_table import Differentiated, Row, compile_forward, feed, run
from test_ops import assert_close, rows

pytest.importorskip("llvmlite")

from minigraph.backends.llvm import LlvmBackend
from minigraph.backends.llvm.kernels.table import LOWERINGS
from minigraph.backends.llvm.target import host
from minigraph.ir.errors import UnsupportedError
from minigraph.ops import ALL_OPS

NO_KERNEL = {"Constant", "Reshape", "Flatten", "Squeeze", "ExpandDims", "WhenTraining"}
"""Views (where they are none they are copies, with a kernel), and what never reaches a backend."""


@pytest.fixture(scope="module")
def backends() -> dict[tuple[int, str], LlvmBackend]:
    """Backends by threads and target; each keeps its compiled kernels."""
    return {}


@pytest.fixture
def backend(backends):
    def make(threads: int = 2, target: str = "host") -> LlvmBackend:
        key = (threads, target)
        if key not in backends:
            backends[key] = LlvmBackend(threads, target)
        return backends[key]

    return make


def results(row: Row, dtype: str, backend: LlvmBackend) -> list[np.ndarray]:
    arrays = row.draw(dtype)
    return list(run(compile_forward(row, dtype, backend=backend), feed(arrays)).values())


def check(row: Row, got: list[np.ndarray], dtype: str, bound: float) -> None:
    for result, reference in zip(got, row.expected(row.draw(dtype)), strict=True):
        if reference.dtype.kind == "f":
            assert_close(result, reference, bound)
        else:
            assert result.dtype == reference.dtype
            np.testing.assert_array_equal(result, reference)


def test_every_op_has_a_kernel_or_a_reason() -> None:
    missing = {op.__name__ for op in ALL_OPS if op not in LOWERINGS}
    assert missing - NO_KERNEL == set()


@rows()
def test_float32_whatever_the_number_of_threads(row: Row, backend) -> None:
    got = results(row, "float32", backend(1))
    check(row, got, "float32", 0.0 if row.exact and row.floating else row.tolerance32)
    for threads in (5,):
        for one, other in zip(got, results(row, "float32", backend(threads)), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@rows()
def test_float64(row: Row, backend) -> None:
    check(row, results(row, "float64", backend()), "float64", 0.0 if row.exact else 2e-13)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@rows("half", "floating")
def test_16_bit(row: Row, dtype: str, backend) -> None:
    step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    check(row, results(row, dtype, backend()), dtype, row.half_steps * step)


@pytest.mark.slow
@pytest.mark.skipif(not host().is_x86, reason="older x86 processors")
@pytest.mark.parametrize("target", ["avx2", "sse4"])
@rows()
def test_older_processors(row: Row, target: str, backend) -> None:
    bound = 0.0 if row.exact and row.floating else row.tolerance32
    try:
        got = results(row, "float32", backend(2, target))
    except UnsupportedError as error:
        assert "float16" in str(error) and target == "sse4"
        pytest.skip("this processor has no conversion of float16: refused at compile time")
    check(row, got, "float32", bound)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@rows("gradient", "floating")
def test_gradients_equal_those_of_numpy(row: Row, dtype: str, backend) -> None:
    found = Differentiated(row, dtype)
    expected = run(found.first(), found.arrays)
    got = run(found.first(backend()), found.arrays)
    bound = 2e-13 if dtype == "float64" else 10 * row.tolerance32
    for name, reference in expected.items():
        assert_close(got[name], reference, bound)
