"""Copies, indices, lines and random masks on the CuPy backend, at sizes of several blocks.

All models are compiled before one of them is run, so that g++ is started once for their kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from cupy_cases import emulated, needs_compiler

import minigraph as mg
from minigraph.backend import dense_strides
from minigraph.backends.cupy.call import Call
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.kernels.transposition import TransposedCopy
from minigraph.executable import Executable
from minigraph.ir.errors import IllegalIndexError
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.random import dropout
from minigraph.places import External

pytestmark = needs_compiler

Arrays = dict[str, np.ndarray]
Results = Mapping[str, mg.Tensor]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ---- models: each runs its op on arrays of many shapes; names of outputs begin with the array's

IMAGES = {
    "wide": rng().standard_normal((2, 40, 5, 9)).astype(np.float32),
    "one": rng().standard_normal((1, 8, 3, 11)).astype(np.float16),
    "narrow": rng().standard_normal((3, 7, 9, 9)) > 0,
}
MATRICES = {"x": rng().standard_normal((3, 33, 260)).astype(np.float32)}


def reordered(**images: mg.Tensor) -> Results:
    flipped = {f"{name}-flipped": mg.flip(x, 3) for name, x in images.items()}
    return {**flipped, **{f"{name}-rows": mg.reshape(x, (-1,)) for name, x in images.items()}}


def transposed(x: mg.Tensor) -> Results:
    return {"inner": mg.transpose(x, (0, 2, 1)), "all": mg.transpose(x, (2, 1, 0))}


GATHERS = [((70, 24), 0, "float32"), ((5, 70, 3), 1, "bfloat16"), ((2, 16, 5, 7), 1, "float32")]
TAKES = [((40, 37), 0), ((3, 20, 5, 7), 1)]


def slices_arrays() -> Arrays:
    arrays = {}
    for number, (shape, axis, dtype) in enumerate(GATHERS):
        n, kind = shape[axis], DType(dtype).numpy
        arrays[f"x{number}"] = rng().standard_normal(shape).astype(kind)
        arrays[f"i{number}"] = rng().integers(-n, n, (9, 50)).astype(np.int32)
        own = (*shape[:axis], 9, 50, *shape[axis + 1 :])
        arrays[f"u{number}"] = rng().standard_normal(own).astype(kind)
    return arrays


def slices(**given: mg.Tensor) -> Results:
    results = {}
    for number, (_, axis, _) in enumerate(GATHERS):
        x, i, u = (given[f"{name}{number}"] for name in "xiu")
        results[f"taken{number}"] = mg.gather(x, i, axis)
        results[f"added{number}"] = mg.index_add(x, i, u, axis)
    return results


def elements_arrays() -> Arrays:
    arrays = {}
    for number, (shape, axis) in enumerate(TAKES):
        own = (*shape[:axis], 90, *shape[axis + 1 :])
        arrays[f"x{number}"] = rng().standard_normal(shape).astype(np.float32)
        arrays[f"i{number}"] = rng().integers(-shape[axis], shape[axis], own)
        arrays[f"u{number}"] = rng().standard_normal(own).astype(np.float32)
    return arrays


def elements(**given: mg.Tensor) -> Results:
    results = {}
    for number, (_, axis) in enumerate(TAKES):
        x, i, u = (given[f"{name}{number}"] for name in "xiu")
        results[f"taken{number}"] = mg.take_along_axis(x, i, axis)
        results[f"added{number}"] = mg.scatter_add(x, i, u, axis)
    return results


LINES = [
    ((2, 12, 5, 7), 1),  # a line's elements are adjacent: one thread's
    ((2, 300, 3, 5), 1),  # and many threads'
    ((2, 12, 5, 70), 3),  # positions are
    ((40, 3, 70), 0),
    ((1100,), 0),
    ((300, 5), 0),
]
BYTES = (1, 3)  # of LINES: these with integers too


def lines_arrays() -> Arrays:
    arrays: Arrays = {}
    for number, (shape, _) in enumerate(LINES):
        arrays[f"x{number}"] = rng().standard_normal(shape).astype(np.float32)
        small = rng().integers(0, 9, shape).astype(np.uint8)
        arrays[f"f{number}"] = np.where(small == 4, np.inf, small).astype(np.float32)
        arrays[f"f{number}"].reshape(-1)[:: small.size // 3] = np.nan
        if number in BYTES:
            arrays[f"b{number}"] = small
            arrays[f"n{number}"] = rng().integers(-(2**62), 2**62, shape)
    return arrays


def lines(**given: mg.Tensor) -> Results:
    results = {}
    for number, (_, axis) in enumerate(LINES):
        x = given[f"x{number}"]
        results[f"up{number}"] = mg.cumsum(x, axis)
        results[f"down{number}"] = mg.cumsum(x, axis, reverse=True)
        results[f"largest{number}"] = mg.argmax(given[f"f{number}"], axis)
        if number in BYTES:
            results[f"smallest{number}"] = mg.argmin(given[f"b{number}"], axis, keepdims=True)
            results[f"whole{number}"] = mg.cumsum(given[f"n{number}"], axis)
    return results


MASKED = [(2, 5, 4, 8), (2, 5, 3, 7), (1027,), (3, 1, 2, 2), (1,)]
MASKED_BFLOAT16 = (0, 2)  # these, too
KEY = np.array([-(2**40) + 12345, 2**33 + 7], np.int64)


def masked_arrays() -> Arrays:
    return {
        "key": KEY,
        **{
            f"x{number}-{dtype}": rng().uniform(1, 2, shape).astype(DType(dtype).numpy)
            for number, shape in enumerate(MASKED)
            for dtype in ("float32", *(["bfloat16"] if number in MASKED_BFLOAT16 else []))
        },
    }


def masked(key: mg.Tensor, **given: mg.Tensor) -> Results:
    first = {f"{name}-a": dropout(x, 0.3, key, 0xDEADBEEF) for name, x in given.items()}
    return {**first, **{f"{name}-b": dropout(x, 0.3, key, 7) for name, x in given.items()}}


WRONG = np.zeros((5, 2, 3, 3), np.int64)
WRONG[3, 1, 0, 2], WRONG[2, 1, 2, 0], WRONG[4, 0, 0, 0] = 4, 10**12, -(10**12)
REFUSING = {"x": np.ones((4, 2, 3, 3), np.float32), "i": np.zeros((5, 2, 3, 3), np.int64)}
ORDERED = {
    "x": np.zeros(3, np.float32),
    "i": np.array([1, 1, 1, 1]),
    "u": np.array([1e8, 1.0, -1e8, 1.0], np.float32),
}

MODELS = {
    "reordered": (reordered, IMAGES),
    "transposed": (transposed, MATRICES),
    "slices": (slices, slices_arrays()),
    "elements": (elements, elements_arrays()),
    "lines": (lines, lines_arrays()),
    "masked": (masked, masked_arrays()),
    "taking": (lambda x, i: {"y": mg.take_along_axis(x, i, 0)}, REFUSING),
    "adding": (lambda x, i: {"y": mg.scatter_add(x, i, mg.cast(i, "float32"), 0)}, REFUSING),
    "ordered": (lambda x, i, u: {"y": mg.index_add(x, i, u)}, ORDERED),
}


@cache
def programs() -> Mapping[tuple[str, bool], Executable]:
    """All models; True: where the threads of each block run in reverse order."""
    return {
        (name, back): compiled(name, emulated(back)) for name in MODELS for back in (False, True)
    }


def compiled(name: str, backend: object) -> Executable:
    model, arrays = MODELS[name]
    specs = {name: mg.TensorSpec(a.shape, mg.DType.of(a.dtype)) for name, a in arrays.items()}
    return mg.compile(model, specs, backend=backend)


@cache
def results(name: str) -> Arrays:
    """What a model gives, the same bits whatever the order of a block's threads."""
    one, other = (programs()[name, back](MODELS[name][1]) for back in (False, True))
    for output in one:
        np.testing.assert_array_equal(one[output], other[output])
    return one


