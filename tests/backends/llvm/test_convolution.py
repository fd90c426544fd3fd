"""Convolutions where the rows of the op table do not reach: blocks, panels,
tails, phases and groups, with every epilogue, against torch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from step_runner import Step, check, finished, fused, wide

from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import host, named
from minigraph.cache_folder import cache_folder
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d

torch = pytest.importorskip("torch")

GAP = 5  # elements between the pixels of operands that are slices of wider images


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(host(), ObjectCache(cache_folder("llvm")))


def convolved(
    x: np.ndarray,
    w: np.ndarray,
    stride: Any = (1, 1),
    padding: Any = ((0, 0), (0, 0)),
    dilation: Any = (1, 1),
    groups: int = 1,
    gradient: np.ndarray | None = None,
) -> Any:
    """A convolution; given a gradient of it, those of its operands."""
    x, w = (torch.tensor(array, requires_grad=True) for array in (x, w))
    (top, bottom), (left, right) = padding
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, w, None, stride, 0, dilation, groups)
    if gradient is None:
        return y.detach().numpy()
    return [g.numpy() for g in torch.autograd.grad(y, (x, w), torch.tensor(gradient))]


PADDINGS = [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((2, 0), (1, 3))]
GEOMETRIES = [
    # channels in and out, kernel, stride, padding, dilation, groups, size
    (1, 6, (5, 5), (1, 1), PADDINGS[0], (1, 1), 1, (28, 28)),
    (3, 33, (3, 3), (1, 1), PADDINGS[1], (1, 1), 1, (13, 11)),
    (17, 16, (3, 3), (2, 2), PADDINGS[2], (1, 1), 1, (14, 17)),
    (64, 49, (1, 1), (1, 1), PADDINGS[0], (1, 1), 1, (9, 13)),
    (20, 12, (1, 1), (2, 3), PADDINGS[1], (1, 1), 1, (10, 11)),
    (32, 96, (2, 2), (2, 2), PADDINGS[0], (1, 1), 1, (12, 10)),
    (300, 40, (3, 2), (1, 1), PADDINGS[1], (2, 1), 1, (6, 7)),
    (520, 35, (1, 1), (1, 1), PADDINGS[0], (1, 1), 1, (3, 5)),
    (40, 70, (3, 3), (2, 1), PADDINGS[2], (2, 3), 2, (15, 12)),
    (12, 12, (3, 3), (1, 1), PADDINGS[1], (1, 1), 12, (8, 9)),
    (21, 42, (3, 3), (2, 2), PADDINGS[1], (1, 1), 21, (8, 9)),
    (40, 40, (3, 4), (2, 1), PADDINGS[2], (1, 2), 40, (11, 13)),
    (24, 8, (4, 3), (3, 2), PADDINGS[2], (2, 4), 4, (20, 19)),
    (5, 7, (7, 7), (4, 4), ((3, 3), (3, 3)), (1, 1), 1, (21, 30)),
    (9, 10, (2, 3), (3, 4), PADDINGS[0], (1, 1), 1, (13, 14)),  # windows leave pixels out
    # sums so deep that they are kept between steps, of one panel and of several
    (1040, 35, (1, 1), (1, 1), PADDINGS[0], (1, 1), 1, (3, 5)),
    (200, 110, (3, 3), (1, 1), PADDINGS[2], (1, 1), 1, (24, 26)),
    (120, 1600, (2, 1), (3, 2), PADDINGS[0], (1, 1), 2, (12, 10)),  # and phases without taps
    (15, 20, (9, 9), (1, 1), PADDINGS[1], (1, 1), 1, (13, 14)),
    (17, 17, (28, 28), (1, 1), PADDINGS[0], (1, 1), 17, (29, 30)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("gap", [0, GAP])
def test_convolution_and_its_gradients(library: Library, geometry: Any, gap: int) -> None:
    inputs, outputs, kernel, stride, padding, dilation, groups, size = geometry
    x, w = (3, inputs, *size), (outputs, inputs // groups, *kernel)
    forward = Conv2d(stride, padding, dilation, groups)
    step = Step(library, forward, x, w, algorithm="direct", gap=gap)
    attributes = (stride, padding, dilation, groups)
    check(step.run(), convolved(*wide(step.operands), *attributes))

    g = forward.geometry(TensorSpec(x), TensorSpec(w))
    extra = tuple(
        (n + sum(p) - (k - 1) * d - 1) % s
        for n, p, k, d, s in zip(size, padding, kernel, dilation, stride, strict=True)
    )
    adjoint = ConvTranspose2d(stride, padding, dilation, groups, extra)  # type: ignore[arg-type]
    step = Step(library, adjoint, g.output_shape, w, algorithm="direct", gap=gap)
    gradient, weight = wide(step.operands)
    check(step.run(), convolved(np.zeros(x), weight, *attributes, gradient)[0])

    sums = Conv2dGradWeight(kernel, *attributes)
    step = Step(library, sums, x, g.output_shape, algorithm="sums", gap=gap)
    inputs64, gradient = wide(step.operands)
    check(step.run(), convolved(inputs64, np.zeros(w), *attributes, gradient)[1])


FEW_CHANNELS = [
    # channels in and out, kernel, stride, padding, dilation, size
    (1, 6, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), (28, 28)),
    (6, 16, (5, 5), (1, 1), PADDINGS[0], (1, 1), (14, 14)),
    (2, 1, (3, 2), (2, 3), PADDINGS[2], (1, 1), (17, 23)),
    (3, 40, (7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), (31, 40)),
    (3, 32, (3, 3), (1, 1), PADDINGS[1], (1, 1), (40, 61)),
    (4, 12, (2, 3), (1, 1), PADDINGS[2], (3, 1), (9, 6)),
    (5, 16, (1, 1), (1, 1), PADDINGS[0], (1, 1), (9, 5)),
    (12, 70, (3, 4), (1, 2), PADDINGS[1], (1, 1), (12, 33)),
    (3, 9, (2, 2), (3, 4), PADDINGS[0], (1, 1), (13, 18)),  # windows leave pixels out
    (1, 2, (3, 3), (1, 1), ((3, 3), (4, 4)), (1, 1), (1, 2)),  # windows of padding alone
]


@pytest.mark.parametrize("geometry", FEW_CHANNELS)
@pytest.mark.parametrize(
    ("target", "gap"), [("host", 0), ("host", GAP), ("avx2", 0), ("sse4", GAP)]
)
def test_few_channels(target: str, gap: int, geometry: Any) -> None:
    inputs, outputs, kernel, stride, padding, dilation, size = geometry
    library = Library(named(target), ObjectCache(cache_folder("llvm")))
    x, w = (3, inputs, *size), (outputs, inputs, *kernel)
    attributes = (stride, padding, dilation)
    forward = Conv2d(*attributes)
    y = forward.geometry(TensorSpec(x), TensorSpec(w)).output_shape
    step = Step(library, forward, x, w, algorithm="rows", gap=gap)
    check(step.run(), convolved(*wide(step.operands), *attributes))

    sums = Conv2dGradWeight(kernel, *attributes)
    step = Step(library, sums, x, y, algorithm="rows", gap=gap)
    inputs64, gradient = wide(step.operands)
    check(step.run(), convolved(inputs64, np.zeros(w), *attributes, 1, gradient)[1])

    if dilation != (1, 1):
        return
    extra = tuple(
        (n + sum(p) - r) % s for n, p, r, s in zip(size, padding, kernel, stride, strict=True)
    )
    adjoint = ConvTranspose2d(*attributes, 1, extra)  # type: ignore[arg-type]
    step = Step(library, adjoint, y, w, algorithm="spread", gap=gap)
    gradient, weight = wide(step.operands)
    check(step.run(), convolved(np.zeros(x), weight, *attributes, 1, gradient)[0])


ONE_CHANNEL = [
    # channels out, kernel, stride down, padding, dilation down, size
    (6, (5, 5), 1, ((2, 2), (2, 2)), 1, (28, 28)),
    (1, (3, 3), 1, PADDINGS[1], 1, (9, 16)),
    (8, (7, 3), 2, PADDINGS[2], 1, (17, 33)),
    (20, (2, 1), 1, PADDINGS[0], 3, (12, 50)),
    (35, (1, 16), 1, PADDINGS[0], 1, (3, 47)),
    (3, (4, 3), 3, ((5, 4), (9, 8)), 2, (1, 2)),  # windows of padding alone
]


@pytest.mark.parametrize("geometry", ONE_CHANNEL)
@pytest.mark.parametrize(
    ("target", "gap"), [("host", 0), ("host", GAP), ("avx2", 0), ("sse4", GAP)]
)
def test_one_channel(target: str, gap: int, geometry: Any) -> None:
    outputs, kernel, stride, padding, dilation, size = geometry
    library = Library(named(target), ObjectCache(cache_folder("llvm")))
    x, w = (3, 1, *size), (outputs, 1, *kernel)
    attributes = ((stride, 1), padding, (dilation, 1))
    forward = Conv2d(*attributes)
    y = forward.geometry(TensorSpec(x), TensorSpec(w)).output_shape
    bias = (1, outputs, 1, 1)
    step = Step(library, fused(forward), x, w, bias, y, y, algorithm="pixels", gap=gap)
    x64, w64, *rest = wide(step.operands)
    check(step.run(), finished(convolved(x64, w64, *attributes), *rest))


@pytest.mark.parametrize("target", ["host", "avx2", "sse4"])
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(DType.FLOAT64, 1e-14), (DType.FLOAT16, 2**-10), (DType.BFLOAT16, 2**-7)],
)
def test_one_channel_in_other_dtypes(dtype: DType, bound: float, target: str) -> None:
    library = Library(named(target), ObjectCache(cache_folder("llvm")))
    if dtype is DType.FLOAT16 and not library.target.has_half:
        pytest.skip(f"{target} does not convert float16")
    x, w = (2, 1, 7, 30), (6, 1, 3, 3)
    step = Step(library, Conv2d(padding=SAME), x, w, algorithm="pixels", dtype=dtype)
    expected = convolved(*wide(step.operands), padding=SAME)
    check(step.run().astype(np.float64), expected, bound)


def test_an_infinity_stays_in_its_window(library: Library) -> None:
    x, w, y = (1, 3, 9, 40), (2, 3, 3, 3), (1, 2, 9, 40)
    step = Step(library, ConvTranspose2d(padding=SAME), y, w, algorithm="spread")
    step.operands[0][0, 1, 4, 20] = np.inf
    finite = np.isfinite(step.run())
    assert finite.shape == x
    finite[:, :, 3:6, 19:22] = True
    assert finite.all()


SAME = PADDINGS[1]


@pytest.mark.parametrize("threads", [1, 3, 5, 8])
def test_bits_do_not_depend_on_threads(library: Library, threads: int) -> None:
    x, w, y, few = (2, 40, 24, 20), (72, 40, 3, 3), (2, 72, 24, 20), (2, 3, 24, 20)
    for op, algorithm, shapes in (
        (Conv2d(padding=SAME), "direct", (x, w)),
        (Conv2d(), "direct", ((2, 200, 24, 26), (110, 200, 3, 3))),
        (ConvTranspose2d(padding=SAME), "direct", (y, w)),
        (Conv2dGradWeight((3, 3), padding=SAME), "sums", (x, y)),
        (Conv2d(padding=SAME), "rows", (few, (72, 3, 3, 3))),
        (Conv2d(padding=SAME), "pixels", ((2, 1, 24, 20), (6, 1, 3, 3))),
        (Conv2dGradWeight((3, 3), padding=SAME), "rows", (few, y)),
        (ConvTranspose2d(padding=SAME), "spread", (y, (72, 3, 3, 3))),
    ):
        one = Step(library, op, *shapes, algorithm=algorithm, threads=2).run()
        other = Step(library, op, *shapes, algorithm=algorithm, threads=threads).run()
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("gap", [0, GAP])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 20), (24, 64), (300, 33)])
def test_epilogues(library: Library, inputs: int, outputs: int, gap: int) -> None:
    y, bias = (2, outputs, 7, 9), (1, outputs, 1, 1)
    convolution, w = Conv2d(padding=SAME), (outputs, inputs, 3, 3)
    step = Step(
        library, fused(convolution), (2, inputs, 7, 9), w, bias, y, y, algorithm="direct", gap=gap
    )
    x64, w64, *rest = wide(step.operands)
    check(step.run(), finished(convolved(x64, w64, padding=SAME), *rest))
    if inputs < 16:
        step = Step(
            library, fused(convolution), (2, inputs, 7, 9), w, bias, y, y, algorithm="rows", gap=gap
        )
        check(step.run(), finished(convolved(x64, w64, padding=SAME), *rest))

    w = (inputs, outputs, 2, 2)
    y = (2, outputs, 10, 14)
    step = Step(
        library, fused(ConvTranspose2d((2, 2))), (2, inputs, 5, 7), w, bias, y, y,
        algorithm="direct", gap=gap,
    )  # fmt: skip
    x64, w64, *rest = wide(step.operands)
    check(step.run(), finished(convolved(np.zeros(y), w64, (2, 2), gradient=x64)[0], *rest))


@pytest.mark.parametrize("gap", [0, GAP])
@pytest.mark.parametrize("outputs", [3, 12])
def test_epilogue_of_a_spread(library: Library, outputs: int, gap: int) -> None:
    y, bias, w = (2, outputs, 9, 14), (1, outputs, 1, 1), (20, outputs, 3, 2)
    step = Step(
        library, fused(ConvTranspose2d((1, 2))), (2, 20, 7, 7), w, bias, y, y,
        algorithm="spread", gap=gap,
    )  # fmt: skip
    x64, w64, *rest = wide(step.operands)
    check(step.run(), finished(convolved(np.zeros(y), w64, (1, 2), gradient=x64)[0], *rest))
