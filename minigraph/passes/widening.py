"""16-bit values that float32 work reads: they are kept in 16 bit, and widened where they are read.

A cast to float32 is one value (common subexpressions are merged), and so it would be kept from its
first reader to its last, from the forward pass into the backward one: twice the bytes of what it
was made of. Both passes leave a graph without such casts as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import Add, Cast, Div, Elementwise, Mul, Sub
from minigraph.ops.loss import CrossEntropy, CrossEntropyGrad
from minigraph.ops.norm import ChannelMoments, GroupMoments
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite

_WIDENING = (ChannelMoments, GroupMoments, CrossEntropy)  # float32 results of 16-bit operands
_ARITHMETIC = (Add, Sub, Mul, Div)
_LONGEST = 6  # ops that are computed again for one reader: a batch norm has five


def read_narrow(graph: Graph) -> Graph:
    """Let ops that widen 16-bit operands by themselves read those, not their float32 copies.

    Moments and the loss: ``ChannelMoments(float32(x))`` becomes ``ChannelMoments(x)``; and the
    loss's gradient, where it is rounded at once: ``bfloat16(CrossEntropyGrad(float32(x), ...))``
    becomes ``CrossEntropyGrad(x, ...)``. A 16-bit value that was widened and is rounded again is
    itself. Preserves values up to the order in which a kernel adds.
    """
    widened = _widened(graph)
    if not widened:
        return graph

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        if isinstance(node.op, _WIDENING) and node.inputs[0] in widened:
            return emitter.emit(node.op, widened[node.inputs[0]], *node.inputs[1:])
        if not isinstance(node.op, Cast):
            return None
        narrow = widened.get(node.inputs[0])
        if narrow is not None and narrow.spec == node.outputs[0].spec:
            return (narrow,)
        maker = graph.producer.get(node.inputs[0])
        if maker is None or not isinstance(maker.op, CrossEntropyGrad):
            return None
        logits = widened.get(maker.inputs[0])
        if logits is None or logits.spec != node.outputs[0].spec:
            return None
        return emitter.emit(maker.op, logits, *maker.inputs[1:])

    return eliminate_dead_nodes(rewrite(graph, rule))


def recompute_widening(graph: Graph) -> Graph:
    """Compute float32 images that are made of 16-bit ones anew for each elementwise reader.

    Such are casts, and sums, differences, products and quotients of casts and of what is smaller:
    ``float32(x) - mean``, say, which the backward pass of a batch norm reads as well. They cost
    little, and fuse with what reads them. Preserves values to the last bit.
    """
    widened = _widened(graph)
    if not widened:
        return graph
    light = _light(graph, widened)

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        if not isinstance(node.op, Elementwise):
            return None
        shared = [v for v in node.inputs if v in light and not graph.has_single_use(v)]
        if not shared:
            return None
        copies = {value: _again(emitter, graph, light, value) for value in dict.fromkeys(shared)}
        return emitter.emit(node.op, *(copies.get(value, value) for value in node.inputs))

    return eliminate_dead_nodes(rewrite(graph, rule))


def _widened(graph: Graph) -> dict[Value, Value]:
    """What was cast from 16 bit to float32, and of what."""
    return {
        node.outputs[0]: node.inputs[0]
        for node in graph.nodes
        if isinstance(node.op, Cast)
        and node.inputs[0].spec.dtype.accumulator is node.op.dtype
        and node.inputs[0].spec.dtype is not node.op.dtype
    }


def _light(graph: Graph, widened: Mapping[Value, Value]) -> dict[Value, int]:
    """Images that are cheap to compute again, and the number of ops that it takes."""
    light = dict.fromkeys(widened, 1)
    for node in graph.nodes:
        if not isinstance(node.op, _ARITHMETIC):
            continue
        (output,) = node.outputs
        images = [value for value in node.inputs if value.spec.shape == output.spec.shape]
        length = 1 + sum(light.get(value, _LONGEST) for value in dict.fromkeys(images))
        if images and length <= _LONGEST:
            light[output] = length
    return light


def _again(emitter: Emitter, graph: Graph, light: Mapping[Value, int], value: Value) -> Tensor:
    """A copy of the node that makes a light value, and of those that it is made of."""
    node = graph.producer[value]
    operands = [_again(emitter, graph, light, v) if v in light else v for v in node.inputs]
    (copy,) = emitter.emit(node.op, *operands, name=f"{value.name}.again")
    return copy
