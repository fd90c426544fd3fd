"""A held-out part for sets that have none: always the last ones, never every n-th.

Pictures that follow each other (slices of a volume, frames of a film) are alike. Were every n-th
held out, the scores would be those of pictures that were all but seen in training.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.data.files import Sample

HELD_OUT = 0.2
Part = tuple[str, list[Sample]]


def hold_out_block(name: str, samples: Sequence[Sample], share: float | None) -> list[Part]:
    """The first pictures and the last ones, `share` of them; the names say how many.

    Raises ValueError unless there are two pictures or more and 0 < share < 1.
    """
    share = _check_share(share)
    if len(samples) < 2:
        raise ValueError(
            f"Expected 2 pictures or more to hold some out, got {len(samples)}: {name}"
        )
    count = _count(share, len(samples))
    first, last = list(samples[:-count]), list(samples[-count:])
    return [
        (f"{name} (first {len(first)} of {len(samples)})", first),
        (f"{name} (last {count} of {len(samples)})", last),
    ]


def hold_out_of_each_class(name: str, samples: Sequence[Sample], share: float | None) -> list[Part]:
    """The first pictures of every class and its last ones; a class of one picture keeps it.

    Raises ValueError unless some class has two pictures or more and 0 < share < 1.
    """
    share = _check_share(share)
    by_class: dict[object, list[Sample]] = {}
    for sample in samples:
        by_class.setdefault(sample.label, []).append(sample)
    first: list[Sample] = []
    last: list[Sample] = []
    for members in by_class.values():
        kept = len(members) - _count(share, len(members)) if len(members) > 1 else 1
        first += members[:kept]
        last += members[kept:]
    if not last:
        raise ValueError(
            f"Expected a class of 2 pictures or more to hold some out, got none: {name}"
        )
    return [
        (f"{name} (first {len(first)} of {len(samples)}, by class)", first),
        (f"{name} (last {len(last)} of {len(samples)}, by class)", last),
    ]


def _check_share(share: float | None) -> float:
    if share is None:
        return HELD_OUT
    if not 0 < share < 1:
        raise ValueError(f"Expected held_out as a share between 0 and 1, got {share}")
    return share


def _count(share: float, total: int) -> int:
    """How many of `total` are held out: one at the least, and not all."""
    return min(max(1, round(share * total)), total - 1)
