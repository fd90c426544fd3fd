"""Node by node from ONNX to our graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minigraph.ir.errors import LoadError, MinigraphError, UnsupportedError
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.check import NEWEST, check_function, node_name
from minigraph.onnx.fold import fold
from minigraph.onnx.functions import (
    Function,
    attribute_values,
    domain_of,
    standard_function,
    typed_function,
)
from minigraph.onnx.node import ConstantNeeded, Node, Value, Variables, Weight, spec_of
from minigraph.onnx.operators.table import CONVERTERS

_KINDS = {dtype.numpy for dtype in DType}


class Trace:
    """Builds nodes on a dictionary of values by name, which grows with what they make."""

    def __init__(self, variables: Variables, functions: Mapping[tuple[str, str], Function]) -> None:
        self.variables = variables
        self.functions = functions

    def run(
        self,
        nodes: Sequence[Any],
        values: dict[str, Value],
        opsets: Mapping[str, int],
        given: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Build the nodes in order. Raises a MinigraphError that names the node."""
        for position, proto in enumerate(nodes):
            name = node_name(proto, position)
            try:
                results = self._node(proto, name, values, opsets, given or {}, defaults)
            except MinigraphError as error:
                if getattr(error, "onnx_node", None):
                    raise
                raise _placed(error, proto.op_type, name) from None
            made = [output for output in proto.output if output]
            for output, value in zip(proto.output, results, strict=False):
                if output and value is not None:
                    if output in values:
                        raise LoadError(f"Expected each value once, got {output!r} again")
                    values[output] = value
            lacking = [output for output in made if output not in values]
            if lacking:
                raise UnsupportedError(
                    f"Expected {len(results)} outputs of {proto.op_type} {name!r}, got "
                    f"{', '.join(lacking)} too"
                )

    def _node(
        self,
        proto: Any,
        name: str,
        values: Mapping[str, Value],
        opsets: Mapping[str, int],
        given: Mapping[str, Any],
        defaults: Mapping[str, Any] | None,
    ) -> Sequence[Value | None]:
        domain = domain_of(proto.domain)
        attributes = attribute_values(proto, given, defaults)
        inputs = [self._operand(values, operand) for operand in proto.input]
        function = self.functions.get((domain, proto.op_type))
        converter = CONVERTERS.get(domain, {}).get(proto.op_type)
        if function is None and converter is None:
            function = standard_function(proto.op_type, opsets.get("", NEWEST))
        if function is not None:
            return self._call(function, inputs, attributes, opsets)
        if converter is None:
            return self._call_typed(proto, attributes, inputs, opsets)
        node = Node(
            proto.op_type, name, opsets.get(domain, NEWEST), inputs, tuple(proto.output),
            attributes, self.variables,
        )  # fmt: skip
        folded = self._folded(node)
        if folded is not None:
            return folded
        with self.variables.builder.scope(_scope(name)):
            results = converter.convert(node)
        if isinstance(results, Tensor | np.ndarray | Weight):
            return [results]
        return list(results)

    def _call_typed(
        self,
        proto: Any,
        attributes: Mapping[str, Any],
        inputs: Sequence[Value | None],
        opsets: Mapping[str, int],
    ) -> Sequence[Value | None]:
        """An op that the standard defines for given dtypes and shapes, by its own ops alone."""
        specs = [None if value is None else spec_of(value) for value in inputs]
        function = typed_function(proto, attributes, specs, opsets.get("", NEWEST))
        if function is None:
            raise UnsupportedError(
                f"Expected operands for which the standard defines {proto.op_type}, got "
                f"{', '.join(map(str, specs))}"
            )
        check_function(function, opsets)
        return Trace(self.variables, {})._call(function, inputs, attributes, opsets)

    def _folded(self, node: Node) -> Sequence[Value] | None:
        """The results of shape arithmetic; None where an operand is a parameter or a tensor."""
        arrays = []
        for value in node.inputs:
            if isinstance(value, Weight) and not value.is_parameter:
                arrays.append(value.array)
            elif isinstance(value, np.ndarray):
                arrays.append(value)
            elif value is not None:
                return None
        results = fold(node, arrays) if len(arrays) == len(node.inputs) else None
        if results is None or any(array.dtype not in _KINDS for array in results):
            return None
        return results

    def _call(
        self,
        function: Function,
        inputs: Sequence[Value | None],
        attributes: Mapping[str, Any],
        opsets: Mapping[str, int],
    ) -> Sequence[Value | None]:
        values = {
            name: value
            for name, value in zip(function.inputs, inputs, strict=False)
            if value is not None
        }
        self.run(
            function.nodes, values, {**opsets, **function.opsets}, attributes, function.defaults
        )
        return [values.get(name) for name in function.outputs]

    def _operand(self, values: Mapping[str, Value], name: str) -> Value | None:
        if not name:
            return None
        if name not in values:
            raise LoadError(f"Expected a value made before, got {name!r}")
        return values[name]


def _scope(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._/-" else "_" for letter in name)


def _placed(error: MinigraphError, op_type: str, name: str) -> MinigraphError:
    """The error with the ONNX node that it is about."""
    text = f"{error}\n  in the ONNX node {name!r} ({op_type})"
    if isinstance(error, ConstantNeeded):
        placed: MinigraphError = ConstantNeeded(text, error.inputs)
    else:
        placed = type(error)(text)
    placed.onnx_node = name  # type: ignore[attr-defined]
    return placed
