"""Receptive fields against what NaN reaches: a NaN in a column spreads to all that read it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.ir.footprint import Footprint
from minigraph.models.unet import unet
from minigraph.ops import conv
from minigraph.ops.broadcast import sum_to
from minigraph.ops.reduce import count
from minigraph.ops.shape import full_like
from minigraph.passes import keep_outputs, to_inference
from minigraph.receptive_field import AxisTrace, receptive_fields, trace_axis
from minigraph.testing import graph_of
from minigraph.windows import exact_regions

Network = Callable[[Tensor], Tensor]


def traced(network: Network, shape: tuple[int, ...], axis: int = 3) -> AxisTrace:
    graph = graph_of(lambda x: {"y": network(x)}, x=(shape, "float32"))
    return trace_axis(keep_outputs(to_inference(graph), ["y"]), "x", axis)


def output_of(trace: AxisTrace):
    return trace.graph.outputs["y"]


def compiled(network: Network, shape: tuple[int, ...], seed: int = 0) -> mg.Executable:
    """float64, no Winograd (which spreads a NaN over its tile), weights far from zero."""
    exe = mg.compile(
        lambda x: {"y": network(x)}, {"x": (shape, "float64")}, max_relative_error=1e-30,
        backend="numpy", threads=1,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for name, array in exe.state.parameters().items():
        exe.state[name] = rng.uniform(0.5, 1.0, array.shape) * rng.choice([-1, 1], array.shape)
    return exe


def readers(network: Network, width: int) -> np.ndarray:
    """reads[i, j]: output column i depends on input column j, by experiment."""
    shape = (1, 2, 9, width)
    exe = compiled(network, shape)
    image = np.random.default_rng(1).standard_normal(shape)
    columns = []
    for j in range(width):
        poisoned = image.copy()
        poisoned[..., j] = np.nan
        columns.append(np.isnan(exe(x=poisoned)["y"]).any(axis=(0, 1, 2)))
    return np.array(columns).T


def check_reads(network: Network, width: int, *, tight: bool = True) -> None:
    """What the trace says against the experiment, for every output column."""
    trace = traced(network, (1, 2, 9, width))
    found = readers(network, width)
    assert found.shape[0] == trace.extent(output_of(trace))
    for i, row in enumerate(found):
        start, stop = trace.needed(output_of(trace), i, i + 1)
        touched = np.flatnonzero(row)
        assert all(start <= j < stop for j in touched), (i, touched, start, stop)
        inner = start > 0 and stop < width
        if tight and (inner or len(touched) == 0):
            expected = (touched[0], touched[-1] + 1) if len(touched) else (start, start)
            assert (start, stop) == expected, i


def transposed(x: Tensor, **options) -> Tensor:
    return mg.conv_transpose2d(x, 2, **options)


LAYERS: dict[str, Network] = {
    "conv 3x3": lambda x: mg.conv2d(x, 2, 3, padding=1),
    "conv without padding": lambda x: mg.conv2d(x, 2, (1, 4)),
    "conv, stride 2": lambda x: mg.conv2d(x, 2, 3, stride=2, padding=1),
    "conv, stride 3, kernel 2": lambda x: mg.conv2d(x, 2, 2, stride=3),
    "conv, dilated": lambda x: mg.conv2d(x, 2, 3, dilation=(1, 3), padding=(1, 3)),
    "conv, same, stride 2": lambda x: mg.conv2d(x, 2, 4, stride=2, padding="same"),
    "conv, lopsided padding": lambda x: mg.conv2d(x, 2, 3, padding=((1, 1), (2, 0))),
    "transposed 2, stride 2": lambda x: transposed(x, kernel=2, stride=2),
    "transposed 3, stride 2": lambda x: transposed(x, kernel=3, stride=2),
    "transposed 3, stride 2, padded": lambda x: transposed(
        x, kernel=3, stride=2, padding=1, output_padding=1
    ),
    "transposed 4, stride 3": lambda x: transposed(x, kernel=4, stride=3, padding=((0, 0), (2, 1))),
    "transposed 2, stride 3: gaps": lambda x: transposed(x, kernel=2, stride=3),
    "transposed 3, dilated": lambda x: transposed(x, kernel=3, dilation=2),
    "max pool": lambda x: mg.max_pool2d(x, 2),
    "max pool 3, stride 2, padded": lambda x: mg.max_pool2d(x, 3, 2, padding=1),
    "average pool, padding not counted": lambda x: mg.avg_pool2d(
        x, 3, 2, padding=((1, 1), (2, 0)), count_include_pad=False
    ),
    "slice": lambda x: x[:, :, :, 3:-2],
    "slice, step 2": lambda x: x[:, :, :, 1::2],
    "pad": lambda x: mg.pad(x, [(0, 0), (0, 0), (1, 0), (2, 3)]),
    "concat": lambda x: mg.concat([x, mg.conv2d(x, 2, (1, 5), padding=(0, 2))]),
    "split": lambda x: mg.split(mg.conv2d(x, 4, 3, padding=1), 2)[1],
    "transpose": lambda x: mg.transpose(mg.transpose(x, (0, 3, 2, 1)) * 2.0, (0, 3, 2, 1)),
    "channel mean": lambda x: mg.reduce_mean(x, 1, keepdims=True) - x,
    "channel maximum, axis dropped": lambda x: mg.reshape(
        mg.reduce_max(x, 1), (x.shape[0], 1, *x.shape[2:])
    ),
    "softmax": lambda x: mg.softmax(x) + mg.log_softmax(x),
    "batch norm": lambda x: mg.batch_norm(x),
    "zeros like": lambda x: x + full_like(x, 1.0),
    "choice": lambda x: mg.where(x > 0.0, x * 2.0, mg.stop_gradient(x)),
    "nearest, twice": lambda x: mg.resize(x, scale=2),
    "nearest, 2.5 times": lambda x: mg.resize(x, scale=(1, 2.5)),
    "nearest to a size": lambda x: mg.resize(x, (9, 2 * x.shape[3]), coordinates="asymmetric"),
    "nearest, half": lambda x: mg.resize(x, scale=0.5, rounding="round_prefer_ceil"),
    "nearest, floor": lambda x: mg.resize(x, scale=4, rounding="floor"),
    "nearest, ceil": lambda x: mg.resize(x, scale=4, rounding="ceil"),
    "nearest from the corner": lambda x: mg.resize(x, scale=4, coordinates="asymmetric"),
    "bilinear, twice": lambda x: mg.resize(x, scale=2, mode="bilinear"),
    "bilinear, three times": lambda x: mg.resize(x, scale=3, mode="bilinear"),
    "bilinear, 0.375 times": lambda x: mg.resize(x, scale=(1, 0.375), mode="bilinear"),
    "bilinear, corners": lambda x: mg.resize(
        x, (9, 3 * (x.shape[3] - 1) + 1), mode="bilinear", coordinates="align_corners"
    ),
    "bilinear, every second": lambda x: mg.resize(
        x, (9, (x.shape[3] + 1) // 2), mode="bilinear", coordinates="align_corners"
    ),
    "replicated": lambda x: mg.pad(x, [(0, 0), (0, 0), (1, 1), (3, 2)], mode="replicate"),
    "reflected": lambda x: mg.pad(x, [(0, 0), (0, 0), (1, 1), (3, 2)], mode="reflect"),
    "reflected, pooled": lambda x: mg.max_pool2d(
        mg.pad(x, [(0, 0), (0, 0), (1, 0), (2, 1)], mode="reflect"), 2
    ),
    "median filter": lambda x: mg.median_filter2d(x, (3, 5)),
    "median filter, zeros": lambda x: mg.median_filter2d(x, 3, padding="zero"),
    "max pool, maxima beside positions": lambda x: mg.max_pool2d_with_positions(x, 3, 2, padding=1)[
        0
    ],
    "euclidean pool": lambda x: mg.lp_pool2d(x, 2, 3, 2),
    "bed of nails": lambda x: mg.bed_of_nails2d(x, 3),
    "flipped channels": lambda x: mg.flip(x, 1) - x,
    "running sum of channels": lambda x: mg.cumsum(x, 1),
    "local response": lambda x: mg.local_response_norm(x, 3),
    "a channel by number": lambda x: mg.gather(x, [1, 0, 1], 1),
    "the best channel": lambda x: mg.take_along_axis(x, mg.argmax(x, 1, keepdims=True), 1),
    "added to channels": lambda x: mg.index_add(x, [1], x[:, :1], 1),
    "added to the best channel": lambda x: mg.scatter_add(
        x, mg.argmax(x, 1, keepdims=True), x[:, :1], 1
    ),
    "axes of size 1": lambda x: mg.squeeze(mg.expand_dims(x, 1) * 2.0, 1),
    "activations": lambda x: mg.gelu(mg.selu(x)) + mg.mish(mg.clip(x, -1.0, 1.0)),
    "prelu": lambda x: mg.prelu(x),
}


@pytest.mark.parametrize("name", LAYERS)
def test_one_layer(name: str) -> None:
    check_reads(LAYERS[name], 17)


def test_labels_as_classes_and_classes_as_colours_are_local() -> None:
    """Where the numbers are labels there is no NaN to follow."""
    palette = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])

    def network(x: Tensor) -> Tensor:
        label = mg.argmax(mg.conv2d(x, 2, 3, padding=1))
        colours = mg.transpose(mg.gather(x.builder.constant(palette), label), (0, 3, 1, 2))
        return mg.concat([mg.cast(colours, x.dtype), mg.one_hot(label, 2, dtype=x.dtype)])

    trace = traced(network, (1, 2, 9, 17))
    assert trace.needed(output_of(trace), 5, 7) == (4, 8)


@pytest.mark.parametrize("pool", [mg.max_pool2d, mg.avg_pool2d])
@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 1, "padding": 1}, {"stride": 3}])
def test_what_the_gradient_of_pooling_reads(pool: Callable[..., Tensor], options: dict) -> None:
    """Positions far from the border: gradients of squares, so that values are in them."""

    def network(x: Tensor) -> Tensor:
        return mg.gradients(mg.reduce_sum(mg.power(pool(x, 3, **options), 2)), [x])[0]

    check_reads(network, 17, tight=pool is mg.avg_pool2d)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_mirrored_borders_leave_the_receptive_field_as_it_is(mode: str) -> None:
    def network(x: Tensor) -> Tensor:
        for _ in range(3):
            x = mg.conv2d(mg.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode=mode), 2, 3)
        return x

    trace = traced(network, (1, 2, 9, 17))
    assert trace.receptive_field(output_of(trace)) == 7
    check_reads(network, 17)


def test_a_strided_dilated_transposed_convolution_is_given_more_than_it_reads() -> None:
    """Its taps jump over positions in between; the interval has them all."""
    check_reads(lambda x: transposed(x, kernel=3, stride=2, dilation=3), 17, tight=False)


def random_network(seed: int) -> Network:
    """Up to five layers, some beside a skip."""
    rng = np.random.default_rng(seed)
    plan = [rng.integers(0, 5, 4) for _ in range(rng.integers(2, 6))]
    dilation = int(rng.integers(1, 4))

    def network(x: Tensor) -> Tensor:
        for kind, kernel, stride, pad in plan:
            k, s, p = int(kernel) % 3 + 2, int(stride) % 2 + 1, int(pad) % 2
            sides = ((1, 0), (p, 1 - p))
            if kind == 0:
                x = mg.conv2d(x, 3, (2, k), stride=s, padding=sides)
            elif kind == 1:
                x = mg.conv2d(x, 3, 3, dilation=(1, dilation), padding=((1, 1), (dilation, p)))
            elif kind == 2:
                x = mg.conv_transpose2d(x, 3, (2, k), stride=(1, s), padding=((1, 0), (p, 0)))
            elif kind == 3:
                pool = mg.max_pool2d if s == 1 else mg.avg_pool2d
                x = pool(x, (2, k), (1, s), padding=sides)
            else:
                x = mg.concat([x, mg.conv2d(x, 1, (1, 2 * k + 1), padding=(0, k))])
            x = mg.leaky_relu(x, 0.3)
        return x

    return network


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed: int) -> None:
    check_reads(random_network(seed), 23)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("width", [41, 48])
def test_windows_are_exact_as_far_as_said_and_no_further(seed: int, width: int) -> None:
    """Exact: a window gives what the whole image gives. No further: the next position reads a
    pixel outside of the window, as NaN put there shows."""
    network = random_network(seed)
    whole_trace = traced(network, (1, 2, 9, width))
    period = whole_trace.period
    size = width - -(-(width - 28) // period) * period  # about 28, of the same remainder
    window_trace = traced(network, (1, 2, 9, size))
    image = np.random.default_rng(seed).standard_normal((1, 2, 9, width))
    exe = compiled(network, (1, 2, 9, width), seed)
    whole = exe(x=image)["y"]
    checked = 0
    for start in range(0, width - size + 1, period):
        window = exe(x=image[..., start : start + size])["y"]
        region = exact_regions(whole_trace, window_trace, start)[output_of(window_trace)]
        low, high = region.exact
        if low >= high:
            continue
        part = window[..., low - region.offset : high - region.offset]
        np.testing.assert_allclose(
            part, whole[..., low:high], rtol=0, atol=1e-12 * np.abs(whole).max()
        )
        poisoned = np.full_like(image, np.nan)
        poisoned[..., start : start + size] = image[..., start : start + size]
        beyond = np.isnan(exe(x=poisoned)["y"]).any(axis=(0, 1, 2))
        computed = range(region.offset, min(region.offset + region.size, region.whole))
        outside = [i for i in (low - 1, high) if i in computed]
        assert not beyond[low:high].any()
        assert all(beyond[i] for i in outside), (start, region)
        checked += len(outside)
    assert checked


def test_unet_sizes_strides_and_period() -> None:
    """Against the sum of (kernel - 1) * stride over the layers on the longest path."""
    trace = traced(lambda x: unet(x, classes=3, base=2, depth=2), (1, 3, 64, 64))
    fields = receptive_fields(trace.graph, "x")
    assert trace.period == 4
    assert fields["encoder1.conv2.conv2d"].size == (5, 5)
    # 3x3, 3x3, pool, 3x3, 3x3, pool, 3x3, 3x3
    assert fields["bottom.conv2.conv2d"].size == (1 + 2 + 2 + 1 + 4 + 4 + 2 + 8 + 8,) * 2
    assert fields["bottom.conv2.conv2d"].stride == (4, 4)
    assert fields["up1.conv_transpose2d"].stride == (1, 1)
    found = readers_of_unet()
    assert fields["head.conv2d"].size[1] == max(row.sum() for row in found)


def readers_of_unet() -> np.ndarray:
    width, network = 96, lambda x: unet(x, classes=1, base=1, depth=2)
    exe = compiled(network, (1, 1, 4, width))
    image, columns = np.zeros((1, 1, 4, width)), []
    for j in range(width):
        image[...] = 1.0
        image[..., j] = np.nan
        columns.append(np.isnan(exe(x=image)["y"]).any(axis=(0, 1, 2)))
    return np.array(columns).T


def test_a_summary_names_what_sees_the_whole_image() -> None:
    graph = to_inference(
        graph_of(
            lambda x: {"y": mg.dense(mg.flatten(mg.max_pool2d(x, 2)), 3)}, x="float32[1,2,8,8]"
        )
    )
    fields = receptive_fields(graph, "x")
    assert {field.size for field in fields.values()} == {(1, 1), (2, 2), (None, None)}
    assert fields[graph.outputs["y"].name].size == (None, None)
    assert fields[graph.outputs["y"].name].stride == (None, None)


# ---- what is refused, by name


def with_gate(x: Tensor) -> Tensor:
    gate = mg.reshape(mg.global_avg_pool2d(x), (x.shape[0], x.shape[1], 1, 1))
    return x * mg.sigmoid(gate)


GLOBAL: dict[str, tuple[Network, str]] = {
    "flatten": (lambda x: mg.dense(mg.flatten(x), 3), "Flatten 'flatten'"),
    "global pooling as a gate": (with_gate, "Mean 'mean'"),
    "softmax over the width": (lambda x: mg.softmax(x, -1), "Softmax 'softmax'"),
    "spatial mean": (lambda x: x - mg.reduce_mean(x, (2, 3), keepdims=True), "Mean 'mean'"),
    "a count of pixels": (lambda x: x / count(x, (2, 3)), "Count 'count'"),
    "the batch's moments": (
        lambda x: x - mg.reshape(mg.reduce_mean(x, (0, 2, 3)), (1, -1, 1, 1)), "Mean 'mean'"
    ),
    "both axes in one": (lambda x: x + mg.transpose(x, (0, 1, 3, 2)), "Add 'add'"),
    "itself as a weight": (lambda x: conv.conv2d(x, x[:, :, :1, :1]), "Conv2d 'conv2d'"),
    "a constant of the image's width": (
        lambda x: x + np.arange(8, dtype=np.float32), "Add 'add'"
    ),
    "a parameter of the image's size": (
        lambda x: x * mg.parameter(x, "w", (8, 8), mg.initializers.HeNormal()), "Mul 'mul'"
    ),
    "two scales": (lambda x: mg.concat([x[:, :, :, ::2], x[:, :, :, :4]]), "Concat 'concat'"),
    "columns beside columns": (lambda x: mg.concat([x, x], axis=3), "Concat 'concat'"),
    "weights of their own": (
        lambda x: mg.locally_connected2d(x, 2, 3), "Unfold2d 'locally_connected2d.unfold2d'"
    ),
    "group norm": (lambda x: mg.group_norm(x, 2), "GroupMoments '.*'"),
    "instance norm": (lambda x: mg.instance_norm(x), "GroupMoments '.*'"),
    "layer norm": (lambda x: mg.layer_norm(x, 3), "Mean '.*'"),
    "flip": (lambda x: mg.flip(x, 3), "Flip 'flip'"),
    "running sum": (lambda x: mg.cumsum(x, -1), "CumSum 'cum_sum'"),
    "circular": (
        lambda x: mg.pad(x, [(0, 0)] * 3 + [(1, 1)], mode="circular"), "PadAxis 'pad_axis'"
    ),
    "a fixed number of means": (
        lambda x: mg.adaptive_avg_pool2d(x, 4), "AdaptiveMeanAxis 'adaptive_mean_axis.*'"
    ),
    "corners, no whole step": (
        lambda x: mg.resize(x, (8, 16), mode="bilinear", coordinates="align_corners"),
        "ResizeAxis 'resize_axis.*'",
    ),
    "a scale that is rounded": (
        lambda x: mg.resize(x, scale=(1, 0.3)), "ResizeAxis 'resize_axis.*'"
    ),
    "columns by number": (lambda x: mg.gather(x, [0, 2], 3), "Gather 'gather'"),
    "numbers of the image": (
        lambda x: mg.take_along_axis(x, mg.cast(x, "int64"), 3), "TakeAlongAxis 'take_along_axis'"
    ),
    "flat positions": (
        lambda x: mg.cast(mg.max_pool2d_with_positions(x, 2)[1], x.dtype),
        "MaxPool2dWithPositions 'max_pool2d_with_positions'",
    ),
    "unpooling": (
        lambda x: mg.max_unpool2d(*mg.max_pool2d_with_positions(x, 2), (8, 8)),
        "MaxPool2dWithPositions 'max_pool2d_with_positions'",
    ),
    "a repeated sum": (lambda x: sum_to(x, (1, 2, 8, 1)) + x, "Sum 'sum'"),
}  # fmt: skip


@pytest.mark.parametrize("name", GLOBAL)
def test_what_looks_at_the_whole_image_is_named(name: str) -> None:
    network, node = GLOBAL[name]
    trace = traced(network, (1, 2, 8, 8))
    with pytest.raises(mg.SpecError, match=f"got {node}, whose result depends on the whole image"):
        trace.needed(output_of(trace), 0, 1)


def test_windows_out_of_step_are_refused() -> None:
    def network(x: Tensor) -> Tensor:
        return mg.conv2d(x, 2, 3, stride=2, padding="same", name="down")

    whole = traced(network, (1, 2, 8, 32))
    with pytest.raises(mg.SpecError, match=r"Conv2d 'down.conv2d' meets in step.*multiple of 2"):
        exact_regions(whole, traced(network, (1, 2, 8, 16)), 3)
    with pytest.raises(mg.SpecError, match="leaves the same remainder"):
        exact_regions(whole, traced(network, (1, 2, 8, 15)), 2)


def test_a_model_that_changes_with_its_size_is_refused() -> None:
    def divides(x: Tensor) -> Tensor:
        return x * (1 / x.shape[3])

    def deepens(x: Tensor) -> Tensor:
        return mg.relu(x) if x.shape[3] > 16 else x * 1.0 + 0.0

    for network, told in ((divides, "one operation at every size"), (deepens, "one graph")):
        with pytest.raises(mg.SpecError, match=f"Expected {told}"):
            exact_regions(traced(network, (1, 2, 8, 32)), traced(network, (1, 2, 8, 16)), 0)


def test_unknown_inputs_and_values() -> None:
    graph = graph_of(
        lambda x, z: {"y": x * 2.0, "z": z * 2.0}, x="float32[1,1,4,4]", z="float32[4]"
    )
    with pytest.raises(mg.SpecError, match="Expected an input of x, z, got 'image'"):
        trace_axis(graph, "image", 2)
    with pytest.raises(mg.SpecError, match="depends on 'x'"):
        trace_axis(graph, "x", 2).needed(graph.outputs["z"], 0, 1)


def test_footprint_arithmetic() -> None:
    """Against the definition, position by position."""
    for stride in (1, 2, 3, Fraction(1, 2), Fraction(1, 3), Fraction(2, 3)):
        for first in (Fraction(-3, 2), -1, 0, Fraction(1, 3)):
            for length in (0, Fraction(1, 2), 2):
                footprint = Footprint(2, stride, first, first + length)
                each = {
                    i: [
                        j
                        for j in range(-40, 60)
                        if stride * i + first <= j <= stride * i + first + length
                    ]
                    for i in range(-4, 9)
                }
                for i, positions in each.items():
                    start, stop = footprint.reads(i, i + 1)
                    assert list(range(start, stop)) == positions
                some = [j for i in range(2, 6) for j in each[i]]
                if each[2] and each[5]:
                    assert footprint.reads(2, 6) == (min(some), max(some) + 1)
                low, high = footprint.readers(0, 5)
                inside = [i for i in each if each[i] and all(0 <= j < 5 for j in each[i])]
                assert all(low <= i < high for i in inside)
                assert all(j >= 0 for i in each if i >= low for j in each[i])
                assert all(j < 5 for i in each if i < high for j in each[i])
    assert Footprint(2).readers(None, None) == (None, None)
