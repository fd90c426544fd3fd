"""Predictors: from a saved file alone to labels of any image."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigraph as mg
from minigraph import Tensor
from minigraph.data.pictures import resize_image
from minigraph.model_card import ModelCard
from minigraph.models.unet import unet
from minigraph.prediction import Classification, Predictor, Segmentation, plan_tiles
from minigraph.training import LabelTask

CLASSES = ("sky", "road", "tree")


def save(
    path: Path,
    network,
    *,
    segmentation: bool = True,
    channels: int = 3,
    size: tuple[int, int] = (16, 24),
    card: ModelCard | None = None,
) -> Path:
    task = LabelTask(network, [0.5] * channels, [0.25] * channels, 255)
    label = (2, *size) if segmentation else (2,)
    exe = mg.compile(
        task, {"image": ((2, channels, *size), "float32"), "label": (label, "int32")}, seed=1
    )
    card = card or ModelCard(segmentation, CLASSES, 255, (channels, *size), "streets")
    exe.save(path, metadata=card.to_metadata())
    return path


def segmenting(x: Tensor) -> Tensor:
    return unet(x, len(CLASSES), base=2, depth=2)


def classifying(x: Tensor) -> Tensor:
    x = mg.max_pool2d(mg.relu(mg.conv2d(x, 4, 3, padding=1)), 2)
    return mg.dense(mg.flatten(x), len(CLASSES))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "unet.safetensors", segmenting)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "classifier.safetensors"
    return save(path, classifying, segmentation=False)


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (channels, height, width), dtype=np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=0)


@pytest.mark.parametrize("size", [(16, 24), (17, 25), (1, 1), (3, 2), (61, 77), (20, 4)])
def test_segmentation_of_any_size(segmenter: Path, size: tuple[int, int]) -> None:
    """Against the model itself, on the image padded by index arithmetic."""
    predictor = Predictor.load(segmenter, threads=1)
    image = picture(*size)
    result = predictor(image)
    assert isinstance(result, Segmentation)
    assert predictor.multiple == (4, 4)

    rows, columns = (np.pad(np.arange(n), (0, -n % 4), mode="reflect") for n in size)
    padded = image[:, rows][:, :, columns]
    model = mg.load(segmenter, outputs=["logits"], threads=1)
    x = padded[None].astype(np.float32) * np.float32(1 / 255)
    logits = model(image=x)["logits"][0, :, : size[0], : size[1]]
    assert result.labels.dtype == np.uint8
    assert np.array_equal(result.labels, logits.argmax(axis=0))
    np.testing.assert_allclose(result.confidence, softmax(logits).max(axis=0), rtol=1e-5)
    assert result.class_names == CLASSES
    shares = result.shares()
    assert shares["road"] == pytest.approx((result.labels == 1).mean())
    assert sum(shares.values()) == pytest.approx(1.0)


def test_tiles_change_nothing(segmenter: Path) -> None:
    image = picture(121, 150)
    whole = Predictor.load(segmenter)(image)
    for tiled in (
        Predictor.load(segmenter, tile=(64, 80)),
        Predictor.load(segmenter, memory=700_000),
    ):
        plan = tiled._plan((1, 3, 124, 152))
        assert plan is not None
        assert len(plan.rows) > 1
        result = tiled(image)
        assert (result.labels != whole.labels).mean() < 1e-3
        np.testing.assert_allclose(result.confidence, whole.confidence, atol=1e-5)


def test_tiles_by_memory_do_not_depend_on_threads(segmenter: Path) -> None:
    limits = {Predictor.load(segmenter, threads=n).most_pixels for n in (1, 2)}
    assert len(limits) == 1


def test_a_model_of_the_whole_image_is_run_whole_or_refuses_tiles(tmp_path: Path) -> None:
    def gated(x: Tensor) -> Tensor:
        x = mg.conv2d(x, len(CLASSES), 3, stride=2, padding=1)
        x = mg.conv_transpose2d(x, len(CLASSES), 2, stride=2)
        return x * mg.reduce_max(x, (2, 3), keepdims=True)

    path = save(tmp_path / "gated.safetensors", gated)
    image = picture(33, 50)
    automatic = Predictor.load(path, memory=10_000)
    assert automatic.multiple == (2, 2)  # the stride is known all the same
    assert np.array_equal(automatic(image).labels, Predictor.load(path)(image).labels)
    with pytest.raises(mg.SpecError, match=r"Max 'max'.*without tiles"):
        Predictor.load(path, tile=(16, 16))(image)
    assert Predictor.load(path, tile=(64, 64))(image).labels.shape == (33, 50)


def test_classification(classifier: Path) -> None:
    predictor = Predictor.load(classifier, threads=1)
    image = picture(40, 31)
    result = predictor(image)
    assert isinstance(result, Classification)
    model = mg.load(classifier, outputs=["logits"], threads=1)
    x = resize_image(image, 16, 24)[None] * np.float32(1 / 255)
    expected = softmax(model(image=np.concatenate([x, x]))["logits"][0])
    np.testing.assert_allclose(result.probabilities, expected, rtol=1e-5)
    assert result.label == expected.argmax()
    assert result.class_name == CLASSES[result.label]
    order = np.argsort(-expected)
    assert [name for name, _ in result.top(2)] == [CLASSES[i] for i in order[:2]]
    assert len(result.top()) == 3


def test_top_takes_the_lower_class_of_equal_ones() -> None:
    result = Classification(1, np.array([0.2, 0.4, 0.4], np.float32), ("a", "b", "c"))
    assert [name for name, _ in result.top()] == ["b", "c", "a"]


def test_files_pillow_images_and_arrays_are_one(segmenter: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(segmenter)
    array = picture(20, 30)
    image = Image.fromarray(array.transpose(1, 2, 0))
    image.save(tmp_path / "a.png")
    expected = predictor(array).labels
    for same in (image, tmp_path / "a.png", str(tmp_path / "a.png"), image.convert("RGBA")):
        assert np.array_equal(predictor(same).labels, expected)


def test_channels_are_converted(segmenter: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(segmenter)
    grey = picture(20, 30, channels=1)
    expected = predictor(np.repeat(grey, 3, axis=0)).labels
    assert np.array_equal(predictor(grey).labels, expected)
    assert np.array_equal(predictor(Image.fromarray(grey[0])).labels, expected)
    one = Predictor.load(save(tmp_path / "grey.safetensors", segmenting, channels=1))
    assert np.array_equal(one(np.repeat(grey, 3, axis=0)).labels, one(grey).labels)


def test_exif_orientation_is_applied(segmenter: Path, tmp_path: Path) -> None:
    """Orientation 6: what is stored has to be turned a quarter to the right."""
    predictor = Predictor.load(segmenter)
    stored = picture(20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored.transpose(1, 2, 0)).save(tmp_path / "turned.png", exif=exif)
    upright = np.rot90(stored, k=-1, axes=(1, 2))
    result = predictor(tmp_path / "turned.png")
    assert result.labels.shape == (30, 20)
    assert np.array_equal(result.labels, predictor(np.ascontiguousarray(upright)).labels)


def test_damaged_exif_is_left_aside(segmenter: Path, tmp_path: Path) -> None:
    stored = picture(20, 30)
    Image.fromarray(stored.transpose(1, 2, 0)).save(tmp_path / "odd.png", exif=b"garbage")
    predictor = Predictor.load(segmenter)
    assert np.array_equal(predictor(tmp_path / "odd.png").labels, predictor(stored).labels)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (np.zeros((20, 30, 3), np.uint8), "transpose"),
        (np.zeros((3, 20, 30), np.float32), "uint8"),
        (np.zeros((3, 0, 30), np.uint8), "with pixels"),
        (Image.new("I;16", (4, 4)), "mode 'I;16'"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_what_is_no_picture(segmenter: Path, wrong, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Predictor.load(segmenter)(wrong)


def test_the_other_task_is_refused(segmenter: Path, classifier: Path) -> None:
    with pytest.raises(ValueError, match="model of whole images, got one of pixels: use segment"):
        Predictor.load(segmenter).classify(picture(8, 8))
    with pytest.raises(ValueError, match="model of pixels, got one of whole images: use classify"):
        Predictor.load(classifier).segment(picture(8, 8))


def card(**changes) -> ModelCard:
    fields = {
        "segmentation": True, "class_names": CLASSES, "void_label": 255,
        "image_shape": (3, 16, 24), "dataset": "streets",
    }  # fmt: skip
    return ModelCard(**(fields | changes))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (card(class_names=("sky", "road")), "2 classes of the model card"),
        (card(segmentation=False), r"Expected logits \(N,3\)"),
        (card(image_shape=(1, 16, 24)), "as the model card says"),
    ],
)
def test_a_card_of_another_model(tmp_path: Path, wrong: ModelCard, told: str) -> None:
    path = save(tmp_path / "wrong.safetensors", segmenting, card=wrong)
    with pytest.raises(mg.LoadError, match=told) as caught:
        Predictor.load(path)
    assert str(path) in str(caught.value)


def test_a_classifier_trained_at_another_size_than_its_card_says(tmp_path: Path) -> None:
    wrong = card(segmentation=False, image_shape=(3, 20, 24))
    path = save(tmp_path / "wrong.safetensors", classifying, segmentation=False, card=wrong)
    with pytest.raises(mg.LoadError, match="as the model card says"):
        Predictor.load(path)


def test_models_that_cannot_be_asked(tmp_path: Path) -> None:
    def other(x: Tensor) -> Tensor:
        return mg.dense(x, 3)

    exe = mg.compile(other, {"x": "float32[2,5]"})
    exe.save(tmp_path / "dense.safetensors", metadata=card().to_metadata())
    with pytest.raises(mg.LoadError, match=r"an input 'image'.*x: float32\[2,5\]"):
        Predictor.load(tmp_path / "dense.safetensors")

    def unnamed(image: Tensor) -> Tensor:
        return mg.conv2d(image, 3, 1)

    exe = mg.compile(unnamed, {"image": "float32[1,3,16,24]"})
    exe.save(tmp_path / "unnamed.safetensors", metadata=card().to_metadata())
    with pytest.raises(mg.LoadError, match="outputs 'logits' and 'prediction', got output"):
        Predictor.load(tmp_path / "unnamed.safetensors")
    exe.save(tmp_path / "no-card.safetensors")
    with pytest.raises(
        mg.LoadError, match=r"no-card.safetensors: Expected a model with a model card"
    ):
        Predictor.load(tmp_path / "no-card.safetensors")


def test_a_model_that_shrinks_its_images_is_refused(tmp_path: Path) -> None:
    """3 of 16 rows survive; the label has that size, as the loss asks for."""

    def model(image: Tensor) -> dict[str, Tensor]:
        x = mg.conv_transpose2d(mg.max_pool2d(image, 3), 3, 4, stride=3)
        logits = x[:, :, : image.shape[2], : image.shape[3]]
        return {"logits": logits, "prediction": mg.argmax(logits)}

    exe = mg.compile(model, {"image": "float32[1,3,16,16]"})
    path = tmp_path / "crops.safetensors"
    exe.save(path, metadata=card(image_shape=(3, 16, 16)).to_metadata())
    with pytest.raises(ValueError, match="a prediction for each of 30x30 pixels, got 16x16"):
        Predictor.load(path)(picture(30, 30))


@pytest.mark.parametrize(("option", "told"), [({"tile": (0, 4)}, "tile"), ({"memory": 0}, "bytes")])
def test_wrong_options(segmenter: Path, option: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Predictor.load(segmenter, **option)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/prediction.md, its Python blocks one after the other, on a model of its names."""
    page = (Path(__file__).parents[2] / "docs" / "prediction.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("runs/unet-shapes").mkdir(parents=True)
    path = save(Path("runs/unet-shapes/model.safetensors"), segmenting, size=(64, 64))
    Image.fromarray(picture(30, 40).transpose(1, 2, 0)).save("street.jpg")
    names: dict = {"step": mg.load(path)}
    for block in blocks:
        exec(block, names)
    assert names["labels"].shape == (30, 40)
    assert names["rows"].period == 4
    assert ModelCard.of(mg.load("model.safetensors")).dataset == "streets"


@pytest.mark.parametrize(("memory", "size"), [(1, (200, 200)), (60_000, (200, 200)), (1, (20, 30))])
def test_too_little_memory_takes_the_least_tile_or_none(
    segmenter: Path, memory: int, size: tuple[int, int]
) -> None:
    image = picture(*size)
    whole = Predictor.load(segmenter, threads=1)
    tiled = Predictor.load(segmenter, threads=1, memory=memory)
    assert tiled.most_pixels < 48**2
    result = tiled(image)
    assert isinstance(result, Segmentation)
    assert np.array_equal(result.labels, whole(image).labels)
    np.testing.assert_allclose(result.confidence, whole(image).confidence, rtol=1e-4)
    plan = tiled._plan((1, 3, *(-(-n // 4) * 4 for n in size)))
    if size == (20, 30):
        assert plan is None
        return
    height, _ = plan.tile
    with pytest.raises(ValueError, match="Expected a tile of at least"):
        plan_tiles(tiled._model, (1, 3, 200, 200), (height - 4, height - 4))
