"""Convolutions through cuDNN, without a GPU: what is asked of it, and how a plan is chosen."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

import minigraph as mg
from minigraph.backend import Refused, load_backend
from minigraph.backends.cupy.call import Context
from minigraph.backends.cupy.cudnn.graph import Maker
from minigraph.backends.cupy.cudnn.libraries import load_libraries
from minigraph.backends.cupy.cudnn.methods import METHODS
from minigraph.backends.cupy.cudnn.plans import Cudnn, Plan
from minigraph.backends.cupy.cudnn.signature import (
    Signature,
    epilogue,
    signature_of,
    strides,
    without_epilogue,
)
from minigraph.backends.cupy.device import DeviceInfo
from minigraph.backends.cupy.kernels.method import Problem
from minigraph.backends.cupy.options import Options
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d
from minigraph.ops.elementwise import Add, Relu, Tanh
from minigraph.ops.fused import Body, Fused, Instruction

X, W = TensorSpec((2, 8, 10, 12), DType.FLOAT32), TensorSpec((6, 8, 3, 3), DType.FLOAT32)
Y, BIAS = TensorSpec((2, 6, 10, 12), DType.FLOAT32), TensorSpec((6, 1, 1), DType.FLOAT32)
SAME = Conv2d((1, 1), ((1, 1), (1, 1)))
INFO = DeviceInfo("fake", (9, 0), 4, 1 << 30)


def chain(inputs: int, *steps: tuple[object, tuple[int, ...]]) -> Fused:
    instructions = tuple(Instruction(op, operands) for op, operands in steps)  # type: ignore[arg-type]
    return Fused(Body(inputs, instructions, (inputs + len(steps) - 1,)))


BIAS_RELU = chain(3, (SAME, (0, 2)), (Add(), (3, 1)), (Relu(), (4,)))
BIAS_TANH = chain(3, (SAME, (0, 2)), (Add(), (3, 1)), (Tanh(), (4,)))


def test_values_of_a_graph_lie_channels_last() -> None:
    assert strides((2, 8, 10, 12)) == (960, 1, 96, 8)
    signature = signature_of(BIAS_RELU, (X, BIAS, W))
    assert signature is not None
    assert signature.convolution == (0, 2)
    assert signature.operands == ((2, 8, 10, 12), (1, 6, 1, 1), (6, 8, 3, 3))
    assert signature.result == (2, 6, 10, 12)
    assert signature.following == (("Add", (3, 1)), ("Relu", (4,)))


def test_what_cudnn_has_no_graph_for() -> None:
    wide = [TensorSpec(spec.shape, DType.FLOAT64) for spec in (X, W)]
    assert signature_of(SAME, wide) is None
    assert signature_of(BIAS_TANH, (X, BIAS, W)) is None
    empty = TensorSpec((0, 8, 10, 12), DType.FLOAT32)
    assert signature_of(SAME, (empty, W)) is None


def test_the_convolution_and_what_follows_it_apart() -> None:
    assert without_epilogue(BIAS_TANH, (X, BIAS, W)) == signature_of(SAME, (X, W))
    body, read = epilogue(BIAS_TANH.body)
    assert read == (1,)
    assert body == Body(2, (Instruction(Add(), (1, 0)), Instruction(Tanh(), (2,))), (3,))


# ---- choosing


@dataclass
class FakeGraph:
    """Four plans; the third does not start, and the second is the fastest."""

    ran: list[int] = field(default_factory=list)

    def plans(self):
        return iter([(0, "a", 16), (2, "b", 64), (5, "c", 0), (7, "d", 32)])

    def numbered(self, name):
        return {"a": 0, "b": 2, "d": 7}[name]

    def execute(self, number, addresses, workspace):
        if number == 5:
            raise RuntimeError("does not load")
        self.ran.append(number)


class FakeDevice:
    info = INFO
    runs_libraries = True

    def __init__(self, graph: FakeGraph) -> None:
        self.graph = graph

    def allocate(self, nbytes):
        return SimpleNamespace(address=256, nbytes=nbytes)

    def synchronise(self) -> None:
        pass

    def time(self, parts):
        seconds = []
        for part in parts:
            part()
            seconds.append({0: 3e-3, 2: 1e-3, 7: 2e-3}[self.graph.ran[-1]])
        return seconds


def library(options: Options = Options()) -> tuple[Cudnn, FakeGraph]:  # noqa: B008
    graph = FakeGraph()
    libraries = SimpleNamespace(version="cuDNN 9, fake")
    maker = SimpleNamespace(
        libraries=libraries, options=options, graph=lambda signature: graph
    )  # fmt: skip
    return Cudnn(maker, FakeDevice(graph), threading.Lock()), graph  # type: ignore[arg-type]


def signature(op: object = SAME) -> Signature:
    found = signature_of(op, (X, W))
    assert found is not None
    return found


def test_the_fastest_plan_is_chosen_and_kept_on_disk(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINIGRAPH_CACHE", str(tmp_path))
    cudnn, graph = library()
    assert cudnn.plan(signature()) == Plan("b", 64, 1e-3)
    cudnn.runnable(signature())([256, 512, 768], 1024)
    assert graph.ran[-1] == 2
    again, unmeasured = library()
    assert again.plan(signature()) == Plan("b", 64, 1e-3)
    assert unmeasured.ran == []
    other, measured = library(Options("strict"))
    other.plan(signature())
    assert measured.ran != []


@pytest.mark.parametrize("text", ["", "[1]", '{"x": {"name": 1}}', '{"x": 3}', "\0"])
def test_a_damaged_file_is_measured_anew(tmp_path, monkeypatch, text) -> None:
    monkeypatch.setenv("MINIGRAPH_CACHE", str(tmp_path))
    library()[0].plan(signature())
    (kept,) = (tmp_path / "tuning").iterdir()
    kept.write_text(text)
    assert library()[0].plan(signature()) == Plan("b", 64, 1e-3)


def test_methods(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINIGRAPH_CACHE", str(tmp_path))
    context = Context(INFO, library()[0])
    whole, split = METHODS
    found = whole.algorithm(Problem.of(BIAS_RELU, (X, BIAS, W)), context)
    assert found is not None and (found.name, found.workspace) == ("cudnn", 64)
    apart = split.algorithm(Problem.of(BIAS_TANH, (X, BIAS, W)), context)
    assert apart is not None and apart.name == "cudnn-split" and apart.seconds > found.seconds
    assert whole.algorithm(Problem.of(BIAS_TANH, (X, BIAS, W)), context) is None
    assert split.algorithm(Problem.of(SAME, (X, W)), context) is None
    assert whole.algorithm(Problem.of(SAME, (X, W)), Context(INFO)) is None


def test_options_are_checked() -> None:
    with pytest.raises(mg.UnsupportedError, match="'tf32' or 'strict', got 'tf23'"):
        Options("tf23")
    with pytest.raises(mg.UnsupportedError, match=r"\(none\), got 'float32'"):
        load_backend("numpy", float32="strict")


# ---- cuDNN itself, for a GPU that is not there


@pytest.mark.slow
def test_plans_for_an_h200() -> None:
    """Of each direction, dtype and precision there are some; of a float64 convolution none."""
    libraries = load_libraries()
    if isinstance(libraries, Refused):
        pytest.skip(libraries.reason)
    text = Path(__file__).with_name("h200_device_properties.json").read_text()
    try:
        properties = libraries.cudnn.create_device_properties(text)
    except RuntimeError as error:  # newer ones than 9.19 want a driver's library
        pytest.skip(f"{libraries.version} makes no plans here: {error}")
    transposed = ConvTranspose2d((2, 2), ((1, 1), (1, 1)), (1, 1), 1, (1, 1))
    cases = [
        (SAME, X, W), (Conv2d((2, 2), ((1, 1), (1, 1)), (2, 2)), X, W),
        (transposed, Y, W), (Conv2dGradWeight((3, 3), (1, 1), ((1, 1), (1, 1))), X, Y),
        (chain(3, (SAME, (0, 1)), (Add(), (3, 2)), (Relu(), (4,))), X, W, BIAS),
    ]  # fmt: skip
    counts = {}
    for dtype in (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16):
        for precision in ("tf32", "strict"):
            maker = Maker(libraries, Options(precision), properties=properties)
            for op, *inputs in cases:
                found = signature_of(op, [TensorSpec(spec.shape, dtype) for spec in inputs])
                assert found is not None
                graph = maker.graph(found)
                plans = [] if graph is None else list(graph.plans())
                assert plans, (op, dtype, precision)
                assert all(size <= 256 << 20 for _, _, size in plans)
                counts[dtype, precision] = counts.get((dtype, precision), 0) + len(plans)
    assert counts[DType.FLOAT32, "strict"] < counts[DType.FLOAT32, "tf32"]
    print({f"{dtype} {precision}": count for (dtype, precision), count in counts.items()})
