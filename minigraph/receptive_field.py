"""Receptive fields, derived from the graph: which pixels of an input a value's positions read.

Height and width are followed one at a time. Each operation says what an output position reads of
its operands (``Op.footprints``); `trace_axis` puts these together. From a trace follow

- the receptive field and the stride of every value (`receptive_fields`),
- the part of an input that a part of the output needs (`AxisTrace.needed`),
- the part of the output that a run on a window of the input computes exactly (`windows.py`).

Receptive field arithmetic: Araujo, Norris and Sim 2019, "Computing receptive fields of
convolutional neural networks".
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint, Interval
from minigraph.ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class AxisTrace:
    """How one axis of an input runs through a graph.

    Attributes:
        graph: an inference graph before fusion (``to_inference``).
        source: the input.
        axes: the values that have the axis, and which of their axes it is.
        strides: how many pixels of the input lie between neighbours on that axis.
        footprints: what each node reads along it, for each operand (None: the same everywhere).
        mixers: for a value that depends on all of the axis, the node that takes it together.
    """

    graph: Graph
    source: Value
    axes: Mapping[Value, int] = field(repr=False)
    strides: Mapping[Value, Fraction] = field(repr=False)
    footprints: Mapping[Node, tuple[Footprint | None, ...]] = field(repr=False)
    mixers: Mapping[Value, Node] = field(repr=False)

    @cached_property
    def period(self) -> int:
        """Shifting the input by so many pixels (or a multiple) shifts every value by a whole number
        of positions: the total stride."""
        return math.lcm(*(stride.numerator for stride in self.strides.values()))

    def extent(self, value: Value) -> int:
        """The size of a value along the axis."""
        return value.spec.shape[self.axes[value]]

    def check_local(self, value: Value) -> None:
        """Raise SpecError, with the node's name, where a value depends on the axis as a whole."""
        node = self.mixers.get(value)
        if node is not None:
            raise SpecError(
                f"Expected operations that read a neighbourhood, got {node.op.name} "
                f"'{node.name}', whose result depends on the whole image: run the whole image at "
                "once, without tiles"
            )
        if value not in self.axes:
            raise SpecError(
                f"Expected a value that depends on '{self.source.name}', got '{value.name}'"
            )

    def needed(self, value: Value, start: int, stop: int) -> Interval:
        """The pixels of the input that the positions ``start <= i < stop`` of a value read.

        Padding reads nothing, so the interval lies within the image. Raises SpecError for a
        value that depends on the whole image.
        """
        return self._needed(value, (start, stop), clip=True)

    def receptive_field(self, value: Value) -> int:
        """The most pixels that one position reads, far from the borders of the image.

        After an enlarging operation it may differ from one position to the next. Raises SpecError
        for a value that depends on the whole image.
        """
        phases = int(self.period / self.strides[value])
        intervals = (self._needed(value, (i, i + 1), clip=False) for i in range(phases))
        return max(stop - start for start, stop in intervals)

    def _needed(self, value: Value, positions: Interval, *, clip: bool) -> Interval:
        self.check_local(value)
        needs: dict[Value, Interval] = {value: positions}
        for node in reversed(self.graph.nodes):
            if node not in self.footprints:
                continue
            wanted = [needs[output] for output in node.outputs if output in needs]
            if not wanted:
                continue
            start, stop = _hull(wanted)
            for operand, footprint in zip(node.inputs, self.footprints[node], strict=True):
                if footprint is None or operand not in self.axes:
                    continue
                if clip:
                    read = footprint.reads_within(start, stop, self.extent(operand))
                else:
                    read = footprint.reads(start, stop)
                if read[0] < read[1]:
                    needs[operand] = _hull([read, needs.get(operand, read)])
        return needs.get(self.source, (0, 0))


@dataclass(frozen=True)
class ReceptiveField:
    """What one position of a value sees of the input: ``(height, width)`` each.

    Attributes:
        size: pixels of the input; None where it depends on the whole image.
        stride: pixels of the input between neighbours; None where the value has no such axis.
    """

    name: str
    size: tuple[int | None, int | None]
    stride: tuple[Fraction | None, Fraction | None]


