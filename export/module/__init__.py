"""Any torch module with layers of ncps as one exact ONNX file: ``liquidlens.export_onnx``."""
