"""Tiled inference against inference on the whole image."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.models.unet import unet
from minigraph.prediction import plan_tiles, predict_tiled
from minigraph.prediction.tiles import Window, pixels_within, run_tiles

Network = Callable[[Tensor], Tensor]


def dilated(x: Tensor) -> Tensor:
    """A context network: dilations 1, 2, 4, 8 and no pooling (Yu and Koltun 2016)."""
    for dilation in (1, 2, 4, 8):
        x = mg.relu(mg.conv2d(x, 6, 3, dilation=dilation, padding=dilation))
    return mg.conv2d(x, 4, 1, name="head")


def odd_shapes(x: Tensor) -> Tensor:
    """Strides 2 and 3, lopsided padding, padded pools, a transposed convolution 3 with stride 2."""
    x = mg.relu(mg.conv2d(x, 4, 3, stride=2, padding=((1, 0), (0, 2))))
    x = mg.max_pool2d(x, 3, 1, padding=1)
    x = mg.relu(mg.conv_transpose2d(x, 4, 3, stride=2, padding=1))
    return mg.avg_pool2d(x, (2, 3), (1, 3), padding=(1, 1), count_include_pad=False)


def compiled(network: Network, dtype: str = "float32", channels: int = 3) -> mg.Executable:
    def model(image: Tensor) -> dict[str, Tensor]:
        logits = network(image)
        return {"logits": logits, "prediction": mg.argmax(logits, 1)}

    return mg.compile(model, {"image": f"{dtype}[1,{channels},32,32]"}, threads=1)


def image(height: int, width: int, dtype: str = "float32", batch: int = 1) -> np.ndarray:
    return np.random.default_rng(height).random((batch, 3, height, width)).astype(dtype)


def resizing(x: Tensor) -> Tensor:
    """A U-Net that mirrors at the border, takes a median and enlarges without weights."""

    def block(x: Tensor, channels: int, mode: str) -> Tensor:
        padded = mg.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode=mode)
        return mg.relu(mg.conv2d(padded, channels, 3))

    full = block(mg.median_filter2d(x, 3), 4, "reflect")
    half = block(mg.max_pool2d(full, 2), 4, "replicate")
    quarter = block(mg.max_pool2d_with_positions(half, 2)[0], 6, "reflect")
    up = block(mg.concat([half, mg.resize(quarter, scale=2, mode="bilinear")]), 4, "reflect")
    size = full.shape[2:]
    return block(mg.concat([full, mg.resize(mg.local_response_norm(up), size)]), 5, "replicate")


NETWORKS: dict[str, tuple[Network, tuple[int, int], tuple[int, int]]] = {
    "U-Net": (lambda x: unet(x, 5, base=4, depth=2), (4 * 23, 4 * 31), (60, 77)),
    "U-Net with batch norm": (
        lambda x: unet(x, 5, base=4, depth=1, batch_norm=True), (2 * 37, 2 * 29), (29, 31)
    ),
    "dilated": (dilated, (101, 67), (50, 64)),
    "odd shapes": (odd_shapes, (71, 83), (40, 33)),
    "same padding, stride 2": (
        lambda x: mg.conv2d(mg.conv2d(x, 3, 5, stride=2, padding="same"), 3, 3, padding="same"),
        (53, 60), (31, 26),
    ),
    "without padding, cropped skip": (
        lambda x: mg.concat([mg.conv2d(mg.relu(mg.conv2d(x, 4, 3)), 4, 3), x[:, :, 2:-2, 2:-2]]),
        (41, 57), (20, 23),
    ),
    "the last rows, the first columns": (
        lambda x: mg.conv2d(mg.conv2d(x, 4, 3, padding=1)[:, :, -18:, :27], 4, 3, padding=1),
        (40, 50), (30, 33),
    ),
    "resizing, mirrored borders": (resizing, (4 * 21, 4 * 25), (52, 60)),
    "thirds": (
        lambda x: mg.resize(mg.avg_pool2d(mg.conv2d(x, 4, 3), 3), scale=3, mode="bilinear"),
        (56, 71), (35, 32),
    ),
    "wide mirrors": (
        lambda x: mg.conv2d(mg.pad(x, [(0, 0), (0, 0), (5, 4), (3, 6)], mode="reflect"), 4, 3),
        (40, 50), (12, 14),
    ),
    "explicit padding": (
        lambda x: mg.conv2d(mg.pad(x, [(0, 0), (0, 0), (3, 0), (1, 2)], value=0.5), 4, 3),
        (40, 50), (23, 20),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_what_the_whole_image_gives(name: str) -> None:
    network, size, tile = NETWORKS[name]
    exe = compiled(network)
    x = image(*size)
    whole, tiled = exe(image=x), predict_tiled(exe, x, tile)
    bound = 2e-5 * np.abs(whole["logits"]).max()
    np.testing.assert_allclose(tiled["logits"], whole["logits"], rtol=0, atol=bound)
    assert tiled["prediction"].dtype == np.int64
    top = np.sort(whole["logits"], axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * bound  # a tie may fall either way
    assert clear.mean() > 0.9
    assert np.array_equal(tiled["prediction"][clear], whole["prediction"][clear])
    plan = plan_tiles(exe, x.shape, tile)
    assert len(plan.columns) > 1
    assert len(plan.rows) > 1 or "last rows" in name  # one window alone sees where they begin
    assert all(whole - part >= 0 for whole, part in zip(tile, plan.tile, strict=True))


@pytest.mark.parametrize("name", ["U-Net", "dilated", "odd shapes", "resizing, mirrored borders"])
@pytest.mark.parametrize("side", ["rows", "columns"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_one_pixel_less_halo_is_wrong(name: str, side: str, shift: int) -> None:
    """Each border between two windows, moved to where one of the two claims no more.

    All weights are made positive, so that nothing cancels, in float64, so that rounding is small.
    """
    network, size, tile = NETWORKS[name]
    exe = compiled(network, "float64")
    for parameter, array in exe.state.parameters().items():
        exe.state[parameter] = np.abs(array)
    x = image(*size, dtype="float64")
    whole = exe(image=x)["logits"]
    plan = plan_tiles(exe, x.shape, tile)

    def error(windows: tuple[Window, ...]) -> float:
        got = np.full_like(whole, np.nan)
        changed = replace(plan, **{side: windows})
        for pieces in run_tiles(exe, lambda rows, columns: x[:, :, rows, columns], changed):
            got[pieces["logits"].place] = pieces["logits"].values
        return float(np.abs(got - whole).max() / np.abs(whole).max())

    windows = getattr(plan, side)
    assert error(windows) < 1e-13
    for index in range(1, len(windows)):
        before, after = windows[index - 1], windows[index]
        if shift == 1:  # what the window before lost at its end
            place = before.kept["logits"][1] + 1
        else:  # what the window after lost at its start
            place = lowest_exact(exe, x, plan, side, after) - 1
        moved = list(windows)
        moved[index - 1] = replace(
            before, kept={"logits": (before.kept["logits"][0], place)} | rest(before)
        )
        moved[index] = replace(
            after, kept={"logits": (place, after.kept["logits"][1])} | rest(after)
        )
        assert error(tuple(moved)) > 1e-11, (index, place)


def rest(window: Window) -> dict[str, tuple[int, int]]:
    return {name: kept for name, kept in window.kept.items() if name != "logits"}


def lowest_exact(exe, x, plan, side, window) -> int:  # type: ignore[no-untyped-def]
    """The first position of a window that equals the whole image's, by experiment along an axis."""
    axis = 2 if side == "rows" else 3
    size = plan.tile[axis - 2]
    part = np.take(x, range(window.start, window.start + size), axis=axis)
    whole, cut = exe(image=x)["logits"], exe(image=part)["logits"]
    offset = window.offsets["logits"]
    same = np.take(whole, range(offset, offset + cut.shape[axis]), axis=axis)
    other = tuple(a for a in range(4) if a != axis)
    equal = np.abs(cut - same).max(axis=other) / np.abs(whole).max() < 1e-13
    return offset + int(np.argmax(equal))