def trace_axis(graph: Graph, name: str, axis: int) -> AxisTrace:
    """Follow one axis of the input ``name`` through an inference graph, before fusion."""
    source = next((value for value in graph.inputs if value.name == name), None)
    if source is None:
        have = ", ".join(value.name for value in graph.inputs)
        raise SpecError(f"Expected an input of {have}, got {name!r}")
    axes, strides = {source: axis}, {source: Fraction(1)}
    mixers: dict[Value, Node] = {}
    footprints: dict[Node, tuple[Footprint | None, ...]] = {}
    for node in graph.nodes:
        if not any(value in axes or value in mixers for value in node.inputs):
            continue
        placed = _place(node, axes)
        if placed is not None:
            place, read = placed
            axes |= dict.fromkeys(node.outputs, place)
            steps = [
                strides[value] * footprint.stride
                for value, footprint in zip(node.inputs, read, strict=True)
                if footprint is not None and value in axes
            ]
            strides |= dict.fromkeys(node.outputs, Fraction(steps[0]))
            footprints[node] = read
            mixed = len(set(steps)) > 1 or _mixes(graph, node, read, axes)
        mixer = next((mixers[value] for value in node.inputs if value in mixers), None)
        if mixer is None and (placed is None or mixed):
            mixer = node
        if mixer is not None:
            mixers |= dict.fromkeys(node.outputs, mixer)
        else:
            mixers |= {node.outputs[index]: node for index in node.op.place_outputs}
    return AxisTrace(graph, source, axes, strides, footprints, mixers)


def receptive_fields(
    graph: Graph, name: str, values: Collection[str] | None = None
) -> dict[str, ReceptiveField]:
    """Receptive field and stride of every value that depends on the images ``name`` (N,C,H,W).

    ``values`` limits it to values of these names: each takes a walk through the graph.
    """
    traces = [trace_axis(graph, name, axis) for axis in (2, 3)]
    alike = _read_alike(*traces)
    found = {}
    for value in graph.values():
        if values is not None and value.name not in values:
            continue
        if value not in traces[0].axes and value not in traces[0].mixers:
            continue
        height = _size(traces[0], value)
        width = height if alike else _size(traces[1], value)
        strides = [trace.strides.get(value) for trace in traces]
        found[value.name] = ReceptiveField(value.name, (height, width), (strides[0], strides[1]))
    return found


def _size(trace: AxisTrace, value: Value) -> int | None:
    return None if value in trace.mixers else trace.receptive_field(value)


def _read_alike(vertical: AxisTrace, horizontal: AxisTrace) -> bool:
    """Whether all nodes read as much along both axes: square kernels, strides and padding."""

    def reads(trace: AxisTrace) -> list[tuple[object, ...]]:
        return [
            (node, *(None if f is None else (f.stride, f.first, f.last) for f in footprints))
            for node, footprints in trace.footprints.items()
        ]

    return reads(vertical) == reads(horizontal) and vertical.mixers == horizontal.mixers


# ---- nodes


def _place(
    node: Node, axes: Mapping[Value, int]
) -> tuple[int, tuple[Footprint | None, ...]] | None:
    """The axis of the outputs to which that of the operands is carried, and the footprints."""
    specs = tuple(value.spec for value in node.inputs)
    for axis in range(node.outputs[0].spec.ndim):
        read = node.op.footprints(axis, *specs)
        if read is not None and any(
            footprint is not None and axes.get(value) == footprint.axis
            for value, footprint in zip(node.inputs, read, strict=True)
        ):
            return axis, read
    return None


def _mixes(
    graph: Graph,
    node: Node,
    read: tuple[Footprint | None, ...],
    axes: Mapping[Value, int],
) -> bool:
    """Whether an operand is read otherwise than along the axis that is followed.

    The image as a weight, or across; a constant or parameter that varies along the axis, which a
    window would not find in its place.
    """
    for value, footprint in zip(node.inputs, read, strict=True):
        if value in axes:
            if footprint is None or footprint.axis != axes[value]:
                return True
        elif footprint is not None and _varies(graph, value, footprint.axis):
            return True
    return False


def _varies(graph: Graph, value: Value, axis: int) -> bool:
    """Whether a value that depends on no image differs along an axis."""
    if value.spec.shape[axis] == 1:
        return False
    node = graph.producer.get(value)
    if node is None:
        return True
    read = node.op.footprints(axis, *(operand.spec for operand in node.inputs))
    return read is None or any(
        footprint is not None and _varies(graph, operand, footprint.axis)
        for operand, footprint in zip(node.inputs, read, strict=True)
    )


def _hull(intervals: list[Interval]) -> Interval:
    return min(start for start, _ in intervals), max(stop for _, stop in intervals)
