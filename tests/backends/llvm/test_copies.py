"""Copies between memory orders: every element once, in its place, nothing beside it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from call_runner import Arena
from kernel_runner import run_kernel

from minigraph.backend import Strides, dense_strides
from minigraph.backends.llvm import LlvmBackend
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.kernels.transposition import Interleave, TransposedCopy, transposed
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.target import host
from minigraph.ir.spec import DType, TensorSpec

TARGETS = ["host", "avx2", "sse4"] if host().is_x86 else ["host"]
LAST, FIRST = (0, 2, 3, 1), (0, 1, 2, 3)  # channels


@pytest.fixture(scope="module")
def backends() -> dict[tuple[str, int], LlvmBackend]:
    return {(target, n): LlvmBackend(n, target) for target in TARGETS for n in (1, 3)}


def strides(spec: TensorSpec, order: tuple[int, ...], gap: int = 0) -> Strides:
    wider = (*spec.shape[:-3], *(n + gap for n in spec.shape[-3:]))
    return dense_strides(spec.with_shape(wider), order)


def check(backend: LlvmBackend, array: np.ndarray, source: Strides, target: Strides) -> type:
    """Copy, look at everything; the kernel's class."""
    arena = Arena(backend)
    first = arena.put(array, source)
    second = arena.slot(first.spec, target)
    calls = copy_calls(first, second)
    arena.run(calls)
    np.testing.assert_array_equal(arena.array(second), array)
    np.testing.assert_array_equal(arena.array(first), array)
    arena.erase(first)
    arena.erase(second)
    assert arena.is_untouched
    return type(calls[0].code)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 12, 16, 21, 70])
def test_planes_to_pixels_and_back(channels: int, gap: int, target: str, backends) -> None:
    rng = np.random.default_rng(channels)
    kind = Interleave if channels in (2, 3, 4) and not gap else TransposedCopy
    for threads, size in ((1, (3, 5)), (3, (9, 16)), (1, (1, 67)), (3, (20, 13))):
        array = rng.standard_normal((2, channels, *size)).astype(np.float32)
        spec = TensorSpec(array.shape)
        planes, pixels = strides(spec, FIRST, gap), strides(spec, LAST, gap)
        backend = backends[target, threads]
        for one, other in ((planes, pixels), (pixels, planes)):
            found = check(backend, array, one, other)
            assert channels == 1 or found is kind


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float64"]
)
@pytest.mark.parametrize("channels", [3, 19])
def test_every_dtype(dtype: str, channels: int, backends) -> None:
    rng = np.random.default_rng(0)
    kind = DType.of(dtype)
    array = rng.integers(0, 2 if dtype == "bool" else 100, (2, channels, 7, 35)).astype(kind.numpy)
    spec = TensorSpec(array.shape, kind)
    for one, other in ((FIRST, LAST), (LAST, FIRST)):
        check(backends["host", 3], array, strides(spec, one), strides(spec, other))


@pytest.mark.parametrize("seed", range(30))
def test_any_order_of_axes(seed: int, backends) -> None:
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(3, 6))
    shape = tuple(int(n) for n in rng.integers(1, 22 if ndim < 5 else 9, ndim))
    array = rng.standard_normal(shape).astype(np.float32)
    spec = TensorSpec(shape)
    orders = [tuple(int(a) for a in rng.permutation(ndim)) for _ in range(2)]
    gaps = rng.integers(0, 2, 2)
    first, second = (strides(spec, o, int(g)) for o, g in zip(orders, gaps, strict=True))
    check(backends["host", int(rng.choice([1, 3]))], array, first, second)


def test_not_a_number_keeps_its_bits(backends) -> None:
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000] * 32, np.uint32)
    array = bits.view(np.float32).reshape(1, 8, 4, 4)
    spec = TensorSpec(array.shape)
    arena = Arena(backends["host", 1])
    first = arena.put(array, strides(spec, FIRST))
    second = arena.slot(spec, strides(spec, LAST))
    arena.run(copy_calls(first, second))
    np.testing.assert_array_equal(np.ascontiguousarray(arena.array(second)).view(np.uint32),
                                  bits.reshape(1, 8, 4, 4))  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("rows", "lanes"), [(8, 8), (8, 16), (2, 8), (4, 4)])
def test_squares_side_by_side_are_transposed_each(rows: int, lanes: int, target: str) -> None:
    def body(k: Kernel) -> None:
        x, y = (k.view(pointer, DType.FLOAT32, lanes, 1) for pointer in k.pointers)
        vectors = [x.load(row, 0, lanes=lanes) for row in range(rows)]
        for row, vector in enumerate(transposed(vectors)):
            y.store(vector, row, 0)

    x = np.arange(rows * lanes, dtype=np.float32).reshape(rows, lanes // rows, rows)
    y = np.zeros_like(x)
    run_kernel(body, [x, y], [], target=target)
    np.testing.assert_array_equal(y, x.transpose(2, 1, 0))
