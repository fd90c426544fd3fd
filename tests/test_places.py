"""Parts of tensors by their places in memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigraph.backend import Memory, Slot
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import row_major_strides
from minigraph.places import border_parts

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@st.composite
def boxes(draw):
    """A shape, and neighbouring positions along each axis."""
    sizes = draw(SIZES)
    starts = [draw(st.integers(0, size - 1)) for size in sizes]
    stops = [draw(st.integers(start + 1, n)) for start, n in zip(starts, sizes, strict=True)]
    return sizes, [range(*ends) for ends in zip(starts, stops, strict=True)]


def positions(slot: Slot) -> list[int]:
    """Places in memory, of bytes, of all elements."""
    steps = zip(slot.spec.shape, slot.strides, strict=True)
    grids = np.meshgrid(*(np.arange(n) * step for n, step in steps), indexing="ij")
    return (sum(grids) + slot.offset).ravel().tolist()


@given(boxes())
def test_a_border_is_what_is_around_a_box_each_element_once(box):
    sizes, inner = box
    whole = Slot(Memory.WORK, TensorSpec(tuple(sizes), DType.UINT8), 7,
                 strides=row_major_strides(sizes))  # fmt: skip
    outside = np.ones(sizes, bool)
    outside[np.ix_(*inner)] = False
    found = sorted(place for part in border_parts(whole, inner) for place in positions(part))
    assert found == [int(i) + 7 for i in np.flatnonzero(outside)]


def test_around_positions_with_gaps_all_is_border():
    whole = Slot(Memory.WORK, TensorSpec((6,), DType.UINT8), strides=(1,))
    assert border_parts(whole, [range(0, 6, 2)]) == [whole]
    assert border_parts(whole, [range(0)]) == [whole]
