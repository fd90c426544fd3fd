"""Signatures as graphs of cuDNN's frontend, and the plans that cuDNN has for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minigraph.backends.cupy.cudnn.libraries import Libraries
from minigraph.backends.cupy.cudnn.signature import Signature, strides
from minigraph.backends.cupy.options import Options
from minigraph.ir.spec import DType

_TYPES = {DType.FLOAT32: "FLOAT", DType.FLOAT16: "HALF", DType.BFLOAT16: "BFLOAT16"}


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes graphs: for a device that is there by its ``handle``, else by its ``properties``."""

    libraries: Libraries
    options: Options
    handle: Any = None  # a number, or from version 1.28 of the frontend an object
    properties: Any = None  # of ``cudnn.create_device_properties``

    def graph(self, signature: Signature) -> Graph | None:
        """The graph with its list of plans; None where cuDNN cannot run it at all.

        Operands have the uids 1, 2, ... and the result the one after them.
        """
        cudnn = self.libraries.cudnn
        graph = cudnn.pygraph(
            io_data_type=getattr(cudnn.data_type, _TYPES[signature.dtype]),
            intermediate_data_type=cudnn.data_type.FLOAT,
            compute_data_type=cudnn.data_type.FLOAT,
            **self._where,
        )
        try:
            _fill(graph, signature)
            graph.validate()
            graph.build_operation_graph()
            graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
            graph.deselect_numeric_notes(self._refused_notes(signature.dtype))
            graph.deselect_workspace_greater_than(self.options.workspace_bytes)
        except self.libraries.errors:
            return None
        return Graph(graph, self.libraries, self.handle)

    def restored(self, data: bytes) -> Restored | None:
        """A plan from ``Graph.serialized``; None where this cuDNN does not take it."""
        graph = self.libraries.cudnn.pygraph(**self._where)
        try:
            graph.deserialize(list(data))
            workspace = int(graph.get_workspace_size())
        except self.libraries.errors:
            return None
        return Restored(graph, self.handle, workspace)

    @property
    def _where(self) -> dict[str, Any]:
        if self.handle is None:
            return {"device_property": self.properties}
        return {"handle": self.handle}

    def _refused_notes(self, dtype: DType) -> list[Any]:
        """What no plan may do. Sums are always in float32; the rest is as the user wants it."""
        note = self.libraries.cudnn.numerical_note
        refused = [note.REDUCED_PRECISION_REDUCTION]
        if self.options.deterministic:
            refused.append(note.NONDETERMINISTIC)
        if dtype is DType.FLOAT32:
            refused.append(note.DOWN_CONVERT_INPUTS)
            if self.options.float32 == "strict":
                refused.append(note.TENSOR_CORE)
        return refused


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of cuDNN's with numbered plans, the one it thinks fastest first."""

    graph: Any
    libraries: Libraries
    handle: Any

    def plans(self) -> Iterator[tuple[int, str, int]]:
        """(number, name, workspace in bytes) of each plan that can be built and is not refused.

        A plan's name says its engine and what that one is set to.
        """
        for number in range(self.graph.get_execution_plan_count()):
            if self.build(number):
                yield number, self.name(number), self.workspace(number)

    def numbered(self, name: str) -> int | None:
        """The plan of this name, built; None where there is none (any more)."""
        for number in range(self.graph.get_execution_plan_count()):
            if self.name(number) == name and self.build(number):
                return number
        return None

    def build(self, number: int) -> bool:
        try:
            self.graph.build_plan_at_index(number)
        except self.libraries.errors:
            return False
        return True

    def workspace(self, number: int) -> int:
        return int(self.graph.get_workspace_size_plan_at_index(number))

    def serialized(self, number: int) -> bytes | None:
        """A built plan for ``Maker.restored``, with the kernels that were compiled for it: those
        take seconds. None where cuDNN cannot write it down."""
        try:
            self.graph.build_plan_at_index(number)  # built already: this chooses it
            return bytes(self.graph.serialize())
        except self.libraries.errors:
            return None

    def name(self, number: int) -> str:
        return str(self.graph.get_plan_name_at_index(number))

    def execute(self, number: int, addresses: Mapping[int, int], workspace: int) -> None:
        """Queue a plan on the handle's stream; ``addresses`` by uid."""
        self.graph.execute_plan_at_index(addresses, workspace, number, handle=self.handle)


@dataclass(frozen=True, slots=True)
class Restored:
    """One plan without its graph."""

    graph: Any
    handle: Any
    workspace: int  # bytes

    def execute(self, addresses: Mapping[int, int], workspace: int) -> None:
        """As a graph does."""
        self.graph.execute(addresses, workspace, handle=self.handle)


def _fill(graph: Any, signature: Signature) -> None:
    """Add the signature's nodes."""
    values = []
    for uid, shape in enumerate(signature.operands, 1):
        value = graph.tensor(name=f"x{uid}", dim=list(shape), stride=list(strides(shape)))
        value.set_uid(uid)
        values.append(value)
    values.append(_convolution(graph, signature, values))
    result = list(signature.result)
    for name, operands in signature.following:
        values[-1].set_dim(result).set_stride(list(strides(signature.result)))
        values.append(_FOLLOWING[name](graph, *(values[number] for number in operands)))
    values[-1].set_output(True).set_uid(1 + len(signature.operands))
    values[-1].set_dim(result).set_stride(list(strides(signature.result)))
    values[-1].set_data_type(values[0].get_data_type())


def _convolution(graph: Any, signature: Signature, values: list[Any]) -> Any:
    first, second = (values[number] for number in signature.convolution)
    (top, bottom), (left, right) = signature.padding
    sizes = {
        "pre_padding": [top, left],
        "post_padding": [bottom, right],
        "stride": list(signature.stride),
        "dilation": list(signature.dilation),
    }
    if signature.direction == "forward":
        return graph.conv_fprop(image=first, weight=second, **sizes)
    if signature.direction == "input_gradient":
        return graph.conv_dgrad(loss=first, filter=second, **sizes)
    return graph.conv_wgrad(image=first, loss=second, **sizes)


_FOLLOWING: dict[str, Callable[..., Any]] = {
    "Add": lambda graph, a, b: graph.add(a, b),
    "Mul": lambda graph, a, b: graph.mul(a, b),
    "Relu": lambda graph, x: graph.relu(x),
    "ReluGrad": lambda graph, y, gradient: graph.relu_backward(loss=gradient, input=y),
}
