"""Where sums that go on over several calls are kept: 16-bit floats are summed in float32."""

from __future__ import annotations

from minigraph.backend import Slot
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import without_gaps
from minigraph.places import carve, part


def sums_of(y: Slot, workspace: Slot | None) -> Slot:
    """What to add to: the result itself, or a float32 tensor in the workspace, to copy after."""
    if y.spec.dtype.accumulator is y.spec.dtype:
        return y
    (flat,) = carve(workspace, (DType.FLOAT32, y.spec.size))
    return part(flat, 0, y.spec.shape, DType.FLOAT32, without_gaps(y))


def sums_bytes(y: TensorSpec) -> int:
    """The workspace that ``sums_of`` needs for a result."""
    return 0 if y.dtype.accumulator is y.dtype else y.size * DType.FLOAT32.itemsize
