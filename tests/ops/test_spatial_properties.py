"""Spatial ops over random shapes, strides, paddings, dilations, groups and dtypes, against torch.

A few dozen examples each by default; ``-m slow`` runs a thousand. Values and gradients are compared
with torch's in float64 (and values in the drawn dtype); the transposed convolution is also put in
its other forms, and gradients of these with respect to both operands are compared, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import minigraph as mg
from minigraph.ir.op import Op
from minigraph.ops import conv, pool
from minigraph.ops.transposed import by_sub_pixels, by_zero_insertion

torch = pytest.importorskip("torch")
F = torch.nn.functional

Function = Callable[..., Any]

TOLERANCE = {"float64": 1e-12, "float32": 2e-4, "float16": 4e-3, "bfloat16": 3e-2}


def compare(
    ours: Function, theirs: Function, shapes: Sequence[tuple[int, ...]], dtype: str
) -> None:
    """Values in ``dtype`` and in float64, and gradients of ``sum(y * c)`` in float64."""
    rng = np.random.default_rng(0)
    arrays = [_distinct(rng, shape) for shape in shapes]
    operands = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = theirs(*operands)
    cotangent = rng.standard_normal(expected.shape)
    (expected * torch.tensor(cotangent)).sum().backward()

    def model(c: mg.Tensor, **tensors: mg.Tensor) -> dict[str, mg.Tensor]:
        y = ours(*tensors.values())
        grads = mg.gradients(mg.reduce_sum(y * c), list(tensors.values()))
        return {"y": y, **{f"g{i}": grad for i, grad in enumerate(grads)}}

    feeds = {f"x{i}": array for i, array in enumerate(arrays)}
    inputs = {name: (array.shape, "float64") for name, array in feeds.items()}
    got = mg.compile(model, {"c": (cotangent.shape, "float64"), **inputs}, backend="numpy")(
        c=cotangent, **feeds
    )
    close(got["y"], expected.detach().numpy(), TOLERANCE["float64"])
    for i, operand in enumerate(operands):
        close(got[f"g{i}"], operand.grad.numpy(), TOLERANCE["float64"])
    if dtype != "float64":
        narrow = {name: array.astype(mg.DType.of(dtype).numpy) for name, array in feeds.items()}
        run = mg.compile(
            lambda **t: ours(*t.values()), {n: (a.shape, dtype) for n, a in narrow.items()},
            backend="numpy",
        )  # fmt: skip
        wide = [torch.tensor(array.astype(np.float64)) for array in narrow.values()]
        close(run(**narrow)["output"], theirs(*wide).numpy(), TOLERANCE[dtype])


def _distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/64 in [-2, 2) that are all different where there are few: exact in all dtypes
    but bfloat16, no ties within small windows."""
    size = int(np.prod(shape))
    return (rng.permutation(max(size, 256))[:size] % 256 - 128).reshape(shape) / 64.0


def close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert got.shape == expected.shape
    scale = max(float(np.abs(expected).max(initial=0.0)), 1.0)
    np.testing.assert_allclose(got.astype(np.float64), expected, rtol=0, atol=tolerance * scale)


# ---- what is drawn

DTYPES = st.sampled_from(["float64", "float32", "float16", "bfloat16"])


def pairs(low: int, high: int) -> SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


WINDOWS = st.fixed_dictionaries(
    {
        "size": pairs(1, 9), "kernel": pairs(1, 4), "stride": pairs(1, 4), "dilation": pairs(1, 3),
        "padding": st.tuples(pairs(0, 3), pairs(0, 3)), "ceil": st.booleans(), "dtype": DTYPES,
        "groups": st.integers(1, 3), "batch": st.integers(1, 2), "inputs": st.integers(1, 2),
        "outputs": st.integers(1, 2), "extra": pairs(0, 3),
    }
)  # fmt: skip


def torch_padded(x: Any, padding: Any, value: float = 0.0) -> Any:
    (top, bottom), (left, right) = padding
    return F.pad(x, (left, right, top, bottom), value=value)


