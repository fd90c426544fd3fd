"""What moves elements by flat positions in an image: max unpooling and its adjoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from minigraph.backend import Slot
from minigraph.ir.errors import InputError
from minigraph.ir.spec import TensorSpec
from minigraph.lowering.call import BindingT, CallT, ContextT, Lowering, OneAlgorithm
from minigraph.lowering.sums import sums_bytes
from minigraph.ops.unpool import MaxUnpool2d, TakeAtPositions


def unpool_lowerings(
    simple: OneAlgorithm[ContextT, BindingT, CallT],
    unpool: Callable[[BindingT], Sequence[CallT]],
    take: Callable[[BindingT], Sequence[CallT]],
) -> dict[type, Lowering[ContextT, BindingT, CallT]]:
    """Given the calls of both, which refuse positions outside of the image. Those of ``unpool`` add
    in ``sums_of`` the result and the workspace."""
    lowering = simple(unpool, workspace=_workspace)
    return {
        MaxUnpool2d: replace(lowering, refusal=_refused_unpool, refused_input=1),
        TakeAtPositions: replace(simple(take), refusal=_refused_take, refused_input=1),
    }


def _workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Any) -> int:
    (y,) = op.infer(*inputs)
    return sums_bytes(y)


def _refused_unpool(op: Any, inputs: Sequence[Slot], position: int, value: int) -> InputError:
    return _refusal(op.output_size, value)


def _refused_take(op: Any, inputs: Sequence[Slot], position: int, value: int) -> InputError:
    return _refusal(inputs[0].spec.shape[2:], value)


def _refusal(plane: Sequence[int], value: int) -> InputError:
    size = plane[0] * plane[1]
    return InputError(
        f"Expected positions in [0, {size}) of a {plane[0]}x{plane[1]} image, got {value}"
    )
