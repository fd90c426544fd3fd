"""Matrix products where the rows of the op table do not reach, by every method, against NumPy in
float64."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from step_runner import Step, check, finished, fused, wide

from minigraph.backends.llvm.backend import LOWERINGS
from minigraph.backends.llvm.call import Context
from minigraph.backends.llvm.convolution.blocking import Sums, choose_blocking
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import host
from minigraph.cache_folder import cache_folder
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.elementwise import Add, Mul, Sub
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(host(), ObjectCache(cache_folder("llvm")))


PRODUCTS = [(1, 1, 1), (5, 3, 70), (7, 300, 16), (96, 33, 49), (200, 700, 130), (1, 1025, 3)]
FEW_ROWS = [(1, 1, 1), (4, 64, 64), (5, 3, 70), (7, 301, 16), (32, 33, 49), (3, 258, 2100)]
FEW_STEPS = [(1, 1, 1), (8, 4, 64), (70, 3, 5), (7, 16, 301), (33, 15, 49)]


def product(library: Library, algorithm: str, transpose: tuple[bool, bool], *shape: int) -> None:
    rows, depth, columns = shape
    a = (depth, rows) if transpose[0] else (rows, depth)
    b = (columns, depth) if transpose[1] else (depth, columns)
    step = Step(library, MatMul(*transpose), a, b, algorithm=algorithm)
    left, right = wide(step.operands)
    expected = (left.T if transpose[0] else left) @ (right.T if transpose[1] else right)
    check(step.run(), expected)


@pytest.mark.parametrize("shape", PRODUCTS)
@pytest.mark.parametrize("transpose", [(False, False), (True, False), (False, True), (True, True)])
def test_packed(library: Library, shape: tuple[int, ...], transpose: tuple[bool, bool]) -> None:
    product(library, "packed", transpose, *shape)


def test_deep_sums_are_taken_in_steps_over_several_panels(library: Library) -> None:
    sums = Sums(1600, 1, 1, 230, 1100, 1, 1)
    blocking = choose_blocking(sums, DType.FLOAT32, library.target, threads=2)
    assert blocking.in_steps(sums) and blocking.panels_at_once > 1
    product(library, "packed", (False, False), 1600, 1100, 230)


@pytest.mark.parametrize("shape", FEW_ROWS)
@pytest.mark.parametrize("transpose", [False, True])
def test_few_rows(library: Library, shape: tuple[int, ...], transpose: bool) -> None:
    product(library, "few-rows", (False, transpose), *shape)


@pytest.mark.parametrize("shape", FEW_STEPS)
@pytest.mark.parametrize("transpose", [False, True])
def test_few_steps(library: Library, shape: tuple[int, ...], transpose: bool) -> None:
    product(library, "few-steps", (transpose, False), *shape)


@pytest.mark.parametrize("threads", [1, 3, 5, 8])
def test_bits_do_not_depend_on_threads(library: Library, threads: int) -> None:
    for op, algorithm, shapes in (
        (MatMul(), "packed", ((300, 700), (700, 90))),
        (MatMul(), "packed", ((1600, 1100), (1100, 230))),
        (MatMul(), "few-rows", ((5, 700), (700, 2090))),
        (MatMul(transpose_b=True), "few-rows", ((5, 700), (90, 700))),
        (MatMul(transpose_a=True), "few-steps", ((7, 300), (7, 90))),
    ):
        one = Step(library, op, *shapes, algorithm=algorithm, threads=2).run()
        other = Step(library, op, *shapes, algorithm=algorithm, threads=threads).run()
        np.testing.assert_array_equal(one, other)


BATCHES = [
    ((3,), (3,)),
    ((3,), ()),
    ((), (3,)),
    ((2, 3), (2, 3)),
    ((2, 1), (3,)),
    ((2, 3), ()),
    ((2, 1, 2), (3, 1)),
]


@pytest.mark.parametrize(("left", "right"), BATCHES)
@pytest.mark.parametrize("transpose", [(False, False), (True, True)])
def test_batches_of_products(
    library: Library,
    left: tuple[int, ...],
    right: tuple[int, ...],
    transpose: tuple[bool, bool],
) -> None:
    a, b = ((11, 19), (19, 18))
    step = Step(
        library,
        MatMul(*transpose),
        (*left, *(a[::-1] if transpose[0] else a)),
        (*right, *(b[::-1] if transpose[1] else b)),
        algorithm="packed",
    )
    one, other = wide(step.operands)
    one = np.swapaxes(one, -1, -2) if transpose[0] else one
    other = np.swapaxes(other, -1, -2) if transpose[1] else other
    check(step.run(), one @ other)


EPILOGUES = [
    ("packed", MatMul(transpose_b=True), (37, 41), (50, 41)),
    ("few-rows", MatMul(transpose_b=True), (6, 41), (50, 41)),
    ("few-rows", MatMul(), (6, 41), (41, 50)),
    ("few-steps", MatMul(transpose_a=True), (6, 37), (6, 50)),
]


@pytest.mark.parametrize(("algorithm", "op", "a", "b"), EPILOGUES)
def test_epilogue(
    library: Library, algorithm: str, op: MatMul, a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    rows = a[1] if op.transpose_a else a[0]
    step = Step(library, fused(op), a, b, (50,), (rows, 50), (rows, 50), algorithm=algorithm)
    left, right, *rest = wide(step.operands)
    y = (left.T if op.transpose_a else left) @ (right.T if op.transpose_b else right)
    check(step.run(), finished(y, *rest))


def with_momentum(anchor: MatMul) -> Fused:
    """Operands: a, b, velocity, weight, rate. Results: the new velocity, the new weight."""
    steps = (
        Instruction(anchor, (0, 1)),
        Instruction(Mul(), (5, 4)),
        Instruction(Mul(), (2, 2)),  # beside the anchor
        Instruction(Sub(), (7, 6)),
        Instruction(Add(), (3, 8)),
    )
    return Fused(Body(5, steps, (8, 9)))


@pytest.mark.parametrize(("algorithm", "op", "a", "b"), EPILOGUES)
def test_two_results_written_over_operands(
    library: Library, algorithm: str, op: MatMul, a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    rows = a[1] if op.transpose_a else a[0]
    shapes = (a, b, (rows, 50), (rows, 50), ())
    specs = tuple(TensorSpec(shape, DType.FLOAT32) for shape in shapes)
    offers = LOWERINGS[Fused].candidates(with_momentum(op), specs, Context(2, library.target))
    assert isinstance(offers, tuple)
    (offer,) = (offer for offer in offers if offer.name == algorithm)
    assert offer.overwrites == (2, 3)
    step = Step(library, with_momentum(op), *shapes, algorithm=algorithm, over=(2, 3))
    left, right, velocity, weight, rate = wide(step.operands)
    step.run()
    y = (left.T if op.transpose_a else left) @ (right.T if op.transpose_b else right)
    new = velocity * velocity - rate * y
    check(step.operands[2], new)
    check(step.operands[3], weight + new)
