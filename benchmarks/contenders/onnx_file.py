"""A case's network as an ONNX file, written by a process of its own.

    python -m benchmarks.contenders.onnx_file lenet lenet.onnx

So the memory of the process that runs the file is that of running it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import minigraph.onnx
from benchmarks.cases import CASES, Case
from benchmarks.contenders.minigraph_steps import inference_step, size


@contextmanager
def onnx_file(case: Case) -> Iterator[tuple[Path, int]]:
    """The file, while the context lasts, and how many parameters the network has."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{case.name}.onnx"
        command = [sys.executable, "-m", "benchmarks.contenders.onnx_file", case.name, str(path)]
        written = subprocess.run(command, check=True, capture_output=True, text=True)
        yield path, int(written.stdout)


def main() -> None:
    name, path = sys.argv[1:]
    predict = inference_step(CASES[name], "numpy", 1)
    minigraph.onnx.save(predict, path)
    print(size(predict))


if __name__ == "__main__":
    main()
