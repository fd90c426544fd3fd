"""Fuse sums over the same axes with the elementwise ops that make what they sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import Sum
from minigraph.ops.elementwise import Elementwise
from minigraph.ops.fused import FusedSum
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.group import body_of, operands_of
from minigraph.passes.rewrite import Emitter, rewrite

CanRun = Callable[[Op, tuple[TensorSpec, ...]], object]
"""Whether a backend is able to run an op on inputs of these specs: true or false as a bool."""


@dataclass(frozen=True)
class FuseSum:
    """Sums that read the same tensors, and the elementwise ops before them, as one ``FusedSum``.

    The backward pass of a batch norm sums ``g``, ``g * scale`` and ``g * (x - mean)``: one pass
    over two tensors instead of four, and no product in memory. An op is fused into a sum where
    nothing else reads its result, or where it only needs, beside smaller operands, a tensor that
    the sums read anyway; others then keep the op.

    A group is run where its first sum stood: what it reads must be there by then. Preserves values
    up to the order in which a kernel adds; 16-bit floats are not rounded before they are summed.
    """

    can_run: CanRun

    def __call__(self, graph: Graph) -> Graph:
        groups = {group.sums[0]: group for group in self._groups(graph)}
        others = {node for group in groups.values() for node in group.sums[1:]}

        def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
            if node in others:
                return node.outputs  # its stand-in
            return groups[node].emit(emitter) if node in groups else None

        def absorbed(node: Node) -> tuple[Node, ...]:
            return (*groups[node].sums, *groups[node].nodes) if node in groups else ()

        return eliminate_dead_nodes(rewrite(graph, rule, absorbed)) if groups else graph

    def _groups(self, graph: Graph) -> Iterator[_Group]:
        alike: dict[tuple[Op, tuple[int, ...]], list[Node]] = defaultdict(list)
        for node in graph.nodes:
            if isinstance(node.op, Sum):
                alike[node.op, node.inputs[0].spec.shape].append(node)
        for sums in alike.values():
            while sums:
                group = _Group.of(graph, sums[:1])
                for node in sums[1:]:
                    larger = _Group.of(graph, (*group.sums, node))
                    if larger.is_connected and larger.is_ready and self._can_run(larger):
                        group = larger
                sums = [node for node in sums if node not in group.sums]
                if group.nodes and self._can_run(group):
                    yield group

    def _can_run(self, group: _Group) -> bool:
        specs = tuple(value.spec for value in group.operands)
        return not group.nodes or bool(self.can_run(group.op, specs))


@dataclass(frozen=True, eq=False)
class _Group:
    graph: Graph
    sums: tuple[Node, ...]
    nodes: tuple[Node, ...]  # elementwise, in their order

    @staticmethod
    def of(graph: Graph, sums: Sequence[Node]) -> _Group:
        """The sums and what can be fused into them."""
        found: set[Node] = set()
        shape = sums[0].inputs[0].spec.shape
        pending = [node.inputs[0] for node in reversed(sums)]
        known = set(pending)  # tensors that are read, or made on the way
        while pending:
            value = pending.pop()
            maker = graph.producer.get(value)
            if maker is None or not isinstance(maker.op, Elementwise) or value in graph.results:
                continue
            images = [operand for operand in maker.inputs if operand.spec.shape == shape]
            if images and (graph.has_single_use(value) or known.issuperset(images)):
                found.add(maker)
                pending += [image for image in images if image not in known]
                known.update(images)
        nodes = sorted(found, key=graph.position.__getitem__)
        return _Group(graph, tuple(sums), tuple(nodes))

    @property
    def operands(self) -> tuple[Value, ...]:
        """What the group reads, in order."""
        return operands_of(self.nodes, self.sums)

    @property
    def is_connected(self) -> bool:
        """Whether the last sum reads a tensor that the others read."""
        *others, last = (self._tensors_of(node) for node in self.sums)
        return not last.isdisjoint(set().union(*others))

    def _tensors_of(self, total: Node) -> set[Value]:
        """What one of the sums reads from outside that has as many elements as it sums."""
        inside = {node.outputs[0]: node for node in self.nodes}
        (summed,) = total.inputs
        pending, found = [summed], set()
        while pending:
            value = pending.pop()
            if value in inside:
                pending += inside[value].inputs
            elif value.spec.shape == summed.spec.shape:
                found.add(value)
        return found

    @property
    def is_ready(self) -> bool:
        """Whether all that the group reads is there before its first sum."""
        graph = self.graph
        first = graph.position[self.sums[0]]
        makers = (graph.producer.get(value) for value in self.operands)
        return all(maker is None or graph.position[maker] < first for maker in makers)

    @property
    def op(self) -> FusedSum:
        body = body_of(self.operands, self.nodes, [node.inputs[0] for node in self.sums])
        total = self.sums[0].op
        assert isinstance(total, Sum)
        return FusedSum(body, total.axes, total.keepdims)

    def emit(self, emitter: Emitter) -> tuple[Value | Tensor, ...]:
        """The fused node in place of the first sum; its other results stand in for the others'."""
        first, *others = emitter.emit(self.op, *self.operands)
        for node, tensor in zip(self.sums[1:], others, strict=True):
            emitter.stand_in(node.outputs[0], tensor)
        return (first,)
