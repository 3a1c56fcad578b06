"""Pictures as vectors: an image encoder in ONNX behind the `Encoder` seam, beside an encoder of the words."""
