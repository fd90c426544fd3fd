"""Fold what batch norm does in inference into the weights of the convolution before it."""

from __future__ import annotations

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.op import Op
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import Reshape
from minigraph.ops.conv import Conv2d
from minigraph.ops.elementwise import Add, Mul, Neg, Sub
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite


def fold_batch_norm(graph: Graph) -> Graph:
    """``(conv(x, w) + b - mean) * factor + shift`` becomes ``conv(x, w * factor) + shift'``.

    A convolution is linear in its weights, and so a factor a channel may be applied to them
    beforehand: ``shift' = (b - mean) * factor + shift``. Both depend on the state alone, so that a
    compiled function computes them once per version of the state. Folded are additions,
    subtractions and products with one number a channel that depends on no input, where there is a
    product among them. A graph with updates is left alone: its weights change in every call.
    Preserves values up to rounding.
    """
    if graph.updates:
        return graph
    stable = _stable(graph)
    chains: dict[Node, tuple[Node, ...]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Conv2d) and node.inputs[1] in stable:
            chain = _chain(graph, node, stable)
            if any(isinstance(member.op, Mul) for member in chain):
                chains[chain[-1]] = chain

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        return _folded(emitter, chains[node]) if node in chains else None

    folded = rewrite(graph, rule, absorbed=lambda node: chains.get(node, ()))
    return eliminate_dead_nodes(folded)


def _stable(graph: Graph) -> set[Value]:
    """Values that depend on no input."""
    stable = {state.value for state in graph.state}
    for node in graph.nodes:
        if not node.op.may_refuse and stable.issuperset(node.inputs):
            stable.update(node.outputs)
    return stable


def _chain(graph: Graph, convolution: Node, stable: set[Value]) -> tuple[Node, ...]:
    """The convolution and the foldable ops after it."""
    chain: tuple[Node, ...] = (convolution,)
    while True:
        (value,) = chain[-1].outputs
        if not graph.has_single_use(value):
            return chain
        (reader,) = graph.users[value]
        if not _is_foldable(reader, value, stable):
            return chain
        chain = (*chain, reader)


def _is_foldable(reader: Node, value: Value, stable: set[Value]) -> bool:
    if not isinstance(reader.op, Add | Sub | Mul) or reader.outputs[0].spec != value.spec:
        return False
    if isinstance(reader.op, Sub) and reader.inputs[0] is not value:
        return False
    other = _other(reader, value)
    channels = (1, value.spec.shape[1], 1, 1)
    return other in stable and (other.spec.shape == channels or other.spec.size == 1)


def _other(reader: Node, value: Value) -> Value:
    first, second = reader.inputs
    return second if first is value else first


def _folded(emitter: Emitter, chain: tuple[Node, ...]) -> tuple[Tensor, ...]:
    """``factor`` and ``shift`` of all ops after the convolution, applied to it."""
    convolution = chain[0]
    factor: Tensor | None = None
    shift: Tensor | None = None
    for node, before in zip(chain[1:], chain, strict=False):
        number = emitter.resolve(_other(node, before.outputs[0]))
        if isinstance(node.op, Mul):
            factor = number if factor is None else _emit(emitter, Mul(), factor, number)
            shift = None if shift is None else _emit(emitter, Mul(), shift, number)
        elif shift is None:
            shift = number if isinstance(node.op, Add) else _emit(emitter, Neg(), number)
        else:
            shift = _emit(emitter, node.op, shift, number)
    assert factor is not None
    x, weight = (emitter.resolve(value) for value in convolution.inputs)
    if len(factor.shape) == 4:
        factor = _emit(emitter, Reshape((-1, 1, 1, 1)), factor)
    scaled = _emit(emitter, Mul(), weight, factor)
    (result,) = emitter.emit(convolution.op, x, scaled, name=convolution.name)
    return (result,) if shift is None else emitter.emit(Add(), result, shift)


def _emit(emitter: Emitter, op: Op, *operands: Tensor) -> Tensor:
    return emitter.emit(op, *operands, name=f"folded.{op.name}")[0]
