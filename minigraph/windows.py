"""Which part of its output a run on a window of an image computes as a run on the whole image does.

A window cuts the image. Where an operation near the cut would read a pixel beyond it, it meets
padding instead, so what it gives there is wrong, and so is all that reads this. `exact_regions`
follows, operation by operation, how far the error gets. All positions are counted in the whole
image, one axis at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint, Interval, clip_to
from minigraph.ir.graph import Graph, Node, Value
from minigraph.receptive_field import AxisTrace


@dataclass(frozen=True)
class Region:
    """Where a value of a run on a window lies in that of the whole image, along one axis."""

    offset: int  # of its position 0
    size: int  # positions that the run computes
    whole: int  # positions that there are in the whole image
    exact: Interval  # those computed as in a run on the whole image; none where start >= stop

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """Positions that may be read, so that what is read is the same as in the whole image.

        None, for no bound, where the window's value ends with that of the whole image: beyond both
        is the same padding.
        """
        start, stop = self.exact
        return (
            None if start == self.offset == 0 else start,
            None if stop == self.offset + self.size == self.whole else stop,
        )


def exact_regions(whole: AxisTrace, window: AxisTrace, start: int) -> dict[Value, Region]:
    """The region of each value of ``window.graph`` for a run on the pixels from ``start`` on.

    Both traces are of one model, on the whole image and on a window of it. Values that depend on
    the whole image are left out. Raises SpecError, with the node's name, where the two do not run
    in step: the start is no multiple of ``whole.period``, the sizes leave different remainders and
    "same" padding differs with them, or the model is another one at the window's size.
    """
    _check_same_model(whole.graph, window.graph)
    source, size = window.source, window.extent(window.source)
    pixels = whole.extent(whole.source)
    regions = {source: Region(start, size, pixels, clip_to((start, start + size), pixels))}
    for node, twin in zip(window.graph.nodes, whole.graph.nodes, strict=True):
        if node not in window.footprints or twin not in whole.footprints:
            continue  # no image in it, or all of the axis at once
        if node.outputs[0] in window.mixers or twin.outputs[0] in whole.mixers:
            continue
        operands = [
            (regions[value], read, twin_read)
            for value, read, twin_read in zip(
                node.inputs, window.footprints[node], whole.footprints[twin], strict=True
            )
            if value in regions and read is not None and twin_read is not None
        ]
        offsets = {_offset(*operand) for operand in operands}
        offset = offsets.pop()
        if offsets or offset is None:
            raise SpecError(
                f"Expected a window that {node.op.name} '{node.name}' meets in step with the whole "
                f"image (a start that is a multiple of {whole.period}, a size that leaves the same "
                f"remainder), got {size} pixels from {start} on of {pixels}"
            )
        bounds = [_readers(region, twin_read) for region, _, twin_read in operands]
        for value, other in zip(node.outputs, twin.outputs, strict=True):
            regions[value] = _region(offset, window.extent(value), whole.extent(other), bounds)
    return regions


def _region(
    offset: int, size: int, whole: int, bounds: list[tuple[int | None, int | None]]
) -> Region:
    low, high = clip_to((offset, offset + size), whole)
    low = max([low, *(bound for bound, _ in bounds if bound is not None)])
    high = min([high, *(bound for _, bound in bounds if bound is not None)])
    return Region(offset, size, whole, (low, high))


def _readers(region: Region, read: Footprint) -> tuple[int | None, int | None]:
    """The outputs that read what is exact; padding is where the elements it is made of are."""
    start, stop = region.bounds
    low_is_wrong = stop is not None and stop < read.border[0]
    high_is_wrong = start is not None and start > region.whole - read.border[1]
    return read.readers(
        0 if start is None and low_is_wrong else start,
        region.whole if stop is None and high_is_wrong else stop,
    )


def _offset(region: Region, read: Footprint, twin: Footprint) -> int | None:
    """The output's offset; None where the window's footprint is no shift of the whole image's."""
    # Position i of the whole is i - offset of the window, and both read from the same place on:
    #   stride i + twin.first = stride (i - offset) + read.first + region.offset
    shift = Fraction(read.first) - twin.first
    offset = (region.offset + shift) / Fraction(read.stride)
    in_step = read.stride == twin.stride and shift == Fraction(read.last) - twin.last
    return int(offset) if in_step and offset.denominator == 1 else None


def _check_same_model(whole: Graph, window: Graph) -> None:
    """Raise SpecError unless both have the same operations; sizes in attributes may differ."""
    if len(whole.nodes) != len(window.nodes):
        raise SpecError(
            f"Expected one graph at every size, got {len(window.nodes)} operations in a window "
            f"and {len(whole.nodes)} in the whole image"
        )
    for node, twin in zip(window.nodes, whole.nodes, strict=True):
        if _attributes(node) != _attributes(twin):
            raise SpecError(
                f"Expected one operation at every size, got {node.op} for '{node.name}' in a "
                f"window and {twin.op} in the whole image"
            )


def _attributes(node: Node) -> tuple[type, dict[str, Any]]:
    sizes = node.op.absolute_attributes
    attributes = node.op.attributes()
    return type(node.op), {name: attributes[name] for name in attributes if name not in sizes}
