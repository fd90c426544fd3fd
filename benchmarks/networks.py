"""minigraph's backends against torch, JAX, onnxruntime and OpenVINO on six networks, in float32.

    python -m benchmarks.networks                # all of it; needs pip install "minigraph[bench]"
    python -m benchmarks.networks --network unet --mode training --json unet.json
    python -m benchmarks.networks --self         # minigraph llvm against itself: what the noise is

A training step is forward, loss, backward and SGD with momentum. Contenders that are not installed
or fail are left out, and the table says why.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from benchmarks.cases import CASES, MODES, Case
from benchmarks.report import machine, record, surroundings, table
from benchmarks.serve import serve
from benchmarks.turns import Comparison, Contender, take_turns

CONTENDERS = {
    "minigraph llvm": ("minigraph_steps", "llvm"),
    "minigraph numpy": ("minigraph_steps", "numpy"),
    "torch eager": ("torch_steps", "eager"),
    "torch channels_last": ("torch_steps", "channels_last"),
    "torch compile": ("torch_steps", "compile"),
    "jax jit": ("jax_steps", "jit"),
    "onnxruntime": ("onnxruntime_steps", ""),
    "openvino": ("openvino_steps", ""),
}
"""Module in ``benchmarks.contenders`` and variant."""

INFERENCE_ALONE = {"onnxruntime", "openvino"}


def contenders(names: list[str], network: str, mode: str, threads: int) -> list[Contender]:
    """Those of the names that have the mode. A name that comes again is numbered."""
    found: list[Contender] = []
    for position, name in enumerate(names):
        if mode == "training" and name in INFERENCE_ALONE:
            continue
        again = names[:position].count(name)
        label = f"{name} ({again + 1})" if again else name
        command = [sys.executable, "-m", "benchmarks.networks", "--serve", name]
        command += ["--network", network, "--mode", mode, "--threads", str(threads)]
        found.append(Contender(label, command))
    return found


def compare(case: Case, mode: str, options: argparse.Namespace) -> Comparison:
    """One case in one mode."""
    return take_turns(
        contenders(options.contender, case.name, mode, options.threads),
        turns=options.turns, steps=options.steps or case.steps, threads=options.threads,
    )  # fmt: skip


def serve_one(name: str, case: Case, mode: str, threads: int) -> None:
    """Be a contender's process. Its framework is imported before memory is first looked at."""
    module_name, variant = CONTENDERS[name]
    try:
        module = importlib.import_module(f"benchmarks.contenders.{module_name}")
    except ImportError as error:
        print("failed", json.dumps(f"not installed ({error})"), flush=True)
        return
    build = getattr(module, mode)
    serve(lambda: build(case, variant, threads))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with what is left out filled in."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.networks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--network", action="append", choices=CASES, help="repeated; default: all")
    parser.add_argument("--mode", action="append", choices=MODES, help="default: both")
    parser.add_argument(
        "--contender", action="append", choices=CONTENDERS, help="repeated; default: all"
    )
    parser.add_argument("--self", action="store_true", help="minigraph llvm against itself")
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--steps", type=int, help="steps a turn; default: by the network")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all CPUs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all turns to this file")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.network = options.network or list(CASES)
    options.mode = options.mode or list(MODES)
    options.contender = options.contender or list(CONTENDERS)
    if options.self:
        options.contender = ["minigraph llvm", "minigraph llvm"]
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.serve:
        serve_one(options.serve, CASES[options.network[0]], options.mode[0], options.threads)
        return
    print(f"{machine()}; {options.threads} threads, {options.turns} turns\n", flush=True)
    kept = []
    for case in map(CASES.__getitem__, options.network):
        for mode in options.mode:
            comparison = compare(case, mode, options)
            size = "x".join(map(str, case.images))
            print(table(comparison, f"{case.title}, {size}, {mode}"), end="\n\n", flush=True)
            kept.append({"network": case.name, "mode": mode, **record(comparison)})
    if options.json:
        settings = {name: getattr(options, name) for name in ("threads", "turns", "steps")}
        whole = {**surroundings(), **settings, "comparisons": kept}
        options.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
