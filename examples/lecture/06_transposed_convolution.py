"""Transposed convolution: every input scales a copy of the kernel; copies that overlap add up."""

import numpy as np
from matplotlib.figure import Figure

import minigraph as mg
from minigraph.ops.conv import conv2d, conv_transpose2d

kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
image = np.arange(16.0).reshape(4, 4)


def model(x, w):
    # Fractional stride: one zero between the pixels, one around, and an ordinary convolution with
    # the flipped kernel (this one is symmetric).
    spread = mg.bed_of_nails2d(x, 2)[:, :, :-1, :-1]
    return {
        "full": conv_transpose2d(x, w, stride=2),
        "padding 1": conv_transpose2d(x, w, stride=2, padding=1),
        "fractional stride": conv2d(spread, mg.flip(w, (2, 3)), padding=1),
        "bilinear": mg.resize(x, (7, 7), mode="bilinear", coordinates="align_corners"),
    }


step = mg.compile(model, {"x": "float64[1,1,4,4]", "w": "float64[1,1,3,3]"})


def upsample(x):
    results = step(x=x[None, None], w=kernel[None, None])
    return {name: values[0, 0] for name, values in results.items()}


# Pixel after pixel: each puts its copy two further on, and the sum is the result.
figure = Figure((13, 3.6), layout="constrained")
panels = iter(figure.subplots(1, 4))
total = np.zeros((9, 9))
for place in range(16):
    alone = np.zeros(16)
    alone[place] = image.flat[place]
    copy = upsample(alone.reshape(4, 4))["full"]
    total += copy
    if place in (5, 6):
        row, column = 2 * (place // 4), 2 * (place % 4)
        print(f"pixel {place} gives {place} times the kernel, at row {row}, column {column}:")
        print(copy[row : row + 3, column : column + 3])
    if place in (5, 6, 9, 15):
        axes = next(panels)
        axes.imshow(total, cmap="Greens", vmin=0, vmax=18)
        axes.set(title=f"after the pixels 0 to {place}", xticks=[], yticks=[])
        for (y, x), value in np.ndenumerate(total):
            axes.text(x, y, f"{value:g}", ha="center", va="center", fontsize=8)
figure.savefig("transposed-convolution.png", dpi=90)

results = upsample(image)
print("all copies added, 9x9:", total, sep="\n")
print("the same in one operation:", np.array_equal(total, results["full"]))
print("padding 1 crops it to 7x7:", results["padding 1"], sep="\n")
for name in ("fractional stride", "bilinear"):
    print(f"{name} gives the same 7x7:", np.array_equal(results[name], results["padding 1"]))
