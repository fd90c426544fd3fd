"""Windows to columns, copied place by place, and back, each element gathering what was its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.copy import copy_calls, fill_calls
from minigraph.backends.llvm.kernels.taps import plane_sum_calls
from minigraph.backends.llvm.kernels.windows import Meeting, by_element, meetings
from minigraph.ir.spec import TensorSpec
from minigraph.ops import unfold
from minigraph.places import along, border_parts, part, region


def _by_place(columns: Slot, channels: int, kernel: int, windows: tuple[int, ...]) -> Slot:
    """Columns (N,C*R*S,H'*W') as (N,C,R*S,H',W')."""
    image, place, position = columns.strides
    return part(
        columns,
        0,
        (columns.spec.shape[0], channels, kernel, *windows),
        columns.spec.dtype,
        (image, place * kernel, place, position * windows[1], position),
    )


def _unfold(binding: Binding) -> list[Call]:
    """For each place in the window, the image shifted by it, with zeros where it has no pixels."""
    (x,), op = binding.inputs, binding.op
    n, c, *windows = op.pooled_shape(x.spec)
    y = _by_place(binding.output, c, op.kernel[0] * op.kernel[1], tuple(windows))
    found = [meetings(op, axis, x.spec.shape[2:], windows[axis]) for axis in (0, 1)]
    calls: list[Call] = []
    for number in range(y.spec.shape[2]):
        place = divmod(number, op.kernel[1])
        met = [_met(found[axis], place[axis], op.stride[axis]) for axis in (0, 1)]
        inside = [range(n), range(c), *(windows for windows, _ in met)]
        source = [range(n), range(c), *(elements for _, elements in met)]
        target = _without_axis(along(y, 2, range(number, number + 1)), 2)
        for border in border_parts(target, inside):
            calls += fill_calls(border, 0.0)
        calls += copy_calls(region(x, source), region(target, inside))
    return calls


def _met(found: Sequence[Meeting], place: int, stride: int) -> tuple[range, range]:
    """The windows in which this place is inside the image, and its elements there."""
    here = [m for m in found if m.place == place]
    if not here:
        return range(0), range(0)
    window, element, count = here[0].window, here[0].element, len(here)
    return range(window, window + count), range(element, element + count * stride, stride)


def _without_axis(slot: Slot, axis: int) -> Slot:
    """The tensor without an axis of one element."""
    shape, strides = slot.spec.shape, slot.strides
    spec = TensorSpec((*shape[:axis], *shape[axis + 1 :]), slot.spec.dtype)
    return replace(slot, spec=spec, strides=(*strides[:axis], *strides[axis + 1 :]))


def _fold(binding: Binding) -> list[Call]:
    (columns,), y, op = binding.inputs, binding.output, binding.op
    windows = op.pooled_shape(y.spec)[2:]
    by_place = _by_place(columns, y.spec.shape[1], op.kernel[0] * op.kernel[1], windows)
    image, channel, place, *window_steps = by_place.strides
    lists = []
    for axis in (0, 1):
        found = meetings(op, axis, y.spec.shape[2:], windows[axis])
        place_step = place * (op.kernel[1], 1)[axis]
        lists.append(
            [
                [(m.window * window_steps[axis] + m.place * place_step,) for m in taps]
                for taps in by_element(found, y.spec.shape[2 + axis])
            ]
        )
    return plane_sum_calls(columns, (image, channel), y, lists, weighted=False)


LOWERINGS: Mapping[type, Lowering] = {
    unfold.Unfold2d: simple(_unfold),
    unfold.Fold2d: simple(_fold),
}
