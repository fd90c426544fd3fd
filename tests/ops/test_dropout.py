"""Dropout: the generator's published vectors, and what follows for its masks."""

from __future__ import annotations

import math

import numpy as np
import op_references as ref
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.backends.numpy.kernel import carve, carved_bytes
from minigraph.backends.numpy.random import _PARTS, Philox
from minigraph.ops import random

ONES32 = 0xFFFFFFFF

# Random123 1.14.0, tests/kat_vectors, "philox4x32 10": counter, key, result.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES32,) * 4, (ONES32,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def kernel_words(counter: tuple[int, ...], key: tuple[int, int], blocks: int = 1) -> np.ndarray:
    """The NumPy backend's words from a counter (block low, block high, step, stream) on."""
    scratch, words, _ = carve(np.empty(carved_bytes(*_PARTS), np.uint8), *_PARTS)
    seed, block = key[0] | key[1] << 32, counter[0] | counter[1] << 32
    return Philox(scratch, words).fill(seed, counter[2], counter[3], block)[:blocks]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert ref.philox4x32_10(counter, key) == expected
    assert tuple(kernel_words(counter, key)[0].tolist()) == expected


def test_consecutive_blocks_count_over_32_bits() -> None:
    words = kernel_words((ONES32 - 1, 5, 7, 9), (1, 2), blocks=4)
    for block, row in enumerate(words):
        number = (5 << 32) + ONES32 - 1 + block
        counter = (number & ONES32, number >> 32, 7, 9)
        assert tuple(row.tolist()) == ref.philox4x32_10(counter, (1, 2))


def explicit(shape: tuple[int, ...], rate: float, stream: int = 11) -> mg.Executable:
    """Dropout of ones with the key as an input."""
    inputs = {"x": mg.TensorSpec(shape, mg.DType.FLOAT64), "key": random.KEY_SPEC}
    return mg.compile(lambda x, key: random.dropout(x, rate, key, stream), inputs, backend="numpy")


def mask(shape: tuple[int, ...], key: object = (3, 0), stream: int = 11) -> np.ndarray:
    """Where ones survive a rate of 0.5."""
    exe = explicit(shape, 0.5, stream)
    return exe(x=np.ones(shape), key=np.array(key, np.int64))["output"] != 0


def test_a_mask_follows_from_the_position_alone() -> None:
    """Not from the shape, the batch size, or how the kernel cuts its work."""
    long = mask((3 * 5 * 4000,))
    np.testing.assert_array_equal(mask((3, 5, 4000)).ravel(), long)
    np.testing.assert_array_equal(mask((1, 5, 4000)).ravel(), long[: 5 * 4000])
    np.testing.assert_array_equal(long[-7:], ref.dropout_mask(long.shape, 0.5, (3, 0), 11)[-7:])


def test_seed_step_and_stream_each_give_another_mask() -> None:
    masks = [
        mask((4000,)),
        mask((4000,), key=(4, 0)),
        mask((4000,), key=(3 + 2**32, 0)),
        mask((4000,), key=(3, 1)),
        mask((4000,), stream=12),
    ]
    for i, first in enumerate(masks):
        for second in masks[:i]:
            assert abs((first == second).mean() - 0.5) < 5 * 0.5 / math.sqrt(4000)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_keep_rate_and_scale(rate: float) -> None:
    size = 200_000
    y = explicit((size,), rate)(x=np.ones(size), key=np.array([7, 2]))["output"]
    kept = y != 0
    assert abs(kept.mean() - (1 - rate)) < 5 * math.sqrt(rate * (1 - rate) / size)
    np.testing.assert_array_equal(y[kept], 1 / (1 - rate))
    # Neighbours are independent: of pairs, (1 - rate)^2 are kept.
    both = (kept[1:] & kept[:-1]).mean()
    assert abs(both - (1 - rate) ** 2) < 5 * 0.5 / math.sqrt(size)


# ---- as a layer


def layer(x: Tensor) -> dict[str, Tensor]:
    scale = mg.parameter(x, "scale", (), mg.initializers.Constant(1.0))
    y = mg.dropout(x * scale, 0.4, name="drop")
    return {"y": y, "loss": mg.reduce_sum(y), "gx": mg.gradients(mg.reduce_sum(y), [x])[0]}


def training_step(threads: int = 1) -> mg.Executable:
    inputs = {"x": "float64[40,50]"}
    return mg.compile(layer, inputs, optimizer=mg.SGD(0.0), backend="numpy", threads=threads)


def test_forward_and_backward_have_the_same_mask() -> None:
    x = np.ones((40, 50))
    result = training_step()(x=x)
    np.testing.assert_array_equal(result["gx"], result["y"])
    assert 0.3 < (result["y"] == 0).mean() < 0.5


def test_each_step_has_another_mask_and_a_run_can_be_repeated() -> None:
    x = np.ones((40, 50))
    step, again = training_step(), training_step(threads=2)
    first, second = step(x=x)["y"], step(x=x)["y"]
    assert 0.4 < ((first == 0) == (second == 0)).mean() < 0.65
    assert step.state["random.key"][1] == 2
    for expected in (first, second):
        np.testing.assert_array_equal(again(x=x)["y"], expected)
    step.state["random.key"] = [step.state["random.key"][0], 0]
    np.testing.assert_array_equal(step(x=x)["y"], first)


def test_two_layers_have_two_masks() -> None:
    def model(x: Tensor) -> dict[str, Tensor]:
        loss = mg.reduce_sum(x * mg.parameter(x, "w", (), mg.initializers.Constant(1.0)))
        return {"a": mg.dropout(x), "b": mg.dropout(x), "loss": loss}

    step = mg.compile(model, {"x": "float32[1000]"}, optimizer=mg.SGD(0.0), backend="numpy")
    result = step(x=np.ones(1000, np.float32))
    assert 0.4 < (result["a"] == result["b"]).mean() < 0.6


def test_inference_is_the_identity() -> None:
    exe = mg.compile(layer, {"x": "float64[40,50]"}, backend="numpy")
    x = np.random.default_rng(0).standard_normal((40, 50))
    result = exe(x=x)
    np.testing.assert_array_equal(result["y"], x)
    np.testing.assert_array_equal(result["gx"], np.ones_like(x))


def test_inference_needs_no_key() -> None:
    exe = mg.compile(lambda x: mg.dropout(x, 0.4), {"x": "float64[3]"}, backend="numpy")
    assert exe.graph.nodes == ()
    assert exe.graph.state == ()
