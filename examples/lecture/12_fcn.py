"""Fully convolutional networks: FCN-32s, 16s and 8s (Long, Shelhamer and Darrell 2015), small.

The encoder halves the picture five times. FCN-32s scores its last map and enlarges the scores 32
times at once; 16s and 8s first enlarge them twice and add the scores of the map before.
"""

import numpy as np
from PIL import Image

import minigraph as mg
from minigraph.data import batches, generate_shapes
from minigraph.initializers import Bilinear
from minigraph.metrics import ConfusionMatrix
from minigraph.report import colour_labels

CLASSES, SIZE, CHANNELS = 6, 64, (12, 16, 24, 32, 48)


def enlarge(scores, stride, name):
    """A transposed convolution that starts as bilinear interpolation, each class for itself."""
    return mg.conv_transpose2d(
        scores, CLASSES, 2 * stride, stride=stride, padding=stride // 2, groups=CLASSES,
        bias=False, weight_initializer=Bilinear(), name=name,
    )  # fmt: skip


def fcn(image, skips):
    x, maps = image, []
    for number, channels in enumerate(CHANNELS, start=1):
        x = mg.conv2d(x, channels, 3, padding=1, bias=False, name=f"conv{number}")
        x = mg.max_pool2d(mg.relu(mg.batch_norm(x, name=f"norm{number}")), 2)
        maps.append(x)
    scores = mg.conv2d(x, CLASSES, 1, name="score5")
    stride = 32
    for number in range(4, 4 - skips, -1):
        skip = mg.conv2d(maps[number - 1], CLASSES, 1, name=f"score{number}")
        scores = enlarge(scores, 2, f"twice{number}") + skip
        stride //= 2
    return enlarge(scores, stride, "up")


train = generate_shapes(400, (SIZE, SIZE), seed=0)
held_out = generate_shapes(60, (SIZE, SIZE), seed=1)
inputs = {"image": ((10, 3, SIZE, SIZE), "float32"), "label": ((10, SIZE, SIZE), "int32")}


def drawn(labels):
    """Label maps below each other, in the colours of their classes."""
    return np.vstack([colour_labels(one, CLASSES, train.void_label, scale=3) for one in labels])


shown = np.vstack(held_out.images[50:53].transpose(0, 2, 3, 1))
columns = [shown.repeat(3, axis=0).repeat(3, axis=1), drawn(held_out.labels[50:53])]
print("          parameters  pixel accuracy  mean IoU")
for name, skips in (("FCN-32s", 0), ("FCN-16s", 1), ("FCN-8s", 2)):

    def model(image, label, skips=skips):
        logits = fcn(image, skips)
        return {"loss": mg.softmax_cross_entropy(logits, label), "class": mg.argmax(logits)}

    step = mg.compile(model, inputs, optimizer=mg.Adam(5e-3), outputs=["loss"])
    predict = mg.compile(model, inputs, outputs=["class"], state=step.state)
    for epoch in range(7):
        for batch in batches(train, 10, epoch=epoch, shuffle=True, mean=0.5, std=0.25):
            step(**batch)
    scores = ConfusionMatrix(CLASSES, train.void_label)
    for batch in batches(held_out, 10, mean=0.5, std=0.25):
        predicted = predict(image=batch["image"])["class"]
        scores.update(predicted, batch["label"])
    size = sum(array.size for array in step.state.parameters().values())
    print(f"{name:8s} {size:11,d} {scores.accuracy:15.3f} {scores.mean_iou:9.3f}")
    columns.append(drawn(predicted[:3]))
Image.fromarray(np.hstack(columns)).save("fcn.png")
