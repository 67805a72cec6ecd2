"""Serving exported files.  Never imports torch, onnx, ncps or medmnist."""
