"""From torch module to ONNX graph, in its profiles and precisions."""
