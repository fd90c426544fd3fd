"""A network of comparators that finds a median: for kernels that keep a window in registers.

Batcher's merge exchange (Knuth, The Art of Computer Programming 3, section 5.2.2, algorithm M),
without the comparators on which the middle does not depend.
"""

from __future__ import annotations


def sorting_network(wires: int) -> list[tuple[int, int]]:
    """Comparators (low, high) that sort so many wires."""
    found: list[tuple[int, int]] = []
    top = p = 1 << max((wires - 1).bit_length() - 1, 0)
    while p > 0:
        q, r, d = top, 0, p
        while True:
            found += [(i, i + d) for i in range(wires - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return found


def selection_network(wires: int) -> list[tuple[int, int]]:
    """Comparators (low, high), smaller to the low wire, that bring the median to the middle."""
    needed, kept = {wires // 2}, []
    for low, high in reversed(sorting_network(wires)):
        if low in needed or high in needed:
            kept.append((low, high))
            needed |= {low, high}
    return kept[::-1]
