"""The first layer's filters: structure and little correlation are signs of good training.

Give the folder with Fashion-MNIST's four files, or none: then it learns generated shapes.
"""

import sys

import numpy as np

import minigraph as mg
from minigraph.data import ArrayDataset, batches, generate_shapes, load_idx_classification
from minigraph.report import filter_correlations, plot_filters

if len(sys.argv) > 1:
    everything = load_idx_classification(sys.argv[1], "train")
    images, labels, names = (
        everything.images[:3000],
        everything.labels[:3000],
        everything.class_names,
    )
else:  # which shape fills most of the picture
    shapes = generate_shapes(600, (32, 32))
    areas = [(shapes.labels == label).sum(axis=(1, 2)) for label in range(1, 6)]
    images, labels, names = shapes.images, np.argmax(areas, axis=0), shapes.class_names[1:]
pictures = ArrayDataset(images, labels.astype(np.uint8), names, None, "pictures")


def model(image, label):
    x = mg.relu(mg.conv2d(image, 16, 7, padding="same", name="conv1"))
    x = mg.max_pool2d(x, 2)
    x = mg.relu(mg.conv2d(x, 32, 3, padding="same", name="conv2"))
    logits = mg.dense(mg.flatten(mg.max_pool2d(x, 2)), len(names), name="head")
    right = mg.reduce_mean(mg.cast(mg.equal(mg.argmax(logits), label), "float32"))
    return {"loss": mg.softmax_cross_entropy(logits, label), "accuracy": right}


inputs = {"image": ((25, *images.shape[1:]), "float32"), "label": "int32[25]"}
step = mg.compile(model, inputs, optimizer=mg.Adam(2e-3))
# Started small, so that what it learns is not hidden under the random start.
step.state["conv1.weight"] = 0.01 * step.state["conv1.weight"]


def show(when, output):
    weight = step.state["conv1.weight"]
    alike = filter_correlations(weight)
    size = "x".join(str(size) for size in weight.shape)
    print(f"{when}: filters {size}, mean |correlation| {alike.mean_absolute:.2f}", end=" ")
    print(f"(independent random ones: {alike.by_chance:.2f})")
    plot_filters(weight, output, title=f"conv1 {when}")


show("before training", "filters-before.png")
for epoch in range(4):
    for batch in batches(pictures, 25, epoch=epoch, shuffle=True, mean=0.5, std=0.25):
        results = step(**batch)
    print(f"epoch {epoch + 1}: loss {results['loss']:.2f}, accuracy {results['accuracy']:.0%}")
show("after training", "filters-after.png")
