"""A comparison as a table, and as a record to keep."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.turns import Comparison

_PACKAGES = ("minigraph", "numpy", "llvmlite", "torch", "jax", "onnxruntime", "openvino",
             "cupy-cuda12x", "cupy-cuda13x", "nvidia-cudnn-frontend", "nvidia-cudnn-cu12",
             "nvidia-cudnn-cu13")  # fmt: skip


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """10%, median and 90% of some values."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(0.1 * last)], statistics.median(ordered), ordered[round(0.9 * last)]


def fastest_rival(comparison: Comparison) -> str:
    """The fastest contender but minigraph's; without one, the first."""
    medians = {name: statistics.median(r.seconds) for name, r in comparison.records.items()}
    rivals = [name for name in medians if not name.startswith("minigraph")]
    return min(rivals, key=medians.__getitem__) if rivals else next(iter(medians))


def table(comparison: Comparison, title: str) -> str:
    """A line for each contender. ``speed`` is the reference's time over its own in the same turn:
    above 1 it is faster than the fastest rival. Memory is the device's where that is known."""
    lines = [title]
    if comparison.records:
        lines += _rows(comparison)
    lines += [f"{name:24} left out: {why}" for name, why in comparison.left_out.items()]
    return "\n".join(lines)


def _rows(comparison: Comparison) -> list[str]:
    reference = fastest_rival(comparison)
    on_device = any(record.device_bytes is not None for record in comparison.records.values())
    memory = "GPU MB" if on_device else "peak MB"
    lines = [
        f"(speed 1 is {reference})",
        f"{'':24} {'ms':>8} {'10-90%':>17}   {'speed':>6} {'10-90%':>13}   {memory:>8}",
    ]
    for name, record in comparison.records.items():
        low, middle, high = (1e3 * seconds for seconds in spread(record.seconds))
        pairs = zip(comparison.records[reference].seconds, record.seconds, strict=True)
        slow, speed, quick = spread([other / own for other, own in pairs])
        taken = record.device_bytes if on_device else record.peak_bytes
        peak = "?" if taken is None else f"{taken / 1e6:.0f}"
        lines.append(
            f"{name:24} {middle:8.2f} {low:8.2f}-{high:8.2f}   "
            f"{speed:6.2f} {slow:6.2f}-{quick:6.2f}   {peak:>8}"
        )
    return lines


def record(comparison: Comparison) -> dict[str, Any]:
    """A comparison for JSON: all medians of turns, memory, who was left out."""
    return asdict(comparison)


def machine() -> str:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def surroundings() -> dict[str, Any]:
    """When and on what: for the record."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"date": now, "machine": machine(), "versions": found}
