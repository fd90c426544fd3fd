"""Dtypes, promotion, specs."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from minigraph.ir.errors import SpecError
from minigraph.ir.spec import DType, TensorSpec, broadcast_shapes, promote, scalar_dtype

INTEGERS = ["uint8", "int32", "int64"]


def test_dtypes_normalise():
    assert DType.of("float32") is DType.of(np.float32) is DType.of(np.dtype("f4")) is DType.FLOAT32
    assert DType.of(ml_dtypes.bfloat16) is DType.BFLOAT16
    assert DType.of(bool) is DType.BOOL
    for dtype in DType:
        assert DType.of(dtype.numpy) is dtype
    with pytest.raises(SpecError, match="Expected a dtype of bool, uint8"):
        DType.of("float8")
    with pytest.raises(SpecError, match="got complex64"):
        DType.of(np.complex64)


def test_promotion_is_a_lattice():
    for a, b in itertools.product(DType, DType):
        assert promote(a, b) is promote(b, a)
        assert promote(a, a) is a
        for c in DType:
            assert promote(promote(a, b), c) is promote(a, promote(b, c))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("uint8", "int32", "int32"),
        ("int64", "float16", "float16"),  # an integer never widens a float
        ("int64", "bfloat16", "bfloat16"),
        ("float16", "bfloat16", "float32"),
        ("float16", "float32", "float32"),
        ("bool", "uint8", "uint8"),
        ("float32", "float64", "float64"),
    ],
)
def test_promotion(a, b, expected):
    assert promote(a, b).value == expected


def test_scalars_are_weak():
    assert scalar_dtype(2.5, DType.BFLOAT16) is DType.BFLOAT16
    assert scalar_dtype(2, DType.UINT8) is DType.UINT8
    assert scalar_dtype(2.5, DType.INT64) is DType.FLOAT32
    assert scalar_dtype(2, DType.BOOL) is DType.INT32
    assert scalar_dtype(True, DType.BOOL) is DType.BOOL
    assert scalar_dtype(True, DType.FLOAT16) is DType.FLOAT16


@pytest.mark.parametrize("dtype", list(DType))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 5), (8, 3, 64, 64)])
def test_text_round_trip(dtype, shape):
    spec = TensorSpec(shape, dtype)
    assert TensorSpec.parse(str(spec)) == TensorSpec.of(str(spec)) == spec
    assert TensorSpec.of((shape, dtype.value)) == TensorSpec.of((list(shape), dtype)) == spec
    assert spec.nbytes == spec.size * np.dtype(dtype.numpy).itemsize
    assert spec.size == int(np.prod(shape)) and spec.ndim == len(shape)


@pytest.mark.parametrize(
    "text",
    ["float32", "float32[", "float32]", "float32[2", "float32[2]x", "float32[-1]", "float32[a]",
     "[2]", "", "float32[2,,3]", "float32[²]", "float9[2]", "float32[2.0]", "float32[1 2]"],
)  # fmt: skip
def test_bad_texts(text):
    with pytest.raises(SpecError, match="Expected"):
        TensorSpec.parse(text)


def test_huge_numbers_are_refused_not_computed():
    with pytest.raises(SpecError):
        TensorSpec.parse(f"float32[{'9' * 5000}]")


@pytest.mark.parametrize("value", [7, None, (2, 3), ("float32", (2,)), [2, 3]])
def test_what_is_no_spec(value):
    with pytest.raises(SpecError, match="Expected a spec such as"):
        TensorSpec.of(value)


def test_sizes_are_whole_and_not_negative():
    with pytest.raises(SpecError, match="zero or more"):
        TensorSpec((2, -1))
    with pytest.raises(SpecError, match="Expected whole sizes"):
        TensorSpec((2, 2.5))
    assert TensorSpec((np.int64(3), 2)).shape == (3, 2)
    assert all(type(size) is int for size in TensorSpec((np.int64(3), 2)).shape)


def test_specs_compare_and_hash():
    assert TensorSpec((2,), "float32") == TensorSpec((2,))
    assert len({TensorSpec((2,)), TensorSpec((2,), DType.FLOAT32), TensorSpec((3,))}) == 2


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3,)), ((2, 1), (1, 5)), ((), (4,)), ((0, 1), (1, 3)), ((5,), (2, 3, 5))]
)
def test_broadcasting_is_numpys(a, b):
    assert broadcast_shapes(a, b) == np.broadcast_shapes(a, b) == broadcast_shapes(b, a)


def test_broadcasting_names_the_axis():
    with pytest.raises(SpecError, match=r"got \[2, 3\] and \[4\] \(axis -1: 3 against 4\)"):
        broadcast_shapes((2, 3), (4,))
