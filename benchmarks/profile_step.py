"""Where the time of a step goes, node by node, against what the machine can do.

    python -m benchmarks.profile_step --network unet --mode training --backend llvm

GFLOP/s count a convolution as the direct one does, so an algorithm with fewer multiplications may
pass 100% of the peak; GB/s count each input and output once. The peaks are those of two probe
kernels, which run before and after the profile: the better run counts. Needs llvmlite.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmarks.cases import CASES, MODES
from benchmarks.contenders.minigraph_steps import inference_step, training_step
from benchmarks.peak import Peak, measure_peak
from benchmarks.report import machine
from minigraph.profile import Profile, ProfileRow


@dataclass(frozen=True)
class Line:
    """One node, or all of one kind, or everything."""

    label: str
    kind: str
    seconds: float
    flops: int
    bytes: int

    @classmethod
    def of(cls, label: str, kind: str, rows: Iterable[ProfileRow]) -> Line:
        every = list(rows)
        seconds = sum(row.seconds for row in every)
        flops, moved = sum(row.flops for row in every), sum(row.bytes for row in every)
        return cls(label, kind, seconds, flops, moved)

    def text(self, peak: Peak, whole: float) -> str:
        """In a table. ``whole`` is the seconds of the step."""
        flops, moved = (
            amount / self.seconds if self.seconds else 0.0 for amount in (self.flops, self.bytes)
        )
        return (
            f"{self.label[:36]:36} {self.kind[:26]:26} {1e3 * self.seconds:9.3f} "
            f"{self.seconds / whole:6.1%} {flops / 1e9:8.1f} {flops / peak.flops_per_second:6.1%} "
            f"{moved / 1e9:7.1f} {moved / peak.bytes_per_second:6.1%}"
        )


_HEAD = f"{'':36} {'':26} {'ms':>9} {'share':>6} {'GFLOP/s':>8} {'peak':>6} {'GB/s':>7} {'peak':>6}"


def report(profile: Profile, peak: Peak, most: int) -> str:
    """The slowest nodes; sums by op and algorithm; the share of the step that they account for."""
    slowest = sorted(profile, key=lambda row: -row.seconds)[:most]
    nodes = [Line.of(row.name, f"{row.op} {row.algorithm}", [row]) for row in slowest]
    kinds: dict[tuple[str, str], list[ProfileRow]] = defaultdict(list)
    for row in profile:
        kinds[row.op, row.algorithm].append(row)
    sums = [Line.of(op, f"{way} x{len(rows)}", rows) for (op, way), rows in kinds.items()]
    sums.sort(key=lambda line: -line.seconds)
    total = Line.of("all nodes", f"{len(profile.rows)} nodes", profile)
    lines = [*nodes, None, *sums, None, total]
    texts = ["" if line is None else line.text(peak, profile.whole) for line in lines]
    return "\n".join([_HEAD, *texts])


def in_turns(
    run: Callable[[], object], profiled: Callable[[], Profile], rounds: int
) -> tuple[float, Profile]:
    """The median seconds of a plain step; and the mean of the profiled steps between them.

    Of the profiled steps, the middle half by duration counts: the nodes' means then add up to
    what they are of the mean step, as medians would not.
    """
    run()
    times, profiles = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
        profiles.append(profiled())
    profiles.sort(key=lambda profile: profile.whole)
    middle = profiles[rounds // 4 : max(rounds - rounds // 4, 1)]
    rows = [
        replace(each[0], seconds=statistics.mean(row.seconds for row in each))
        for each in zip(*middle, strict=True)
    ]
    whole = statistics.mean(profile.whole for profile in middle)
    return statistics.median(times), Profile(tuple(rows), rounds, whole)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile_step", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--network", choices=CASES, default="unet")
    parser.add_argument("--mode", choices=MODES, default="training")
    parser.add_argument("--backend", default="llvm")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--most", type=int, default=30, help="nodes to list")
    options = parser.parse_args(arguments)
    case = CASES[options.network]
    images, labels = case.batch()
    if options.mode == "training":
        step = training_step(case, options.backend, options.threads)
        batch = {"image": images, "label": labels}
    else:
        step = inference_step(case, options.backend, options.threads)
        batch = {"image": images}
    before = measure_peak(options.threads)
    plain, profile = in_turns(
        lambda: step(batch), lambda: step.profile(batch, runs=1), options.runs
    )
    after = measure_peak(options.threads)
    peak = Peak(
        max(before.flops_per_second, after.flops_per_second),
        max(before.bytes_per_second, after.bytes_per_second),
    )
    print(
        f"{case.title}, {options.mode}, {options.backend}, {options.threads} threads; {machine()}"
    )
    print(
        f"peak {peak.flops_per_second / 1e9:.0f} GFLOP/s, {peak.bytes_per_second / 1e9:.1f} GB/s; "
        f"a step takes {1e3 * plain:.2f} ms, a profiled one {1e3 * profile.whole:.2f} ms; "
        "shares are of that\n"
    )
    print(report(profile, peak, options.most))


if __name__ == "__main__":
    main()
