"""Means and variances of channels, and of groups of channels of each image.

The sums are those of ``statistics.DifferenceSums``, by image (of all images together, for moments
of channels) and channel. Here they are put together: groups have several channels, and where rows
were folded (``reduction_space.fold``) a channel has several sums too, each about its own point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from minigraph.backend import Slot, Strides, channels_last, dense_strides
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.reduction import (
    partial_results,
    reduction_call,
)
from minigraph.backends.llvm.kernels.reduction_space import chunks
from minigraph.backends.llvm.kernels.statistics import DifferenceSums, Sum, reference_point
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT64, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import Axis, ReductionSpace, axes_of, reduction_space
from minigraph.ops.norm import ChannelMoments, GroupMoments
from minigraph.places import carve, carved_bytes


@dataclass(frozen=True)
class MomentsOfGroups(KernelCode):
    """Mean and variance of groups, from the sums of their members.

    A member is a channel, or one of the folded rows of a channel. Of n members with p elements
    each, means m_i and sums of squared differences q_i about them (Chan, Golub and LeVeque 1979)::

        mean = sum(m_i) / n      variance = (sum(q_i) + p sum((m_i - mean)^2)) / (n p)

    Arguments: source, sums, the wanted results; numbers of images, groups, channels of a group,
    folded rows, elements of a member; strides of images, channels and folded rows in the source,
    then in the sums, there also between the two sums; strides of images and channels in each
    result.
    """

    source: DType
    target: DType
    results: tuple[int, ...]  # 0 for the mean, 1 for the variance

    @property
    def pointers(self) -> int:
        return 2 + len(self.results)

    @property
    def sizes(self) -> int:
        return 12 + 2 * len(self.results)

    def emit(self, k: Kernel) -> None:
        images, groups, channels, rows, elements = k.sizes[:5]
        p = elements.to(FLOAT64)
        count = (channels * rows).to(FLOAT64)
        with k.parallel(images * groups) as item:
            image, first = item // groups, item % groups * channels
            member = self._members(k, image, first, p)
            zero = k.zero(FLOAT64)

            def add_mean(i: Value, totals: list[Value]) -> list[Value]:
                return [totals[0] + member(i)[0]]

            (total,) = k.carry(0, channels * rows, [zero], add_mean)
            mean = total / count

            def add_squares(i: Value, totals: list[Value]) -> list[Value]:
                own, squares = member(i)
                apart = own - mean
                return [totals[0] + k.fma(apart * apart, p, squares)]

            (squares,) = k.carry(0, channels * rows, [zero], add_squares)
            self._store(k, image, first, [mean, squares / (count * p)])

    def _members(self, k: Kernel, image: Value, first: Value, p: Value) -> Any:
        """A function from a member's number to its mean and its sum of squared differences."""
        rows = k.sizes[3]
        image_step, channel_step, row_step = k.sizes[5:8]
        image_sums, channel_sums, row_sums, other_sum = k.sizes[8:12]
        source = k.view(k.pointers[0], self.source, image_step, channel_step, row_step)
        strides = (image_sums, channel_sums, row_sums, other_sum)
        sums = k.view(k.pointers[1], DType.FLOAT64, *strides)

        def member(i: Value) -> tuple[Value, Value]:
            channel, row = first + i // rows, i % rows
            point = reference_point(source.load(image, channel, row), FLOAT64)
            difference = sums.load(image, channel, row, 0)
            share = difference / p
            squares = sums.load(image, channel, row, 1) - difference * share
            return point + share, k.maximum(squares, 0.0)

        return member

    def _store(self, k: Kernel, image: Value, first: Value, moments: Sequence[Value]) -> None:
        strides = k.sizes[12:]
        for number, which in enumerate(self.results):
            result = moments[which].to(value_type(self.target))
            steps = strides[2 * number : 2 * number + 2]
            target = k.view(k.pointers[2 + number], self.target, *steps)
            with k.loop(0, k.sizes[2]) as channel:
                target.store(result, image, first + channel)


@dataclass(frozen=True)
class _Plan:
    """How the sums of an input are made: over what, in how many parts, in what order they lie."""

    space: ReductionSpace
    rows: int
    parts: int
    images: int  # 1 where the images are taken together
    channels: int

    @property
    def sums(self) -> int:
        """Numbers in one set of sums: [image][first or second sum][folded row][channel]."""
        return self.images * 2 * self.rows * self.channels


