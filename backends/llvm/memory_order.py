"""The order of axes in memory that this backend wants."""

from __future__ import annotations

from minigraph.backend import row_major
from minigraph.ir.spec import TensorSpec

_CHANNELS_LAST = (0, 2, 3, 1)


def axis_order(spec: TensorSpec) -> tuple[int, ...]:
    """Channels innermost for images and for weights; other values row by row."""
    return _CHANNELS_LAST if spec.ndim == 4 else row_major(spec)
