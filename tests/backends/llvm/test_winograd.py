"""Winograd convolutions and their gradients against the definition in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.backend import Algorithm
from minigraph.backends.llvm import LlvmBackend
from minigraph.backends.llvm.backend import LOWERINGS
from minigraph.backends.llvm.call import Context, Lowering, simple
from minigraph.backends.llvm.convolution.winograd import (
    NAMES,
    winograd_calls,
    winograd_candidates,
)
from minigraph.backends.llvm.convolution.winograd_transforms import BY_OUTPUTS
from minigraph.backends.llvm.kernels.instructions import EMITTERS
from minigraph.backends.llvm.kernels.pointwise import pointwise_calls
from minigraph.backends.llvm.runner import LlvmRunner
from minigraph.backends.llvm.target import host
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.elementwise import can_fuse, fused_lowering
from minigraph.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d, conv2d
from minigraph.ops.elementwise import Add, ReluGrad
from minigraph.ops.fused import Body, Fused, Instruction

OPS = ("forward", "input gradient", "weight gradient")
F2 = ("winograd-f2", "winograd-f2-tiles")
F4 = ("winograd-f4", "winograd-f4-tiles")


class WinogradBackend(LlvmBackend):
    """An LLVM backend whose convolutions all take one of these algorithms."""

    def __init__(self, algorithms: tuple[str, ...], threads: int = 2, target: str = "host") -> None:
        super().__init__(threads, target)

        def candidates(op, inputs, context):
            found = winograd_candidates(op, inputs, context)
            return tuple(one for one in found if one.name in algorithms)

        lowering = Lowering(candidates, winograd_calls)
        self.anchors = dict.fromkeys((Conv2d, ConvTranspose2d, Conv2dGradWeight), lowering)
        fused = fused_lowering(simple, pointwise_calls, EMITTERS, self.anchors)
        self.lowerings = {**LOWERINGS, **self.anchors, Fused: fused}

    def candidates(self, op, inputs):
        if type(op) not in self.lowerings:
            return super().candidates(op, inputs)
        context = Context(self.threads, self._target)
        return self.lowerings[type(op)].candidates(op, inputs, context)

    def can_fuse(self, body, inputs):
        return can_fuse(body, inputs, EMITTERS, self.anchors)

    def build(self, program, store):
        return LlvmRunner(program, store, self.lowerings, self.library, self.threads)


@lru_cache
def backend(algorithms: tuple[str, ...], threads: int = 2, target: str = "host") -> WinogradBackend:
    return WinogradBackend(algorithms, threads, target)


@dataclass(frozen=True)
class Case:
    """A 3x3 convolution, seen from its forward pass."""

    batch: int
    channels: tuple[int, int]
    size: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        (c, k), (h, w), (vertical, horizontal) = self.channels, self.size, self.padding
        return {
            "x": (self.batch, c, h, w),
            "w": (k, c, 3, 3),
            "y": (self.batch, k, h + sum(vertical) - 2, w + sum(horizontal) - 2),
        }

    def anchor(self, which: str):
        """The op and the names of its operands and result."""
        if which == "forward":
            return Conv2d(padding=self.padding), "x", "w", "y"
        if which == "input gradient":
            return ConvTranspose2d(padding=self.padding), "y", "w", "x"
        return Conv2dGradWeight((3, 3), padding=self.padding), "x", "y", "w"

    def operands(self, which: str, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        _, *names, _ = self.anchor(which)
        return {name: rng.standard_normal(self.shapes[name], np.float32) for name in names}

    def reference(self, which: str, given: dict[str, np.ndarray]) -> np.ndarray:
        """Window by window, in float64."""
        (top, bottom), (left, right) = self.padding
        n, c, h, w = self.shapes["x"]
        padded = np.zeros((n, c, h + top + bottom, w + left + right))
        wide = {name: array.astype(np.float64) for name, array in given.items()}
        if "x" in wide:
            padded[:, :, top : top + h, left : left + w] = wide["x"]
        rows, columns = self.shapes["y"][2:]
        result = np.zeros(self.shapes["y" if which == "forward" else "w"])
        for r in range(3):
            for s in range(3):
                window = padded[:, :, r : r + rows, s : s + columns]
                if which == "forward":
                    result += np.einsum("nchw,kc->nkhw", window, wide["w"][:, :, r, s])
                elif which == "weight gradient":
                    result[:, :, r, s] = np.einsum("nchw,nkhw->kc", window, wide["y"])
                else:
                    window += np.einsum("nkhw,kc->nchw", wide["y"], wide["w"][:, :, r, s])
        if which == "input gradient":
            return padded[:, :, top : top + h, left : left + w]
        return result


CASES = {
    "whole-tiles": Case(2, (32, 32), (16, 16)),
    "tails": Case(1, (7, 37), (9, 11)),
    "one-pixel": Case(3, (3, 4), (1, 1)),
    "uneven-padding": Case(2, (5, 20), (6, 9), ((0, 2), (2, 1))),
    "no-padding": Case(1, (4, 16), (7, 8), ((0, 0), (0, 0))),
    "several-panels-and-blocks": Case(1, (70, 97), (10, 9)),
    "many-tiles": Case(2, (33, 20), (41, 46), ((0, 2), (2, 1))),
    "groups-of-tiles": Case(1, (130, 136), (34, 36)),
    "chunks-of-tiles": Case(2, (18, 6), (70, 130), ((2, 0), (1, 2))),
}


def run(op, names, arrays, executor: WinogradBackend) -> np.ndarray:
    """One node of this op."""

    def model(**tensors):
        operands = [tensors[name] for name in names]
        return {"result": operands[0].builder.emit(op, *operands)[0]}

    specs = {name: f"float32[{','.join(map(str, a.shape))}]" for name, a in arrays.items()}
    return mg.compile(model, specs, backend=executor, passes=())(arrays)["result"]


def error(got: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(got - reference).max() / np.abs(reference).max())


def offers(case: Case, which: str, executor: WinogradBackend) -> tuple[Algorithm, ...]:
    op, *names, _ = case.anchor(which)
    specs = tuple(TensorSpec(case.shapes[name], DType.FLOAT32) for name in names)
    return executor.candidates(op, specs)


def check(case: Case, which: str, executors: list[WinogradBackend]) -> None:
    """Within the stated error, and the same bits from all."""
    op, first, second, _ = case.anchor(which)
    arrays = case.operands(which)
    results = [run(op, (first, second), arrays, one) for one in executors]
    stated = max(one.relative_error for one in offers(case, which, executors[0]))
    # The definition's own rounding comes on top.
    assert error(results[0], case.reference(which, arrays)) < stated + 1e-7
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("which", OPS)
@pytest.mark.parametrize(
    ("algorithms", "name"),
    [(F4, name) for name in CASES]
    + [(F2, name) for name in ("tails", "several-panels-and-blocks", "chunks-of-tiles")],
)
def test_values_whatever_the_number_of_threads(algorithms, name, which):
    check(CASES[name], which, [backend(algorithms, threads) for threads in (2, 1, 5)])


@pytest.mark.parametrize("which", OPS)
@pytest.mark.parametrize("name", CASES)
def test_the_order_of_work_that_is_not_chosen(name, which):
    found = offers(CASES[name], which, backend(F4))
    for slower in sorted(found, key=lambda one: one.seconds)[1:]:
        check(CASES[name], which, [backend((slower.name,))])


def test_many_threads_share_few_channels_and_tiles():
    """Blocks of channels and groups of tiles shrink; the bits stay."""
    for which in OPS:
        for name in ("several-panels-and-blocks", "many-tiles"):
            check(CASES[name], which, [backend(F4), backend(F4, 40)])


@pytest.mark.skipif(not host().is_x86, reason="older x86 processors")
@pytest.mark.parametrize("which", OPS)
@pytest.mark.parametrize("target", ["avx2", "sse4"])
@pytest.mark.parametrize("name", ["tails", "several-panels-and-blocks"])
def test_older_processors(name, target, which):
    check(CASES[name], which, [backend(F4, 2, target)])


@pytest.mark.parametrize("which", OPS)
@pytest.mark.parametrize("name", ["tails", "several-panels-and-blocks", "chunks-of-tiles"])
def test_what_follows_is_done_before_results_are_stored(name, which):
    """relu_grad(mask, anchor + one a channel + one an element) in one node."""
    case = CASES[name]
    anchor, first, second, result = case.anchor(which)
    shape = case.shapes[result]
    names = (first, second, "channel", "element", "mask")
    instructions = (
        Instruction(anchor, (0, 1)),
        Instruction(Add(), (5, 2)),
        Instruction(Add(), (3, 6)),
        Instruction(ReluGrad(), (4, 7)),
    )
    rng = np.random.default_rng(1)
    arrays = case.operands(which)
    scale = np.abs(reference := case.reference(which, arrays)).max()
    extras = {"channel": (1, shape[1], 1, 1), "element": shape, "mask": shape}
    for extra, its_shape in extras.items():
        arrays[extra] = (scale * rng.standard_normal(its_shape)).astype(np.float32)
    got = run(Fused(Body(5, instructions, (8,))), names, arrays, backend(F4))
    expected = np.where(arrays["mask"] > 0, reference + arrays["channel"] + arrays["element"], 0)
    assert error(got, expected) < 2e-5


def test_operands_and_results_may_have_gaps_between_pixels():
    """Parts of a wider image: what a concatenation joins, and what it made."""
    case, wide = Case(2, (20, 24), (9, 10)), Case(2, (44, 24), (9, 10))

    def model(x, w, v):
        joined = mg.concat([conv2d(x, w, padding=1), x], axis=1)
        return {"joined": joined, "y": conv2d(joined, v, padding=1)}

    rng = np.random.default_rng(0)
    shapes = {"x": case.shapes["x"], "w": case.shapes["w"], "v": wide.shapes["w"]}
    arrays = {name: rng.standard_normal(s, np.float32) for name, s in shapes.items()}
    specs = {name: f"float32[{','.join(map(str, s))}]" for name, s in shapes.items()}
    got = mg.compile(model, specs, backend=backend(F4))(arrays)
    first = case.reference("forward", {"x": arrays["x"], "w": arrays["w"]})
    joined = np.concatenate([first, arrays["x"]], axis=1)
    assert error(got["joined"], joined) < 1e-5
    expected = wide.reference("forward", {"x": joined, "w": arrays["v"]})
    assert error(got["y"], expected) < 2e-5


def test_a_number_that_is_none_stays_where_it_belongs():
    """Nothing of the next channel, the padding or the scratch gets into a result."""
    case = CASES["tails"]
    for which in OPS:
        op, first, second, result = case.anchor(which)
        arrays = case.operands(which)
        arrays[second][0] = np.nan  # a filter, or all of the one image's gradient
        got = run(op, (first, second), arrays, backend(F4))
        is_nan = np.isnan(got)
        if which == "forward":
            assert is_nan[:, 0].all() and not is_nan[:, 1:].any()
        else:
            assert is_nan.all(), result


@pytest.mark.parametrize("outputs", BY_OUTPUTS)
def test_matrices_are_those_of_the_correlation(outputs):
    winograd = BY_OUTPUTS[outputs]
    rng = np.random.default_rng(0)
    d, w = rng.standard_normal(winograd.points), rng.standard_normal(3)
    products = (winograd.weight_matrix @ w) * (winograd.input_matrix @ d)
    expected = np.correlate(d, w, "valid")
    np.testing.assert_allclose(winograd.output_matrix @ products, expected, atol=1e-13)


def test_other_convolutions_have_no_candidate():
    context = Context(2, host())
    x, w = TensorSpec((1, 4, 9, 9), DType.FLOAT32), TensorSpec((4, 4, 3, 3), DType.FLOAT32)
    assert len(winograd_candidates(Conv2d(), (x, w), context)) == len(NAMES)
    for op in (
        Conv2d(stride=(2, 1)),
        Conv2d(dilation=(1, 2)),
        Conv2d(padding=((3, 0), (0, 0))),
    ):
        assert winograd_candidates(op, (x, w), context) == ()
    depthwise = TensorSpec((4, 1, 3, 3), DType.FLOAT32)
    assert winograd_candidates(Conv2d(groups=4), (x, depthwise), context) == ()
    wide = [TensorSpec(spec.shape, DType.FLOAT64) for spec in (x, w)]
    assert winograd_candidates(Conv2d(), wide, context) == ()


def test_the_quicker_algorithm_is_the_less_exact_one():
    x = TensorSpec((4, 64, 64, 64), DType.FLOAT32)
    w = TensorSpec((64, 64, 3, 3), DType.FLOAT32)
    found = winograd_candidates(Conv2d(padding=((1, 1), (1, 1))), (x, w), Context(2, host()))
    small, large = (
        min((one for one in found if one.name in names), key=lambda one: one.seconds)
        for names in (F2, F4)
    )
    assert large.seconds < small.seconds
    assert small.relative_error < 1e-6 < large.relative_error < 3e-6