def _plan(shape: Sequence[int], strides: Strides, by_image: bool, dtype: DType, machine: Target,
          rows: int | None = None) -> _Plan:  # fmt: skip
    """``rows``: how many to fold, where that is not to be found out."""
    images, channels = shape[0] if by_image else 1, shape[1]

    def space_with(rows: int) -> ReductionSpace:
        of_image = 2 * rows * channels if by_image else None
        kept: list[int | None] = [of_image, 1, *(None for _ in shape[2:])]
        return reduction_space(axes_of(shape, strides, kept))

    if rows is None:
        rows, _, _ = partial_results(space_with(1), dtype, machine)
    space = space_with(rows)
    parts = chunks(prod(shape) // (images * channels), images * channels)
    return _Plan(space if rows == 1 else space.folded(rows), rows, parts, images, channels)


def _bytes(plan: _Plan) -> tuple[tuple[DType, int], ...]:
    """The sums, and where there are several chunks theirs."""
    return (DType.FLOAT64, plan.sums), (DType.FLOAT64, plan.sums * plan.parts * (plan.parts > 1))


def _moments(binding: Binding, groups: int | None) -> list[Call]:
    """``groups`` of each image, or (None) channels of all images together."""
    (x,), machine = binding.inputs, binding.target
    by_image = groups is not None
    wanted = tuple(i for i, slot in enumerate(binding.outputs) if slot is not None)
    if x.spec.size == 0 or not wanted:
        return []
    assert binding.workspace is not None
    shape, dtype = x.spec.shape, x.spec.dtype
    plan = _plan(shape, x.strides, by_image, dtype, machine)
    if carved_bytes(*_bytes(plan)) > binding.workspace.spec.size:
        plan = _plan(shape, x.strides, by_image, dtype, machine, rows=1)
    sums, partial = carve(binding.workspace, *_bytes(plan))
    calls = [
        reduction_call(
            DifferenceSums(), x, partial if plan.parts > 1 else sums, plan.space, machine,
            parts=plan.parts, chunk_stride=plan.sums,
            accumulator_stride=plan.rows * plan.channels,
        )
    ]  # fmt: skip
    if plan.parts > 1:
        space = reduction_space([Axis(plan.parts, plan.sums), Axis(plan.sums, 1, 1)])
        calls.append(reduction_call(Sum(), partial, sums, space, machine))
    calls.append(_moments_of_groups(binding, plan, sums, wanted, groups))
    return calls


def _moments_of_groups(
    binding: Binding, plan: _Plan, sums: Slot, wanted: tuple[int, ...], groups: int | None
) -> Call:
    (x,) = binding.inputs
    by_image = groups is not None
    groups = plan.channels if groups is None else groups
    results = [slot for slot in binding.outputs if slot is not None]
    members = plan.images * plan.channels * plan.rows
    one_set = plan.rows * plan.channels
    sizes: tuple[int, ...] = (
        plan.images, groups, plan.channels // groups, plan.rows, x.spec.size // members,
        x.strides[0] if by_image else 0, x.strides[1], plan.channels,
        2 * one_set, 1, plan.channels, one_set,
    )  # fmt: skip
    for slot in results:
        sizes += tuple(slot.strides[:2]) if by_image else (0, slot.strides[0])
    code = MomentsOfGroups(x.spec.dtype, results[0].spec.dtype, wanted)
    return Call(code, (x, sums), tuple(results), sizes)


def _workspace(by_image: bool, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    (x,) = inputs
    if x.size == 0:
        return 0
    plan = _plan(x.shape, dense_strides(x, channels_last(x)), by_image, x.dtype, context.target)
    return carved_bytes(*_bytes(plan))


LOWERINGS: Mapping[type, Lowering] = {
    ChannelMoments: simple(
        lambda binding: _moments(binding, None),
        workspace=lambda op, inputs, context: _workspace(False, inputs, context),
    ),
    GroupMoments: simple(
        lambda binding: _moments(binding, binding.op.groups),
        workspace=lambda op, inputs, context: _workspace(True, inputs, context),
    ),
}