def test_the_claimed_start_is_the_first_that_is_exact() -> None:
    """Windows start as far along as the exact positions allow: one period later leaves a hole."""
    exe = compiled(NETWORKS["U-Net"][0], "float64")
    for parameter, array in exe.state.parameters().items():
        exe.state[parameter] = np.abs(array)
    x = image(92, 124, dtype="float64")
    plan = plan_tiles(exe, x.shape, (60, 77))
    second = plan.rows[1]
    lost = lowest_exact(exe, x, plan, "rows", second) - second.offsets["logits"]
    covered = plan.rows[0].kept["logits"][1]
    assert second.start + lost <= covered < second.start + 4 + lost or len(plan.rows) == 2


def test_one_window_where_the_image_fits() -> None:
    exe = compiled(dilated)
    plan = plan_tiles(exe, (1, 3, 40, 33), (64, 64))
    assert (plan.tile, len(plan.rows), len(plan.columns)) == ((40, 33), 1, 1)
    plan = plan_tiles(exe, (1, 3, 40, 90), (64, 64))
    # Of two windows 60 wide each: (90 + 2 * 15) / 2 with the halo 1 + 2 + 4 + 8.
    assert (plan.tile, len(plan.rows), len(plan.columns)) == ((40, 60), 1, 2)


def test_batches_and_outputs_of_another_size() -> None:
    def model(image: Tensor) -> dict[str, Tensor]:
        small = mg.max_pool2d(mg.conv2d(image, 4, 3, padding=1), 4)
        return {"small": small, "edges": image[:, :, 1:] - image[:, :, :-1]}

    exe = mg.compile(model, {"image": "float32[2,3,32,32]"})
    x = image(45, 52, batch=2)
    whole, tiled = exe(image=x), predict_tiled(exe, x, (21, 24))
    assert tiled["small"].shape == (2, 4, 11, 13)
    for name in whole:
        np.testing.assert_allclose(tiled[name], whole[name], rtol=0, atol=1e-5)


