"""A cost model of NumPy calls: a few rates, measured on one core of a server with AVX-512.

The rates of machines differ, but an algorithm is chosen by ratios of times, which differ less.
"""

from __future__ import annotations

PRODUCT_FLOPS = 95e9  # a second, float32, of a large matrix product
SMALL_DIMENSION = 16  # a product with this many rows or columns runs at half the speed
ELEMENT_SECONDS = 0.2e-9  # a ufunc over contiguous float32, per element of the result
COPY_SECONDS = 0.15e-9  # a copy, per element of a contiguous run
RUN_SECONDS = 6e-9  # each contiguous run of a strided copy
STRIDED_SECONDS = 0.7e-9  # a copy from or to every second (third ...) element, per element
CALL_SECONDS = 2e-6  # a prepared NumPy call, with its share of waiting for the interpreter lock
DISPATCH_SECONDS = 20e-6  # handing the tasks of a kernel to the workers


def product_seconds(rows: int, inner: int, columns: int, itemsize: int) -> float:
    """A matrix product (rows x inner) @ (inner x columns)."""
    speed = PRODUCT_FLOPS * 4 / itemsize
    for size in (rows, inner, columns):
        speed *= size / (size + SMALL_DIMENSION)
    return 2 * rows * inner * columns / speed


def copy_seconds(elements: float, run: int, itemsize: int, strided: bool = False) -> float:
    """A copy of so many elements in runs of a length; `strided` if the runs have gaps."""
    per_element = STRIDED_SECONDS if strided else COPY_SECONDS * itemsize / 4
    return elements * (per_element + RUN_SECONDS / run)


def element_seconds(elements: float, itemsize: int) -> float:
    """Ufuncs that make so many elements, in cache."""
    return elements * ELEMENT_SECONDS * itemsize / 4
