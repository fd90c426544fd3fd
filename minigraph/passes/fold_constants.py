"""Compute at compile time what depends on constants alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigraph.ir.constant import Constant, Full
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.tensor import Tensor
from minigraph.ops import broadcast, elementwise, reduce
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite

_FUNCTIONS: dict[type, Callable[..., np.ndarray]] = {
    elementwise.Add: np.add,
    elementwise.Sub: np.subtract,
    elementwise.Mul: np.multiply,
    elementwise.Div: np.divide,
    elementwise.Maximum: np.maximum,
    elementwise.Minimum: np.minimum,
    elementwise.Neg: np.negative,
    elementwise.Abs: np.abs,
    elementwise.Sqrt: np.sqrt,
    elementwise.Equal: np.equal,
    elementwise.NotEqual: np.not_equal,
    elementwise.Less: np.less,
    elementwise.LessEqual: np.less_equal,
    elementwise.Greater: np.greater,
    elementwise.GreaterEqual: np.greater_equal,
    elementwise.LogicalAnd: np.logical_and,
    elementwise.LogicalOr: np.logical_or,
    elementwise.LogicalNot: np.logical_not,
    elementwise.Where: np.where,
}  # operations that IEEE 754 defines to the last bit (exp and the like differ between backends)

_MAX_ELEMENTS = 4096  # larger results are left to be computed once, at run time


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes whose inputs are constants by their value; uniform values stay ``Full``.

    Preserves values to the last bit: only exactly defined arithmetic is folded. A node whose
    value is not finite is left alone, so that the run shows where it comes from.
    """
    known: dict[Value, np.ndarray] = {}

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        folded = _fold(graph, node, known)
        if folded is None or not np.isfinite(folded.astype(np.float64)).all():
            return None
        (output,) = node.outputs
        known[output] = folded
        if isinstance(node.op, Constant | Full):
            return None
        if _is_uniform(folded):
            return (emitter.full(output.spec.shape, folded.flat[0].item(), output),)
        return (emitter.constant(folded),)

    return eliminate_dead_nodes(rewrite(graph, rule))


def _is_uniform(array: np.ndarray) -> bool:
    """One value throughout, to the bit: 0.0 and -0.0 are two."""
    if not array.size:
        return False
    signs = np.signbit(array.astype(np.float64))
    return bool((array == array.flat[0]).all() and (signs == signs.flat[0]).all())


def _fold(graph: Graph, node: Node, known: dict[Value, np.ndarray]) -> np.ndarray | None:
    op, spec = node.op, node.outputs[0].spec
    if spec.size > _MAX_ELEMENTS:
        return None
    if isinstance(op, Constant):
        return graph.constants[op.digest]
    if isinstance(op, Full):
        return np.full(op.shape, op.value, op.dtype.numpy)
    if isinstance(op, reduce.Count):
        return np.array(op.value(node.inputs[0].spec), op.dtype.numpy)
    if any(value not in known for value in node.inputs):
        return None
    arrays = [known[value] for value in node.inputs]
    if isinstance(op, broadcast.Reshape):
        return arrays[0].reshape(spec.shape)
    if isinstance(op, broadcast.Expand):
        return np.broadcast_to(arrays[0], spec.shape)
    with np.errstate(all="ignore"):
        if isinstance(op, elementwise.Cast):
            return arrays[0].astype(spec.dtype.numpy)
        function = _FUNCTIONS.get(type(op))
        return None if function is None else np.asarray(function(*arrays), spec.dtype.numpy)
