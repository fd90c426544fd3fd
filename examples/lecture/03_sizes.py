"""How many weights layers have, and how large their outputs are."""

import minigraph as mg


def show(title, layer, image):
    """Build the layer on an image (channels, height, width); print what it has and gives."""
    step = mg.compile(lambda x: layer(x), {"x": ((1, *image), "float32")})
    parameters = {name.split(".")[-1]: array for name, array in step.state.parameters().items()}
    weights = parameters["weight"].size
    both = sum(array.size for array in parameters.values())
    output = "x".join(str(size) for size in step.outputs["output"].shape[1:])
    print(f"{title:44s} {weights:9,d} weights {both:9,d} with bias   output {output}")
    return weights


print("One unit on an image of 200x200")
whole = show("fully connected", lambda x: mg.dense(mg.flatten(x), 1), (1, 200, 200))
patch = show("a patch of 10x10", lambda x: mg.conv2d(x, 1, 10), (1, 10, 10))

print("\n10^5 units on that image")
print(f"fully connected: {10**5 * whole:.0e} weights")
print(f"locally connected: {10**5 * patch:.0e} weights")
print(f"shared: {patch:.0e} weights, and {100 * patch:.0e} in 100 filters")

print("\nOn a small image, 20x20 with patches of 10x10: 11x11 units")
show("fully connected, 121 units", lambda x: mg.dense(mg.flatten(x), 121), (1, 20, 20))
show("locally connected", lambda x: mg.locally_connected2d(x, 1, 10), (1, 20, 20))
show("shared: a convolution", lambda x: mg.conv2d(x, 1, 10), (1, 20, 20))
show("shared, 100 filters", lambda x: mg.conv2d(x, 100, 10), (1, 20, 20))

print("\nConvolution layers (height x width after channels)")
show("one 5x5x3 filter on 32x32x3", lambda x: mg.conv2d(x, 1, 5), (3, 32, 32))
show("six 5x5x3 filters", lambda x: mg.conv2d(x, 6, 5), (3, 32, 32))
show("then ten 5x5x6 filters, ReLU", lambda x: mg.relu(mg.conv2d(x, 10, 5)), (6, 28, 28))
show("1x1, 32 filters on 56x56x64", lambda x: mg.conv2d(x, 32, 1), (64, 56, 56))
show("zero padding 2 keeps the size", lambda x: mg.conv2d(x, 6, 5, padding=2), (3, 32, 32))
show("stride 2 halves it", lambda x: mg.conv2d(x, 6, 5, padding=2, stride=2), (3, 32, 32))
show("3x3, dilation 2, covers 5x5", lambda x: mg.conv2d(x, 6, 3, dilation=2), (3, 32, 32))
