"""Promises that once did not hold: dropout names, 16-bit updates, interrupts, shared state."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph import initializers
from minigraph.ir.errors import BuilderError, MemoryLimitError
from minigraph.ir.spec import TensorSpec


def test_two_dropouts_of_one_name_are_refused() -> None:
    def model(x: mg.Tensor) -> mg.Tensor:
        return mg.dropout(x, 0.5, name="drop") + mg.dropout(x, 0.5, name="drop")

    with pytest.raises(BuilderError, match="Expected a new name for a layer, got 'drop'"):
        mg.compile(model, {"x": "float32[4]"})


def test_unnamed_layers_are_numbered_apart_from_operations() -> None:
    from minigraph.ops import conv

    def model(x: mg.Tensor) -> mg.Tensor:
        weight = mg.parameter(x, "w", (1, 1, 3, 3), initializers.HeNormal())
        return mg.conv2d(mg.conv2d(conv.conv2d(x, weight), 2, 1), 1, 1)

    state = mg.compile(model, {"x": "float32[1,1,5,5]"}).state
    assert {"conv2d.weight", "conv2d_1.weight"} <= set(state)


@pytest.mark.parametrize("optimizer", [mg.Adam(1e-3), mg.AdaGrad(0.1), mg.Momentum(0.1)], ids=str)
def test_16_bit_parameters_survive_a_zero_gradient(optimizer: mg.optimizers.Optimizer) -> None:
    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        w = mg.parameter(x, "w", (2,), initializers.Constant(1.0))
        return {"loss": mg.reduce_sum(w * x)}

    step = mg.compile(model, {"x": "float16[2]"}, optimizer=optimizer)
    step(x=np.array([1, 0], np.float16))
    assert step.state["w"][1] == 1.0
    assert 0.0 < step.state["w"][0] < 1.0
    slots = [name for name in step.state if name.endswith(".w")]
    assert slots
    assert all(step.state[name].dtype == np.float32 for name in slots)


def test_bilinear_weight_of_a_depthwise_upsampling_reaches_every_channel() -> None:
    spec = TensorSpec.parse("float32[3,1,4,4]")
    weight = initializers.Bilinear()(spec, np.random.default_rng(0))
    np.testing.assert_allclose(weight.sum((1, 2, 3)), 4.0)


def test_the_gradient_of_moments_is_right_when_a_saved_graph_is_replayed(
    tmp_path: Path,
) -> None:
    from minigraph.ops.norm import channel_moments

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        _, variance = channel_moments(x)
        seed = mg.parameter(x, "seed", (3,), initializers.Constant(1.0))
        return {"g": mg.gradients(variance, [x], seed=seed)[0]}

    mg.compile(model, {"x": "float64[8,3]"}).save(tmp_path / "model")
    x = np.random.default_rng(0).normal(size=(5, 3))
    expected = mg.compile(model, {"x": "float64[5,3]"})(x=x)["g"]
    np.testing.assert_allclose(mg.load(tmp_path / "model")(x=x)["g"], expected, rtol=1e-12)


def test_the_bits_do_not_follow_the_number_of_threads() -> None:
    from minigraph.models.unet import unet

    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        logits = unet(image, 3, base=16, depth=2, batch_norm=True)
        return {"loss": mg.softmax_cross_entropy(logits, label)}

    inputs = {"image": "float32[4,3,32,32]", "label": "int32[4,32,32]"}
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.normal(size=(4, 3, 32, 32)).astype(np.float32),
        "label": generator.integers(0, 3, (4, 32, 32)),
    }
    states = []
    for threads in (1, 2, 4):
        step = mg.compile(model, inputs, optimizer=mg.Momentum(0.1), threads=threads)
        for _ in range(2):
            step(batch)
        states.append({name: array.tobytes() for name, array in step.state.items()})
    assert states[0] == states[1] == states[2]


DELAYS = [float(delay) for delay in np.linspace(1e-5, 3e-3, 40)]


@contextlib.contextmanager
def sent_after(delay: float, number: int) -> Iterator[None]:
    """A signal after some seconds, from another thread."""
    main = threading.main_thread().ident
    assert main is not None
    sender = threading.Timer(delay, signal.pthread_kill, [main, number])
    sender.start()
    try:
        yield
    finally:
        sender.join()


def thirty_parameters(x: mg.Tensor) -> dict[str, mg.Tensor]:
    total = mg.reduce_sum(x)
    for number in range(30):
        w = mg.parameter(x, f"w{number}", (2000,), initializers.Constant(0.0))
        total = total + mg.reduce_sum(w)
    return {"loss": total}


def test_an_interrupted_step_is_made_whole_or_not_at_all() -> None:
    """Ctrl-C at many moments: all parameters have taken the same number of steps."""
    step = mg.compile(thirty_parameters, {"x": "float32[1]"}, optimizer=mg.SGD(1.0))
    steps_taken = set()
    for delay in DELAYS:
        with pytest.raises(KeyboardInterrupt), sent_after(delay, signal.SIGINT):
            while True:
                step(x=[0.0])
        counts = {float(step.state[f"w{number}"][0]) for number in range(30)}
        assert len(counts) == 1
        steps_taken |= counts
    assert len(steps_taken) > 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_handler_that_raises_nothing_costs_no_step(backend: str, number: int) -> None:
    """As `fit` has one: it remembers the signal, and counts the step that was under way."""
    if backend == "llvm":
        pytest.importorskip("llvmlite")
    optimizer, spec = mg.SGD(1.0), {"x": "float32[1]"}
    step = mg.compile(thirty_parameters, spec, optimizer=optimizer, backend=backend)
    heard: list[int] = []
    before = signal.signal(number, lambda number, _: heard.append(number))
    calls = 0
    try:
        for times, delay in enumerate(DELAYS, start=1):
            with sent_after(delay, number):
                while len(heard) < times:
                    assert step(x=[0.0])["loss"] == -30 * 2000 * calls
                    calls += 1
    finally:
        signal.signal(number, before)
    assert step.state["w0"][0] == step.state["w29"][0] == -calls


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_handler_may_save_the_state(backend: str, tmp_path: Path) -> None:
    """As jobs on clusters do, when they are told that their time is up."""
    if backend == "llvm":
        pytest.importorskip("llvmlite")
    optimizer, spec = mg.SGD(1.0), {"x": "float32[1]"}
    step = mg.compile(thirty_parameters, spec, optimizer=optimizer, backend=backend)
    saved: list[float] = []

    def save(number: int, frame: object) -> None:
        step.save(tmp_path / "model.safetensors")
        values = {float(w[0]) for name, w in step.state.items() if name.startswith("w")}
        assert len(values) == 1
        saved.extend(values)

    before = signal.signal(signal.SIGUSR1, save)
    try:
        for times, delay in enumerate(DELAYS[::4], start=1):
            with sent_after(delay, signal.SIGUSR1):
                while len(saved) < times:
                    step(x=[0.0])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert mg.load(tmp_path / "model.safetensors").state["w3"][0] == saved[-1]


def test_a_snapshot_is_of_one_moment() -> None:
    step = mg.compile(thirty_parameters, {"x": "float32[1]"}, optimizer=mg.SGD(1.0))
    names = [f"w{number}" for number in range(30)]
    moments = []

    def look() -> None:
        for _ in range(100):
            snapshot = step.state.snapshot()
            moments.append({float(snapshot[name][-1]) for name in names})

    looking = threading.Thread(target=look)
    looking.start()
    while looking.is_alive():
        step(x=[0.0])
        step.state.update({name: np.full(2000, 5.0, np.float32) for name in names})
    assert len(moments) == 100 and all(len(values) == 1 for values in moments)


def test_predictions_beside_training_never_see_half_a_step() -> None:
    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        a = mg.parameter(x, "a", (4000,), initializers.Constant(0.0))
        b = mg.parameter(x, "b", (4000,), initializers.Constant(0.0))
        return {"loss": mg.reduce_sum(a + b), "difference": mg.reduce_sum(a - b)}

    step = mg.compile(model, {"x": "float32[1]"}, optimizer=mg.SGD(1.0), outputs=["loss"])
    look = mg.compile(model, {"x": "float32[1]"}, outputs=["difference"], state=step.state)
    seen: list[float] = []

    def read() -> None:
        seen.extend(float(look()["difference"]) for _ in range(400))

    reader = threading.Thread(target=read)
    reader.start()
    while reader.is_alive():
        step()
    reader.join()
    assert set(seen) == {0.0}


def test_sharing_a_state_names_the_parameters_that_it_lacks() -> None:
    first = mg.compile(lambda x: mg.dense(x, 2, name="a"), {"x": "float32[1,3]"})
    with pytest.warns(UserWarning, match=r"the given state had no b\.weight, b\.bias"):
        mg.compile(lambda x: mg.dense(x, 2, name="b"), {"x": "float32[1,3]"}, state=first.state)


def test_a_value_that_cannot_be_held_is_refused_before_it_is_made() -> None:
    def model(x: mg.Tensor) -> mg.Tensor:
        return mg.ops.broadcast.expand(x, (10**9, 10**6))

    with pytest.raises(
        MemoryLimitError, match=r"Expected values within .* got 4,000,000,000,000,000"
    ):
        mg.compile(model, {"x": "float32[1]"})


def test_what_out_lacks_gets_a_fresh_array() -> None:
    exe = mg.compile(lambda x: {"a": x + 1.0, "b": x + 2.0}, {"x": "float32[2]"})
    a = np.empty(2, np.float32)
    result = exe(x=[0.0, 1.0], out={"a": a})
    assert result["a"] is a
    assert result["b"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("other", [lambda x: 0.0, lambda x: x + 1.0])
def test_comparing_tensors_with_python_equality_is_refused(
    other: Callable[[mg.Tensor], object],
) -> None:
    with pytest.raises(BuilderError, match=r"Expected mg\.equal"):
        mg.compile(lambda x: mg.where(x == other(x), x, 1.0), {"x": "float32[2]"})


def test_integers_become_floats_where_they_are_exact() -> None:
    exe = mg.compile(lambda x: x, {"x": "float32[1]"})
    assert exe(x=[2**24])["output"] == 2**24
    with pytest.raises(mg.InputError, match="would lose values"):
        exe(x=[2**24 + 1])
    with pytest.raises(mg.InputError, match="cannot hold"):
        exe(x=np.array([1e300]))


def test_a_second_training_step_on_one_state_says_that_it_sets_the_shared_rate() -> None:
    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"loss": mg.reduce_sum(mg.dense(x, 1, name="a"))}

    first = mg.compile(model, {"x": "float32[1,2]"}, optimizer=mg.SGD(0.1))
    with pytest.warns(UserWarning, match=r"was 0\.1 and is now the optimiser's, 0\.5"):
        mg.compile(model, {"x": "float32[1,2]"}, optimizer=mg.SGD(0.5), state=first.state)
    assert first.state["optimizer.learning_rate"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"optimizer": "adam"}, "Expected an optimiser such as"),
        ({"optimizer": mg.Adam}, "Expected an optimiser such as"),
        ({"outputs": "loss"}, "Expected a list of output names"),
        ({"memory_limit": "1GB"}, "Expected memory_limit as a number of bytes"),
        ({"max_relative_error": 0.0}, "Expected a positive max_relative_error"),
        ({"passes": ("fold",)}, "Expected passes as a list of functions"),
        ({"passes": (lambda graph: None,)}, "Expected a graph, got NoneType"),
        ({"threads": 0}, "Expected at least one thread, got 0"),
        ({"seed": 1.5}, "Expected a whole number as the seed, got 1.5"),
        ({"state": 1}, "Expected the state of an executable"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, told: str) -> None:
    with pytest.raises(mg.MinigraphError, match=told):
        mg.compile(lambda x: {"loss": mg.reduce_sum(x)}, {"x": "float32[2]"}, **arguments)


def test_wrong_calls_are_named() -> None:
    exe = mg.compile(lambda x: {"y": x**2}, {"x": "float32[2]"})
    assert exe({"x": [3.0, 4.0]})["y"].tolist() == [9.0, 16.0]
    with pytest.raises(mg.InputError, match=r"Expected inputs by name, .* got ndarray"):
        exe(np.zeros(2))
    with pytest.raises(mg.InputError, match="Expected a list of names to fetch"):
        exe(x=[0.0, 0.0], fetch="y")
    with pytest.raises(AttributeError):
        exe.state = {}
    with pytest.raises(AttributeError, match=r"operations are functions, such as mg\.reduce_sum"):
        mg.compile(lambda x: x.sum(), {"x": "float32[2]"})


def test_other_shapes_for_a_saved_model_must_have_its_axes(tmp_path: Path) -> None:
    mg.compile(lambda x: mg.relu(x), {"x": "float32[2,3]"}).save(tmp_path / "model")
    with pytest.raises(mg.InputError, match=r"Expected 2 axes for 'x', got float32\[4\]"):
        mg.load(tmp_path / "model", inputs={"x": "float32[4]"})
