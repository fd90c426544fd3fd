"""ReLU's backward mask on the pooled gradient, not on the one spread over the input."""

from __future__ import annotations

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import ReluGrad
from minigraph.ops.pool import MaxPool2d, MaxPool2dScatter
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite


def mask_pooled_gradient(graph: Graph) -> Graph:
    """``relu_grad(y, scatter(gy))`` as ``scatter(relu_grad(max_pool(y), gy))``.

    Every gradient goes to a place whose value is the window's maximum, so the mask there is that
    of the maximum, and elsewhere both are zero: the values are the same to the last bit. The mask
    is computed on fewer elements, and can be fused with what gave ``gy``; and ReLU's output is no
    longer needed after the pooling.
    """
    return eliminate_dead_nodes(rewrite(graph, _rule))


def _rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Tensor, ...] | None:
    if not isinstance(node.op, ReluGrad):
        return None
    mask, spread = node.inputs
    scatter = graph.producer.get(spread)
    if scatter is None or not isinstance(scatter.op, MaxPool2dScatter):
        return None
    gradient, positions = scatter.inputs
    pool = graph.producer.get(positions)
    if pool is None or not _pools(pool, mask, scatter.op) or not graph.has_single_use(spread):
        return None
    (masked,) = emitter.emit(node.op, pool.outputs[0], gradient)
    return emitter.emit(scatter.op, masked, positions, name=scatter.name)


def _pools(pool: Node, x: Value, scatter: MaxPool2dScatter) -> bool:
    same_windows = isinstance(pool.op, MaxPool2d) and pool.op.window == scatter.window
    return same_windows and pool.inputs == (x,)
