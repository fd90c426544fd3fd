"""Max pooling with flat positions, and what moves elements by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.kernels.fill import fill_calls
from minigraph.backends.llvm.kernels.indexed import (
    IndexedAxis,
    Moves,
    add_calls,
    check_calls,
    take_calls,
)
from minigraph.backends.llvm.kernels.max_pool import max_pool_calls
from minigraph.ir.errors import InputError
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import without_gaps
from minigraph.ops import unpool
from minigraph.places import carve, part


def _pool(binding: Binding) -> list[Call]:
    (x,), (y, positions) = binding.inputs, binding.outputs
    assert y is not None
    return max_pool_calls(binding.op, x, y, positions, (x.spec.shape[3], 1), flat=True)


# ---- by flat position


def _plane_refusal(plane: Any, value: int) -> InputError:
    size = plane[0] * plane[1]
    return InputError(
        f"Expected positions in [0, {size}) of a {plane[0]}x{plane[1]} image, got {value}"
    )


def _refused_unpool(op: Any, inputs: Sequence[Slot], position: int, value: int) -> InputError:
    return _plane_refusal(op.output_size, value)


def _refused_take(op: Any, inputs: Sequence[Slot], position: int, value: int) -> InputError:
    return _plane_refusal(inputs[0].spec.shape[2:], value)


def _workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    """16-bit floats are summed in float32."""
    (y,) = op.infer(*inputs)
    return y.size * 4 if y.dtype in (DType.FLOAT16, DType.BFLOAT16) else 0


def _unpool(binding: Binding) -> list[Call]:
    (x, positions), y = binding.inputs, binding.output
    sums = y
    if y.spec.dtype in (DType.FLOAT16, DType.BFLOAT16):
        (flat,) = carve(binding.workspace, (DType.FLOAT32, y.spec.size))
        sums = part(flat, 0, y.spec.shape, DType.FLOAT32, without_gaps(y))
    plane = IndexedAxis.of_plane(sums)
    where, what = (Moves(slot, slot.strides[:2], slot.strides[2:]) for slot in (positions, x))
    return [
        *check_calls(positions, 0, plane.count),
        *fill_calls(sums, 0.0),
        *add_calls(sums, (0, 1), plane, where, what, x.spec.shape[2:]),
        *(copy_calls(sums, y) if sums is not y else ()),
    ]


def _take(binding: Binding) -> list[Call]:
    (x, positions), y = binding.inputs, binding.output
    plane = IndexedAxis.of_plane(x)
    along_x = (*x.strides[:2], 0, 0)
    taken = take_calls(x, along_x, plane, positions, positions.strides, y)
    return [*check_calls(positions, 0, plane.count), *taken]


LOWERINGS: Mapping[type, Lowering] = {
    unpool.MaxPool2dWithPositions: simple(_pool),
    unpool.MaxUnpool2d: replace(
        simple(_unpool, workspace=_workspace), refusal=_refused_unpool, refused_input=1
    ),
    unpool.TakeAtPositions: replace(simple(_take), refusal=_refused_take, refused_input=1),
}
