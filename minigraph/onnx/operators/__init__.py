"""One converter for each ONNX op type, by family."""
