"""The lecture's scripts run and print the lecture's numbers, which are typed in here."""

from __future__ import annotations

import io
import math
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

LECTURE = Path(__file__).parents[2] / "examples" / "lecture"


def replay(number: str, folder: Path, *pictures: str) -> str:
    """What a script prints; the pictures that it draws are there and not empty."""
    (script,) = LECTURE.glob(f"{number}_*.py")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(script)])
        runpy.run_path(str(script), run_name="__main__")
    assert sorted(path.name for path in folder.iterdir()) == sorted(pictures)
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert len(picture.convert("L").getcolors()) > 5
    return printed.getvalue()


def rows(text: str, after: str) -> list[list[float]]:
    """The numbers of the lines that follow a line, as far as they are rows of a matrix."""
    lines = text.split(after, 1)[1].splitlines()[1:]
    found = []
    for line in lines:
        if line and not line.lstrip().startswith("["):
            break
        found.append([float(number) for number in re.findall(r"-?\d+\.?\d*", line)])
    return [row for row in found if row]


def test_every_script_has_its_test() -> None:
    scripts = {path.name[:2] for path in LECTURE.glob("*.py")}
    tested = re.findall(r'replay\("(\d\d)"', Path(__file__).read_text())
    assert scripts == set(tested)


def test_filtering(tmp_path: Path) -> None:
    text = replay("01", tmp_path, "filtering.png")
    assert rows(text, "mean filter, 3x3") == [
        [0, 10, 20, 30, 30, 30, 20, 10],
        [0, 20, 40, 60, 60, 60, 40, 20],
        [0, 30, 60, 90, 90, 90, 60, 30],
        [0, 30, 50, 80, 80, 90, 60, 30],
        [0, 30, 50, 80, 80, 90, 60, 30],
        [0, 20, 30, 50, 50, 60, 40, 20],
        [10, 20, 30, 30, 30, 30, 20, 10],
        [10, 10, 10, 0, 0, 0, 0, 0],
    ]
    edges = rows(text, "vertical edges")
    assert edges[2] == [0, 270, 270, 0, 0, 0, -270, -270, 0]  # three rows of 90 - 0
    assert edges[3] == [0, 270, 180, 0, 90, 0, -270, -270, 0]  # the hole at row 5, column 4
    kernel = [[math.exp(-(u * u + v * v)) / (2 * math.pi) for v in (-1, 0, 1)] for u in (-1, 0, 1)]
    expected = [[round(value, 4) for value in row] for row in kernel]
    assert rows(text, "the lecture's: sum 0.4795") == expected
    usual = rows(text, "the usual, normalised: sum 1.0000")
    assert usual[1] == [0.1238, 0.2042, 0.1238]  # 1, e^-1/2 and e^-1 over their sum 4.8976
    assert usual[0] == usual[2] == [0.0751, 0.1238, 0.0751]


def test_noise(tmp_path: Path) -> None:
    text = replay("02", tmp_path, "noise.png")
    lines = [line.rsplit(maxsplit=2) for line in text.splitlines()[1:]]
    gaussian = {name.strip(): float(first) for name, first, _ in lines}
    salt = {name.strip(): float(second) for name, _, second in lines}
    kinds = [f"{kind} {n}x{n}" for n in (3, 5, 7) for kind in ("mean", "Gaussian", "median")]
    assert list(gaussian) == ["none", *kinds]
    for size in ("3x3", "5x5", "7x7"):  # the median takes salt and pepper out, a mean spreads it
        assert salt[f"median {size}"] < min(salt[f"mean {size}"], salt[f"Gaussian {size}"])
        assert gaussian[f"mean {size}"] < 0.6 * gaussian["none"]
    assert salt["median 3x3"] < 0.4 * salt["none"]
    # sigma 0.1, the mean of |x| of a normal distribution: sqrt(2 / pi) sigma; clipping takes little
    assert gaussian["none"] == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.02)


