"""Learning-rate schedules against torch's, and as what sets a training step's rate."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph.schedules import Schedule

RATE = "optimizer.learning_rate"


def rates(schedule: Schedule, count: int) -> list[float]:
    return [schedule(step) for step in range(count)]


TORCH: dict[str, tuple[Schedule, float, Callable[[Any, Any], Any], int]] = {
    "step": (mg.StepDecay(0.4, 3, 0.5), 0.4, lambda s, o: s.StepLR(o, 3, 0.5), 14),
    "cosine": (mg.Cosine(0.4, 9), 0.4, lambda s, o: s.CosineAnnealingLR(o, 9), 10),
    "cosine-final": (
        mg.Cosine(0.4, 9, 0.1), 0.4, lambda s, o: s.CosineAnnealingLR(o, 9, eta_min=0.1), 10
    ),
    "polynomial": (
        mg.Polynomial(0.4, 9), 0.4, lambda s, o: s.PolynomialLR(o, 9, power=0.9), 14
    ),
    "linear": (
        mg.Polynomial(0.4, 9, 1.0), 0.4, lambda s, o: s.PolynomialLR(o, 9, power=1.0), 14
    ),
    "one-cycle": (
        mg.OneCycle(0.4, 23), 1.0, lambda s, o: s.OneCycleLR(o, 0.4, total_steps=23), 23
    ),
    "one-cycle-options": (
        mg.OneCycle(0.4, 20, 0.5, 10.0, 100.0), 1.0,
        lambda s, o: s.OneCycleLR(
            o, 0.4, total_steps=20, pct_start=0.5, div_factor=10.0, final_div_factor=100.0
        ), 20,
    ),
    "warm-up": (
        mg.WarmUp(mg.Cosine(0.4, 9), 5, 0.25), 0.4,
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.25, total_iters=5), s.CosineAnnealingLR(o, 9)], [5]
        ), 15,
    ),
    "warm-up-steps": (
        mg.WarmUp(mg.StepDecay(0.4, 3), 4), 0.4,
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.1, total_iters=4), s.StepLR(o, 3, 0.1)], [4]
        ), 15,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # SequentialLR warns of its own use of step(epoch)
@pytest.mark.parametrize("name", TORCH)
def test_the_rates_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="parity is with torch, which is not installed")
    schedule, start, make, count = TORCH[name]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=start)
    theirs = make(torch.optim.lr_scheduler, optimizer)
    expected = []
    for _ in range(count):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < count:
            theirs.step()
    np.testing.assert_allclose(rates(schedule, count), expected, rtol=1e-12, atol=1e-16)


def test_the_formulas() -> None:
    assert rates(mg.StepDecay(1.0, 2, 0.5), 6) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    np.testing.assert_allclose(
        rates(mg.Cosine(1.0, 4, 0.5), 5),
        [0.5 + 0.25 * (1 + math.cos(math.pi * t / 4)) for t in range(5)],
        rtol=1e-15,
    )
    np.testing.assert_allclose(
        rates(mg.Polynomial(2.0, 4, 2.0), 5), [2.0, 1.125, 0.5, 0.125, 0.0], rtol=1e-15
    )
    cycle = rates(mg.OneCycle(1.0, 10, 0.4, 4.0, 100.0), 10)
    np.testing.assert_allclose([cycle[0], cycle[3], cycle[9]], [0.25, 1.0, 0.0025], rtol=1e-15)
    assert cycle.index(max(cycle)) == 3


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        (mg.Cosine(0.4, 9, 0.1), 0.1),
        (mg.Polynomial(0.4, 9), 0.0),
        (mg.OneCycle(0.4, 9, 0.5, 10.0, 10.0), 0.004),
        (mg.WarmUp(mg.Cosine(0.4, 9, 0.1), 3), 0.1),
    ],
    ids=str,
)
def test_after_the_last_step_the_rate_stays(schedule: Schedule, last: float) -> None:
    np.testing.assert_allclose([schedule(step) for step in (12, 13, 10**9)], last, rtol=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        mg.StepDecay(0.4, 3), mg.Cosine(0.4, 9), mg.Polynomial(0.4, 9), mg.OneCycle(0.4, 9),
        lambda step: 0.4 / (step + 1),
    ],
    ids=["step", "cosine", "polynomial", "one-cycle", "function"],
)  # fmt: skip
def test_warm_up_composes_with_each(schedule: Schedule) -> None:
    warm = rates(mg.WarmUp(schedule, 4, 0.0), 12)
    first = schedule(0)
    np.testing.assert_allclose(warm[:4], [0.0, first / 4, first / 2, first * 0.75], rtol=1e-15)
    assert warm[4:] == rates(schedule, 8)


def test_a_schedule_drives_a_step_and_compiles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="minigraph")

    def line(x: mg.Tensor) -> dict[str, mg.Tensor]:
        w = mg.parameter(x, "w", (1,), mg.initializers.Constant(0.0))
        return {"loss": mg.reduce_sum(w * x)}

    schedule = mg.WarmUp(mg.Cosine(0.5, 6), 3)
    step = mg.compile(line, {"x": "float64[1]"}, optimizer=mg.SGD(schedule(0)), backend="numpy")
    program, expected = step.compiled.program, 0.0
    for number in range(10):
        step.state[RATE] = schedule(number)
        step(x=[1.0])
        expected -= schedule(number)
        np.testing.assert_allclose(step.state["w"], [expected], rtol=1e-14)
    assert step.compiled.program is program
    assert "compiling" not in caplog.text


def test_schedules_compare_show_and_pickle() -> None:
    schedule = mg.WarmUp(mg.Cosine(0.5, 6), 3)
    assert schedule == mg.WarmUp(mg.Cosine(0.5, 6), 3) != mg.WarmUp(mg.Cosine(0.5, 7), 3)
    shown = "WarmUp(schedule=Cosine(rate=0.5, steps=6, final=0.0), steps=3, start=0.1)"
    assert repr(schedule) == shown
    assert pickle.loads(pickle.dumps(schedule)) == schedule


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "every": (lambda: mg.StepDecay(0.1, 0), "every of one or more, got 0"),
    "steps": (lambda: mg.Cosine(0.1, 0), "steps of one or more, got 0"),
    "rate": (lambda: mg.Polynomial(-0.1, 5), "a finite rate of zero or more, got -0.1"),
    "nan": (lambda: mg.Cosine(float("nan"), 5), "a finite rate of zero or more, got nan"),
    "rise": (lambda: mg.OneCycle(0.1, 10, 1.0), r"a rise in \(0, 1\) .*, got 1.0 of 10 steps"),
    "too short": (lambda: mg.OneCycle(0.1, 3), r"a rise in \(0, 1\) .*, got 0.3 of 3 steps"),
    "divisor": (lambda: mg.OneCycle(0.1, 10, 0.5, 0.5), "divisors of one or more, got 0.5 and"),
    "constant": (lambda: mg.WarmUp(0.1, 5), "a schedule to warm up to, got float"),  # type: ignore[arg-type]
    "start": (lambda: mg.WarmUp(mg.Cosine(0.1, 5), 5, 2.0), r"a start in \[0, 1\], got 2.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    make, told = REFUSED[name]
    with pytest.raises(mg.SpecError, match=f"^Expected {told}"):
        make()