def fits(window: dict[str, Any]) -> bool:
    return all(
        (k - 1) * d + 1 <= size + sum(p)
        for k, d, size, p in zip(
            window["kernel"], window["dilation"], window["size"], window["padding"], strict=True
        )
    )


def accepts(op: Op, *shapes: tuple[int, ...]) -> bool:
    try:
        op.infer(*(mg.TensorSpec(shape) for shape in shapes))
    except mg.SpecError:
        return False
    return True


def check_convolution(w: dict[str, Any]) -> None:
    assume(fits(w))
    channels = w["groups"] * w["inputs"]
    compare(
        lambda x, k: conv.conv2d(x, k, w["stride"], w["padding"], w["dilation"], w["groups"]),
        lambda x, k: F.conv2d(
            torch_padded(x, w["padding"]), k, None, w["stride"], 0, w["dilation"], w["groups"]
        ),
        [
            (w["batch"], channels, *w["size"]),
            (w["groups"] * w["outputs"], w["inputs"], *w["kernel"]),
        ],
        w["dtype"],
    )


def check_transposed(w: dict[str, Any], form: Function | None = None) -> None:
    """Against torch where the output padding fits; in any of the three forms."""
    extra = tuple(e % s for e, s in zip(w["extra"], w["stride"], strict=True))
    op = conv.ConvTranspose2d(w["stride"], w["padding"], w["dilation"], w["groups"], extra)
    shapes = [
        (w["batch"], w["groups"] * w["inputs"], *w["size"]),
        (w["groups"] * w["inputs"], w["outputs"], *w["kernel"]),
    ]
    assume(accepts(op, *shapes))
    (top, bottom), (left, right) = w["padding"]

    def theirs(x: Any, k: Any) -> Any:
        full = F.pad(  # by hand: torch refuses an output padding that exceeds stride and dilation
            F.conv_transpose2d(x, k, None, w["stride"], 0, 0, w["groups"], w["dilation"]),
            (0, extra[1], 0, extra[0]),
        )
        return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]

    def ours(x: mg.Tensor, k: mg.Tensor) -> mg.Tensor:
        return x.builder.emit(op, x, k)[0] if form is None else form(x, k, op)

    compare(ours, theirs, shapes, w["dtype"])


def check_pooling(w: dict[str, Any]) -> None:
    sides = tuple(low for low, _ in w["padding"])  # torch: symmetric, at most half the kernel
    assume(all(2 * p <= k for p, k in zip(sides, w["kernel"], strict=True)))
    w = {**w, "padding": tuple((p, p) for p in sides)}
    shape = [(w["batch"], w["inputs"], *w["size"])]
    both = (w["kernel"], w["stride"], sides)
    # torch's backward pass goes wrong where a dilated window has no element; here it is refused.
    window = pool.MaxPool2d(*both[:2], w["padding"], w["dilation"], w["ceil"])
    assume(fits(w) and accepts(window, *shape))
    compare(
        lambda x: mg.max_pool2d(x, *both, w["dilation"], w["ceil"]),
        lambda x: F.max_pool2d(x, *both, w["dilation"], w["ceil"]),
        shape,
        w["dtype"],
    )
    for count in (True, False):
        compare(
            lambda x, c=count: mg.avg_pool2d(x, *both, count_include_pad=c, ceil_mode=w["ceil"]),
            lambda x, c=count: F.avg_pool2d(x, *both, w["ceil"], c),
            shape,
            w["dtype"],
        )
    compare(
        lambda x: mg.unfold2d(x, w["kernel"], w["stride"], sides, w["dilation"]),
        lambda x: F.unfold(x, w["kernel"], w["dilation"], sides, w["stride"]),
        shape,
        w["dtype"],
    )


