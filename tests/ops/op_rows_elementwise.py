"""Rows of the elementwise ops, with broadcasting."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from op_table import (
    F,
    Input,
    Row,
    booleans,
    distinct,
    exactly,
    integers,
    normal,
    off_zero,
    positive,
    torch,
)

import minigraph as mg
from minigraph import Tensor
from minigraph.ir.constant import Constant, Full
from minigraph.ops import elementwise as ops

SHAPES = {
    "same": ((2, 3), (2, 3)),
    "vector": ((2, 3), (3,)),
    "outer": ((2, 1, 3), (4, 1)),
    "scalar": ((), (2, 3)),
    "scalars": ((), ()),
    "ones": ((1, 1), (3, 1)),
    "empty": ((0, 3), (1, 3)),
}
"""Pairs of operand shapes that broadcast."""


def binary(
    op: type,
    function: Callable[[Any, Any], Any],
    reference: Callable[[Any, Any], Any],
    counterpart: Callable[[Any, Any], Any] | None = None,
    left: Any = normal,
    right: Any = normal,
    shapes: tuple[str, ...] = tuple(SHAPES),
    **options: Any,
) -> list[Row]:
    """One row for each pair of shapes."""
    return [
        Row(
            f"{op.__name__}-{name}",
            (op,),
            (Input(SHAPES[name][0], left), Input(SHAPES[name][1], right)),
            function,
            reference,
            counterpart,
            **options,
        )
        for name in shapes
    ]


def unary(
    op: type,
    function: Callable[[Any], Any],
    reference: Callable[[Any], Any],
    counterpart: Callable[[Any], Any] | None = None,
    domain: Any = normal,
    **options: Any,
) -> list[Row]:
    """Rows for a matrix, a scalar and nothing at all."""
    return [
        Row(
            f"{op.__name__}-{'x'.join(map(str, shape)) or 'scalar'}",
            (op,),
            (Input(shape, domain),),
            function,
            reference,
            counterpart,
            **options,
        )
        for shape in ((3, 4), (), (2, 0))
    ]


def compare(op: type, function: Callable[..., Tensor], reference: Callable[..., Any]) -> list[Row]:
    """A comparison, with a scalar of equal values among the operands; it has no gradient."""
    few = integers(0, 3)
    name = op.__name__
    rows = binary(op, function, reference, reference, few, few, ("same", "outer", "scalar"))
    rows += [
        Row(
            f"{name}-int64",
            (op,),
            (Input((2, 3), few, "int64"), Input((3,), few, "int64")),
            function,
            reference,
            reference,
        ),
        Row(f"{name}-number", (op,), (Input((4,), few),), lambda x: function(x, 1.0),
            lambda x: reference(x, 1.0)),
    ]  # fmt: skip
    return [Row(**{**vars(row), "gradient": False}) for row in rows]


def logical(op: type, function: Callable[..., Tensor], reference: Callable[..., Any]) -> Row:
    arity = 1 if op is ops.LogicalNot else 2
    shapes = ((4, 3), (3,))[:arity]
    inputs = tuple(Input(shape, booleans, "bool") for shape in shapes)
    return Row(op.__name__, (op,), inputs, function, reference, gradient=False, half=False)


def cast_row(source: str, target: str, domain: Any) -> Row:
    return Row(
        f"Cast-{source}-{target}",
        (ops.Cast,),
        (Input((2, 3), domain, source),),
        lambda x: mg.cast(x, target),
        lambda x: x.astype(mg.DType.of(target).numpy),
        gradient=False,
        half=False,
        exact=True,
    )


def relu_grad(y: Tensor, g: Tensor) -> Tensor:
    return y.builder.emit(ops.ReluGrad(), y, g)[0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def leaky(slope: float) -> list[Row]:
    rows = unary(
        ops.LeakyRelu,
        lambda x: mg.leaky_relu(x, slope),
        lambda x: np.where(x > 0, x, slope * x),
        lambda x: F.leaky_relu(x, slope),
        off_zero,
    )
    return [Row(**{**vars(row), "name": f"{row.name}-slope-{slope:g}"}) for row in rows]


ARITHMETIC = [
    *binary(ops.Add, operator.add, np.add, operator.add),
    *binary(ops.Sub, operator.sub, np.subtract, operator.sub),
    *binary(ops.Mul, operator.mul, np.multiply, operator.mul),
    *binary(ops.Div, operator.truediv, np.divide, operator.truediv, right=positive),
    *binary(ops.Maximum, mg.maximum, np.maximum, lambda a, b: torch.maximum(a, b),
            distinct(), distinct(0.05)),
    *binary(ops.Minimum, mg.minimum, np.minimum, lambda a, b: torch.minimum(a, b),
            distinct(), distinct(0.05)),
    *(Row(f"Sub-large-{'x'.join(map(str, right)) or 'scalar'}", (ops.Sub,),
          (Input((3, 5, 9000)), Input(right)), operator.sub, np.subtract, operator.sub)
      for right in ((3, 5, 9000), (5, 9000), (9000,), (3, 1, 1), (1, 5, 1), ())),
    Row("Add-number-right", (ops.Add,), (Input((2, 3)),), lambda x: x + 1.5, lambda x: x + 1.5),
    Row("Add-number-left", (ops.Add,), (Input((2, 3)),), lambda x: 2 + x, lambda x: 2 + x),
    Row("Sub-number-left", (ops.Sub,), (Input((2, 3)),), lambda x: 0.5 - x, lambda x: 0.5 - x),
    Row("Div-number-left", (ops.Div,), (Input((2, 3), positive),), lambda x: 2.0 / x,
        lambda x: 2 / x),
    Row("Mul-itself", (ops.Mul,), (Input((2, 3)),), lambda x: x * x, lambda x: x**2),
    Row("Div-itself-shared", (ops.Div,), (Input((2, 3), positive),), lambda x: x / (x + x * x),
        lambda x: 1 / (1 + x)),
    Row("Mul-reused", (ops.Mul, ops.Sub), (Input((2, 1)), Input((1, 3))),
        lambda a, b: (a * b - a) * (a - b), lambda a, b: (a * b - a) * (a - b)),
    Row("Add-int32", (ops.Add,), (Input((2, 3), integers(-9, 9), "int32"),
        Input((3,), integers(-9, 9), "int32")), operator.add, np.add, operator.add,
        gradient=False, half=False),
    Row("Maximum-ties", (ops.Maximum,), (Input((4,), integers(0, 2)), Input((4,), integers(0, 2))),
        mg.maximum, np.maximum, lambda a, b: torch.maximum(a, b), gradient=False),
    Row("Neg-int64", (ops.Neg,), (Input((3,), integers(-5, 5), "int64"),), operator.neg,
        np.negative, gradient=False, half=False),
    Row("Mul-constant", (ops.Mul, Constant), (Input((2, 3)),),
        lambda x: x * mg.cast(x.builder.constant(np.array([1.0, -2.0, 0.5])), x.dtype),
        lambda x: x * [1.0, -2.0, 0.5]),
    Row("Mul-full", (ops.Mul, Full), (Input((2, 3)),),
        lambda x: x * x.builder.full((2, 3), -1.25, x.dtype), lambda x: x * -1.25),
]  # fmt: skip

FUNCTIONS = [
    *unary(ops.Neg, operator.neg, np.negative, operator.neg, exact=True),
    *unary(ops.Abs, abs, np.abs, abs, off_zero, exact=True),
    *unary(ops.Sign, ops.sign, np.sign, lambda x: torch.sign(x), off_zero, exact=True),
    *unary(ops.Sqrt, mg.sqrt, np.sqrt, lambda x: torch.sqrt(x), positive),
    *unary(ops.Exp, mg.exp, np.exp, lambda x: torch.exp(x)),
    *unary(ops.Log, mg.log, np.log, lambda x: torch.log(x), positive),
    *unary(ops.Relu, mg.relu, lambda x: np.maximum(x, 0), lambda x: F.relu(x), off_zero,
           exact=True),
    *leaky(0.01),
    *leaky(0.0),
    *leaky(1.5),
    *unary(ops.Sigmoid, mg.sigmoid, sigmoid, lambda x: torch.sigmoid(x)),
    *unary(ops.Tanh, mg.tanh, np.tanh, lambda x: torch.tanh(x)),
    Row("Sigmoid-extreme", (ops.Sigmoid,), (Input((5,), exactly([-700.0, -40, 0, 40, 700])),),
        mg.sigmoid, sigmoid, lambda x: torch.sigmoid(x), half=False),
    Row("Relu-large", (ops.Relu,), (Input((3, 40000), off_zero),), mg.relu,
        lambda x: np.maximum(x, 0), gradient=False, exact=True),
    Row("ReluGrad", (ops.ReluGrad,), (Input((3, 4), off_zero), Input((3, 4))), relu_grad,
        lambda y, g: np.where(y > 0, g, 0.0), exact=True),
    Row("ReluGrad-zero", (ops.ReluGrad,), (Input((3,), exactly([0.0, -0.0, 1.0])), Input((3,))),
        relu_grad, lambda y, g: np.where(y > 0, g, 0.0), gradient=False, exact=True),
    Row("ReluGrad-large", (ops.ReluGrad,), (Input((3, 40000), off_zero), Input((3, 40000))),
        relu_grad, lambda y, g: np.where(y > 0, g, 0.0), gradient=False, exact=True),
]  # fmt: skip

CHOICE = [
    *compare(ops.Equal, ops.equal, operator.eq),
    *compare(ops.NotEqual, ops.not_equal, operator.ne),
    *compare(ops.Less, operator.lt, operator.lt),
    *compare(ops.LessEqual, operator.le, operator.le),
    *compare(ops.Greater, operator.gt, operator.gt),
    *compare(ops.GreaterEqual, operator.ge, operator.ge),
    logical(ops.LogicalAnd, operator.and_, np.logical_and),
    logical(ops.LogicalOr, operator.or_, np.logical_or),
    logical(ops.LogicalNot, operator.invert, np.logical_not),
    Row("Where-same", (ops.Where,), (Input((2, 3), booleans, "bool"), Input((2, 3)),
        Input((2, 3))), mg.where, np.where, lambda c, a, b: torch.where(c, a, b), exact=True),
    Row("Where-outer", (ops.Where,), (Input((4, 1), booleans, "bool"), Input((2, 1, 3)),
        Input((3,))), mg.where, np.where, lambda c, a, b: torch.where(c, a, b), exact=True),
    Row("Where-scalar-condition", (ops.Where,), (Input((), booleans, "bool"), Input((2, 3)),
        Input(())), mg.where, np.where, lambda c, a, b: torch.where(c, a, b), exact=True),
    Row("Where-empty", (ops.Where,), (Input((0, 1), booleans, "bool"), Input((1, 3)),
        Input(())), mg.where, np.where, exact=True),
    Row("Where-number", (ops.Where,), (Input((3,), booleans, "bool"), Input((2, 3))),
        lambda c, x: mg.where(c, x, 0.5), lambda c, x: np.where(c, x, 0.5), exact=True),
    Row("Where-compared", (ops.Where, ops.Greater), (Input((2, 3), off_zero),),
        lambda x: mg.where(x > 0, mg.exp(x), x * x),
        lambda x: np.where(x > 0, np.exp(x), x * x)),
]  # fmt: skip

CASTS = [
    cast_row("float64", "float32", normal),
    cast_row("float64", "float16", normal),
    cast_row("float32", "bfloat16", normal),
    cast_row("float64", "int32", lambda rng, shape: rng.uniform(-5, 5, shape)),
    cast_row("int64", "uint8", integers(0, 256)),
    cast_row("int32", "float64", integers(-9, 9)),
    cast_row("float64", "bool", integers(0, 2)),
    cast_row("bool", "float32", booleans),
    cast_row("bool", "int64", booleans),
    Row("Cast-there-and-back", (ops.Cast,), (Input((2, 3), integers(-9, 9)),),
        lambda x: mg.cast(mg.cast(x, "float32"), x.dtype) * x, lambda x: x * x,
        half=False, gradient=False),
]  # fmt: skip

ROWS = [*ARITHMETIC, *FUNCTIONS, *CHOICE, *CASTS]
