"""A transposed convolution is bilinear interpolation if it starts so, for any stride."""

import numpy as np

import minigraph as mg
from minigraph.data import generate_shapes
from minigraph.initializers import Bilinear

image = np.random.default_rng(0).random((1, 1, 6, 6))
print("stride  kernel  output  largest difference  kernel's middle row")
for stride in range(2, 9):
    size = 2 * stride - 1

    def model(x, stride=stride, size=size):
        learnable = mg.conv_transpose2d(
            x, 1, size, stride=stride, padding=stride - 1, bias=False,
            weight_initializer=Bilinear(), name="up",
        )  # fmt: skip
        height = (x.shape[2] - 1) * stride + 1
        fixed = mg.resize(x, (height, height), mode="bilinear", coordinates="align_corners")
        return {"learnable": learnable, "fixed": fixed}

    step = mg.compile(model, {"x": (image.shape, "float64")})
    results = step(x=image)
    output = "x".join(map(str, results["learnable"].shape[2:]))
    difference = np.abs(results["learnable"] - results["fixed"]).max()
    row = " ".join(f"{weight:.3g}" for weight in step.state["up.weight"][0, 0, size // 2])
    print(f"{stride:6d} {size:4d}x{size:<2d} {output:>7s} {difference:19.0e}  {row}")


# Started there, a decoder learns to do better: what was averaged away in edges, it sharpens.
def decoder(large):
    small = mg.avg_pool2d(large, 3)
    up = mg.conv_transpose2d(
        small, 1, 5, stride=3, padding=1, bias=False, weight_initializer=Bilinear(), name="up"
    )
    return {"loss": mg.mse_loss(up, large)}


def pictures(seed):
    return generate_shapes(32, (48, 48), seed=seed).images.mean(axis=1, keepdims=True) / 255


train, held_out = pictures(seed=0), pictures(seed=1)
inputs = {"large": "float32[32,1,48,48]"}
step = mg.compile(decoder, inputs, optimizer=mg.Adam(0.01))
check = mg.compile(decoder, inputs, state=step.state)
print("\nmean squared error on held-out pictures, three times enlarged")
print(f"bilinear weights    {check(large=held_out)['loss']:.5f}")
for _ in range(100):
    step(large=train)
print(f"after 100 steps     {check(large=held_out)['loss']:.5f}")
