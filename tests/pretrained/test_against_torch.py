"""torchvision's networks in torch, saved, loaded, and compared by their outputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.models.alexnet import alexnet
from minigraph.models.dilated import dilated
from minigraph.models.fcn import fcn8s
from minigraph.models.resnet import resnet
from minigraph.models.segnet import segnet
from minigraph.models.unet import unet
from minigraph.models.vgg import vgg
from minigraph.pretrained import WeightsReport, apply_weights

torch = pytest.importorskip("torch")
import torch_networks as networks  # noqa: E402

Network = Callable[[mg.Tensor], mg.Tensor]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def save(module, path: Path) -> Path:
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    if path.suffix == ".npz":
        np.savez(path, **state)
    else:
        from safetensors.torch import save_file

        save_file(module.state_dict(), path)
    return path


def compiled(network: Network, image: np.ndarray) -> mg.Executable:
    inputs = {"image": (image.shape, "float32")}
    return mg.compile(lambda image: {"y": network(image)}, inputs, backend="numpy", threads=1)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def assert_close(got: np.ndarray, expected) -> None:
    expected = expected.detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * abs(expected).max())


CLASSIFIERS = {
    "vgg11": (networks.Vgg(11, 4, 5), partial(vgg, layers=11, base=4), 64),
    "vgg13": (networks.Vgg(13, 4, 5, batch_norm=True),
              partial(vgg, layers=13, base=4, batch_norm=True), 32),
    "vgg16": (networks.Vgg(16, 4, 5, batch_norm=True),
              partial(vgg, layers=16, base=4, batch_norm=True), 96),
    "vgg19": (networks.Vgg(19, 4, 5), partial(vgg, layers=19, base=4), 100),
    "alexnet": (networks.AlexNet(4, 5), partial(alexnet, base=4), 80),
    "resnet18": (networks.ResNet(18, 4, 5), partial(resnet, base=4), 65),
    "resnet50": (networks.ResNet(50, 4, 5), partial(resnet, layers=50, base=4), 48),
    "resnet18-small": (networks.ResNet(18, 4, 5, small=True),
                       partial(resnet, base=4, stem="small"), 32),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "suffix"),
    [(name, ".safetensors") for name in CLASSIFIERS] + [("vgg11", ".npz"), ("resnet18", ".npz")],
)
def test_a_classifier_computes_what_torch_computes(name: str, suffix: str, tmp_path: Path) -> None:
    module, network, size = CLASSIFIERS[name]
    image = noise(2, 3, size, size)
    exe = compiled(partial(network, classes=5), image)
    report = apply_weights(
        exe.state, save(networks.randomise(module), tmp_path / f"w{suffix}"), name
    )
    assert set(report.taken) == set(exe.state) - {"random.key"}
    assert not (report.missing or report.left or report.other_shapes)
    assert_close(exe(image=image)["y"], module(torch.from_numpy(image)))


def encoder(network: Network, module, image: np.ndarray, path: Path, name: str, value: str):
    """Load torch's weights and compare one value of the encoder with torch's features."""
    exe = compiled(partial(network, classes=3), image)
    report = apply_weights(exe.state, save(networks.randomise(module), path), name)
    return report, exe(image=image, fetch=[value])[value]


def test_fcn_takes_vgg16_with_its_dense_layers_as_convolutions(tmp_path: Path) -> None:
    """On one window of 224x224, the middle of fc7 sees what the classifier sees: padding aside."""
    module, image = networks.Vgg(16, 2, 7), noise(1, 3, 224, 224)
    report, fc7 = encoder(
        partial(fcn8s, base=2), module, image, tmp_path / "w.safetensors", "fcn8s", "relu_14"
    )
    hidden = module.classifier[:5](module.features(torch.from_numpy(image)).flatten(1))
    assert_close(fc7[:, :, 3, 3], hidden)
    assert set(report.left) == {"classifier.6.weight", "classifier.6.bias"}
    assert {name.split(".")[0] for name in report.missing} == {
        "score", "score_pool4", "score_pool3", "up", "up_pool4", "up_pool3"
    }  # fmt: skip


def test_segnet_takes_vgg16_with_batch_norm(tmp_path: Path) -> None:
    module, image = networks.Vgg(16, 2, 7, batch_norm=True), noise(1, 3, 64, 64)
    report, pool5 = encoder(
        partial(segnet, base=2), module, image, tmp_path / "w.npz", "segnet",
        "max_pool2d_with_positions_8",
    )  # fmt: skip
    assert_close(pool5, module.features(torch.from_numpy(image)))
    assert all(name.startswith("decoder.") for name in report.missing)
    assert all(name.startswith("classifier.") for name in report.left)


def test_the_dilated_front_end_takes_vgg16(tmp_path: Path) -> None:
    module, image = networks.Vgg(16, 2, 7), noise(1, 3, 32, 32)
    report, conv4 = encoder(
        partial(dilated, base=2), module, image, tmp_path / "w.npz", "dilated", "relu_9"
    )
    assert_close(conv4, module.features[:23](torch.from_numpy(image)))
    assert report.taken["fc6.weight"] == "classifier.0.weight"


def test_unet_takes_vgg13_in_its_encoder(tmp_path: Path) -> None:
    module, image = networks.Vgg(13, 2, 7), noise(1, 3, 32, 32)
    report, conv4 = encoder(
        partial(unet, base=2, depth=4), module, image, tmp_path / "w.npz", "unet",
        "encoder4.relu_1",
    )  # fmt: skip
    assert_close(conv4, module.features[:19](torch.from_numpy(image)))
    assert len(report.taken) == 16
    assert not any(name.startswith("encoder") for name in report.missing)


def test_a_file_with_other_classes_leaves_the_head_as_it_was(tmp_path: Path) -> None:
    module = networks.randomise(networks.ResNet(18, 2, 1000))
    exe = compiled(partial(resnet, classes=5, base=2), noise(1, 3, 32, 32))
    before = exe.state["fc.weight"]
    report = apply_weights(exe.state, save(module, tmp_path / "w.npz"), "resnet18")
    assert report.other_shapes == ("fc.weight", "fc.bias")
    np.testing.assert_array_equal(exe.state["fc.weight"], before)
    np.testing.assert_array_equal(exe.state["conv1.weight"], module.conv1.weight.detach())
    assert "2 start afresh, the file has them in other shapes: fc.weight, fc.bias" in str(report)


def refused(module, network: Network, name: str, path: Path, size: int = 32) -> str:
    """Another network's file changes nothing."""
    exe = compiled(partial(network, classes=5), noise(1, 3, size, size))
    before = {variable: array.tobytes() for variable, array in exe.state.items()}
    with pytest.raises(mg.LoadError) as error:
        apply_weights(exe.state, save(module, path), name)
    assert {variable: array.tobytes() for variable, array in exe.state.items()} == before
    return str(error.value)


