"""Functions of ONNX: ops that are defined as graphs of others, by the file or by the standard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import LoadError
from minigraph.ir.spec import TensorSpec
from minigraph.onnx.dtypes import code_of
from minigraph.onnx.library import onnx_library

MAX_DEPTH = 16
MAX_NODES = 100_000


@dataclass(frozen=True, eq=False)
class Function:
    """A body of nodes, names for its inputs and outputs, and the opsets that it is written in."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Any, ...]
    opsets: Mapping[str, int]
    defaults: Mapping[str, Any]

    @classmethod
    def of(cls, proto: Any) -> Function:
        """From a FunctionProto."""
        return cls(
            tuple(proto.input),
            tuple(proto.output),
            tuple(proto.node),
            {domain_of(entry.domain): entry.version for entry in proto.opset_import},
            {attribute.name: attribute for attribute in proto.attribute_proto},
        )


def domain_of(name: str) -> str:
    """The standard's domain has two names."""
    return "" if name == "ai.onnx" else name


def local_functions(model: Any) -> dict[tuple[str, str], Function]:
    """The functions of a file, by domain and name."""
    return {(domain_of(proto.domain), proto.name): Function.of(proto) for proto in model.functions}


def standard_function(op_type: str, opset: int) -> Function | None:
    """The standard's own definition of an op by others, if it has one that asks for no types."""
    defs = onnx_library().defs
    if not defs.has(op_type, max_inclusive_version=opset):
        return None
    schema = defs.get_schema(op_type, max_inclusive_version=opset)
    if not schema.has_function:
        return None
    function = Function.of(schema.function_body)
    defaults = {
        name: attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.type
    }
    return Function(
        function.inputs, function.outputs, function.nodes, {"": opset, **function.opsets}, defaults
    )


def has_typed_function(op_type: str, opset: int) -> bool:
    """Whether the standard defines an op by others once dtypes and shapes are known."""
    return _typed_version(op_type, opset) is not None


def typed_function(
    node: Any, attributes: Mapping[str, Any], specs: Sequence[TensorSpec | None], opset: int
) -> Function | None:
    """The standard's definition of a node for operands of these specs (None: left out).

    ``attributes`` are the node's, with values for those that refer to a function's around it.
    None where there is no definition. Raises LoadError where the operands do not fit.
    """
    onnx = onnx_library()
    version = _typed_version(node.op_type, opset)
    if version is None:
        return None
    schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=opset)
    try:
        call = _with_values(onnx, node, attributes)
        types = [_type_of(onnx, spec) for spec in specs]
        body = schema.get_context_dependent_function_with_opset_version(
            version, call.SerializeToString(), [kind.SerializeToString() for kind in types]
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise LoadError(f"Expected operands that fit, got {error}") from None
    return Function.of(onnx.FunctionProto.FromString(body)) if body else None


def _with_values(onnx: Any, node: Any, attributes: Mapping[str, Any]) -> Any:
    """A copy of a node with values in place of references."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for attribute in node.attribute:
        name = attribute.name
        if not attribute.ref_attr_name:
            copy.attribute.append(attribute)
        elif name in attributes:
            copy.attribute.append(onnx.helper.make_attribute(name, attributes[name]))
    return copy


def _typed_version(op_type: str, opset: int) -> int | None:
    """The newest opset up to this one that the definition is written for."""
    defs = onnx_library().defs
    if not defs.has(op_type, max_inclusive_version=opset):
        return None
    versions = defs.get_schema(
        op_type, max_inclusive_version=opset
    ).context_dependent_function_opset_versions
    return max((version for version in versions if version <= opset), default=None)


def _type_of(onnx: Any, spec: TensorSpec | None) -> Any:
    if spec is None:
        return onnx.TypeProto()
    return onnx.helper.make_tensor_type_proto(code_of(spec.dtype), spec.shape)


def attribute_values(
    node: Any, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A node's attributes as Python values; in a function some refer to those of its call."""
    onnx = onnx_library()
    values = {}
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in given:
                values[attribute.name] = given[attribute.ref_attr_name]
            elif defaults and attribute.ref_attr_name in defaults:
                values[attribute.name] = _value(onnx, defaults[attribute.ref_attr_name])
        else:
            values[attribute.name] = _value(onnx, attribute)
    return values


def _value(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if value is None:
        raise ValueError(f"no value for {attribute.name!r}")
    if isinstance(value, bytes | str | int | float) or hasattr(value, "DESCRIPTOR"):
        return value
    return list(value)
