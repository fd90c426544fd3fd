"""Collects the nodes and initialisers of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from minigraph.ir.constant import content_hash
from minigraph.ir.graph import Graph, Value
from minigraph.ir.spec import DType
from minigraph.onnx.dtypes import code_of
from minigraph.onnx.library import onnx_library


class Writer:
    """What the rules emit to: ``writer.node("Conv", inputs, strides=...)`` gives a new name."""

    def __init__(self, graph: Graph, taken: Iterable[str]) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}
        self._onnx = onnx_library()
        self._taken = set(taken)
        self._known: dict[str, str] = {}  # content -> name of its initialiser
        self._place = ""

    def begin(self, place: str) -> None:
        """Name what follows after this node of ours."""
        self._place = place

    def node(
        self, op_type: str, inputs: Sequence[str], outputs: int | Sequence[bool] = 1,
        **attributes: Any,
    ) -> list[str]:  # fmt: skip
        """Append a node; the names of its outputs ("" for one that is not wanted)."""
        wanted = [True] * outputs if isinstance(outputs, int) else list(outputs)
        names = [self._unique(self._place) if want else "" for want in wanted]
        made = self._onnx.helper.make_node(
            op_type, list(inputs), names, name=f"{names[0]}/{op_type}", **attributes
        )
        self.nodes.append(made)
        return names

    def one(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Append a node of one output; its name."""
        return self.node(op_type, inputs, **attributes)[0]

    def constant(self, array: Any, name: str = "") -> str:
        """The name of an initialiser with these values; equal ones are one."""
        values = np.asarray(array)
        key = content_hash(values)
        if key not in self._known:
            self._known[key] = self._unique(name or f"{self._place}/constant")
            self.initializers[self._known[key]] = values
        return self._known[key]

    def integers(self, values: Sequence[int]) -> str:
        """An initialiser of int64: axes, shapes and the like."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float, dtype: DType) -> str:
        """An initialiser of one value."""
        return self.constant(np.array(value, dtype.numpy))

    def cast(self, name: str, dtype: DType) -> str:
        return self.one("Cast", name, to=code_of(dtype))

    def _unique(self, name: str) -> str:
        candidate, number = name, 0
        while candidate in self._taken:
            number += 1
            candidate = f"{name}_{number}"
        self._taken.add(candidate)
        return candidate


class OurNode(Protocol):
    """A node of our graph; its rule knows which attributes the op has."""

    @property
    def op(self) -> Any: ...
    @property
    def inputs(self) -> tuple[Value, ...]: ...
    @property
    def outputs(self) -> tuple[Value, ...]: ...
    @property
    def name(self) -> str: ...


Rule = Callable[[Writer, OurNode, Sequence[str]], Sequence[str]]
"""From a node of ours and the ONNX names of its inputs to the ONNX names of its outputs."""
