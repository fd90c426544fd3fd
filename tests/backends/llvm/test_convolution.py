"""Convolutions and matrix products where the rows of the op table do not reach: blocks, panels,
tails, phases and groups, with every epilogue, against torch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from minigraph.backend import Memory, Slot, aligned, channels_last, dense_strides
from minigraph.backends.llvm.backend import LOWERINGS
from minigraph.backends.llvm.call import Binding, Context
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.native import ROW, THEN_WAIT
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import host, named
from minigraph.backends.llvm.workers import WORKERS
from minigraph.cache_folder import cache_folder
from minigraph.host_store import aligned_empty, as_strided_array
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d
from minigraph.ops.elementwise import Add, Relu, ReluGrad
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul
from minigraph.places import External

torch = pytest.importorskip("torch")

BOUND = 2e-6  # of the largest element: plain rounding of float32
GAP = 5  # elements between the pixels of operands that are slices of wider images


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(host(), ObjectCache(cache_folder("llvm")))


class Step:
    """One op on operands of random numbers, in memory full of what is not a number."""

    def __init__(
        self,
        library: Library,
        op: Any,
        *shapes: tuple[int, ...],
        algorithm: str,
        threads: int = 2,
        gap: int = 0,
    ) -> None:
        self.library, self.threads = library, threads
        specs = tuple(TensorSpec(shape, DType.FLOAT32) for shape in shapes)
        found = LOWERINGS[type(op)].candidates(op, specs, Context(threads, library.target))
        choice = next(one for one in found if one.name == algorithm)
        self._size = 0
        slots = [self._slot(spec, gap) for spec in (*specs, *op.infer(*specs))]
        scratch = [
            self._slot(TensorSpec((size,), DType.UINT8), 0) if size else None
            for size in (choice.workspace, choice.prepared)
        ]
        self.memory = aligned_empty(self._size)
        self.memory[:] = 255
        rng = np.random.default_rng([len(shapes), *(n for shape in shapes for n in shape)])
        self.operands = [self._array(slot) for slot in slots[:-1]]
        for array in self.operands:
            array[...] = rng.standard_normal(array.shape)
        binding = Binding(
            op, algorithm, tuple(slots[:-1]), (slots[-1],), *scratch, threads, library.target
        )
        self.calls = LOWERINGS[type(op)].calls(binding)
        self._output = slots[-1]

    def _slot(self, spec: TensorSpec, gap: int) -> Slot:
        """Room for a tensor; pixels of images lie ``gap`` further apart than they need."""
        strides = dense_strides(spec, channels_last(spec))
        if gap and spec.ndim == 4:
            wide = spec.with_shape((spec.shape[0], spec.shape[1] + gap, *spec.shape[2:]))
            strides = dense_strides(wide, channels_last(wide))
        slot = Slot(Memory.WORK, spec, self._size, "", strides)
        reach = sum((n - 1) * step for n, step in zip(spec.shape, strides, strict=True)) + 1
        self._size += aligned(reach * spec.dtype.itemsize) + 64
        return slot

    def _array(self, slot: Slot) -> np.ndarray:
        return as_strided_array(self.memory[slot.offset :], slot.spec, slot.strides)

    def run(self) -> np.ndarray:
        """The result, as the calls give it."""
        self.library.load(call.code for call in self.calls)
        base = self.memory.ctypes.data
        rows, kept = np.zeros((len(self.calls), ROW), np.int64), []
        refused = np.zeros(2, np.int64)
        for row, call in zip(rows, self.calls, strict=True):
            places = [p for p in (*call.reads, *call.writes) if not isinstance(p, External)]
            flags = [refused.ctypes.data, refused.ctypes.data + 8]
            kept.append(np.array([*flags, *(base + p.offset for p in places), *call.sizes]))
            row[:] = self.library.address(call.code), kept[-1].ctypes.data, THEN_WAIT
        WORKERS.run(rows, self.threads, refused.ctypes.data)
        return self._array(self._output).copy()


def check(got: np.ndarray, expected: np.ndarray, bound: float = BOUND) -> None:
    assert got.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound * scale)


def convolved(
    x: np.ndarray,
    w: np.ndarray,
    stride: Any = (1, 1),
    padding: Any = ((0, 0), (0, 0)),
    dilation: Any = (1, 1),
    groups: int = 1,
    gradient: np.ndarray | None = None,
) -> Any:
    """A convolution; given a gradient of it, those of its operands."""
    x, w = (torch.tensor(array, requires_grad=True) for array in (x, w))
    (top, bottom), (left, right) = padding
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, w, None, stride, 0, dilation, groups)
    if gradient is None:
        return y.detach().numpy()
    return [g.numpy() for g in torch.autograd.grad(y, (x, w), torch.tensor(gradient))]


def wide(arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]


PADDINGS = [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((2, 0), (1, 3))]
GEOMETRIES = [
    # channels in and out, kernel, stride, padding, dilation, groups, size
    (1, 6, (5, 5), (1, 1), PADDINGS[0], (1, 1), 1, (28, 28)),
    (3, 33, (3, 3), (1, 1), PADDINGS[1], (1, 1), 1, (13, 11)),
    (17, 16, (3, 3), (2, 2), PADDINGS[2], (1, 1), 1, (14, 17)),
    (64, 49, (1, 1), (1, 1), PADDINGS[0], (1, 1), 1, (9, 13)),
    (20, 12, (1, 1), (2, 3), PADDINGS[1], (1, 1), 1, (10, 11)),
    (32, 96, (2, 2), (2, 2), PADDINGS[0], (1, 1), 1, (12, 10)),
    (300, 40, (3, 2), (1, 1), PADDINGS[1], (2, 1), 1, (6, 7)),
    (520, 35, (1, 1), (1, 1), PADDINGS[0], (1, 1), 1, (3, 5)),
    (40, 70, (3, 3), (2, 1), PADDINGS[2], (2, 3), 2, (15, 12)),
    (12, 12, (3, 3), (1, 1), PADDINGS[1], (1, 1), 12, (8, 9)),
    (21, 42, (3, 3), (2, 2), PADDINGS[1], (1, 1), 21, (8, 9)),
    (40, 40, (3, 4), (2, 1), PADDINGS[2], (1, 2), 40, (11, 13)),
    (24, 8, (4, 3), (3, 2), PADDINGS[2], (2, 4), 4, (20, 19)),
    (5, 7, (7, 7), (4, 4), ((3, 3), (3, 3)), (1, 1), 1, (21, 30)),
    (9, 10, (2, 3), (3, 4), PADDINGS[0], (1, 1), 1, (13, 14)),  # windows leave pixels out
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("gap", [0, GAP])
def test_convolution_and_its_gradients(library: Library, geometry: Any, gap: int) -> None:
    inputs, outputs, kernel, stride, padding, dilation, groups, size = geometry
    x, w = (3, inputs, *size), (outputs, inputs // groups, *kernel)
    forward = Conv2d(stride, padding, dilation, groups)
    step = Step(library, forward, x, w, algorithm="direct", gap=gap)
    attributes = (stride, padding, dilation, groups)
    check(step.run(), convolved(*wide(step.operands), *attributes))

    g = forward.geometry(TensorSpec(x), TensorSpec(w))
    extra = tuple(
        (n + sum(p) - (k - 1) * d - 1) % s
        for n, p, k, d, s in zip(size, padding, kernel, dilation, stride, strict=True)
    )
    adjoint = ConvTranspose2d(stride, padding, dilation, groups, extra)  # type: ignore[arg-type]
    step = Step(library, adjoint, g.output_shape, w, algorithm="direct", gap=gap)
    gradient, weight = wide(step.operands)
    check(step.run(), convolved(np.zeros(x), weight, *attributes, gradient)[0])

    sums = Conv2dGradWeight(kernel, *attributes)
    step = Step(library, sums, x, g.output_shape, algorithm="sums", gap=gap)
    inputs64, gradient = wide(step.operands)
    check(step.run(), convolved(inputs64, np.zeros(w), *attributes, gradient)[1])


FEW_CHANNELS = [
    # channels in and out, kernel, stride, padding, dilation, size
    (1, 6, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), (28, 28)),
    (6, 16, (5, 5), (1, 1), PADDINGS[0], (1, 1), (14, 14)),
    (2, 1, (3, 2), (2, 3), PADDINGS[2], (1, 1), (17, 23)),
    (3, 40, (7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), (31, 40)),
    (3, 32, (3, 3), (1, 1), PADDINGS[1], (1, 1), (40, 61)),
    (4, 12, (2, 3), (1, 1), PADDINGS[2], (3, 1), (9, 6)),
    (5, 16, (1, 1), (1, 1), PADDINGS[0], (1, 1), (9, 5)),
    (12, 70, (3, 4), (1, 2), PADDINGS[1], (1, 1), (12, 33)),
    (3, 9, (2, 2), (3, 4), PADDINGS[0], (1, 1), (13, 18)),  # windows leave pixels out
    (1, 2, (3, 3), (1, 1), ((3, 3), (4, 4)), (1, 1), (1, 2)),  # windows of padding alone
]


@pytest.mark.parametrize("geometry", FEW_CHANNELS)
@pytest.mark.parametrize(
    ("target", "gap"), [("host", 0), ("host", GAP), ("avx2", 0), ("sse4", GAP)]
)
def test_few_channels(target: str, gap: int, geometry: Any) -> None:
    inputs, outputs, kernel, stride, padding, dilation, size = geometry
    library = Library(named(target), ObjectCache(cache_folder("llvm")))
    x, w = (3, inputs, *size), (outputs, inputs, *kernel)
    attributes = (stride, padding, dilation)
    forward = Conv2d(*attributes)
    y = forward.geometry(TensorSpec(x), TensorSpec(w)).output_shape
    step = Step(library, forward, x, w, algorithm="rows", gap=gap)
    check(step.run(), convolved(*wide(step.operands), *attributes))

    sums = Conv2dGradWeight(kernel, *attributes)
    step = Step(library, sums, x, y, algorithm="rows", gap=gap)
    inputs64, gradient = wide(step.operands)
    check(step.run(), convolved(inputs64, np.zeros(w), *attributes, 1, gradient)[1])

    if dilation != (1, 1):
        return
    extra = tuple(
        (n + sum(p) - r) % s for n, p, r, s in zip(size, padding, kernel, stride, strict=True)
    )
    adjoint = ConvTranspose2d(*attributes, 1, extra)  # type: ignore[arg-type]
    step = Step(library, adjoint, y, w, algorithm="spread", gap=gap)
    gradient, weight = wide(step.operands)
    check(step.run(), convolved(np.zeros(x), weight, *attributes, 1, gradient)[0])


def test_an_infinity_stays_in_its_window(library: Library) -> None:
    x, w, y = (1, 3, 9, 40), (2, 3, 3, 3), (1, 2, 9, 40)
    step = Step(library, ConvTranspose2d(padding=SAME), y, w, algorithm="spread")
    step.operands[0][0, 1, 4, 20] = np.inf
    finite = np.isfinite(step.run())
    assert finite.shape == x
    finite[:, :, 3:6, 19:22] = True
    assert finite.all()


SAME = PADDINGS[1]


@pytest.mark.parametrize("threads", [1, 3, 5, 8])
def test_bits_do_not_depend_on_threads(library: Library, threads: int) -> None:
    x, w, y, few = (2, 40, 24, 20), (72, 40, 3, 3), (2, 72, 24, 20), (2, 3, 24, 20)
    for op, algorithm, shapes in (
        (Conv2d(padding=SAME), "direct", (x, w)),
        (ConvTranspose2d(padding=SAME), "direct", (y, w)),
        (Conv2dGradWeight((3, 3), padding=SAME), "sums", (x, y)),
        (Conv2d(padding=SAME), "rows", (few, (72, 3, 3, 3))),
        (Conv2dGradWeight((3, 3), padding=SAME), "rows", (few, y)),
        (ConvTranspose2d(padding=SAME), "spread", (y, (72, 3, 3, 3))),
        (MatMul(), "packed", ((300, 700), (700, 90))),
    ):
        one = Step(library, op, *shapes, algorithm=algorithm, threads=2).run()
        other = Step(library, op, *shapes, algorithm=algorithm, threads=threads).run()
        np.testing.assert_array_equal(one, other)


def fused(anchor: Any) -> Fused:
    """ReLU(anchor + bias), where another tensor is positive, plus a residual."""
    steps = (
        Instruction(anchor, (0, 1)),
        Instruction(Add(), (5, 2)),
        Instruction(Relu(), (6,)),
        Instruction(ReluGrad(), (3, 7)),
        Instruction(Add(), (8, 4)),
    )
    return Fused(Body(5, steps, (9,)))


def finished(y: np.ndarray, bias: np.ndarray, mask: np.ndarray, more: np.ndarray) -> np.ndarray:
    return np.where(mask > 0, np.maximum(y + bias, 0), 0) + more


@pytest.mark.parametrize("gap", [0, GAP])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 20), (24, 64), (300, 33)])
def test_epilogues(library: Library, inputs: int, outputs: int, gap: int) -> None:
    y, bias = (2, outputs, 7, 9), (1, outputs, 1, 1)
    convolution, w = Conv2d(padding=SAME), (outputs, inputs, 3, 3)
    step = Step(
        library, fused(convolution), (2, inputs, 7, 9), w, bias, y, y, algorithm="direct", gap=gap
    )
    x64, w64, *rest = wide(step.operands)
    check(step.run(), finished(convolved(x64, w64, padding=SAME), *rest))
    if inputs < 16:
        step = Step(
            library, fused(convolution), (2, inputs, 7, 9), w, bias, y, y, algorithm="rows", gap=gap
        )
        check(step.run(), finished(convolved(x64, w64, padding=SAME), *rest))

    w = (inputs, outputs, 2, 2)
    y = (2, outputs, 10, 14)
    step = Step(
        library, fused(ConvTranspose2d((2, 2))), (2, inputs, 5, 7), w, bias, y, y,
        algorithm="direct", gap=gap,
    )  # fmt: skip
    x64, w64, *rest = wide(step.operands)
    check(step.run(), finished(convolved(np.zeros(y), w64, (2, 2), gradient=x64)[0], *rest))


@pytest.mark.parametrize("gap", [0, GAP])
@pytest.mark.parametrize("outputs", [3, 12])
def test_epilogue_of_a_spread(library: Library, outputs: int, gap: int) -> None:
    y, bias, w = (2, outputs, 9, 14), (1, outputs, 1, 1), (20, outputs, 3, 2)
    step = Step(
        library, fused(ConvTranspose2d((1, 2))), (2, 20, 7, 7), w, bias, y, y,
        algorithm="spread", gap=gap,
    )  # fmt: skip
    x64, w64, *rest = wide(step.operands)
    check(step.run(), finished(convolved(np.zeros(y), w64, (1, 2), gradient=x64)[0], *rest))


PRODUCTS = [(1, 1, 1), (5, 3, 70), (7, 300, 16), (96, 33, 49), (200, 700, 130), (1, 1025, 3)]


@pytest.mark.parametrize(("rows", "depth", "columns"), PRODUCTS)
@pytest.mark.parametrize("transpose", [(False, False), (True, False), (False, True), (True, True)])
def test_matrix_products(
    library: Library, rows: int, depth: int, columns: int, transpose: tuple[bool, bool]
) -> None:
    a = (depth, rows) if transpose[0] else (rows, depth)
    b = (columns, depth) if transpose[1] else (depth, columns)
    step = Step(library, MatMul(*transpose), a, b, algorithm="packed")
    left, right = wide(step.operands)
    expected = (left.T if transpose[0] else left) @ (right.T if transpose[1] else right)
    check(step.run(), expected)


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


def test_epilogue_of_a_product(library: Library) -> None:
    step = Step(
        library, fused(MatMul(transpose_b=True)), (37, 41), (50, 41), (50,), (37, 50), (37, 50),
        algorithm="packed",
    )  # fmt: skip
    a, b, *rest = wide(step.operands)
    check(step.run(), finished(a @ b.T, *rest))
