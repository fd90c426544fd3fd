"""What follows from every row of the op table; see ``op_table.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import op_rows_activation
import op_rows_conv
import op_rows_elementwise
import op_rows_indexing
import op_rows_loss
import op_rows_norm
import op_rows_shape
import op_rows_spatial
import op_table
import pytest
from op_table import Differentiated, Row, check_gradients, compile_forward, feed, listed, run

from minigraph.backends.numpy.backend import KERNELS
from minigraph.ir import parse
from minigraph.ir.constant import Constant
from minigraph.ops import ALL_OPS, TEXT_CLASSES, broadcast, control, elementwise, shape

ROWS = [
    *op_rows_elementwise.ROWS,
    *op_rows_shape.ROWS,
    *op_rows_conv.ROWS,
    *op_rows_spatial.ROWS,
    *op_rows_loss.ROWS,
    *op_rows_activation.ROWS,
    *op_rows_norm.ROWS,
    *op_rows_indexing.ROWS,
]

NO_ROW = {
    control.WhenTraining: "a pass replaces it before anything runs: see test_control.py",
}
NO_KERNEL = {
    Constant: "its array is copied into the arena when a program is built",
    broadcast.Reshape: "a view",
    shape.Flatten: "a view",
    shape.Squeeze: "a view",
    shape.ExpandDims: "a view",
    control.WhenTraining: "a pass replaces it before anything runs",
}


def rows(*conditions: str) -> Any:
    """Parametrises a test over the rows for which all these attributes hold."""
    chosen = [row for row in ROWS if all(getattr(row, name) for name in conditions)]
    return pytest.mark.parametrize("row", chosen, ids=lambda row: row.name)


def assert_close(got: np.ndarray, expected: np.ndarray, bound: float) -> None:
    """The same shape and, up to ``bound`` times the largest element (at least 1), values."""
    assert got.shape == expected.shape
    wide, reference = got.astype(np.float64), expected.astype(np.float64)
    assert np.isfinite(wide).all()
    scale = max(float(np.abs(reference).max(initial=0.0)), 1.0)
    np.testing.assert_allclose(wide, reference, rtol=0, atol=bound * scale)


def check_forward(
    row: Row, dtype: str, bound: float, passes: tuple[Any, ...] | None = None
) -> None:
    arrays = row.draw(dtype)
    results = list(run(compile_forward(row, dtype, passes), feed(arrays)).values())
    expected = row.expected(arrays)
    assert len(results) == len(expected)
    for got, reference in zip(results, expected, strict=True):
        if reference.dtype.kind == "f":
            assert_close(got, reference, bound)
        else:
            assert got.dtype == reference.dtype
            np.testing.assert_array_equal(got, reference)


# ---- the table is complete


def test_every_op_has_a_row_or_a_reason() -> None:
    tested = {op for row in ROWS for op in row.ops}
    assert [op for op in ALL_OPS if op not in tested and op not in NO_ROW] == []
    assert [op for op in NO_ROW if op in tested] == []


def test_every_op_has_a_numpy_kernel_or_a_reason() -> None:
    assert [op for op in ALL_OPS if op not in KERNELS and op not in NO_KERNEL] == []
    assert [op for op in NO_KERNEL if op in KERNELS] == []


def test_row_names_are_unique() -> None:
    names = [row.name for row in ROWS]
    assert sorted(names) == sorted(set(names))


# ---- values


@rows()
def test_forward_float64(row: Row) -> None:
    check_forward(row, "float64", 0.0 if row.exact else 2e-13)


@rows()
def test_forward_without_passes(row: Row) -> None:
    check_forward(row, "float64", 0.0 if row.exact else 2e-13, passes=())


@rows()
def test_forward_float32(row: Row) -> None:
    check_forward(row, "float32", 0.0 if row.exact and row.floating else row.tolerance32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@rows("half", "floating")
def test_forward_16_bit(row: Row, dtype: str) -> None:
    step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    check_forward(row, dtype, row.half_steps * step)


@pytest.mark.skipif(op_table.torch is None, reason="torch is not installed")
@rows("torch")
def test_forward_equals_torch(row: Row) -> None:
    torch = op_table.torch
    arrays = row.draw(seed=1)
    assert row.torch is not None
    expected = listed(row.torch(*(torch.from_numpy(np.array(array)) for array in arrays)))
    results = run(compile_forward(row, "float64"), feed(arrays)).values()
    for got, reference in zip(results, expected, strict=True):
        assert_close(got, reference.numpy(), 1e-12)


# ---- gradients


@rows("gradient", "floating")
def test_gradient(row: Row) -> None:
    found = Differentiated(row)
    check_gradients(found.first(), found.arrays)


@rows("gradient", "floating")
def test_gradient_of_gradient(row: Row) -> None:
    found = Differentiated(row)
    check_gradients(found.second(), found.arrays)


# ---- what the compiler relies on


def graphs(row: Row) -> list[Any]:
    """The row's graph, and those of its gradients."""
    found = [compile_forward(row, "float64").compiled]
    if row.gradient and row.floating:
        found += [Differentiated(row).second().compiled]
    return [graph for compiled in found for graph in (compiled.built, compiled.graph)]


@rows()
def test_text_and_cost(row: Row) -> None:
    built, *rest = graphs(row)
    used = {type(node.op) for node in built.nodes}
    assert set(row.ops) <= used
    for graph in (built, *rest):
        parsed = parse(str(graph), TEXT_CLASSES, graph.constants)
        assert parsed == graph
        assert str(parsed) == str(graph)
        for node in graph.nodes:
            check_cost(node)


def check_cost(node: Any) -> None:
    specs = [value.spec for value in node.inputs]
    cost = node.op.cost(*specs)
    parts = (cost.flops, cost.bytes_read, cost.bytes_written)
    assert all(isinstance(part, int) and part >= 0 for part in parts)
    if node.op.is_view:
        assert parts == (0, 0, 0)
    elif cost.bytes:
        assert cost.bytes_written == sum(value.spec.nbytes for value in node.outputs)
        assert cost.bytes_read <= max(sum(spec.nbytes for spec in specs), cost.bytes_written)
        arithmetic = isinstance(node.op, elementwise.Elementwise)
        assert cost.flops >= node.outputs[0].spec.size or not arithmetic


def test_convolution_cost_counts_multiply_adds() -> None:
    row = next(row for row in ROWS if row.name == "Conv2d-groups")
    (node,) = compile_forward(row, "float32").compiled.built.nodes
    # 6 maps of 5x6 for each of 2 images; each output sums 2 channels of 3x3.
    cost = node.op.cost(*(value.spec for value in node.inputs))
    assert cost.flops == 2 * (2 * 6 * 5 * 6) * (2 * 3 * 3)
    assert cost.bytes_read == 4 * (2 * 4 * 5 * 6 + 6 * 2 * 3 * 3)
    assert cost.bytes_written == 4 * (2 * 6 * 5 * 6)
