"""Where the time of a call goes: time, FLOP/s, bytes and share of each node."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minigraph.backend import Slot
from minigraph.compiler import Compiled
from minigraph.display import op_label, profile_html
from minigraph.ir.spec import TensorSpec


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One node: the median of its times, and what it had to do at least."""

    name: str
    op: str
    algorithm: str
    seconds: float
    flops: int
    bytes: int
    share: float  # of the sum of all nodes' times

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """All nodes of a call, in the order in which they ran."""

    rows: tuple[ProfileRow, ...]
    runs: int
    whole: float  # median seconds of a profiled call, from its beginning to its end

    @property
    def seconds(self) -> float:
        """Sum of the nodes' medians."""
        return sum(row.seconds for row in self.rows)

    def __iter__(self) -> Iterator[ProfileRow]:
        return iter(self.rows)

    def table(self, most: int = 30) -> str:
        """The slowest nodes, one line each."""
        slowest = sorted(self.rows, key=lambda row: -row.seconds)[:most]
        width = max((len(row.name) for row in slowest), default=4)
        head = (
            f"{'node':{width}}  {'op':18} {'algorithm':14} {'ms':>9} {'share':>6} "
            f"{'GFLOP/s':>8} {'MB':>8}"
        )
        lines = [
            f"{row.name:{width}}  {row.op:18} {row.algorithm:14} {row.seconds * 1e3:9.3f} "
            f"{row.share:6.1%} {row.flops_per_second / 1e9:8.1f} {row.bytes / 1e6:8.2f}"
            for row in slowest
        ]
        total = f"{len(self.rows)} nodes, {self.seconds * 1e3:.2f} ms, median of {self.runs} runs"
        return "\n".join([head, *lines, total])

    __str__ = table

    def _repr_html_(self) -> str:
        return profile_html(self)


def make_profile(
    compiled: Compiled, times: Sequence[Sequence[float]], whole: Sequence[float]
) -> Profile:
    """Rows from the seconds of each step in each run, and those of the runs as a whole."""
    medians = [statistics.median(step) for step in zip(*times, strict=True)]
    total = sum(medians) or 1.0
    rows = []
    for step, seconds in zip(compiled.program.steps, medians, strict=True):
        cost = step.op.cost(*_specs(step.inputs))
        rows.append(
            ProfileRow(
                name=step.name,
                op=op_label(step.op),
                algorithm=step.algorithm.name,
                seconds=seconds,
                flops=cost.flops,
                bytes=cost.bytes,
                share=seconds / total,
            )
        )
    return Profile(tuple(rows), len(times), statistics.median(whole))


def _specs(slots: Sequence[Slot]) -> list[TensorSpec]:
    return [slot.spec for slot in slots]