def test_sizes(tmp_path: Path) -> None:
    text = replay("03", tmp_path)
    for line in (
        r"fully connected +40,000 weights +40,001 with bias",
        r"a patch of 10x10 +100 weights",
        r"fully connected: 4e\+09 weights",
        r"locally connected: 1e\+07 weights",
        r"shared: 1e\+02 weights, and 1e\+04 in 100 filters",
        r"locally connected +12,100 weights .* output 1x11x11",
        r"shared: a convolution +100 weights .* output 1x11x11",
        r"one 5x5x3 filter on 32x32x3 +75 weights +76 with bias +output 1x28x28",
        r"six 5x5x3 filters +450 weights .* output 6x28x28",
        r"then ten 5x5x6 filters, ReLU +1,500 weights .* output 10x24x24",
        r"1x1, 32 filters on 56x56x64 +2,048 weights .* output 32x56x56",
        r"zero padding 2 keeps the size .* output 6x32x32",
        r"stride 2 halves it .* output 6x16x16",
        r"3x3, dilation 2, covers 5x5 +162 weights .* output 6x28x28",
    ):
        assert re.search(line, text), line


def test_receptive_fields(tmp_path: Path) -> None:
    text = replay("04", tmp_path, "receptive-fields.png")
    seen = re.findall(r"(\w+)(?:\.conv2d)? +sees (\d+)x\d+ pixels, stride (\d+)", text)
    found = [(name, int(size), int(stride)) for name, size, stride in seen]
    stacked, pooled, dilated = found[:3], found[3:9], found[9:]
    assert stacked == [("conv1", 3, 1), ("conv2", 5, 1), ("conv3", 7, 1)]
    # Each layer adds (kernel - 1) times the stride before it.
    assert pooled == [
        ("conv1", 3, 1), ("pool1", 3 + 1, 2), ("conv2", 4 + 2 * 2, 2), ("pool2", 8 + 2, 4),
        ("conv3", 10 + 2 * 4, 4), ("pool3", 18 + 4, 8),
    ]  # fmt: skip
    assert dilated == [("conv1", 3, 1), ("conv2", 3 + 2 * 2, 1), ("conv3", 7 + 2 * 4, 1)]


def test_pooling(tmp_path: Path) -> None:
    text = replay("05", tmp_path)
    assert rows(text, "maximum") == [[6, 8], [3, 4]]
    assert rows(text, "mean") == [[3.25, 5.25], [2, 2]]
    assert rows(text, "unpooled") == [[0, 0, 0, 0], [0, 6, 0, 8], [3, 0, 0, 0], [0, 0, 0, 4]]
    assert rows(text, "bed of nails") == [[6, 0, 8, 0], [0] * 4, [3, 0, 4, 0], [0] * 4]
    assert rows(text, "nearest neighbour") == [[6, 6, 8, 8]] * 2 + [[3, 3, 4, 4]] * 2
    assert rows(text, "each for itself") == [[6, 8], [3, 4], [60, 80], [30, 40]]


def test_transposed_convolution(tmp_path: Path) -> None:
    text = replay("06", tmp_path, "transposed-convolution.png")
    nine = [
        [0, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 0.75],
        [0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 1.5],
        [1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 2.5],
        [2, 4, 4.5, 5, 5.5, 6, 6.5, 7, 3.5],
        [3, 6, 6.5, 7, 7.5, 8, 8.5, 9, 4.5],
        [4, 8, 8.5, 9, 9.5, 10, 10.5, 11, 5.5],
        [5, 10, 10.5, 11, 11.5, 12, 12.5, 13, 6.5],
        [6, 12, 12.5, 13, 13.5, 14, 14.5, 15, 7.5],
        [3, 6, 6.25, 6.5, 6.75, 7, 7.25, 7.5, 3.75],
    ]
    assert rows(text, "pixel 5 gives") == [[1.25, 2.5, 1.25], [2.5, 5, 2.5], [1.25, 2.5, 1.25]]
    assert rows(text, "all copies added, 9x9:") == nine
    assert rows(text, "padding 1 crops it to 7x7:") == [row[1:-1] for row in nine[1:-1]]
    for line in (
        "the same in one operation: True",
        "fractional stride gives the same 7x7: True",
        "bilinear gives the same 7x7: True",
    ):
        assert line in text


