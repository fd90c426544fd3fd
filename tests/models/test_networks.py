"""The networks: published sizes, what they compute (against torch), and that they learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import minigraph as mg
from minigraph.cli.recipes import RECIPES
from minigraph.compiler import build_graph
from minigraph.ir.graph import Role
from minigraph.models.alexnet import alexnet
from minigraph.models.dilated import context_module, dilated
from minigraph.models.fcn import fcn, fcn8s, fcn16s, fcn32s
from minigraph.models.lenet import lenet
from minigraph.models.resnet import resnet
from minigraph.models.segnet import segnet
from minigraph.models.unet import unet
from minigraph.models.vgg import vgg

Network = Callable[..., mg.Tensor]
Shape = tuple[int, ...]

VGG_16_CONVOLUTIONS = 14_714_688
CONVOLUTIONAL = VGG_16_CONVOLUTIONS + 512 * 4096 * 49 + 4096 + 4096 * 4096 + 4096
SCORE = 4096 * 21 + 21
CONTEXT = 7 * (21 * 21 * 9 + 21) + 21 * 21 + 21


def graph_of(network: Network, shape: Shape):
    spec = mg.TensorSpec.of((shape, "float32"))
    return build_graph(lambda image: {"y": network(image)}, {"image": spec})


def parameters(graph, *roles: Role) -> int:
    return sum(s.value.spec.size for s in graph.state if s.role in (roles or (Role.PARAMETER,)))


PUBLISHED = [
    (lenet, 1, 28, 61_706, (1, 10)),
    (alexnet, 3, 224, 61_100_840, (1, 1000)),
    (partial(vgg, layers=11), 3, 224, 132_863_336, (1, 1000)),
    (partial(vgg, layers=13), 3, 224, 133_047_848, (1, 1000)),
    (vgg, 3, 224, 138_357_544, (1, 1000)),
    (partial(vgg, layers=19), 3, 224, 143_667_240, (1, 1000)),
    (partial(vgg, batch_norm=True), 3, 224, 138_365_992, (1, 1000)),
    (resnet, 3, 224, 11_689_512, (1, 1000)),
    (partial(resnet, layers=34), 3, 224, 21_797_672, (1, 1000)),
    (partial(resnet, layers=50), 3, 224, 25_557_032, (1, 1000)),
    (partial(resnet, layers=101), 3, 224, 44_549_160, (1, 1000)),
    (partial(unet, padding="valid"), 1, 572, 31_030_658, (1, 2, 388, 388)),
    (fcn32s, 3, 512, CONVOLUTIONAL + SCORE, (1, 21, 512, 512)),
    (fcn16s, 3, 512, CONVOLUTIONAL + SCORE + 21 * 21 * 16 + 513 * 21, (1, 21, 512, 512)),
    (fcn8s, 3, 512, CONVOLUTIONAL + SCORE + 2 * 21 * 21 * 16 + (513 + 257) * 21,
     (1, 21, 512, 512)),
    (dilated, 3, 512, CONVOLUTIONAL + SCORE + CONTEXT, (1, 21, 512, 512)),
]  # fmt: skip


@pytest.mark.parametrize(("network", "channels", "size", "count", "shape"), PUBLISHED)
def test_published_parameters_and_shapes(
    network: Network, channels: int, size: int, count: int, shape: Shape
) -> None:
    graph = graph_of(network, (1, channels, size, size))
    assert parameters(graph) == count
    assert graph.outputs["y"].spec.shape == shape


def test_segnet_has_vgg_16_twice() -> None:
    """The decoder mirrors the encoder but where widths change, and in the last convolution."""
    graph = graph_of(segnet, (1, 3, 360, 480))
    norms = 2 * (64 * 2 + 128 * 2 + 256 * 3 + 512 * 6)
    first_biases = (128 - 64) + (256 - 128) + (512 - 256)  # a mirrored one has the other's outputs
    last = (64 * 11 * 9 + 11) - (3 * 64 * 9 + 64)
    mirrored = VGG_16_CONVOLUTIONS - first_biases + last
    mirrored_norms = norms - 2 * (first_biases + 64)
    expected = VGG_16_CONVOLUTIONS + norms + mirrored + mirrored_norms
    assert parameters(graph) == expected
    assert graph.outputs["y"].spec.shape == (1, 11, 360, 480)


WRONG_SIZES = [
    (alexnet, (1, 3, 62, 224), "at least 63x63 for AlexNet, got 62x224"),
    (vgg, (1, 3, 31, 31), "at least 32x32 for VGG, got 31x31"),
    (partial(vgg, layers=12), (1, 3, 32, 32), "11, 13, 16 or 19 layers, got 12"),
    (partial(resnet, layers=20), (1, 3, 32, 32), "18, 34, 50 or 101 layers, got 20"),
    (partial(resnet, stem="large"), (1, 3, 32, 32), "'imagenet' or 'small', got 'large'"),
    (resnet, (3, 32, 32), "Expected images (N,C,H,W), got float32[3,32,32]"),
    (fcn32s, (1, 3, 64, 80), "divisible by 32 for FCN, got 64x80"),
    (partial(fcn, stride=4), (1, 3, 64, 64), "8, 16 or 32, got 4"),
    (segnet, (1, 3, 360, 31), "at least 32x32 for SegNet, got 360x31"),
    (dilated, (1, 3, 64, 60), "divisible by 8 for the dilated network, got 64x60"),
    (partial(unet, classes=2), (1, 3, 64, 72), "divisible by 16 (depth 4), got 64x72"),
    (partial(unet, padding="full"), (1, 3, 64, 64), "'same' or 'valid', got 'full'"),
    (partial(unet, padding="valid"), (1, 1, 572, 573), "572 or 588 would do for 573"),
    (partial(unet, padding="valid"), (1, 1, 172, 172), "188 or 204 would do for 172"),
]


@pytest.mark.parametrize(("network", "shape", "said"), WRONG_SIZES)
def test_wrong_sizes_are_refused(network: Network, shape: Shape, said: str) -> None:
    with pytest.raises(mg.SpecError) as error:
        graph_of(network, shape)
    assert said in str(error.value).splitlines()[0]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_valid_unet_takes_exactly_the_sizes_of_its_rule(depth: int) -> None:
    """Against the arithmetic of the paper's figure 1, level by level."""

    def comes_out(size: int) -> int | None:
        skips = []
        for _ in range(depth):
            skips.append(size := size - 4)
            if size % 2 or size <= 0:
                return None
            size //= 2
        for skip in [None, *reversed(skips)]:
            size = size - 4 if skip is None else 2 * size - 4
            if size <= 0:
                return None
        return size

    for size in range(8, 130):
        network = partial(unet, base=1, depth=depth, padding="valid")
        try:
            got = graph_of(network, (1, 1, size, size)).outputs["y"].spec.shape[2]
        except mg.SpecError as error:
            assert "would do for" in str(error)
            got = None
        assert got == comes_out(size), size


