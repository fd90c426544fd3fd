"""One rule for each of our ops: the ONNX nodes that say the same, by family."""
