"""Receptive fields: how much of the image one position of a layer sees."""

import numpy as np
from matplotlib.figure import Figure

import minigraph as mg
from minigraph.passes import to_inference
from minigraph.receptive_field import receptive_fields


def three_convolutions(image):
    for number in range(3):
        image = mg.conv2d(image, 1, 3, padding=1, name=f"conv{number + 1}")
    return image


def with_pooling(image):
    for number in range(3):
        image = mg.conv2d(image, 1, 3, padding=1, name=f"conv{number + 1}")
        image = mg.avg_pool2d(image, 2, name=f"pool{number + 1}")
    return image


def dilated(image):
    for number, dilation in enumerate((1, 2, 4)):
        image = mg.conv2d(
            image, 1, 3, dilation=dilation, padding=dilation, name=f"conv{number + 1}"
        )
    return image


figure = Figure((10, 3.6), layout="constrained")
for axes, model in zip(
    figure.subplots(1, 3), (three_convolutions, with_pooling, dilated), strict=True
):
    step = mg.compile(model, {"image": "float32[1,1,48,48]"})
    print(model.__name__)
    for name, field in receptive_fields(to_inference(step.graph_for({})), "image").items():
        if name.endswith(("conv2d", "pool1", "pool2", "pool3")):
            height, width = field.size
            print(f"  {name:14s} sees {height}x{width} pixels, stride {field.stride[0]}")

    # What the middle of the last layer reads: the gradient with respect to the image.
    def seen(image, model=model):
        y = model(image)
        middle = y.shape[2] // 2
        return mg.gradients(mg.reduce_sum(y[:, :, middle, middle]), [image])[0]

    reading = mg.compile(seen, {"image": "float32[1,1,48,48]"})
    for name, weight in reading.state.parameters().items():
        reading.state[name] = np.ones_like(weight)
    noise = np.random.default_rng(0).random((1, 1, 48, 48), np.float32)
    axes.imshow(reading(image=noise)["output"][0, 0] > 0, cmap="Blues", vmax=1.5)
    axes.set(title=f"{model.__name__}: {height}x{width}", xticks=[], yticks=[])
figure.savefig("receptive-fields.png", dpi=90)
