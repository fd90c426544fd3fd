"""Loads damaged files under limits: ``worker.py KIND COUNT SEED``, run by test_mutated_files.py.

Prints what became of them as JSON: {"outcomes": {"loaded": ..., "LoadError": ...}, "wrong": [...]}.
A file is wrong where it ends in another error than those of minigraph, or in one that says nothing,
takes longer than SECONDS of processor time or more than MEGABYTES of memory, or makes Python start
programs, open sockets, unpickle or evaluate text.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from damage import damage_bytes, damage_onnx, damage_safetensors, damage_text

import minigraph as mg
from minigraph.compiler import build_graph
from minigraph.ir import parse
from minigraph.ir.errors import MinigraphError
from minigraph.models.lenet import lenet
from minigraph.models.unet import unet
from minigraph.onnx.node import ConstantNeeded
from minigraph.ops import TEXT_CLASSES
from minigraph.pretrained import apply_weights

SECONDS, MEGABYTES = 10, 512
Load = Callable[[bytes], object]


class TooLongError(BaseException):
    """Passes every ``except Exception``."""


class Forbidden(BaseException):
    """Passes every ``except Exception``."""


def onnx_files(folder: Path) -> tuple[list[bytes], list[Callable], Load]:
    import minigraph.onnx

    small = mg.compile(lambda x: {"y": lenet(x, 3)}, {"x": "float32[1,1,28,28]"}, threads=1)
    network = mg.compile(
        lambda x: {
            "y": mg.resize(unet(x, 2, base=1, depth=1, batch_norm=True), (6, 9), mode="bilinear"),
            "z": mg.max_unpool2d(*mg.max_pool2d_with_positions(x, 2), (8, 8)),
            "w": mg.pad(mg.avg_pool2d(mg.group_norm(x, 3)[:, :, ::2], 2, 1), [(0, 1)] * 4),
        },
        {"x": "float32[1,3,8,8]"}, threads=1,
    )  # fmt: skip
    files = [minigraph.onnx.to_onnx(m).SerializeToString() for m in (network, small)]
    return files, [damage_bytes, damage_onnx, damage_onnx], onnx_loader(folder)


def onnx_node_files(folder: Path) -> tuple[list[bytes], list[Callable], Load]:
    """A model for each op and each way to use it: the node tests of ONNX that run here."""
    from minigraph.onnx.coverage import left_out
    from minigraph.onnx.suite import cases

    models = (model for name, model in cases(kinds=("node",)) if left_out(name, model) is None)
    files = [model.SerializeToString() for model in models]
    return files, [damage_onnx], onnx_loader(folder)


def onnx_loader(folder: Path) -> Load:
    import minigraph.onnx

    def load(data: bytes) -> None:
        """What decides shapes is bound to ones."""
        path = folder / "model.onnx"
        path.write_bytes(data)
        constants: dict[str, np.ndarray] = {}
        while True:
            model = minigraph.onnx.load(path, constants)
            sizes = {f"{name}_{axis}": 4 for name in model.inputs for axis in range(5)}
            specs = model.specs(N=4, **sizes)
            try:
                build_graph(model, specs)
                return
            except ConstantNeeded as error:
                asked = {name: specs[name] for name in error.inputs}
                if not asked or max(math.prod(spec.shape) for spec in asked.values()) > 1000:
                    raise
                constants |= {n: np.ones(s.shape, s.dtype.numpy) for n, s in asked.items()}

    return load


def training_step() -> mg.Executable:
    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        x = mg.conv2d(image, 4, 3, padding="same", stride=2, name="a")
        x = mg.leaky_relu(mg.batch_norm(x, name="norm"), 0.2)
        x = mg.max_pool2d(mg.dropout(x, 0.25), 2)
        x = mg.conv_transpose2d(x, 4, 2, stride=2, name="up")
        x = mg.concat([x, mg.avg_pool2d(image, 2)])
        logits = mg.dense(mg.flatten(mg.relu(x)), 3, name="head")
        weights = np.array([1.0, 2.0, 0.5], np.float32)
        loss = mg.softmax_cross_entropy(logits, label, class_weights=weights)
        return {"loss": loss, "guess": mg.argmax(logits)}

    inputs = {"image": "float32[2,2,8,8]", "label": "int64[2]"}
    return mg.compile(model, inputs, optimizer=mg.Momentum(0.1), backend="numpy", threads=1)


def safetensors_files(folder: Path) -> tuple[list[bytes], list[Callable], Load]:
    path = folder / "model.safetensors"
    step = training_step()
    files = []
    for model in (step, plain_model()):
        model.save(path, metadata={"classes": "sky, road"})
        files.append(path.read_bytes())

    def load_and_run() -> None:
        model = mg.load(path, backend="numpy", threads=1)
        specs = {value.name: value.spec for value in model.graph.inputs}
        if sum(math.prod(spec.shape) for spec in specs.values()) < 10_000:
            model(**{name: np.zeros(s.shape, s.dtype.numpy) for name, s in specs.items()})

    def load(data: bytes) -> None:
        """As a model, and as weights for another one; refused where the first is."""
        path.write_bytes(data)
        with contextlib.suppress(MinigraphError):
            apply_weights(step.state, path, "mine")
        load_and_run()

    return files, [damage_bytes, damage_safetensors, damage_safetensors], load


def plain_model() -> mg.Executable:
    """Without parameters: its first axis can have any size."""
    row = np.arange(7, dtype=np.float32)
    return mg.compile(
        lambda x: {"y": mg.softmax(mg.relu(x) * 2 + row, 1), "z": mg.concat([x, mg.exp(x)])},
        {"x": "float32[5,7]"}, backend="numpy", threads=1,
    )  # fmt: skip


def text_files(folder: Path) -> tuple[list[bytes], list[Callable], Load]:
    step = training_step()
    graphs = (step.compiled.built, step.graph, plain_model().compiled.built)
    constants = {digest: array for graph in graphs for digest, array in graph.constants.items()}

    def load(data: bytes) -> None:
        graph = parse(data.decode(errors="replace"), TEXT_CLASSES, constants)
        assert parse(str(graph), TEXT_CLASSES, constants) == graph

    def damage(data: bytes, generator: np.random.Generator) -> bytes:
        return damage_text(data.decode(), generator).encode()

    return [str(graph).encode() for graph in graphs], [damage_bytes, damage, damage], load


KINDS = {
    "onnx": onnx_files,
    "onnx-nodes": onnx_node_files,
    "safetensors": safetensors_files,
    "text": text_files,
}


def forbid(event: str, arguments: tuple) -> None:
    """What no file may make Python do."""
    if event.startswith(("os.system", "os.exec", "os.posix_spawn", "subprocess", "socket.connect",
                         "pickle.find_class", "ctypes.dlopen")):  # fmt: skip
        raise Forbidden(event)
    if event == "exec" and getattr(arguments[0], "co_filename", "<").startswith("<string"):
        raise Forbidden(f"exec of {arguments[0]}")


def too_long(number: int, frame: object) -> None:
    raise TooLongError


def outcome(load: Load, data: bytes) -> tuple[str, str]:
    """("loaded" or the kind of error, what is wrong about it)."""
    begin = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    wrong = ""
    try:
        load(data)
        name = "loaded"
    except MinigraphError as error:
        text, name = str(error), type(error).__name__
        if not 10 < len(text) < 20_000:
            wrong = f"says {text[:500]}"
    except BaseException as error:
        name = type(error).__name__
        wrong = f"{name}: {str(error)[:500]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if not wrong and time.process_time() - begin > SECONDS:
        wrong = "takes too long"
    return name, wrong


def limit_memory() -> None:
    """MEGABYTES more than there are."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(kind: str, count: int, seed: int, folder: Path) -> dict:
    files, ways, load = KINDS[kind](folder)
    for data in files:
        with contextlib.suppress(MinigraphError):
            load(data)  # whole, and all that is imported late is there
    signal.signal(signal.SIGPROF, too_long)
    limit_memory()
    sys.addaudithook(forbid)
    outcomes: Counter[str] = Counter()
    wrong = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        data = ways[number % len(ways)](files[int(generator.integers(len(files)))], generator)
        name, why = outcome(load, data)
        outcomes[name] += 1
        if why:
            wrong.append(f"{kind} {seed} {number}: {why}")
    return {"outcomes": outcomes, "wrong": wrong}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(made))))
