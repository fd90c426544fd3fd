"""Convolutions through cuDNN, without a GPU: what is asked of it, and how a plan is chosen."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

import minigraph as mg
from minigraph.backend import Refused, load_backend
from minigraph.backends.cupy.call import Context
from minigraph.backends.cupy.cudnn.graph import Maker
from minigraph.backends.cupy.cudnn.kept import Plan
from minigraph.backends.cupy.cudnn.libraries import load_libraries
from minigraph.backends.cupy.cudnn.methods import METHODS
from minigraph.backends.cupy.cudnn.plans import Cudnn, open_cudnn
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
from minigraph.ops.elementwise import Add, Relu, ReluGrad, Tanh
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


PLANS = [(0, "a", 16), (2, "b", 64), (5, "c", 0), (6, "slow", 8), (7, "d", 32), (8, "e", 8)]
TIMES = {0: 3e-3, 2: 1e-3, 6: 9e-3, 7: 2e-3, 8: 0.5e-3}


@dataclass
class FakeGraph:
    """Plan 5 does not start, 8 cannot be recorded, 6 is hopeless, and 2 is the fastest."""

    ran: list[int] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    built: list[str] = field(default_factory=list)

    def plans(self):
        return iter(PLANS)

    def numbered(self, name):
        self.built.append(name)
        return {name: number for number, name, _ in PLANS if name not in self.gone}.get(name)

    def workspace(self, number):
        return {number: size for number, _, size in PLANS}[number]

    def serialized(self, number):
        return f"compiled {number}".encode()

    def execute(self, number, addresses, workspace):
        assert list(addresses) == list(range(1, 1 + len(addresses))) and workspace
        if number == 5:
            raise RuntimeError("does not load")
        self.ran.append(number)


class FakeDevice:
    info = INFO
    runs_libraries = True

    def __init__(self, graph: FakeGraph) -> None:
        self.graph = graph
        self.is_current = 0

    @contextmanager
    def current(self):
        self.is_current += 1
        yield
        self.is_current -= 1

    def allocate(self, nbytes):
        return SimpleNamespace(address=256, nbytes=nbytes)

    def synchronise(self) -> None:
        pass

    def record(self, work):
        work()
        assert self.is_current
        if self.graph.ran[-1] == 8:
            raise RuntimeError("operation not permitted when stream is capturing")
        return work

    def replay(self, recording) -> None:
        recording()

    def time(self, parts):
        seconds = []
        for part in parts:
            before = len(self.graph.ran)
            part()
            seconds.append(sum(TIMES[number] for number in self.graph.ran[before:]))
        return seconds


@dataclass
class FakeRestored:
    data: bytes
    graph: FakeGraph
    workspace: int = 64

    def execute(self, addresses, workspace):
        self.graph.ran.append(int(self.data.split()[1]))


def library(
    options: Options = Options(),  # noqa: B008
    *,
    restores: bool = True,
    gone: frozenset[str] = frozenset(),
) -> tuple[Cudnn, FakeGraph]:
    graph = FakeGraph(gone=set(gone))
    libraries = SimpleNamespace(version="cuDNN 9, fake", errors=(RuntimeError,))
    maker = SimpleNamespace(
        libraries=libraries, options=options, graph=lambda signature: graph,
        restored=lambda data: FakeRestored(data, graph) if restores else None,
    )  # fmt: skip
    return Cudnn(maker, FakeDevice(graph), threading.Lock()), graph  # type: ignore[arg-type]


def signature(op: object = SAME) -> Signature:
    found = signature_of(op, (X, W))
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINIGRAPH_CACHE", str(tmp_path))
    return tmp_path / "tuning"


def test_the_fastest_plan_is_chosen_and_kept_on_disk(folder) -> None:
    cudnn, graph = library()
    assert cudnn.plan(signature()) == Plan("b", 64, 1e-3)
    assert graph.ran.count(6) == 2  # once to load, once to see that it is hopeless
    cudnn.runnable(signature())([256, 512, 768], 1024)
    assert graph.ran[-1] == 2
    again, unmeasured = library()
    assert again.plan(signature()) == Plan("b", 64, 1e-3)
    assert unmeasured.ran == []
    other, measured = library(Options("strict"))
    other.plan(signature())
    assert measured.ran != []


def test_a_compiled_plan_is_kept_and_not_built_again(folder) -> None:
    library()[0].plan(signature())
    cudnn, graph = library()
    cudnn.plan(signature())
    cudnn.runnable(signature())([256, 512, 768], 1024)
    assert graph.ran == [2] and graph.built == []


@pytest.mark.parametrize("change", ["removed", "cut", "another", "refused"])
def test_without_its_compiled_bytes_a_plan_is_built_again(folder, change) -> None:
    library()[0].plan(signature())
    (path,) = folder.glob("*/*.plan")
    data = path.read_bytes()
    if change == "removed":
        path.unlink()
    elif change == "cut":
        path.write_bytes(data[:-1])
    elif change == "another":
        path.write_bytes(data[:-1] + b"7")
    cudnn, graph = library(restores=change != "refused")
    cudnn.plan(signature())
    cudnn.runnable(signature())([256, 512, 768], 1024)
    assert graph.ran == [2] and graph.built == ["b"]
    assert path.read_bytes() == data


def test_a_plan_that_is_there_no_more_is_an_error_that_names_the_folder(folder) -> None:
    library()[0].plan(signature())
    (path,) = folder.glob("*/*.plan")
    path.unlink()
    cudnn, _ = library(gone=frozenset("b"))
    cudnn.plan(signature())
    with pytest.raises(RuntimeError, match=r"delete the folder .*cudnn-"):
        cudnn.runnable(signature())


def test_a_plan_never_gets_less_workspace_than_it_wants(folder) -> None:
    library()[0].plan(signature())
    (path,) = folder.glob("*/plans.json")
    path.write_text(path.read_text().replace('"workspace": 64', '"workspace": 32'))
    cudnn, _ = library()
    assert cudnn.plan(signature()) == Plan("b", 32, 1e-3)
    with pytest.raises(RuntimeError, match="32 bytes of workspace"):
        cudnn.runnable(signature())


def test_processes_that_measure_at_once_keep_what_each_found(folder) -> None:
    first, second = library()[0], library()[0]
    first.plan(signature())
    second.plan(signature(Conv2d((2, 2), ((1, 1), (1, 1)))))
    (path,) = folder.glob("*/plans.json")
    assert len(json.loads(path.read_text())) == 2


@pytest.mark.parametrize("text", [
    "", "[1]", '{"x": {"name": 1}}', '{"x": 3}', "\0", "[" * 100_000,
    '{"x": {"name": "b", "workspace": -1, "seconds": 1.0}}',
    '{"x": {"name": "b", "workspace": 1, "seconds": NaN}}',
])  # fmt: skip
def test_a_damaged_file_is_measured_anew(folder, text) -> None:
    library()[0].plan(signature())
    (kept,) = folder.glob("*/plans.json")
    kept.write_text(text.replace('"x"', json.dumps(repr(signature()))))
    assert library()[0].plan(signature()) == Plan("b", 64, 1e-3)


def test_methods(folder) -> None:
    context = Context(INFO, library()[0])
    whole, split = METHODS
    found = whole.algorithm(Problem.of(BIAS_RELU, (X, BIAS, W)), context)
    assert found is not None and (found.name, found.workspace) == ("cudnn", 64)
    apart = split.algorithm(Problem.of(BIAS_TANH, (X, BIAS, W)), context)
    assert apart is not None and apart.name == "cudnn-split" and apart.seconds > found.seconds
    assert whole.algorithm(Problem.of(BIAS_TANH, (X, BIAS, W)), context) is None
    assert split.algorithm(Problem.of(SAME, (X, W)), context) is None
    assert whole.algorithm(Problem.of(SAME, (X, W)), Context(INFO)) is None


def test_a_cudnn_that_does_not_start_is_left_out_with_a_warning(monkeypatch, caplog) -> None:
    def create_handle() -> None:
        raise RuntimeError("CUDNN_STATUS_NOT_INITIALIZED")

    cudnn = SimpleNamespace(create_handle=create_handle)
    found = SimpleNamespace(cudnn=cudnn, version="cuDNN 9", errors=(RuntimeError,))
    monkeypatch.setattr("minigraph.backends.cupy.cudnn.plans.load_libraries", lambda: found)
    assert open_cudnn(FakeDevice(FakeGraph()), threading.Lock(), Options()) is None  # type: ignore[arg-type]
    assert "cuDNN 9 does not start on fake (CUDNN_STATUS_NOT_INITIALIZED)" in caplog.text


def test_options_are_checked() -> None:
    with pytest.raises(mg.UnsupportedError, match="'tf32' or 'strict', got 'tf23'"):
        Options("tf23")
    with pytest.raises(mg.UnsupportedError, match=r"\(none\), got 'float32'"):
        load_backend("numpy", float32="strict")


# ---- cuDNN itself, for a GPU that is not there


@pytest.fixture(scope="module")
def makers() -> Callable[[str], Maker]:
    """By the precision of float32. Nothing runs: cuDNN is told the properties of a device."""
    libraries = load_libraries()
    if isinstance(libraries, Refused):
        pytest.skip(libraries.reason)
    text = Path(__file__).with_name("h200_device_properties.json").read_text()
    try:
        properties = libraries.cudnn.create_device_properties(text)
    except RuntimeError as error:  # newer ones than 9.19 want a driver's library
        pytest.skip(f"{libraries.version} makes no plans here: {error}")
    return lambda precision: Maker(libraries, Options(precision), properties=properties)


TRANSPOSED = ConvTranspose2d((2, 2), ((1, 1), (1, 1)), (1, 1), 1, (1, 1))
DTYPES = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)


@pytest.mark.slow
def test_plans_for_an_h200(makers) -> None:
    """Of each direction, dtype and precision there are some."""
    cases = [
        (SAME, X, W), (Conv2d((2, 2), ((1, 1), (1, 1)), (2, 2)), X, W),
        (TRANSPOSED, Y, W), (Conv2dGradWeight((3, 3), (1, 1), ((1, 1), (1, 1))), X, Y),
        (chain(3, (SAME, (0, 1)), (Add(), (3, 2)), (Relu(), (4,))), X, W, BIAS),
    ]  # fmt: skip
    counts = {}
    for dtype in DTYPES:
        for precision in ("tf32", "strict"):
            for op, *inputs in cases:
                plans = listed(makers(precision), op, inputs, dtype)
                assert plans, (op, dtype, precision)
                assert all(size <= 256 << 20 for _, _, size in plans)
                counts[dtype, precision] = counts.get((dtype, precision), 0) + len(plans)
    assert counts[DType.FLOAT32, "strict"] < counts[DType.FLOAT32, "tf32"]
    print({f"{dtype} {precision}": count for (dtype, precision), count in counts.items()})


def listed(maker: Maker, op: object, inputs: list[TensorSpec], dtype: DType, most: int = 99):
    """The first plans of an op on inputs of a dtype, each built."""
    found = signature_of(op, [TensorSpec(spec.shape, dtype) for spec in inputs])
    assert found is not None
    graph = maker.graph(found)
    return [] if graph is None else list(islice(graph.plans(), most))


WIDE = TensorSpec((2, 64, 14, 14), DType.FLOAT32)
POINTS = TensorSpec((64, 64, 1, 1), DType.FLOAT32)
CHANNEL = TensorSpec((64, 1, 1), DType.FLOAT32)
FORWARD = Conv2d((1, 1), ((0, 0), (0, 0)))
BACKWARD = ConvTranspose2d((1, 1), ((0, 0), (0, 0)))
FUSED = {  # what the networks here become; each is x, w, then what follows reads
    "bias, residual, relu": (
        chain(4, (FORWARD, (0, 1)), (Add(), (4, 2)), (Add(), (5, 3)), (Relu(), (6,))),
        (WIDE, POINTS, CHANNEL, WIDE),
    ),
    "transposed, bias": (chain(3, (BACKWARD, (0, 1)), (Add(), (3, 2))), (WIDE, POINTS, CHANNEL)),
    "gradient, mask": (
        chain(3, (BACKWARD, (0, 1)), (ReluGrad(), (2, 3))), (WIDE, POINTS, WIDE),
    ),
    "gradient, residual, mask": (
        chain(4, (BACKWARD, (0, 1)), (Add(), (2, 4)), (ReluGrad(), (3, 5))),
        (WIDE, POINTS, WIDE, WIDE),
    ),
    "gradient of a transposed one, mask": (
        chain(3, (FORWARD, (0, 1)), (ReluGrad(), (2, 3))), (WIDE, POINTS, WIDE),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSED)
def test_plans_whose_kernels_are_compiled_for_a_graph(makers, name) -> None:
    """They compile without a device, but not without the driver's library."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        pytest.skip(f"no driver: {error}")
    op, inputs = FUSED[name]
    for dtype in DTYPES:
        assert listed(makers("tf32"), op, list(inputs), dtype, most=1), dtype


@pytest.mark.slow
def test_a_plan_comes_back_from_its_bytes(makers) -> None:
    maker = makers("tf32")
    if not maker.libraries.frontend.startswith("1.28"):
        pytest.skip("earlier frontends do that with a device alone")
    graph = maker.graph(signature())
    number, _, workspace = next(graph.plans())
    restored = maker.restored(graph.serialized(number))
    assert restored is not None and restored.workspace == workspace
    assert maker.restored(b"") is None and maker.restored(bytes(500)) is None
