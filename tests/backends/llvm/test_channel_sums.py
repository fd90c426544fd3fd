"""Sums of channels of what a body makes of images, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from step_runner import Step, check, wide

from minigraph.backend import Refused
from minigraph.backends.llvm.backend import LOWERINGS
from minigraph.backends.llvm.call import Context
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import host
from minigraph.cache_folder import cache_folder
from minigraph.ir.spec import TensorSpec
from minigraph.ops.elementwise import Mul, Relu, Sub
from minigraph.ops.fused import Body, FusedSum, Instruction

BODY = Body(
    4,  # g, mean, x, rate
    (
        Instruction(Sub(), (2, 1)),
        Instruction(Mul(), (0, 4)),
        Instruction(Relu(), (5,)),
        Instruction(Mul(), (6, 3)),
    ),
    (0, 7, 4),
)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(host(), ObjectCache(cache_folder("llvm")))


def results(g: np.ndarray, mean: np.ndarray, x: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
    centred = x - mean
    products = np.maximum(g * centred, 0) * rate
    return [a.sum((0, 2, 3), keepdims=True) for a in (g, products, centred)]


@pytest.mark.parametrize("shape", [(2, 16, 5, 7), (1, 33, 1, 1), (3, 100, 9, 4), (4, 32, 40, 40)])
@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("gap", [0, 5])
def test_sums(library: Library, shape: tuple[int, ...], keepdims: bool, gap: int) -> None:
    channels = (1, shape[1], 1, 1)
    op = FusedSum(BODY, (0, 2, 3), keepdims)
    step = Step(library, op, shape, channels, shape, (), algorithm="llvm", gap=gap)
    step.run()
    expected = results(*wide(step.operands))
    for got, total in zip(step.results, expected, strict=True):
        check(got, total if keepdims else total.ravel(), bound=1e-6)


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_bits_do_not_depend_on_threads(library: Library, threads: int) -> None:
    shape, channels = (3, 70, 21, 20), (1, 70, 1, 1)
    op = FusedSum(BODY, (0, 2, 3), True)
    steps = [
        Step(library, op, shape, channels, shape, (), algorithm="llvm", threads=n)
        for n in (2, threads)
    ]
    for step in steps:
        step.run()
    for one, other in zip(*(step.results for step in steps), strict=True):
        np.testing.assert_array_equal(one, other)


REFUSED = {
    "few channels": ((2, 3, 5, 5), (0, 2, 3), (1, 3, 1, 1)),
    "other axes": ((2, 32, 5, 5), (2, 3), (1, 32, 1, 1)),
    "one a row": ((2, 32, 5, 5), (0, 2, 3), (1, 1, 5, 1)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_kernel_is_refused(library: Library, case: str) -> None:
    shape, axes, mean = REFUSED[case]
    specs = tuple(TensorSpec(s) for s in (shape, mean, shape, ()))
    op = FusedSum(BODY, axes, True)
    assert isinstance(
        LOWERINGS[FusedSum].candidates(op, specs, Context(2, library.target)), Refused
    )
