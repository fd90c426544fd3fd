"""Matrix products bound to their operands, cut up where BLAS is faster at small ones."""

from __future__ import annotations

from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call

SMALL_PRODUCT = 1_000_000  # multiplications: up to here OpenBLAS skips packing its operands
SMALL_INNER = 200  # rows of a right operand that may be read unpacked, each from a page of its own
SMALL_WIDTHS = (256, 128, 64)  # columns of a piece
NARROW = 64  # rows


def small_width(rows: int, inner: int, columns: int) -> int:
    """Columns of the pieces that a product with few rows is cut into, or all of them.

    Packing an operand pays off after many uses. With few rows it does not, and OpenBLAS knows, but
    only for a product that is small as a whole: as a batch of pieces it is up to 1.4 times faster.
    """
    if inner <= SMALL_INNER:
        for width in SMALL_WIDTHS:
            if columns % width == 0 and rows * inner * width <= SMALL_PRODUCT:
                return width
    return columns


def bind_product(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> Call:
    """out = left @ right, for matrices whose rows are contiguous."""
    rows, inner, columns = *left.shape, right.shape[1]
    width = small_width(rows, inner, columns)
    if width == columns:
        return partial(np.matmul, left, right, out=out)
    right_pieces = right.reshape(inner, -1, width).transpose(1, 0, 2)
    out_pieces = out.reshape(rows, -1, width).transpose(1, 0, 2)
    return partial(np.matmul, left, right_pieces, out=out_pieces)
