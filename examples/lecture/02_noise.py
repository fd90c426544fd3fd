"""Noise and three filters: the mean and the Gaussian are convolutions, the median is none."""

import numpy as np
from matplotlib.figure import Figure

import minigraph as mg
from minigraph.data import generate_shapes
from minigraph.ops.conv import conv2d

SIZES = (3, 5, 7)
clean = generate_shapes(1, (128, 128), seed=5).images.mean(axis=1, keepdims=True) / 255


def gaussian(size):
    """Normalised to sum 1; its standard deviation grows with the window."""
    offsets = np.arange(size) - size // 2
    line = np.exp(-(offsets**2) / (2 * (size / 5) ** 2))
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def model(image):
    results = {}
    for size in SIZES:
        border = size // 2
        padded = mg.pad(image, [(0, 0), (0, 0), (border, border), (border, border)], mode="reflect")
        for name, kernel in (
            ("mean", np.full((size, size), size**-2)),
            ("Gaussian", gaussian(size)),
        ):
            results[f"{name} {size}x{size}"] = conv2d(padded, kernel[None, None])
        results[f"median {size}x{size}"] = mg.median_filter2d(image, size)
    return results


filters = mg.compile(model, {"image": (clean.shape, "float64")})
random = np.random.default_rng(0)
noisy = {
    "Gaussian noise": np.clip(clean + 0.1 * random.standard_normal(clean.shape), 0, 1),
    "salt and pepper": np.where(
        random.random(clean.shape) < 0.1, random.integers(0, 2, clean.shape), clean
    ),
}

results = {name: {"none": image} | filters(image=image) for name, image in noisy.items()}

print("mean absolute error  " + "  ".join(f"{name:>15s}" for name in noisy))
for kind in ("none", *filters.outputs):
    errors = [np.abs(result[kind] - clean).mean() for result in results.values()]
    print(f"{kind:19s}  " + "  ".join(f"{error:15.4f}" for error in errors))

figure = Figure((10, 4.4), layout="constrained")
for row, (name, result) in zip(figure.subplots(2, 5), results.items(), strict=True):
    shown = ("mean 5x5", "Gaussian 5x5", "median 5x5")
    pictures = [clean, noisy[name], *(result[kind] for kind in shown)]
    for axes, title, picture in zip(row, ("clean", name, *shown), pictures, strict=True):
        axes.imshow(picture[0, 0], cmap="gray", vmin=0, vmax=1)
        axes.set(title=title, xticks=[], yticks=[])
figure.savefig("noise.png", dpi=90)
