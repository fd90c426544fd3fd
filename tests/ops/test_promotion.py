"""How dtypes combine: JAX's documented table, written out, and weak Python scalars."""

from __future__ import annotations

import operator
from itertools import product
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import DType, Tensor
from minigraph.ir import promote

# https://docs.jax.dev/en/latest/jep/9407-type-promotion.html, the rows and columns of our dtypes.
NAMES = ("bool", "uint8", "int32", "int64", "bfloat16", "float16", "float32", "float64")
TABLE = """
bool     | b1 u1 i4 i8 bf f2 f4 f8
uint8    | u1 u1 i4 i8 bf f2 f4 f8
int32    | i4 i4 i4 i8 bf f2 f4 f8
int64    | i8 i8 i8 i8 bf f2 f4 f8
bfloat16 | bf bf bf bf bf f4 f4 f8
float16  | f2 f2 f2 f2 f4 f2 f4 f8
float32  | f4 f4 f4 f4 f4 f4 f4 f8
float64  | f8 f8 f8 f8 f8 f8 f8 f8
"""
SHORT = dict(zip(("b1", "u1", "i4", "i8", "bf", "f2", "f4", "f8"), NAMES, strict=True))
PROMOTED = {
    (line.split()[0], column): SHORT[cell]
    for line in TABLE.strip().splitlines()
    for column, cell in zip(NAMES, line.split("|")[1].split(), strict=True)
}


def result_dtype(function: Any, *specs: str) -> str:
    """The dtype of a function of symbolic tensors."""

    def model(**tensors: Tensor) -> Tensor:
        return function(*tensors.values())

    exe = mg.compile(model, {f"x{i}": spec for i, spec in enumerate(specs)}, backend="numpy")
    return exe.outputs["output"].dtype.value


def test_the_table() -> None:
    assert {(a.value, b.value) for a, b in product(DType, DType)} == set(PROMOTED)
    for (a, b), expected in PROMOTED.items():
        assert promote(a, b).value == expected, (a, b)


@pytest.mark.parametrize("a", NAMES)
@pytest.mark.parametrize("b", NAMES)
def test_arithmetic_and_choice_promote(a: str, b: str) -> None:
    expected = PROMOTED[a, b]
    chosen = result_dtype(lambda c, x, y: mg.where(c, x, y), "bool[2]", f"{a}[2]", f"{b}[2]")
    assert chosen == expected
    assert result_dtype(operator.lt, f"{a}[2]", f"{b}[2]") == "bool"
    if expected != "bool":
        assert result_dtype(operator.mul, f"{a}[2]", f"{b}[2]") == expected
    divided = expected if expected.startswith(("float", "bfloat")) else "float32"
    assert result_dtype(operator.truediv, f"{a}[2]", f"{b}[2]") == divided


# A Python scalar keeps the tensor's dtype unless its kind is higher; then it is int32 or float32.
WEAK = {
    "bool": ("bool", "int32", "float32"),
    "uint8": ("uint8", "uint8", "float32"),
    "int32": ("int32", "int32", "float32"),
    "int64": ("int64", "int64", "float32"),
    "bfloat16": ("bfloat16",) * 3,
    "float16": ("float16",) * 3,
    "float32": ("float32",) * 3,
    "float64": ("float64",) * 3,
}


@pytest.mark.parametrize("dtype", NAMES)
def test_python_and_numpy_scalars_are_weak(dtype: str) -> None:
    groups = ((True, np.bool_(True)), (2, np.int64(2), np.uint8(2)), (2.5, np.float64(2.5)))
    for scalars, expected in zip(groups, WEAK[dtype], strict=True):
        for scalar in scalars:
            for order in ((0, 1), (1, 0)):

                def choose(c: Tensor, x: Tensor, s: Any = scalar, o: Any = order) -> Tensor:
                    return mg.where(c, *((x, s)[i] for i in o))

                assert result_dtype(choose, "bool[2]", f"{dtype}[2]") == expected, (scalar, order)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(True, False, "bool"), (1, 0, "int32"), (1.0, 0.0, "float32"), (1, 0.5, "float32"),
     (np.float64(1), np.float64(0), "float32")],
)  # fmt: skip
def test_two_scalars_choose_among_themselves(a: Any, b: Any, expected: str) -> None:
    assert result_dtype(lambda c: mg.where(c, a, b), "bool[2]") == expected
    assert result_dtype(lambda x: mg.where(x > 0, a, b), "float64[2]") == expected


def test_arrays_are_strong() -> None:
    assert result_dtype(lambda x: x * np.ones(2, np.float64), "float32[2]") == "float64"
    assert result_dtype(lambda x: x * np.ones(2, np.int64), "float32[2]") == "float32"
    mask = np.array([True, False])
    assert result_dtype(lambda x: mg.where(mask, x, 0.0), "float16[2]") == "float16"


def test_integers_divide_in_float32() -> None:
    exe = mg.compile(lambda a, b: a / b, {"a": "int32[3]", "b": "int64[3]"}, backend="numpy")
    y = exe(a=np.array([1, -3, 7]), b=np.array([2, 2, 0]))["output"]
    assert y.dtype == np.float32
    assert y.tolist() == [0.5, -1.5, np.inf]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_sums_accumulate_in_float32(dtype: str) -> None:
    """4096 + 1 is 4096 in either 16-bit type: a narrow running sum would stay there."""
    size = 6000
    specs = {"x": f"{dtype}[{size}]"}
    kind = DType.of(dtype).numpy
    x = np.ones(size, kind)
    y = mg.compile(lambda x: mg.reduce_sum(x), specs, backend="numpy")(x=x)["output"]
    assert float(y) == float(np.array(size).astype(kind))