# ---- against torch


def randomised(network: Network, shape: Shape, seed: int = 0) -> mg.Executable:
    """Every variable that training changes away from its start, scores and biases as well."""
    inputs = {"image": (shape, "float32")}
    exe = mg.compile(lambda image: {"y": network(image)}, inputs, backend="numpy", threads=1)
    generator = np.random.default_rng(seed)
    roles = (Role.PARAMETER, Role.STATISTIC)
    for name in [name for name in exe.state if exe.state.roles[name] in roles]:
        spec = exe.state.spec(name)
        noise = generator.standard_normal(spec.shape)
        if name.endswith("running_var"):
            exe.state[name] = 0.5 + noise**2
        elif spec.ndim == 4:
            exe.state[name] = noise * np.sqrt(2 / np.prod(spec.shape[1:]))
        else:
            exe.state[name] = 0.1 * noise + name.split(".")[-2].startswith("norm")
    return exe


REFERENCES = {
    "fcn32s": (partial(fcn32s, classes=5, base=4), "fcn", {"stride": 32}, (2, 3, 64, 96)),
    "fcn16s": (partial(fcn16s, classes=5, base=4), "fcn", {"stride": 16}, (2, 3, 64, 32)),
    "fcn8s": (partial(fcn8s, classes=5, base=4), "fcn", {"stride": 8}, (2, 3, 32, 64)),
    "segnet": (partial(segnet, classes=5, base=4), "segnet", {}, (2, 3, 47, 70)),
    "dilated": (partial(dilated, classes=5, base=4), "dilated", {}, (2, 3, 48, 40)),
    "unet": (partial(unet, base=4, depth=2), "unet", {"depth": 2, "padding": 1}, (2, 3, 32, 20)),
    "unet-valid": (partial(unet, base=4, depth=2, padding="valid"), "unet",
                   {"depth": 2, "padding": 0}, (2, 3, 44, 60)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_inference_is_that_of_the_network_in_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    import torch_networks

    network, function, options, shape = REFERENCES[name]
    exe = randomised(network, shape)
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    reference = getattr(torch_networks, function)
    expected = reference(torch_networks.of(exe.state), torch.from_numpy(image), **options).numpy()
    got = exe(image=image)["y"]
    assert got.shape == expected.shape and expected.std() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * abs(expected).max())


def test_the_context_module_starts_as_the_identity_of_what_is_positive() -> None:
    image = np.random.default_rng(0).standard_normal((1, 3, 40, 40)).astype(np.float32)
    exe = mg.compile(lambda image: {"y": context_module(image)}, {"image": "float32[1,3,40,40]"})
    np.testing.assert_allclose(exe(image=image)["y"], image.clip(0), rtol=0, atol=1e-6)


def test_fcn_starts_with_no_opinion_and_keeps_its_last_interpolation() -> None:
    graph = graph_of(partial(fcn8s, classes=3, base=2), (1, 3, 64, 64))
    assert [s.name for s in graph.state if s.role is Role.FROZEN] == ["up.weight"]
    exe = mg.compile(partial(fcn8s, classes=3, base=2), {"image": "float32[1,3,64,64]"})
    assert not exe(image=np.ones((1, 3, 64, 64)))["output"].any()


# ---- learning


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in (
    "resnet34", "resnet50", "resnet101", "vgg13", "vgg16", "vgg19", "fcn16s")])  # fmt: skip
def test_a_few_steps_lower_the_loss(name: str) -> None:
    """On one batch that is seen again and again, at a size for one core."""
    recipe = RECIPES[name]
    image = (4, *recipe.image)
    label = (4, *recipe.image[1:]) if recipe.segmentation else (4,)
    options = {"base": 4 if recipe.segmentation else 8, "batch_norm": True, "depth": 2}
    network = partial(recipe.network, **{k: options[k] for k in recipe.options})

    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"loss": mg.softmax_cross_entropy(network(image, classes=3), label)}

    specs = {"image": (image, "float32"), "label": (label, "int32")}
    step = mg.compile(model, specs, optimizer=mg.Adam(1e-3), backend="numpy", threads=1)
    generator = np.random.default_rng(0)
    batch = {
        "image": generator.standard_normal(image).astype(np.float32),
        "label": np.sort(generator.integers(0, 3, label), axis=-1),
    }
    losses = [float(step(batch)["loss"]) for _ in range(16)]  # dropout makes them uneven
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
