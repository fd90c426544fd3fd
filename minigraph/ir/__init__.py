"""The intermediate representation: specs, operations, graphs; how they are built and checked."""

from minigraph.ir.builder import Builder
from minigraph.ir.footprint import Footprint
from minigraph.ir.graph import Graph, Node, Role, State, Value
from minigraph.ir.op import Cost, Op
from minigraph.ir.spec import DType, TensorSpec, promote
from minigraph.ir.tensor import Tensor
from minigraph.ir.text import parse
from minigraph.ir.verify import verify

__all__ = [
    "Builder",
    "Cost",
    "DType",
    "Footprint",
    "Graph",
    "Node",
    "Op",
    "Role",
    "State",
    "Tensor",
    "TensorSpec",
    "Value",
    "parse",
    "promote",
    "verify",
]
