"""How a convolution is cut into tasks: by its shape alone, so that no result depends on threads."""

from __future__ import annotations

from minigraph.backends.numpy.convolution.columns import slices
from minigraph.ops.geometry import ConvGeometry

BLOCK_BYTES = 1 << 20  # of columns: about half of a core's second-level cache
SMALL_BYTES = 1 << 19  # images with less than this are taken several at a time, to save calls
MIN_COLUMNS = 64  # a matrix product with fewer columns spends its time packing the weights
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
    return images_per_block(geometry, bytes_per_column, min_columns), height


def images_per_block(geometry: ConvGeometry, bytes_per_column: int, min_columns: int) -> int:
    """Whole images of a block: several where one alone has few pixels or few values."""
    pixels = geometry.out_height * geometry.out_width
    by_bytes = min(SMALL_BYTES // (bytes_per_column * pixels), geometry.batch // MIN_TASKS)
    return evenly(geometry.batch, max(min_columns // pixels, by_bytes, 1))


def channel_slices(channels: int, other_tasks: int, granule: int = MIN_CHANNELS) -> list[slice]:
    """Cuts channels into chunks where there are too few tasks otherwise."""
    wanted = -(-MIN_TASKS // other_tasks)
    return slices(channels, max(-(-channels // wanted), granule))
