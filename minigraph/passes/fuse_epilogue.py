"""Fuse a convolution or matrix product with elementwise ops around its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.spec import TensorSpec
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.elementwise import Elementwise
from minigraph.ops.fused import Body
from minigraph.ops.matmul import MatMul
from minigraph.passes.group import Group, fuse_groups

_ANCHORS = (Conv2d, ConvTranspose2d, MatMul)

CanFuse = Callable[[Body, tuple[TensorSpec, ...]], object]
"""Whether a backend is able to run a body on inputs of these specs: true or false as a bool."""


@dataclass(frozen=True)
class FuseEpilogue:
    """Anchor, then elementwise ops in its iteration space, as one ``Fused``.

    A group grows by ops that read one of its results (bias, activation, the mask of a ReLU's
    gradient, a parameter's update), and by ops whose results it reads (what momentum keeps of a
    velocity). Other operands are scalars, one a channel (bias), or one an element (a
    residual, a parameter).

    A group is run where its last node stood. That is legal where nothing outside of it reads one of
    its values before. Values that are read outside become outputs. ``can_fuse`` is the backend's
    word on what it is able to run: most store one result. ``most`` bounds the instructions.
    Preserves values to the last bit; 16-bit floats are rounded at the outputs instead of after
    each op.
    """

    can_fuse: CanFuse
    most: int = 24

    def __call__(self, graph: Graph) -> Graph:
        return fuse_groups(graph, self._groups(graph))

    def _groups(self, graph: Graph) -> Iterator[Group]:
        """Of the later anchors first: of two whose results are added, the later one adds."""
        taken: set[Node] = set()
        for node in reversed(graph.nodes):
            if isinstance(node.op, _ANCHORS):
                group = self._grown(Group(graph, (node,)), taken)
                taken.update(group.nodes)
                if len(group.nodes) > 1:
                    yield group

    def _grown(self, group: Group, taken: set[Node]) -> Group:
        """As large as it gets, one neighbour after the other."""
        while len(group.nodes) < self.most:
            neighbours = (node for node in _neighbours(group) if node not in taken)
            larger = (group.joined(node) for node in neighbours)
            able = (g for g in larger if g.is_legal and self.can_fuse(g.body, g.operand_specs))
            following = next(able, None)
            if following is None:
                break
            group = following
        return group


def _neighbours(group: Group) -> Iterator[Node]:
    """What reads the group's values, then what makes those that its epilogue reads."""
    graph, anchor = group.graph, group.nodes[0]
    (result,) = anchor.outputs
    readers = (user for node in group.nodes for user in graph.users.get(node.outputs[0], ()))
    beside = (value for value in group.operands if value not in anchor.inputs)
    makers = (graph.producer.get(value) for value in beside)
    for node in dict.fromkeys((*readers, *makers)):
        if node is None or node in group.nodes or not isinstance(node.op, Elementwise):
            continue
        if node.outputs[0].spec != result.spec:
            continue
        if all(_fits(operand, result) for operand in node.inputs):
            yield node


def _fits(operand: Value, value: Value) -> bool:
    """One an element, or one a channel, or one number."""
    if operand.spec.shape == value.spec.shape:
        return True
    shape, ndim = operand.spec.shape, value.spec.ndim
    padded = (1,) * (ndim - len(shape)) + shape
    return all(size == 1 for axis, size in enumerate(padded) if axis != 1)
