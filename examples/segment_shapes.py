import minigraph as mg
from minigraph.data import batches, generate_shapes
from minigraph.models.unet import unet


def model(image, label):
    logits = unet(image, classes=6, base=8, depth=3)
    return {"loss": mg.softmax_cross_entropy(logits, label), "prediction": mg.argmax(logits)}


inputs = {"image": "float32[8,3,48,48]", "label": "int32[8,48,48]"}
step = mg.compile(model, inputs, optimizer=mg.Adam(3e-3), outputs=["loss"])
pictures = generate_shapes(800, size=(48, 48))
for epoch in range(5):
    for batch in batches(pictures, 8, epoch=epoch, shuffle=True, mean=0.5, std=0.25):
        loss = step(**batch)["loss"]
    print(f"epoch {epoch + 1}: loss {loss:.3f}")
step.save("shapes.safetensors")
