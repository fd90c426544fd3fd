"""Builder: the only way to make nodes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigraph.ir.attributes import format_fields
from minigraph.ir.constant import Constant, Full, content_hash
from minigraph.ir.errors import BuilderError, SpecError
from minigraph.ir.graph import NAME, Graph, Node, Role, State, Value, is_output_name
from minigraph.ir.location import Location, describe, user_locations
from minigraph.ir.op import Op
from minigraph.ir.spec import DType, SpecLike, TensorSpec, scalar_dtype
from minigraph.ir.tensor import Tensor

_NAME = re.compile(NAME)

Operators = Mapping[str, Callable[..., "Tensor"]]
"""What ``+``, ``*``, ``<``, ... on a Tensor emit; the table lives with the operations."""


class Builder:
    """Builds one graph, from nothing or on top of an existing one.

    Names are unique in a graph: ``scope`` prefixes them, and a repeated one gets ``_1``, ``_2``.
    """

    def __init__(self, operators: Operators, graph: Graph | None = None) -> None:
        graph = Graph() if graph is None else graph
        self.operators = operators
        self._inputs = list(graph.inputs)
        self._state = {state.name: state for state in graph.state}
        self._nodes = list(graph.nodes)
        self._outputs = dict(graph.outputs)
        self._updates = dict(graph.updates)
        self._constants = dict(graph.constants)
        self._locations = dict(graph.locations)
        self._initializers = dict(graph.initializers)
        self._names: dict[str, int] = dict.fromkeys((v.name for v in graph.values()), 0)
        self._known: set[Value] = set(graph.values())
        self._layers: dict[str, int] = {}  # scopes of layers: apart from the names of values
        self._scopes: list[str] = []
        self._fixed_locations: tuple[Location, ...] | None = None

    # ---- sources

    def input(self, name: str, spec: SpecLike) -> Tensor:
        """Declare an input. Its name is taken as it is; raises BuilderError if it is in use."""
        value = Value(self._reserve(name), TensorSpec.of(spec))
        self._inputs.append(value)
        return self._adopt(value)

    def state(self, name: str, spec: SpecLike, role: Role, initializer: Any) -> Tensor:
        """Declare a state variable under the current scope; the initializer makes its start."""
        value = Value(self._reserve(self._scoped(name)), TensorSpec.of(spec))
        self._state[value.name] = State(value, role)
        self._initializers[value.name] = initializer
        return self._adopt(value)

    def existing_state(self, name: str) -> Tensor | None:
        """The state variable of that full name, or None."""
        state = self._state.get(name)
        return None if state is None else Tensor(self, state.value)

    def constant(self, array: Any, name: str = "constant") -> Tensor:
        """A tensor of known values. A uniform scalar needs no table entry."""
        data = np.asarray(array)
        if data.ndim == 0:
            return self.full((), data.item(), DType.of(data.dtype))
        data = np.array(data, order="C")
        data.setflags(write=False)
        digest = content_hash(data)
        self._constants[digest] = data
        spec = TensorSpec(data.shape, DType.of(data.dtype))
        return self.emit(Constant(digest, spec), name=name)[0]

    def full(self, shape: tuple[int, ...], value: bool | int | float, dtype: DType) -> Tensor:
        """A tensor of one value."""
        return self.emit(Full(value, shape, dtype), name="full")[0]

    def tensor(self, operand: Any, beside: Tensor | None = None) -> Tensor:
        """Normalise an operand: a Tensor of this builder, an array, or numbers (weak) and lists."""
        if isinstance(operand, Tensor):
            self._check_owned(operand)
            return operand
        kind = DType.FLOAT32 if beside is None else beside.dtype
        if isinstance(operand, np.generic | np.ndarray) and operand.ndim == 0:
            operand = operand.item()  # weak like Python's: np.sqrt(2) must not widen to float64
        if isinstance(operand, bool | int | float):
            return self.full((), operand, scalar_dtype(operand, kind))
        if isinstance(operand, np.ndarray):
            return self.constant(operand)
        if isinstance(operand, list | tuple):
            listed = np.asarray(operand)
            if listed.dtype.kind in "biuf" and listed.size:  # weak like the numbers in it
                dtype = scalar_dtype(listed.flat[0].item(), kind)
                return self.constant(listed.astype(dtype.numpy))
        raise BuilderError(
            f"Expected a tensor, a number or an array, got {type(operand).__name__}: {operand!r}"
        )

    # ---- nodes

    def emit(self, op: Op, *inputs: Tensor, name: str | None = None) -> tuple[Tensor, ...]:
        """Append one node. Raises SpecError with the node and the user's lines."""
        for tensor in inputs:
            self._check_owned(tensor)
        label = self._scoped(name or _snake_case(op.name))
        locations = user_locations() if self._fixed_locations is None else self._fixed_locations
        try:
            specs = op.infer(*(tensor.spec for tensor in inputs))
        except SpecError as error:
            raise SpecError(_explain(error, op, label, inputs, locations)) from None
        return self._append(op, inputs, tuple((label, spec) for spec in specs), locations)

    def keep(self, node: Node, locations: tuple[Location, ...]) -> tuple[Tensor, ...]:
        """Append a node as it is, with its own values; its names must be reserved or new."""
        self._nodes.append(node)
        for value in node.outputs:
            self._names.setdefault(value.name, 0)
            self._locations[value] = locations
        return tuple(self._adopt(value) for value in node.outputs)

    def reserve_names(self, names: Iterable[str]) -> None:
        """Keep names for nodes that ``keep`` will bring."""
        self._names.update(dict.fromkeys(names, 0))

    def release_names(self, names: Iterable[str]) -> None:
        """Give reserved names back: what replaces a node may take its name."""
        for name in names:
            self._names.pop(name, None)

    def _append(
        self,
        op: Op,
        inputs: tuple[Tensor, ...],
        outputs: tuple[tuple[str, TensorSpec], ...],
        locations: tuple[Location, ...],
    ) -> tuple[Tensor, ...]:
        values = tuple(Value(self._unique(name), spec) for name, spec in outputs)
        self._nodes.append(Node(op, tuple(tensor.value for tensor in inputs), values))
        for value in values:
            self._locations[value] = locations
        return tuple(self._adopt(value) for value in values)

    # ---- results

    def output(self, name: str, tensor: Tensor) -> None:
        """Name a result of the graph."""
        self._check_owned(tensor)
        if not is_output_name(name):
            raise BuilderError(f"Expected a printable name of an output, got {name!r}")
        self._outputs[name] = tensor.value

    def update(self, state: Tensor, new: Tensor) -> None:
        """Give a state its next value. Raises BuilderError for a second update or other specs."""
        self._check_owned(state)
        self._check_owned(new)
        if self._state.get(state.name) is None:
            raise BuilderError(f"Expected a state variable to update, got {state!r}")
        if state.name in self._updates:
            raise BuilderError(
                f"Expected one update a state, got a second one for {state.name!r}: a layer that "
                "is used twice must not update its statistics twice"
            )
        if new.spec != state.spec:
            raise BuilderError(
                f"Expected {state.spec} as the next value of {state.name!r}, got {new.spec}"
            )
        self._updates[state.name] = new.value

    def build(self) -> Graph:
        """The graph so far."""
        return Graph(
            inputs=tuple(self._inputs),
            state=tuple(self._state.values()),
            nodes=tuple(self._nodes),
            outputs=dict(self._outputs),
            updates=dict(self._updates),
            constants=dict(self._constants),
            locations=dict(self._locations),
            initializers=dict(self._initializers),
        )

    @property
    def scope_name(self) -> str:
        """The full name of the current scope; "" at the top."""
        return ".".join(self._scopes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes so far, in order."""
        return tuple(self._nodes)

    # ---- names and places

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names of all that is built inside: ``encoder.`` and so on."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def absolute_scope(self, *names: str) -> Iterator[None]:
        """Leave the current scope for another; no name means the top."""
        outer, self._scopes = self._scopes, list(names)
        try:
            yield
        finally:
            self._scopes = outer

    @contextmanager
    def layer_scope(self, name: str | None, kind: str) -> Iterator[None]:
        """The scope of one layer; without a name it is its kind and a number: ``conv2d_1``.

        Raises BuilderError where a layer of that name exists in the current scope: two dropouts
        of one name would share their mask.
        """
        full = self._scoped(name or kind)
        number = self._layers[full] = self._layers.get(full, -1) + 1
        if number and name is not None:
            raise BuilderError(
                f"Expected a new name for a layer, got {full!r}, which is in use: give it another "
                "name=..., or make a parameter once and pass it to both operations to share it"
            )
        with self.scope(name or (f"{kind}_{number}" if number else kind)):
            yield

    @contextmanager
    def at(self, locations: tuple[Location, ...]) -> Iterator[None]:
        """Give all that is built inside these locations (a gradient has its forward node's)."""
        outer, self._fixed_locations = self._fixed_locations, locations
        try:
            yield
        finally:
            self._fixed_locations = outer

    def locations_of(self, node: Node) -> tuple[Location, ...]:
        """Where a node of this graph was built."""
        return self._locations.get(node.outputs[0], ()) if node.outputs else ()

    def wrap(self, value: Value) -> Tensor:
        """The tensor of a value that is already part of this graph."""
        if value not in self._known:
            raise BuilderError(f"Expected a value of this graph, got {value}")
        return Tensor(self, value)

    def _scoped(self, name: str) -> str:
        return ".".join([*self._scopes, name])

    def _reserve(self, name: str) -> str:
        _check_name(name)
        if name in self._names:
            raise BuilderError(
                f"Expected a new name, got {name!r}, which is in use: give the layer another "
                "name=..., or make the parameter once and pass it to both operations to share it"
            )
        self._names[name] = 0
        return name

    def _unique(self, name: str) -> str:
        if name not in self._names:
            _check_name(name)
            self._names[name] = 0
            return name
        while True:
            self._names[name] += 1
            candidate = f"{name}_{self._names[name]}"
            if candidate not in self._names:
                self._names[candidate] = 0
                return candidate

    def _adopt(self, value: Value) -> Tensor:
        self._known.add(value)
        return Tensor(self, value)

    def _check_owned(self, tensor: Tensor) -> None:
        if not isinstance(tensor, Tensor):
            raise BuilderError(f"Expected a tensor, got {type(tensor).__name__}: {tensor!r}")
        if tensor.builder is not self:
            raise BuilderError(
                f"Expected tensors of one graph, got {tensor!r} of another: a model function must "
                "use the tensors that it is given and not keep any from an earlier call"
            )


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BuilderError(
            f"Expected a name without spaces and any of , : ( ) {{ }} = %, got {name!r}"
        )


def _snake_case(name: str) -> str:
    letters = []
    for position, letter in enumerate(name):
        if letter.isupper() and position and not name[position - 1].isupper():
            letters.append("_")
        letters.append(letter.lower())
    return "".join(letters)


def _explain(
    error: SpecError,
    op: Op,
    label: str,
    inputs: tuple[Tensor, ...],
    locations: tuple[Location, ...],
) -> str:
    attributes = format_fields(op)
    operands = ", ".join(f"{tensor.name}: {tensor.spec}" for tensor in inputs)
    lines = [str(error), f"  in {op.name} '{label}' ({attributes}) on {operands}"]
    return "\n".join(line for line in (*lines, describe(locations)) if line)