def test_the_least_tile_of_the_error_works_and_no_smaller_one() -> None:
    exe = compiled(NETWORKS["U-Net"][0])
    with pytest.raises(ValueError, match="Expected a tile of at least") as caught:
        plan_tiles(exe, (1, 3, 92, 124), (8, 124))
    least = int(str(caught.value).split("at least ")[1].split()[0])
    assert len(plan_tiles(exe, (1, 3, 92, 124), (least, 124)).rows) > 1
    with pytest.raises(ValueError, match=f"at least {least} pixels"):
        plan_tiles(exe, (1, 3, 92, 124), (least - 1, 124))
    with pytest.raises(ValueError, match="at least 4 pixels"):
        plan_tiles(exe, (1, 3, 92, 124), (3, 124))


def test_what_looks_at_the_whole_image_is_refused_by_name() -> None:
    def gated(x: Tensor) -> Tensor:
        x = mg.conv2d(x, 4, 3, padding=1)
        return x * mg.sigmoid(mg.reduce_mean(x, (2, 3), keepdims=True))

    exe = compiled(gated)
    with pytest.raises(mg.SpecError, match=r"Mean 'mean'.*without tiles"):
        plan_tiles(exe, (1, 3, 64, 64), (32, 32))


@pytest.mark.parametrize("borders", [(6, 0), (0, 6), (6, 6)])
def test_windows_that_know_less_than_the_border_mirrors(borders: tuple[int, int]) -> None:
    """The convolution's error reaches into what the padding repeats: refused, or right."""

    def network(x: Tensor) -> Tensor:
        x = mg.conv2d(x, 2, (7, 1), padding=(3, 0))
        return mg.pad(x, [(0, 0), (0, 0), borders, (0, 0)], mode="reflect")

    exe, x = compiled(network), image(30, 6)
    whole = exe(image=x)["logits"]
    refused = []
    for tile in range(7, 20):
        try:
            tiled = predict_tiled(exe, x, (tile, 6))["logits"]
        except ValueError as error:
            least = re.match("Expected a tile of at least (\\d+)", str(error))
            assert least is not None
            assert tile < int(least[1]) <= 10
            refused.append(tile)
        else:
            np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5 * np.abs(whole).max())
    assert refused == list(range(7, 10))


def test_memory_in_proportion_to_pixels() -> None:
    exe = compiled(dilated)
    per_pixel = 2**24 / pixels_within(exe, 2**24)
    two_maps = 2 * 6 * 4  # a layer's input and output, float32
    assert two_maps < per_pixel < 12 * two_maps
    assert pixels_within(exe, 2**25) in (
        2 * pixels_within(exe, 2**24),
        2 * pixels_within(exe, 2**24) + 1,
    )


def test_the_graph_for_another_shape_and_wrong_ones() -> None:
    exe = compiled(dilated)
    assert exe.graph_for({"image": "float32[2,3,40,50]"}).inputs[0].spec.shape == (2, 3, 40, 50)
    assert exe.graph_for({}).inputs[0].spec.shape == (1, 3, 32, 32)
    for wrong in ({"picture": "float32[1,3,8,8]"}, {"image": "float32[3,8,8]"}):
        with pytest.raises(mg.InputError, match="Expected specs like image"):
            exe.graph_for(wrong)
    with pytest.raises(mg.InputError, match="The model does not take"):
        compiled(NETWORKS["U-Net"][0]).graph_for({"image": "float32[1,3,30,32]"})


def test_what_has_no_tiles() -> None:
    with pytest.raises(ValueError, match="Expected a model of one input"):
        plan_tiles(compiled(dilated), (3, 40, 40), (32, 32))
    two = mg.compile(lambda a, b: a + b, {"a": "float32[1,1,8,8]", "b": "float32[1,1,8,8]"})
    with pytest.raises(ValueError, match="Expected a model of one input"):
        plan_tiles(two, (1, 1, 40, 40), (32, 32))
