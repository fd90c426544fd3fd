"""Accumulation, groups and what the wrappers refuse. Their arithmetic is compared with torch's in
test_optimizers_against_torch.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.ir.graph import Role
from minigraph.optimizers import Optimizer

MICRO, CLASSES, FEATURES = 3, 4, 5


def model(x: Tensor, label: Tensor) -> dict[str, Tensor]:
    hidden = mg.tanh(mg.dense(x, 6, name="hidden"))
    return {"loss": mg.softmax_cross_entropy(mg.dense(hidden, CLASSES, name="head"), label)}


def compiled(optimizer: Optimizer, batch: int = MICRO, dtype: str = "float64") -> mg.Executable:
    inputs: dict[str, Any] = {"x": ((batch, FEATURES), dtype), "label": ((batch,), "int32")}
    return mg.compile(model, inputs, optimizer=optimizer, backend="numpy")


def data(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    return {"x": rng.standard_normal((count, FEATURES)), "label": rng.integers(0, CLASSES, count)}


def micro_batches(batch: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    size = len(batch["label"])
    return [
        {name: array[start : start + MICRO] for name, array in batch.items()}
        for start in range(0, size, MICRO)
    ]


def snapshot(step: mg.Executable) -> dict[str, np.ndarray]:
    return {name: array for name, array in step.state.items() if "accumulated" not in name}


ACCUMULATED: dict[str, Optimizer] = {
    "sgd": mg.SGD(0.3),
    "momentum": mg.Momentum(0.3),
    "adam": mg.Adam(0.05),
    "clipped": mg.ClipGlobalNorm(mg.Adam(0.05), 0.1),
    "decayed": mg.WeightDecay(mg.RMSProp(0.02, momentum=0.5, centred=True), 0.1),
    "groups": mg.Groups(
        mg.AdamW(0.05), {"head.bias": None, "head.*": mg.Adam(0.01, 0.8), "*.bias": 2.0}
    ),
}


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", ACCUMULATED)
def test_micro_batches_make_the_step_of_a_large_batch(name: str, steps: int) -> None:
    optimizer = ACCUMULATED[name]
    large = compiled(optimizer, MICRO * steps)
    small = compiled(mg.Accumulate(optimizer, steps))
    start = snapshot(small)
    for number in range(3):
        batch = data(MICRO * steps)
        batch["x"] = batch["x"] * (number + 1.0)
        large(batch)
        for micro in micro_batches(batch):
            small(micro)
        expected, got = snapshot(large), snapshot(small)
        assert list(got) == list(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-12, atol=1e-14, err_msg=key)
    assert any((got[key] != start[key]).any() for key in got)


@pytest.mark.parametrize("name", ACCUMULATED)
def test_between_its_steps_accumulation_touches_nothing_else(name: str) -> None:
    step = compiled(mg.Accumulate(ACCUMULATED[name], 3))
    batch = data(MICRO)
    for _ in range(2):  # in the second round the slots are not zero
        before = snapshot(step)
        for calls in (1, 2):
            step(batch)
            assert step.state["optimizer.accumulated_calls"] == calls
            for key, value in snapshot(step).items():
                np.testing.assert_array_equal(value, before[key], err_msg=key)
        step(batch)
        assert step.state["optimizer.accumulated_calls"] == 0
        moved = [key for key, value in snapshot(step).items() if (value != before[key]).any()]
        frozen = {"head.bias"} if name == "groups" else set()
        assert set(step.state.parameters()) - set(moved) == frozen
        sums = [key for key in step.state if key.startswith("optimizer.accumulated.")]
        assert len(sums) == 4 - len(frozen)
        for key in sums:
            np.testing.assert_array_equal(step.state[key], 0.0)


def test_accumulation_goes_on_after_a_save(tmp_path: Path) -> None:
    optimizer = mg.Accumulate(mg.Adam(0.05), 3)
    whole, first = compiled(optimizer), compiled(optimizer)
    batches = micro_batches(data(MICRO * 6))
    for batch in batches:
        whole(batch)
    for batch in batches[:4]:
        first(batch)
    first.save(tmp_path / "model")
    second = mg.load(tmp_path / "model", optimizer=optimizer, backend="numpy")
    for batch in batches[4:]:
        second(batch)
    for name, value in whole.state.items():
        np.testing.assert_array_equal(second.state[name], value, err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_gradients_are_accumulated_in_float32(dtype: str) -> None:
    """Their sum, 256.875, is one that neither type holds."""

    def sixteen(x: Tensor) -> dict[str, Tensor]:
        w = mg.parameter(x, "w", (1,), mg.initializers.Constant(1.0))
        return {"loss": mg.reduce_sum(w * x)}

    optimizer = mg.Accumulate(mg.ClipGlobalNorm(mg.Momentum(0.5), 1e3), 5)
    step = mg.compile(sixteen, {"x": f"{dtype}[1]"}, optimizer=optimizer, backend="numpy")
    gradients = np.array([256.0, 0.5, 0.25, 0.125]).astype(mg.DType.of(dtype).numpy)
    for gradient in gradients:
        step(x=gradient[None])
    assert step.state["optimizer.accumulated.w"].dtype == np.float32
    assert step.state["optimizer.accumulated.w"] == 256.875
    assert step.state["w"] == 1.0
    step(x=-gradients[:1])
    np.testing.assert_allclose(
        step.state["w"].astype(np.float64), 1.0 - 0.5 * 0.875 / 5, rtol=2.0**-8
    )


def test_a_frozen_group_has_no_update_and_no_slot() -> None:
    step = compiled(mg.Groups(mg.Momentum(0.1), {"hidden.*": None}))
    before = step.state.parameters()
    step(data(MICRO))
    after = step.state.parameters()
    assert {n for n in after if (after[n] != before[n]).any()} == {"head.weight", "head.bias"}
    slots = [name for name, role in step.state.roles.items() if role is Role.SLOT]
    assert slots == ["optimizer.velocity.head.weight", "optimizer.velocity.head.bias"]
    assert not any("hidden" in name for name in step.compiled.built.updates)


def test_the_first_group_that_fits_counts_and_nesting_multiplies() -> None:
    inner = mg.Groups(mg.SGD(0.1), {"*.weight": 0.5})
    step = compiled(mg.Groups(inner, {"head.*": 3.0, "*.bias": 7.0}))
    batch = data(MICRO)
    before = step.state.parameters()
    names = [f"gradient({name})" for name in before]
    gradients = step(batch, fetch=names)
    scales = {"hidden.weight": 0.5, "hidden.bias": 7.0, "head.weight": 1.5, "head.bias": 3.0}
    for name, value in step.state.parameters().items():
        expected = before[name] - 0.1 * scales[name] * gradients[f"gradient({name})"]
        np.testing.assert_allclose(value, expected, rtol=1e-12, err_msg=name)


def test_one_rate_moves_all_groups_and_compiles_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="minigraph")
    own = mg.Groups(mg.Momentum(0.1), {"head.*": mg.Adam(0.05), "*.bias": 0.5})
    step = compiled(own)
    step.state["optimizer.learning_rate"] = 0.0
    before = step.state.parameters()
    step(data(MICRO))
    for name, value in step.state.parameters().items():
        np.testing.assert_array_equal(value, before[name])
    step = compiled(own)  # Adam's first step is as large as its rate: 0.05 / 0.1 of the default's
    step.state["optimizer.learning_rate"] = 0.2
    step(data(MICRO))
    moved = np.abs(step.state["head.bias"] - before["head.bias"])
    np.testing.assert_allclose(moved, 0.1, rtol=1e-5)
    assert "compiling" not in caplog.text


def test_groups_keep_their_own_powers() -> None:
    step = compiled(mg.Groups(mg.Adam(beta1=0.5), {"head.*": mg.Adam(beta1=0.25)}))
    step(data(MICRO))
    step(data(MICRO))
    assert step.state["optimizer.beta1_power"] == 0.5**2
    assert step.state["optimizer.group1.beta1_power"] == 0.25**2


def test_a_gradient_that_is_zero_everywhere_survives_clipping() -> None:
    step = mg.compile(
        lambda x: {"loss": mg.reduce_sum(mg.dense(x, 2, bias=False, name="a"))},
        {"x": "float32[1,2]"}, optimizer=mg.ClipGlobalNorm(mg.SGD(1.0), 1.0), backend="numpy",
    )  # fmt: skip
    before = step.state["a.weight"]
    step(x=[[0.0, 0.0]])
    np.testing.assert_array_equal(step.state["a.weight"], before)


def test_centred_rmsprop_survives_a_constant_gradient() -> None:
    """r - mean^2 is then zero but for rounding, which must not make its root NaN."""

    def line(x: Tensor) -> dict[str, Tensor]:
        w = mg.parameter(x, "w", (5,), mg.initializers.Constant(1.0))
        return {"loss": mg.reduce_sum(w * x)}

    optimizer = mg.RMSProp(1e-9, rho=0.5, centred=True)
    step = mg.compile(line, {"x": "float32[5]"}, optimizer=optimizer, backend="numpy")
    for _ in range(80):
        step(x=np.array([0.1, 0.7, 1.3, 3.3, 1e3], np.float32))
    assert np.isfinite(step.state["w"]).all()


REFUSED = {
    "zero steps": (lambda: mg.Accumulate(mg.SGD(0.1), 0), "one step or more to accumulate, got 0"),
    "half a step": (lambda: mg.Accumulate(mg.SGD(0.1), 1.5), "one step or more .*, got 1.5"),
    "no norm": (lambda: mg.ClipGlobalNorm(mg.SGD(0.1), 0.0), "a positive limit, got 0.0"),
    "no value": (lambda: mg.ClipValue(mg.SGD(0.1), float("nan")), "a positive limit, got nan"),
    "growth": (lambda: mg.WeightDecay(mg.SGD(0.1), -1.0), "a decay of zero or more, got -1.0"),
    "no optimiser": (lambda: mg.ClipValue(0.1, 1.0), "an optimiser for ClipValue, got float"),
    "no setting": (lambda: mg.Groups(mg.SGD(0.1), {"a": "frozen"}), "for 'a', got 'frozen'"),
    "backwards": (lambda: mg.Groups(mg.SGD(0.1), {"a": -1.0}), "zero or more for 'a', got -1.0"),
    "no ratio": (
        lambda: mg.Groups(mg.SGD(0.0), {"a": mg.SGD(0.1)}),
        "a positive learning rate of the default optimiser",
    ),
    "no such group": (
        lambda: compiled(mg.Groups(mg.SGD(0.1), {"haed.*": 0.5})),
        "for the group 'haed.*', got none .* of hidden.weight, .*head.bias",
    ),
    "all frozen": (
        lambda: compiled(mg.Groups(mg.SGD(0.1), {"*": None})),
        "a parameter to train, got all frozen: hidden.weight",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    make, told = REFUSED[name]
    with pytest.raises(mg.SpecError, match=rf"^Expected .*{told}"):
        make()
