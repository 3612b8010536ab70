"""ONNX Runtime as a streamtrack backend."""
