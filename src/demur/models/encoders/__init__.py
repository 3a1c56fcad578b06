"""Prompts as vectors: ONNX encoders, and how their files are made."""
