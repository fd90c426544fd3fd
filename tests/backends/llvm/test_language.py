"""The kernel language by itself: loads, stores, masks, loops, conversions, on odd sizes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from kernel_runner import run_kernel

from minigraph.backends.llvm.language.types import INT64, UINT32, value_type
from minigraph.backends.llvm.target import host
from minigraph.ir.spec import DType

TARGETS = ["host", "avx2", "sse4"] if host().is_x86 else ["host"]
F32 = DType.FLOAT32


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [0, 1, 3, 15, 16, 17, 63, 100])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_vectors_cover_every_element_once(size, threads, target):
    def body(k):
        x, y = (k.view(pointer, F32, 1) for pointer in k.pointers)
        lanes = k.lanes(F32)
        start, stop = k.share(k.sizes[0])
        k.vectors(
            stop - start,
            lanes,
            lambda i, mask: y.store(
                x.load(start + i, lanes=lanes, mask=mask) * 2.0 + 1.0, start + i, mask=mask
            ),
        )

    x = np.arange(size, dtype=np.float32)
    y = np.full(size + 64, -1.0, np.float32)
    run_kernel(body, [x, y], [size], threads, target)
    np.testing.assert_array_equal(y[:size], 2 * x + 1)
    assert (y[size:] == -1.0).all()  # nothing behind the end was touched


def test_strides_and_carried_sums():
    """Row sums of a transposed matrix."""

    def body(k):
        rows, columns = k.sizes
        x = k.view(k.pointers[0], F32, 1, rows)  # column-major
        y = k.view(k.pointers[1], F32, 1)
        with k.parallel(rows) as i:
            zero = k.zero(value_type(F32))
            (total,) = k.carry(0, columns, [zero], lambda j, v: [v[0] + x.load(i, j)])
            y.store(total, i)

    x = np.random.default_rng(0).integers(0, 9, (5, 7)).astype(np.float32)
    y = np.zeros(5, np.float32)
    run_kernel(body, [np.asfortranarray(x).ravel(order="K"), y], [5, 7])
    np.testing.assert_array_equal(y, x.sum(1))


@pytest.mark.parametrize("dtype", list(DType))
def test_what_is_loaded_is_stored_again(dtype):
    def body(k):
        x, y = (k.view(pointer, dtype, 1) for pointer in k.pointers)
        k.vectors(
            k.sizes[0], 8, lambda i, mask: y.store(x.load(i, lanes=8, mask=mask), i, mask=mask)
        )

    numbers = np.array([0, 1, 3, 100, 255, 7, 0, 1, 2, 77, 13], dtype.numpy)
    result = np.zeros_like(numbers)
    run_kernel(body, [numbers, result], [numbers.size])
    np.testing.assert_array_equal(result, numbers)


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
def test_16_bit_floats_are_rounded_to_nearest_even(dtype):
    def body(k):
        x, y = k.view(k.pointers[0], F32, 1), k.view(k.pointers[1], dtype, 1)
        k.vectors(
            k.sizes[0], 16, lambda i, mask: y.store(x.load(i, lanes=16, mask=mask), i, mask=mask)
        )

    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.standard_normal(1000) * 10.0 ** rng.integers(-7, 5, 1000), [np.inf, -np.inf, np.nan]]
    ).astype(np.float32)
    halves = (np.arange(256, dtype=np.uint32) << 16 | 0x8000).view(np.float32)  # exact ties
    x = np.concatenate([x, halves])
    y = np.zeros(x.size, dtype.numpy)
    run_kernel(body, [x, y], [x.size])
    with np.errstate(over="ignore"):
        expected = x.astype(dtype.numpy).astype(np.float64)
    np.testing.assert_array_equal(y.astype(np.float64), expected)


def test_floats_to_integers_truncate_and_integers_divide():
    def body(k):
        x, y = k.view(k.pointers[0], F32, 1), k.view(k.pointers[1], DType.INT64, 1)
        with k.loop(0, k.sizes[0]) as i:
            y.store(x.load(i).to(INT64) + i // 3 + i % 3, i)

    x = np.array([1.9, -1.9, 0.5, -0.5, 1e9], np.float32)
    y = np.zeros(5, np.int64)
    run_kernel(body, [x, y], [5], threads=1)
    np.testing.assert_array_equal(y, x.astype(np.int64) + np.array([0, 1, 2, 1, 2]))


@pytest.mark.parametrize("target", TARGETS)
def test_maximum_keeps_what_is_no_number(target):
    def body(k):
        a, b, y = (k.view(pointer, F32, 1) for pointer in k.pointers)
        y.store(k.maximum(a.load(0, lanes=4), b.load(0, lanes=4)), 0)

    a = np.array([1, np.nan, 2, -1], np.float32)
    b = np.array([0, 1, np.nan, np.inf], np.float32)
    y = np.zeros(4, np.float32)
    run_kernel(body, [a, b, y], threads=1, target=target)
    np.testing.assert_array_equal(y, np.maximum(a, b))


def test_lanes_are_summed_in_a_fixed_order():
    def body(k):
        x, y = (k.view(pointer, F32, 1) for pointer in k.pointers)
        y.store(k.sum_lanes(x.load(0, lanes=16)), 0)

    x = np.random.default_rng(0).standard_normal(16).astype(np.float32)
    halves = x
    while halves.size > 1:
        halves = halves[: halves.size // 2] + halves[halves.size // 2 :]
    y = np.zeros(1, np.float32)
    run_kernel(body, [x, y], threads=1)
    assert y[0] == halves[0]


def test_bits_shuffles_and_single_lanes():
    def body(k):
        x, y = (k.view(pointer, F32, 1) for pointer in k.pointers)
        value = x.load(0, lanes=4)
        swapped = value.shuffle([1, 0, 3, 2])
        negated = (swapped.bits ^ 0x80000000).bits_as(swapped.type)
        y.store(negated.with_lane(0, value.lane(3)), 0)

    x = np.array([1, 2, 3, 4], np.float32)
    y = np.zeros(4, np.float32)
    run_kernel(body, [x, y], threads=1)
    np.testing.assert_array_equal(y, [4, -1, -4, -3])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_first_refused_position_is_kept(threads):
    def body(k):
        x = k.view(k.pointers[0], DType.INT64, 1)
        with k.parallel(k.sizes[0]) as i:
            k.refuse(x.load(i) > 10, i)

    labels = np.arange(1000) % 7
    assert run_kernel(body, [labels], [1000], threads)[0] == 0
    labels[[900, 333, 500]] = 11
    assert run_kernel(body, [labels], [1000], threads) == (1, 333)


def test_operands_of_different_types_are_the_kernel_writers_mistake():
    def body(k):
        k.view(k.pointers[0], F32, 1).load(0) + k.view(k.pointers[0], DType.FLOAT64, 1).load(0)

    with pytest.raises(TypeError, match="one type"):
        run_kernel(body, [np.zeros(2)])


def test_unsigned_arithmetic_wraps():
    def body(k):
        x = k.view(k.pointers[0], DType.INT32, 1)
        value = x.load(0).to(UINT32)
        x.store((value * 0xD2511F53 >> 7).to(value_type(DType.INT32)), 0)

    x = np.array([123456789], np.int32)
    run_kernel(body, [x], threads=1)
    assert x[0] == (123456789 * 0xD2511F53 % 2**32) >> 7


def test_bfloat16_arrays_are_those_of_ml_dtypes():
    assert DType.BFLOAT16.numpy == np.dtype(ml_dtypes.bfloat16)
