"""The loss: minus the logarithm of the probability of the right class, for every pixel."""

import numpy as np

import minigraph as mg

VOID = 255
# Scores of 3 classes for 2 images of 2x2 pixels, and the right class of each pixel.
logits = np.zeros((2, 3, 2, 2))
logits[0, :, 0, 0] = np.log([8, 1, 1])  # probabilities 0.8, 0.1, 0.1
logits[0, :, 0, 1] = np.log([1, 2, 1])  # 0.25, 0.5, 0.25; all others 1/3 each
label = np.array([[[0, 1], [VOID, VOID]], [[2, VOID], [0, 1]]])


def model(logits, label):
    total = mg.softmax_cross_entropy(logits, label, void_label=VOID, reduction="sum")
    return {
        "sum": total,
        "mean": mg.softmax_cross_entropy(logits, label, void_label=VOID, reduction="mean"),
        "gradient": mg.gradients(total, [logits])[0],
    }


loss = mg.compile(model, {"logits": (logits.shape, "float64"), "label": (label.shape, "int32")})
results = loss(logits=logits, label=label)
pixels = (label != VOID).sum()
print(
    f"by hand: -ln 0.8 - ln 0.5 - 3 ln 1/3 = {-np.log(0.8) - np.log(0.5) - 3 * np.log(1 / 3):.6f}"
)
print(f"sum over all pixels of all images, void left out: {results['sum']:.6f}")
print(f"mean over the {pixels} valid pixels: {results['mean']:.6f}")

# The gradient is probability minus truth (1 for the right class), and 0 where the pixel is void.
print("gradient at the first pixel:", results["gradient"][0, :, 0, 0].round(6))
print("gradient at a void pixel:", results["gradient"][0, :, 1, 0])

worse = logits.copy()
worse[0, :, 1, :] = 1000 * np.arange(3)[:, None]  # whatever is said where it is void
print("void counts nowhere:", loss(logits=worse, label=label)["sum"] == results["sum"])
print("all void:", loss(logits=logits, label=np.full_like(label, VOID))["mean"])
try:
    loss(logits=logits, label=np.where(label == 2, 7, label))
except mg.IllegalLabelError as error:
    print("an illegal label:", error)
