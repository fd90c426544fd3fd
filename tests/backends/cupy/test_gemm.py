"""Products and convolutions larger than a tile, in parts, in groups, and with epilogues."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import op_references as ref
import pytest
from cupy_cases import emulated, needs_compiler
from op_table import Input, Row, compile_forward, feed, run
from test_ops import assert_close

import minigraph as mg
from minigraph.backends.cupy.kernels import gemm_calls
from minigraph.backends.cupy.kernels.gemm_calls import Extents, Shares, shares
from minigraph.executable import Executable
from minigraph.ops import conv
from minigraph.ops.fused import Fused
from minigraph.ops.matmul import MatMul

ONE = ((1, 1), (1, 1))


def row(name: str, shapes: list[tuple[int, ...]], function: Any, reference: Any) -> Row:
    return Row(name, (), tuple(map(Input, shapes)), function, reference)


def product(name: str, a: tuple[int, ...], b: tuple[int, ...], left: str, right: str) -> Row:
    """``left`` and ``right`` are the axes of the operands: "ik" or "ki", "kj" or "jk"."""
    op = MatMul(left == "ki", right == "jk")
    return row(
        f"product-{name}",
        [a, b],
        lambda a, b: a.builder.emit(op, a, b)[0],
        lambda a, b: np.einsum(f"...{left},...{right}->...ij", a, b),
    )


def convolution(name: str, x: tuple[int, ...], w: tuple[int, ...], *how: Any) -> Row:
    """``how``: stride, padding, dilation, groups."""
    return row(
        f"convolution-{name}",
        [x, w],
        lambda x, w: conv.conv2d(x, w, *how),
        lambda x, w: ref.conv2d(x, w, *how),
    )


def transposed(name: str, x: tuple[int, ...], w: tuple[int, ...], *how: Any) -> Row:
    """``how``: stride, padding, dilation, groups, output padding."""
    return row(
        f"transposed-{name}",
        [x, w],
        lambda x, w: conv.conv_transpose2d(x, w, how[0], how[1], how[4], how[2], how[3]),
        lambda x, w: ref.conv_transpose2d(x, w, *how),
    )


def weight_gradient(
    name: str, x: tuple[int, ...], gy: tuple[int, ...], op: conv.Conv2dGradWeight
) -> Row:
    return row(
        f"weight-gradient-{name}",
        [x, gy],
        lambda x, gy: x.builder.emit(op, x, gy)[0],
        lambda x, gy: ref.conv2d_grad_weight(
            x, gy, op.kernel, op.stride, op.padding, op.dilation, op.groups
        ),
    )


NONE = ((0, 0), (0, 0))
ROWS = [
    product("tails", (130, 37), (37, 70), "ik", "kj"),
    product("packs", (136, 48), (48, 68), "ik", "kj"),
    product("packs-both-transposed", (48, 72), (68, 48), "ki", "jk"),
    product("narrow", (150, 20), (20, 30), "ik", "kj"),
    product("narrowest", (270, 20), (12, 20), "ik", "jk"),
    product("flat", (9, 33), (33, 300), "ik", "kj"),
    product("parts", (20, 1000), (1000, 30), "ik", "kj"),
    product("parts-of-a-batch", (2, 3, 20, 300), (3, 300, 12), "ik", "kj"),
    convolution("packs", (2, 8, 11, 13), (68, 8, 3, 3), (1, 1), ONE),
    convolution("three-channels", (2, 3, 15, 12), (32, 3, 3, 3), (2, 2), ONE),
    convolution("groups", (1, 16, 9, 8), (24, 8, 3, 3), (1, 2), ONE, (2, 1), 2),
    convolution("parts", (1, 64, 5, 6), (20, 64, 3, 3), (1, 1), ONE),
    convolution("1x1-parts-in-groups", (1, 512, 3, 4), (16, 256, 1, 1), (1, 1), NONE, (1, 1), 2),
    transposed("packs", (2, 8, 7, 6), (8, 12, 3, 3), (2, 2), ONE, (1, 1), 1, (1, 1)),
    transposed("parts", (1, 64, 3, 4), (64, 8, 4, 4), (2, 2), ONE, (1, 1), 1, (0, 0)),
    transposed("groups", (1, 16, 5, 4), (16, 8, 3, 3), (3, 2), NONE, (1, 2), 2, (2, 1)),
    transposed("depthwise", (2, 5, 4, 6), (5, 1, 4, 5), (2, 3), ONE, (1, 1), 5, (1, 0)),
    convolution("depthwise", (2, 40, 9, 8), (40, 1, 3, 3), (2, 1), ONE, (1, 2), 40),
    transposed("1x1", (2, 12, 5, 4), (12, 20, 1, 1), (1, 1), NONE, (1, 1), 1, (0, 0)),
    transposed("stride-above-output", (1, 8, 1, 1), (8, 4, 1, 2), (4, 5), NONE, (1, 1), 1, (0, 0)),
    weight_gradient("parts", (2, 5, 40, 41), (2, 6, 40, 41),
                    conv.Conv2dGradWeight((3, 3), padding=ONE)),
    weight_gradient("packs", (2, 8, 12, 13), (2, 12, 6, 7),
                    conv.Conv2dGradWeight((3, 3), (2, 2), ONE)),
    weight_gradient("1x1", (2, 20, 9, 11), (2, 12, 9, 11), conv.Conv2dGradWeight((1, 1))),
    weight_gradient("groups", (1, 16, 9, 8), (1, 24, 9, 8),
                    conv.Conv2dGradWeight((3, 3), (1, 1), ONE, (1, 1), 2)),
]  # fmt: skip


FUSED = [
    row("bias-relu", [(2, 8, 9, 7), (12, 8, 3, 3), (1, 12, 1, 1)],
        lambda x, w, b: mg.relu(conv.conv2d(x, w, padding=1) + b),
        lambda x, w, b: np.maximum(ref.conv2d(x, w, padding=ONE) + b, 0)),
    row("residual-in-parts", [(1, 64, 5, 6), (12, 64, 3, 3), (1, 12, 1, 1), (1, 12, 5, 6)],
        lambda x, w, b, r: mg.relu(conv.conv2d(x, w, padding=1) * b + r),
        lambda x, w, b, r: np.maximum(ref.conv2d(x, w, padding=ONE) * b + r, 0)),
    row("scalar-in-groups", [(1, 4, 6, 5), (6, 2, 3, 3), (1, 6, 1, 1), (1, 1, 1, 1)],
        lambda x, w, b, s: (conv.conv2d(x, w, groups=2) + b) * s,
        lambda x, w, b, s: (ref.conv2d(x, w, groups=2) + b) * s),
    row("transposed", [(2, 8, 5, 4), (8, 12, 2, 2), (1, 12, 1, 1), (2, 12, 10, 8)],
        lambda x, w, b, r: mg.tanh(conv.conv_transpose2d(x, w, 2) + b) - r,
        lambda x, w, b, r: np.tanh(ref.conv_transpose2d(x, w, (2, 2)) + b) - r),
    row("dense", [(9, 40), (40, 20), (20,), (9, 20)],
        lambda a, b, c, d: mg.relu(a @ b + c) - d,
        lambda a, b, c, d: np.maximum(a @ b + c, 0) - d),
    row("dense-in-parts", [(9, 400), (400, 30), (1, 30)],
        lambda a, b, c: mg.sigmoid(a @ b + c),
        lambda a, b, c: 1 / (1 + np.exp(-(a @ b + c)))),
]  # fmt: skip

HALVES = [
    row_ for row_ in (*ROWS, *FUSED)
    if row_.name in {"convolution-packs", "product-parts", "weight-gradient-packs", "bias-relu",
                     "residual-in-parts", "transposed-packs"}
]  # fmt: skip


@pytest.fixture(scope="module")
def executables() -> Mapping[str, Executable]:
    """All that is run, built before the first is, so that all kernels are compiled at once."""
    return {r.name: compile_forward(r, "float32", backend=emulated(True)) for r in (*ROWS, *FUSED)}


def check(row: Row, dtype: str, executable: Executable, bound: float) -> None:
    arrays = row.draw(dtype)
    (got,) = run(executable, feed(arrays)).values()
    (expected,) = row.expected(arrays)
    assert_close(got, expected, bound)


@needs_compiler
@pytest.mark.parametrize("row", [*ROWS, *FUSED], ids=lambda row: row.name)
def test_results(row: Row, executables: Mapping[str, Executable]) -> None:
    check(row, "float32", executables[row.name], 3e-6)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("row", HALVES, ids=lambda row: row.name)
def test_16_bit_sums_are_rounded_once(row: Row) -> None:
    executable = compile_forward(row, "bfloat16", backend=emulated(True))
    check(row, "bfloat16", executable, 1.01 * 2.0**-8)


@needs_compiler
@pytest.mark.parametrize("row", FUSED, ids=lambda row: row.name)
def test_epilogues_leave_one_node(row: Row, executables: Mapping[str, Executable]) -> None:
    ops = [node.op for node in executables[row.name].graph.nodes]
    assert [type(op) for op in ops] == [Fused]


@needs_compiler
def test_large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 128 x 128, where there are enough of them."""
    monkeypatch.setattr(gemm_calls, "_BLOCKS", 1)
    assert shares(Extents(240, 250, 40)).tile.thread_rows == 8
    for shapes in (((240, 20), (20, 244)), ((239, 19), (19, 245))):
        found = product("large", *shapes, "ik", "kj")
        check(found, "float32", compile_forward(found, "float32", backend=emulated(True)), 3e-6)


@pytest.mark.parametrize("rows", [1, 16, 200, 5000, 10**6])
@pytest.mark.parametrize("columns", [1, 16, 27, 64, 300, 4608])
@pytest.mark.parametrize("depth", [0, 27, 4608, 10**6])
def test_parts_have_something_to_sum(rows: int, columns: int, depth: int) -> None:
    how: Shares = shares(Extents(rows, columns, depth))
    assert 1 <= how.parts <= max(math.ceil(depth / 128), 1)
    assert how.parts == 1 or how.parts * Extents(rows, columns, depth).tiles(how.tile) <= 264
