"""An operation: its attributes, what it infers, how it is differentiated, what it costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from minigraph.ir.errors import GradientError
from minigraph.ir.footprint import Footprint
from minigraph.ir.spec import TensorSpec

if TYPE_CHECKING:
    from minigraph.ir.graph import Node
    from minigraph.ir.tensor import Tensor


Tensors = Sequence["Tensor"]
Cotangents = tuple[Any, ...]  # Tensor | None each: None where nothing flows
Footprints = tuple[Footprint | None, ...] | None  # one an operand; see Op.footprints


@dataclass(frozen=True, slots=True)
class Cost:
    """What one execution takes at least: arithmetic and memory traffic."""

    flops: int
    bytes_read: int
    bytes_written: int

    @property
    def bytes(self) -> int:
        return self.bytes_read + self.bytes_written


class Op(ABC):
    """One operation. A subclass is a frozen dataclass whose fields *are* its attributes.

    Attributes are normalised at construction, so that equal operations compare and hash equal.
    Adding one: this class in ``ops/<family>.py``, its line in ``ALL_OPS``, a kernel per backend,
    a row in the op test table.
    """

    absolute_attributes: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold sizes of one particular input shape: they stop a replay at another."""

    absolute_axes: ClassVar[tuple[int, ...] | None] = None
    """Axes of the operands that those sizes follow from, where others may change; None: all."""

    may_refuse: ClassVar[bool] = False
    """True where a kernel may refuse the values it is given (an illegal label, say)."""

    is_view: ClassVar[bool] = False
    """True where the output is the input's bytes under another shape: nothing is run."""

    optional_outputs: ClassVar[tuple[int, ...]] = ()
    """Outputs that a kernel may leave out where nothing reads them."""

    place_outputs: ClassVar[tuple[int, ...]] = ()
    """Outputs whose numbers are places in the whole image: they differ in a window of it."""

    @abstractmethod
    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        """Specs of the outputs. Raises SpecError where the inputs do not fit."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        """Vector-Jacobian product: from cotangents of the outputs to cotangents of the inputs.

        ``grads`` has None for an output that nothing depends on (never for all of them); the
        result has None for an input without gradient.
        """
        raise GradientError(f"{self.name} has no gradient")

    def following(self, makers: Sequence[Node | None]) -> Op | None:
        """This op with the absolute attributes that follow from the nodes that make its operands.

        None where they follow from nothing: the graph can then not be replayed at other shapes.
        """
        return None

    def footprints(self, axis: int, *inputs: TensorSpec) -> Footprints:
        """What an output position along ``axis`` (of every output) reads of each operand.

        None for an operand that serves all positions alike: a weight, or one of size 1 that is
        broadcast. The default, None for all, says that a position reads everything along the axis,
        or that nobody has said what it reads: such a node stops tiled inference, by its name.
        """
        return None

    def cost(self, *inputs: TensorSpec) -> Cost:
        """Least cost of one execution. The default: one operation per output element."""
        outputs = self.infer(*inputs)
        return Cost(
            flops=sum(spec.size for spec in outputs),
            bytes_read=sum(spec.nbytes for spec in inputs),
            bytes_written=sum(spec.nbytes for spec in outputs),
        )

    @property
    def name(self) -> str:
        return type(self).__name__

    def attributes(self) -> dict[str, Any]:
        """The attributes in declaration order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


def memory_cost(flops: int, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Cost:
    """A Cost with the given FLOPs that reads every input and writes every output once."""
    return Cost(flops, sum(s.nbytes for s in inputs), sum(s.nbytes for s in outputs))
