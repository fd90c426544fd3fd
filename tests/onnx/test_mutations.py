"""Damaged and hostile ONNX files load or give one clear error, soon and in little memory."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

import minigraph as mg
from minigraph.compiler import build_graph
from minigraph.ir.errors import MinigraphError
from minigraph.models.lenet import lenet
from minigraph.models.unet import unet

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'minigraph[onnx]'")

import minigraph.onnx  # noqa: E402

SECONDS, KILOBYTES = 10.0, 200_000


def originals() -> list[bytes]:
    small = mg.compile(lambda x: {"y": lenet(x, 3)}, {"x": "float32[1,1,28,28]"})
    for name in small.state:  # small files: most mutations then hit the structure
        small.state[name] = np.zeros_like(small.state[name])
    network = mg.compile(
        lambda x: {
            "y": mg.resize(unet(x, 2, base=1, depth=1, batch_norm=True), (6, 9), mode="bilinear"),
            "z": mg.max_unpool2d(*mg.max_pool2d_with_positions(x, 2), (8, 8)),
            "w": mg.pad(mg.avg_pool2d(mg.group_norm(x, 3)[:, :, ::2], 2, 1), [(0, 1)] * 4),
        },
        {"x": "float32[1,3,8,8]"},
    )
    return [minigraph.onnx.to_onnx(m).SerializeToString() for m in (network, small)]


def mutate_bytes(data: bytes, generator: np.random.Generator) -> bytes:
    """Bytes flipped, a piece cut out, doubled or filled, or the end cut off."""
    mutated = bytearray(data)
    kind = generator.integers(5)
    at = int(generator.integers(len(mutated)))
    length = int(generator.integers(1, 40))
    if kind == 0:
        for place in generator.integers(0, len(mutated), int(generator.integers(1, 9))):
            mutated[place] = int(generator.integers(256))
    elif kind == 1:
        del mutated[at : at + length]
    elif kind == 2:
        mutated[at:at] = mutated[at : at + length]
    elif kind == 3:
        mutated[at : at + length] = bytes([int(generator.choice([0, 0x7F, 0x80, 0xFF]))]) * length
    else:
        del mutated[at:]
    return bytes(mutated)


EXTREMES = (-(2**63), -(2**31), -1, 0, 1, 2, 2**20, 2**31, 2**40, 2**63 - 1)


def mutate_fields(data: bytes, generator: np.random.Generator) -> bytes:
    """Numbers, names, types and dims of the parsed model changed."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    for _ in range(int(generator.integers(1, 4))):
        node = graph.node[generator.integers(len(graph.node))]
        other = graph.node[generator.integers(len(graph.node))]
        tensor = graph.initializer[generator.integers(len(graph.initializer))]
        extreme = int(generator.choice(np.array(EXTREMES)))
        match int(generator.integers(9)):
            case 0 if node.attribute:
                attribute = node.attribute[generator.integers(len(node.attribute))]
                if attribute.ints:
                    attribute.ints[generator.integers(len(attribute.ints))] = extreme
                else:
                    attribute.i = extreme
            case 1:
                node.op_type = other.op_type
            case 2 if node.input and other.output:
                node.input[generator.integers(len(node.input))] = other.output[0]
            case 3 if tensor.dims:
                tensor.dims[generator.integers(len(tensor.dims))] = extreme
            case 4:
                tensor.data_type = int(generator.integers(30))
            case 5 if tensor.data_type == onnx.TensorProto.INT64 and tensor.raw_data:
                size = len(tensor.raw_data) // 8
                tensor.raw_data = np.full(size, extreme, np.int64).tobytes()
            case 6:
                dims = graph.input[0].type.tensor_type.shape.dim
                dims[generator.integers(len(dims))].dim_value = extreme
            case 7 if node.attribute:
                attribute = node.attribute[generator.integers(len(node.attribute))]
                attribute.type = int(generator.integers(15))
            case _:
                model.opset_import[0].version = int(generator.integers(-2, 40))
    return model.SerializeToString()


def check(data: bytes) -> str:
    """Load, and build the graph for the declared inputs: "loaded", or the kind of error."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    try:
        model = minigraph.onnx.load(data)
        build_graph(model, model.specs(**dict.fromkeys(("N", "x_0", "x_1", "x_2", "x_3"), 4)))
        outcome = "loaded"
    except MinigraphError as error:
        text = str(error)
        assert "Expected" in text and len(text) < 20_000
        outcome = type(error).__name__
    assert time.process_time() - begin < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES
    return outcome


def run_mutations(count: int, seed: int) -> set[str]:
    generator = np.random.default_rng(seed)
    files = originals()
    outcomes = set()
    for number in range(count):
        mutate = (mutate_bytes, mutate_fields, mutate_fields)[number % 3]
        mutated = mutate(files[0] if number % 7 else files[1], generator)
        outcomes.add(check(mutated))
    return outcomes


def test_mutated_files_load_or_give_one_clear_error():
    outcomes = run_mutations(250, seed=0)
    assert {"loaded", "LoadError", "UnsupportedError"} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_mutated_files_load_or_give_one_clear_error(seed):
    run_mutations(1000, seed)