def check_unpooling(w: dict[str, Any]) -> None:
    """Windows that do not overlap: torch's unpooling of its own indices is ours of ours."""
    kernel = tuple(min(k, n) for k, n in zip(w["kernel"], w["size"], strict=True))

    def ours(x: mg.Tensor) -> mg.Tensor:
        y, positions = mg.max_pool2d_with_positions(x, kernel)
        return mg.max_unpool2d(y * y, positions, w["size"])

    def theirs(x: Any) -> Any:
        y, indices = F.max_pool2d(x, kernel, return_indices=True)
        return F.max_unpool2d(y * y, indices, kernel, output_size=w["size"])

    compare(ours, theirs, [(w["batch"], w["inputs"], *w["size"])], "float64")


RESIZES = st.fixed_dictionaries(
    {"size": pairs(1, 9), "to": pairs(1, 20), "dtype": DTYPES, "batch": st.integers(1, 2)}
)


def check_resizing(r: dict[str, Any]) -> None:
    shape = [(r["batch"], 2, *r["size"])]
    for coordinates in ("half_pixel", "align_corners"):
        compare(
            lambda x, c=coordinates: mg.resize(x, r["to"], mode="bilinear", coordinates=c),
            lambda x, c=coordinates: F.interpolate(
                x, r["to"], mode="bilinear", align_corners=c == "align_corners"
            ),
            shape,
            r["dtype"],
        )
    compare(
        lambda x: mg.adaptive_avg_pool2d(x, r["to"]),
        lambda x: F.adaptive_avg_pool2d(x, r["to"]),
        shape,
        r["dtype"],
    )
    # Nearest: torch computes places in float32, which a whole factor survives.
    whole = tuple(n * (1 + t % 3) for n, t in zip(r["size"], r["to"], strict=True))
    for mode, how in (
        ("nearest", {"coordinates": "asymmetric", "rounding": "floor"}),
        ("nearest-exact", {"rounding": "round_prefer_ceil"}),
    ):
        compare(
            lambda x, h=how: mg.resize(x, whole, **h),
            lambda x, m=mode: F.interpolate(x, whole, mode=m),
            shape,
            r["dtype"],
        )


PADDINGS = st.fixed_dictionaries(
    {"size": pairs(1, 7), "rows": pairs(-3, 8), "columns": pairs(-3, 8), "dtype": DTYPES}
)


def check_padding(p: dict[str, Any]) -> None:
    sides = (p["rows"], p["columns"])
    order = (*p["columns"], *p["rows"])
    axes = list(zip(p["size"], sides, strict=True))
    for mode, most in (("reflect", -1), ("replicate", 99), ("circular", 0), ("constant", 99)):
        if mode == "constant":
            allowed = all(n + min(low, 0) + min(high, 0) > 0 for n, (low, high) in axes)
        else:
            allowed = all(min(side) >= 0 and max(side) <= n + most for n, side in axes)
        if allowed:
            compare(
                lambda x, m=mode: mg.pad(x, [(0, 0), (0, 0), *sides], mode=m),
                lambda x, m=mode: F.pad(x, order, mode=m),
                [(1, 2, *p["size"])],
                p["dtype"],
            )


# ---- the tests

QUICK = settings(
    max_examples=20, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)  # fmt: skip
LONG = settings(QUICK, max_examples=1000)

PROPERTIES: dict[str, tuple[Function, SearchStrategy[Any]]] = {
    "convolution": (check_convolution, WINDOWS),
    "transposed-convolution": (lambda w: check_transposed(w), WINDOWS),
    "zero-insertion": (lambda w: check_transposed(w, by_zero_insertion), WINDOWS),
    "sub-pixel": (lambda w: check_transposed(w, by_sub_pixels), WINDOWS),
    "pooling": (check_pooling, WINDOWS),
    "unpooling": (check_unpooling, WINDOWS),
    "resizing": (check_resizing, RESIZES),
    "padding": (check_padding, PADDINGS),
}


def run_property(name: str, limits: settings) -> None:
    check, strategy = PROPERTIES[name]
    limits(given(strategy)(check))()


@pytest.mark.parametrize("name", PROPERTIES)
def test_some(name: str) -> None:
    run_property(name, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_many(name: str) -> None:
    run_property(name, LONG)
