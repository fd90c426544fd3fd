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

import onnx

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


def ease(model: onnx.ModelProto) -> None:
    """Write the same network so that other runtimes see what they can fuse.

    Batch normalisation is exported as ``(x - mean) * factor + shift``: onnxruntime folds additions
    and multiplications into the convolution before, but no subtraction. Unpooling scatters with
    sums, which is slower than with none; here no two maxima share a position.
    """
    for position, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type == "Sub":
            negative = f"{node.output[0]}.negative"
            node.op_type = "Add"
            opposite = onnx.helper.make_node("Neg", [node.input[1]], [negative])
            node.input[1] = negative
            model.graph.node.insert(position, opposite)
        if node.op_type == "ScatterElements":
            kept = [a for a in node.attribute if a.name != "reduction"]
            del node.attribute[:]
            node.attribute.extend(kept)


def main() -> None:
    name, path = sys.argv[1:]
    predict = inference_step(CASES[name], "numpy", 1)
    model = minigraph.onnx.to_onnx(predict)
    ease(model)
    onnx.save(model, path)
    print(size(predict))


if __name__ == "__main__":
    main()
