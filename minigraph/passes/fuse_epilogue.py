"""Fuse a convolution or matrix product with the elementwise ops that follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.elementwise import Elementwise
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite

_ANCHORS = (Conv2d, ConvTranspose2d, MatMul)

CanFuse = Callable[[Body, tuple[TensorSpec, ...]], object]
"""Whether a backend is able to run a body on inputs of these specs: true or false as a bool."""


@dataclass(frozen=True)
class FuseEpilogue:
    """Anchor, then elementwise ops in its iteration space, as one ``Fused``.

    Other operands are scalars, one a channel (bias), or one an element (a residual, the output of
    a ReLU whose gradient this is).

    Legal where every intermediate has one use and is no output: the chain is then convex, and its
    values need no memory of their own. ``can_fuse`` is the backend's word on what it is able to
    run; ``longest`` bounds the chains, as each longer one is asked for anew. Preserves values to
    the last bit; 16-bit floats are rounded once at the end instead of after each op.
    """

    can_fuse: CanFuse
    longest: int = 24

    def __call__(self, graph: Graph) -> Graph:
        chains = _chains(graph, self.can_fuse, self.longest)

        def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
            chain = chains.get(node)
            if chain is None:
                return None
            body, operands = _body(chain)
            return emitter.emit(Fused(body), *operands)

        fused = rewrite(graph, rule, absorbed=lambda node: chains.get(node, ()))
        return eliminate_dead_nodes(fused)


def _chains(graph: Graph, can_fuse: CanFuse, longest: int) -> dict[Node, tuple[Node, ...]]:
    """The longest fusable chain from each convolution, under its last node."""
    chains: dict[Node, tuple[Node, ...]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, _ANCHORS):
            continue
        chain: tuple[Node, ...] = (node,)
        while len(chain) < longest and (following := _next(graph, chain[-1])) is not None:
            body, operands = _body((*chain, following))
            if not can_fuse(body, tuple(value.spec for value in operands)):
                break
            chain = (*chain, following)
        if len(chain) > 1:
            chains[chain[-1]] = chain
    return chains


def _next(graph: Graph, node: Node) -> Node | None:
    """The only reader of the node's value, if it continues the chain."""
    (value,) = node.outputs
    if not graph.has_single_use(value):
        return None
    (reader,) = graph.users[value]
    if not isinstance(reader.op, Elementwise) or reader.outputs[0].spec != value.spec:
        return None
    others = (operand for operand in reader.inputs if operand is not value)
    return reader if all(_fits(operand, value) for operand in others) else None


def _fits(operand: Value, value: Value) -> bool:
    """One an element, or one a channel, or one number."""
    if operand.spec.shape == value.spec.shape:
        return True
    shape, ndim = operand.spec.shape, value.spec.ndim
    padded = (1,) * (ndim - len(shape)) + shape
    return all(size == 1 for axis, size in enumerate(padded) if axis != 1)


def _body(chain: tuple[Node, ...]) -> tuple[Body, tuple[Value, ...]]:
    """The chain as a body, and the values that it reads from outside."""
    inside = {node.outputs[0]: position for position, node in enumerate(chain)}
    operands = tuple(
        dict.fromkeys(value for node in chain for value in node.inputs if value not in inside)
    )
    number = {value: position for position, value in enumerate(operands)}
    number |= {value: len(operands) + position for value, position in inside.items()}
    instructions = tuple(
        Instruction(node.op, tuple(number[value] for value in node.inputs)) for node in chain
    )
    return Body(len(operands), instructions, (len(operands) + len(chain) - 1,)), operands
