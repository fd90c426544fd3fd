"""Mixed precision: the large work in 16 bit, all that needs more in float32 (Micikevicius et al.
2018, arXiv:1710.03740).

The pass runs on the model's graph *before* it is differentiated: parameters stay float32 state and
are rounded where they are used, and so their gradients come back as float32 through the gradient
of that cast. Backward ops are then what their forward ops are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase

import numpy as np

from minigraph.ir.constant import Constant, Full
from minigraph.ir.errors import BuilderError
from minigraph.ir.graph import Graph, Node, Role, Value
from minigraph.ir.op import Op
from minigraph.ir.spec import DType, DTypeLike
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import Add, Cast, Mul
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.precision_table import ARITHMETIC, FOLLOWING, IN_16_BIT
from minigraph.passes.rewrite import Emitter, rewrite

_DTYPES = (DType.BFLOAT16, DType.FLOAT16)


@dataclass(frozen=True)
class MixedPrecision:
    """Computes in ``dtype`` ("bfloat16" or "float16") what the table of ops allows to.

    Sums, statistics, softmax, losses, parameters, inputs, outputs and state stay float32
    (``passes/precision_table.py``). ``keep`` names nodes to leave in float32, by patterns of their
    names: ``MixedPrecision("float16", keep=["head.*"])``. Values of other dtypes are left alone.

    Preserves values within the rounding of ``dtype``: 2^-8 of each result for bfloat16, 2^-11 for
    float16 (whose largest number is 65,504).
    """

    dtype: DTypeLike
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", DType.of(self.dtype))
        if self.dtype not in _DTYPES:
            raise BuilderError(
                f"Expected mixed precision in {' or '.join(map(str, _DTYPES))}, got {self.dtype}"
            )
        if isinstance(self.keep, str):
            raise BuilderError(f"Expected keep as a list of patterns, got {self.keep!r}")
        object.__setattr__(self, "keep", tuple(self.keep))

    def __call__(self, graph: Graph) -> Graph:
        rule = _Lowering(graph, DType.of(self.dtype), self.keep)
        return eliminate_dead_nodes(rewrite(graph, rule))

    def check(self, model: Graph) -> None:
        """Raise BuilderError for a pattern of ``keep`` that fits no node of the whole model."""
        for pattern in self.keep:
            if not any(fnmatchcase(node.name, pattern) for node in model.nodes):
                raise BuilderError(
                    f"Expected patterns of nodes' names in keep, such as 'head.*', got {pattern!r},"
                    " which fits none: print(step.graph) shows the names"
                )


def precision_of(precision: DTypeLike | MixedPrecision) -> MixedPrecision | None:
    """What ``precision=`` says: "float32" is no pass at all. Raises BuilderError."""
    if isinstance(precision, MixedPrecision):
        return precision
    choices = (DType.FLOAT32, *_DTYPES)
    if precision not in (*choices, *map(str, choices)):
        raise BuilderError(
            f"Expected a precision of {', '.join(map(str, choices))} or mg.MixedPrecision(...), "
            f"got {precision!r}"
        )
    return None if DType.of(precision) is DType.FLOAT32 else MixedPrecision(precision)


@dataclass(eq=False)
class _Lowering:
    """The rule of one application of the pass.

    Every value keeps a float32 form, which is what the rewritten graph knows it by. Those that are
    16-bit *in effect* (``narrow``) have a rounded form as well: the value itself where it was
    computed in 16 bit, else a cast that is made for the first reader. Forms that nothing reads are
    dead nodes.
    """

    graph: Graph
    dtype: DType
    keep: Sequence[str]
    rounded: dict[Value, Tensor] = field(default_factory=dict)
    narrow: set[Value] = field(default_factory=set)
    exact: set[Value] = field(default_factory=set)  # narrow, but still to be rounded

    def __post_init__(self) -> None:
        self.stable = _stable(self.graph)
        self.free = _free(self.graph)

    def __call__(
        self, emitter: Emitter, graph: Graph, node: Node
    ) -> tuple[Value | Tensor, ...] | None:
        kind = type(node.op)
        values = [*node.inputs, *node.outputs]
        if any(v.spec.dtype.is_floating and v.spec.dtype is not DType.FLOAT32 for v in values):
            return None
        if any(fnmatchcase(node.name, pattern) for pattern in self.keep):
            return None
        if kind in IN_16_BIT or (kind in FOLLOWING and self._may_follow(node)):
            return self._emit_narrow(emitter, node)
        if kind in ARITHMETIC and self._reads_narrow(node):
            return self._arithmetic(emitter, node)
        return None

    def _reads_narrow(self, node: Node) -> bool:
        return not self.narrow.isdisjoint(node.inputs)

    def _others(self, node: Node) -> list[Value]:
        """The operands that are float32 in effect."""
        return [v for v in node.inputs if v.spec.dtype.is_floating and v not in self.narrow]

    def _may_follow(self, node: Node) -> bool:
        return (
            self._reads_narrow(node)
            and all(self._may_round(value, node) for value in self._others(node))
            and self._attributes_fit(node.op)
        )

    def _arithmetic(self, emitter: Emitter, node: Node) -> tuple[Tensor, ...] | None:
        """An image and a statistic a channel give an image: computed in float32, then rounded.

        So batch norm, which is written out in the graph, is rounded once, at its end. A square is
        computed so too: statistics begin with squares, and float16 ends at 65,504. An image beside
        another in float32 gives one in float32, as dtypes are promoted everywhere.
        """
        others = self._others(node)
        (output,) = node.outputs
        square = type(node.op) is Mul and node.inputs[0] is node.inputs[1]
        exact = square or (bool(others) and not self.exact.isdisjoint(node.inputs))
        if not exact and all(self._may_round(value, node) for value in others):
            return self._emit_narrow(emitter, node)
        if all(self._is_beside(value, output) for value in others):
            self.narrow.add(output)
            self.exact.add(output)
        return None

    def _is_beside(self, value: Value, image: Value) -> bool:
        """A parameter, a number, or something smaller than the image, such as a statistic."""
        return self._fits(value) and (value in self.free or value.spec.shape != image.spec.shape)

    def _may_round(self, value: Value, node: Node) -> bool:
        """Parameters and constants may be; so may what is added to a convolution, its bias."""
        if value in self.free:
            return self._fits(value)
        makers = [self.graph.producer.get(other) for other in node.inputs if other is not value]
        is_bias = type(node.op) is Add and any(m and type(m.op) in IN_16_BIT for m in makers)
        return is_bias and value in self.stable

    def _fits(self, value: Value) -> bool:
        """Whether a constant, if it is one, becomes neither infinite nor zero."""
        producer = self.graph.producer.get(value)
        if producer is None or not isinstance(producer.op, Constant | Full):
            return True
        if isinstance(producer.op, Full):
            return self._holds(producer.op.value)
        return self._holds(self.graph.constants[producer.op.digest])

    def _attributes_fit(self, op: Op) -> bool:
        values = (getattr(op, attribute.name) for attribute in fields(op))  # type: ignore[arg-type]
        return all(self._holds(value) for value in values if isinstance(value, float))

    def _holds(self, number: float | np.ndarray) -> bool:
        array = np.asarray(number, np.float32)
        with np.errstate(over="ignore"):
            cast = array.astype(self.dtype.numpy).astype(np.float32)
        return bool(
            np.array_equal(np.isinf(array), np.isinf(cast))
            and np.array_equal(array == 0, cast == 0)
        )

    def _emit_narrow(self, emitter: Emitter, node: Node) -> tuple[Tensor, ...]:
        operands = [
            self._round(emitter, value) if value.spec.dtype.is_floating else value
            for value in node.inputs
        ]
        results = []
        for value, tensor in zip(node.outputs, emitter.emit(node.op, *operands), strict=True):
            if value.spec.dtype.is_floating:
                self.narrow.add(value)
                self.rounded[value] = tensor
                name = f"{value.name}.float32"
                (tensor,) = emitter.emit(Cast(DType.FLOAT32), tensor, name=name)
            results.append(tensor)
        return tuple(results)

    def _round(self, emitter: Emitter, value: Value) -> Tensor:
        """The rounded form: one cast a value, whoever reads it."""
        found = self.rounded.get(value)
        if found is None:
            name = f"{value.name}.{self.dtype}"
            (found,) = emitter.emit(Cast(self.dtype), value, name=name)
            self.rounded[value] = found
        return found


def _stable(graph: Graph) -> set[Value]:
    """Values that depend on no input."""
    stable = {state.value for state in graph.state}
    for node in graph.nodes:
        if stable.issuperset(node.inputs):
            stable.update(node.outputs)
    return stable


def _free(graph: Graph) -> set[Value]:
    """Parameters and constants, moved at most: what may be rounded to join an image."""
    roles = (Role.PARAMETER, Role.FROZEN)
    free = {state.value for state in graph.state if state.role in roles}
    for node in graph.nodes:
        made = isinstance(node.op, Constant | Full)
        if made or (type(node.op) in FOLLOWING and free.issuperset(node.inputs)):
            free.update(node.outputs)
    return free
