"""A model as a table: a row for each layer, and what it has and does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from minigraph.compiler import ModelFunction, build_graph
from minigraph.display import count, op_label, summary_html
from minigraph.executable import Executable
from minigraph.ir.errors import BuilderError
from minigraph.ir.graph import Graph, Node, Role, Value
from minigraph.ir.spec import SpecLike, TensorSpec
from minigraph.passes.mode import to_inference
from minigraph.receptive_field import ReceptiveField, receptive_fields

HEAD = ("layer", "kind", "output", "parameters", "MFLOP", "receptive field", "stride")
NUMBERS = frozenset({3, 4})
"""Columns of the table, and those that hold numbers."""


@dataclass(frozen=True)
class LayerSummary:
    """One layer, or one operation that belongs to none.

    Attributes:
        name: the layer's scope, such as ``encoder1.conv2``, or the operation's name.
        kind: the operation that does most of the work, or all of them.
        output: what comes out.
        parameters: elements of parameters, trainable and frozen, that are first read here.
        flops: of one run of inference; a multiplication and an addition are two.
        receptive_field: of the output on the image; None where it does not depend on it.
    """

    name: str
    kind: str
    output: TensorSpec
    parameters: int
    flops: int
    receptive_field: ReceptiveField | None

    def cells(self) -> tuple[str, ...]:
        """The row as texts."""
        return (
            self.name,
            self.kind,
            str(self.output),
            f"{self.parameters:,}" if self.parameters else "",
            f"{self.flops / 1e6:,.3f}" if self.flops else "",
            *_field_cells(self.receptive_field),
        )


@dataclass(frozen=True)
class Summary:
    """The layers in the order in which they run, and totals.

    Attributes:
        layers: the rows.
        trainable, frozen, statistics: elements of state variables: parameters that train, that do
            not, and running statistics.
        flops: of one run of inference on the given inputs.
    """

    layers: tuple[LayerSummary, ...]
    inputs: Mapping[str, TensorSpec]
    trainable: int
    frozen: int
    statistics: int
    flops: int

    @property
    def parameters(self) -> int:
        """Trainable and frozen ones."""
        return self.trainable + self.frozen

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells, below ``HEAD``."""
        return [layer.cells() for layer in self.layers]

    def totals(self) -> str:
        """The last line."""
        frozen = f" ({self.frozen:,} frozen)" if self.frozen else ""
        statistics = f"; {self.statistics:,} running statistics" if self.statistics else ""
        return (
            f"{count(len(self.layers), 'row')}; {count(self.parameters, 'parameter')}{frozen}"
            f"{statistics}; {self.flops / 1e9:,.3f} GFLOP for "
            + ", ".join(f"{name}: {spec}" for name, spec in self.inputs.items())
        )

    def __str__(self) -> str:
        rows = [HEAD, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        lines = []
        for row in rows:
            cells = [
                cell.rjust(width) if column in NUMBERS else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([*lines, "", self.totals()])

    def _repr_html_(self) -> str:
        return summary_html(self, HEAD, NUMBERS)


def summary(
    model: ModelFunction | Graph | Executable,
    inputs: Mapping[str, SpecLike] | None = None,
    *,
    image: str | None = None,
) -> Summary:
    """A table of a model's layers: outputs, parameters, FLOPs, receptive fields.

    ``model`` is a model function, and ``inputs`` the specs of its inputs as for ``mg.compile``; or
    an executable, for which ``inputs`` may give other shapes; or a graph as it was built. It is
    shown as it runs in inference, before fusion; nothing of the parameters' size is made.

    Receptive fields and strides are those of the input ``image``, by default the first of
    (N,C,H,W); "global" is what depends on the whole image. Raises BuilderError, and what building
    the graph raises.
    """
    graph = to_inference(_graph_of(model, inputs))
    groups: dict[str, list[Node]] = {}
    for node, layer in _layers(graph).items():
        groups.setdefault(layer, []).append(node)
    results = {nodes[-1].name for nodes in groups.values()}
    images = [value.name for value in graph.inputs if value.spec.ndim == 4]
    source = images[0] if image is None and images else image
    fields = {} if source is None else receptive_fields(graph, source, results)
    seen: set[Value] = set()
    layers = []
    for name, nodes in groups.items():
        own = _parameters_read(graph, nodes) - seen
        seen |= own
        layers.append(_row(name, nodes, sum(value.spec.size for value in own), fields))
    return Summary(
        layers=tuple(layers),
        inputs={value.name: value.spec for value in graph.inputs},
        trainable=_size(graph, Role.PARAMETER),
        frozen=_size(graph, Role.FROZEN),
        statistics=_size(graph, Role.STATISTIC),
        flops=sum(layer.flops for layer in layers),
    )


def _graph_of(
    model: ModelFunction | Graph | Executable, inputs: Mapping[str, SpecLike] | None
) -> Graph:
    if isinstance(model, Executable):
        return model.graph_for(inputs or {})
    if isinstance(model, Graph):
        if inputs is not None:
            raise BuilderError("Expected no inputs beside a graph, which has its own")
        return model
    if not callable(model) or inputs is None:
        raise BuilderError(
            "Expected a model function with the specs of its inputs, such as mg.summary(model, "
            "{'image': 'float32[1,3,224,224]'}), or an executable or a graph, got "
            f"{type(model).__name__}{'' if callable(model) else ', which is none of them'}"
        )
    return build_graph(model, {name: TensorSpec.of(spec) for name, spec in inputs.items()})


def _layers(graph: Graph) -> dict[Node, str]:
    """The layer of each node that depends on an input, in order, with what prepares its parameters.

    A layer is a scope that owns state. A node outside of any is a layer of its own name. What
    depends on no input (a weight that is reshaped, a constant) is of the layer that reads it.
    """
    owners = {state.name.rpartition(".")[0] for state in graph.state} - {""}
    dependent: set[Value] = set(graph.inputs)
    for node in graph.nodes:
        if not dependent.isdisjoint(node.inputs):
            dependent.update(node.outputs)
    found: dict[Node, str] = {}
    for node in reversed(graph.nodes):
        scope = node.name.rpartition(".")[0]
        reader = next((u for v in node.outputs for u in graph.users.get(v, ())), None)
        if scope in owners:
            found[node] = scope
        elif reader is None or not dependent.isdisjoint(node.outputs):
            found[node] = node.name
        else:
            found[node] = found[reader]
    first = {layer: position for position, layer in enumerate(_in_order(graph, found, dependent))}
    return {node: found[node] for node in sorted(graph.nodes, key=lambda n: first[found[n]])}


def _in_order(graph: Graph, found: Mapping[Node, str], dependent: set[Value]) -> list[str]:
    """Layers by their first node that depends on an input; those without one come last."""
    running = [node for node in graph.nodes if not dependent.isdisjoint(node.outputs)]
    return list(dict.fromkeys(found[node] for node in [*running, *graph.nodes]))


def _parameters_read(graph: Graph, nodes: list[Node]) -> set[Value]:
    kinds = (Role.PARAMETER, Role.FROZEN)
    parameters = {state.value for state in graph.state if state.role in kinds}
    return {value for node in nodes for value in node.inputs if value in parameters}


def _row(
    name: str, nodes: list[Node], parameters: int, fields: Mapping[str, ReceptiveField]
) -> LayerSummary:
    return LayerSummary(
        name=name,
        kind=_kind(nodes),
        output=nodes[-1].outputs[0].spec,
        parameters=parameters,
        flops=sum(map(_flops, nodes)),
        receptive_field=fields.get(nodes[-1].name),
    )


def _kind(nodes: list[Node]) -> str:
    """The operation with more than half of the work; without one, all that work on the maps."""
    size = nodes[-1].outputs[0].spec.size
    maps = [node for node in nodes if node.outputs[0].spec.size >= size]
    working = [node for node in maps if _flops(node)] or maps
    heaviest = max(working, key=_flops)
    if 2 * _flops(heaviest) > sum(map(_flops, working)):
        working = [heaviest]
    return "+".join(op_label(node.op) for node in working)


def _flops(node: Node) -> int:
    return node.op.cost(*(value.spec for value in node.inputs)).flops


def _size(graph: Graph, role: Role) -> int:
    return sum(state.value.spec.size for state in graph.state if state.role is role)


def _field_cells(field: ReceptiveField | None) -> tuple[str, str]:
    """ "32x32" and "8x8"; "global" where it is the whole image; one number where they are equal."""
    if field is None:
        return "", ""
    size = "global" if None in field.size else _pair(field.size)
    return size, "" if None in field.stride else _pair(field.stride)


def _pair(pair: tuple[int | Fraction | None, int | Fraction | None]) -> str:
    return f"{pair[0]}x{pair[1]}"
