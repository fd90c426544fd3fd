"""Ops on labels: what is said of one that is no class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from minigraph.backend import Slot
from minigraph.ir.errors import IllegalLabelError
from minigraph.lowering.call import BindingT, CallT, ContextT, Lowering


def refuses_labels(
    lowering: Lowering[ContextT, BindingT, CallT],
) -> Lowering[ContextT, BindingT, CallT]:
    """The lowering of an op whose second operand are labels, with its error for illegal ones."""
    return replace(lowering, refusal=_refusal, refused_input=1)


def _refusal(op: Any, inputs: tuple[Slot, ...], position: int, value: int) -> IllegalLabelError:
    return op.illegal_label(inputs[0].spec, position, value)