@pytest.mark.parametrize("layers", [11, 13, 19])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_another_vgg_is_refused(layers: int, batch_norm: bool, tmp_path: Path) -> None:
    module = networks.Vgg(layers, 2, 5, batch_norm=batch_norm)
    refused(module, partial(vgg, base=2), "vgg16", tmp_path / "w.npz")
    if layers != 13 or batch_norm:
        refused(module, partial(unet, base=2), "unet", tmp_path / "w.npz")


def test_a_deeper_resnet_is_refused(tmp_path: Path) -> None:
    """Its first blocks would fit."""
    said = refused(
        networks.ResNet(34, 2, 5), partial(resnet, base=2), "resnet18", tmp_path / "w.npz"
    )
    assert "Expected the weights that resnet18 has, got layer1.2.conv1.weight" in said
    refused(networks.ResNet(18, 2, 5), partial(resnet, base=2, layers=34), "resnet34",
            tmp_path / "w.npz")  # fmt: skip


def test_another_width_is_refused_with_both_shapes(tmp_path: Path) -> None:
    said = refused(networks.Vgg(16, 4, 5), partial(vgg, base=2), "vgg16", tmp_path / "w.npz")
    assert "Expected shape [2, 3, 3, 3] for 'conv1_1.weight' of vgg16, got [4, 3, 3, 3]" in said
    assert "'features.0.weight'" in said


def test_nothing_that_fits_is_refused_with_the_names_on_both_sides(tmp_path: Path) -> None:
    said = refused(networks.ResNet(18, 2, 5), partial(vgg, base=2), "vgg16", tmp_path / "w.npz")
    assert "got none: the file has conv1.weight, bn1.weight" in said
    assert "the model has conv1_1.weight" in said
    refused(networks.Vgg(13, 2, 5), partial(unet, base=2, batch_norm=True), "unet",
            tmp_path / "w.npz")  # fmt: skip


def test_weights_of_a_saved_model_go_into_one_with_other_classes(tmp_path: Path) -> None:
    image = noise(1, 3, 32, 32)
    first = compiled(partial(unet, classes=3, base=2, depth=2), image)
    first.save(tmp_path / "model.safetensors")
    second = compiled(partial(unet, classes=4, base=2, depth=2), image)
    report: WeightsReport = apply_weights(second.state, tmp_path / "model.safetensors", "unet")
    assert report.other_shapes == ("head.weight", "head.bias")
    assert not (report.left or report.missing)
    np.testing.assert_array_equal(second.state["up1.weight"], first.state["up1.weight"])


def test_a_head_of_other_classes_alone_is_nothing_loaded(tmp_path: Path) -> None:
    exe = compiled(partial(unet, classes=3, base=2, depth=1), noise(1, 3, 8, 8))
    np.savez(tmp_path / "w.npz", **{"head.bias": np.zeros(9, np.float32)})
    with pytest.raises(mg.LoadError, match="got none that fit but for the number of classes"):
        apply_weights(exe.state, tmp_path / "w.npz", "unet")
