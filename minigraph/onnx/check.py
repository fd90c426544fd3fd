"""What of a model is not supported, all of it at once, before a graph is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minigraph.ir.errors import LoadError, UnsupportedError
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.functions import (
    MAX_DEPTH,
    MAX_NODES,
    Function,
    attribute_values,
    domain_of,
    has_typed_function,
    standard_function,
)
from minigraph.onnx.operators.table import CONVERTERS

OLDEST, NEWEST = 1, 28
"""Opsets of the standard's domain whose changes are known here."""

_SHOWN = 30


def check_supported(model: Any, functions: Mapping[tuple[str, str], Function]) -> None:
    """Raises UnsupportedError that lists every op, attribute, opset and dtype we lack."""
    opsets = {domain_of(entry.domain): entry.version for entry in model.opset_import}
    found = list(_unsupported_types(model.graph))
    found += _Walk(functions).nodes(model.graph.node, opsets, {}, 0)
    if not OLDEST <= opsets.get("", OLDEST) <= NEWEST:
        found.insert(
            0,
            f"opset {opsets['']}: known are {OLDEST} to {NEWEST} "
            "(onnx.version_converter converts a model)",
        )
    _refuse(found)


def check_function(function: Function, opsets: Mapping[str, int]) -> None:
    """Raises UnsupportedError that lists what we lack of a body that is known late."""
    _refuse(_Walk({}).nodes(function.nodes, {**opsets, **function.opsets}, {}, 0))


def _refuse(found: Sequence[str]) -> None:
    if found:
        listed = "\n".join(f"  {line}" for line in found[:_SHOWN])
        more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UnsupportedError(f"Expected a supported ONNX model, got\n{listed}{more}")


def _unsupported_types(graph: Any) -> Iterator[str]:
    if graph.sparse_initializer:
        yield f"{len(graph.sparse_initializer)} sparse initialisers"
    for tensor in graph.initializer:
        yield from _unsupported_dtype("initialiser", tensor.name, tensor.data_type)
    for kind, infos in (("input", graph.input), ("output", graph.output)):
        for info in infos:
            if info.type.WhichOneof("value") not in ("tensor_type", None):
                yield f"{kind} {info.name!r}: a {info.type.WhichOneof('value')}, no tensor"
            elif info.type.tensor_type.elem_type:
                yield from _unsupported_dtype(kind, info.name, info.type.tensor_type.elem_type)


def _unsupported_dtype(kind: str, name: str, code: int) -> Iterator[str]:
    try:
        dtype_of(code)
    except UnsupportedError as error:
        yield f"{kind} {name!r}: {error}"


class _Walk:
    """All nodes, and those of the functions that they call."""

    def __init__(self, functions: Mapping[tuple[str, str], Function]) -> None:
        self.functions = functions
        self.count = 0

    def nodes(
        self, nodes: Sequence[Any], opsets: Mapping[str, int], given: Mapping[str, Any], depth: int
    ) -> list[str]:
        found = []
        for position, node in enumerate(nodes):
            self.count += 1
            if self.count > MAX_NODES:
                raise LoadError(f"Expected at most {MAX_NODES} nodes, functions' included")
            try:
                values = attribute_values(node, given)
            except ValueError as error:
                raise LoadError(f"Expected attributes of a known type, got {error}") from None
            reasons = self._node(node, values, opsets, depth)
            found += [f"{node_name(node, position)}: {reason}" for reason in reasons]
        return found

    def _node(
        self, node: Any, values: Mapping[str, Any], opsets: Mapping[str, int], depth: int
    ) -> list[str]:
        domain = domain_of(node.domain)
        local = self.functions.get((domain, node.op_type))
        if local is None and node.op_type in CONVERTERS.get(domain, {}):
            return _attribute_reasons(node, values)
        opset = opsets.get("", NEWEST)
        if local is None and domain == "":
            local = standard_function(node.op_type, opset)
        if local is None and domain == "" and has_typed_function(node.op_type, opset):
            return []  # its nodes are looked at when they are known
        if local is None:
            return [f"the op {domain + '.' if domain else ''}{node.op_type} is not supported"]
        if depth >= MAX_DEPTH:
            raise LoadError(f"Expected functions nested at most {MAX_DEPTH} deep, got more")
        inner = {**opsets, **local.opsets}
        return self.nodes(local.nodes, inner, values, depth + 1)


def _attribute_reasons(node: Any, values: Mapping[str, Any]) -> list[str]:
    converter = CONVERTERS[domain_of(node.domain)][node.op_type]
    reasons = []
    least, most = converter.inputs
    if not least <= len(node.input) <= most:
        reasons.append(f"{node.op_type} with {len(node.input)} inputs")
    for name, value in values.items():
        if name not in converter.attributes:
            if name not in _IGNORED:
                reasons.append(f"{node.op_type} with the attribute {name!r}")
            continue
        known = converter.attributes[name]
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if known is not None and text not in known:
            reasons.append(
                f"{node.op_type} with {name}={text!r} (supported: {', '.join(map(str, known))})"
            )
    return reasons


_IGNORED = ("consumed_inputs", "doc_string")
"""Attributes that change nothing: a hint of very old files, and words."""


def node_name(node: Any, position: int) -> str:
    """What a node goes by: its name, or its first output, or its place."""
    return node.name or next(iter(node.output), "") or f"node {position}"
