"""Where windows meet images: the elements that each covers, the windows that cover each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.ops.pool import Window


@dataclass(frozen=True, slots=True)
class Meeting:
    """Place ``place`` of window ``window`` lies on element ``element``, along one axis."""

    window: int
    element: int
    place: int


def meetings(op: Window, axis: int, size: Sequence[int], windows: int) -> list[Meeting]:
    """All within the image, along height (axis 0) or width (1), by window, then by place."""
    kernel, stride, dilation = op.kernel[axis], op.stride[axis], op.dilation[axis]
    low = op.explicit_padding(size)[axis][0]
    return [
        Meeting(window, element, place)
        for window in range(windows)
        for place in range(kernel)
        if 0 <= (element := window * stride - low + place * dilation) < size[axis]
    ]


def by_window(found: Sequence[Meeting], windows: int) -> list[list[Meeting]]:
    """The meetings of each window, by place."""
    lists: list[list[Meeting]] = [[] for _ in range(windows)]
    for meeting in found:
        lists[meeting.window].append(meeting)
    return lists


def by_element(found: Sequence[Meeting], size: int) -> list[list[Meeting]]:
    """The meetings of each element, by window."""
    lists: list[list[Meeting]] = [[] for _ in range(size)]
    for meeting in found:
        lists[meeting.element].append(meeting)
    return lists
