"""Pooling: each map separately, the maximum or the mean of windows."""

import numpy as np

import minigraph as mg

image = np.array([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])


def model(x):
    largest, positions = mg.max_pool2d_with_positions(x, 2)
    return {
        "maximum": largest,
        "mean": mg.avg_pool2d(x, 2),
        "positions of the maxima": positions,
        "unpooled": mg.max_unpool2d(largest, positions, (4, 4)),
        "bed of nails": mg.bed_of_nails2d(largest, 2),
        "nearest neighbour": mg.resize(largest, scale=2),
    }


step = mg.compile(model, {"x": "float64[1,1,4,4]"})
print("image", image, sep="\n")
for name, values in step(x=image[None, None]).items():
    print(name, values[0, 0], sep="\n")

two = np.stack([image, 10 * image])[None]
print("two maps, each for itself", step(x=two)["maximum"][0], sep="\n")
