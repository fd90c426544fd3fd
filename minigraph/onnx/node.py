"""What a converter sees of one ONNX node: its operands, its attributes, and how to emit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigraph.ir.builder import Builder
from minigraph.ir.errors import LoadError, MinigraphError, UnsupportedError
from minigraph.ir.graph import Role
from minigraph.ir.op import Op
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.onnx.read import array_of

MAX_ATTRIBUTE = 2**20
"""Kernels, strides, dilations and paddings beyond this are refused: no network has them."""


@dataclass(frozen=True, eq=False)
class Weight:
    """An initialiser that nothing has used yet: a parameter, or a constant that decides a shape."""

    name: str
    array: np.ndarray

    @property
    def is_parameter(self) -> bool:
        """Floating vectors, matrices, ... are parameters; integers and scalars are constants."""
        return self.array.ndim > 0 and DType.of(self.array.dtype).is_floating


Value = Tensor | np.ndarray | Weight
"""What an ONNX name stands for while a graph is built: a tensor, or values that are known."""


def spec_of(value: Value) -> TensorSpec:
    """Dtype and shape of a value."""
    if isinstance(value, Tensor):
        return value.spec
    array = value.array if isinstance(value, Weight) else value
    return TensorSpec(array.shape, DType.of(array.dtype))


Results = Value | Sequence[Value | None]


class ConstantNeeded(UnsupportedError):
    """A value that decides a shape depends on inputs of the model: ``inputs`` names them."""

    def __init__(self, message: str, inputs: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.inputs = tuple(inputs)


@dataclass(frozen=True)
class Converter:
    """How to build one op type: a function of a Node, and what the node may say.

    ``attributes`` maps the known attributes to the values that are supported (None: any), and
    ``inputs`` is the least and the largest number of inputs.
    """

    convert: Callable[[Node], Results]
    inputs: tuple[int, int] = (1, 1)
    attributes: Mapping[str, tuple[Any, ...] | None] = field(default_factory=dict)


class Variables:
    """What converters share in one trace: the builder, and the parameters made so far."""

    def __init__(self, builder: Builder, names: Mapping[str, str]) -> None:
        self.builder = builder
        self.updated: set[str] = set()  # running statistics that have their next value
        self._names = names
        self._made: dict[str, Tensor] = {}

    def parameter(self, weight: Weight, role: Role = Role.PARAMETER) -> Tensor:
        """The state variable of an initialiser, under its ONNX name."""
        if weight.name not in self._made:
            spec = (weight.array.shape, str(DType.of(weight.array.dtype)))
            with self.builder.absolute_scope():
                self._made[weight.name] = self.builder.state(
                    self._names[weight.name], spec, role, _Start(weight.array)
                )
        return self._made[weight.name]

    def tensor(self, value: Value) -> Tensor:
        """A tensor of any value."""
        if isinstance(value, Weight):
            return self.parameter(value) if value.is_parameter else self.tensor(value.array)
        return value if isinstance(value, Tensor) else self.builder.constant(value)


@dataclass(frozen=True)
class _Start:
    """The initialiser of a weight: its array."""

    array: np.ndarray

    def __call__(self, spec: Any, generator: np.random.Generator) -> np.ndarray:
        return self.array


class Node:
    """One node on its way into a graph: operands by position, attributes by name and type.

    An operand that is missing or of the wrong kind raises, so that a converter is only the rule.
    """

    def __init__(
        self,
        op_type: str,
        name: str,
        opset: int,
        inputs: Sequence[Value | None],
        outputs: Sequence[str],
        attributes: Mapping[str, Any],
        variables: Variables,
    ) -> None:
        self.op_type = op_type
        self.name = name
        self.opset = opset
        self.inputs = inputs
        self.outputs = outputs
        self.attributes = attributes
        self.variables = variables

    # ---- operands

    def has(self, position: int) -> bool:
        """Whether there is an operand here (ONNX leaves optional ones out, or empty)."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def wants(self, position: int) -> bool:
        """Whether an output has a name, that is, whether it may be read."""
        return position < len(self.outputs) and bool(self.outputs[position])

    def value(self, position: int) -> Value:
        value = self.inputs[position] if position < len(self.inputs) else None
        if value is None:
            raise LoadError(f"Expected an input {position}, got none")
        return value

    def tensor(self, position: int) -> Tensor:
        """An operand as a tensor; an initialiser becomes a parameter."""
        return self.variables.tensor(self.value(position))

    def tensors(self) -> list[Tensor]:
        """All operands."""
        return [self.tensor(position) for position in range(len(self.inputs))]

    def statistic(self, position: int) -> Tensor:
        """An operand as a tensor; an initialiser becomes a running statistic."""
        value = self.value(position)
        if isinstance(value, Weight) and value.is_parameter:
            return self.variables.parameter(value, Role.STATISTIC)
        return self.tensor(position)

    def constant(self, position: int) -> np.ndarray:
        """An operand whose values must be known while the graph is built.

        Raises ConstantNeeded where they follow from inputs of the model.
        """
        value = self.value(position)
        if isinstance(value, Weight):
            return value.array
        if isinstance(value, np.ndarray):
            return value
        inputs = _inputs_behind(value)
        raise ConstantNeeded(
            f"Expected a constant as input {position}, which decides a shape or what is computed, "
            f"got {value!r}: "
            + (f"give constants={{{inputs[0]!r}: ...}}" if inputs else "it is computed"),
            inputs,
        )

    def integers_at(self, position: int) -> list[int]:
        """A constant operand as a list of integers."""
        array = self.constant(position)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise LoadError(
                f"Expected integers as input {position}, got {array.dtype}{list(array.shape)}"
            )
        return [int(number) for number in array.reshape(-1)]

    def number_at(self, position: int) -> float:
        """A constant operand of one element as a Python number."""
        array = self.constant(position)
        if array.size != 1:
            raise LoadError(f"Expected one number as input {position}, got {list(array.shape)}")
        return array.reshape(()).item()

    # ---- attributes

    def integer(self, name: str, default: int | None = None) -> int:
        return self._attribute(name, default, int, "an integer")

    def number(self, name: str, default: float | None = None) -> float:
        return self._attribute(name, default, float, "a number")

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise LoadError(f"Expected a string as {name!r}, got {value!r}")
        return value

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        return self._list(name, default, int, "a list of integers")

    def numbers(self, name: str) -> list[float]:
        return self._list(name, None, float, "a list of numbers")

    def array(self, name: str) -> np.ndarray:
        value = self.attributes.get(name)
        if type(value).__name__ != "TensorProto":
            raise LoadError(f"Expected a dense tensor as {name!r}, got {type(value).__name__}")
        return array_of(value, None)

    def sizes(self, name: str, count: int, default: int | None = None) -> list[int]:
        """A size for each spatial axis: strides and the like, of which none is absurd."""
        values = self.integers(name, None if default is None else [default] * count)
        if len(values) != count or not all(-MAX_ATTRIBUTE < v < MAX_ATTRIBUTE for v in values):
            raise LoadError(f"Expected {count} sizes as {name!r}, got {values}")
        return values

    def _attribute(self, name: str, default: Any, kind: type, what: str) -> Any:
        value = self.attributes.get(name, default)
        if value is None or type(value) is not kind:
            raise LoadError(f"Expected {what} as {name!r}, got {value!r}")
        return value

    def _list(self, name: str, default: Any, kind: type, what: str) -> list:
        value = self.attributes.get(name, default)
        if not isinstance(value, list | tuple) or not all(isinstance(v, kind) for v in value):
            raise LoadError(f"Expected {what} as {name!r}, got {value!r}")
        return list(value)

    # ---- results

    def emit(self, op: Op, *inputs: Tensor) -> Tensor:
        """Append one of our ops; its first output."""
        return self.variables.builder.emit(op, *inputs)[0]

    def full(self, value: float, shape: Sequence[int], dtype: DType) -> Tensor:
        """A tensor of one value."""
        return self.variables.builder.full(tuple(shape), value, dtype)

    def refuse(self, reason: str) -> MinigraphError:
        """The error for what is valid ONNX and not supported here."""
        return UnsupportedError(reason)


def _inputs_behind(tensor: Tensor) -> list[str]:
    """Inputs of the graph that a tensor is computed from."""
    graph = tensor.builder.build()
    found: dict[str, None] = {}
    seen, waiting = {tensor.value}, [tensor.value]
    while waiting:
        value = waiting.pop()
        if value in graph.inputs:
            found[value.name] = None
        maker = graph.producer.get(value)
        for operand in maker.inputs if maker is not None else ():
            if operand not in seen:
                seen.add(operand)
                waiting.append(operand)
    return list(found)
