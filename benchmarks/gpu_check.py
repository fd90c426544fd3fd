"""Check minigraph's CuPy backend on the GPU of this machine, and keep a dated record.

    python -m benchmarks.gpu_check                    # all parts, within ten minutes
    python -m benchmarks.gpu_check --part ops         # every row of the op table, and gradients
    python -m benchmarks.gpu_check --part training    # 50 steps against float64
    python -m benchmarks.gpu_check --part speed --network unet64 --mode training

``ops`` and ``training`` run the tests that are marked ``gpu`` (pip install "minigraph[test]"), in
processes that are replaced when a test crashes, hangs or loses the device (``gpu_tests``).
``speed`` lets minigraph, torch and JAX take turns, each in a process of its own, on batches that
are on the device; contenders that are not installed, fail or do not answer are left out, and the
record says why. Times are of the clock on the wall, from the call until the device is done: of a
step where a contender waits for each (minigraph does), else of all steps of a turn, queued, by
their number. The first comparison of a network takes longest: cuDNN's fused plans are compiled and
kept then, so that one which is "not built" in time may be so when it is asked for again.

The record is written after each part and each comparison. What no longer fits into --minutes is
left out, and the record says that too. Exits with 1 without a GPU, or where a test fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.cases import MODES
from benchmarks.gpu_cases import GPU_CASES, PRECISIONS
from benchmarks.gpu_tests import run_tests
from benchmarks.report import record, surroundings, table
from benchmarks.serve import serve
from benchmarks.turns import Contender, take_turns
from minigraph.backend import Refused, find_backend

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TESTS = ROOT / "tests" / "backends" / "cupy" / "test_on_gpu.py"
PARTS = ("ops", "training", "speed")
SELECTED = {"ops": "not training", "training": "training"}  # names of tests
LONGEST_TEST = {"ops": 60, "training": 240}  # seconds: training runs on NumPy as well
SHARE = {"ops": 0.45, "training": 0.5}  # of the time that is left when a part of tests begins
LEAST_SECONDS = 45  # for a comparison

CONTENDERS = {
    "minigraph": ("minigraph_gpu_steps", "device"),
    "minigraph, host batch": ("minigraph_gpu_steps", "host"),
    "torch eager": ("torch_gpu_steps", "eager"),
    "torch channels_last": ("torch_gpu_steps", "channels_last"),
    "torch compile": ("torch_gpu_steps", "compile"),
    "torch CUDA graph": ("torch_gpu_steps", "graph"),
    "jax jit": ("jax_gpu_steps", "jit"),
}
"""Module in ``benchmarks.contenders`` and variant."""


def run_part(part: str, seconds: float) -> dict[str, Any]:
    """The tests of a part."""
    workers = min(os.cpu_count() or 1, 12)
    return run_tests(
        TESTS, SELECTED[part], seconds=seconds, workers=workers, test_seconds=LONGEST_TEST[part]
    )


def is_good(found: dict[str, Any]) -> bool:
    """Whether all tests of a part were reached, and none failed."""
    if "error" in found or found["failed"] or found["not_reached"]:
        return False
    return found["passed"] > 0


def run_speed(
    options: argparse.Namespace, end: float, found: list[dict[str, Any]]
) -> Iterator[None]:
    """Add the comparisons that fit into the time there is to ``found``; a step after each."""
    for mode, network, precision in product(options.mode, options.network, options.precision):
        which = {"network": network, "mode": mode, "precision": precision}
        if time.monotonic() > end - LEAST_SECONDS:
            found.append({**which, "left_out": "no time left: ask for it alone, or more --minutes"})
            continue
        case = GPU_CASES[network]
        try:
            comparison = take_turns(
                [_contender(name, **which) for name in options.contender],
                turns=options.turns, steps=case.steps, threads=os.cpu_count() or 1,
                patience=options.patience, end=end, device_bytes=device_bytes,
            )  # fmt: skip
        except ValueError as error:
            found.append({**which, "left_out": str(error)})
            continue
        size = "x".join(map(str, case.images))
        text = table(comparison, f"{case.title}, {size}, {mode}, {precision}")
        print(text, end="\n\n", flush=True)
        found.append({**which, **record(comparison), "table": text})
        yield


def device_bytes() -> int | None:
    """What all processes take of the first GPU's memory now; None where nobody says."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return int(done.stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _contender(name: str, network: str, mode: str, precision: str) -> Contender:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--serve", name]
    command += ["--network", network, "--mode", mode, "--precision", precision]
    return Contender(name, command)


