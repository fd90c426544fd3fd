"""One step of a program, and the rows of a backend's table: how an op's steps become calls.

``Call`` stands for a backend's own class of calls, ``Context`` for what else its candidates depend
on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from minigraph.backend import Algorithm, Refused, Slot, Step
from minigraph.ir.location import describe
from minigraph.ir.spec import TensorSpec


@dataclass(frozen=True, slots=True)
class BoundStep:
    """One step of a program, for the function that turns it into calls.

    A backend derives its own, with what else its kernels are chosen by.
    """

    op: Any
    algorithm: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot | None, ...]  # None: nothing reads it, and the op allows leaving it out
    workspace: Slot | None

    @property
    def output(self) -> Slot:
        """The first output."""
        first = self.outputs[0]
        assert first is not None
        return first


ContextT = TypeVar("ContextT")
BindingT = TypeVar("BindingT", bound=BoundStep)
CallT = TypeVar("CallT")

Refusal = Callable[[Any, tuple[Slot, ...], int, int], Exception]
"""The error for a refused value: of (op, input slots, position, value)."""


@dataclass(frozen=True)
class Lowering(Generic[ContextT, BindingT, CallT]):
    """One op's row in a table: which algorithms there are, and how a step becomes calls."""

    candidates: Callable[[Any, tuple[TensorSpec, ...], ContextT], tuple[Algorithm, ...] | Refused]
    calls: Callable[[BindingT], Sequence[CallT]]
    refusal: Refusal | None = None
    refused_input: int = 0  # the operand whose values may be refused

    def error(self, step: Step, position: int, value: int) -> Exception:
        """What a call raises that a step refused: the error, the node, the user's line."""
        assert self.refusal is not None
        error = self.refusal(step.op, step.inputs, position, value)
        text = f"{error}\n  in {step.op.name} '{step.name}'; no state was changed"
        where = describe(step.locations)
        return type(error)(f"{text}\n{where}" if where else text)


@dataclass(frozen=True)
class OneAlgorithm(Generic[ContextT, BindingT, CallT]):
    """Makes lowerings of ops that a backend runs in one way, by kernels that wait for memory."""

    name: str
    seconds: Callable[[Any, tuple[TensorSpec, ...]], float]
    """The expected time of an op on inputs of these specs."""

    def __call__(
        self,
        calls: Callable[[BindingT], Sequence[CallT]],
        *,
        overwrites: tuple[int, ...] = (),
        workspace: Callable[[Any, tuple[TensorSpec, ...], ContextT], int] | None = None,
    ) -> Lowering[ContextT, BindingT, CallT]:
        """``workspace`` gives its bytes; ``overwrites`` as in ``Algorithm``."""

        def candidates(
            op: Any, inputs: tuple[TensorSpec, ...], context: ContextT
        ) -> tuple[Algorithm, ...]:
            size = 0 if workspace is None else workspace(op, inputs, context)
            return (Algorithm(self.name, size, self.seconds(op, inputs), overwrites=overwrites),)

        return Lowering(candidates, calls)

    def elementwise(self, op: Any, inputs: tuple[TensorSpec, ...]) -> Algorithm:
        """Of an op whose outputs may be written over any operand of the same spec."""
        outputs = op.infer(*inputs)
        overwrites = tuple(i for i, spec in enumerate(inputs) if spec in outputs)
        return Algorithm(self.name, 0, self.seconds(op, inputs), overwrites=overwrites)
