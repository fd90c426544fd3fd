"""How a convolution is cut into tasks: by its shape alone, so that no result depends on threads."""

from __future__ import annotations

from minigraph.backends.numpy.convolution.columns import slices
from minigraph.ops.geometry import ConvGeometry

BLOCK_BYTES = 1 << 20  # of columns: about half of a core's second-level cache
MIN_COLUMNS = 128  # a matrix product with fewer columns spends its time packing the weights
MIN_TASKS = 4  # enough to keep a few threads busy to the end
MIN_CHANNELS = 32  # of a chunk: a matrix product with fewer rows is slow


def evenly(size: int, step: int) -> int:
    """The step, at most the given one, that cuts `size` into pieces of nearly equal size."""
    return -(-size // -(-size // max(step, 1)))


def block_size(
    geometry: ConvGeometry, bytes_per_column: int, min_columns: int = MIN_COLUMNS
) -> tuple[int, int]:
    """Images and output rows of a block, for so many bytes of temporaries per output pixel."""
    width, height = geometry.out_width, geometry.out_height
    columns = max(BLOCK_BYTES // bytes_per_column, min_columns)
    if columns // width < height:
        return 1, evenly(height, max(columns // width, 1))
    return evenly(geometry.batch, max(min_columns // (height * width), 1)), height


def channel_slices(channels: int, other_tasks: int, granule: int = MIN_CHANNELS) -> list[slice]:
    """Cuts channels into chunks where there are too few tasks otherwise."""
    wanted = -(-MIN_TASKS // other_tasks)
    return slices(channels, max(-(-channels // wanted), granule))
