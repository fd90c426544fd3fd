"""What the operators of a Tensor emit, and builders that know it."""

from __future__ import annotations

from minigraph.ir.builder import Builder, Operators
from minigraph.ir.graph import Graph
from minigraph.ops import elementary, elementwise, matmul, shape

OPERATORS: Operators = {
    "add": elementwise.add,
    "sub": elementwise.sub,
    "mul": elementwise.mul,
    "div": elementwise.div,
    "pow": elementary.power,
    "neg": elementwise.neg,
    "abs": elementwise.absolute,
    "matmul": matmul.matmul,
    "less": elementwise.less,
    "less_equal": elementwise.less_equal,
    "greater": elementwise.greater,
    "greater_equal": elementwise.greater_equal,
    "logical_and": elementwise.logical_and,
    "logical_or": elementwise.logical_or,
    "logical_not": elementwise.logical_not,
    "getitem": shape.getitem,
}


def new_builder(graph: Graph | None = None) -> Builder:
    """A builder whose tensors have operators; on top of ``graph`` if one is given."""
    return Builder(OPERATORS, graph)
