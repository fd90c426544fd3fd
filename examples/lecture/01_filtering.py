"""Filtering: a kernel slides over an image, g[i,j] = sum of h[u,v] f[i+u, j+v] (no flip)."""

import numpy as np
from matplotlib.figure import Figure

import minigraph as mg
from minigraph.ops.conv import conv2d


def model(image, kernel):
    return conv2d(image, kernel)


filtering = mg.compile(model, {"image": "float64[1,1,10,11]", "kernel": "float64[1,1,3,3]"})


def apply(kernel):
    return filtering(image=image[None, None], kernel=kernel[None, None])["output"][0, 0]


image = np.zeros((10, 11))
image[2:7, 3:8] = 90
image[5, 4] = 0
image[8, 2] = 90
print("image", image.astype(int), sep="\n")

mean = apply(np.full((3, 3), 1 / 9))
print("\nmean filter, 3x3", np.rint(mean).astype(int)[:, :8], sep="\n")

edge = apply(np.array([[-1.0, 0, 1], [-1, 0, 1], [-1, 0, 1]]))
print("\nvertical edges", np.rint(edge).astype(int), sep="\n")

# The lecture's Gaussian has s^2 in the exponent; over the plane it sums to 1/2. The usual density
# has 2 s^2; divided by its sum it keeps the brightness of the image.
s = 1.0
u, v = np.mgrid[-1:2, -1:2]
lecture = np.exp(-(u**2 + v**2) / s**2) / (2 * np.pi * s**2)
usual = np.exp(-(u**2 + v**2) / (2 * s**2))
usual /= usual.sum()
for name, kernel in (("the lecture's", lecture), ("the usual, normalised", usual)):
    print(f"\nGaussian, {name}: sum {kernel.sum():.4f}", kernel.round(4), sep="\n")
smooth = apply(usual)

figure = Figure((12, 3.4), layout="constrained")
titles = ("image", "mean filter", "vertical edges", "Gaussian filter")
for axes, title, values in zip(
    figure.subplots(1, 4), titles, (image, mean, edge, smooth), strict=True
):
    limit = np.abs(values).max()
    axes.imshow(values, cmap="gray", vmin=-limit if values.min() < 0 else 0, vmax=limit)
    axes.set(title=title, xticks=[], yticks=[])
    for (row, column), value in np.ndenumerate(np.rint(values)):
        colour = "black" if value > 0.5 * limit else "white"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color=colour)
figure.savefig("filtering.png", dpi=100)