# ---- copies


@pytest.mark.parametrize("name", IMAGES)
def test_between_planes_and_pixels(name: str) -> None:
    got, x = results("reordered"), IMAGES[name]
    np.testing.assert_array_equal(got[f"{name}-flipped"], x[..., ::-1])
    np.testing.assert_array_equal(got[f"{name}-rows"], x.reshape(-1))


def test_transposed_matrices() -> None:
    got, x = results("transposed"), MATRICES["x"]
    np.testing.assert_array_equal(got["inner"], x.transpose(0, 2, 1))
    np.testing.assert_array_equal(got["all"], x.transpose(2, 1, 0))


def test_long_axes_are_copied_by_tiles() -> None:
    rows, last = (0, 1, 2, 3), (0, 2, 3, 1)
    for orders in ((rows, last), (last, rows)):
        assert isinstance(copied((2, 40, 5, 9), *orders).code, TransposedCopy)
        assert not isinstance(copied((2, 3, 50, 90), *orders).code, TransposedCopy)
    assert not isinstance(copied((2, 40, 5, 9), last, last).code, TransposedCopy)


def copied(shape: tuple[int, ...], *orders: tuple[int, ...]) -> Call:
    """A copy from one order of axes to another."""
    spec = TensorSpec(shape)
    places = [External("x", False, spec, dense_strides(spec, order)) for order in orders]
    (call,) = copy_calls(*places)
    return call


