"""Networks that torch exports: they import and agree with torch."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg

torch = pytest.importorskip("torch", reason="needs torch to export from")
pytest.importorskip("onnx", reason="needs onnx: pip install 'minigraph[onnx]'")

import minigraph.onnx  # noqa: E402

nn = torch.nn


class DoubleConv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        layers = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                       nn.BatchNorm2d(outputs), nn.ReLU()]  # fmt: skip
        super().__init__(*layers)


class UNet(nn.Module):
    """Two levels, with transposed convolutions and skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([DoubleConv(3, 4), DoubleConv(4, 8)])
        self.bottom = DoubleConv(8, 16)
        self.up = nn.ModuleList([nn.ConvTranspose2d(16, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)])
        self.merge = nn.ModuleList([DoubleConv(16, 8), DoubleConv(8, 4)])
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, x):
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.second(torch.relu(self.norm(self.first(x))))
        return torch.relu(y + self.skip(x))


class ResNet(nn.Module):
    """ResNet-18's parts: a strided stem, residual blocks, a mean over positions, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 16, 1))
        self.mean = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(0.2)
        self.dense = nn.Linear(16, 7)

    def forward(self, x):
        x = self.blocks(self.pool(torch.relu(self.norm(self.stem(x)))))
        return self.dense(self.dropout(torch.flatten(self.mean(x), 1)))


class FCN(nn.Module):
    """Scores at two strides, added after upsampling; then to the size of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2))
        self.second = nn.Sequential(
            nn.Conv2d(6, 12, 3, padding=2, dilation=2), nn.LeakyReLU(0.1),
            nn.MaxPool2d(2, 2, ceil_mode=True),
        )  # fmt: skip
        self.scores = nn.ModuleList([nn.Conv2d(6, 4, 1), nn.Conv2d(12, 4, 1)])

    def forward(self, x):
        fine = self.first(x)
        coarse = self.scores[1](self.second(fine))
        up = nn.functional.interpolate(
            coarse, size=fine.shape[2:], mode="bilinear", align_corners=False
        )
        total = self.scores[0](fine) + up
        return nn.functional.interpolate(
            total, size=x.shape[2:], mode="bilinear", align_corners=True
        )


class SegNet(nn.Module):
    """Pooling whose positions the decoder puts values back at."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv2d(3, 6, 3, padding=1)
        self.decode = nn.Conv2d(6, 5, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.encode(x))
        pooled, positions = nn.functional.max_pool2d(x, 2, return_indices=True)
        return self.decode(nn.functional.max_unpool2d(pooled, positions, 2))


MODELS = {
    "unet": (UNet, (2, 3, 32, 24)),
    "resnet": (ResNet, (2, 3, 48, 64)),
    "fcn": (FCN, (2, 3, 36, 28)),
    "segnet": (SegNet, (2, 3, 16, 12)),
}


def made(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network with scales and statistics that are not 0 and 1, and an image.

    Scales that differ, too: torch's older exporter writes equal tensors once, as one parameter.
    """
    kind, shape = MODELS[name]
    torch.manual_seed(0)
    network = kind()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
        for _ in range(2):
            network(torch.randn(*shape) * 2 + 1)
    return network.eval(), torch.randn(*shape)


def exported(network: nn.Module, image: torch.Tensor, path: Path, dynamo: bool, any_batch: bool):
    options: dict = {}
    if any_batch and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("N")},)
    elif any_batch:
        options["dynamic_axes"] = {"image": {0: "N"}, "logits": {0: "N"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (image,), str(path), dynamo=dynamo, input_names=["image"],
            output_names=["logits"], verbose=False, **options,
        )  # fmt: skip


@pytest.mark.parametrize(
    "dynamo",
    [pytest.param(False, id="torchscript"),
     pytest.param(True, id="dynamo", marks=pytest.mark.slow)],
)  # fmt: skip
@pytest.mark.parametrize("name", MODELS)
def test_an_exported_network_agrees(name, dynamo, tmp_path, capsys):
    if dynamo:
        pytest.importorskip("onnxscript", reason="torch's newer exporter needs onnxscript")
    network, image = made(name)
    path = tmp_path / "model.onnx"
    try:
        exported(network, image, path, dynamo, any_batch=False)
    except (torch.onnx.errors.OnnxExporterError, TypeError) as error:
        if name != "segnet":
            raise
        pytest.skip(f"torch does not export max_unpool2d: {str(error).strip().splitlines()[0]}")
    model = minigraph.onnx.load(path)
    executable = model.compile(threads=1)
    with torch.no_grad():
        expected = network(image).numpy()
    got = executable(image=image.numpy())["logits"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    if name in ("fcn", "segnet"):  # torch folds batch normalisation into the convolutions
        for key, value in network.state_dict().items():
            np.testing.assert_array_equal(executable.state[key], value.numpy())


@pytest.mark.parametrize("name", ["unet", "fcn"])
def test_an_exported_batch_size_may_be_any(name, tmp_path):
    network, image = made(name)
    path = tmp_path / "model.onnx"
    exported(network, image, path, dynamo=False, any_batch=True)
    model = minigraph.onnx.load(path)
    assert model.inputs["image"][0][0] == "N"
    larger = torch.randn(5, *image.shape[1:])
    with torch.no_grad():
        expected = network(larger).numpy()
    got = model.compile(model.specs(N=5), threads=1)(image=larger.numpy())["logits"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_training_goes_on_as_in_torch(tmp_path):
    """Three steps of SGD on an imported network, batch normalisation included."""
    network, image = made("unet")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (image,), buffer, dynamo=False, input_names=["image"], output_names=["y"],
            do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE,
            export_params=True, keep_initializers_as_inputs=False,
        )  # fmt: skip
    body = minigraph.onnx.load(buffer.getvalue())

    def model(image, label):
        return {"loss": mg.softmax_cross_entropy(body(image=image)["y"], label)}

    labels = torch.randint(0, 5, (2, 32, 24))
    specs = {"image": "float32[2,3,32,24]", "label": "int64[2,32,24]"}
    step = mg.compile(model, specs, optimizer=mg.SGD(0.1), threads=1)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(image), labels)
        loss.backward()
        optimizer.step()
        got = step(image=image.numpy(), label=labels.numpy())["loss"]
        np.testing.assert_allclose(got, loss.item(), rtol=1e-4)
    expected = {k: v.numpy() for k, v in network.state_dict().items() if v.is_floating_point()}
    assert {name for name in step.state if not name.startswith("optimizer.")} == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(step.state[name], value, rtol=1e-3, atol=1e-4)
