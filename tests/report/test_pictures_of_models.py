"""Filters, feature maps and graphs of a model: the right numbers, tiles and names."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

import minigraph as mg
from minigraph.models.unet import unet
from minigraph.ops.conv import conv2d
from minigraph.report import (
    block_outputs,
    feature_map_picture,
    feature_maps,
    filter_correlations,
    first_convolution,
    graph_dot,
    graph_svg,
    plot_filters,
    write_graph,
)
from minigraph.report.filters import GROUND, correlations_in_words, tile_filters

RNG = np.random.default_rng(0)


def compiled(model, image="float32[2,3,8,8]", **options) -> mg.Executable:
    return mg.compile(model, {"image": image}, backend="numpy", threads=1, **options)


# ---- filters


def test_correlations_are_those_of_numpy():
    weight = RNG.normal(size=(7, 3, 5, 4))
    got = filter_correlations(weight.astype(np.float32))
    expected = np.corrcoef(weight.reshape(7, -1))
    np.testing.assert_allclose(got.matrix, expected, atol=1e-6)
    off = [abs(expected[i, j]) for i in range(7) for j in range(7) if i != j]
    assert got.mean_absolute == pytest.approx(np.mean(off), abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 3, 3), (1, 1, 3)])
def test_chance_is_what_random_filters_have(shape):
    got = filter_correlations(np.random.default_rng(1).normal(size=(1500, *shape)))
    assert got.mean_absolute == pytest.approx(got.by_chance, rel=0.01)


def test_filters_without_variation_are_left_out():
    weight = RNG.normal(size=(4, 1, 3, 3))
    weight[1] = 0.25
    got = filter_correlations(weight)
    assert np.isnan(got.matrix[1]).all() and np.isnan(got.matrix[:, 1]).all()
    rest = np.corrcoef(np.delete(weight, 1, axis=0).reshape(3, -1))
    assert got.mean_absolute == pytest.approx(np.abs(rest[np.triu_indices(3, 1)]).mean())
    assert "fewer than two" in correlations_in_words(filter_correlations(weight[:2]))
    assert np.isnan(filter_correlations(np.ones((3, 1, 1, 1))).by_chance)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((3, 3)), r"\(K, C, kh, kw\), got an array \(3, 3\)"),
        (np.ones((0, 1, 3, 3)), r"got an array \(0, 1, 3, 3\)"),
        (np.full((2, 1, 3, 3), np.nan), "finite"),
    ],
)
def test_other_arrays_are_no_filters(weight, message, tmp_path):
    for use in (filter_correlations, lambda w: plot_filters(w, tmp_path / "filters.png")):
        with pytest.raises(ValueError, match=message):
            use(weight)


def test_tiles_have_the_colours_of_the_weights():
    weight = np.zeros((5, 3, 12, 12))
    weight[4, 0] = -2.0  # the least weight of all: no red
    weight[1, 2, 3, 5] = 1.0
    sheet, how, limit = tile_filters(weight)
    assert (sheet.shape, limit) == ((2 * 13 + 1, 3 * 13 + 1, 3), 2.0)
    assert "red, green, blue" in how
    np.testing.assert_allclose(sheet[0], [GROUND] * 40)
    np.testing.assert_allclose(sheet[1:13, 1:13], 0.5)
    np.testing.assert_allclose(sheet[1 + 3, 14 + 5], (0.5, 0.5, 0.75))
    np.testing.assert_allclose(sheet[14:26, 14:26], np.full((12, 12, 3), (0, 0.5, 0.5)))
    np.testing.assert_allclose(sheet[20, 30], GROUND)  # no sixth filter


def test_small_filters_are_enlarged_and_many_channels_averaged():
    weight = RNG.normal(size=(2, 5, 3, 3))
    sheet, how, limit = tile_filters(weight)
    assert how == "mean of 5 channels"
    mean = weight.mean(axis=1)
    assert limit == pytest.approx(np.abs(mean).max())
    shown = sheet[1:13:4, 1:13:4, 0]
    np.testing.assert_allclose(shown, 0.5 + mean[0] / limit / 2)
    assert (sheet[1:13, 1:13, 0] == np.kron(shown, np.ones((4, 4)))).all()


@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (1, 3, 11, 11), (300, 4, 1, 1), (2, 2, 1, 9)])
def test_filters_are_drawn(shape, tmp_path):
    pytest.importorskip("matplotlib", reason='needs pip install "minigraph[plot]"')
    plot_filters(RNG.normal(size=shape), tmp_path / "filters.png", title="a $ name")
    picture = Image.open(tmp_path / "filters.png")
    assert picture.width > picture.height > 500
    plot_filters(RNG.normal(size=shape), tmp_path / "filters.svg")
    number = "first 256 of 300" if shape[0] == 300 else str(shape[0])
    assert f"<!-- {number} filters" in (tmp_path / "filters.svg").read_text()


def test_the_first_convolution_is_found_behind_what_prepares_the_image():
    def model(image):
        x = mg.avg_pool2d((image - 0.5) * 4.0, 2)
        blur = image.builder.constant(np.full((3, 3, 1, 1), 1 / 3, np.float32))
        x = conv2d(x, blur)
        x = mg.relu(mg.conv2d(x, 5, 3, padding=1, name="stem"))
        return mg.conv2d(x, 2, 1, name="head")

    predict = compiled(model)
    name, weight = first_convolution(predict)
    assert (name, weight.shape) == ("stem.weight", (5, 3, 3, 3))
    np.testing.assert_array_equal(weight, predict.state["stem.weight"])


def test_the_first_convolution_of_a_training_step_and_of_a_loaded_model(tmp_path):
    def model(image):
        return mg.reduce_mean(mg.relu(mg.conv2d(image, 4, 3, name="a")) ** 2)

    step = compiled(model, optimizer=mg.SGD(0.1), loss="output")
    assert first_convolution(step)[0] == "a.weight"
    step.save(tmp_path / "model.safetensors")
    assert first_convolution(mg.load(tmp_path / "model.safetensors"))[0] == "a.weight"


def test_a_model_without_convolution_is_refused():
    predict = compiled(lambda image: mg.dense(mg.flatten(image), 4))
    with pytest.raises(ValueError, match=r"got a graph without: .* Flatten, MatMul"):
        first_convolution(predict)


# ---- feature maps


def small_unet(image, label):
    logits = unet(image, classes=3, base=4, depth=1, batch_norm=True)
    return {"loss": mg.softmax_cross_entropy(logits, label), "prediction": mg.argmax(logits)}


SPECS = {"image": "float32[2,3,8,8]", "label": "int32[2,8,8]"}


@pytest.fixture(scope="module")
def inference() -> mg.Executable:
    return mg.compile(small_unet, SPECS, backend="numpy", threads=1)


def test_blocks_end_with_their_relu(inference):
    blocks = ["encoder1", "bottom", "decoder1"]
    expected = [f"{block}.{name}" for block in blocks for name in ("relu", "relu_1")]
    assert block_outputs(inference) == expected


def test_a_relu_after_a_residual_belongs_to_a_block_and_one_after_a_dense_layer_does_not():
    def model(image):
        x = mg.relu(mg.conv2d(image, 3, 3, padding=1) + image)
        return mg.relu(mg.dense(mg.flatten(mg.relu(mg.max_pool2d(x, 2))), 2))

    assert block_outputs(compiled(model)) == ["relu"]


def test_neither_a_second_relu_nor_a_gated_map_is_a_block():
    def model(image):
        x = mg.relu(mg.exp(mg.relu(mg.conv2d(image, 3, 3, padding=1, name="conv"))))
        pooled = mg.max_pool2d(x, 2)
        gate = mg.conv2d(mg.reduce_mean(pooled, (2, 3), keepdims=True), 3, 1, name="gate")
        return mg.relu(pooled * gate)

    assert block_outputs(compiled(model)) == ["relu"]


def test_maps_are_the_values_of_the_graph(inference):
    images = RNG.random((2, 3, 8, 8), dtype=np.float32)
    names = ["encoder1.relu", "bottom.relu_1"]
    maps = feature_maps(inference, images[1], names)
    fed = {"image": images[1:], "label": np.ones((1, 8, 8), np.int32)}
    fetched = inference(fed, fetch=names)
    assert [maps[name].shape for name in names] == [(4, 8, 8), (8, 4, 4)]
    for name in names:
        np.testing.assert_array_equal(maps[name], fetched[name][0])
    everything = feature_maps(inference, images[1:])
    assert list(everything) == block_outputs(inference)


def test_maps_that_cannot_be_are_refused(inference):
    image = np.zeros((3, 8, 8), np.float32)
    step = mg.compile(
        small_unet, SPECS, optimizer=mg.SGD(0.1), outputs=["loss"], backend="numpy", threads=1
    )
    before = step.state["encoder1.conv1.weight"]
    with pytest.raises(ValueError, match="got a training step"):
        feature_maps(step, image)
    np.testing.assert_array_equal(step.state["encoder1.conv1.weight"], before)
    with pytest.raises(ValueError, match="depend on 'image' alone, got 'loss'"):
        feature_maps(inference, image, ["bottom.relu", "loss"])
    with pytest.raises(ValueError, match="Expected an input 'x', got image, label"):
        feature_maps(inference, image, input_name="x")
    with pytest.raises(ValueError, match=r"\(N,C,H,W\), got 'prediction' \(1, 8, 8\)"):
        feature_maps(inference, image, ["prediction"])
    with pytest.raises(ValueError, match="no ReLU follows"):
        feature_maps(compiled(lambda image: mg.conv2d(image, 2, 1)), image)


def test_tiles_show_channels_from_black_to_white():
    ramp = np.arange(16.0).reshape(4, 4)
    picture = feature_map_picture({"layer": np.stack([ramp, np.full((4, 4), 3.0), -ramp])})
    pixels = np.asarray(picture)
    top, size = 8 + 24, 84  # the margin, a line of text; tiles of 4 x 4 squares of 21 pixels
    tile = pixels[top : top + size, 8 : 8 + size]
    assert (tile == np.kron(np.round(255 * ramp / 15), np.ones((21, 21)))[..., None]).all()
    silent = pixels[top : top + size, 8 + 92 : 8 + 92 + size]
    assert (silent == (214, 227, 245)).all()
    assert tuple(pixels[top, 8 + 2 * 92]) == (255, 255, 255)
    assert tuple(pixels[top + size - 1, 8 + 2 * 92 + size - 1]) == (0, 0, 0)


def test_large_maps_are_shrunk_and_many_channels_cut():
    many = feature_map_picture({"a": RNG.random((40, 168, 336))})
    assert many.size == (8 * (84 + 8) + 8, 8 + 24 + 2 * (42 + 8) + 8)
    one = feature_map_picture({"a": RNG.random((40, 168, 336))}, channels=1, image=np.zeros(
        (1, 28, 28), np.uint8
    ))  # fmt: skip
    assert one.height == 8 + (24 + 92 + 8) + (24 + 50 + 8)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4)), np.full((1, 2, 2), np.inf), np.ones((0, 1, 1))]
)
def test_what_is_no_map_is_refused(wrong):
    with pytest.raises(ValueError, match=r"finite maps \(C,H,W\) for 'layer'"):
        feature_map_picture({"layer": wrong})


# ---- graphs


def test_svg_has_a_box_for_each_node_on_the_way(inference):
    graph = inference.compiled.built
    root = ElementTree.fromstring(graph_svg(graph))
    space = "{http://www.w3.org/2000/svg}"
    texts = ["".join(text.itertext()) for text in root.iter(f"{space}text")]
    boxes = list(root.iter(f"{space}rect"))[1:]  # the first is the ground
    assert len(texts) == 2 * len(boxes)
    labels = texts[::2]
    assert labels[:2] == ["imageinput", "labelinput"]
    assert "concatConcat" in labels and "predictionoutput" in labels
    assert not any("Full" in label or "gamma" in label for label in labels)
    fused = graph_svg(inference.graph)
    assert fused.count("<rect") < len(boxes)
    assert ElementTree.fromstring(fused) is not None


def test_smaller_images_stand_further_right():
    drawn = graph_svg(compiled(lambda image: unet(image, 2, base=2, depth=2)).graph)
    left = {}
    for x, name in re.findall(r'<text x="([\d.]+)" [^>]*fill="#1f1f24">([^<]+)', drawn):
        left[name] = float(x)
    levels = [left[f"{block}.relu"] for block in ("encoder1", "encoder2", "bottom", "decoder2")]
    steps = np.round(np.diff(levels), 6)
    assert steps[0] == steps[1] == -steps[2] > 0
    assert left["decoder1.relu"] == left["encoder1.relu"]


def test_a_small_weight_gradient_does_not_stand_where_small_images_do():
    def model(image):
        return mg.reduce_mean(mg.relu(mg.conv2d(image, 4, 3, padding=1, name="a")) ** 2)

    step = compiled(model, optimizer=mg.SGD(0.1), loss="output")
    drawn = graph_svg(step.compiled.built)
    assert "Conv2dGradWeight" in drawn
    assert len(set(re.findall(r'<text x="([\d.]+)" [^>]*fill="#1f1f24"', drawn))) == 1


def test_dot_has_every_edge_with_its_spec():
    def model(image):
        x = mg.relu(mg.conv2d(image, 4, 3, padding=1, bias=False, name='a"b\\c'))
        return {"y": mg.concat([x, image])}

    dot = graph_dot(compiled(model).compiled.built)
    assert '"node relu" -> "node concat" [label="float32[2,4,8,8]"];' in dot
    assert '"input image" -> "node concat" [label="float32[2,3,8,8]"];' in dot
    assert '"node concat" -> "output y" [label="float32[2,7,8,8]"];' in dot
    assert r"a\"b\\c" in dot
    assert dot.count("->") == 5
    assert "weight" not in dot


def test_graphs_are_written_by_ending(inference, tmp_path):
    write_graph(inference.graph, tmp_path / "g.svg")
    write_graph(inference.graph, tmp_path / "g.dot")
    assert (tmp_path / "g.dot").read_text().startswith("digraph")
    with pytest.raises(ValueError, match=r"ends in \.svg, \.dot, got g\.png"):
        write_graph(inference.graph, tmp_path / "g.png")


def test_a_long_graph_is_no_drawing():
    def model(image):
        for _ in range(401):
            image = mg.exp(image)
        return image

    graph = compiled(model, "float32[1,1,1,1]").graph
    with pytest.raises(ValueError, match=r"at most 400 boxes.* got 403: .*\.dot"):
        graph_svg(graph)
    assert graph_dot(graph).count("->") == 402


def test_names_are_escaped():
    def model(image):
        return mg.conv2d(image, 1, 1, name="<script>&'\"")

    root = ElementTree.fromstring(graph_svg(compiled(model).graph))
    assert "<script>&'\"" in "".join(root.itertext())