# ---- indices


@pytest.mark.parametrize("number", range(len(GATHERS)))
def test_slices_by_index_and_added_to(number: int) -> None:
    arrays, got = MODELS["slices"][1], results("slices")
    (_, axis, dtype), (x, i, u) = GATHERS[number], (arrays[f"{name}{number}"] for name in "xiu")
    np.testing.assert_array_equal(got[f"taken{number}"], np.take(x, i, axis))
    exact = np.moveaxis(x.astype(np.float64), axis, 0)
    updates = np.moveaxis(u.astype(np.float64), (axis, axis + 1), (0, 1))
    for place in np.ndindex(*i.shape):
        exact[i[place]] += updates[place]
    error = np.abs(np.moveaxis(got[f"added{number}"], axis, 0).astype(np.float64) - exact)
    assert error.max() <= (2.0**-8 if dtype == "bfloat16" else 2e-6) * np.abs(exact).max()


@pytest.mark.parametrize("number", range(len(TAKES)))
def test_elements_by_index_and_added_to(number: int) -> None:
    arrays, got = MODELS["elements"][1], results("elements")
    (_, axis), (x, i, u) = TAKES[number], (arrays[f"{name}{number}"] for name in "xiu")
    np.testing.assert_array_equal(got[f"taken{number}"], np.take_along_axis(x, i, axis))
    exact = x.astype(np.float64)
    for place in np.ndindex(*i.shape):
        exact[(*place[:axis], i[place], *place[axis + 1 :])] += u[place]
    assert np.abs(got[f"added{number}"] - exact).max() <= 2e-6 * np.abs(exact).max()


def test_sums_run_in_the_order_of_the_indices() -> None:
    np.testing.assert_array_equal(results("ordered")["y"], [0, 1, 0])  # as 1e8 + 1 is 1e8


@pytest.mark.parametrize("name", ["taking", "adding"])
def test_the_first_wrong_index_is_named_and_touches_nothing(name: str) -> None:
    executable = programs()[name, True]
    for _ in range(2):  # launched one by one, then replayed
        with pytest.raises(IllegalIndexError, match=r"got 1000000000000 at \[2, 1, 2, 0\]"):
            executable(x=REFUSING["x"], i=WRONG)
        executable(REFUSING)


# ---- lines


@pytest.mark.parametrize("number", range(len(LINES)))
def test_running_sums(number: int) -> None:
    arrays, got, axis = MODELS["lines"][1], results("lines"), LINES[number][1]
    wide = arrays[f"x{number}"].astype(np.float64)
    backwards = np.flip(np.flip(wide, axis).cumsum(axis), axis)
    np.testing.assert_allclose(got[f"up{number}"], wide.cumsum(axis), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(got[f"down{number}"], backwards, rtol=1e-7, atol=1e-7)
    if number in BYTES:  # integers wrap around
        expected = arrays[f"n{number}"].cumsum(axis)
        np.testing.assert_array_equal(got[f"whole{number}"], expected)


@pytest.mark.parametrize("number", range(len(LINES)))
def test_positions_of_extremes(number: int) -> None:
    arrays, got, axis = MODELS["lines"][1], results("lines"), LINES[number][1]
    expected = arrays[f"f{number}"].argmax(axis)
    np.testing.assert_array_equal(got[f"largest{number}"], expected)
    if number in BYTES:
        expected = arrays[f"b{number}"].argmin(axis, keepdims=True)
        np.testing.assert_array_equal(got[f"smallest{number}"], expected)


# ---- random masks


def test_masks_are_those_of_the_numpy_backend() -> None:
    arrays, got = MODELS["masked"][1], results("masked")
    expected = compiled("masked", "numpy")(arrays)
    for name, value in expected.items():
        kept = value != 0
        np.testing.assert_array_equal(got[name] != 0, kept)
        x = arrays[name[:-2]].astype(np.float64)[kept]
        step = 2.0**-8 if "bfloat16" in name else 2.0**-23
        np.testing.assert_allclose(got[name].astype(np.float64)[kept], x / 0.7, rtol=step)