def serve_one(options: argparse.Namespace) -> None:
    """Be a contender's process."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others need memory too
    module_name, variant = CONTENDERS[options.serve]
    try:
        module = importlib.import_module(f"benchmarks.contenders.{module_name}")
    except ImportError as error:
        print("failed", json.dumps(f"not installed ({error})"), flush=True)
        return
    build = getattr(module, options.mode[0])
    case = GPU_CASES[options.network[0]]
    serve(lambda: build(case, variant, options.precision[0]))


def markdown(result: dict[str, Any]) -> str:
    """The record in short."""
    lines = [f"# GPU check of {result['date']}", "", f"Machine: {result['machine']}", ""]
    lines += [f"- {line}" for line in result["gpu"]]
    lines += [f"- {name} {version}" for name, version in result["versions"].items()]
    for part in ("ops", "training"):
        if part in result:
            found = result[part]
            lines += ["", f"## {part}: {_verdict(found)}", ""]
            if "error" in found:
                lines += ["```", found["error"], "```", ""]
            failed = found["failed"]
            lines.append(
                f"{found['passed']} passed, {len(failed)} failed, {found['skipped']} skipped, "
                f"{found['not_reached']} not reached"
            )
            lines += [f"- {name}: {' '.join(why.split())}" for name, why in failed.items()]
    for found in result.get("speed", ()):
        title = f"{found['network']}, {found['mode']}, {found['precision']}"
        shown = ["```", found["table"], "```"] if "table" in found else [found["left_out"]]
        lines += ["", f"## {title}", "", *shown]
    return "\n".join(lines) + "\n"


def _verdict(found: dict[str, Any]) -> str:
    if "error" in found or found["failed"]:
        return "FAILED"
    return "passed" if is_good(found) else "not done"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name, choices in (
        ("part", PARTS), ("network", tuple(GPU_CASES)), ("mode", MODES),
        ("precision", PRECISIONS), ("contender", tuple(CONTENDERS)),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", action="append", choices=choices, help="default: all")
        parser.set_defaults(**{name: None})
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--minutes", type=float, default=9.5, help="of the whole check")
    parser.add_argument(
        "--patience",
        type=float,
        default=120,
        metavar="SECONDS",
        help="for a contender to be built, and for a turn",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the record")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.part = [part for part in PARTS if part in (options.part or PARTS)]
    options.network = options.network or list(GPU_CASES)
    options.mode = options.mode or list(MODES)
    options.precision = options.precision or list(PRECISIONS)
    options.contender = options.contender or list(CONTENDERS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.serve:
        serve_one(options)
        return 0
    backend = find_backend("cupy")
    if isinstance(backend, Refused):
        print(f"No GPU that minigraph can use: {backend.reason}", file=sys.stderr)
        return 1
    end = time.monotonic() + 60 * options.minutes
    result: dict[str, Any] = {**surroundings(), "gpu": _described()}
    _keep(options.results, result)
    for part in options.part:
        print(f"{part} ...", flush=True)
        left = end - time.monotonic()
        if part in SHARE:
            is_last = part == options.part[-1]
            result[part] = run_part(part, max(left * (1 if is_last else SHARE[part]), 1))
            _keep(options.results, result)
            continue
        result[part] = []
        for _ in run_speed(options, end, result[part]):
            _keep(options.results, result)
        _keep(options.results, result)
    print(markdown(result))
    return 0 if all(is_good(result[part]) for part in SHARE if part in result) else 1


def _described() -> list[str]:
    """The GPU and its libraries, said by another process: one that hangs or crashes is nothing."""
    code = "from minigraph.backend import describe_backend as d; print(*d('cupy'), sep='\\n')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return ["minigraph doctor is not done in 60 s"]
    return [" ".join(line.split()) for line in (done.stdout or done.stderr).splitlines()]


def _keep(folder: Path, result: dict[str, Any]) -> None:
    """Write what there is by now: a check that is broken off leaves its record."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"gpu-{result['date'][:19].replace(':', '')}"
    (folder / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / f"{stem}.md").write_text(markdown(result))


if __name__ == "__main__":
    sys.exit(main())