def test_bilinear(tmp_path: Path) -> None:
    text = replay("07", tmp_path)
    table = re.findall(r"^ +(\d)\D+(\d+)x\d+ +(\d+)x\d+ +(\S+)  (.*)$", text, re.MULTILINE)
    assert [int(stride) for stride, *_ in table] == list(range(2, 9))
    for stride, kernel, size, difference, weights in table:
        s = int(stride)
        assert (int(kernel), int(size)) == (2 * s - 1, 5 * s + 1)
        assert float(difference) < 1e-14
        tent = [1 - abs(u) / s for u in range(1 - s, s)]
        assert [float(w) for w in weights.split()] == pytest.approx(tent, abs=5e-4)
    before, after = (float(error) for error in re.findall(r"(?:weights|steps) +(0\.\d+)", text))
    assert after < 0.9 * before


def test_learned_filters(tmp_path: Path) -> None:
    text = replay("08", tmp_path, "filters-before.png", "filters-after.png")
    assert len(re.findall(r"filters 16x3x7x7, mean \|correlation\| 0\.\d\d", text)) == 2
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+)", text)]
    assert len(losses) >= 3
    assert losses[-1] < math.log(5)  # better than guessing among five shapes


def test_segmentation(tmp_path: Path) -> None:
    text = replay("09", tmp_path, "overlays.png")
    assert "0 background, 1 disc" in text
    assert "void 255" in text
    accuracy, iou = (float(number) for number in re.findall(r"(?:accuracy|IoU) (0\.\d+)", text))
    assert 0.5 < iou < accuracy < 1
    counted, everything = re.findall(r"pixels counted: (\d+) of (\d+)", text)[0]
    share = float(re.findall(r"([\d.]+)% of all pixels", text)[0]) / 100
    assert int(everything) == 3 * 160 * 160
    assert 1 - int(counted) / int(everything) == pytest.approx(share, abs=5e-4)


def test_loss(tmp_path: Path) -> None:
    text = replay("10", tmp_path)
    total = -math.log(0.8) - math.log(0.5) + 3 * math.log(3)
    assert f"void left out: {total:.6f}" in text
    assert f"mean over the 5 valid pixels: {total / 5:.6f}" in text
    assert "gradient at the first pixel: [-0.2  0.1  0.1]" in text
    assert re.search(r"gradient at a void pixel: \[-?0\. +-?0\. +-?0\.\]", text)
    assert "void counts nowhere: True" in text
    assert "all void: 0.0" in text
    assert "got 7 in image 1 at [0, 0]" in text


def test_optimisers(tmp_path: Path) -> None:
    text = replay("11", tmp_path)
    eps, alpha, delta = 0.1, 0.9, 1e-7
    lines = iter(re.findall(r"step \d: (.*)", text))
    theta = 1.0
    for _ in range(4):
        theta -= eps * theta
        assert next(lines) == f"theta {theta:.6f}"
    theta, v = 1.0, 0.0
    for _ in range(4):
        v = alpha * v - eps * theta
        theta += v
        assert next(lines) == f"theta {theta:.6f}, v {v:.6f}"
    theta, r = 1.0, 0.0
    for _ in range(4):
        r += theta * theta
        theta -= eps / (delta + math.sqrt(r)) * theta
        assert next(lines) == f"theta {theta:.6f}, r {r:.6f}"
    assert next(lines, None) is None


@pytest.mark.slow
def test_fully_convolutional_networks(tmp_path: Path) -> None:
    """Skips add detail: each network scores clearly better than the one before."""
    text = replay("12", tmp_path, "fcn.png")
    found = re.findall(r"(FCN-\d+s) +[\d,]+ +0\.\d+ +(0\.\d+)", text)
    assert [name for name, _ in found] == ["FCN-32s", "FCN-16s", "FCN-8s"]
    scores = [float(iou) for _, iou in found]
    assert scores[0] + 0.03 < scores[1]
    assert scores[1] + 0.03 < scores[2]
